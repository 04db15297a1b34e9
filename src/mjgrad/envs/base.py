"""Batched differentiable environments: a task (what to do) on a physics (how it moves).

A `Task` is a leaf with the model, the reset distribution, the observation and the reward. An `Env`
runs one task in many worlds at once and keeps the autograd graph through state, observation and
reward, so that a loss over several control steps can be differentiated by the actions.

Held fixed: the episode end. Whether a world terminates carries no gradient, and a reset world
starts a new graph.
"""

import abc
import dataclasses
from typing import Any, Protocol

import mujoco
import numpy as np
import torch

from mjgrad._src.errors import InvalidInput


class Task(abc.ABC):
  """One control problem. Every tensor has a leading world axis; n is the number of worlds."""

  name: str
  """Name on the command line and in checkpoints."""
  num_obs: int
  """Length of an observation."""
  num_act: int
  """Number of actions, each in [-1, 1]; an action is MuJoCo's ctrl, the gear gives it a unit."""
  nstep: int
  """Simulator steps per control step."""
  episode_length: int
  """Control steps after which an episode is cut off (truncated)."""

  @abc.abstractmethod
  def load_model(self) -> mujoco.MjModel:
    """Compiles the task's MJCF."""

  @abc.abstractmethod
  def sample(self, n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws n start states on the CPU: qpos, shape [n, nq], and qvel, shape [n, nv]."""

  @abc.abstractmethod
  def observe(self, state: Any, action: torch.Tensor) -> torch.Tensor:
    """Observation of a state and the action that led to it, shape [n, num_obs]."""

  @abc.abstractmethod
  def reward(self, state: Any, action: torch.Tensor) -> torch.Tensor:
    """Reward for having reached a state, shape [n]."""

  @abc.abstractmethod
  def terminated(self, state: Any) -> torch.Tensor:
    """True where the episode ends for good, so that no reward follows; bool, shape [n]."""

  @abc.abstractmethod
  def summarize(self, qpos: np.ndarray, qvel: np.ndarray, length: np.ndarray) -> dict[str, float]:
    """Figures of merit of finished episodes, for example a success rate.

    Args:
      qpos: positions after every control step, shape [T, n, nq].
      qvel: velocities, shape [T, n, nv].
      length: control steps until the episode ended, shape [n]; entries after that do not count.
    """


class Physics(Protocol):
  """What an Env needs of a simulator. `state` is a dataclass of tensors as `mjgrad.torch.State`."""

  device: torch.device

  def initial_state(self) -> Any: ...

  def step(self, state: Any, ctrl: torch.Tensor, nstep: int) -> Any: ...


class MujocoPhysics:
  """Physics of a MuJoCo model through `mjgrad.torch`."""

  def __init__(self, mjm: mujoco.MjModel, num_worlds: int, device: str | None = None):
    import warp as wp

    import mjgrad
    import mjgrad.torch as mgt

    self._mgt = mgt
    self.sim = mjgrad.Simulator(mjm, nworld=num_worlds, device=device)
    self.device = torch.device(wp.device_to_torch(self.sim.device))

  def initial_state(self) -> Any:
    return self._mgt.initial_state(self.sim)

  def step(self, state: Any, ctrl: torch.Tensor, nstep: int) -> Any:
    return self._mgt.step(self.sim, state, ctrl, nstep=nstep)


class Env:
  """Many worlds of one task, reset one by one as their episodes end.

  Attributes:
    task: the task.
    num_worlds: number of worlds n.
    device: torch device of all tensors.
    state: current simulator state, with its graph.
    action: action that led to the state, shape [n, num_act]; zero after a reset.
    progress: control steps since the reset, int64, shape [n].
  """

  def __init__(
    self,
    task: Task,
    num_worlds: int,
    *,
    seed: int = 0,
    device: str | None = None,
    physics: Physics | None = None,
  ):
    """Builds the simulator and resets every world.

    Args:
      task: the task.
      num_worlds: number of worlds.
      seed: seed of the reset distribution; the same on every device.
      device: where to simulate; None takes a GPU if there is one.
      physics: the simulator to use; None builds one from the task's model.
    """
    if num_worlds < 1:
      raise InvalidInput(f"num_worlds is {num_worlds}; at least one world is needed")
    self.task = task
    self.num_worlds = num_worlds
    self.physics = physics or MujocoPhysics(task.load_model(), num_worlds, device)
    self.device = self.physics.device
    self._generator = torch.Generator().manual_seed(seed)
    self._initial = self.physics.initial_state()
    self.state = self._initial
    self.action = torch.zeros(num_worlds, task.num_act, device=self.device)
    self.progress = torch.zeros(num_worlds, dtype=torch.int64, device=self.device)
    self.reset()

  def reset(self, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Puts the worlds in mask (all if None) into a new start state; returns the observation.

    Start states are drawn for all worlds and then selected, so that the random stream does not
    depend on how many worlds are reset.
    """
    if mask is None:
      mask = torch.ones(self.num_worlds, dtype=torch.bool, device=self.device)
    qpos, qvel = self.task.sample(self.num_worlds, self._generator)
    fresh = dataclasses.replace(self._initial, qpos=qpos.to(self.device), qvel=qvel.to(self.device))
    self.state = self.state.map(lambda old, new: _select(mask, new, old), fresh)
    self.action = _select(mask, torch.zeros_like(self.action), self.action)
    self.progress = self.progress.masked_fill(mask, 0)
    return self.observe()

  def observe(self) -> torch.Tensor:
    """Observation of the current state, shape [n, num_obs]."""
    return self.task.observe(self.state, self.action)

  def detach(self) -> torch.Tensor:
    """Starts a new graph at the current state; returns the observation."""
    self.state = self.state.detach()
    self.action = self.action.detach()
    return self.observe()

  def step(
    self, action: torch.Tensor
  ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, dict[str, Any]]:
    """One control step; worlds whose episode ended are reset at once.

    Args:
      action: in [-1, 1], shape [n, num_act].

    Returns:
      obs: observation after the reset of ended worlds, shape [n, num_obs].
      reward: shape [n].
      terminated: the task ended the episode, bool, shape [n].
      truncated: the time limit ended it (and the task did not), bool, shape [n].
      info: `final_obs` and `final_state`, observation and state before any reset, and `length`,
        control steps since the last reset, shape [n].
    """
    if action.shape != (self.num_worlds, self.task.num_act):
      raise InvalidInput(
        f"action has shape {tuple(action.shape)};"
        f" {self.task.name} expects {(self.num_worlds, self.task.num_act)}"
      )
    self.state = self.physics.step(self.state, action, self.task.nstep)
    self.action = action
    self.progress = self.progress + 1
    final_state, final_obs = self.state, self.observe()
    reward = self.task.reward(self.state, action)
    terminated = self.task.terminated(self.state)
    truncated = (self.progress >= self.task.episode_length) & ~terminated
    done = terminated | truncated
    info = {"final_obs": final_obs, "final_state": final_state, "length": self.progress}
    obs = self.reset(done) if bool(done.any()) else final_obs
    return obs, reward, terminated, truncated, info

  def state_dict(self) -> dict[str, Any]:
    """Everything the next step depends on, as detached tensors."""
    return {
      "state": {f.name: getattr(self.state, f.name).detach() for f in _fields(self.state)},
      "action": self.action.detach(),
      "progress": self.progress,
      "generator": self._generator.get_state(),
    }

  def load_state_dict(self, saved: dict[str, Any]) -> None:
    """Restores what `state_dict` returned; the number of worlds must be the same."""
    expected = {f.name: tuple(getattr(self._initial, f.name).shape) for f in _fields(self._initial)}
    found = {name: tuple(value.shape) for name, value in saved["state"].items()}
    if found != expected:
      raise InvalidInput(f"saved state has shapes {found}; {self.task.name} expects {expected}")
    for name, value in saved["state"].items():
      bad = (~torch.isfinite(value.view(self.num_worlds, -1))).any(-1)
      if bool(bad.any()):
        world = int(bad.nonzero()[0])
        raise InvalidInput(f"{name} of world {world} in the saved state is not finite")
    self.state = dataclasses.replace(
      self._initial, **{name: value.to(self.device) for name, value in saved["state"].items()}
    )
    self.action = saved["action"].to(self.device)
    self.progress = saved["progress"].to(self.device)
    self._generator.set_state(saved["generator"].cpu())


def _fields(state: Any) -> list[dataclasses.Field]:
  return [f for f in dataclasses.fields(state) if isinstance(getattr(state, f.name), torch.Tensor)]


def _select(mask: torch.Tensor, new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
  return torch.where(mask.view(-1, *[1] * (new.dim() - 1)), new.to(old.dtype), old)
