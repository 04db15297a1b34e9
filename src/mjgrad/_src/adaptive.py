"""Captured graphs of calls whose steps have a size of their own in every world.

A call advances every world by `nstep` control intervals of `opt.timestep` with constant inputs. The
graph of one attempt, for all worlds at once, is replayed until none of them is on its way: a world
that is at the end rests, its results do not depend on the others.

    attempt     plan h, solve the stages, judge, take or leave the step, keep its state
                                                integrators/flow.py, controller.py, checkpoint.py
    backward    load, repeat and reverse steps in the order of integrators/schedule.py; a reversed
                step solves its stages again and pulls the cotangents through them, last first
                                                integrators/flow_vjp.py, adjoint/step_vjp.py
"""

import dataclasses
import functools

import numpy as np
import warp as wp
from warp import utils

from mjgrad._src.adjoint.step_vjp import dynamics_vjp
from mjgrad._src.errors import NonFiniteState
from mjgrad._src.errors import StepLimit
from mjgrad._src.integrators import controller
from mjgrad._src.integrators import coordinates
from mjgrad._src.integrators import schedule
from mjgrad._src.integrators.checkpoint import Checkpoints
from mjgrad._src.integrators.controller import Pace
from mjgrad._src.integrators.flow import Flow
from mjgrad._src.integrators.flow_vjp import FlowCotangents
from mjgrad._src.rollout import Program
from mjgrad._src.rollout import head

ATTEMPTS_PER_LOOK = 8
"""On a GPU, attempts between two looks at how many worlds are on their way."""


@dataclasses.dataclass(frozen=True)
class Stats:
  """What the steps of the last call were.

  Attributes:
    accepted: number of steps taken, shape [nworld]
    rejected: number of steps tried in vain, shape [nworld]
    step_size: sizes of the steps taken [s], zero after a world's last, shape [most steps, nworld]
  """

  accepted: np.ndarray
  rejected: np.ndarray
  step_size: np.ndarray


class AdaptiveProgram(Program):
  """Graphs of the steps of one method for one set of parameters.

  Args:
    sim: the simulator.
    requested: parameters that are given per call, and whether each is per world.
    nstep: control intervals per call.
  """

  def __init__(self, sim, requested: dict[str, bool], nstep: int):
    super().__init__(sim, requested, nstep)
    self.flow = Flow(self.model, self.data, sim.integrator.tableau)
    self.pace = Pace(self.flow, sim.integrator)

    def doubles(n: int) -> wp.array:
      return wp.zeros((sim.nworld, n), dtype=wp.float64)

    self.state = self.state | {
      "qpos": doubles(sim.nq),
      "qvel": doubles(sim.nv),
      "act": doubles(sim.na),
      "time": wp.zeros(sim.nworld, dtype=wp.float64),
    }
    if sim.ncontroller:
      self.state["controller"] = self.pace.pace
    self.first, self.last = (wp.zeros((1, sim.nworld, sim.nq), dtype=float) for _ in range(2))
    self.step = wp.zeros(1, dtype=int)

  @functools.cached_property
  def tape(self) -> None:
    """There is none: see `checkpoints`."""

  @functools.cached_property
  def checkpoints(self) -> Checkpoints:
    return Checkpoints(self.flow, self.sim.adjoint.checkpoints)

  @functools.cached_property
  def cotangents(self) -> FlowCotangents:
    return FlowCotangents(self.flow)

  def forward(self, record: bool) -> None:
    """Takes the steps of a call from the state in `state`; keeps states if `record`.

    Raises:
      StepLimit: a world did not reach the end within its budget of steps.
      CapacityError, NonFiniteState: as in `Simulator.check`.
    """
    sim, flow, pace = self.sim, self.flow, self.pace
    self._follow()
    flow.load(self.state, self.first)
    timestep = None if "opt.timestep" in self.buffers else sim.mjm.opt.timestep
    pace.begin(self.nstep, timestep)
    self._replay("start", self._start, 1)
    if record:
      self.checkpoints.begin()
    name, body = ("record", self._record) if record else ("attempt", self._attempt)
    looks = ATTEMPTS_PER_LOOK if sim.device.is_cuda else 1
    self._replay(name, body, looks)
    while pace.pending.numpy()[0]:
      self._replay(name, body, looks)
    self._replay("end", self._end, 1)
    flow.unload(self.state, self.last)
    sim.latest = self
    self._check()
    if record:
      self.checkpoints.align(pace.accepted)

  def recorded(self) -> list[wp.array]:
    """What the backward pass of the last call needs besides its result."""
    kept = self.checkpoints
    nstep, stride = self._steps()
    used = -(-nstep // stride)
    return [
      self.first,
      head(kept.start, used),
      head(kept.solved, used),
      kept.stride,
      head(self.pace.sizes, nstep),
      self.pace.accepted,
    ]

  def restore(self, recorded: list[wp.array], qpos: wp.array, qvel: wp.array) -> None:
    """Takes up a call from what was recorded of it and from its result."""
    kept, pace = self.checkpoints, self.pace
    first, start, solved, stride, sizes, accepted = recorded
    utils.array_cast(qpos.reshape(self.last.shape), self.last)
    for source, target in (
      (first, self.first),
      (stride, kept.stride),
      (accepted, pace.accepted),
    ):
      wp.copy(target, source)
    for source, target in ((start, kept.start), (solved, kept.solved), (sizes, pace.sizes)):
      wp.copy(head(target, source.shape[0]), source)

  def backward(
    self,
    adj_qpos: wp.array,
    adj_qvel: wp.array,
    adj_act: wp.array,
    adj_history: wp.array | None = None,
  ) -> None:
    """Pulls the cotangents of the last state back through all steps that are recorded.

    Args:
      adj_qpos: ambient cotangent of qpos, shape [nworld, nq].
      adj_qvel: cotangent of qvel, shape [nworld, nv].
      adj_act: cotangent of act, shape [nworld, na].
      adj_history: None; there are no delays.
    """
    work, kept = self.work, self.checkpoints
    work.zero_cotangents()
    self._follow()
    coordinates.to_tangent(self.model, self.last, 0, adj_qpos, work.adj_qpos)
    wp.copy(work.adj_qvel, adj_qvel)
    wp.copy(work.adj_act, adj_act)
    self.cotangents.arrive(work)
    for action in schedule.reverse_all(*self._steps(), kept.count):
      match action:
        case schedule.Load(slot, _):
          kept.load(slot)
        case schedule.Keep(slot):
          kept.store(slot)
        case schedule.Advance(step):
          self.step.fill_(step)
          self._replay("advance", self._advance, 1)
        case schedule.Reverse(step):
          self.step.fill_(step)
          self._replay("backward", self._backward, 1)
    self.cotangents.depart(work)
    self._finish_backward()

  def ambient_adj_qpos(self) -> wp.array:
    out = wp.zeros((self.sim.nworld, self.sim.nq), dtype=float, device=self.sim.device)
    coordinates.to_ambient(self.model, self.first, 0, self.work.adj_qpos, out)
    return out

  def first_acceleration(self) -> wp.array:
    """The acceleration at the first state of the last call that was recorded [nworld, nv]."""
    nworld, nv = self.sim.nworld, self.sim.nv
    return wp.array(self.checkpoints.solved.numpy()[0, :nworld, :nv], dtype=float)

  def stats(self) -> Stats:
    """What the steps of the last call were."""
    accepted = self.pace.accepted.numpy().copy()
    sizes = head(self.pace.sizes, int(accepted.max(initial=0))).numpy().copy()
    sizes[np.arange(len(sizes))[:, None] >= accepted] = 0.0
    return Stats(accepted, self.pace.attempts.numpy() - accepted, sizes)

  def _steps(self) -> tuple[int, int]:
    """The largest number of steps of a world, and the stride of the kept states."""
    return int(self.pace.accepted.numpy().max()), int(self.checkpoints.stride.numpy()[0])

  def _start(self) -> None:
    self.flow.enter(0)
    wp.copy(self.flow.start, self.flow.y)
    self.flow.solve(0, self.sim.status.collect)

  def _attempt(self) -> None:
    self.pace.plan()
    for stage in range(1, self.flow.nstage + 1):
      self.flow.solve(stage, self.sim.status.collect)
    self.pace.judge()

  def _record(self) -> None:
    self._attempt()
    self.checkpoints.follow(self.pace)

  def _end(self) -> None:
    self.pace.end(self.state["time"])
    self.flow.enter(self.flow.nstage)
    self.sim.status.collect()

  def _advance(self) -> None:
    self.pace.recall(self.step)
    for stage in range(1, self.flow.nstage + 1):
      self.flow.solve(stage, self.sim.status.collect)
    self.pace.commit()

  def _backward(self) -> None:
    flow, adj, work = self.flow, self.cotangents, self.work
    self.pace.recall(self.step)
    for stage in range(1, flow.nstage):
      flow.solve(stage, self.sim.status.collect)
    flow.enter(flow.nstage, work.data)
    adj.begin()
    adj.leave(work, flow.nstage)
    for stage in reversed(range(flow.nstage)):
      flow.enter(stage, work.data)
      adj.enter(work, stage)
      dynamics_vjp(work)
      adj.activation_vjp(work, stage)
      adj.collect(work)
      adj.leave(work, stage)

  def _mutable(self) -> list[wp.array]:
    flow = self.flow
    mutable = [flow.step_size, flow.start, flow.y, flow.rate, flow.solved, self.state["time"]]
    mutable += self.pace.arrays()
    for name in ("checkpoints", "cotangents"):
      if name in self.__dict__:
        mutable += self.__dict__[name].arrays()
    return super()._mutable() + mutable

  def _check(self) -> None:
    """Raises when a world did not get to the end."""
    code = self.pace.code.numpy()
    if not code.any():
      return
    self.sim.check()
    world = int(np.flatnonzero(code)[0])
    time, left = (float(a.numpy()[world]) for a in (self.state["time"], self.pace.left))
    if code[world] == controller.NOT_FINITE:
      raise NonFiniteState(
        f"world {world}: the step at time {time:.6g} s is not finite; use a smaller step or an "
        "integrator that adapts it."
      )
    method, step = self.sim.integrator, float(self.pace.planned.numpy()[world])
    raise StepLimit(
      f"world {world}: {method.max_steps} steps of {type(method).__name__} came to the time "
      f"{time:.6g} s, {left:.3g} s before the end of the call; the last one had {step:.3g} s. Use "
      "larger tolerances, a larger max_steps, or softer contacts."
    )
