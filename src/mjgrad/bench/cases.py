"""Benchmark cases as data: a model, how it is driven until it is measured, and at which sizes."""

import dataclasses
import importlib
import importlib.resources
from pathlib import Path

import mujoco

from mjgrad._src.errors import InvalidInput
from mjgrad.bench import scenes


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
  "hopper": Case("gymnasium", "envs/mujoco/assets/hopper.xml", settle=200, nconmax=8, njmax=32),
  "three_humanoids": Case(
    "mujoco_warp", "test_data/humanoid/n_humanoid.xml", settle=400, nconmax=100, njmax=192
  ),
  "hand": Case("myo_sim", "myohand", settle=300, nconmax=64, njmax=192),
}

SCENES = {"chain": scenes.chain, "heap": scenes.heap}
"""Cases of any size, named by it: chain-32, heap-8."""

DEFAULT = ["cartpole", "ant", "humanoid"]
"""Cases that are measured unless others are named; the hand needs a package of its own."""


def load(name: str) -> tuple[Case, mujoco.MjModel]:
  """The case and its model, integrated by semi-implicit Euler.

  Raises:
    InvalidInput: unknown case, or the package that holds its model is not installed.
  """
  scene, _, size = name.partition("-")
  if scene in SCENES and size.isdigit() and int(size) > 0:
    count = int(size)
    case = Case("mjgrad", name, settle=100, nconmax=8 * count + 8, njmax=40 * count + 8)
    return case, SCENES[scene](count)
  if name not in CASES:
    sized = (f"{scene}-SIZE" for scene in SCENES)
    raise InvalidInput(f"unknown case '{name}'; choose from {', '.join((*CASES, *sized))}.")
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
