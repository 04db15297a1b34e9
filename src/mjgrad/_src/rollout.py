"""Captured graphs of one step, forward and backward, and the calls that replay them.

A `Program` belongs to one set of parameters and one number of steps per call. It captures three
graphs at first use: the plain forward step, which is `mujoco_warp.step` and a status word; the
recorded forward step, which has the same result and also writes the tape; and the backward step. A
call loads its inputs, replays a graph once per step and reads its outputs; the slot of the tape is
a counter on the device, so one graph serves all steps.
"""

import functools
from collections.abc import Callable
from typing import Any, cast

import warp as wp

from mjgrad._src import graphs
from mjgrad._src.adjoint import tape as tape_ops
from mjgrad._src.adjoint.step_vjp import step_vjp
from mjgrad._src.adjoint.surrogate import Surrogate
from mjgrad._src.adjoint.tape import Tape
from mjgrad._src.adjoint.workspace import Workspace
from mjgrad._src.derived.constants import DerivedConstants
from mjgrad._src.derived.constants import followers
from mjgrad._src.derived.pullback import pull_back
from mjgrad._src.engine import adapter
from mjgrad._src.engine import parameters
from mjgrad._src.engine.status import Status
from mjgrad._src.integrators import coordinates
from mjgrad._src.integrators.runge_kutta import RungeKutta

INPUTS = (
  "qpos",
  "qvel",
  "act",
  "ctrl",
  "qfrc_applied",
  "xfrc_applied",
  "mocap_pos",
  "mocap_quat",
  "qacc_warmstart",
  "time",
  "history",
)
"""Fields of the engine's data that a step reads."""


class Program:
  """Graphs of one step for one set of parameters.

  Args:
    sim: the simulator.
    requested: parameters that are given per call, and whether each is per world.
    nstep: steps per call, which is the length of the tape.
    applied: inputs among `APPLIED` that are given per call.

  Attributes:
    state: arrays of the state that a call starts from and ends in, by the names of the fields of
      the front ends.
    views: what a front end makes of the arrays, which stay where they are.
  """

  def __init__(self, sim, requested: dict[str, bool], nstep: int, applied: tuple[str, ...]):
    self.sim, self.nstep, self.applied = sim, nstep, applied
    self.data = sim.data
    self.requested = requested
    self.following = followers(requested) if sim.derived == "follow" else {}
    self.fields = requested | self.following
    self.model, self.buffers = parameters.with_buffers(sim.model, sim.nworld, self.fields)
    self._graphs = {}
    self.views = {}
    names = ("qpos", "qvel", "act", "qacc_warmstart", "time")
    self.state = {name: getattr(self.data, name) for name in names}
    history = self.data.history
    self.state["history"] = history[:, : sim.nhistory] if history.size else history
    self.state["controller"] = wp.zeros((sim.nworld, 0), dtype=float)

  @functools.cached_property
  def tape(self) -> Tape:
    sim = self.sim
    nstage = sim.tableau.nstage if sim.tableau else 1
    sizes = (sim.nworld, sim.nq, sim.nv, sim.na, sim.nhistory)
    return Tape.empty(self.nstep, nstage, *sizes, sim.device)

  @functools.cached_property
  def stages(self) -> RungeKutta | None:
    """The method of several stages, where the model has one."""
    tableau = self.sim.tableau
    return RungeKutta(self.model, self.data, self.tape, tableau) if tableau else None

  @functools.cached_property
  def surrogate(self) -> Surrogate | None:
    """What the backward pass differentiates in place of the forward pass, where that is asked."""
    sim = self.sim
    return Surrogate(sim, self.model, self.data, INPUTS) if sim.surrogate else None

  @functools.cached_property
  def work(self) -> Workspace:
    return self.workspace()

  def workspace(self) -> Workspace:
    """What the backward pass of a step works in."""
    sim, seen, stages = self.sim, self, self.stages
    if self.surrogate:
      seen = self.surrogate
      stages = stages and RungeKutta(seen.model, seen.data, self.tape, stages.tableau)
    return Workspace(
      sim.mjm,
      seen.model,
      seen.data,
      sim.tree,
      self.tape,
      self.fields,
      self.buffers,
      stages,
      self.status.word,
      self.surrogate,
      sim.smooth_collision.softness if sim.smooth_collision else 0.0,
      self.applied,
    )

  @property
  def status(self) -> Status:
    """What the backward pass reports to."""
    return self.surrogate.status if self.surrogate else self.sim.status

  @functools.cached_property
  def constants(self) -> DerivedConstants:
    return DerivedConstants(self)

  def leave_out(self, name: str) -> None:
    """Sets an input that is not given: to the simulator's default, or where it has none to zero."""
    if name in self.sim.defaults:
      wp.copy(getattr(self.data, name), self.sim.defaults[name])
    elif name in self.state:
      self.state[name].zero_()
    else:
      getattr(self.data, name).zero_()

  def forward(self, record: bool) -> None:
    """Takes `nstep` steps from the state in `data`; fills the tape if `record`.

    Between its stages, `mujoco_warp.step` cannot refresh the velocities that connect and weld rows
    are built from (engine/adapter.py); such steps are always the recorded ones.
    """
    record |= self.sim.tableau is not None and adapter.has_velocity_products(self.model)
    self._follow()
    if record:
      self.replay("begin", self._begin, 1)
    self.replay("record" if record else "plain", self._record if record else self._plain)

  def backward(
    self,
    adj_qpos: wp.array,
    adj_qvel: wp.array,
    adj_act: wp.array,
    adj_history: wp.array | None = None,
  ) -> None:
    """Pulls the cotangents of the last state back through all steps on the tape.

    Args:
      adj_qpos: ambient cotangent of qpos, shape [nworld, nq].
      adj_qvel: cotangent of qvel, shape [nworld, nv].
      adj_act: cotangent of act, shape [nworld, na].
      adj_history: cotangent of the buffers of past controls, shape [nworld, nhistory], or None for
        zero.

    The results are in `work`: `adj_qpos` in the tangent space, `adj_qvel`, `adj_ctrl`, ...
    """
    self._follow()
    if adj_history is None:
      self.seeds["history"].zero_()
    for seed, given in zip(self.seeds.values(), (adj_qpos, adj_qvel, adj_act, adj_history)):
      if given is not None and given is not seed:
        wp.copy(seed, given)
    self.replay("arrive", self._arrive, 1)
    self.replay("backward", self._backward)
    self._finish_backward()

  def ambient_adj_qpos(self) -> wp.array:
    """The cotangent of the first state's qpos in its ambient coordinates, shape [nworld, nq]."""
    self.replay("depart", self._depart, 1)
    return self._adj_ambient

  def recorded(self) -> list[wp.array]:
    """What the backward pass of the last call needs besides its result."""
    return self._recorded

  @functools.cached_property
  def _recorded(self) -> list[wp.array]:
    return [graphs.head(array, self.nstep) for array in self.tape.arrays() if array.size]

  def restore(self, recorded: list, qpos: Any, qvel: Any, fill: Callable[[wp.array, Any], None]):
    """Takes up a call from what was recorded of it and from its result.

    Args:
      recorded: copies of the arrays of `recorded`, of a front end's type.
      qpos: the last positions, of that type.
      qvel: the last velocities, of that type.
      fill: copies the second argument, of that type, to the first.
    """
    for source, target in zip((*recorded, qpos, qvel), (*self.recorded(), *self._last)):
      fill(target, source)

  @functools.cached_property
  def _last(self) -> tuple[wp.array, wp.array]:
    last = slice(self.nstep, self.nstep + 1)
    qpos, qvel = (
      cast(wp.array, array[last]) if array.size else array
      for array in (self.tape.qpos, self.tape.qvel)
    )
    return qpos, qvel

  def first_acceleration(self) -> wp.array:
    """The acceleration at the first state of the last call that was recorded [nworld, nv]."""
    return wp.array(self.tape.qacc.numpy()[0, 0], dtype=float)

  def _finish_backward(self) -> None:
    work = self.work
    if self.surrogate:
      self.status.raise_for_errors()
    elif work.solid_contacts:
      self.status.poll()
    if self.following:
      self.replay("derived_backward", lambda: pull_back(self.constants, work.adj), 1)

  @functools.cached_property
  def seeds(self) -> dict[str, wp.array]:
    """Arrays for the cotangents that `backward` starts from, in the order of its arguments."""
    sim = self.sim
    sizes = {"qpos": sim.nq, "qvel": sim.nv, "act": sim.na, "history": sim.nhistory}
    return {
      name: wp.zeros((sim.nworld, n), dtype=float, device=sim.device) for name, n in sizes.items()
    }

  @functools.cached_property
  def _adj_ambient(self) -> wp.array:
    return wp.zeros((self.sim.nworld, self.sim.nq), dtype=float, device=self.sim.device)

  def _begin(self) -> None:
    self.tape.step.zero_()
    tape_ops.store_state(self.tape, self.data)

  def _arrive(self) -> None:
    work, seeds = self.work, self.seeds
    work.zero_cotangents()
    coordinates.to_tangent(self.model, self.tape.qpos, self.nstep, seeds["qpos"], work.adj_qpos)
    for name in ("qvel", "act", "history"):
      wp.copy(getattr(work, f"adj_{name}"), seeds[name])
    tape_ops.start_at(self.tape, self.nstep)

  def _depart(self) -> None:
    coordinates.to_ambient(self.model, self.tape.qpos, 0, self.work.adj_qpos, self._adj_ambient)

  def _plain(self) -> None:
    adapter.step(self.model, self.data)
    self.sim.status.collect()

  def _record(self) -> None:
    if self.stages is None:
      self._plain()
      tape_ops.store_stage(self.tape, self.data, 0)
    else:
      self.stages.step(self._record_stage)
      self.sim.status.collect()
    tape_ops.store_next(self.tape, self.data)

  def _record_stage(self, stage: int) -> None:
    self.sim.status.collect()
    tape_ops.store_stage(self.tape, self.data, stage)

  def _backward(self) -> None:
    step_vjp(self.work)

  def _follow(self) -> None:
    """Recomputes what follows the parameters in the buffers."""
    parameters.update_followers(self.model, self.buffers)
    self.sim.static_geoms.place(self.model, self.requested)
    self.sim.scaled_meshes.update(self.model, self.buffers)
    if self.following:
      self.replay("derived", self.constants.update, 1)

  def replay(self, name: str, body, times: int | None = None) -> None:
    """Runs `body` as often as a call has steps, or `times`, from a graph captured at first use."""
    if name not in self._graphs:
      self._graphs[name] = self._capture(body)
    for _ in range(times or self.nstep):
      wp.capture_launch(self._graphs[name])

  def _capture(self, body) -> wp.Graph:
    """Captures `body` without changing the state, what is recorded or the cotangents."""
    return graphs.capture(body, self.sim.device, self._mutable())

  def _mutable(self) -> list[wp.array]:
    """Everything that a graph changes and that has to survive its capture."""
    mutable = [getattr(self.data, name) for name in INPUTS]
    mutable += [self.sim.status.word]
    if self.tape:
      mutable += [self.tape.step, *self.tape.arrays()]
    if "surrogate" in self.__dict__ and self.surrogate:
      mutable.append(self.surrogate.status.word)
    if "work" in self.__dict__:
      work = self.work
      mutable += [work.adj_qpos, work.adj_qvel, work.adj_act, work.adj_ctrl, work.adj_history]
      mutable += [work.adj_qfrc_applied, work.adj_xfrc_applied, *work.adj.values()]
      mutable += [work.adj_mocap_pos, work.adj_mocap_quat]
    return mutable
