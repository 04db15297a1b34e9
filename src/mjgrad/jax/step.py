"""Differentiable steps and rollouts as pure functions of a state, inputs and parameters.

What is kept for the backward pass is the arguments of a call; it takes the steps of the call again,
and they end where they ended before.
"""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import warp as wp

from mjgrad._src import host
from mjgrad._src.engine import parameters
from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.errors import InvalidInput
from mjgrad._src.rollout import Program
from mjgrad._src.terms.applied import APPLIED
from mjgrad.jax.callback import Arrays
from mjgrad.jax.callback import apply
from mjgrad.jax.callback import checked
from mjgrad.jax.state import FIELDS
from mjgrad.jax.state import State

CONSTANTS = ("ctrl", "qfrc_applied", "xfrc_applied", "mocap_pos", "mocap_quat")
"""Fields of the engine's data that stay constant over a call."""

DIFFERENTIABLE = ("qpos", "qvel", "act", "history")
"""Fields of the state that carry gradients."""

Params = Mapping[str, jax.typing.ArrayLike]


def step(
  sim: Simulator,
  state: State,
  ctrl: jax.typing.ArrayLike | None = None,
  *,
  nstep: int = 1,
  qfrc_applied: jax.typing.ArrayLike | None = None,
  xfrc_applied: jax.typing.ArrayLike | None = None,
  mocap_pos: jax.typing.ArrayLike | None = None,
  mocap_quat: jax.typing.ArrayLike | None = None,
  params: Params | None = None,
) -> State:
  """Advances every world by `nstep` time steps with constant inputs.

  The forward result is that of `mujoco_warp.step`; the gradient is exact at the solver's solution.
  Arrays of other types are converted at the boundary, and the result has the type of `state.qpos`.
  An integrator with steps of its own keeps its state in float64: between calls that is lost unless
  `jax_enable_x64` is set and the state is one of float64 arrays.

  Args:
    sim: the simulator; under `jax.jit` it is a constant of the function.
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
    The state after `nstep` steps, differentiable in every input but `time`, `qacc_warmstart` and
    `controller`.

  Raises:
    InvalidInput: an array of the wrong shape, or an unknown parameter.
    CapacityError: contacts or constraint rows did not fit.
    NonFiniteState: a state is not finite after the step.
    StepLimit: an integrator did not reach the end within its budget of steps.
    jax.errors.JaxRuntimeError: one of the last three, with its text, under `jax.jit`.
  """
  if nstep < 1:
    raise InvalidInput(f"nstep is {nstep}; expected at least 1.")
  shapes = {
    "ctrl": (sim.nworld, sim.nu),
    "qfrc_applied": (sim.nworld, sim.nv),
    "xfrc_applied": (sim.nworld, sim.nbody, 6),
    "mocap_pos": (sim.nworld, sim.mjm.nmocap, 3),
    "mocap_quat": (sim.nworld, sim.mjm.nmocap, 4),
  }
  given = dict(zip(CONSTANTS, (ctrl, qfrc_applied, xfrc_applied, mocap_pos, mocap_quat)))
  constants = {
    name: checked(name, value, shapes[name]) for name, value in given.items() if value is not None
  }
  values = {name: jnp.asarray(value, jnp.float32) for name, value in (params or {}).items()}
  requested = {
    name: parameters.is_per_world(sim.mjm, sim.nworld, name, value.shape)
    for name, value in values.items()
  }
  applied = tuple(name for name in APPLIED if name in constants)
  call = _Step(sim.program(requested, nstep, applied), tuple(constants), tuple(values))
  fields = {name: getattr(state, name) for name in FIELDS}
  if not fields["controller"].size:
    fields["controller"] = jnp.zeros((sim.nworld, sim.ncontroller), jnp.float32)
  fields = {
    name: checked(f"state.{name}", value, call.outputs[name].shape, call.outputs[name].dtype)
    for name, value in fields.items()
  }
  result = apply(call, fields | constants | values)
  return State(**{name: result[name].astype(state.qpos.dtype) for name in FIELDS})


def rollout(
  sim: Simulator,
  state: State,
  ctrls: jax.typing.ArrayLike,
  *,
  nstep: int = 1,
  qfrc_applied: jax.typing.ArrayLike | None = None,
  xfrc_applied: jax.typing.ArrayLike | None = None,
  mocap_pos: jax.typing.ArrayLike | None = None,
  mocap_quat: jax.typing.ArrayLike | None = None,
  params: Params | None = None,
) -> State:
  """Applies a sequence of controls, each for `nstep` time steps; a `jax.lax.scan` of `step`.

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
    InvalidInput: as in `step`.
    jax.errors.JaxRuntimeError: what `step` reports, with its text.
  """
  shape = np.shape(ctrls)
  if len(shape) != 3 or shape[0] == 0:
    raise InvalidInput(
      f"ctrls has shape {shape}; expected (T, {sim.nworld}, {sim.nu}) with T >= 1."
    )
  constants = {
    "qfrc_applied": qfrc_applied,
    "xfrc_applied": xfrc_applied,
    "mocap_pos": mocap_pos,
    "mocap_quat": mocap_quat,
    "params": dict(params or {}),
  }
  return _rollout(sim, nstep, state, jnp.asarray(ctrls), constants)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _rollout(sim: Simulator, nstep: int, state: State, ctrls: jax.Array, constants: dict) -> State:
  def advance(state: State, ctrl: jax.Array) -> tuple[State, State]:
    state = step(sim, state, ctrl, nstep=nstep, **constants)
    return state, state

  dtype = state.qpos.dtype
  start = jax.tree.map(lambda field: jnp.asarray(field, dtype), state)
  return jax.lax.scan(advance, start, ctrls)[1]


@dataclasses.dataclass(frozen=True)
class _Step:
  """A call of a program, see `callback.Call`.

  Attributes:
    program: its graphs
    constants: which of `CONSTANTS` are given
    names: parameters that are given
  """

  program: Program
  constants: tuple[str, ...]
  names: tuple[str, ...]

  @property
  def outputs(self) -> dict[str, jax.ShapeDtypeStruct]:
    def like(array: wp.array) -> jax.ShapeDtypeStruct:
      dtype = jax.dtypes.canonicalize_dtype(wp.dtype_to_numpy(array.dtype))
      return jax.ShapeDtypeStruct(array.shape, dtype)

    return {name: like(self.program.state[name]) for name in FIELDS}

  def has_gradient(self, name: str) -> bool:
    return name not in FIELDS or name in DIFFERENTIABLE

  def forward(self, inputs: Arrays) -> dict[str, np.ndarray]:
    with wp.ScopedDevice(self.program.sim.device):
      self._run(inputs, record=False)
      state = {name: host.read(self.program.state[name]) for name in FIELDS}
    return {name: state[name].astype(like.dtype) for name, like in self.outputs.items()}

  def backward(self, inputs: Arrays, cotangents: Arrays) -> dict[str, np.ndarray]:
    program = self.program
    with wp.ScopedDevice(program.sim.device):
      self._run(inputs, record=True)
      for name, seed in program.seeds.items():
        host.write(seed, cotangents[name])
      program.backward(*program.seeds.values())
      program.status.raise_for_errors()
      work = program.work
      grads = {name: getattr(work, f"adj_{name}") for name in (*DIFFERENTIABLE, *self.constants)}
      grads["qpos"] = program.ambient_adj_qpos()
      grads |= {name: work.adj[name] for name in self.names}
      return {
        name: host.read(grad).astype(inputs[name].dtype).reshape(inputs[name].shape)
        for name, grad in grads.items()
      }

  def _run(self, inputs: Arrays, record: bool) -> None:
    """Takes the steps of the call, from its inputs alone."""
    program = self.program
    for name in FIELDS:
      host.write(program.state[name], inputs[name])
    for name in CONSTANTS:
      if name in self.constants:
        host.write(getattr(program.data, name), inputs[name])
      else:
        program.leave_out(name)
    for name in self.names:
      host.write(program.buffers[name], inputs[name])
    program.forward(record)
    program.sim.check()
