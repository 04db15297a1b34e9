"""The learner on the toy task: determinism, resume, statistics, clipping, divergence."""

import numpy as np
import pytest
import torch

from mjgrad._src.errors import InvalidInput
from mjgrad.shac import DivergedError
from mjgrad.shac import ShacConfig
from mjgrad.shac.evaluate import evaluate
from mjgrad.shac.evaluate import load_policy
from mjgrad.shac.networks import RunningNormalizer
from tests.shac.toy import ToyTask
from tests.shac.toy import make_learner
from tests.shac.toy import weights


def test_learns():
  learner = make_learner(num_worlds=16, epochs=60, horizon=8, task=ToyTask(episode_length=20))
  before = evaluate(learner.env, learner.policy).metrics["return"]
  for _ in range(60):
    metrics = learner.update()
  after = evaluate(learner.env, learner.policy).metrics["return"]
  assert before < -10.0
  assert after > -3.0  # one unit away from the goal, at most one unit per step
  assert metrics["episode_length"] == 20.0


def test_same_seed_same_weights():
  learners = [make_learner(seed=3) for _ in range(2)]
  for learner in learners:
    for _ in range(3):
      learner.update()
  assert torch.equal(weights(learners[0]), weights(learners[1]))
  assert not torch.equal(weights(learners[0]), weights(make_learner(seed=4)))


@pytest.mark.parametrize("schedule", ["linear", "adaptive", "constant"])
def test_resume_equals_uninterrupted(schedule, tmp_path):
  settings = {"lr_schedule": schedule, "task": ToyTask(episode_length=6)}
  straight = make_learner(**settings)
  for _ in range(3):
    straight.update()
  torch.save(straight.state_dict(), tmp_path / "state.pt")
  expected = [straight.update() for _ in range(4)]

  resumed = make_learner(seed=99, **settings)
  resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
  found = [resumed.update() for _ in range(4)]
  np.testing.assert_equal(found, expected)
  assert torch.equal(weights(resumed), weights(straight))


def test_normalizer_equals_statistics_of_everything_seen():
  obs = 5.0 + 3.0 * torch.randn(6, 7, 2, generator=torch.Generator().manual_seed(0))
  normalizer = RunningNormalizer(2)
  for batch in obs:
    normalizer.update(batch)
  everything = obs.reshape(-1, 2).double()
  torch.testing.assert_close(normalizer.mean, everything.mean(0))
  torch.testing.assert_close(normalizer.var, everything.var(0, unbiased=False))
  normalized = normalizer(obs).reshape(-1, 2)
  torch.testing.assert_close(normalized.std(0, unbiased=False), torch.ones(2), rtol=1e-5, atol=0.0)


def test_normalizer_is_frozen_within_an_update(monkeypatch):
  learner = make_learner()
  used = []
  original = learner.env.step
  monkeypatch.setattr(
    learner.env, "step", lambda a: used.append(learner.normalizer.mean.clone()) or original(a)
  )
  learner.update()
  assert all(torch.equal(mean, used[0]) for mean in used)
  assert not torch.equal(learner.normalizer.mean, used[0])


def test_clipping_is_logged():
  clipped = make_learner(max_grad_norm=1e-3).update()
  assert clipped["actor_grad_norm"] > 1e-3
  assert clipped["actor_grad_norm_clipped"] == pytest.approx(1e-3)
  assert clipped["actor_clipped_share"] == clipped["critic_clipped_share"] == 1.0
  free = make_learner(max_grad_norm=1e6).update()
  assert free["actor_grad_norm_clipped"] == free["actor_grad_norm"]
  assert free["actor_clipped_share"] == free["critic_clipped_share"] == 0.0


def test_linear_schedule_reaches_its_end():
  learner = make_learner(epochs=2, actor_lr=0.1, final_lr=0.02)
  assert [learner.update()["actor_lr"] for _ in range(3)] == pytest.approx([0.1, 0.06, 0.02])


def test_target_critic_is_an_exponential_average():
  learner = make_learner(target_critic_decay=0.25)
  old = [p.clone() for p in learner.target_critic.parameters()]
  learner.update()
  for slow, before, fast in zip(
    learner.target_critic.parameters(), old, learner.critic.parameters()
  ):
    torch.testing.assert_close(slow, 0.25 * before + 0.75 * fast)


def test_only_whole_episodes_are_counted():
  learner = make_learner(task=ToyTask(episode_length=4), horizon=4, stagger=True)
  staggered = int((learner.env.progress > 0).sum())
  assert staggered > 0
  first = learner.update()
  second = learner.update()
  assert second["episode_length"] == 4.0
  assert np.isnan(first["episode_length"]) == (staggered == learner.env.num_worlds)


def test_nan_names_world_step_and_epoch_and_keeps_the_horizon():
  learner = make_learner(num_worlds=5, poison=(6, 2), horizon=4)  # NaN after the seventh step
  learner.update()
  saved = weights(learner)
  with pytest.raises(DivergedError, match=r"epoch 2: .*world 2 \(control step 2\)") as error:
    learner.update()
  record = error.value.record
  assert record["start_qpos"].shape == (5, 1) and bool(record["start_qpos"].isfinite().all())
  assert record["action"].shape == (4, 5, 1)
  assert not bool(record["next_obs"][2, 2].isfinite().all())
  assert bool(record["next_obs"][:, [0, 1, 3, 4]].isfinite().all())
  assert torch.equal(weights(learner), saved)


def test_nan_in_a_gradient_is_not_applied(monkeypatch):
  learner = make_learner()
  original = learner.env.task.reward

  def reward(state, action):  # finite, with the infinite slope of a square root at zero
    return original(state, action) + torch.sqrt(action[:, 0] - action[:, 0].detach())

  monkeypatch.setattr(learner.env.task, "reward", reward)
  saved = weights(learner)
  with pytest.raises(DivergedError, match="epoch 1: the gradient of the actor loss .* world 0"):
    learner.update()
  assert torch.equal(weights(learner), saved)


def test_loaded_policy_acts_like_the_learner():
  learner = make_learner()
  learner.update()
  policy = load_policy(learner.env.task, learner.config, learner.state_dict(), "cpu")
  obs = learner.env.observe()
  assert torch.equal(policy(obs), learner.policy(obs))


def test_loaded_policy_must_be_finite_and_fit():
  learner = make_learner()
  saved = learner.state_dict()
  saved["actor"]["log_std"] = torch.tensor([torch.nan])
  with pytest.raises(InvalidInput, match="actor contains NaN"):
    load_policy(learner.env.task, learner.config, saved, "cpu")
  with pytest.raises(InvalidInput, match="actor does not fit toy"):
    load_policy(learner.env.task, ShacConfig(), learner.state_dict(), "cpu")


@pytest.mark.parametrize(
  "setting, message",
  [
    ({"horizon": 0}, "horizon is 0; it must be at least 1"),
    ({"gamma": 1.5}, r"gamma is 1.5; it must lie in \[0, 1\]"),
    ({"actor_lr": float("nan")}, "actor_lr is nan; it must be positive"),
    ({"num_worlds": 1, "horizon": 2}, "critic_minibatches is 4"),
  ],
)
def test_settings_are_checked(setting, message):
  with pytest.raises(InvalidInput, match=message):
    ShacConfig(**setting)
