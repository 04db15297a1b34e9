"""The state of a batch of worlds as tensors."""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
import warp as wp

from mjgrad._src.engine.reference_state import reference_state
from mjgrad._src.engine.simulator import Simulator


@dataclasses.dataclass(frozen=True)
class State:
  """Physics state of every world; leading axes are [nworld], or [T, nworld] from a rollout.

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

  qpos: torch.Tensor
  qvel: torch.Tensor
  act: torch.Tensor
  qacc_warmstart: torch.Tensor
  time: torch.Tensor
  history: torch.Tensor | None = None
  controller: torch.Tensor | None = None

  def __post_init__(self):
    for name in ("history", "controller"):
      if getattr(self, name) is None:
        object.__setattr__(self, name, self.qpos.new_zeros((*self.qpos.shape[:-1], 0)))

  def map(self, fn: Callable[..., torch.Tensor], *others: "State") -> "State":
    """Applies `fn(field, *fields of others)` to every field."""
    names = [field.name for field in dataclasses.fields(self)]
    return State(*(fn(getattr(self, n), *(getattr(o, n) for o in others)) for n in names))

  def detach(self) -> "State":
    """The same state without its gradient history."""
    return self.map(torch.Tensor.detach)


def torch_device(sim: Simulator) -> torch.device:
  """The PyTorch device that a simulator lives on."""
  return torch.device(wp.device_to_torch(sim.device))


def initial_state(sim: Simulator, keyframe: int | str | None = None) -> State:
  """The model's reference state, or one of its keyframes, in every world.

  Args:
    sim: the simulator.
    keyframe: index or name of a keyframe; None takes `qpos0` with zero velocity.

  Returns:
    A state of float32 tensors on the simulator's device.

  Raises:
    InvalidInput: the model has no such keyframe.
  """
  reference = reference_state(sim.mjm, keyframe)
  reference["qacc_warmstart"] = np.zeros(sim.nv)
  reference["controller"] = np.zeros(sim.ncontroller)

  def rows(value) -> torch.Tensor:
    tensor = torch.as_tensor(np.array(value), dtype=torch.float32, device=torch_device(sim))
    return tensor.expand(sim.nworld, *tensor.shape).clone()

  return State(**{name: rows(value) for name, value in reference.items()})
