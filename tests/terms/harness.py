"""Compares the engine's gradient of small models with the float64 oracle, state by state.

The cotangent is on the next velocity alone, and the part of the velocity gradient that every step
has, the identity, is taken off both sides. What is compared is then dt times the gradient of the
acceleration, so that a wrong law cannot hide behind v' = v + dt a. A test of activations puts it on
the next activation alone.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import mujoco
import numpy as np

from mjgrad._src.check.compare import forward_error
from mjgrad._src.derived.constants import DERIVED
from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.linearize import step_gradient
from tests.oracles import STATE_CHANNELS
from tests.oracles import Linearisation
from tests.oracles import Oracle
from tests.oracles import Point
from tests.oracles import linearise


class Recompiled(Oracle):
  """The oracle with every derived constant as the compiler would compute it."""

  def _write(self, name: str, value: np.ndarray) -> None:
    super()._write(name, value)
    scratch = copy.deepcopy(self.mjm)
    mujoco.mj_setConst(scratch, mujoco.MjData(scratch))
    for constant in (*DERIVED, "body_subtreemass", "dof_M0"):
      getattr(self.mjm, constant)[:] = getattr(scratch, constant)


STATE = ("qpos", "qvel")

# A gradient below this part of the channel's largest one is compared with that part.
FLOOR = 1e-3


@dataclass(frozen=True)
class Comparison:
  """Gradients of one channel at every state.

  Attributes:
    value: the engine's, shape [nstates, n].
    truth: the oracle's, shape [nstates, n].
    compared: states without a switching point in this channel, shape [nstates].
  """

  value: np.ndarray
  truth: np.ndarray
  compared: np.ndarray

  @property
  def size(self) -> np.ndarray:
    """Norm of the oracle's gradient, shape [nstates]."""
    return np.linalg.norm(self.truth, axis=1)

  @property
  def errors(self) -> np.ndarray:
    """Relative errors at the compared states, see `FLOOR`."""
    size = np.maximum(self.size, FLOOR * self.size.max())
    return (np.linalg.norm(self.value - self.truth, axis=1) / size)[self.compared]


def inputs(points: Sequence[Point]) -> dict[str, np.ndarray]:
  """Arguments of `step_gradient` with a leading world axis."""
  return {name: np.stack([getattr(p, name) for p in points]) for name in Point.__dataclass_fields__}


def compare(
  mjm: mujoco.MjModel,
  points: Sequence[Point],
  params: Sequence[str] = (),
  *,
  channels: Sequence[str] = STATE,
  values: Mapping[str, np.ndarray] | None = None,
  seed: int = 0,
  differing: int = 0,
  on: Literal["qvel", "act"] = "qvel",
  derived: Literal["fixed", "follow"] = "fixed",
) -> tuple[dict[str, Comparison], list[Linearisation]]:
  """Gradients of one step at every point, one world each.

  Args:
    mjm: the model.
    points: one per world.
    params: parameter channels.
    channels: state, control and force channels.
    values: parameter values other than the model's, shared by all worlds.
    seed: of the cotangents.
    differing: number of states at which the engine's step may differ from the oracle's.
    on: what the cotangent is on, the next velocity or the next activation.
    derived: whether the simulator's derived constants follow its parameters, and the oracle's.

  Returns:
    The comparison of every channel, and the oracle at every point.
  """
  points = [point.float32() for point in points]
  oracle = Oracle(mjm) if derived == "fixed" else Recompiled(mjm)
  for name, value in (values or {}).items():
    oracle.parameter(name)[:] = value
  names = (*channels, *params)
  local = [linearise(oracle, point, names) for point in points]
  sim = Simulator(mjm, len(points), "cpu", derived=derived)
  rng = np.random.default_rng(seed)
  adj_qvel = rng.normal(size=(len(points), mjm.nv)).astype(np.float32).astype(np.float64)
  adj_act = rng.normal(size=(len(points), mjm.na)).astype(np.float32).astype(np.float64)
  (adj_act if on == "qvel" else adj_qvel)[:] = 0.0
  out = step_gradient(
    sim,
    **inputs(points),
    adj_qpos=np.zeros((len(points), mjm.nq)),
    adj_qvel=adj_qvel,
    adj_act=adj_act,
    params=dict(values or {}),
    wrt_params=tuple(params),
  )
  forward = np.array(
    [
      forward_error(oracle.mjm, here, out.qpos[s], out.qvel[s], out.qacc[s], out.act[s])
      for s, here in enumerate(local)
    ]
  )
  agrees = forward <= 1.0
  assert np.sum(~agrees) <= differing, f"the engine's step differs, {forward} times the tolerance"
  result = {}
  for name in names:
    key = "qpos_tangent" if name == "qpos" else name
    value = np.asarray(out.grad[key], dtype=np.float64).reshape(len(points), -1)
    truth = np.stack(
      [
        here.jacobians[name].vjp(np.zeros(mjm.nv), v, w)
        for here, v, w in zip(local, adj_qvel, adj_act)
      ]
    )
    if name == "qvel":
      value, truth = value - adj_qvel, truth - adj_qvel
    kinks = np.stack([here.jacobians[name].switching for here in local])
    near = np.array([here.near_switch for here in local])
    if name in STATE_CHANNELS:
      compared = agrees & ~(near | kinks.any(axis=1))
    else:
      compared = agrees & ~near
      value, truth = np.where(kinks, 0.0, value), np.where(kinks, 0.0, truth)
    result[name] = Comparison(value, truth, compared)
  return result, local


def assert_close(
  found: Mapping[str, Comparison],
  rtol: float,
  zero: Sequence[str] = (),
  skipped: int = 0,
  worst: float | None = None,
) -> None:
  """Every channel is right at every state but the skipped, and not zero.

  Args:
    found: what `compare` returned.
    rtol: bar for the relative error, at every compared state or, given `worst`, at the median.
    zero: channels whose gradient is exactly zero at every state.
    skipped: number of states that need not be compared.
    worst: bar at every compared state.
  """
  for name, channel in found.items():
    assert channel.compared.sum() >= len(channel.compared) - skipped, f"{name}: too many skipped"
    if name in zero:
      assert np.all(channel.truth == 0), f"{name}: the oracle's gradient does not vanish"
      assert np.all(channel.value == 0), f"{name}: {channel.value}"
      continue
    assert np.any(channel.size > 0), f"{name}: the oracle's gradient vanishes everywhere"
    assert channel.errors.max() <= (worst or rtol), f"{name}: {channel.errors}"
    if worst is not None:
      assert np.median(channel.errors) <= rtol, f"{name}: {channel.errors}"


def random_points(
  mjm: mujoco.MjModel, count: int, seed: int = 0, position: float = 0.3, velocity: float = 1.0
) -> list[Point]:
  """States displaced from the reference, with random velocities and zero inputs."""
  rng = np.random.default_rng(seed)
  points = []
  for _ in range(count):
    point = Point.initial(mjm)
    mujoco.mj_integratePos(mjm, point.qpos, rng.normal(size=mjm.nv), position)
    point.qvel[:] = velocity * rng.normal(size=mjm.nv)
    points.append(point.float32())
  return points


def with_inputs(point: Point, **values) -> Point:
  """The point with some of its arrays replaced."""
  arrays = {name: getattr(point, name) for name in Point.__dataclass_fields__}
  arrays |= {name: np.asarray(value, dtype=np.float64) for name, value in values.items()}
  return Point(**arrays)
