"""Joint limits: both sides of hinge and slide, the cone of a ball."""

import mujoco
import numpy as np
import pytest

from tests import models
from tests.terms import harness
from tests.terms.chain import BALL
from tests.terms.chain import HINGE
from tests.terms.chain import SLIDE
from tests.terms.chain import chain

# A violated limit multiplies the float32 rounding of a position by its stiffness; 1e-4 is 1e3 times
# the rounding of one number and a hundredth of what a frozen impedance slope would cost.
RTOL = 1e-4

# A wide, steep impedance, so that its slope matters at every violation up to 0.08.
SOLIMP = 'solimplimit="0.5 0.95 0.1 0.4 2.5"'
LIMITS = {
  "hinge": f'limited="true" range="-30 40" {SOLIMP}',
  "slide": f'limited="true" range="-0.1 0.15" {SOLIMP} solreflimit="0.03 0.8"',
  "ball": f'limited="true" range="0 50" {SOLIMP}',
  "last": f'limited="true" range="-20 20" margin="0.05" {SOLIMP}',
}


def limited_points(mjm, seed=0):
  """Every joint past one of its bounds by 0.01 to 0.08, both sides, inwards and outwards."""
  rng = np.random.default_rng(seed)
  points = []
  for side in (0, 1):
    for _ in range(4):
      point = harness.Point.initial(mjm)
      past = rng.uniform(0.01, 0.08, size=4)
      sign = 2 * side - 1
      point.qpos[0] = mjm.jnt_range[0, side] + sign * past[0]
      point.qpos[1] = mjm.jnt_range[1, side] + sign * past[1]
      axis = rng.normal(size=3)
      axis /= np.linalg.norm(axis)
      mujoco.mju_axisAngle2Quat(point.qpos[2:6], axis, mjm.jnt_range[2, 1] + past[2])
      point.qpos[6] = mjm.jnt_range[3, side] + sign * past[3]
      point.qvel[:] = 0.3 * rng.normal(size=mjm.nv)
      points.append(point.float32())
  return points


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_gradient(integrator):
  mjm = chain(**LIMITS, integrator=integrator)
  points = limited_points(mjm)
  found, local = harness.compare(mjm, points, ("dof_damping", "body_mass"))
  harness.assert_close(found, RTOL)
  assert all(here.branch.zones.size == 4 for here in local)
  assert all(here.branch.zones.any() for here in local)


def test_the_impedance_slope_matters():
  """The same states with the impedance held fixed are wrong by far more than the tolerance.

  aref = -b v - k d(r) r and D(r): without d' the gradient loses (k r D + y dD/dd) d'.
  """
  mjm = chain(**LIMITS)
  points = limited_points(mjm)
  found, _ = harness.compare(mjm, points, channels=("qpos",))
  flat = chain(**LIMITS)
  oracle = harness.Oracle(flat)
  worst = 0.0
  for s, point in enumerate(points):
    oracle.forward(point)
    impedance = oracle.mjd.efc_KBIP[: oracle.mjd.nefc, 2].mean()
    flat.jnt_solimp[:, :2] = impedance
    frozen = harness.linearise(harness.Oracle(flat), point, ("qpos",)).jacobians["qpos"]
    adj = np.random.default_rng(0).normal(size=(len(points), mjm.nv)).astype(np.float32)[s]
    truth = found["qpos"].truth[s]
    wrong = frozen.vjp(np.zeros(mjm.nv), adj) - truth
    worst = max(worst, np.linalg.norm(wrong) / np.linalg.norm(truth))
  assert worst > 100 * RTOL


@pytest.mark.parametrize("joint", ["hinge", "slide", "ball", "last"])
def test_one_joint_at_a_time(joint):
  mjm = chain(**{joint: LIMITS[joint]})
  dofs = {"hinge": [HINGE], "slide": [SLIDE], "ball": list(range(2, 5)), "last": [5]}[joint]
  reference = chain(**LIMITS)
  points = limited_points(reference, seed=1)
  found, local = harness.compare(mjm, points)
  harness.assert_close(found, RTOL)
  assert all(here.branch.zones.size == 1 for here in local)
  active = [s for s, here in enumerate(local) if here.branch.zones[0]]
  assert len(active) >= 2
  free, _ = harness.compare(chain(), points)
  for s in active:
    change = found["qpos"].truth[s] - free["qpos"].truth[s]
    assert np.linalg.norm(change[dofs]) > 1e-2 * np.linalg.norm(free["qpos"].truth[s])


def test_leaving_a_limit_fast():
  """Moving back inside faster than the reference asks: the row is there and pushes nothing."""
  mjm = chain(hinge=LIMITS["hinge"])
  points = [
    harness.with_inputs(p, qvel=[-20.0 * np.sign(p.qpos[0]), 0, 0, 0, 0, 0])
    for p in limited_points(chain(**LIMITS))
  ]
  found, local = harness.compare(mjm, points)
  assert all(here.branch.zones.tolist() == [0] for here in local)
  harness.assert_close(found, RTOL)
  free, _ = harness.compare(chain(), points)
  np.testing.assert_allclose(found["qpos"].truth, free["qpos"].truth, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
  "solref", [(0.02, 1.0), (0.1, 0.5), (0.004, 1.0), (-800.0, -60.0)], ids=str
)
def test_solref(solref):
  """Standard, slow and underdamped, below the time step (REFSAFE), and direct."""
  mjm = chain(**LIMITS)
  mjm.jnt_solref[:] = solref
  found, local = harness.compare(mjm, limited_points(mjm))
  harness.assert_close(found, RTOL)
  assert any(here.branch.zones.any() for here in local)


def test_large_ball_angle():
  """Past 180 degrees the rotation vector points the other way."""
  mjm = chain(ball='limited="true" range="0 150"')
  points = []
  for degrees in (160, 170, 190, 200):
    point = harness.Point.initial(mjm)
    axis = np.array([0.6, 0.0, 0.8])
    mujoco.mju_axisAngle2Quat(point.qpos[2:6], axis, np.deg2rad(degrees))
    point.qvel[BALL] = (0.1, 0.3, -0.2)
    points.append(point)
  found, local = harness.compare(mjm, points)
  harness.assert_close(found, RTOL)
  assert all(here.branch.zones.tolist() == [1] for here in local)


def test_limits_switched_off():
  mjm = chain(**LIMITS)
  mjm.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_LIMIT
  points = limited_points(mjm)[:2]
  found, local = harness.compare(mjm, points)
  harness.assert_close(found, 2e-5)
  assert all(here.branch.zones.size == 0 for here in local)
