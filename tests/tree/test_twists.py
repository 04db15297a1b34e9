"""Body twists and the sweep of the tree, on the humanoid, against MuJoCo's Jacobians."""

import mujoco
import numpy as np
import pytest
import warp as wp

from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.linearize import step_gradient
from mjgrad._src.tree import sweep
from mjgrad._src.tree import twists
from tests import models
from tests.terms import harness

# Sums of a dozen float32 products along a chain of the humanoid.
RTOL = 1e-5

STEP = 1e-6
NWORLD = 3


@pytest.fixture(scope="module")
def setting():
  """A humanoid in random poses; directions lam, mu and the rest are whatever a step left there."""
  mjm = models.humanoid()
  mjm.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
  points = harness.random_points(mjm, NWORLD, position=0.4)
  sim = Simulator(mjm, NWORLD, "cpu")
  adj = np.random.default_rng(0).normal(size=(NWORLD, mjm.nv))
  step_gradient(sim, **harness.inputs(points), adj_qpos=np.zeros((NWORLD, mjm.nq)), adj_qvel=adj)
  return mjm, points, sim.program({}, 1).work


def body_jacobian(mjm, mjd, body, origin):
  """Rows (rotation, translation of the body-fixed point at the origin), shape [6, nv]."""
  rotation, translation = np.zeros((3, mjm.nv)), np.zeros((3, mjm.nv))
  mujoco.mj_jac(mjm, mjd, translation, rotation, origin, body)
  return np.concatenate([rotation, translation])


def directions(work, points, s):
  """Generalised direction of every twist but BIAS, shape [5, nv]."""
  rows = {
    int(twists.V): points[s].qvel,
    int(twists.LAM): work.lam.numpy()[s],
    int(twists.ACC): work.qacc.numpy()[s],
    int(twists.MU): work.mu.numpy()[s],
    int(twists.DELTA): work.delta.numpy()[s],
  }
  return np.stack([rows[i] for i in range(5)]).astype(np.float64)


def test_twists(setting):
  mjm, points, work = setting
  twist = work.twist.numpy().swapaxes(1, 2)
  lastdof = work.tree.body_lastdof.numpy()
  for s, point in enumerate(points):
    mjd = mujoco.MjData(mjm)
    mjd.qpos[:], mjd.qvel[:] = point.qpos, point.qvel
    mujoco.mj_forward(mjm, mjd)
    for body in range(1, mjm.nbody):
      origin = mjd.subtree_com[mjm.body_rootid[body]]
      truth = directions(work, points, s) @ body_jacobian(mjm, mjd, body, origin).T
      value = twist[s, lastdof[body] + 1, :5]
      np.testing.assert_allclose(value, truth, atol=RTOL * (1 + np.abs(truth).max()))


def test_sweep(setting):
  """The gradient of sum_b sum_w F_b^w . T_b^w for wrenches F that are fixed in space.

  At fixed twists nothing depends on the pose, so the pose's wrench is sum_w T_b^w x* F_b^w. The
  twists along BIAS are tested with the inertia term.
  """
  mjm, points, work = setting
  rng = np.random.default_rng(1)
  force = rng.normal(size=(NWORLD, mjm.nbody, 5, 6))
  force[:, 0] = 0
  twist = work.twist.numpy().swapaxes(1, 2).astype(np.float64)
  lastdof = work.tree.body_lastdof.numpy()
  wrench = np.zeros((NWORLD, mjm.nbody, int(twists.NWRENCH), 6))
  wrench[:, :, :5] = force
  for body in range(1, mjm.nbody):
    for w in range(5):
      rotation, translation = np.split(twist[:, lastdof[body] + 1, w], 2, axis=1)
      torque, linear = np.split(force[:, body, w], 2, axis=1)
      wrench[:, body, int(twists.POSE), :3] += np.cross(rotation, torque)
      wrench[:, body, int(twists.POSE), :3] += np.cross(translation, linear)
      wrench[:, body, int(twists.POSE), 3:] += np.cross(rotation, linear)
  work.wrench.assign(wrench.swapaxes(1, 2).astype(np.float32))
  work.adj_qpos.zero_()
  work.adj_qvel.zero_()
  with wp.ScopedDevice("cpu"):
    sweep.launch(work)
  adj_qpos, adj_qvel = work.adj_qpos.numpy(), work.adj_qvel.numpy()

  for s, point in enumerate(points):
    mjd = mujoco.MjData(mjm)
    mjd.qpos[:] = point.qpos
    mujoco.mj_kinematics(mjm, mjd)
    mujoco.mj_comPos(mjm, mjd)
    origin = mjd.subtree_com[1].copy()
    along = directions(work, points, s)

    def objective(qpos, along=along, origin=origin, s=s, mjd=mjd):
      mjd.qpos[:] = qpos
      mujoco.mj_kinematics(mjm, mjd)
      mujoco.mj_comPos(mjm, mjd)
      return sum(
        np.sum(force[s, body] * (along @ body_jacobian(mjm, mjd, body, origin).T))
        for body in range(1, mjm.nbody)
      )

    def moved(dof, amount, point=point):
      qpos = point.qpos.copy()
      mujoco.mj_integratePos(mjm, qpos, np.eye(mjm.nv)[dof], amount)
      return qpos

    truth = np.array(
      [(objective(moved(i, STEP)) - objective(moved(i, -STEP))) / (2 * STEP) for i in range(mjm.nv)]
    )
    np.testing.assert_allclose(adj_qpos[s], truth, atol=RTOL * (1 + np.abs(truth).max()))
    objective(point.qpos)
    truth = sum(
      force[s, body, int(twists.V)] @ body_jacobian(mjm, mjd, body, origin)
      for body in range(1, mjm.nbody)
    )
    np.testing.assert_allclose(adj_qvel[s], truth, atol=RTOL * (1 + np.abs(truth).max()))
