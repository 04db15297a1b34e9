"""Errors of the engine against the oracle.

For a state s, a channel c and three random cotangents of one kind, with g the engine's gradients
and g* the oracle's, all three stacked,

    error = |g - g*| / max(|g*|, floor_c),    floor_c = ZERO_RTOL * median over states of |g*|

so that a state whose gradient is small on the scale of the channel does not ask for more digits
than the channel has. Where the gradient vanishes (a control at its clamp, a damper at rest), that
is, where a displacement of the input by its own natural size moves <cotangent, next state> by less
than VANISHING |cotangent|, the engine's gradient must vanish too: both gradients are multiplied by
the natural sizes, and

    error = max(|g - g*| / |cotangent| - CANCELLED (1 + dt a), 0) / VANISHING,    a = |qacc*| +
                                                                                  |qacc_smooth*|

CANCELLED being what float32 leaves of large terms that cancel, such as the moment of gravity on a
body hinged at its centre of mass, or that of the acceleration of a sphere. What cancels in the
orientation of a frame are the moments of the forces that are its gradient in the position, so there
CANCELLED counts 1 + dt a + l |g*_position| / |adj| times, with the arm l the mean size of the
model's bodies: a tendon in a plane cannot tilt the axis of a cylinder, but for rounding. A gradient
that does not vanish but is less than SMALL |cotangent|, in natural sizes, counts as that large:
1e-2 of it is what the rounding of the next state to float32 does.

The kinds are: on the next position alone, on the next velocity alone, on the whole next state, and,
in models with activations, on these alone; the worst of the errors counts. Draws are stacked
because the gradient in a single number, such as one friction coefficient, may vanish by chance
along one cotangent, which says nothing about the engine.

The gradient in the time step is the acceleration itself, which float32 knows relative to the terms
that cancel in it; there |g*| counts as at least CANCELLING |adj| (|qacc*| + |qacc_smooth*|).

Entries of a parameter that sit on a kink (two geoms that share the larger friction, say) are left
out of both gradients, and so are entries that the oracle was not asked for.

The forward step of the engine differs from C MuJoCo's when

    |qacc - qacc*|    > FORWARD_RTOL (|qacc*| + |qacc_smooth*|)                     or
    |dv| > FORWARD_RTOL dt (|qacc*| + |qacc_smooth*|) + ROUNDING (1 + |v*|)         or
    |dq| > FORWARD_RTOL dt^2 (|qacc*| + |qacc_smooth*|) + ROUNDING (1 + |q*|)       or
    |dw| > FORWARD_RTOL |w* - w| + ROUNDING (1 + |w*|)

The size of the terms that cancel is what float32 is accurate relative to, hence qacc_smooth.

A step that agrees may still have single accelerations that are small where large forces cancel and
of which float32 knows little, and with them the gradients that are proportional to them, such as
lam_i a_i of an armature. Such an acceleration a is the exact one under a small additional force,
the residual r(a) of C MuJoCo's equations of motion, and the engine's gradient is that of this
problem. So a gradient that is beyond the bar is compared again with that of C MuJoCo under the same
force, held constant. (Backward error: Higham, Accuracy and Stability of Numerical Algorithms, 2002,
section 1.5.) There are two accelerations: where the gradient is taken, after the last Newton step
of the backward pass, and the solver's, by which the state moves on. The gradient has to be right at
one of them. A state at which something switches on the way there is at a switching point.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import mujoco
import numpy as np

from mjgrad._src.check.jacobian import Linearisation
from mjgrad._src.check.oracle import STATE_CHANNELS
from mjgrad._src.check.oracle import Step
from mjgrad._src.check.report import ChannelResult
from mjgrad._src.check.tangent import to_tangent

FORWARD_RTOL = 1e-3
ROUNDING = 4e-6  # of a float32 state, relative
ZERO_RTOL = 1e-4
VANISHING = 1e-7
CANCELLED = 1e-6
SMALL = 1e2 * 2.0**-24
CANCELLING = 1e-2  # an error of 1e-2 of it is a tenth of FORWARD_RTOL
POSITION_OF = {
  "body_quat": "body_pos",
  "body_iquat": "body_ipos",
  "geom_quat": "geom_pos",
  "site_quat": "site_pos",
}
KINDS = 3  # without activations; with them there is one more
DRAWS = 3


@dataclass(frozen=True)
class Cotangents:
  """Random cotangents of the next state, for every state, kind by kind, `DRAWS` of each.

  Attributes:
    qpos: ambient, with a part along the quaternions that must have no effect,
      shape [kinds * DRAWS, nstates, nq].
    qvel: shape [kinds * DRAWS, nstates, nv].
    act: shape [kinds * DRAWS, nstates, na].
  """

  qpos: np.ndarray
  qvel: np.ndarray
  act: np.ndarray

  def of_state(self, s: int) -> "Cotangents":
    """Those of one state."""
    return Cotangents(self.qpos[:, [s]], self.qvel[:, [s]], self.act[:, [s]])

  @staticmethod
  def random(mjm: mujoco.MjModel, nstates: int, seed: int) -> "Cotangents":
    """On the position alone, on the velocity alone, on all, on the activations alone."""
    rng = np.random.default_rng(seed)
    count = (KINDS + (mjm.na > 0)) * DRAWS

    def draw(size: int) -> np.ndarray:
      return rng.normal(size=(count, nstates, size)).astype(np.float32).astype(np.float64)

    qpos, qvel, act = draw(mjm.nq), draw(mjm.nv), draw(mjm.na)
    qvel[:DRAWS] = 0.0
    qpos[DRAWS : 2 * DRAWS] = 0.0
    act[: 2 * DRAWS] = 0.0
    qpos[KINDS * DRAWS :] = 0.0
    qvel[KINDS * DRAWS :] = 0.0
    return Cotangents(qpos, qvel, act)


def acceleration_error(base: Step, qacc: np.ndarray) -> float:
  """How far an acceleration is from the oracle's, in units of the tolerance."""
  size = np.linalg.norm(base.qacc) + np.linalg.norm(base.qacc_smooth)
  return float(np.linalg.norm(qacc - base.qacc) / (FORWARD_RTOL * size + mujoco.mjMINVAL))


def forward_error(
  mjm: mujoco.MjModel,
  local: Linearisation,
  qpos: np.ndarray,
  qvel: np.ndarray,
  qacc: np.ndarray,
  act: np.ndarray | None = None,
) -> float:
  """How far an engine's step is from the oracle's, in units of the tolerance; inf if not finite."""
  base, dt = local.base, mjm.opt.timestep
  act = base.act if act is None else act
  if not all(np.all(np.isfinite(x)) for x in (qpos, qvel, qacc, act)):
    return float("inf")
  size = FORWARD_RTOL * (np.linalg.norm(base.qacc) + np.linalg.norm(base.qacc_smooth))
  moved = np.empty(mjm.nv)
  mujoco.mj_differentiatePos(mjm, moved, 1.0, base.qpos, qpos)
  norm = np.linalg.norm
  errors = (
    acceleration_error(base, qacc),
    norm(qvel - base.qvel) / (dt * size + ROUNDING * (1 + norm(base.qvel))),
    norm(moved) / (dt * dt * size + ROUNDING * (1 + norm(base.qpos))),
    norm(act - base.act)
    / (FORWARD_RTOL * norm(base.act - local.point.act) + ROUNDING * (1 + norm(base.act))),
  )
  return float(max(errors))


def compare_channel(
  mjm: mujoco.MjModel,
  channel: str,
  local: Sequence[Linearisation],
  cotangents: Cotangents,
  gradients: np.ndarray,
  left_out: Sequence[int],
  scale: np.ndarray,
) -> ChannelResult:
  """Compares one channel over all states.

  Args:
    mjm: the model.
    channel: its name.
    local: the oracle at every state.
    cotangents: what was pulled back.
    gradients: the engine's, shape [kinds * DRAWS, nstates, n]; "qpos" in the tangent space.
    left_out: states that do not count because the forward steps differ.
    scale: natural size of a displacement of every entry, shape [n].
  """
  count = len(local)
  truth = pulled_back(mjm, channel, local, cotangents)
  kinks: set[int] = set()
  switching = []
  for s, here in enumerate(local):
    jac = here.jacobians[channel]
    if channel in STATE_CHANNELS:
      if here.switching(channel):
        switching.append(s)
      continue
    if here.near_switch:
      switching.append(s)
    kinks.update(np.flatnonzero(jac.switching).tolist())
    truth[:, s, jac.switching] = 0.0
  masked = gradients.copy()
  for s, here in enumerate(local):
    jac = here.jacobians[channel]
    masked[:, s, ~jac.known] = 0.0
    if channel not in STATE_CHANNELS:
      masked[:, s, jac.switching] = 0.0

  sizes, difference = _stacked_norm(truth), _stacked_norm(masked - truth)
  adjoint = _stacked_norm(
    np.concatenate((cotangents.qpos, cotangents.qvel, cotangents.act), axis=2)
  )
  scaled = _stacked_norm(truth * scale) / adjoint
  vanishing, small = scaled < VANISHING, scaled < SMALL
  absolute = _stacked_norm((masked - truth) * scale) / adjoint
  norm = np.linalg.norm
  acceleration = np.array([norm(h.base.qacc) + norm(h.base.qacc_smooth) for h in local])
  cancelling = 1.0 + mjm.opt.timestep * acceleration
  position = POSITION_OF.get(channel)
  if position in local[0].jacobians:
    moments = mjm.stat.meansize * pulled_back(mjm, position, local, cotangents)
    cancelling = cancelling + _stacked_norm(moments) / adjoint
  floors = [
    ZERO_RTOL * np.median(sizes[kind][~vanishing[kind]]) if not vanishing[kind].all() else 0.0
    for kind in range(len(sizes))
  ]
  least = np.maximum(np.array(floors)[:, None], mujoco.mjMINVAL)
  if channel == "opt.timestep":
    least = np.maximum(least, CANCELLING * _stacked_norm(cotangents.qvel) * acceleration)
  relative = difference / np.maximum(sizes, least)
  relative = np.where(small, np.minimum(relative, absolute / SMALL), relative)
  beyond = np.maximum(absolute - CANCELLED * cancelling, 0.0) / VANISHING
  errors = np.where(vanishing, beyond, relative).max(axis=0)
  errors = np.where(np.isfinite(errors), errors, np.inf)

  excluded = {*switching, *left_out}
  compared = tuple(s for s in range(count) if s not in excluded)
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
    zero=int(np.sum(np.all(vanishing, axis=0))),
    oracle_disagreement=max((disagreement[s] for s in compared), default=0.0),
  )


def better(first: ChannelResult, second: ChannelResult) -> ChannelResult:
  """One channel compared at two accelerations: the smaller errors, without what switches at one."""
  return replace(
    first,
    errors=tuple(float(e) for e in np.minimum(first.errors, second.errors)),
    compared=tuple(s for s in first.compared if s not in second.switching),
    switching=tuple(sorted({*first.switching, *second.switching})),
  )


def pulled_back(
  mjm: mujoco.MjModel, channel: str, local: Sequence[Linearisation], cotangents: Cotangents
) -> np.ndarray:
  """The oracle's gradients in a channel, shape [kinds * DRAWS, nstates, n]."""
  out = []
  for k in range(cotangents.qpos.shape[0]):
    adj_qpos = [
      to_tangent(mjm, here.base.qpos, adj)
      for here, adj in zip(local, cotangents.qpos[k], strict=True)
    ]
    adj = zip(local, adj_qpos, cotangents.qvel[k], cotangents.act[k], strict=True)
    out.append([here.jacobians[channel].vjp(dq, dv, dw) for here, dq, dv, dw in adj])
  return np.array(out)


def _stacked_norm(values: np.ndarray) -> np.ndarray:
  """Norm over draws and entries, shape [kinds * DRAWS, nstates, n] to [kinds, nstates]."""
  grouped = values.reshape(-1, DRAWS, *values.shape[1:])
  return np.sqrt(np.sum(grouped**2, axis=(1, 3)))
