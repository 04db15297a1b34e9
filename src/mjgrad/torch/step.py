"""Differentiable steps: one `torch.autograd.Function` around the captured graphs.

What is saved for the backward pass is the tape (input state and solved acceleration of every step),
the inputs that stay constant over a call, and the parameters; nothing else.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Mapping

import torch
import warp as wp

from mjgrad._src.engine import parameters
from mjgrad._src.engine.memory import check_room
from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.errors import InvalidInput
from mjgrad._src.rollout import Program
from mjgrad._src.terms.applied import APPLIED
from mjgrad.torch.state import State
from mjgrad.torch.state import torch_device

CONSTANTS = ("ctrl", "qfrc_applied", "xfrc_applied", "mocap_pos", "mocap_quat")
"""Fields of the engine's data that stay constant over a call, in the order of `_Step`'s inputs."""

STATE = tuple(field.name for field in dataclasses.fields(State))
"""Fields of the state, in the order of `_Step`'s inputs."""

DIFFERENTIABLE = ("qpos", "qvel", "act", "history")
"""Those of them that carry gradients, in the order of `Program.backward`'s arguments."""

Params = Mapping[str, torch.Tensor]


def step(
  sim: Simulator,
  state: State,
  ctrl: torch.Tensor | None = None,
  *,
  nstep: int = 1,
  qfrc_applied: torch.Tensor | None = None,
  xfrc_applied: torch.Tensor | None = None,
  mocap_pos: torch.Tensor | None = None,
  mocap_quat: torch.Tensor | None = None,
  params: Params | None = None,
) -> State:
  """Advances every world by `nstep` time steps with constant inputs.

  The forward result is that of `mujoco_warp.step`; the gradient is exact at the solver's solution.
  Tensors of other floating types are converted at the boundary, and the result has the type of
  `state.qpos`.

  Args:
    sim: the simulator.
    state: where to start, fields of shape [nworld, n].
    ctrl: controls, shape [nworld, nu]; None means zero.
    nstep: number of time steps.
    qfrc_applied: generalised forces [N or N m], shape [nworld, nv]; None means zero.
    xfrc_applied: force and torque on each body's centre of mass [N, N m], shape
      [nworld, nbody, 6]; None means zero.
    mocap_pos: positions of the mocap bodies [m], shape [nworld, nmocap, 3]; None means the model's.
    mocap_quat: their orientations, shape [nworld, nmocap, 4]; None means the model's. Quaternions
      are normalised before use.
    params: model parameters by MuJoCo field name, see `mjgrad.parameters`; MuJoCo's shape, or with
      a leading world axis.

  Returns:
    The state after `nstep` steps, differentiable in every floating input but `time` and
    `qacc_warmstart`.

  Raises:
    InvalidInput: a tensor of the wrong shape or device, or an unknown parameter.
    CapacityError: contacts or constraint rows did not fit. On a GPU this is raised by a later call
      or by the backward pass, so that the step does not wait for the device.
    NonFiniteState: a state is not finite after the step; raised like `CapacityError`.
  """
  device = torch_device(sim)
  if nstep < 1:
    raise InvalidInput(f"nstep is {nstep}; expected at least 1.")

  def prepare(name: str, value: torch.Tensor | None, *shape: int) -> torch.Tensor | None:
    if value is None:
      return None
    if tuple(value.shape) != shape:
      raise InvalidInput(f"{name} has shape {tuple(value.shape)}; expected {shape}.")
    return _on_device(name, value, device)

  ctrl = prepare("ctrl", ctrl, sim.nworld, sim.nu)
  qfrc_applied = prepare("qfrc_applied", qfrc_applied, sim.nworld, sim.nv)
  xfrc_applied = prepare("xfrc_applied", xfrc_applied, sim.nworld, sim.nbody, 6)
  mocap_pos = prepare("mocap_pos", mocap_pos, sim.nworld, sim.mjm.nmocap, 3)
  mocap_quat = prepare("mocap_quat", mocap_quat, sim.nworld, sim.mjm.nmocap, 4)
  values = {
    name: _on_device(f"params['{name}']", value, device) for name, value in (params or {}).items()
  }
  requested = {
    name: parameters.is_per_world(sim.mjm, sim.nworld, name, tuple(value.shape))
    for name, value in values.items()
  }

  forces = {"qfrc_applied": qfrc_applied, "xfrc_applied": xfrc_applied}
  applied = tuple(name for name in APPLIED if forces[name] is not None)
  program = sim.program(requested, nstep, applied)
  given = {name: getattr(state, name) for name in STATE}
  if not given["controller"].numel():
    given["controller"] = state.qpos.new_zeros(sim.nworld, sim.ncontroller)
  fields = []
  for name, value in given.items():
    target = _view(program, program.state[name])
    if value.shape != target.shape:
      raise InvalidInput(
        f"state.{name} has shape {tuple(value.shape)}; expected {tuple(target.shape)}."
      )
    fields.append(_on_device(f"state.{name}", value, device, target.dtype))
  result = _Step.apply(
    program,
    tuple(values),
    *fields,
    ctrl,
    qfrc_applied,
    xfrc_applied,
    mocap_pos,
    mocap_quat,
    *values.values(),
  )
  return State(*(field.to(state.qpos.dtype) for field in result))


def rollout(
  sim: Simulator,
  state: State,
  ctrls: torch.Tensor,
  *,
  nstep: int = 1,
  qfrc_applied: torch.Tensor | None = None,
  xfrc_applied: torch.Tensor | None = None,
  mocap_pos: torch.Tensor | None = None,
  mocap_quat: torch.Tensor | None = None,
  params: Params | None = None,
) -> State:
  """Applies a sequence of controls, each for `nstep` time steps.

  Args:
    sim: the simulator.
    state: where to start, fields of shape [nworld, n].
    ctrls: controls, shape [T, nworld, nu].
    nstep: time steps per control.
    qfrc_applied: as in `step`, constant over the rollout.
    xfrc_applied: as in `step`, constant over the rollout.
    mocap_pos: as in `step`, constant over the rollout.
    mocap_quat: as in `step`, constant over the rollout.
    params: as in `step`.

  Returns:
    The T states after each control, fields of shape [T, nworld, n].

  Raises:
    InvalidInput, CapacityError, NonFiniteState: as in `step`.
    CapacityError: also where what the backward pass needs does not fit into memory; names the
      number of controls, and of worlds, that would.
  """
  if ctrls.dim() != 3 or ctrls.shape[0] == 0:
    raise InvalidInput(
      f"ctrls has shape {tuple(ctrls.shape)}; expected (T, {sim.nworld}, {sim.nu}) with T >= 1."
    )
  states = []
  for ctrl in ctrls:
    state = step(
      sim,
      state,
      ctrl,
      nstep=nstep,
      qfrc_applied=qfrc_applied,
      xfrc_applied=xfrc_applied,
      mocap_pos=mocap_pos,
      mocap_quat=mocap_quat,
      params=params,
    )
    if not states:
      remedy = "roll out fewer controls at a time, or use torch.utils.checkpoint"
      stored = _stored_bytes(state) // sim.nworld
      spare = _cached_bytes(sim.device)
      check_room(sim.device, sim.nworld, ctrls.shape[0], stored, "controls", remedy, spare)
    states.append(state)
  return states[0].map(lambda *fields: torch.stack(fields), *states[1:])


class _Step(torch.autograd.Function):
  @staticmethod
  def forward(ctx, program: Program, names, *tensors):
    record = any(ctx.needs_input_grad)
    fields, inputs = tensors[: len(STATE)], tensors[len(STATE) :]
    with _torch_stream(program.sim.device):
      for name, value in zip(STATE, fields, strict=True):
        _fill(program, program.state[name], value)
      _load_constants(program, names, inputs)
      program.forward(record)
      program.sim.status.poll()
      outputs = tuple(_view(program, program.state[name]).clone() for name in STATE)
      ctx.mark_non_differentiable(*(o for o, n in zip(outputs, STATE) if n not in DIFFERENTIABLE))
      if record:
        ctx.program, ctx.names = program, names
        recorded = [_view(program, array).clone() for array in program.recorded()]
        ctx.nrecorded = len(recorded)
        ctx.nbyte = sum(map(_nbyte, (outputs[0], outputs[1], *recorded)))
        ctx.save_for_backward(outputs[0], outputs[1], *recorded, *inputs)
    return outputs

  @staticmethod
  @torch.autograd.function.once_differentiable
  def backward(ctx, *cotangents):
    program = ctx.program
    qpos, qvel, *saved = ctx.saved_tensors
    recorded, inputs = saved[: ctx.nrecorded], saved[ctx.nrecorded :]
    adjoint = dict(zip(STATE, cotangents, strict=True))
    with _torch_stream(program.sim.device):
      program.sim.check()
      program.restore(recorded, qpos, qvel, functools.partial(_fill, program))
      _load_constants(program, ctx.names, inputs)
      for name, seed in program.seeds.items():
        _fill(program, seed, adjoint[name])
      program.backward(*program.seeds.values())
      work = program.work
      arrays = {
        "qpos": program.ambient_adj_qpos(),
        "qvel": work.adj_qvel,
        "act": work.adj_act,
        "history": work.adj_history,
      }
      results = [arrays.get(name) for name in STATE]
      results += [getattr(work, f"adj_{name}") for name in CONSTANTS]
      results += [work.adj[name] for name in ctx.names]
      needed = ctx.needs_input_grad[2:]
      shapes = [None] * (len(STATE) + len(CONSTANTS)) + [v.shape for v in inputs[len(CONSTANTS) :]]
      grads = [
        _gradient(program, array, shape) if array is not None and n else None
        for array, shape, n in zip(results, shapes, needed, strict=True)
      ]
    return (None, None, *grads)


def _stored_bytes(state: State) -> int:
  """What the call that ended in a state stored, for it to be stacked and pulled back."""
  fields = [getattr(state, name) for name in STATE]
  node = state.qpos.grad_fn
  while node is not None and not hasattr(node, "nbyte"):
    node = node.next_functions[0][0]
  return sum(map(_nbyte, fields)) + (node.nbyte if node is not None else 0)


def _nbyte(tensor: torch.Tensor) -> int:
  return tensor.numel() * tensor.element_size()


def _cached_bytes(device: wp.Device) -> int:
  """What PyTorch holds of a device's memory without using it."""
  if not device.is_cuda:
    return 0
  place = wp.device_to_torch(device)
  return torch.cuda.memory_reserved(place) - torch.cuda.memory_allocated(place)


def _on_device(
  name: str, value: torch.Tensor, device: torch.device, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
  if value.device != device:
    raise InvalidInput(f"{name} is on {value.device}; the simulator is on {device}.")
  return value.to(dtype).contiguous()


def _view(program: Program, array: wp.array) -> torch.Tensor:
  """The memory of an array of the program as a tensor, which is made once."""
  key = (array.ptr, array.shape, array.strides, array.dtype)
  if key not in program.views:
    program.views[key] = (wp.to_torch(array), array)
  return program.views[key][0]


def _gradient(program: Program, array: wp.array, shape: torch.Size | None) -> torch.Tensor:
  """A copy of a cotangent, in a shape if one is given."""
  tensor = _view(program, array).clone()
  return tensor if shape is None else tensor.view(shape)


def _fill(program: Program, array: wp.array, value: torch.Tensor) -> None:
  if value.numel():
    target = _view(program, array)
    target.copy_(value.detach().reshape(target.shape))


def _load_constants(program: Program, names, inputs) -> None:
  """Loads the inputs that stay constant over a call: `CONSTANTS`, then the named parameters."""
  for name, value in zip(CONSTANTS, inputs, strict=False):
    if value is None:
      program.leave_out(name)
    else:
      _fill(program, getattr(program.data, name), value)
  for name, value in zip(names, inputs[len(CONSTANTS) :], strict=True):
    _fill(program, program.buffers[name], value)


def _torch_stream(device: wp.Device) -> contextlib.AbstractContextManager:
  """Makes Warp launch on PyTorch's current stream, so that neither waits for the other."""
  if not device.is_cuda:
    return wp.ScopedDevice(device)
  stack = contextlib.ExitStack()
  stack.enter_context(wp.ScopedDevice(device))
  stream = wp.stream_from_torch(torch.cuda.current_stream(wp.device_to_torch(device)))
  stack.enter_context(wp.ScopedStream(stream, sync_enter=False))
  return stack
