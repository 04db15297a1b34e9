"""`mjgrad check MODEL.xml`: the gradient check as a command.

Exit code 0: every channel passed. 1: at least one failed. 2: the check could not run (no such
file, not a model, an unsupported feature, an unknown parameter).
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import mujoco
import warp as wp

from mjgrad._src.check.runner import run_check
from mjgrad._src.errors import InvalidInput
from mjgrad._src.errors import MjgradError

PASSED, FAILED, BAD_INPUT = 0, 1, 2


def main(
  model_path: str,
  json_path: str | None = None,
  nstates: int = 32,
  seed: int = 0,
  params: Sequence[str] | None = None,
  device: str | None = None,
) -> int:
  """Checks a model file, prints the table and returns the exit code.

  Args:
    model_path: MJCF, URDF or MJB file.
    json_path: also write the result as JSON to this file; "-" prints JSON instead of the table.
    nstates: number of states.
    seed: of states and cotangents.
    params: MuJoCo names of parameters to check; None checks all that have a gradient.
    device: where the engine runs.
  """
  log_level = wp.config.log_level
  wp.config.log_level = wp.LOG_WARNING  # the names of compiled modules are not part of the table
  try:
    mjm = load_model(model_path)
    where = None if device is None else find_device(device)
    result = run_check(mjm, nstates=nstates, seed=seed, params=params, device=where)
    text = json.dumps(result.to_dict(), indent=2)
    if json_path is not None and json_path != "-":
      _write(Path(json_path), text)
  except MjgradError as error:
    sys.stderr.write(f"mjgrad check: {error}\n")
    return BAD_INPUT
  finally:
    wp.config.log_level = log_level
  sys.stdout.write((text if json_path == "-" else result.to_text()) + "\n")
  return PASSED if result.passed else FAILED


def find_device(name: str) -> wp.Device:
  """The Warp device with this name.

  Raises:
    InvalidInput: there is no such device here.
  """
  try:
    return wp.get_device(name)
  except (ValueError, RuntimeError) as error:
    known = ", ".join(str(device) for device in wp.get_devices())
    raise InvalidInput(f"No device '{name}' here; there is {known}.") from error


def load_model(path: str) -> mujoco.MjModel:
  """Compiles or loads a model file.

  Raises:
    InvalidInput: the file does not exist or is not a model.
  """
  if not Path(path).is_file():
    raise InvalidInput(f"No model file at '{path}'.")
  try:
    if path.endswith(".mjb"):
      return mujoco.MjModel.from_binary_path(path)
    return mujoco.MjModel.from_xml_path(path)
  except (ValueError, mujoco.FatalError) as error:
    raise InvalidInput(f"'{path}' is not a model that MuJoCo can load: {error}") from error


def _write(path: Path, text: str) -> None:
  try:
    path.write_text(text + "\n")
  except OSError as error:
    raise InvalidInput(f"Cannot write '{path}': {error.strerror}.") from error
