"""A task whose gradients can be written down: a point that moves by exactly the action."""

import dataclasses

import numpy as np
import torch

from mjgrad.envs import Env
from mjgrad.envs import Task
from mjgrad.shac import Shac
from mjgrad.shac import ShacConfig


@dataclasses.dataclass(frozen=True)
class ToyState:
  qpos: torch.Tensor
  qvel: torch.Tensor
  time: torch.Tensor

  def map(self, fn, *others):
    names = [f.name for f in dataclasses.fields(self)]
    return ToyState(*[fn(getattr(self, n), *[getattr(o, n) for o in others]) for n in names])

  def detach(self):
    return self.map(torch.Tensor.detach)


class ToyPhysics:
  """qpos' = qpos + ctrl; `poison` makes the position of one world NaN once time reaches it."""

  device = torch.device("cpu")

  def __init__(self, num_worlds, poison=None):
    self._num_worlds = num_worlds
    self._poison = poison

  def initial_state(self):
    n = self._num_worlds
    return ToyState(torch.zeros(n, 1), torch.zeros(n, 1), torch.zeros(n))

  def step(self, state, ctrl, nstep):
    qpos = state.qpos + ctrl
    if self._poison is not None:
      time, world = self._poison
      bad = (torch.arange(self._num_worlds) == world) & (state.time >= time)
      qpos = torch.where(bad[:, None], torch.full_like(qpos, torch.nan), qpos)
    return ToyState(qpos, ctrl.detach(), state.time + nstep)


class ToyTask(Task):
  """Reward -qpos^2; terminates above `wall`."""

  name = "toy"
  num_obs = 2
  num_act = 1
  nstep = 1

  def __init__(self, episode_length=1000, wall=float("inf"), start=1.0):
    self.episode_length = episode_length
    self._wall = wall
    self._start = start

  def load_model(self):
    raise NotImplementedError

  def sample(self, n, generator):
    return self._start + 0.1 * torch.rand(n, 1, generator=generator), torch.zeros(n, 1)

  def observe(self, state, action):
    return torch.cat([state.qpos, action], dim=-1)

  def reward(self, state, action):
    return -(state.qpos[:, 0] ** 2)

  def terminated(self, state):
    return state.qpos[:, 0] > self._wall

  def summarize(self, qpos, qvel, length):
    return {"last_distance": float(np.abs(qpos[-1]).mean())}


def make_learner(
  seed=0, num_worlds=4, poison=None, task=None, learner_type=Shac, **settings
) -> Shac:
  settings = {"horizon": 4, "epochs": 10, "actor_units": (8,), "critic_units": (8,), **settings}
  config = ShacConfig(num_worlds=num_worlds, **settings)
  env = Env(task or ToyTask(), num_worlds, seed=seed, physics=ToyPhysics(num_worlds, poison))
  return learner_type(env, config, seed)


def weights(learner: Shac) -> torch.Tensor:
  modules = (learner.actor, learner.critic, learner.target_critic, learner.normalizer)
  return torch.cat([v.double().flatten() for m in modules for v in m.state_dict().values()])
