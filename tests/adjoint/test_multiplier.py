"""The multipliers against float64: H from inverse dynamics of C MuJoCo, A from its own matrices.

A^T mu = -h vbar,    H lam = M mu      or, where nothing is implicit,      H lam = -h vbar
"""

import mujoco
import numpy as np
import pytest

from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.linearize import step_gradient
from tests import models
from tests import oracles
from tests.terms import harness

# H is assembled in float64 from float32 rows; a soft direction under stiff contacts loses digits.
RTOL = 2e-4

COUNT = 6


def run(mjm, seed=0):
  """States in contact and at limits, cotangents, and the engine's mu and lam."""
  states = oracles.sample_states(mjm, 3 * COUNT, seed)
  points = [s.point for s in states if "contact" in s.labels or "joint_limit" in s.labels][:COUNT]
  assert len(points) == COUNT
  capacity = {
    "nconmax": max(s.ncon for s in states) + 16,
    "njmax": max(s.nefc for s in states) + 32,
  }
  sim = Simulator(mjm, COUNT, "cpu", **capacity)
  adj = np.random.default_rng(seed).normal(size=(COUNT, mjm.nv)).astype(np.float32)
  out = step_gradient(
    sim, **harness.inputs(points), adj_qpos=np.zeros((COUNT, mjm.nq)), adj_qvel=adj
  )
  work = sim.program({}, 1).work
  return points, adj.astype(np.float64), out, work.mu.numpy().copy(), work.lam.numpy().copy()


def mass_matrix(oracle, point):
  matrix = np.zeros((oracle.nv, oracle.nv))
  oracle.forward(point)
  mujoco.mj_fullM(oracle.mjm, oracle.mjd, matrix)
  return matrix


def compare(mjm, integration_matrix=None):
  """Relative errors of lam, and of mu where there is one, at states where the steps agree."""
  points, adj, out, mu, lam = run(mjm)
  oracle = oracles.Oracle(mjm)
  h = mjm.opt.timestep
  errors = []
  for s, point in enumerate(points):
    here = oracles.linearise(oracle, point, ())
    if here.near_switch or oracles.relative_error(out.qacc[s], here.base.qacc) > 1e-3:
      continue
    rhs = -h * adj[s]
    if integration_matrix is not None:
      true_mu = np.linalg.solve(integration_matrix(oracle, point).T, rhs)
      errors.append(oracles.relative_error(mu[s], true_mu))
      rhs = mass_matrix(oracle, point) @ true_mu
    else:
      assert np.all(mu[s] == 0)
    hessian = oracles.linearise_residual(oracle, point).qacc
    errors.append(oracles.relative_error(lam[s], np.linalg.solve(hessian, rhs)))
  assert len(errors) >= COUNT // 2
  return errors


@pytest.mark.parametrize("cone", models.CONES)
@pytest.mark.parametrize("name", ["ant", "humanoid"])
def test_explicit(name, cone):
  mjm = models.variant(getattr(models, name)(), integrator="euler_explicit", cone=cone)
  errors = compare(mjm)
  assert max(errors) < RTOL, errors


def euler_matrix(oracle, point):
  """M + h (b + 2 b1 |v| + 3 b2 v^2)."""
  mjm, speed = oracle.mjm, np.abs(point.qvel)
  slope = mjm.dof_damping + 2 * mjm.dof_dampingpoly[:, 0] * speed
  slope = slope + 3 * mjm.dof_dampingpoly[:, 1] * speed**2
  return mass_matrix(oracle, point) + mjm.opt.timestep * np.diag(slope)


def implicit_matrix(oracle, point):
  """M - h D with D = `qDeriv`, the derivative of forces in the velocity.

  Under implicitfast of passive and actuator forces, under implicit of bias forces as well.
  """
  mjm, mjd = oracle.mjm, oracle.mjd
  oracle.load(point, oracle.forward(point))
  mujoco.mj_step(mjm, mjd)
  deriv = np.zeros((mjm.nv, mjm.nv))
  for i in range(mjm.nv):
    entries = slice(mjm.D_rowadr[i], mjm.D_rowadr[i] + mjm.D_rownnz[i])
    deriv[i, mjm.D_colind[entries]] = mjd.qDeriv[entries]
  return mass_matrix(oracle, point) - mjm.opt.timestep * deriv


@pytest.mark.parametrize("integrator", ["euler", "implicitfast", "implicit"])
@pytest.mark.parametrize("name", ["ant", "joints"])
def test_implicit(name, integrator):
  mjm = models.ant() if name == "ant" else models.load(models.JOINTS)
  models.variant(mjm, integrator=integrator)
  errors = compare(mjm, euler_matrix if integrator == "euler" else implicit_matrix)
  assert max(errors) < RTOL, errors
