"""Springs on joints of every type, linear and polynomial."""

import mujoco
import numpy as np
import pytest

from tests import models
from tests.terms import harness
from tests.terms.chain import chain
from tests.terms.chain import free_body

# Accelerations of these small models are good to about 1e-6 in float32. The velocity gradient is
# what remains of a number near one, rounded to 6e-8, after one is taken off: dt times a few 0.1.
RTOL = 5e-5

SPRINGS = {
  "linear": {
    "hinge": 'stiffness="20" springref="30"',
    "slide": 'stiffness="200" springref="0.1"',
    "ball": 'stiffness="5"',
    "last": 'stiffness="2" springref="-20"',
  },
  "polynomial": {
    "hinge": 'stiffness="20 6 4" springref="30"',
    "slide": 'stiffness="100 300 400" springref="0.1"',
    "ball": 'stiffness="5 3 2"',
    "last": 'stiffness="0 2 1"',
  },
}


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("law", SPRINGS)
def test_hinge_slide_ball(law, integrator):
  """Both signs of every displacement; large rotations of the ball."""
  mjm = chain(**SPRINGS[law], integrator=integrator)
  points = harness.random_points(mjm, 4, position=0.6)
  points += harness.random_points(mjm, 2, seed=1, position=1.5)
  found, _ = harness.compare(mjm, points, ("jnt_stiffness",))
  harness.assert_close(found, RTOL)
  assert np.all(found["jnt_stiffness"].value != 0)
  displacement = np.stack([p.qpos for p in points])[:, :2] - mjm.qpos_spring[:2]
  assert np.all((displacement > 0).any(axis=0) & (displacement < 0).any(axis=0))


@pytest.mark.parametrize("stiffness", ["8", "8 5 3"])
def test_free(stiffness):
  """Translation and rotation each have a spring of their own with the same stiffness."""
  mjm = free_body(f'stiffness="{stiffness}"')
  points = harness.random_points(mjm, 6, position=0.8)
  found, _ = harness.compare(mjm, points, ("jnt_stiffness",))
  harness.assert_close(found, RTOL)


@pytest.mark.parametrize("mjm", [chain(**SPRINGS["polynomial"]), free_body('stiffness="8 5 3"')])
def test_at_the_reference(mjm):
  """Where the displacement vanishes the rotation vector has no direction, the force a slope."""
  point = harness.Point.initial(mjm)
  point.qpos[:] = mjm.qpos_spring
  point.qvel[:] = np.linspace(-1.0, 1.0, mjm.nv)
  found, _ = harness.compare(mjm, [point])
  harness.assert_close(found, RTOL)


def test_unnormalised_quaternion():
  """The engine normalises what it is given; the force is that of the unit quaternion."""
  mjm = chain(**SPRINGS["polynomial"])
  point = harness.random_points(mjm, 1, position=0.6)[0]
  longer = point.qpos.copy()
  longer[2:6] *= 1.5
  found, _ = harness.compare(mjm, [point, harness.with_inputs(point, qpos=longer)])
  harness.assert_close(found, RTOL)


def test_springs_switched_off():
  mjm = chain(**SPRINGS["polynomial"])
  mjm.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_SPRING
  points = harness.random_points(mjm, 2, position=0.6)
  found, _ = harness.compare(mjm, points, ("jnt_stiffness",))
  harness.assert_close(found, RTOL, zero=("jnt_stiffness",))
