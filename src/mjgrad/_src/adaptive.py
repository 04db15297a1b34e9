"""Captured graphs of calls whose steps have a size of their own in every world.

A call advances every world by `nstep` control intervals of `opt.timestep` with constant inputs. The
graph of one attempt, for all worlds at once, is replayed until none of them is on its way: a world
that is at the end rests, and no world's result depends on another's.

    attempt     plan h, solve the stages, judge, take or leave the step
                                                integrators/flow.py, controller.py, pace.py
    backward    through the steps that were taken, or by steps of its own
                                                adjoint/discretise.py, adjoint/backsolve.py
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import warp as wp

from mjgrad._src.adjoint.backsolve import ContinuousAdjoint
from mjgrad._src.adjoint.discretise import DiscreteAdjoint
from mjgrad._src.graphs import head
from mjgrad._src.integrators import coordinates
from mjgrad._src.integrators.flow import Flow
from mjgrad._src.integrators.methods import Backsolve
from mjgrad._src.integrators.pace import Pace
from mjgrad._src.rollout import Program

ATTEMPTS_PER_LOOK = 8
"""On a GPU, attempts between two looks at how many worlds are on their way."""


@dataclasses.dataclass(frozen=True)
class Stats:
  """What the steps of the last call were.

  Attributes:
    accepted: number of steps taken, shape [nworld]
    rejected: number of steps tried in vain, shape [nworld]
    jumps: number of steps taken in which a force jumped, shape [nworld]
    jumps_left_out: number of jumps that no opening or closing limit or contact explains, so that
      the gradient lacks their term; complete after the backward pass, shape [nworld]
    step_size: sizes of the steps taken [s], zero after a world's last, shape [most steps, nworld]
  """

  accepted: np.ndarray
  rejected: np.ndarray
  jumps: np.ndarray
  jumps_left_out: np.ndarray
  step_size: np.ndarray


class AdaptiveProgram(Program):
  """Graphs of the steps of one method for one set of parameters.

  Args:
    sim: the simulator.
    requested: parameters that are given per call, and whether each is per world.
    nstep: control intervals per call.
    applied: which of the applied forces and mocap poses are given per call.
  """

  def __init__(self, sim, requested: dict[str, bool], nstep: int, applied: tuple[str, ...]):
    super().__init__(sim, requested, nstep, applied)
    self.timestep = None if "opt.timestep" in self.buffers else sim.mjm.opt.timestep
    self.flow = Flow(self.model, self.data, sim.integrator.tableau)
    self.pace = Pace(self.flow, sim.integrator)

    def doubles(*shape: int) -> wp.array:
      return wp.zeros((sim.nworld, *shape), dtype=wp.float64)

    own = {"qpos": doubles(sim.nq), "qvel": doubles(sim.nv), "act": doubles(sim.na)}
    self.state |= own | {"time": doubles()}
    if sim.ncontroller:
      self.state["controller"] = self.pace.pace
    self.acceleration = wp.zeros_like(self.data.qacc)
    self.reviewed = self.pace
    self.first, self.last = (wp.zeros((1, sim.nworld, sim.nq), dtype=float) for _ in range(2))

  @functools.cached_property
  def tape(self) -> None:
    """There is none: the adjoint keeps what it needs."""

  @functools.cached_property
  def adjoint(self) -> DiscreteAdjoint | ContinuousAdjoint:
    """The backward pass."""
    kind = ContinuousAdjoint if isinstance(self.sim.adjoint, Backsolve) else DiscreteAdjoint
    return kind(self)

  def forward(self, record: bool) -> None:
    """Takes the steps of a call from the state in `state`.

    Args:
      record: whether the backward pass of the call will be asked for.

    Raises:
      StepLimit: a world did not reach the end within its budget of steps.
      CapacityError, NonFiniteState: as in `Simulator.check`.
    """
    sim, flow, pace = self.sim, self.flow, self.pace
    self.reviewed = pace
    self._follow()
    flow.load(self.state, self.first)
    pace.begin(self.nstep, self.timestep)
    self.replay("start", self._start, 1)
    if record:
      self.adjoint.begin()
      self.run(pace, "record", self._record)
      self.adjoint.end()
    else:
      self.run(pace, "attempt", self._attempt)
    self.replay("end", self._end, 1)
    flow.unload(self.state, self.last)
    sim.latest = self
    if pace.code.numpy().any():
      sim.check()
      pace.raise_for_errors("in a call")

  def run(self, pace: Pace, name: str, attempt: Callable[[], None]) -> None:
    """Replays the graph of an attempt until every world is at the end, or out of steps."""
    times = ATTEMPTS_PER_LOOK if self.sim.device.is_cuda else 1
    self.replay(name, attempt, times)
    while pace.pending.numpy()[0]:
      self.replay(name, attempt, times)

  def recorded(self) -> list[wp.array]:
    """What the backward pass of the last call needs besides its result."""
    return [self.first, *self.adjoint.recorded()]

  def restore(self, recorded: list, qpos: Any, qvel: Any, fill: Callable[[wp.array, Any], None]):
    """Takes up a call from what was recorded of it and from its result, as in `Program`."""
    first, *rest = recorded
    fill(self.first, first)
    fill(self.last, qpos)
    self.adjoint.restore(rest, fill)

  def backward(
    self,
    adj_qpos: wp.array,
    adj_qvel: wp.array,
    adj_act: wp.array,
    adj_history: wp.array | None = None,
  ) -> None:
    """Pulls the cotangents of the last state back through the call that is recorded.

    Args:
      adj_qpos: ambient cotangent of qpos, shape [nworld, nq].
      adj_qvel: cotangent of qvel, shape [nworld, nv].
      adj_act: cotangent of act, shape [nworld, na].
      adj_history: not used; there are no delays.

    Raises:
      StepLimit: `Backsolve` did not get back to the start within its budget of steps.
    """
    work = self.work
    work.zero_cotangents()
    self._follow()
    coordinates.to_tangent(self.model, self.last, 0, adj_qpos, work.adj_qpos)
    wp.copy(work.adj_qvel, adj_qvel)
    wp.copy(work.adj_act, adj_act)
    self.adjoint.backward()
    self.reviewed = self.adjoint.pace
    self._finish_backward()

  def ambient_adj_qpos(self) -> wp.array:
    coordinates.to_ambient(self.model, self.first, 0, self.work.adj_qpos, self._adj_ambient)
    return self._adj_ambient

  def first_acceleration(self) -> wp.array:
    """The acceleration at the first state of the last call [nworld, nv]."""
    return self.acceleration

  def stats(self) -> Stats:
    """What the steps of the last call were."""
    accepted = self.pace.accepted.numpy().copy()
    sizes = head(self.pace.sizes, int(accepted.max(initial=0))).numpy().copy()
    sizes[np.arange(len(sizes))[:, None] >= accepted] = 0.0
    rejected = self.pace.attempts.numpy() - accepted
    return Stats(accepted, rejected, self.pace.jumps(), self._jumps_left_out(), sizes)

  def _jumps_left_out(self) -> np.ndarray:
    if self.surrogate:
      return self.reviewed.jumps()
    return self.reviewed.jumps() - self.reviewed.jumps(explained=True)

  def _start(self) -> None:
    self.flow.enter(0)
    wp.copy(self.flow.start, self.flow.y)
    self.flow.solve(0, self.sim.status.collect)
    wp.copy(self.acceleration, self.data.qacc)

  def _attempt(self) -> None:
    self.pace.plan()
    for stage in range(1, self.flow.nstage + 1):
      self.flow.solve(stage, self.sim.status.collect)
    self.pace.judge()
    self.pace.commit()

  def _record(self) -> None:
    self._attempt()
    self.adjoint.follow()

  def _end(self) -> None:
    self.pace.end(self.state["time"])
    self.flow.enter(self.flow.nstage)
    self.sim.status.collect()

  def _mutable(self) -> list[wp.array]:
    mutable = [*self.flow.arrays(), *self.pace.arrays(), self.state["time"]]
    if "adjoint" in self.__dict__:
      mutable += self.adjoint.arrays()
    return super()._mutable() + mutable
