"""Which steps are accepted and how long the next one is, in every world by itself.

    e = rms_i  h (sum_j e_j k_j)_i / (atol + rtol max(|y_i|, |y'_i|))          accepted if e <= 1
    h' = h clip(safety e_n^-b1 e_n-1^-b2 e_n-2^-b3, factor_min, factor_max)

where a step across which a constraint becomes active or inactive has e multiplied by `switching`.
`PIDController` and `Adaptive` in integrators/methods.py say what these are. A call ends exactly on
time: a step that would end within a hundredth of itself before the end, or beyond it, ends there. A
step that was cut short says nothing against a longer one, so the next is no shorter than what was
planned before the cut.

A method without an error estimate accepts every step.
"""

import warp as wp

from mjgrad._src.integrators.flow import BALL
from mjgrad._src.integrators.flow import FREE
from mjgrad._src.integrators.flow import ZERO
from mjgrad._src.integrators.flow import linear_dofs
from mjgrad._src.integrators.methods import Adaptive
from mjgrad._src.integrators.methods import Fixed

wp.set_module_options({"enable_backward": False})

RUNNING, EXHAUSTED, NOT_FINITE = range(3)
"""Codes of a world: on its way or at the end; out of steps; a step of fixed size is not finite."""

NPACE = 3
"""Next step [s] and the inverse errors of the last two accepted steps; zeros are a fresh start."""

SMALLEST_ERROR = wp.constant(wp.float64(1e-10))


@wp.struct
class Law:
  """The settings, on the device."""

  rtol: wp.float64
  atol: wp.float64
  switching: wp.float64
  exponents: wp.vec3d
  safety: wp.float64
  factor_min: wp.float64
  factor_max: wp.float64
  max_step: wp.float64
  first_step: wp.float64
  stretch: wp.float64
  max_steps: int
  adaptive: bool


@wp.kernel
def _plan(
  # Model:
  opt_timestep: wp.array[float],
  # In:
  law: Law,
  left: wp.array[wp.float64],
  code: wp.array[int],
  pace: wp.array2d[wp.float64],
  # Out:
  planned_out: wp.array[wp.float64],
  step_size_out: wp.array[wp.float64],
):
  worldid = wp.tid()
  h = ZERO
  remaining = left[worldid]
  if code[worldid] == wp.static(RUNNING) and remaining > ZERO:
    longest = law.max_step
    if longest == ZERO:
      longest = wp.float64(opt_timestep[worldid % opt_timestep.shape[0]])
    h = longest
    if law.adaptive:
      wanted = pace[worldid, 0]
      if wanted == ZERO:
        wanted = law.first_step
      if wanted > ZERO:
        h = wp.min(wanted, longest)
    if h * law.stretch >= remaining:
      h = remaining
  planned_out[worldid] = h
  step_size_out[worldid] = h


@wp.func
def _squared_error(
  nq: int,
  nv: int,
  na: int,
  jnt_type: wp.array[int],
  jnt_qposadr: wp.array[int],
  jnt_dofadr: wp.array[int],
  law: Law,
  error_weights: wp.array[wp.float64],
  h: wp.float64,
  start: wp.array2d[wp.float64],
  y: wp.array2d[wp.float64],
  rate: wp.array3d[wp.float64],
  solved: wp.array3d[float],
  costate_start: wp.array2d[wp.float64],
  costate: wp.array2d[wp.float64],
  costate_rate: wp.array3d[wp.float64],
  worldid: int,
) -> wp.float64:
  """Sum of the squares of the scaled errors of a world."""
  total = wp.float64(0.0)
  for jntid in range(jnt_type.shape[0]):
    jnttype = jnt_type[jntid]
    nlinear = linear_dofs(jnttype)
    ndof = nlinear
    if jnttype == FREE or jnttype == BALL:
      ndof += 3
    for i in range(ndof):
      dofid = jnt_dofadr[jntid] + i
      error = wp.float64(0.0)
      for j in range(error_weights.shape[0]):
        error += error_weights[j] * rate[j, worldid, dofid]
      size = wp.float64(1.0)
      if i < nlinear:
        adr = jnt_qposadr[jntid] + i
        size = wp.max(wp.abs(start[worldid, adr]), wp.abs(y[worldid, adr]))
      error *= h / (law.atol + law.rtol * size)
      total += error * error
  for i in range(nv + na):
    entry = nq + i
    source = i
    if i >= nv:
      source = nv + i
    error = wp.float64(0.0)
    for j in range(error_weights.shape[0]):
      error += error_weights[j] * wp.float64(solved[j, worldid, source])
    size = wp.max(wp.abs(start[worldid, entry]), wp.abs(y[worldid, entry]))
    error *= h / (law.atol + law.rtol * size)
    total += error * error
  for i in range(costate.shape[1]):
    error = wp.float64(0.0)
    for j in range(error_weights.shape[0]):
      error += error_weights[j] * costate_rate[j, worldid, i]
    size = wp.max(wp.abs(costate_start[worldid, i]), wp.abs(costate[worldid, i]))
    error *= h / (law.atol + law.rtol * size)
    total += error * error
  return total


@wp.kernel
def _judge(
  # Model:
  nq: int,
  nv: int,
  na: int,
  jnt_type: wp.array[int],
  jnt_qposadr: wp.array[int],
  jnt_dofadr: wp.array[int],
  # In:
  law: Law,
  error_weights: wp.array[wp.float64],
  planned: wp.array[wp.float64],
  step_size: wp.array[wp.float64],
  start: wp.array2d[wp.float64],
  y: wp.array2d[wp.float64],
  rate: wp.array3d[wp.float64],
  solved: wp.array3d[float],
  active: wp.array2d[int],
  costate_start: wp.array2d[wp.float64],
  costate: wp.array2d[wp.float64],
  costate_rate: wp.array3d[wp.float64],
  # Out:
  left_out: wp.array[wp.float64],
  code_out: wp.array[int],
  pace_out: wp.array2d[wp.float64],
  attempts_out: wp.array[int],
  accepted_out: wp.array[int],
  accepts_out: wp.array[int],
  sizes_out: wp.array2d[wp.float64],
  pending_out: wp.array[int],
):
  worldid = wp.tid()
  h = planned[worldid]
  accepts_out[worldid] = 0
  if h == ZERO:
    return
  attempts_out[worldid] += 1
  accept = step_size[worldid] != ZERO
  if law.adaptive:
    factor = law.factor_min
    inverse = wp.float64(0.0)
    switches = int(0)
    if accept:
      squares = _squared_error(
        nq,
        nv,
        na,
        jnt_type,
        jnt_qposadr,
        jnt_dofadr,
        law,
        error_weights,
        h,
        start,
        y,
        rate,
        solved,
        costate_start,
        costate,
        costate_rate,
        worldid,
      )
      error = wp.sqrt(squares / wp.float64(2 * nv + na + costate.shape[1]))
      for j in range(1, active.shape[0]):
        if active[j, worldid] != active[0, worldid]:
          switches = 1
      if switches != 0:
        error *= law.switching
      accept = error <= wp.float64(1.0)
      one_before = pace_out[worldid, 1]
      two_before = pace_out[worldid, 2]
      if one_before == ZERO:
        one_before = wp.float64(1.0)
      if two_before == ZERO:
        two_before = wp.float64(1.0)
      inverse = wp.float64(1.0) / wp.max(error, SMALLEST_ERROR)
      factor = (
        law.safety
        * wp.pow(inverse, law.exponents[0])
        * wp.pow(one_before, law.exponents[1])
        * wp.pow(two_before, law.exponents[2])
      )
      largest = law.factor_max
      if not accept:
        largest = wp.float64(1.0)
      factor = wp.clamp(factor, law.factor_min, largest)
    next = h * factor
    if accept:
      if h == left_out[worldid]:
        next = wp.max(next, pace_out[worldid, 0])
      pace_out[worldid, 2] = pace_out[worldid, 1]
      pace_out[worldid, 1] = inverse
    pace_out[worldid, 0] = next
  elif not accept:
    code_out[worldid] = wp.static(NOT_FINITE)
  if accept:
    accepts_out[worldid] = 1
    if sizes_out.shape[0] > 0:
      sizes_out[accepted_out[worldid], worldid] = h
    accepted_out[worldid] += 1
    left_out[worldid] -= h
  if left_out[worldid] > ZERO and code_out[worldid] == wp.static(RUNNING):
    if attempts_out[worldid] >= law.max_steps:
      code_out[worldid] = wp.static(EXHAUSTED)
    else:
      wp.atomic_add(pending_out, 0, 1)


def device_law(method: Adaptive | Fixed) -> Law:
  """The settings of a method as the kernels read them."""
  law = Law()
  law.adaptive = isinstance(method, Adaptive)
  law.max_steps = method.max_steps
  if isinstance(method, Adaptive):
    c = method.controller
    law.rtol, law.atol, law.switching = method.rtol, method.atol, method.switching
    law.exponents = wp.vec3d(*c.exponents(method.tableau.order))
    law.safety, law.factor_min, law.factor_max = c.safety, c.factor_min, c.factor_max
    law.max_step, law.first_step = method.max_step or 0.0, method.first_step or 0.0
    law.stretch = 1.01
  else:
    law.max_step = method.step or 0.0
    law.stretch = 1 + 1e-6
  return law


def plan(pace) -> None:
  """Chooses the step size of every world, zero where it is at the end."""
  wp.launch(
    _plan,
    dim=pace.left.shape,
    inputs=[pace.flow.model.opt.timestep, pace.law, pace.left, pace.code, pace.pace],
    outputs=[pace.planned, pace.flow.step_size],
  )
  pace.pending.zero_()


def judge(pace) -> None:
  """Accepts or rejects the step of every world."""
  flow, m = pace.flow, pace.flow.model
  wp.launch(
    _judge,
    dim=pace.left.shape,
    inputs=[
      m.nq,
      m.nv,
      m.na,
      m.jnt_type,
      m.jnt_qposadr,
      m.jnt_dofadr,
      pace.law,
      pace.error_weights,
      pace.planned,
      flow.step_size,
      flow.start,
      flow.y,
      flow.rate,
      flow.solved,
      flow.active,
      *pace.costate,
    ],
    outputs=[
      pace.left,
      pace.code,
      pace.pace,
      pace.attempts,
      pace.accepted,
      pace.accepts,
      pace.sizes,
      pace.pending,
    ],
  )
