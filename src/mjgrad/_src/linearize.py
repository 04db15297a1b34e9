"""Gradients of one call from and to NumPy, for tests and for `mjgrad check`."""

import dataclasses

import numpy as np
import warp as wp

from mjgrad._src import host
from mjgrad._src.engine import parameters


@dataclasses.dataclass(frozen=True)
class StepGradient:
  """Result of a call and its vector-Jacobian product.

  Attributes:
    qpos: next positions, shape [nworld, nq]
    qvel: next velocities, shape [nworld, nv]
    act: next activations, shape [nworld, na]
    history: next buffers of past controls, shape [nworld, nhistory]
    qacc: acceleration solved for at the first state, shape [nworld, nv]
    qacc_root: where the gradient was taken, `qacc` after the last Newton step of the backward pass,
      shape [nworld, nv]
    grad: gradients by input name: "qpos" ambient [nworld, nq], "qpos_tangent" [nworld, nv], "qvel",
      "act", "history", "ctrl", "qfrc_applied", "xfrc_applied" [nworld, nbody, 6], "mocap_pos" and
      "mocap_quat" [nworld, nmocap, 3 or 4], and requested parameters [nworld, *field]
  """

  qpos: np.ndarray
  qvel: np.ndarray
  act: np.ndarray
  history: np.ndarray
  qacc: np.ndarray
  qacc_root: np.ndarray
  grad: dict[str, np.ndarray]


def step_gradient(
  sim,
  qpos: np.ndarray,
  qvel: np.ndarray,
  ctrl: np.ndarray | None,
  adj_qpos: np.ndarray,
  adj_qvel: np.ndarray,
  *,
  act: np.ndarray | None = None,
  adj_act: np.ndarray | None = None,
  history: np.ndarray | None = None,
  adj_history: np.ndarray | None = None,
  qfrc_applied: np.ndarray | None = None,
  xfrc_applied: np.ndarray | None = None,
  mocap_pos: np.ndarray | None = None,
  mocap_quat: np.ndarray | None = None,
  qacc_warmstart: np.ndarray | None = None,
  nstep: int = 1,
  params: dict[str, np.ndarray] | None = None,
  wrt_params: tuple[str, ...] = (),
) -> StepGradient:
  """Steps every world and pulls a cotangent of the result back to every input.

  Args:
    sim: the simulator.
    qpos: positions, shape [nworld, nq].
    qvel: velocities, shape [nworld, nv].
    ctrl: controls, shape [nworld, nu], or None.
    adj_qpos: ambient cotangent of the next positions, shape [nworld, nq].
    adj_qvel: cotangent of the next velocities, shape [nworld, nv].
    act: activations, shape [nworld, na], or None for zero.
    adj_act: cotangent of the next activations, shape [nworld, na], or None for zero.
    history: buffers of past controls, shape [nworld, nhistory], or None for those of a reset;
      the step starts at time zero.
    adj_history: cotangent of the next buffers, shape [nworld, nhistory], or None for zero.
    qfrc_applied: generalised forces [N or N m], shape [nworld, nv].
    xfrc_applied: forces and torques on bodies [N, N m], shape [nworld, nbody, 6].
    mocap_pos: positions of mocap bodies [m], shape [nworld, nmocap, 3], or None for the model's.
    mocap_quat: their orientations, shape [nworld, nmocap, 4], or None for the model's.
    qacc_warmstart: where the solver starts, shape [nworld, nv].
    nstep: number of steps with constant inputs.
    params: values of parameters, MuJoCo's shape or with a leading world axis.
    wrt_params: parameters whose gradient is wanted, per world.

  Raises:
    CapacityError, NonFiniteState: see `Simulator.check`.
    InvalidInput: a parameter with an unknown name or a wrong shape.
  """
  values = {name: np.asarray(value) for name, value in (params or {}).items()}
  requested = {
    name: parameters.is_per_world(sim.mjm, sim.nworld, name, value.shape)
    for name, value in values.items()
  }
  for name in wrt_params:
    parameters.check_name(name)
    value = values.get(name, parameters.host_value(sim.mjm, name))
    shape = parameters.host_value(sim.mjm, name).shape
    values[name] = np.broadcast_to(value, (sim.nworld, *shape))
    requested[name] = True
  program = sim.program(requested, nstep)
  inputs = {
    "qpos": qpos,
    "qvel": qvel,
    "act": act,
    "ctrl": ctrl,
    "qfrc_applied": qfrc_applied,
    "xfrc_applied": xfrc_applied,
    "mocap_pos": mocap_pos,
    "mocap_quat": mocap_quat,
    "qacc_warmstart": qacc_warmstart,
  }
  with wp.ScopedDevice(sim.device):
    for name, value in inputs.items():
      if value is None:
        program.leave_out(name)
      else:
        host.write(program.state.get(name, getattr(program.data, name)), value)
    for name in ("time", "history", "controller"):
      program.leave_out(name)
    if history is not None and sim.nhistory:
      host.write(program.state["history"], history)
    for name, value in values.items():
      rows = program.buffers[name].shape[0]
      host.write(program.buffers[name], value[:rows] if requested[name] else value[None])
    program.forward(record=True)
    sim.check()
    names = ("qpos", "qvel", "act", "history")
    next_qpos, next_qvel, next_act, next_history = (host.read(program.state[n]) for n in names)
    qacc = host.read(program.first_acceleration())
    if adj_act is None:
      adj_act = np.zeros((sim.nworld, sim.na))
    if adj_history is None:
      adj_history = np.zeros((sim.nworld, sim.nhistory))
    program.backward(*(_array(adj) for adj in (adj_qpos, adj_qvel, adj_act, adj_history)))
    work = program.work
    qacc_root = host.read(work.qacc)
    grad = {
      "qpos": host.read(program.ambient_adj_qpos()),
      "qpos_tangent": host.read(work.adj_qpos),
      "qvel": host.read(work.adj_qvel),
      "act": host.read(work.adj_act),
      "history": host.read(work.adj_history),
      "ctrl": host.read(work.adj_ctrl),
      "qfrc_applied": host.read(work.adj_qfrc_applied),
      "xfrc_applied": host.read(work.adj_xfrc_applied),
      "mocap_pos": host.read(work.adj_mocap_pos),
      "mocap_quat": host.read(work.adj_mocap_quat),
    }
    grad |= {name: host.read(work.adj[name]) for name in requested}
  return StepGradient(next_qpos, next_qvel, next_act, next_history, qacc, qacc_root, grad)


def _array(value: np.ndarray) -> wp.array:
  return wp.array(np.ascontiguousarray(value, dtype=np.float32), dtype=float)
