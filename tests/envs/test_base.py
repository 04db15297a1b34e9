"""Environments: resets one by one, episode ends, gradients, saving and the list of tasks."""

import pytest
import torch

from mjgrad._src.errors import InvalidInput
from mjgrad.envs import Env
from mjgrad.envs import make_task
from tests.shac.toy import ToyPhysics
from tests.shac.toy import ToyTask


def make_env(num_worlds=4, seed=0, **task):
  return Env(ToyTask(**task), num_worlds, seed=seed, physics=ToyPhysics(num_worlds))


def test_unknown_task_lists_the_tasks():
  with pytest.raises(InvalidInput, match="unknown task 'antt'; the tasks are: ant, cartpole"):
    make_task("antt")


def test_reset_of_some_worlds_leaves_the_others():
  env = make_env()
  env.step(torch.ones(4, 1))
  before = env.state.qpos.clone()
  obs = env.reset(torch.tensor([False, True, False, True]))
  assert torch.equal(env.state.qpos[[0, 2]], before[[0, 2]])
  assert bool((env.state.qpos[[1, 3]] < 1.2).all())
  assert env.progress.tolist() == [1, 0, 1, 0]
  assert obs[:, 1].tolist() == [1.0, 0.0, 1.0, 0.0]  # the previous action is cleared


def test_same_seed_same_start():
  assert torch.equal(make_env(seed=5).observe(), make_env(seed=5).observe())
  assert not torch.equal(make_env(seed=5).observe(), make_env(seed=6).observe())


def test_truncation_returns_the_observation_before_the_reset():
  env = make_env(episode_length=2)
  env.step(torch.ones(4, 1))
  obs, _, terminated, truncated, info = env.step(torch.ones(4, 1))
  assert bool(truncated.all()) and not bool(terminated.any())
  assert bool((info["final_obs"][:, 0] > 2.9).all())
  assert bool((obs[:, 0] < 1.2).all())
  assert info["length"].tolist() == [2] * 4
  assert env.progress.tolist() == [0] * 4


def test_termination_at_the_time_limit_is_not_a_truncation():
  env = make_env(episode_length=1, wall=1.5)
  action = torch.tensor([[1.0], [0.0], [1.0], [0.0]])
  _, _, terminated, truncated, _ = env.step(action)
  assert terminated.tolist() == [True, False, True, False]
  assert truncated.tolist() == [False, True, False, True]


def test_gradient_stops_at_a_reset_and_at_detach():
  env = make_env(episode_length=2)
  first = torch.zeros(4, 1, requires_grad=True)
  env.step(first)
  _, reward, _, _, _ = env.step(torch.zeros(4, 1))
  obs, _, _, _, _ = env.step(torch.zeros(4, 1))  # a new episode
  assert torch.autograd.grad(reward.sum(), first, retain_graph=True)[0].abs().min() > 1.0
  # the sum with first only makes the gradient defined: what remains is exactly that of the sum
  through = torch.autograd.grad(obs.sum() + first.sum(), first)[0]
  assert torch.equal(through, torch.ones(4, 1))
  env.step(first)
  assert not env.detach().requires_grad


def test_state_dict_continues_exactly():
  env = make_env(episode_length=3)
  env.step(torch.ones(4, 1))
  saved = env.state_dict()
  other = make_env(seed=77, episode_length=3)
  other.load_state_dict(saved)
  for _ in range(5):
    action = torch.full((4, 1), 0.3)
    for ours, theirs in zip(env.step(action)[:4], other.step(action)[:4]):
      assert torch.equal(ours, theirs)


def test_bad_input_is_refused():
  env = make_env()
  with pytest.raises(InvalidInput, match=r"action has shape \(4, 2\); toy expects \(4, 1\)"):
    env.step(torch.zeros(4, 2))
  with pytest.raises(InvalidInput, match="num_worlds is 0"):
    Env(ToyTask(), 0, physics=ToyPhysics(0))
  with pytest.raises(InvalidInput, match="saved state has shapes"):
    env.load_state_dict(make_env(num_worlds=3).state_dict())


def test_saved_nan_is_refused_by_world():
  env = make_env()
  saved = env.state_dict()
  saved["state"]["qpos"] = saved["state"]["qpos"].clone()
  saved["state"]["qpos"][2] = torch.nan
  with pytest.raises(InvalidInput, match="qpos of world 2 in the saved state is not finite"):
    env.load_state_dict(saved)
