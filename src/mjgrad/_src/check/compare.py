"""Errors of the engine against the oracle.

For a state s, a channel c and a cotangent, with g the engine's gradient and g* the oracle's,

    error = |g - g*| / max(|g*|, floor_c),    floor_c = ZERO_RTOL * median over states of |g*|

so that a state whose true gradient vanishes (a control at its clamp, a damper at rest) asks the
engine for a vanishing gradient too, on the scale of the channel. When the gradient vanishes at
every state, the floor is ZERO_RTOL times the norm of the cotangent. Three random cotangents are
used, on the next position alone, on the next velocity alone and on both; the worst error counts.

Entries of a parameter that sit on a kink (two geoms that share the larger friction, say) are left
out of both gradients.

The forward step of the engine differs from C MuJoCo's when

    |qacc - qacc*|    > FORWARD_RTOL (|qacc*| + |qacc_smooth*|)                     or
    |dv| > FORWARD_RTOL dt (|qacc*| + |qacc_smooth*|) + ROUNDING (1 + |v*|)         or
    |dq| > FORWARD_RTOL dt^2 (|qacc*| + |qacc_smooth*|) + ROUNDING (1 + |q*|)

The size of the terms that cancel is what float32 is accurate relative to, hence qacc_smooth.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from mjgrad._src.check.jacobian import Linearisation
from mjgrad._src.check.oracle import STATE_CHANNELS
from mjgrad._src.check.report import ChannelResult
from mjgrad._src.check.tangent import to_tangent

FORWARD_RTOL = 1e-3
ROUNDING = 4e-6  # of a float32 state, relative
ZERO_RTOL = 1e-4


@dataclass(frozen=True)
class Cotangents:
  """Random cotangents of the next state, for every state.

  Attributes:
    qpos: ambient, with a part along the quaternions that must have no effect,
      shape [ncotangents, nstates, nq].
    qvel: shape [ncotangents, nstates, nv].
  """

  qpos: np.ndarray
  qvel: np.ndarray

  @staticmethod
  def random(mjm: mujoco.MjModel, nstates: int, seed: int) -> "Cotangents":
    """Three per state: position alone, velocity alone, both."""
    rng = np.random.default_rng(seed)
    qpos = rng.normal(size=(3, nstates, mjm.nq)).astype(np.float32).astype(np.float64)
    qvel = rng.normal(size=(3, nstates, mjm.nv)).astype(np.float32).astype(np.float64)
    qpos[1] = 0.0
    qvel[0] = 0.0
    return Cotangents(qpos, qvel)


def forward_error(
  mjm: mujoco.MjModel,
  local: Linearisation,
  qpos: np.ndarray,
  qvel: np.ndarray,
  qacc: np.ndarray,
) -> float:
  """How far an engine's step is from the oracle's, in units of the tolerance; inf if not finite."""
  base, dt = local.base, mjm.opt.timestep
  if not all(np.all(np.isfinite(x)) for x in (qpos, qvel, qacc)):
    return float("inf")
  size = FORWARD_RTOL * (np.linalg.norm(base.qacc) + np.linalg.norm(base.qacc_smooth))
  moved = np.empty(mjm.nv)
  mujoco.mj_differentiatePos(mjm, moved, 1.0, base.qpos, qpos)
  norm = np.linalg.norm
  errors = (
    norm(qacc - base.qacc) / (size + mujoco.mjMINVAL),
    norm(qvel - base.qvel) / (dt * size + ROUNDING * (1 + norm(base.qvel))),
    norm(moved) / (dt * dt * size + ROUNDING * (1 + norm(base.qpos))),
  )
  return float(max(errors))


def compare_channel(
  mjm: mujoco.MjModel,
  channel: str,
  local: Sequence[Linearisation],
  cotangents: Cotangents,
  gradients: np.ndarray,
  differing: Sequence[int],
) -> ChannelResult:
  """Compares one channel over all states.

  Args:
    mjm: the model.
    channel: its name.
    local: the oracle at every state.
    cotangents: what was pulled back.
    gradients: the engine's, shape [ncotangents, nstates, n]; "qpos" in the tangent space.
    differing: states that do not count because the forward steps differ.
  """
  count = len(local)
  truth = np.zeros_like(gradients)
  kinks: set[int] = set()
  switching = []
  for s, here in enumerate(local):
    jac = here.jacobians[channel]
    for k in range(gradients.shape[0]):
      adj_qpos = to_tangent(mjm, here.base.qpos, cotangents.qpos[k, s])
      truth[k, s] = jac.vjp(adj_qpos, cotangents.qvel[k, s])
    if channel in STATE_CHANNELS:
      if here.switching(channel):
        switching.append(s)
      continue
    if here.near_switch:
      switching.append(s)
    kinks.update(np.flatnonzero(jac.switching).tolist())
    truth[:, s, jac.switching] = 0.0
  masked = gradients.copy()
  if channel not in STATE_CHANNELS:
    for s, here in enumerate(local):
      masked[:, s, here.jacobians[channel].switching] = 0.0

  sizes = np.linalg.norm(truth, axis=2)
  adjoint = np.linalg.norm(np.concatenate((cotangents.qpos, cotangents.qvel), axis=2), axis=2)
  floors = np.empty(sizes.shape[0])
  for k in range(sizes.shape[0]):
    positive = sizes[k][sizes[k] > 1e-12 * adjoint[k]]
    floors[k] = ZERO_RTOL * float(np.median(positive if positive.size else adjoint[k]))
  difference = np.linalg.norm(masked - truth, axis=2)
  errors = (difference / np.maximum(sizes, floors[:, None])).max(axis=0)
  errors = np.where(np.isfinite(errors), errors, np.inf)

  left_out = set(switching) | set(differing)
  compared = tuple(s for s in range(count) if s not in left_out)
  disagreement = [
    float(here.jacobians[channel].disagreement[~here.jacobians[channel].switching].max(initial=0))
    for here in local
  ]
  return ChannelResult(
    channel=channel,
    errors=tuple(float(e) for e in errors),
    compared=compared,
    switching=tuple(switching),
    kinks=len(kinks),
    zero=int(np.sum(np.all(sizes <= floors[:, None], axis=0))),
    oracle_disagreement=max((disagreement[s] for s in compared), default=0.0),
  )
