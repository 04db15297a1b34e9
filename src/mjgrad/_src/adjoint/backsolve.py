"""Optimise, then discretise: state and adjoint integrated back from the end of a call.

integrators/costate.py has the equations. An attempt solves the stages of the state and evaluates
the rate of lam at each, in one workspace; where the step is accepted, a second pass over its
stages, in another workspace, adds to the cotangents of parameters and inputs. The controller sees
the errors of the state and of lam, not those of the sums. Where limits or contacts come into being
in a step or cease, lam jumps at its end (adjoint/saltation.py).
"""

import functools
from collections.abc import Callable
from typing import Any

import warp as wp

from mjgrad._src.adjoint.saltation import Saltation
from mjgrad._src.adjoint.step_vjp import dynamics_vjp
from mjgrad._src.graphs import head
from mjgrad._src.integrators.costate import Costate
from mjgrad._src.integrators.flow import Flow
from mjgrad._src.integrators.flow_vjp import activation_vjp
from mjgrad._src.integrators.flow_vjp import from_work
from mjgrad._src.integrators.flow_vjp import to_work
from mjgrad._src.integrators.pace import Pace


class ContinuousAdjoint:
  """The backward pass of an `AdaptiveProgram` by steps of its own.

  Args:
    program: the program; its `flow` holds the end of the call.
  """

  def __init__(self, program):
    method = program.sim.adjoint.integrator or program.sim.integrator
    self.program = program
    self.flow = Flow(program.model, program.data, method.tableau)
    self.costate = Costate(self.flow)
    self.pace = Pace(self.flow, method, self.costate)
    self.rates = program.workspace()

  @functools.cached_property
  def saltation(self) -> Saltation:
    """What jumps add."""
    return Saltation(self.program.work, self.flow, self.pace)

  def arrays(self) -> list[wp.array]:
    """Everything that a graph changes."""
    return [*self.flow.arrays(), *self.costate.arrays(), *self.pace.arrays()]

  def begin(self) -> None:
    """Keeps nothing of the start of a call."""

  def follow(self) -> None:
    """Keeps nothing of an attempt."""

  def end(self) -> None:
    """Keeps the end of a call, where it is."""

  def recorded(self) -> list[wp.array]:
    """What the backward pass of the last call needs besides its first and last state."""
    return [self.program.flow.start, head(self.program.flow.solved, 1)]

  def restore(self, recorded: list, fill: Callable[[wp.array, Any], None]) -> None:
    """Takes up a call from what was recorded of it."""
    for source, target in zip(recorded, self.recorded(), strict=True):
      fill(target, source)

  def backward(self) -> None:
    """Replaces the cotangents of the last state in `program.work` by those of the first.

    Raises:
      StepLimit, NonFiniteState: a world did not get back to the start.
    """
    program, work = self.program, self.program.work
    for source, target in zip(self.recorded(), (self.flow.start, head(self.flow.solved, 1))):
      wp.copy(target, source)
    from_work(work, self.costate.start)
    self.pace.pace.zero_()
    self.pace.begin(program.nstep, program.timestep)
    program.replay("back_start", self._start, 1)
    pending = True
    while pending:
      program.replay("back", self._attempt, 1)
      pending, jumps = self.pace.pending.numpy()
      jumped = jumps and not program.surrogate
      program.replay(*(("back_jump", self._jump) if jumped else ("back_step", self._step)), 1)
    self.pace.raise_for_errors("going back through a call")
    to_work(self.costate.start, work)

  def _start(self) -> None:
    flow = self.flow
    flow.enter(flow.nstage)
    flow.solve(0, self.program.sim.status.collect)
    self._rate(0)
    self.costate.end_of_call(self.program.work, self.pace.span)

  def _attempt(self) -> None:
    flow, pace, costate, work = self.flow, self.pace, self.costate, self.program.work
    pace.plan()
    costate.reverse()
    for stage in range(1, flow.nstage + 1):
      flow.solve(stage, self.program.sim.status.collect)
      self._rate(stage)
    pace.judge()
    for stage in range(flow.nstage):
      costate.enter(work, stage, pace.accepts)
      dynamics_vjp(work)
      activation_vjp(work, costate.act_dot, stage)
    flow.enter(flow.nstage)
    costate.move(flow.nstage)

  def _step(self) -> None:
    self.pace.commit()
    self.costate.commit(self.pace.accepts)

  def _jump(self) -> None:
    """Takes the step across a jump, after which the rate of lam is another one."""
    self.saltation.vjp(self.costate.y, self.flow.nstage, 0)
    self.flow.enter(self.flow.nstage)
    self._step()
    self._rate(0)

  def _rate(self, stage: int) -> None:
    """Evaluates d lam / ds at a stage."""
    self.costate.enter(self.rates, stage)
    dynamics_vjp(self.rates)
    activation_vjp(self.rates, self.costate.act_dot, stage)
    self.costate.leave(self.rates, stage)
