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

import numpy as np
import warp as wp

from mjgrad._src.errors import NonFiniteState
from mjgrad._src.errors import StepLimit
from mjgrad._src.integrators.costate import Costate
from mjgrad._src.integrators.flow import BALL
from mjgrad._src.integrators.flow import FREE
from mjgrad._src.integrators.flow import ZERO
from mjgrad._src.integrators.flow import Flow
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


@wp.kernel
def _commit(
  # Model:
  nq: int,
  nv: int,
  # In:
  nstage: int,
  accepts: wp.array[int],
  y: wp.array2d[wp.float64],
  # Out:
  start_out: wp.array2d[wp.float64],
  rate_out: wp.array3d[wp.float64],
  solved_out: wp.array3d[float],
  active_out: wp.array2d[int],
):
  worldid, i = wp.tid()
  if accepts[worldid] == 0:
    return
  if i == 0:
    active_out[0, worldid] = active_out[nstage, worldid]
  if i < y.shape[1]:
    start_out[worldid, i] = y[worldid, i]
  if i < nv:
    rate_out[0, worldid, i] = y[worldid, nq + i]
  if i < solved_out.shape[2]:
    solved_out[0, worldid, i] = solved_out[nstage, worldid, i]


@wp.kernel
def _begin(
  # Model:
  opt_timestep: wp.array[float],
  # In:
  timestep: wp.float64,
  nstep: int,
  # Out:
  span_out: wp.array[wp.float64],
  left_out: wp.array[wp.float64],
  step_size_out: wp.array[wp.float64],
  code_out: wp.array[int],
  attempts_out: wp.array[int],
  accepted_out: wp.array[int],
):
  worldid = wp.tid()
  h = timestep
  if h == ZERO:
    h = wp.float64(opt_timestep[worldid % opt_timestep.shape[0]])
  span_out[worldid] = wp.float64(nstep) * h
  left_out[worldid] = wp.float64(nstep) * h
  step_size_out[worldid] = ZERO
  code_out[worldid] = wp.static(RUNNING)
  attempts_out[worldid] = 0
  accepted_out[worldid] = 0


@wp.kernel
def _end(
  # In:
  span: wp.array[wp.float64],
  left: wp.array[wp.float64],
  # Out:
  time_out: wp.array[wp.float64],
  step_size_out: wp.array[wp.float64],
):
  worldid = wp.tid()
  time_out[worldid] += span[worldid] - left[worldid]
  step_size_out[worldid] = ZERO


@wp.kernel
def _recall(
  # In:
  step: wp.array[int],
  accepted: wp.array[int],
  sizes: wp.array2d[wp.float64],
  # Out:
  step_size_out: wp.array[wp.float64],
  accepts_out: wp.array[int],
):
  worldid = wp.tid()
  h = ZERO
  accepts = int(0)
  if step[0] < accepted[worldid]:
    h = sizes[step[0], worldid]
    accepts = 1
  step_size_out[worldid] = h
  accepts_out[worldid] = accepts


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


class Pace:
  """How far every world has come in a call.

  Attributes:
    span: length of the call [s], shape [nworld].
    left: time to its end [s], shape [nworld].
    code: `RUNNING`, `EXHAUSTED` or `NOT_FINITE`, shape [nworld].
    pace: what the controller remembers, shape [nworld, NPACE].
    attempts: steps tried, shape [nworld].
    accepted: steps taken, shape [nworld].
    accepts: whether the last attempt was accepted, shape [nworld].
    sizes: sizes of the steps taken [s], shape [max_steps, nworld].
    pending: number of worlds that are not at the end, shape [1].
  """

  def __init__(self, flow: Flow, method: Adaptive | Fixed, costate: Costate | None = None):
    self.flow, self.method, self.law = flow, method, device_law(method)
    device, nworld = flow.step_size.device, flow.step_size.shape[0]

    def ints(n: int) -> wp.array:
      return wp.zeros(n, dtype=int, device=device)

    self.span, self.left, self.planned = (
      wp.zeros(nworld, dtype=wp.float64, device=device) for _ in range(3)
    )
    self.pace = wp.zeros((nworld, NPACE), dtype=wp.float64, device=device)
    self.code, self.attempts, self.accepted, self.accepts = (ints(nworld) for _ in range(4))
    self.sizes = wp.zeros((method.max_steps, nworld), dtype=wp.float64, device=device)
    self.pending = ints(1)
    self.costate = [wp.zeros((0,) * ndim, dtype=wp.float64, device=device) for ndim in (2, 2, 3)]
    if costate is not None:
      self.costate = [costate.start, costate.y, costate.rate]
    error = np.array(method.tableau.error)
    self.error_weights = wp.array(error, dtype=wp.float64, device=device)

  def arrays(self) -> list[wp.array]:
    """Everything that an attempt changes."""
    ints = [self.code, self.attempts, self.accepted, self.accepts, self.pending]
    return [self.left, self.planned, self.pace, self.sizes, *ints]

  def begin(self, nstep: int, timestep: float | None) -> None:
    """Starts a call of `nstep` intervals of `timestep` [s], or of the model's on the device."""
    wp.launch(
      _begin,
      dim=self.left.shape,
      inputs=[self.flow.model.opt.timestep, timestep or 0.0, nstep],
      outputs=[
        self.span,
        self.left,
        self.flow.step_size,
        self.code,
        self.attempts,
        self.accepted,
      ],
    )

  def end(self, time: wp.array) -> None:
    """Adds the time that every world has come to `time` [s], shape [nworld]; all worlds rest."""
    wp.launch(
      _end,
      dim=self.left.shape,
      inputs=[self.span, self.left],
      outputs=[time, self.flow.step_size],
    )

  def plan(self) -> None:
    """Chooses the step size of every world, zero where it is at the end."""
    wp.launch(
      _plan,
      dim=self.left.shape,
      inputs=[self.flow.model.opt.timestep, self.law, self.left, self.code, self.pace],
      outputs=[self.planned, self.flow.step_size],
    )
    self.pending.zero_()

  def judge(self) -> None:
    """Accepts or rejects the step of every world."""
    flow, m = self.flow, self.flow.model
    wp.launch(
      _judge,
      dim=self.left.shape,
      inputs=[
        m.nq,
        m.nv,
        m.na,
        m.jnt_type,
        m.jnt_qposadr,
        m.jnt_dofadr,
        self.law,
        self.error_weights,
        self.planned,
        flow.step_size,
        flow.start,
        flow.y,
        flow.rate,
        flow.solved,
        flow.active,
        *self.costate,
      ],
      outputs=[
        self.left,
        self.code,
        self.pace,
        self.attempts,
        self.accepted,
        self.accepts,
        self.sizes,
        self.pending,
      ],
    )

  def recall(self, step: wp.array) -> None:
    """Takes the size of a step that was accepted before; zero in worlds that had fewer steps."""
    wp.launch(
      _recall,
      dim=self.left.shape,
      inputs=[step, self.accepted, self.sizes],
      outputs=[self.flow.step_size, self.accepts],
    )

  def commit(self) -> None:
    """Moves the worlds whose step is accepted to its result."""
    flow, m = self.flow, self.flow.model
    wp.launch(
      _commit,
      dim=(flow.y.shape[0], max(flow.y.shape[1], flow.solved.shape[2])),
      inputs=[m.nq, m.nv, flow.nstage, self.accepts, flow.y],
      outputs=[flow.start, flow.rate, flow.solved, flow.active],
    )

  def raise_for_errors(self, where: str) -> None:
    """Raises when a world did not get to the end of a call.

    Args:
      where: what the call does, for the message.

    Raises:
      StepLimit: the budget of steps is used up.
      NonFiniteState: a step of fixed size is not finite.
    """
    code = self.code.numpy()
    if not code.any():
      return
    world = int(np.flatnonzero(code)[0])
    span, left = float(self.span.numpy()[world]), float(self.left.numpy()[world])
    place = f"world {world}, {where}, {span - left:.6g} s into its {span:.6g} s"
    if code[world] == NOT_FINITE:
      raise NonFiniteState(
        f"{place}: the step is not finite; use a smaller one or an integrator that adapts it."
      )
    step = float(self.planned.numpy()[world])
    method = self.method
    raise StepLimit(
      f"{place}: the budget of {method.max_steps} steps of {type(method).__name__} is used up; the "
      f"last had {step:.3g} s. Use larger tolerances, a larger max_steps or softer contacts."
    )
