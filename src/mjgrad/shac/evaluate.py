"""Runs a deterministic policy through whole episodes and sums up how it did."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from mjgrad._src.errors import InvalidInput
from mjgrad._src.errors import NonFiniteState
from mjgrad.envs.base import Env
from mjgrad.envs.base import Task

from .networks import Actor
from .networks import RunningNormalizer
from .shac import ShacConfig

Policy = Callable[[torch.Tensor], torch.Tensor]
"""Deterministic actions, shape [n, num_act], for observations, shape [n, num_obs]."""


@dataclasses.dataclass
class Evaluation:
  """One episode per world. Entries after a world's episode has ended are those of the next one.

  Attributes:
    qpos: positions at the start and after every control step, shape [T + 1, n, nq].
    episode_return: sum of rewards, shape [n].
    length: control steps, shape [n].
    metrics: mean return and length, and the task's own figures of merit.
  """

  qpos: np.ndarray
  episode_return: np.ndarray
  length: np.ndarray
  metrics: dict[str, float]


@torch.no_grad()
def evaluate(env: Env, policy: Policy) -> Evaluation:
  """Resets every world and runs the policy until each has finished an episode."""
  obs = env.reset()
  running = torch.ones(env.num_worlds, dtype=torch.bool, device=env.device)
  total = torch.zeros(env.num_worlds, device=env.device)
  length = torch.zeros(env.num_worlds, device=env.device)
  qpos, qvel = [env.state.qpos.cpu().numpy()], []
  while bool(running.any()):
    obs, reward, terminated, truncated, info = env.step(policy(obs))
    if not bool(torch.isfinite(info["final_obs"][running]).all()):
      bad = (~torch.isfinite(info["final_obs"]).all(-1) & running).nonzero()
      raise NonFiniteState(
        f"the state of world {int(bad[0])} became infinite or NaN in control step {len(qvel) + 1}"
        f" of the evaluation on {env.task.name}"
      )
    total += torch.where(running, reward, 0.0)
    length += running
    running = running & ~(terminated | truncated)
    qpos.append(info["final_state"].qpos.cpu().numpy())
    qvel.append(info["final_state"].qvel.cpu().numpy())
  steps = length.cpu().numpy()
  metrics = {
    "return": float(total.mean()),
    "return_std": float(total.std(unbiased=False)),
    "episode_length": float(steps.mean()),
    **env.task.summarize(np.stack(qpos[1:]), np.stack(qvel), steps),
  }
  return Evaluation(np.stack(qpos), total.cpu().numpy(), steps, metrics)


def load_policy(task: Task, config: ShacConfig, saved: dict[str, Any], device: Any) -> Policy:
  """The deterministic policy in what `Shac.state_dict` returned."""
  actor = Actor(task.num_obs, task.num_act, config.actor_units, 0.0, torch.Generator())
  normalizer = RunningNormalizer(task.num_obs)
  for name, module in (("actor", actor), ("normalizer", normalizer)):
    try:
      module.load_state_dict(saved[name])
    except (KeyError, RuntimeError) as error:
      raise InvalidInput(f"the checkpoint's {name} does not fit {task.name}: {error}") from error
    if not all(bool(torch.isfinite(value).all()) for value in module.state_dict().values()):
      raise InvalidInput(f"the checkpoint's {name} contains NaN or infinite numbers")
    module.to(device)
  return lambda obs: actor(normalizer(obs))
