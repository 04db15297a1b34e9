"""The position update q' = q exp(h v') and its adjoint, and coordinates of qpos cotangents."""

import numpy as np
import pytest

from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.linearize import step_gradient
from tests import models
from tests import oracles
from tests.terms import harness

# Position cotangents come back through factors near one; 1e-6 is a few roundings.
RTOL = 1e-5


def setting(velocity, integrator="euler", seed=0):
  mjm = models.variant(models.load(models.JOINTS), integrator=integrator)
  points = harness.random_points(mjm, 4, seed, position=0.3, velocity=velocity)
  rng = np.random.default_rng(seed)
  adj_qpos = rng.normal(size=(4, mjm.nq)).astype(np.float32)
  adj_qvel = rng.normal(size=(4, mjm.nv)).astype(np.float32)
  return mjm, points, adj_qpos, adj_qvel


@pytest.mark.parametrize("velocity", [0.1, 5.0, 60.0])
@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_position_cotangent(velocity, integrator):
  """Slow joints and joints that turn by a quarter of a revolution in a step."""
  mjm, points, adj_qpos, _ = setting(velocity, integrator)
  zero = np.zeros((4, mjm.nv))
  out = step_gradient(
    Simulator(mjm, 4, "cpu"), **harness.inputs(points), adj_qpos=adj_qpos, adj_qvel=zero
  )
  oracle = oracles.Oracle(mjm)
  for s, point in enumerate(points):
    local = oracles.linearise(oracle, point, ("qpos", "qvel"))
    adj = oracles.to_tangent(mjm, local.base.qpos, adj_qpos[s].astype(np.float64))
    for name, value in (("qpos", out.grad["qpos_tangent"]), ("qvel", out.grad["qvel"])):
      if not local.switching(name):
        truth = local.jacobians[name].vjp(adj, zero[s])
        assert oracles.relative_error(value[s], truth) < RTOL * max(1.0, velocity), name


def test_component_along_a_quaternion_has_no_effect():
  """The next quaternion has unit length whatever came in."""
  mjm, points, adj_qpos, adj_qvel = setting(1.0)
  sim = Simulator(mjm, 4, "cpu")
  args = harness.inputs(points)
  first = step_gradient(sim, **args, adj_qpos=adj_qpos, adj_qvel=adj_qvel)
  along = adj_qpos.copy()
  for start in (3, 7):
    along[:, start : start + 4] += 3.0 * first.qpos[:, start : start + 4]
  second = step_gradient(sim, **args, adj_qpos=along, adj_qvel=adj_qvel)
  for name in ("qpos_tangent", "qvel"):
    np.testing.assert_allclose(first.grad[name], second.grad[name], rtol=1e-4, atol=1e-5)


def test_ambient_and_tangent_gradients_are_the_same_covector():
  """For every tangent step w, g_ambient . dq(w) = g_tangent . w; ambient is orthogonal to q."""
  mjm, points, adj_qpos, adj_qvel = setting(1.0)
  # A quaternion of another length is the same rotation; its gradient shrinks with the length.
  points[1].qpos[3:7] *= 1.6
  out = step_gradient(
    Simulator(mjm, 4, "cpu"), **harness.inputs(points), adj_qpos=adj_qpos, adj_qvel=adj_qvel
  )
  for s, point in enumerate(points):
    ambient, tangent = out.grad["qpos"][s].astype(np.float64), out.grad["qpos_tangent"][s]
    for start in (3, 7):
      quat = point.qpos[start : start + 4]
      assert abs(quat @ ambient[start : start + 4]) < 1e-5 * np.linalg.norm(ambient)
    scaled = ambient.copy()
    if s == 1:
      scaled[3:7] *= np.linalg.norm(point.qpos[3:7])
    truth = oracles.to_ambient(mjm, point.qpos, tangent.astype(np.float64))
    np.testing.assert_allclose(scaled, truth, rtol=1e-5, atol=1e-6)


def test_unnormalised_quaternion_gives_the_same_step():
  """q and 1.6 q are one rotation: same next velocity, same tangent gradient.

  The next quaternion of the engine keeps no trace of the length either.
  """
  mjm, points, adj_qpos, adj_qvel = setting(1.0)
  sim = Simulator(mjm, 4, "cpu")
  first = step_gradient(sim, **harness.inputs(points), adj_qpos=adj_qpos, adj_qvel=adj_qvel)
  for point in points:
    point.qpos[3:7] *= 1.6
    point.qpos[7:11] *= 0.7
  second = step_gradient(sim, **harness.inputs(points), adj_qpos=adj_qpos, adj_qvel=adj_qvel)
  np.testing.assert_allclose(first.qpos, second.qpos, atol=1e-5)
  np.testing.assert_allclose(first.qvel, second.qvel, rtol=1e-4, atol=1e-4)
  for name in ("qpos_tangent", "qvel"):
    scale = np.abs(first.grad[name]).max()
    np.testing.assert_allclose(first.grad[name], second.grad[name], atol=1e-4 * scale)
