"""Which steps are accepted and how long the next one is, in every world by itself.

    e = rms_i  h (sum_j e_j k_j)_i / (atol + rtol max(|y_i|, |y'_i|))          accepted if e <= 1
    h' = h clip(safety e_n^-b1 e_n-1^-b2 e_n-2^-b3, factor_min, factor_max)

`PIDController` and `Adaptive` in integrators/methods.py say what these are. Where a constraint
becomes active or inactive in a step, or its impedance goes to another piece of its spline,
`switching` e has to be at most one. Such a step is narrowed down by what its stages tell, between
which of them it switches: the next attempt ends at the stage before, one more at that after it.
Behind the switch steps go on with the size that they had. A call ends exactly on
time: a step that would end within a hundredth of itself before the end, or beyond it, ends there. A
step that was cut short says nothing against a longer one, so the next is no shorter than what was
planned before the cut.

A method without an error estimate accepts every step.

A step in which the forces jump, through whatever cause, is told by its acceleration, which changes
at a rate that is far above that of the steps before and after it. Such steps are noted for the
backward pass (adjoint/saltation.py), and so are those that come to other rows of limits or
contacts than they start from.
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

NPACE = 5
"""Next step [s]; the inverse errors of the last two accepted steps; what to go on with after the
next one [s], and after the next switch [s]. Zeros are a fresh start."""
BRACKET = wp.constant(3)
RESUME = wp.constant(4)

SMALLEST_ERROR = wp.constant(wp.float64(1e-10))

ROWS, JUMP, UNEXPLAINED = 1, 2, 4
"""What happens in a step: other rows of limits or contacts, a jump of the acceleration, a jump that
the rows do not explain."""
NRECENT = 3
"""Rates of the acceleration over the last two steps, and its relative change in the last."""
JUMP_RATE = wp.constant(wp.float64(100.0))
"""How often the rate of a jump is that of its neighbours; steps grow by 10 at most."""
JUMP_SIZE = wp.constant(wp.float64(1e-3))
"""Smallest relative change of the acceleration in a jump; float32 noise is far below."""


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


@wp.func
def _note_jump(
  worldid: int,
  step: int,
  h: wp.float64,
  nv: int,
  solved: wp.array3d[float],
  events_out: wp.array2d[wp.int8],
  recent_out: wp.array2d[wp.float64],
):
  """Notes whether the step before `step` was a jump."""
  last = solved.shape[0] - 1
  change = ZERO
  size = ZERO
  for i in range(nv):
    a = wp.float64(solved[last, worldid, i])
    b = wp.float64(solved[0, worldid, i])
    change += (a - b) * (a - b)
    size = wp.max(size, wp.max(wp.abs(a), wp.abs(b)))
  change = wp.sqrt(change)
  rate = change / wp.abs(h)
  if step > 1 and recent_out[worldid, 2] > JUMP_SIZE:
    if recent_out[worldid, 1] > JUMP_RATE * wp.max(recent_out[worldid, 0], rate):
      events_out[step - 1, worldid] |= wp.static(wp.int8(JUMP))
  recent_out[worldid, 0] = recent_out[worldid, 1]
  recent_out[worldid, 1] = rate
  recent_out[worldid, 2] = change / wp.max(size, SMALLEST_ERROR)


@wp.func
def _factor(
  law: Law, inverse: wp.float64, accept: bool, pace: wp.array2d[wp.float64], worldid: int
) -> wp.float64:
  """Ratio of the next step to this one, by the errors of smooth motion."""
  if inverse == ZERO:
    return law.factor_min
  one_before = pace[worldid, 1]
  two_before = pace[worldid, 2]
  if one_before == ZERO:
    one_before = wp.float64(1.0)
  if two_before == ZERO:
    two_before = wp.float64(1.0)
  factor = (
    law.safety
    * wp.pow(inverse, law.exponents[0])
    * wp.pow(one_before, law.exponents[1])
    * wp.pow(two_before, law.exponents[2])
  )
  largest = law.factor_max
  if not accept:
    largest = wp.float64(1.0)
  return wp.clamp(factor, law.factor_min, largest)


@wp.func
def _narrow(
  h: wp.float64,
  factor: wp.float64,
  before: wp.float64,
  after: wp.float64,
  pace_out: wp.array2d[wp.float64],
  worldid: int,
):
  """Plans the next attempts after a step of size h that is too long for the switch in it.

  The switch is between the stages at `before` h and `after` h. The next attempt ends at the first
  of them, and the one after it at the second; where the first is the start, that at the second, or
  in the middle of the step.
  """
  end = before
  if before == ZERO:
    end = wp.min(after, wp.float64(0.5))
  pace_out[worldid, 0] = end * h
  pace_out[worldid, BRACKET] = (after - end) * h
  pace_out[worldid, RESUME] = wp.max(pace_out[worldid, RESUME], h * wp.min(factor, wp.float64(1.0)))


@wp.func
def _follow(
  h: wp.float64,
  factor: wp.float64,
  inverse: wp.float64,
  accept: bool,
  changed: int,
  at_end: bool,
  pace_out: wp.array2d[wp.float64],
  worldid: int,
):
  """Plans the next attempt after a step of size h, but where a switch is to be narrowed down."""
  next = h * factor
  bracket = pace_out[worldid, BRACKET]
  if accept:
    pace_out[worldid, 2] = pace_out[worldid, 1]
    pace_out[worldid, 1] = inverse
    if at_end:
      next = wp.max(next, pace_out[worldid, 0])
    elif changed != 0:
      next = wp.max(next, pace_out[worldid, RESUME])
      pace_out[worldid, RESUME] = ZERO
    elif bracket > ZERO:
      next = bracket
  pace_out[worldid, 0] = next
  pace_out[worldid, BRACKET] = ZERO


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
  nodes: wp.array[wp.float64],
  error_weights: wp.array[wp.float64],
  planned: wp.array[wp.float64],
  step_size: wp.array[wp.float64],
  start: wp.array2d[wp.float64],
  y: wp.array2d[wp.float64],
  rate: wp.array3d[wp.float64],
  solved: wp.array3d[float],
  active: wp.array2d[int],
  present: wp.array2d[int],
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
  index_out: wp.array[int],
  sizes_out: wp.array2d[wp.float64],
  events_out: wp.array2d[wp.int8],
  recent_out: wp.array2d[wp.float64],
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
    inverse = wp.float64(0.0)
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
      inverse = wp.float64(1.0) / wp.max(error, SMALLEST_ERROR)
    changed = int(0)
    unchanged_at = ZERO
    changed_at = ZERO
    for j in range(1, active.shape[0]):
      if changed == 0:
        if nodes[j] > changed_at:
          unchanged_at = changed_at
          changed_at = nodes[j]
        if active[j, worldid] != active[0, worldid]:
          changed = j
    accept = accept and inverse >= wp.float64(1.0)
    factor = _factor(law, inverse, accept, pace_out, worldid)
    if accept and changed != 0 and inverse < law.switching:
      accept = bool(False)
      _narrow(h, factor, unchanged_at, changed_at, pace_out, worldid)
    else:
      _follow(h, factor, inverse, accept, changed, h == left_out[worldid], pace_out, worldid)
  elif not accept:
    code_out[worldid] = wp.static(NOT_FINITE)
  if accept:
    accepts_out[worldid] = 1
    step = accepted_out[worldid]
    index_out[worldid] = step
    sizes_out[step, worldid] = h
    events_out[step, worldid] = wp.int8(0)
    if present[0, worldid] != present[present.shape[0] - 1, worldid]:
      events_out[step, worldid] = wp.static(wp.int8(ROWS))
      wp.atomic_add(pending_out, 1, 1)
    _note_jump(worldid, step, h, nv, solved, events_out, recent_out)
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
      pace.nodes,
      pace.error_weights,
      pace.planned,
      flow.step_size,
      flow.start,
      flow.y,
      flow.rate,
      flow.solved,
      flow.active,
      flow.present,
      *pace.costate,
    ],
    outputs=[
      pace.left,
      pace.code,
      pace.pace,
      pace.attempts,
      pace.accepted,
      pace.accepts,
      pace.index,
      pace.sizes,
      pace.events,
      pace.recent,
      pace.pending,
    ],
  )
