"""How far every world has come in a call, and the steps that brought it there.

integrators/controller.py says which steps are taken. A call that goes through its steps once more
recalls their sizes.
"""

import numpy as np
import warp as wp

from mjgrad._src.errors import NonFiniteState
from mjgrad._src.errors import StepLimit
from mjgrad._src.integrators import controller
from mjgrad._src.integrators.controller import JUMP
from mjgrad._src.integrators.controller import NOT_FINITE
from mjgrad._src.integrators.controller import NPACE
from mjgrad._src.integrators.controller import NRECENT
from mjgrad._src.integrators.controller import ROWS
from mjgrad._src.integrators.controller import RUNNING
from mjgrad._src.integrators.controller import UNEXPLAINED
from mjgrad._src.integrators.costate import Costate
from mjgrad._src.integrators.flow import ZERO
from mjgrad._src.integrators.flow import Flow
from mjgrad._src.integrators.methods import Adaptive
from mjgrad._src.integrators.methods import Fixed

wp.set_module_options({"enable_backward": False})


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
  present_out: wp.array2d[int],
):
  worldid, i = wp.tid()
  if accepts[worldid] == 0:
    return
  if i == 0:
    active_out[0, worldid] = active_out[nstage, worldid]
    present_out[0, worldid] = present_out[nstage, worldid]
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
  index_out: wp.array[int],
):
  worldid = wp.tid()
  h = ZERO
  accepts = int(0)
  index_out[worldid] = step[0]
  if step[0] < accepted[worldid]:
    h = sizes[step[0], worldid]
    accepts = 1
  step_size_out[worldid] = h
  accepts_out[worldid] = accepts


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
    index: number of the step that the world is in, shape [nworld].
    nodes: time of every stage and of the result, in steps; those of one time are equal.
    sizes: sizes of the steps taken [s], shape [max_steps, nworld].
    events: what happened in them, a sum of `ROWS`, `JUMP` and `UNEXPLAINED`, likewise.
    recent: how the acceleration changed in the last two steps, shape [nworld, NRECENT].
    pending: number of worlds that are not at the end, and of those whose last attempt was accepted
      and came to other rows of limits or contacts, shape [2].
  """

  def __init__(self, flow: Flow, method: Adaptive | Fixed, costate: Costate | None = None):
    self.flow, self.method, self.law = flow, method, controller.device_law(method)
    device, nworld = flow.step_size.device, flow.step_size.shape[0]

    def ints(n: int) -> wp.array:
      return wp.zeros(n, dtype=int, device=device)

    self.span, self.left, self.planned = (
      wp.zeros(nworld, dtype=wp.float64, device=device) for _ in range(3)
    )
    self.pace = wp.zeros((nworld, NPACE), dtype=wp.float64, device=device)
    self.code, self.attempts, self.accepted, self.accepts, self.index = (
      ints(nworld) for _ in range(5)
    )
    self.sizes = wp.zeros((method.max_steps, nworld), dtype=wp.float64, device=device)
    self.events = wp.zeros((method.max_steps, nworld), dtype=wp.int8, device=device)
    self.recent = wp.zeros((nworld, NRECENT), dtype=wp.float64, device=device)
    self.pending = ints(2)
    self.costate = [wp.zeros((0,) * ndim, dtype=wp.float64, device=device) for ndim in (2, 2, 3)]
    if costate is not None:
      self.costate = [costate.start, costate.y, costate.rate]
    nodes = np.round([*method.tableau.c, 1.0], 12)
    self.nodes = wp.array(nodes, dtype=wp.float64, device=device)
    error = np.array(method.tableau.error)
    self.error_weights = wp.array(error, dtype=wp.float64, device=device)

  def arrays(self) -> list[wp.array]:
    """Everything that an attempt changes."""
    ints = [self.code, self.attempts, self.accepted, self.accepts, self.index, self.pending]
    return [self.left, self.planned, self.pace, self.sizes, self.events, self.recent, *ints]

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
    controller.plan(self)

  def judge(self) -> None:
    """Accepts or rejects the step of every world."""
    controller.judge(self)

  def recall(self, step: wp.array) -> None:
    """Takes the size of a step that was accepted before; zero in worlds that had fewer steps."""
    wp.launch(
      _recall,
      dim=self.left.shape,
      inputs=[step, self.accepted, self.sizes],
      outputs=[self.flow.step_size, self.accepts, self.index],
    )

  def commit(self) -> None:
    """Moves the worlds whose step is accepted to its result."""
    flow, m = self.flow, self.flow.model
    wp.launch(
      _commit,
      dim=(flow.y.shape[0], max(flow.y.shape[1], flow.solved.shape[2])),
      inputs=[m.nq, m.nv, flow.nstage, self.accepts, flow.y],
      outputs=[flow.start, flow.rate, flow.solved, flow.active, flow.present],
    )

  def jumps(self, explained: bool = False) -> np.ndarray:
    """Number of steps in which the forces jump, or those of them that the rows explain [nworld]."""
    events, accepted = self.events.numpy(), self.accepted.numpy()
    live = np.arange(len(events))[:, None] < accepted
    found = (events & JUMP != 0) & live
    if explained:
      found &= events & (ROWS | UNEXPLAINED) == ROWS
    return found.sum(axis=0)

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
