"""Run folders: atomic files, trimmed metrics, kept checkpoints, and messages for damaged input."""

import json
import os

import pytest
import torch

from mjgrad import run_log
from mjgrad._src.errors import InvalidInput


@pytest.fixture
def log(tmp_path):
  log = run_log.create_run(tmp_path / "run", {"task": "toy", "seed": 3})
  yield log
  log.close()


def checkpoint(epoch):
  return {"format": run_log.FORMAT, "epoch": epoch, "tensor": torch.arange(1000.0)}


def test_record_has_versions_and_seed(log):
  record = json.loads((log.folder / "run.json").read_text())
  assert record["task"] == "toy" and record["seed"] == 3
  assert record["versions"]["mujoco-warp"] and record["machine"]["cpus"] == os.cpu_count()
  assert run_log.open_run(log.folder).record == record


def test_existing_folder_is_never_overwritten(log):
  with pytest.raises(InvalidInput, match="exists and is not empty; .* --resume"):
    run_log.create_run(log.folder, {})


def test_metrics_are_trimmed_to_the_checkpoint(log):
  log.start(0)
  for epoch in (1, 2, 3):
    log.write({"epoch": epoch, "loss": 0.1 * epoch, "return": float("nan")})
  log.close()
  with open(log.folder / "metrics.csv", "a") as file:
    file.write("4,0.")  # a row cut short by a kill
  assert [row["epoch"] for row in log.read_metrics()] == [1, 2, 3]
  resumed = run_log.open_run(log.folder)
  resumed.start(2)
  resumed.write({"epoch": 3, "loss": 0.5, "return": 1.0})
  resumed.close()
  rows = (log.folder / "metrics.csv").read_text().splitlines()
  assert rows == ["epoch,loss,return", "1,0.1,nan", "2,0.2,nan", "3,0.5,1"]


def test_newest_two_checkpoints_stay(log):
  for epoch in (0, 5, 10):
    log.save(checkpoint(epoch), epoch)
  assert [path.name for path in log.checkpoints()] == ["epoch_000005.pt", "epoch_000010.pt"]
  assert run_log.load_checkpoint(log.checkpoints()[-1])["epoch"] == 10


def test_checkpoints_after_the_resumed_one_are_set_aside(log):
  for epoch in (5, 10):
    log.save(checkpoint(epoch), epoch)
  log.start(5)
  assert [path.name for path in log.checkpoints()] == ["epoch_000005.pt"]
  assert (log.folder / "checkpoints" / "epoch_000010.superseded").exists()


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
  path = tmp_path / "file"
  run_log.atomic_write(path, b"old")

  def fail(*_):
    raise OSError("disk full")

  monkeypatch.setattr(os, "fsync", fail)
  with pytest.raises(OSError, match="disk full"):
    run_log.atomic_write(path, b"new")
  assert path.read_bytes() == b"old"


@pytest.mark.parametrize("damage", ["truncated", "bit", "garbage", "empty"])
def test_damaged_checkpoint_names_the_other(log, damage):
  log.save(checkpoint(5), 5)
  path = log.save(checkpoint(10), 10)
  content = bytearray(path.read_bytes())
  if damage == "bit":
    content[len(content) // 2] ^= 1
  damaged = {"truncated": content[:-500], "bit": content, "garbage": b"hello", "empty": b""}
  path.write_bytes(bytes(damaged[damage]))
  with pytest.raises(InvalidInput, match="epoch_000010.pt is damaged.*epoch_000005.pt"):
    run_log.load_checkpoint(path)


def test_foreign_files_are_refused(tmp_path):
  path = tmp_path / "other.pt"
  torch.save({"weights": torch.zeros(3)}, path)
  with pytest.raises(InvalidInput, match="not a checkpoint that this version"):
    run_log.load_checkpoint(path)
  with pytest.raises(InvalidInput, match="there is no checkpoint"):
    run_log.load_checkpoint(tmp_path / "missing.pt")
  with pytest.raises(InvalidInput, match="has no run.json"):
    run_log.open_run(tmp_path)
  with pytest.raises(InvalidInput, match="there is no run folder"):
    run_log.open_run(tmp_path / "missing")
  (tmp_path / "run.json").write_text("{ broken")
  with pytest.raises(InvalidInput, match="cannot be read"):
    run_log.open_run(tmp_path)
