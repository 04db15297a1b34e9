import numpy as np
import pytest

from mjgrad._src.check.differences import derivative


def test_smooth_function_has_its_derivative():
  """d/de (sin(1 + e) - sin 1) = cos 1."""
  found = derivative(lambda e: np.array([np.sin(1 + e) - np.sin(1), 2 * e]))
  np.testing.assert_allclose(found.value, [np.cos(1), 2.0], rtol=1e-9)
  assert found.smooth
  assert found.disagreement < 1e-8


def test_kink_at_the_point_is_found_though_the_central_difference_is_steady():
  found = derivative(lambda e: np.array([abs(e) + 3 * e]))
  assert found.plateau
  assert found.kink
  assert not found.smooth


def test_small_kink_beside_a_large_derivative_is_found():
  assert derivative(lambda e: np.array([5.0 * e, 2e-3 * abs(e)])).kink


def test_curvature_is_not_a_kink():
  found = derivative(lambda e: np.array([e + 50.0 * e**2]))
  assert found.smooth
  np.testing.assert_allclose(found.value, [1.0], rtol=1e-9)


def test_jump_at_the_point_has_no_plateau():
  assert not derivative(lambda e: np.array([e + 1e-3 * (e > 0)])).plateau


def test_kink_beside_the_point_is_stepped_over():
  """At 3e-6 it is outside of the small steps, where there is a derivative."""
  found = derivative(lambda e: np.array([e + 10 * max(0.0, e - 3e-6)]))
  np.testing.assert_allclose(found.value, [1.0], rtol=1e-9)
  assert found.smooth
  assert found.step < 3e-6


def test_kink_between_the_two_smallest_steps_is_reported():
  assert not derivative(lambda e: np.array([e + 10 * max(0.0, e - 3e-7)])).plateau


def test_zero_function_is_smooth():
  found = derivative(lambda e: np.zeros(3))
  assert found.smooth
  assert np.all(found.value == 0)


def test_one_sided_function():
  """sqrt(1 + e) exists on both sides, but is only asked for on one."""
  asked = []

  def f(e):
    asked.append(e)
    return np.array([np.sqrt(1 + e) - 1])

  found = derivative(f, one_sided=True)
  assert min(asked) > 0
  np.testing.assert_allclose(found.value, [0.5], rtol=1e-8)


def test_noise_on_a_vanishing_derivative_is_forgiven_by_the_floor():
  rng = np.random.default_rng(0)
  noisy = lambda e: 1e-16 * rng.normal(size=2)  # noqa: E731
  assert not derivative(noisy).plateau
  rng = np.random.default_rng(0)
  assert derivative(noisy, noise=1e-15).smooth


def test_fewer_than_three_steps_are_refused():
  with pytest.raises(ValueError, match="at least three"):
    derivative(lambda e: np.array([e]), steps=(1e-4, 1e-5))
