"""Discretise, then optimise: the exact gradient of the steps that were taken.

The forward pass keeps some states (integrators/checkpoint.py). The backward pass visits the steps
last first, in the order of integrators/schedule.py: it repeats steps to get to a state that was not
kept, and reverses the step after it. A reversed step solves its stages again and pulls the
cotangents through them, last first (integrators/flow_vjp.py), with the adjoint of the dynamics at
every stage. Where limits or contacts come into being in a step or cease, the jump of the forces
comes before it (adjoint/saltation.py).

Source: Hager, Runge-Kutta methods in optimal control and the transformed adjoint system (2000);
Griewank and Walther, Revolve (2000).
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import warp as wp

from mjgrad._src.adjoint.saltation import Saltation
from mjgrad._src.adjoint.step_vjp import dynamics_vjp
from mjgrad._src.graphs import head
from mjgrad._src.integrators import schedule
from mjgrad._src.integrators.checkpoint import Checkpoints
from mjgrad._src.integrators.controller import ROWS
from mjgrad._src.integrators.flow_vjp import FlowCotangents
from mjgrad._src.integrators.flow_vjp import activation_vjp


class DiscreteAdjoint:
  """The backward pass of an `AdaptiveProgram` through its steps.

  Args:
    program: the program; its `flow` and `pace` are also those of the repeated steps.
  """

  def __init__(self, program):
    self.program, self.flow, self.pace = program, program.flow, program.pace
    self.kept = Checkpoints(self.flow, program.sim.adjoint.checkpoints)
    self.cotangents = FlowCotangents(self.flow)
    self.step = wp.zeros(1, dtype=int, device=program.sim.device)

  def arrays(self) -> list[wp.array]:
    """Everything that a graph changes."""
    return [*self.kept.arrays(), *self.cotangents.arrays()]

  @functools.cached_property
  def saltation(self) -> Saltation:
    """What jumps add."""
    return Saltation(self.program.work, self.flow, self.pace)

  def begin(self) -> None:
    """Keeps the first state of a call."""
    self.kept.begin()

  def follow(self) -> None:
    """Keeps what the last attempt came to, where it is time to."""
    self.kept.follow(self.pace)

  def end(self) -> None:
    """The call is at its end."""
    self.kept.align(self.pace.accepted)

  def recorded(self) -> list[wp.array]:
    """What the backward pass of the last call needs besides its first and last state."""
    nstep, stride = self._steps()
    used = -(-nstep // stride)
    kept, pace = self.kept, self.pace
    states = [head(kept.start, used), head(kept.solved, used)]
    steps = [head(pace.sizes, nstep), head(pace.events, nstep)]
    return [*states, kept.stride, *steps, pace.accepted]

  def restore(self, recorded: list, fill: Callable[[wp.array, Any], None]) -> None:
    """Takes up a call from what was recorded of it."""
    kept, pace = self.kept, self.pace
    states = [kept.start, kept.solved, kept.stride]
    targets = [*states, pace.sizes, pace.events, pace.accepted]
    for source, target in zip(recorded, targets, strict=True):
      fill(head(target, source.shape[0]), source)

  def backward(self) -> None:
    """Replaces the cotangents of the last state in `program.work` by those of the first."""
    program, work = self.program, self.program.work
    self.cotangents.arrive(work)
    jumps, kept = self._jumps(), set(range(self.kept.count))
    solved = False
    for action in schedule.reverse_all(*self._steps(), self.kept.count):
      match action:
        case schedule.Load(slot, _):
          self.kept.load(slot)
          solved = slot in kept
        case schedule.Keep(slot):
          self.kept.store(slot)
          kept.discard(slot)
        case schedule.Advance(step):
          solved = False
          self.step.fill_(step)
          program.replay("advance", self._advance, 1)
        case schedule.Reverse(step):
          self.step.fill_(step)
          if jumps[step]:
            program.replay("jump", self._jump, 1)
          if not solved:
            program.replay("solve", self._solve, 1)
          program.replay("reverse", self._reverse, 1)
    self.cotangents.depart(work)

  def _steps(self) -> tuple[int, int]:
    """The largest number of steps of a world, and the stride of the kept states."""
    return int(self.pace.accepted.numpy().max()), int(self.kept.stride.numpy()[0])

  def _jumps(self) -> np.ndarray:
    """In which steps jumps are looked for: a world comes to other rows in them, shape [steps].

    Steps of one size are no short ones; of these the derivative is that of the steps alone.
    """
    if self.program.surrogate or not self.pace.law.adaptive:
      return np.zeros(self._steps()[0], dtype=bool)
    events = head(self.pace.events, self._steps()[0]).numpy()
    live = np.arange(len(events))[:, None] < self.pace.accepted.numpy()
    return ((events & ROWS != 0) & live).any(axis=1)

  def _jump(self) -> None:
    flow = self.flow
    self.pace.recall(self.step)
    for stage in range(1, flow.nstage + 1):
      flow.solve(stage, self.program.sim.status.collect)
    self.saltation.vjp(self.cotangents.y, 0, flow.nstage)

  def _advance(self) -> None:
    self.pace.recall(self.step)
    for stage in range(1, self.flow.nstage + 1):
      self.flow.solve(stage, self.program.sim.status.collect)
    self.pace.commit()

  def _solve(self) -> None:
    self.pace.recall(self.step)
    for stage in range(1, self.flow.nstage):
      self.flow.solve(stage, self.program.sim.status.collect)

  def _reverse(self) -> None:
    flow, adj, work = self.flow, self.cotangents, self.program.work
    self.pace.recall(self.step)
    for stage in range(1, flow.nstage + 1):
      flow.enter(stage, work.data)
    adj.begin()
    adj.leave(work, flow.nstage)
    for stage in reversed(range(flow.nstage)):
      flow.enter(stage, work.data)
      adj.enter(work, stage)
      dynamics_vjp(work)
      activation_vjp(work, adj.act_dot, stage)
      adj.collect(work)
      adj.leave(work, stage)
