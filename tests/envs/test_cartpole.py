"""CartPole: formulas, resets, and its gradient against the equations of motion in float64."""

import math
import types

import numpy as np
import pytest
import torch

from mjgrad.envs import CartPole
from mjgrad.envs import Env
from mjgrad.envs.cartpole import wrap_angle
from tests.envs.cartpole_dynamics import simulate


def state(qpos, qvel):
  return types.SimpleNamespace(
    qpos=torch.tensor([qpos], requires_grad=True), qvel=torch.tensor([qvel], requires_grad=True)
  )


def test_model():
  mjm = CartPole().load_model()
  assert (mjm.nq, mjm.nv, mjm.nu) == (2, 2, 1)
  assert mjm.opt.timestep == pytest.approx(1 / 240)
  assert mjm.actuator_ctrlrange.tolist() == [[-1.0, 1.0]]


def test_observation_and_reward():
  s = state([0.5, 2.0], [-1.5, 3.0])
  task = CartPole()
  obs = task.observe(s, torch.zeros(1, 1))
  expected = [0.5, -1.5, math.sin(2.0), math.cos(2.0), 3.0]
  assert obs[0].tolist() == pytest.approx(expected)
  reward = task.reward(s, torch.zeros(1, 1))
  assert reward.item() == pytest.approx(-(2.0**2) - 0.1 * 9.0 - 0.05 * 0.25 - 0.1 * 2.25)


@pytest.mark.parametrize("turns", [-3, -1, 0, 1, 2])
@pytest.mark.parametrize("theta", [-3.0, -0.4, 0.0, 0.2, 3.1])
def test_angle_is_wrapped_and_keeps_its_slope(theta, turns):
  angle = torch.tensor([theta + 2.0 * math.pi * turns], dtype=torch.float64, requires_grad=True)
  wrapped = wrap_angle(angle)
  assert wrapped.item() == pytest.approx(theta)
  wrapped.sum().backward()
  assert angle.grad.item() == 1.0


def test_starts_hanging_with_noise():
  qpos, qvel = CartPole().sample(20000, torch.Generator().manual_seed(0))
  assert qpos.shape == qvel.shape == (20000, 2)
  for value, middle, width in (
    (qpos[:, 0], 0.0, CartPole.noise_x),
    (qpos[:, 1], math.pi, CartPole.noise_theta),
    (qvel[:, 0], 0.0, CartPole.noise_vel),
    (qvel[:, 1], 0.0, CartPole.noise_vel),
  ):
    assert float((value - middle).abs().max()) <= width * (1 + 1e-6)
    assert float(value.mean()) == pytest.approx(middle, abs=0.02 * width + 1e-6)
    assert float(value.std()) == pytest.approx(width / math.sqrt(3.0), rel=0.02)


def test_success_is_staying_upright_for_the_last_quarter():
  task = CartPole()
  qpos = np.zeros((240, 4, 2))
  qpos[:180, :, 1] = 3.0  # swinging up does not count
  qpos[:, 1, 1] += 2.0 * math.pi  # another turn is upright too
  qpos[200, 2, 1] = 0.26
  qpos[180:, 3, 1] = -0.24
  merits = task.summarize(qpos, np.zeros_like(qpos), np.full(4, 240.0))
  assert merits["success_rate"] == 0.75
  assert merits["worst_angle_last_quarter"] == pytest.approx(0.26)


def test_gradient_equals_that_of_the_equations_of_motion():
  """Eight control steps, 32 simulator steps; float32 with a swinging pole: 1e-4 is 1000 eps."""
  n, steps = 6, 8
  env = Env(CartPole(), n, seed=1, device="cpu")
  mjm = env.task.load_model()
  generator = torch.Generator().manual_seed(0)
  actions = 0.9 * (2.0 * torch.rand(steps, n, 1, generator=generator) - 1.0)
  qpos, qvel = env.state.qpos.double(), env.state.qvel.double()

  single = actions.clone().requires_grad_()
  env.detach()
  total = sum(env.step(action)[1].sum() for action in single)
  total.backward()

  double = actions.double().requires_grad_()
  expected = torch.zeros((), dtype=torch.float64)
  for action in double:
    qpos, qvel = simulate(mjm, qpos, qvel, action, env.task.nstep)
    expected = expected + env.task.reward(types.SimpleNamespace(qpos=qpos, qvel=qvel), action).sum()
  expected.backward()

  torch.testing.assert_close(total.double(), expected, rtol=1e-5, atol=0.0)
  error = (single.grad - double.grad).norm() / double.grad.norm()
  assert float(double.grad.norm()) > 1.0
  assert float(error) < 1e-4
