"""One-step Jacobians of the oracle by channel, and their chains along a trajectory.

A column is the derivative of (q', v', w') in R^(2 nv + na), w the activations, along one entry of
one channel (see `differences.py`). An entry is at a switching point when the differences find no
derivative, or when the active set changes between the two displaced evaluations that the derivative
was read from. A whole state is at a switching point when a switch lies within float32 reach of it
(`SWITCH_RTOL`): the engine may then be on the other branch.

The chain of a trajectory is the product of transposed one-step Jacobians along given states,

    adj_x_k = A_k^T adj_x_{k+1},    adj_u_k = B_k^T adj_x_{k+1}

with x in the tangent space. The states are given, not simulated: the oracle linearises where the
engine went, so a chaotic trajectory does not spoil the comparison.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mjgrad._src.check.active_set import ActiveSet
from mjgrad._src.check.differences import STEPS
from mjgrad._src.check.differences import derivative
from mjgrad._src.check.oracle import NONNEGATIVE_FIELDS
from mjgrad._src.check.oracle import STATE_CHANNELS
from mjgrad._src.check.oracle import Oracle
from mjgrad._src.check.oracle import Point
from mjgrad._src.check.oracle import Step

# A float32 evaluation knows y = J a - aref to about 1e-6 of the size of its terms.
SWITCH_RTOL = 1e-5
# Columns smaller than this part of the channel's typical column are compared with that part.
COLUMN_FLOOR = 1e-4
# Relative rounding of one evaluation of a step in float64, solver included.
ROUNDING = 1e-15
# Parameters enter smoothly and often weakly, so that larger relative steps are the better ones.
PARAMETER_STEPS = (1e-3, 1e-4, 1e-5, 1e-6)


@dataclass(frozen=True)
class Jacobian:
  """Derivative of the next state with respect to one channel.

  Attributes:
    matrix: columns over the flat channel, shape [2 nv + na, n].
    disagreement: estimated relative error of every column, shape [n].
    switching: entries without a derivative, shape [n].
    known: entries that were differenced, shape [n]; columns of the others are zero.
  """

  matrix: np.ndarray
  disagreement: np.ndarray
  switching: np.ndarray
  known: np.ndarray

  def vjp(
    self, adj_qpos: np.ndarray, adj_qvel: np.ndarray, adj_act: np.ndarray | None = None
  ) -> np.ndarray:
    """Pulls a tangent cotangent of the next state back to the channel, shape [n].

    Args:
      adj_qpos: shape [nv].
      adj_qvel: shape [nv].
      adj_act: shape [na], or None for zero.
    """
    given = np.concatenate((adj_qpos, adj_qvel))
    pulled = self.matrix[: given.size].T @ given
    return pulled if adj_act is None else pulled + self.matrix[given.size :].T @ adj_act


@dataclass(frozen=True)
class Linearisation:
  """The oracle at one point: its step, its branch and the Jacobian of every requested channel."""

  point: Point
  base: Step
  branch: ActiveSet
  jacobians: dict[str, Jacobian]

  @property
  def near_switch(self) -> bool:
    return self.branch.distance < SWITCH_RTOL

  def switching(self, channel: str) -> bool:
    """The state has no two-sided gradient in this (state, control or force) channel."""
    return self.near_switch or bool(self.jacobians[channel].switching.any())


def linearise(
  oracle: Oracle,
  point: Point,
  channels: Sequence[str],
  entries: Mapping[str, np.ndarray] | None = None,
) -> Linearisation:
  """One-step Jacobians of C MuJoCo at `point`.

  Args:
    oracle: the model.
    point: where.
    channels: with respect to what.
    entries: flat indices to difference in some channels; all of them in the others.
  """
  base = oracle.step(point)
  branch = oracle.branch(point, base)
  entries = entries or {}
  jacobians = {
    name: jacobian(oracle, point, base, branch, name, entries.get(name)) for name in channels
  }
  return Linearisation(point, base, branch, jacobians)


def jacobian(
  oracle: Oracle,
  point: Point,
  base: Step,
  branch: ActiveSet,
  channel: str,
  entries: np.ndarray | None = None,
) -> Jacobian:
  """Jacobian of one channel at a point whose step and branch are known."""
  scale = oracle.channel_scale(channel)
  size = scale.size
  entries = np.arange(size) if entries is None else entries
  frozen = oracle.frozen(channel)
  entries = entries[~frozen[entries]]
  steps = STEPS if channel in STATE_CHANNELS else PARAMETER_STEPS
  noise = ROUNDING * float(np.linalg.norm(np.concatenate((base.qpos, base.qvel, base.act))))
  matrix = np.zeros((oracle.ndx, size))
  disagreement = np.zeros(size)
  switching = frozen.copy()
  known = np.zeros(size, dtype=bool)
  known[entries] = True

  typical = []
  ends = steps[1], steps[-1]  # a displacement that is too large for its entry has no typical size
  indices: list[int] = entries.tolist()
  for index in indices:
    moved = (oracle.displaced(point, base, channel, index, e * scale[index]) for e in ends)
    typical.append(min(np.linalg.norm(m) / e for m, e in zip(moved, ends, strict=True)))
  sizes = [t for t in typical if t > noise / steps[1]]
  floor = COLUMN_FLOOR * float(np.median(sizes or [1.0]))

  for index in indices:
    one_sided = _at_lower_bound(oracle, channel, index)
    column = derivative(
      lambda e, i=index: oracle.displaced(point, base, channel, i, e * scale[i]),
      steps,
      floor,
      noise,
      one_sided,
    )
    matrix[:, index] = column.value / scale[index]
    disagreement[index] = column.disagreement / max(float(np.linalg.norm(column.value)), floor)
    reach = column.step * scale[index]
    displacements = (reach, 2 * reach) if one_sided else (reach, -reach)
    flips = any(
      oracle.branch(point, base, channel, index, d).signature != branch.signature
      for d in displacements
    )
    switching[index] = flips or not column.smooth
  return Jacobian(matrix, disagreement, switching, known)


def _at_lower_bound(oracle: Oracle, channel: str, index: int) -> bool:
  return channel in NONNEGATIVE_FIELDS and oracle.parameter(channel).reshape(-1)[index] == 0.0


@dataclass(frozen=True)
class Chain:
  """Gradient of <adj_qpos, q_T> + <adj_qvel, v_T> + <adj_act, w_T> along a trajectory of T steps.

  Attributes:
    qpos, qvel: with respect to the state before every step and the last, shape [T + 1, nv].
    act: likewise, shape [T + 1, na].
    inputs: with respect to every other requested channel, per step, shape [T, n].
    switching: steps at a switching point.
  """

  qpos: np.ndarray
  qvel: np.ndarray
  act: np.ndarray
  inputs: dict[str, np.ndarray]
  switching: list[int]


def chain_vjp(
  oracle: Oracle,
  points: Sequence[Point],
  adj_qpos: np.ndarray,
  adj_qvel: np.ndarray,
  channels: Sequence[str] = ("ctrl",),
  adj_act: np.ndarray | None = None,
) -> Chain:
  """Chains one-step Jacobians backwards along the visited points.

  Args:
    oracle: the model.
    points: the input of every step, in order; length T.
    adj_qpos: cotangent of the last position in its tangent space, shape [nv].
    adj_qvel: cotangent of the last velocity, shape [nv].
    channels: what to report besides qpos, qvel and act.
    adj_act: cotangent of the last activation, shape [na], or None for zero.
  """
  count = len(points)
  names = ("qpos", "qvel", "act") if oracle.mjm.na else ("qpos", "qvel")
  state = {name: np.zeros((count + 1, *oracle.channel_shape(name))) for name in (*names, "act")}
  state["qpos"][-1], state["qvel"][-1] = adj_qpos, adj_qvel
  if adj_act is not None:
    state["act"][-1] = adj_act
  inputs = {name: np.zeros((count, oracle.channel_scale(name).size)) for name in channels}
  switching = []
  for k in reversed(range(count)):
    local = linearise(oracle, points[k], (*names, *channels))
    adj = (state["qpos"][k + 1], state["qvel"][k + 1], state["act"][k + 1])
    for name in names:
      state[name][k] = local.jacobians[name].vjp(*adj)
    for name in channels:
      inputs[name][k] = local.jacobians[name].vjp(*adj)
    if any(local.switching(name) for name in (*names, *channels)):
      switching.append(k)
  return Chain(state["qpos"], state["qvel"], state["act"], inputs, switching[::-1])
