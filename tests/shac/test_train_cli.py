"""`mjgrad train` and `mjgrad play` with the real simulator: interruption, resume, bad input."""

import csv
import hashlib
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from mjgrad import cli
from mjgrad import run_log
from mjgrad._src.train_cli import INTERRUPTED

EPOCHS = 40
SETTINGS = [
  "--seed=7",
  "--device=cpu",
  f"--epochs={EPOCHS}",
  "--num-worlds=4",
  "--horizon=4",
  "--critic-iterations=2",
  "--no-video",
]
TIMING = ("seconds", "steps_per_second")
TIMEOUT = 300.0  # the first test to run compiles the kernels


def start(*arguments):
  return subprocess.Popen(
    [sys.executable, "-m", "mjgrad", *map(str, arguments)],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def wait_for_epoch(process, run, epoch):
  deadline = time.monotonic() + TIMEOUT
  table = run / "metrics.csv"
  while not (table.exists() and table.read_text().count("\n") > epoch):
    assert process.poll() is None, process.communicate()
    assert time.monotonic() < deadline
    time.sleep(0.005)


def finish(process):
  out, err = process.communicate(timeout=TIMEOUT)
  return process.returncode, out, err


def contents(folder):
  """Digest of every file, by its name."""
  files = (path for path in sorted(folder.rglob("*")) if path.is_file())
  return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def flatten(value, name=""):
  if isinstance(value, dict):
    for key, item in value.items():
      yield from flatten(item, f"{name}/{key}")
  else:
    yield name, value


def same(a, b):
  if not isinstance(a, torch.Tensor):
    return a == b
  # the running return of an episode that was not whole is NaN in both
  return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.is_floating_point())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """A run that was never interrupted."""
  run = tmp_path_factory.mktemp("runs") / "finished"
  code, out, err = finish(start("train", "cartpole", *SETTINGS, "--run-dir", run))
  assert code == 0, err
  assert out.startswith("cartpole: return ") and out.count("\n") == 1
  return run


@pytest.fixture
def copy(finished, tmp_path):
  return Path(shutil.copytree(finished, tmp_path / "copy"))


def test_finished_run_has_everything(finished):
  names = {path.name for path in finished.iterdir()}
  assert names >= {"run.json", "metrics.csv", "learning_curve.png", "evaluation.json"}
  assert list((finished / "tensorboard").iterdir())
  assert len(run_log.open_run(finished).read_metrics()) == EPOCHS


def test_interrupted_killed_and_resumed_equals_uninterrupted(finished, tmp_path):
  run = tmp_path / "run"
  process = start("train", "cartpole", *SETTINGS, "--run-dir", run, "--save-every=5")
  wait_for_epoch(process, run, 2)
  process.send_signal(signal.SIGINT)
  code, _, err = finish(process)
  assert code == INTERRUPTED
  assert f"mjgrad train --resume {run}" in err and "Traceback" not in err

  for epoch in (8, 21):
    process = start("train", "--resume", run, "--device=cpu", "--save-every=5", "--no-video")
    wait_for_epoch(process, run, epoch)
    process.kill()
    finish(process)

  process = start("train", "cartpole", "--resume", run, "--device=cpu", "--no-video")
  code, _, err = finish(process)
  assert code == 0, err
  tables = []
  for folder in (finished, run):
    with open(folder / "metrics.csv") as file:
      rows = list(csv.DictReader(file))
    tables.append([{k: v for k, v in row.items() if k not in TIMING} for row in rows])
  assert tables[0] == tables[1]
  last = [
    run_log.load_checkpoint(folder / "checkpoints" / f"epoch_{EPOCHS:06d}.pt")
    for folder in (finished, run)
  ]
  first, second = (dict(flatten(checkpoint["learner"])) for checkpoint in last)
  assert first.keys() == second.keys()
  assert [name for name in first if not same(first[name], second[name])] == []
  evaluations = [(folder / "evaluation.json").read_text() for folder in (finished, run)]
  assert evaluations[0] == evaluations[1]


def test_play_writes_a_gif(copy, capsys):
  assert cli.main(["play", str(copy), "--device=cpu"]) == 0
  assert (copy / "play.gif").read_bytes().startswith(b"GIF8")
  assert "cartpole: return " in capsys.readouterr().out


def fails(capsys, *arguments):
  """Runs a command that has to fail as a user error; returns its message."""
  try:
    code = cli.main([str(a) for a in arguments])
  except SystemExit as error:  # how tyro reports a command line that it cannot parse
    code = error.code
  captured = capsys.readouterr()
  assert code == 2
  assert "Traceback" not in captured.err
  return captured.err


@pytest.mark.parametrize(
  "arguments, expected",
  [
    (["train", "--help"], ["--horizon", "--run-dir"]),
    (["train", "ant", "--help"], ["those of ant", "128 64"]),
    (["train", "--resume", "x", "--help"], ["--resume", "newest checkpoint"]),
    (["play", "--help"], ["--viewer"]),
  ],
)
def test_help(capsys, arguments, expected):
  with pytest.raises(SystemExit) as stop:
    cli.main(arguments)
  assert stop.value.code == 0
  out = capsys.readouterr().out
  assert all(text in out for text in expected)


def test_command_line_mistakes(capsys, tmp_path):
  assert "unknown task 'antt'; the tasks are: ant, cartpole" in fails(capsys, "train", "antt")
  assert "the tasks are: ant, cartpole" in fails(capsys, "train")
  assert "the tasks are: ant, cartpole" in fails(capsys, "train", "--epochs=3")
  assert "horizon is 0" in fails(capsys, "train", "cartpole", "--horizon=0")
  assert "Unrecognized" in fails(capsys, "train", "cartpole", "--epoch-count=3")
  assert "there is no run" in fails(capsys, "train", "--resume", tmp_path / "nothing")
  assert "name a run first" in fails(capsys, "play")
  assert "there is no run" in fails(capsys, "play", tmp_path / "nothing")
  assert "has no run.json" in fails(capsys, "play", tmp_path)


def test_resume_takes_no_settings(copy, capsys):
  assert "--epochs" in fails(capsys, "train", "--resume", copy, "--epochs=100")


def test_existing_run_is_not_overwritten(copy, capsys):
  before = contents(copy)
  message = fails(capsys, "train", "cartpole", *SETTINGS, "--run-dir", copy)
  assert "exists and is not empty" in message
  assert contents(copy) == before


@pytest.mark.parametrize("command", [["train", "--resume"], ["play"]])
def test_bad_checkpoints_lose_nothing(copy, capsys, command):
  newest = sorted((copy / "checkpoints").iterdir())[-1]
  original = newest.read_bytes()

  def refused(*arguments):
    before = contents(copy)
    message = fails(capsys, *arguments)
    assert contents(copy) == before
    return message

  newest.write_bytes(original[: len(original) // 2])
  assert "is damaged" in refused(*command, copy)

  checkpoint = run_log.load_checkpoint(sorted((copy / "checkpoints").iterdir())[0])
  torch.save({**checkpoint, "task": "ant"}, newest)
  assert "does not belong to this run: its task is ant" in refused(*command, copy)

  learner = checkpoint["learner"]
  learner["env"]["state"]["qpos"][2, 0] = torch.nan
  torch.save(checkpoint, newest)
  if command[0] == "train":
    assert "qpos of world 2 in the saved state is not finite" in refused(*command, copy)
  learner["actor"]["log_std"][0] = torch.nan
  torch.save(checkpoint, newest)
  if command[0] == "play":
    assert "actor contains NaN" in refused(*command, copy)


def test_run_of_another_task_is_refused(copy, capsys):
  assert "is a run of cartpole, not of ant" in fails(capsys, "train", "ant", "--resume", copy)


def test_play_refuses_other_formats(copy, capsys):
  assert "only GIF" in fails(capsys, "play", copy, "--device=cpu", "--out=film.mp4")
