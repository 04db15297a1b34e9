"""TD(lambda) value targets on a horizon with episode ends.

    G_t = r_t + gamma (1 - terminated_t) [ (1 - lam) V_{t+1} + lam G_{t+1} ]    inside a segment
    G_t = r_t + gamma (1 - terminated_t) V_{t+1}                                at its end

A segment ends where the episode ends (terminated or truncated) and at the horizon. V_{t+1} is the
value of the observation before any reset. Unrolled, this is the exponentially weighted average of
k-step returns of Xu et al. 2022, in which the longest return takes the remaining weight.
"""

import torch


def td_lambda_returns(
  reward: torch.Tensor,
  next_value: torch.Tensor,
  terminated: torch.Tensor,
  truncated: torch.Tensor,
  gamma: float,
  lam: float,
) -> torch.Tensor:
  """Value targets G, shape [T, n].

  Args:
    reward: shape [T, n].
    next_value: value of the observation after step t, before any reset, shape [T, n].
    terminated: the task ended the episode at step t, bool, shape [T, n].
    truncated: the time limit ended it, bool, shape [T, n].
    gamma: discount per control step.
    lam: weight of the longer returns, 0 for one-step targets.
  """
  target = torch.empty_like(reward)
  following = next_value[-1]
  for t in reversed(range(reward.shape[0])):
    mixed = (1.0 - lam) * next_value[t] + lam * following
    ahead = torch.where(truncated[t], next_value[t], mixed)
    target[t] = reward[t] + gamma * torch.where(terminated[t], torch.zeros_like(ahead), ahead)
    following = target[t]
  return target
