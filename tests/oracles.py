"""The float64 oracle under one name for tests, with what several tests need around it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import mujoco
import numpy as np

from mjgrad._src.check.active_set import active_set as active_set
from mjgrad._src.check.jacobian import Chain as Chain
from mjgrad._src.check.jacobian import Linearisation as Linearisation
from mjgrad._src.check.jacobian import chain_vjp as chain_vjp
from mjgrad._src.check.jacobian import linearise as linearise
from mjgrad._src.check.oracle import STATE_CHANNELS as STATE_CHANNELS
from mjgrad._src.check.oracle import Oracle as Oracle
from mjgrad._src.check.oracle import Point as Point
from mjgrad._src.check.residual import linearise_residual as linearise_residual
from mjgrad._src.check.runner import run_check as run_check
from mjgrad._src.check.states import CheckState as CheckState
from mjgrad._src.check.states import sample_states as sample_states
from mjgrad._src.check.tangent import to_ambient as to_ambient
from mjgrad._src.check.tangent import to_tangent as to_tangent


def point(mjm: mujoco.MjModel, **values) -> Point:
  """The reference configuration at rest with some of its arrays replaced."""
  base = Point.initial(mjm)
  arrays = {name: getattr(base, name) for name in Point.__dataclass_fields__}
  arrays.update({name: np.asarray(value, dtype=np.float64) for name, value in values.items()})
  return Point(**arrays)


def moved(mjm: mujoco.MjModel, start: Point, direction: np.ndarray, amount: float = 1.0) -> Point:
  """The point displaced along a tangent direction [nv] of qpos."""
  qpos = start.qpos.copy()
  mujoco.mj_integratePos(mjm, qpos, np.asarray(direction, dtype=np.float64), amount)
  return replace(start, qpos=qpos)


def relative_error(value: np.ndarray, truth: np.ndarray) -> float:
  """Norm of the difference over the norm of the truth; the truth must not vanish."""
  size = float(np.linalg.norm(truth))
  assert size > 0, "The reference vanishes; the comparison would be empty."
  return float(np.linalg.norm(np.asarray(value) - np.asarray(truth))) / size


def stack(states: Sequence[CheckState], name: str) -> np.ndarray:
  """One array of the states' points with a leading world axis."""
  return np.stack([getattr(state.point, name) for state in states])


@cache
def _random_directions(seed: int, size: int) -> np.ndarray:
  return np.random.default_rng(seed).normal(size=size)


def random_direction(size: int, seed: int = 0) -> np.ndarray:
  """A reproducible random vector, shape [size]."""
  return _random_directions(seed, size).copy()
