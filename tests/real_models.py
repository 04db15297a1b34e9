"""Real models as data: which packages hold them, how to find them, and which are left out.

Two packages, mujoco-warp and gymnasium, come with the test extra. The others are read from unpacked
wheels, because only their model files are wanted, not what they depend on:

    pip download --no-deps -d wheels dm_control==1.0.50 mujoco-mjx==3.17.0 myo-sim==0.2.3
    for wheel in wheels/*.whl; do unzip -qo $wheel -d wheels/unpacked; done

A model is a file, or, for myo-sim, which composes its models, a name. Models are as shipped but for
the solver PGS, which the engine does not have: these are solved by Newton, and marked.
"""

import fnmatch
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mujoco

WHEELS = Path("wheels/unpacked")
MAX_NV = 120  # more degrees of freedom cost the differences of the oracle hours


@dataclass(frozen=True)
class Package:
  """Where a package keeps its models.

  Attributes:
    distribution: name and version for pip, or the name alone when the test extra installs it
    folder: folder of the models inside the wheel
    patterns: glob patterns below it
    short: name of the folder in tables
  """

  distribution: str
  folder: str
  patterns: tuple[str, ...]
  short: str


PACKAGES = (
  Package("mujoco-warp", "mujoco_warp/test_data", ("**/*.xml",), "mujoco_warp"),
  Package("gymnasium", "gymnasium/envs/mujoco/assets", ("*.xml",), "gymnasium"),
  Package("mujoco-mjx==3.17.0", "mujoco/mjx/test_data", ("**/*.xml",), "mjx"),
  Package(
    "dm_control==1.0.50",
    "dm_control",
    (
      "suite/*.xml",
      "locomotion/**/*.xml",
      "mujoco/testing/assets/*.xml",
      "third_party/**/*.xml",
      "entities/**/*.xml",
    ),
    "dm_control",
  ),
)
MYO_SIM = "myo-sim==0.2.3"
MYO_SIM_MODELS = (
  "myohand",
  "myohands",
  "myolegs26",
  "myolegs",
  "myolegs_abdomen",
  "myolegs_osl",
  "myoelbow",
  "myoelbow_2dof",
  "myoelbow_exo",
  "myofinger",
  "myoarm",
  "myoarms",
  "myotorso",
  "myotorso_abdomen",
  "myotorso_arm_r",
)

LEFT_OUT = {
  "mujoco_warp/flex/*": "flexible bodies",
  "mujoco_warp/collision_sdf/torus.xml": "part of another file",
  "dm_control/*/build_fruitfly/*": "sources of fruitfly_v2",
  "dm_control/*/dog_v2/scene.xml": "part of another file",
  "dm_control/*/model_with_assets.xml": "names files that the wheel does not have",
}
"""Patterns of file names, and why these models are not in the table."""


@dataclass(frozen=True)
class RealModel:
  """A model of one of the packages.

  Attributes:
    name: package and file, or package and name
    path: the file; None for a model that the package composes
  """

  name: str
  path: Path | None

  def load(self) -> tuple[mujoco.MjModel, str]:
    """The model, and what is not as shipped, if anything.

    Raises:
      ValueError: MuJoCo does not load it.
    """
    if self.path is None:
      mjm = _compose(self.name.split("/", 1)[1])
    else:
      mjm = mujoco.MjModel.from_xml_path(str(self.path))
    if mjm.opt.solver == mujoco.mjtSolver.mjSOL_PGS:
      mjm.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
      return mjm, "Newton for PGS"
    return mjm, ""


def _root(package: str, wheels: Path) -> Path | None:
  """The folder that holds the package: an unpacked wheel, or the environment."""
  top = package.split("/")[0]
  if (wheels / package).is_dir():
    return wheels
  spec = importlib.util.find_spec(top)
  if spec is None or not spec.submodule_search_locations:
    return None
  root = Path(next(iter(spec.submodule_search_locations))).parent
  return root if (root / package).is_dir() else None


def _compose(name: str) -> mujoco.MjModel:
  import myo_sim

  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a prefix that is empty on purpose
    return myo_sim.load_model(name)


def real_models(wheels: Path = WHEELS) -> Iterator[RealModel]:
  """Every model that is found, those of `LEFT_OUT` excepted."""
  for package in PACKAGES:
    root = _root(package.folder, wheels)
    if root is None:
      continue
    folder = root / package.folder
    for pattern in package.patterns:
      for path in sorted(folder.glob(pattern)):
        name = f"{package.short}/{path.relative_to(folder)}"
        if left_out(name) is None:
          yield RealModel(name, path)
  root = _root("myo_sim", wheels)
  if root is not None:
    if str(root) not in sys.path:
      sys.path.append(str(root))
    yield from (RealModel(f"myo_sim/{name}", None) for name in MYO_SIM_MODELS)


def left_out(name: str) -> str | None:
  """Why a model is not in the table; None if it is."""
  reasons = (why for pattern, why in LEFT_OUT.items() if fnmatch.fnmatch(name, pattern))
  return next(reasons, None)


def real_model(name: str, wheels: Path = WHEELS) -> RealModel | None:
  """The model with this name, if its package is here."""
  return next((model for model in real_models(wheels) if model.name == name), None)
