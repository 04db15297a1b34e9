"""The state of a batch of worlds as a pytree."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from mjgrad._src.engine.reference_state import reference_state
from mjgrad._src.engine.simulator import Simulator


@dataclasses.dataclass(frozen=True)
class State:
  """Physics state of every world; leading axes are [nworld], or [T, nworld] from a rollout.

  A pytree: `jax.tree.map` applies a function to every field.

  Attributes:
    qpos: positions [m, rad, or unit quaternion], shape [nworld, nq]
    qvel: velocities [m/s or rad/s], shape [nworld, nv]
    act: actuator activations, shape [nworld, na]
    qacc_warmstart: where the solver starts [m/s^2 or rad/s^2]; carries no gradient, because the
      solution does not depend on it; shape [nworld, nv]
    time: simulation time [s]; carries no gradient; shape [nworld]
    history: MuJoCo's buffers of past controls, shape [nworld, nhistory], from which delayed
      actuators read; only the controls among its entries carry gradients. Empty, and may be left
      out, in models without delays.
    controller: what the controller of an adaptive integrator remembers, shape [nworld, 3]: the next
      step [s], zero for a fresh start, and the inverse errors of the last two steps; carries no
      gradient. Empty, and may be left out, with other integrators.
  """

  qpos: jax.Array
  qvel: jax.Array
  act: jax.Array
  qacc_warmstart: jax.Array
  time: jax.Array
  history: jax.Array | None = None
  controller: jax.Array | None = None

  def __post_init__(self):
    for name in ("history", "controller"):
      if getattr(self, name) is None:
        empty = jnp.zeros((*self.qpos.shape[:-1], 0), self.qpos.dtype)
        object.__setattr__(self, name, empty)


FIELDS = tuple(field.name for field in dataclasses.fields(State))


def _flatten(state: State) -> tuple[list, None]:
  return [(jax.tree_util.GetAttrKey(name), getattr(state, name)) for name in FIELDS], None


def _unflatten(_, leaves) -> State:
  """A state of any leaves: JAX also makes states of things that are not arrays."""
  state = object.__new__(State)
  for name, leaf in zip(FIELDS, leaves, strict=True):
    object.__setattr__(state, name, leaf)
  return state


jax.tree_util.register_pytree_with_keys(State, _flatten, _unflatten)


def initial_state(sim: Simulator, keyframe: int | str | None = None) -> State:
  """The model's reference state, or one of its keyframes, in every world.

  Args:
    sim: the simulator.
    keyframe: index or name of a keyframe; None takes `qpos0` with zero velocity.

  Returns:
    A state of float32 arrays on JAX's default device.

  Raises:
    InvalidInput: the model has no such keyframe.
  """
  reference = reference_state(sim.mjm, keyframe)
  reference["qacc_warmstart"] = np.zeros(sim.nv)
  reference["controller"] = np.zeros(sim.ncontroller)

  def rows(value) -> jax.Array:
    return jnp.broadcast_to(jnp.asarray(value, jnp.float32), (sim.nworld, *np.shape(value)))

  return State(**{name: rows(value) for name, value in reference.items()})
