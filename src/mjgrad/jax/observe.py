"""Differentiable kinematic quantities of a state."""

import dataclasses
import weakref
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import warp as wp

from mjgrad._src import host
from mjgrad._src.engine import parameters
from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.errors import InvalidInput
from mjgrad._src.observe.observer import RELEVANT
from mjgrad._src.observe.observer import Observer
from mjgrad.jax.callback import Arrays
from mjgrad.jax.callback import apply
from mjgrad.jax.callback import checked
from mjgrad.jax.state import State
from mjgrad.jax.step import Params


def observe(
  sim: Simulator,
  state: State,
  names: Sequence[str],
  params: Params | None = None,
  *,
  mocap_pos: jax.typing.ArrayLike | None = None,
  mocap_quat: jax.typing.ArrayLike | None = None,
) -> dict[str, jax.Array]:
  """Kinematic quantities of every world, differentiable in the state, poses and parameters.

  The values are those that `mujoco_warp` computes at this state; the gradient is exact. A gradient
  in a quaternion is orthogonal to it.

  Args:
    sim: the simulator; under `jax.jit` it is a constant of the function.
    state: the state, fields of shape [nworld, n]; only qpos, qvel and time are read.
    names: as in `mjgrad.torch.observe`, for example `site_xpos`, `subtree_com`, `sensordata`.
    params: as in `step`. Poses move what is observed, `body_mass` the centres of mass; nothing
      observed depends on the others.
    mocap_pos: as in `step`.
    mocap_quat: as in `step`.

  Returns:
    By name, arrays with a leading world axis and MuJoCo's shapes, matrices as [3, 3], in the type
    of `state.qpos`.

  Raises:
    InvalidInput: an unknown name, or an array of the wrong shape.
    UnsupportedFeature: sensordata of a model with a sensor that has no gradient; names them all.
  """
  if isinstance(names, str):
    raise InvalidInput(f"names is the string {names!r}; expected a list, for example [{names!r}].")
  values, requested = {}, {}
  for name, value in (params or {}).items():
    per_world = parameters.is_per_world(sim.mjm, sim.nworld, name, np.shape(value))
    if name in RELEVANT:
      values[name] = jnp.asarray(value, jnp.float32)
      requested[name] = per_world
  inputs = {
    "qpos": checked("state.qpos", state.qpos, (sim.nworld, sim.nq)),
    "qvel": checked("state.qvel", state.qvel, (sim.nworld, sim.nv)),
    "time": checked("state.time", state.time, (sim.nworld,)),
  }
  poses = {"mocap_pos": (mocap_pos, 3), "mocap_quat": (mocap_quat, 4)}
  for name, (value, n) in poses.items():
    if value is not None:
      inputs[name] = checked(name, value, (sim.nworld, sim.mjm.nmocap, n))
  call = _Observe(_observer(sim, tuple(dict.fromkeys(names)), tuple(requested.items())))
  result = apply(call, inputs | values)
  return {name: result[name].astype(state.qpos.dtype) for name in call.observer.names}


_OBSERVERS: weakref.WeakKeyDictionary[Simulator, dict] = weakref.WeakKeyDictionary()


def _observer(sim: Simulator, names: tuple[str, ...], requested: tuple) -> Observer:
  observers = _OBSERVERS.setdefault(sim, {})
  if (names, requested) not in observers:
    with wp.ScopedDevice(sim.device):
      observers[names, requested] = Observer(sim, names, dict(requested))
  return observers[names, requested]


@dataclasses.dataclass(frozen=True)
class _Observe:
  """A call of an observer, see `callback.Call`."""

  observer: Observer

  @property
  def outputs(self) -> dict[str, jax.ShapeDtypeStruct]:
    return {
      name: jax.ShapeDtypeStruct(array.numpy().shape, jnp.float32)
      for name, array in self.observer.outputs.items()
    }

  def has_gradient(self, name: str) -> bool:
    return name != "time"

  def forward(self, inputs: Arrays) -> dict[str, np.ndarray]:
    observer = self.observer
    with wp.ScopedDevice(observer.device):
      self._load(inputs)
      observer.forward()
      return {name: host.read(array) for name, array in observer.outputs.items()}

  def backward(self, inputs: Arrays, cotangents: Arrays) -> dict[str, np.ndarray]:
    observer = self.observer
    with wp.ScopedDevice(observer.device):
      self._load(inputs)
      work = observer.work
      for name in observer.names:
        host.write(work.adj_observed[name], cotangents[name])
      observer.backward()
      grads = {"qpos": work.adj_qpos_ambient, "qvel": work.adj_qvel}
      grads |= {"mocap_pos": work.adj_mocap_pos, "mocap_quat": work.adj_mocap_quat}
      grads |= {name: work.adj[name] for name in observer.requested}
      return {
        name: host.read(grad).reshape(inputs[name].shape)
        for name, grad in grads.items()
        if name in inputs
      }

  def _load(self, inputs: Arrays) -> None:
    observer = self.observer
    for name in ("qpos", "qvel", "time"):
      host.write(getattr(observer.data, name), inputs[name])
    for name, (target, model_pose) in observer.mocap.items():
      if name in inputs:
        host.write(target, inputs[name])
      else:
        wp.copy(target, model_pose)
    for name in observer.requested:
      host.write(observer.buffers[name], inputs[name])
