"""TD(lambda) targets against numbers worked out by hand."""

import pytest
import torch

from mjgrad.shac import td_lambda_returns

GAMMA, LAM = 0.5, 0.8
REWARD = torch.tensor([[1.0], [2.0], [3.0]])
NEXT_VALUE = torch.tensor([[10.0], [20.0], [30.0]])


def returns(terminated=(0, 0, 0), truncated=(0, 0, 0), lam=LAM):
  flags = [torch.tensor(f, dtype=torch.bool)[:, None] for f in (terminated, truncated)]
  return td_lambda_returns(REWARD, NEXT_VALUE, *flags, GAMMA, lam).flatten().tolist()


def test_without_episode_end():
  g2 = 3.0 + 0.5 * 30.0  # 18
  g1 = 2.0 + 0.5 * (0.2 * 20.0 + 0.8 * 18.0)  # 11.2
  g0 = 1.0 + 0.5 * (0.2 * 10.0 + 0.8 * 11.2)  # 6.48
  assert returns() == pytest.approx([g0, g1, g2])
  assert [g0, g1, g2] == pytest.approx([6.48, 11.2, 18.0])


def test_is_the_weighted_average_of_k_step_returns():
  one = 1.0 + 0.5 * 10.0
  two = 1.0 + 0.5 * 2.0 + 0.25 * 20.0
  three = 1.0 + 0.5 * 2.0 + 0.25 * 3.0 + 0.125 * 30.0
  expected = (1 - LAM) * (one + LAM * two) + LAM**2 * three
  assert returns()[0] == pytest.approx(expected)


def test_termination_ends_the_return_without_bootstrap():
  g1 = 2.0
  g0 = 1.0 + 0.5 * (0.2 * 10.0 + 0.8 * 2.0)  # 2.8
  assert returns(terminated=(0, 1, 0)) == pytest.approx([g0, g1, 18.0])


def test_truncation_bootstraps_and_separates_episodes():
  g1 = 2.0 + 0.5 * 20.0  # 12
  g0 = 1.0 + 0.5 * (0.2 * 10.0 + 0.8 * 12.0)  # 6.8
  assert returns(truncated=(0, 1, 0)) == pytest.approx([g0, g1, 18.0])


def test_lambda_zero_is_one_step_and_lambda_one_is_monte_carlo():
  assert returns(lam=0.0) == pytest.approx([6.0, 12.0, 18.0])
  assert returns(lam=1.0)[0] == pytest.approx(1.0 + 0.5 * (2.0 + 0.5 * 18.0))


def test_worlds_do_not_mix():
  terminated = torch.tensor([[False, False], [True, False], [False, False]])
  truncated = torch.zeros_like(terminated)
  both = td_lambda_returns(
    REWARD.expand(3, 2), NEXT_VALUE.expand(3, 2), terminated, truncated, GAMMA, LAM
  )
  assert both[:, 0].tolist() == pytest.approx(returns(terminated=(0, 1, 0)))
  assert both[:, 1].tolist() == pytest.approx(returns())
