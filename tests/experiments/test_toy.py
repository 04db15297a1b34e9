"""The point mass: ideal contact has the wrong sign at any step, penalty contact converges."""

import numpy as np

from mjgrad.experiments import toy


def test_closed_form():
  """The true derivative is that of the true loss, and the fine simulation's loss agrees with it."""
  q0 = np.array([0.2, 0.7, 1.3, 1.8, 1.95, 2.4])
  for model in toy.MODELS:
    loss, slope = toy.truth(model, q0)
    above, below = toy.truth(model, q0 + 1e-6)[0], toy.truth(model, q0 - 1e-6)[0]
    np.testing.assert_allclose(slope, (above - below) / 2e-6, atol=1e-6)
    np.testing.assert_allclose(toy.rollout(model, q0, 1e-3)[0], loss, atol=5e-3)


def test_gradient_of_the_rollout():
  """It is that of the discrete steps, whatever it says about the motion."""
  q0 = np.array([0.234, 0.777, 1.456])
  for model in toy.MODELS:
    slope = toy.rollout(model, q0, 0.01)[1]
    above, below = toy.rollout(model, q0 + 1e-7, 0.01)[0], toy.rollout(model, q0 - 1e-7, 0.01)[0]
    np.testing.assert_allclose(slope, (above - below) / 2e-7, rtol=1e-6)


def test_what_it_shows():
  start = np.array([toy.START])
  for h in (0.1, 0.01, 1e-3):
    assert toy.rollout("ideal", start, h)[1] == -toy.truth("ideal", start)[1]
  errors = [
    abs(toy.rollout("penalty", start, h)[1] / toy.truth("penalty", start)[1] - 1.0)[0]
    for h in (0.1, 0.01, 1e-3, 1e-4)
  ]
  assert errors[0] > 1.0
  assert errors[-1] < 1e-2
