"""Run folders: settings, metrics and checkpoints that survive a kill at any moment.

    RUN/
      run.json            task, seed, settings, versions, machine
      metrics.csv         one row per epoch
      tensorboard/        the same for TensorBoard
      checkpoints/        epoch_000100.pt, ...: the newest and the one before
      nonfinite_*.npz     the horizon that led to a NaN, if one did

A file is written beside its place, flushed to the disk and then renamed over it, so that it is
either the old or the new one, and whole.
"""

import csv
import datetime
import importlib.metadata
import io
import json
import math
import os
import platform
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mjgrad._src.errors import InvalidInput

FORMAT = 1
"""Version of the layout of run folders and checkpoints."""
KEPT_CHECKPOINTS = 2
"""Checkpoints that stay when a newer one is written."""
PACKAGES = ("mjgrad", "mujoco", "mujoco-warp", "warp-lang", "torch", "numpy")
"""Packages whose versions a run records."""


class RunLog:
  """Writes one run folder.

  Attributes:
    folder: the run folder.
    record: content of run.json.
  """

  def __init__(self, folder: Path, record: dict[str, Any]):
    """Opens an existing folder; see `create_run` and `open_run`."""
    self.folder = folder
    self.record = record
    self._columns: list[str] | None = None
    self._csv: io.TextIOWrapper | None = None
    self._board: Any = None

  def start(self, epoch: int) -> None:
    """Gets ready to write the metrics of epoch + 1; rows of later epochs are dropped.

    Checkpoints of later epochs, which can only be left over from before a resume from an older one,
    are renamed, so that they are neither taken for this run's newest nor lost.
    """
    from torch.utils.tensorboard import SummaryWriter

    rows = [row for row in self.read_metrics() if row["epoch"] <= epoch]
    self._columns = list(rows[0]) if rows else None
    if rows:
      text = io.StringIO(newline="")
      writer = csv.DictWriter(text, list(rows[0]))
      writer.writeheader()
      writer.writerows({name: _number(value) for name, value in row.items()} for row in rows)
      atomic_write(self._metrics_path, text.getvalue().encode())
    else:
      self._metrics_path.unlink(missing_ok=True)
    for path in self.checkpoints():
      if _epoch_of(path) > epoch:
        os.replace(path, path.with_suffix(".superseded"))
    self._csv = open(self._metrics_path, "a", newline="")
    self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=epoch + 1)

  def write(self, metrics: dict[str, float]) -> None:
    """Appends the metrics of one epoch; `epoch` is one of them."""
    if self._csv is None:
      raise RuntimeError("call start() first")
    if self._columns is None:
      self._columns = list(metrics)
      csv.writer(self._csv).writerow(self._columns)
    csv.writer(self._csv).writerow([_number(metrics[name]) for name in self._columns])
    self._csv.flush()
    for name, value in metrics.items():
      if name != "epoch" and math.isfinite(value):
        self._board.add_scalar(name, value, int(metrics["epoch"]))

  def save(self, checkpoint: dict[str, Any], epoch: int) -> Path:
    """Writes a checkpoint, then removes all but the newest two up to this epoch."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    path = self.folder / "checkpoints" / f"epoch_{epoch:06d}.pt"
    path.parent.mkdir(exist_ok=True)
    atomic_write(path, buffer.getvalue())
    for old in self.checkpoints()[:-KEPT_CHECKPOINTS]:
      old.unlink()
    return path

  def save_arrays(self, name: str, arrays: dict[str, np.ndarray]) -> Path:
    """Writes named arrays into the run folder as an npz file."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    path = self.folder / f"{name}.npz"
    atomic_write(path, buffer.getvalue())
    return path

  def save_json(self, name: str, content: dict[str, Any]) -> Path:
    """Writes a JSON file into the run folder."""
    path = self.folder / f"{name}.json"
    atomic_write(path, (json.dumps(content, indent=2) + "\n").encode())
    return path

  def checkpoints(self) -> list[Path]:
    """Checkpoints of the run, oldest first."""
    return sorted((self.folder / "checkpoints").glob("epoch_*.pt"))

  def read_metrics(self) -> list[dict[str, float]]:
    """Rows of metrics.csv; a last row cut short by a kill is left out."""
    if not self._metrics_path.exists():
      return []
    with open(self._metrics_path, newline="") as file:
      lines = [line for line in file if line.endswith("\n")]
    rows = csv.DictReader(lines)
    return [{name: float(value) for name, value in row.items()} for row in rows]

  def close(self) -> None:
    """Flushes and closes the files."""
    if self._csv is not None:
      self._csv.close()
      self._board.close()

  @property
  def _metrics_path(self) -> Path:
    return self.folder / "metrics.csv"


def require_new(folder: Path) -> None:
  """Refuses a folder that has something in it; no run is ever overwritten."""
  if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
    raise InvalidInput(
      f"{folder} exists and is not empty; choose another --run-dir,"
      f" or continue that run with --resume {folder}"
    )


def create_run(folder: Path, record: dict[str, Any]) -> RunLog:
  """Makes a new run folder and writes the record, with versions and machine, to run.json."""
  require_new(folder)
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise InvalidInput(f"cannot make the run folder {folder}: {error.strerror}") from error
  log = RunLog(folder, {"format": FORMAT, **record, **environment()})
  log.save_json("run", log.record)
  return log


def open_run(folder: Path) -> RunLog:
  """Opens a run folder that `create_run` made."""
  path = folder / "run.json"
  if not folder.is_dir():
    raise InvalidInput(f"there is no run folder {folder}")
  try:
    record = json.loads(path.read_text())
  except FileNotFoundError as error:
    raise InvalidInput(f"{folder} is not a run folder: it has no run.json") from error
  except (OSError, ValueError) as error:
    raise InvalidInput(f"{path} cannot be read: {error}") from error
  if not isinstance(record, dict) or record.get("format") != FORMAT:
    raise InvalidInput(f"{path} is not of the format that this version of mjgrad writes ({FORMAT})")
  return RunLog(folder, record)


def load_checkpoint(path: Path) -> dict[str, Any]:
  """Reads a checkpoint onto the CPU, checking that the file is whole."""
  if not path.is_file():
    raise InvalidInput(f"there is no checkpoint {path}")
  try:
    with zipfile.ZipFile(path) as archive:
      damaged = archive.testzip()
    if damaged is not None:
      raise zipfile.BadZipFile(f"checksum of {damaged} does not match")
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
  except Exception as error:  # torch.load raises whatever the bytes lead it to
    reason = str(error).splitlines()[0]
    others = [other.name for other in sorted(path.parent.glob("epoch_*.pt")) if other != path]
    remedy = f"; others in its folder: {', '.join(others)}" if others else ""
    raise InvalidInput(f"checkpoint {path} is damaged ({reason}){remedy}") from error
  if not isinstance(checkpoint, dict) or checkpoint.get("format") != FORMAT:
    raise InvalidInput(f"{path} is not a checkpoint that this version of mjgrad wrote")
  return checkpoint


def atomic_write(path: Path, content: bytes) -> None:
  """Replaces a file by new content, which is on the disk before the old one goes."""
  temporary = path.with_name(f".{path.name}.tmp")
  with open(temporary, "wb") as file:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())
  os.replace(temporary, path)
  if os.name == "posix":
    folder = os.open(path.parent, os.O_RDONLY)
    try:
      os.fsync(folder)
    finally:
      os.close(folder)


def environment() -> dict[str, Any]:
  """Versions, machine, command and time, for the record."""
  return {
    "versions": {"python": platform.python_version(), **_versions(PACKAGES)},
    "machine": {
      "system": platform.platform(),
      "cpus": os.cpu_count(),
      "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    },
    "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
  }


def _versions(packages: Iterable[str]) -> dict[str, str]:
  versions = {}
  for name in packages:
    try:
      versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      versions[name] = "not installed"
  return versions


def _epoch_of(path: Path) -> int:
  return int(path.stem.removeprefix("epoch_"))


def _number(value: float) -> int | float:
  """The value as it should appear in the table: whole numbers without a fraction."""
  return int(value) if math.isfinite(value) and float(value).is_integer() else float(value)
