"""The gradient of the actor loss with respect to every action, against its closed form.

The point moves by q_{t+1} = q_t + a_t and earns -q_{t+1}^2. With the policy's weights at zero the
actions do not depend on the state, and V'(s) = c q. Then, in a segment from a to b,

    dL/da_t = - 1/(n T) [ sum_{k=t}^{b} gamma^(k-a) (-2 q_{k+1}) + gamma^(b-a+1) c ],

without the last term where the task terminated the episode.
"""

import pytest
import torch

from mjgrad.shac.shac import Horizon
from mjgrad.shac.shac import Shac
from tests.shac.toy import ToyTask
from tests.shac.toy import make_learner

SLOPE = 0.7
GAMMA = 0.9
NUM_WORLDS = 3
HORIZON = 5
RTOL = 2e-6  # float32, sums of five terms


class LinearCritic(torch.nn.Module):
  def forward(self, obs):
    return SLOPE * obs[..., 0]


class KeepsHorizon(Shac):
  """Remembers the horizon of the last update."""

  def _roll_out(self, horizon: Horizon) -> None:
    self.horizon = horizon
    super()._roll_out(horizon)


def actor_gradient(task):
  """Gradient by SHAC, positions after each step, and what ended each step; all [T, n]."""
  learner = make_learner(
    num_worlds=NUM_WORLDS,
    task=task,
    learner_type=KeepsHorizon,
    horizon=HORIZON,
    gamma=GAMMA,
    reward_scale=1.0,
    normalize_obs=False,
    stagger=False,
    initial_log_std=-1.5,
  )
  learner.target_critic = LinearCritic()
  torch.nn.init.zeros_(learner.actor.mean[-1].weight)
  learner.update()
  horizon = learner.horizon
  gradient = torch.stack([a.grad for a in horizon.action])[..., 0]
  position = torch.stack(horizon.next_obs)[..., 0]
  return gradient, position, torch.stack(horizon.terminated), torch.stack(horizon.truncated)


def closed_form(position, terminated, truncated):
  expected = torch.zeros(HORIZON, NUM_WORLDS)
  for n in range(NUM_WORLDS):
    first = 0
    for last in range(HORIZON):
      if not (terminated[last, n] or truncated[last, n] or last == HORIZON - 1):
        continue
      for t in range(first, last + 1):
        slope = sum(GAMMA ** (k - first) * -2.0 * position[k, n] for k in range(t, last + 1))
        if not terminated[last, n]:
          slope += GAMMA ** (last - first + 1) * SLOPE
        expected[t, n] = -slope / (NUM_WORLDS * HORIZON)
      first = last + 1
  return expected


@pytest.mark.parametrize(
  "task, ends",
  [
    (ToyTask(), (0, 0)),
    (ToyTask(episode_length=3), (0, NUM_WORLDS)),
    (ToyTask(episode_length=HORIZON), (0, NUM_WORLDS)),
    (ToyTask(wall=1.25), (None, 0)),
  ],
  ids=["no end", "truncated", "truncated at the horizon", "terminated"],
)
def test_actor_gradient(task, ends):
  gradient, position, terminated, truncated = actor_gradient(task)
  if ends[0] is None:
    assert terminated[:-1].any() and not terminated.all()
  else:
    assert terminated.sum() == ends[0]
  assert truncated.sum() == ends[1]
  expected = closed_form(position, terminated, truncated)
  torch.testing.assert_close(gradient, expected, rtol=RTOL, atol=RTOL)
