"""Benchmark cases as data: a model, how it is driven until it is measured, and at which sizes."""

import dataclasses
import importlib
import importlib.resources
from pathlib import Path

import mujoco

from mjgrad._src.errors import InvalidInput


@dataclasses.dataclass(frozen=True)
class Case:
  """One model to measure.

  Attributes:
    package: installed package that holds the file
    path: file inside the package, or the name of a model that the package composes
    settle: steps without control before the measurement, which lets the model come to rest
    nconmax: room for contacts per world
    njmax: room for constraint rows per world
  """

  package: str
  path: str
  settle: int
  nconmax: int
  njmax: int


CASES = {
  "cartpole": Case("mjgrad", "envs/assets/cartpole.xml", settle=10, nconmax=8, njmax=8),
  "ant": Case("gymnasium", "envs/mujoco/assets/ant.xml", settle=300, nconmax=24, njmax=64),
  "humanoid": Case(
    "mujoco_warp", "test_data/humanoid/humanoid.xml", settle=400, nconmax=24, njmax=64
  ),
  "hand": Case("myo_sim", "myohand", settle=300, nconmax=64, njmax=192),
}

DEFAULT = ["cartpole", "ant", "humanoid"]
"""Cases that are measured unless others are named; the hand needs a package of its own."""


def load(name: str) -> tuple[Case, mujoco.MjModel]:
  """The case and its model, integrated by semi-implicit Euler.

  Raises:
    InvalidInput: unknown case, or the package that holds its model is not installed.
  """
  if name not in CASES:
    raise InvalidInput(f"unknown case '{name}'; choose from {', '.join(CASES)}.")
  case = CASES[name]
  try:
    folder = Path(str(importlib.resources.files(case.package)))
  except ModuleNotFoundError as error:
    distribution = case.package.replace("_", "-")
    raise InvalidInput(
      f"case '{name}' needs the package {case.package}: pip install {distribution}"
    ) from error
  if case.path.endswith(".xml"):
    mjm = mujoco.MjModel.from_xml_path(str(folder / case.path))
  else:
    mjm = importlib.import_module(case.package).load_model(case.path)
  mjm.opt.integrator = mujoco.mjtIntegrator.mjINT_EULER
  return case, mjm
