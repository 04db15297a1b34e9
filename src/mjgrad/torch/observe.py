"""Differentiable kinematic quantities of a state."""

import weakref
from collections.abc import Mapping, Sequence

import torch
import warp as wp

from mjgrad._src.engine import parameters
from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.errors import InvalidInput
from mjgrad._src.observe.observer import RELEVANT
from mjgrad._src.observe.observer import Observer
from mjgrad.torch.state import State
from mjgrad.torch.state import torch_device
from mjgrad.torch.step import _on_device
from mjgrad.torch.step import _torch_stream


def observe(
  sim: Simulator,
  state: State,
  names: Sequence[str],
  params: Mapping[str, torch.Tensor] | None = None,
  *,
  mocap_pos: torch.Tensor | None = None,
  mocap_quat: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
  """Kinematic quantities of every world, differentiable in the state, poses and parameters.

  The values are those that `mujoco_warp` computes at this state; the gradient is exact. A gradient
  in a quaternion is orthogonal to it.

  Args:
    sim: the simulator.
    state: the state, fields of shape [nworld, n]; only qpos, qvel and time are read.
    names: any of `xpos`, `xquat`, `xmat`, `xipos`, `geom_xpos`, `geom_xmat`, `site_xpos`,
      `site_xmat`, `subtree_com`, `cvel` [rad/s, m/s] about the `subtree_com` of the body's root,
      and `sensordata`, for sensors of joint positions and velocities, frames of bodies, geoms and
      sites, subtree centres of mass and their velocities, velocimeters, gyros, magnetometers and
      the clock.
    params: as in `step`. Poses move what is observed, `body_mass` the centres of mass; nothing
      observed depends on the others.
    mocap_pos: as in `step`.
    mocap_quat: as in `step`.

  Returns:
    By name, tensors with a leading world axis and MuJoCo's shapes, matrices as [3, 3], in the type
    of `state.qpos`.

  Raises:
    InvalidInput: an unknown name, or a tensor of the wrong shape or device.
    UnsupportedFeature: sensordata of a model with a sensor that has no gradient; names them all.
  """
  if isinstance(names, str):
    raise InvalidInput(f"names is the string {names!r}; expected a list, for example [{names!r}].")
  values = {}
  for name, value in (params or {}).items():
    per_world = parameters.is_per_world(sim.mjm, sim.nworld, name, tuple(value.shape))
    if name in RELEVANT:
      values[name] = (value, per_world)
  call = _call(sim, tuple(names), tuple((name, pw) for name, (_, pw) in values.items()))
  poses = {"mocap_pos": mocap_pos, "mocap_quat": mocap_quat}
  inputs = [
    call.checked("state.qpos", state.qpos, call.qpos.shape),
    call.checked("state.qvel", state.qvel, call.qvel.shape),
    *(
      v if v is None else call.checked(name, v, call.mocap[name][0].shape)
      for name, v in poses.items()
    ),
    *(_on_device(f"params['{name}']", v, call.device) for name, (v, _) in values.items()),
  ]
  time = call.checked("state.time", state.time, call.time.shape) if call.reads_time else None
  if torch.is_grad_enabled() and any(v is not None and v.requires_grad for v in inputs):
    outputs = _Observe.apply(call, time, *inputs)
  else:
    outputs = call.forward(time, *inputs)
  dtype = state.qpos.dtype
  if dtype != torch.float32:
    outputs = [value.to(dtype) for value in outputs]
  return dict(zip(call.observer.names, outputs, strict=True))


class _Call:
  """An observer and PyTorch's views of its arrays, made once because making them takes time."""

  def __init__(self, sim: Simulator, names: tuple[str, ...], requested: dict[str, bool]):
    self.device = torch_device(sim)
    with wp.ScopedDevice(sim.device):
      self.observer = Observer(sim, tuple(dict.fromkeys(names)), requested)
    data = sim.data
    self.reads_time = "sensordata" in names
    self.qpos, self.qvel, self.time = (wp.to_torch(a) for a in (data.qpos, data.qvel, data.time))
    self.outputs = [wp.to_torch(array) for array in self.observer.outputs.values()]
    self.mocap = {
      name: (wp.to_torch(array), wp.to_torch(pose))
      for name, (array, pose) in self.observer.mocap.items()
    }
    self.buffers = [wp.to_torch(self.observer.buffers[name]) for name in requested]
    self._adjoints: tuple[list[torch.Tensor], list[torch.Tensor]] | None = None

  @property
  def adjoints(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Where cotangents of the outputs go in, and where those of the inputs come out."""
    if self._adjoints is None:
      with wp.ScopedDevice(self.observer.device):
        work = self.observer.work
      results = [work.adj_qpos_ambient, work.adj_qvel, work.adj_mocap_pos, work.adj_mocap_quat]
      results += [work.adj[name] for name in self.observer.requested]
      self._adjoints = (
        [wp.to_torch(work.adj_observed[name]) for name in self.observer.names],
        [wp.to_torch(array) for array in results],
      )
    return self._adjoints

  def checked(self, name: str, value: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    if value.shape != shape:
      raise InvalidInput(f"{name} has shape {tuple(value.shape)}; expected {tuple(shape)}.")
    return _on_device(name, value, self.device)

  def load(self, qpos, qvel, mocap_pos, mocap_quat, *values: torch.Tensor) -> None:
    self.qpos.copy_(qpos)
    self.qvel.copy_(qvel)
    given = {"mocap_pos": mocap_pos, "mocap_quat": mocap_quat}
    for name, (target, model_pose) in self.mocap.items():
      target.copy_(model_pose if given[name] is None else given[name])
    for buffer, value in zip(self.buffers, values, strict=True):
      buffer.copy_(value.view(buffer.shape))

  @torch.no_grad()
  def forward(self, time: torch.Tensor | None, *inputs) -> tuple[torch.Tensor, ...]:
    with _torch_stream(self.observer.device):
      self.load(*inputs)
      if time is not None:
        self.time.copy_(time)
      self.observer.forward()
      return tuple(value.clone() for value in self.outputs)

  @torch.no_grad()
  def backward(self, inputs, cotangents) -> list[torch.Tensor | None]:
    with _torch_stream(self.observer.device):
      adj_outputs, adj_inputs = self.adjoints
      self.load(*inputs)
      for target, value in zip(adj_outputs, cotangents, strict=True):
        if value is None:
          target.zero_()
        else:
          target.copy_(value)
      self.observer.backward()
      results = zip(adj_inputs, inputs, strict=True)
      return [None if v is None else result.view(v.shape).clone() for result, v in results]


_CALLS: weakref.WeakKeyDictionary[Simulator, dict] = weakref.WeakKeyDictionary()


def _call(sim: Simulator, names: tuple[str, ...], requested: tuple[tuple[str, bool], ...]) -> _Call:
  calls = _CALLS.setdefault(sim, {})
  key = (names, requested)
  if key not in calls:
    calls[key] = _Call(sim, names, dict(requested))
  return calls[key]


class _Observe(torch.autograd.Function):
  @staticmethod
  def forward(ctx, call: _Call, time, *inputs):
    ctx.call = call
    ctx.save_for_backward(*inputs)
    ctx.set_materialize_grads(False)
    return call.forward(time, *inputs)

  @staticmethod
  @torch.autograd.function.once_differentiable
  def backward(ctx, *cotangents):
    return None, None, *ctx.call.backward(ctx.saved_tensors, cotangents)
