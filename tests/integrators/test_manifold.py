"""First-order behaviour of the exponential and logarithm of rotations, against MuJoCo's own."""

import mujoco
import numpy as np
import pytest
import warp as wp

from mjgrad._src.integrators import manifold

wp.set_module_options({"enable_backward": False})

# A handful of float32 operations; the series below 0.05 rad are good to 1e-9.
ATOL = 2e-6

ANGLES = (0.0, 1e-4, 0.01, 0.0499, 0.0501, 0.5, 2.0, 3.1)
STEP = 1e-6


@wp.kernel
def _apply(
  # In:
  quat: wp.array[wp.quat],
  t: wp.array[wp.vec3],
  # Adjoint in:
  adj_vec_in: wp.array[wp.vec3],
  adj_quat_in: wp.array[wp.quat],
  # Out:
  vec_out: wp.array2d[wp.vec3],
  quat_out: wp.array[wp.quat],
):
  i = wp.tid()
  vec_out[i, 0] = manifold.rotate_by_exp(t[i], adj_vec_in[i])
  vec_out[i, 1] = manifold.exp_jacobian_transpose(t[i], adj_vec_in[i])
  vec_out[i, 2] = manifold.log_jacobian_transpose(t[i], adj_vec_in[i])
  vec_out[i, 3] = manifold.to_tangent(quat[i], adj_quat_in[i])
  quat_out[i] = manifold.to_ambient(quat[i], adj_vec_in[i])


def exp(t):
  quat = np.array([1.0, 0, 0, 0])
  mujoco.mju_quatIntegrate(quat, t, 1.0)
  return quat


def log(quat):
  out = np.empty(3)
  mujoco.mju_subQuat(out, quat, np.array([1.0, 0, 0, 0]))
  return out


def times(a, b):
  out = np.empty(4)
  mujoco.mju_mulQuat(out, a, b)
  return out


def jacobian(f):
  """Derivative at zero of a function of three numbers."""
  return np.stack([(f(STEP * e) - f(-STEP * e)) / (2 * STEP) for e in np.eye(3)], axis=1)


@pytest.fixture(scope="module")
def case():
  rng = np.random.default_rng(0)
  axes = rng.normal(size=(len(ANGLES), 3))
  axes /= np.linalg.norm(axes, axis=1, keepdims=True)
  t = (np.array(ANGLES)[:, None] * axes).astype(np.float32)
  quat = rng.normal(size=(len(ANGLES), 4)).astype(np.float32)
  adj_vec = rng.normal(size=(len(ANGLES), 3)).astype(np.float32)
  adj_quat = rng.normal(size=(len(ANGLES), 4)).astype(np.float32)
  vec_out = wp.zeros((len(ANGLES), 4), dtype=wp.vec3, device="cpu")
  quat_out = wp.zeros(len(ANGLES), dtype=wp.quat, device="cpu")
  inputs = [
    wp.array(quat, dtype=wp.quat, device="cpu"),
    wp.array(t, dtype=wp.vec3, device="cpu"),
    wp.array(adj_vec, dtype=wp.vec3, device="cpu"),
    wp.array(adj_quat, dtype=wp.quat, device="cpu"),
  ]
  wp.launch(_apply, dim=len(ANGLES), inputs=inputs, outputs=[vec_out, quat_out], device="cpu")
  arrays = (t, quat, adj_vec, adj_quat)
  return *(a.astype(np.float64) for a in arrays), vec_out.numpy(), quat_out.numpy()


def test_rotation(case):
  t, _, adj_vec, _, value, _ = case
  for i in range(len(t)):
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, exp(t[i]))
    np.testing.assert_allclose(value[i, 0], matrix.reshape(3, 3) @ adj_vec[i], atol=ATOL)


def test_exp_jacobian(case):
  """log(exp(t)^-1 exp(t + d)) = J_r d."""
  t, _, adj_vec, _, value, _ = case
  for i in range(len(t)):
    back = exp(-t[i])
    truth = jacobian(lambda d, i=i, back=back: log(times(back, exp(t[i] + d))))
    np.testing.assert_allclose(value[i, 1], truth.T @ adj_vec[i], atol=ATOL)


def test_log_jacobian(case):
  """log(exp(t) exp(d)) = t + J_r^-1 d."""
  t, _, adj_vec, _, value, _ = case
  for i in range(len(t)):
    truth = jacobian(lambda d, i=i: log(times(exp(t[i]), exp(d))))
    np.testing.assert_allclose(value[i, 2], truth.T @ adj_vec[i], atol=5 * ATOL)


def test_tangent_of_an_unnormalised_quaternion(case):
  """<adj, Q> with Q = q exp(d), whose length is that of q: adj_d = dQ/dd^T adj / |q|.

  A function of q alone sees q / |q|, so its ambient cotangent at q is that at q / |q| over |q|.
  """
  _, quat, _, adj_quat, value, _ = case
  for i in range(len(quat)):
    size = np.linalg.norm(quat[i])
    truth = jacobian(lambda d, i=i: times(quat[i], exp(d))).T @ adj_quat[i] / size
    assert abs(size - 1) > 0.05
    unit = jacobian(lambda d, i=i, n=size: times(quat[i] / n, exp(d))).T @ adj_quat[i]
    np.testing.assert_allclose(truth, unit, atol=1e-8)
    np.testing.assert_allclose(value[i, 3], unit, atol=ATOL)


def test_ambient_cotangent(case):
  """Orthogonal to q, and right for every displacement of q, along itself included."""
  _, quat, adj_vec, _, _, value = case
  for i in range(len(quat)):
    size = np.linalg.norm(quat[i])
    assert abs(value[i] @ quat[i]) < 10 * ATOL
    moved = jacobian(lambda d, i=i: times(quat[i], exp(d)))
    np.testing.assert_allclose(moved.T @ value[i], adj_vec[i], atol=5 * ATOL)
    np.testing.assert_allclose(
      np.linalg.norm(value[i]), 2 * np.linalg.norm(adj_vec[i]) / size, rtol=1e-5
    )
