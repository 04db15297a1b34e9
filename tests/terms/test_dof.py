"""Joint damping, armature and friction loss."""

import mujoco
import numpy as np
import pytest

from tests import models
from tests.terms import harness
from tests.terms.chain import chain

# Accelerations of this chain are good to about 1e-6 in float32; friction rows add their own 1e-5.
RTOL = 2e-5
FRICTION_RTOL = 1e-4

DAMPING = {
  "linear": {"hinge": 'damping="2"', "slide": 'damping="6"', "ball": 'damping="0.5"'},
  "polynomial": {
    "hinge": 'damping="2 0.5 0.3" armature="0.02"',
    "slide": 'damping="0 3 2" armature="0.3"',
    "ball": 'damping="0.5 0.2 0.1" armature="0.01"',
    "last": 'damping="0.3 0 0.1"',
  },
}


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("law", DAMPING)
def test_damping_and_armature(law, integrator):
  """Both signs of every velocity; the integrator's own dependence on b, v and q is part of it."""
  mjm = chain(**DAMPING[law], integrator=integrator)
  points = harness.random_points(mjm, 4, velocity=3.0)
  points += [harness.with_inputs(p, qvel=-p.qvel) for p in points[:2]]
  found, _ = harness.compare(mjm, points, ("dof_damping", "dof_armature"))
  harness.assert_close(found, RTOL)
  assert np.all(found["dof_damping"].value != 0)
  assert np.all(found["dof_armature"].value != 0)


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_damping_switched_off(integrator):
  """Without the law its parameter has no effect; implicit damping goes with it."""
  mjm = chain(**DAMPING["polynomial"], integrator=integrator)
  mjm.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_DAMPER
  points = harness.random_points(mjm, 2, velocity=3.0)
  found, _ = harness.compare(mjm, points, ("dof_damping", "dof_armature"))
  harness.assert_close(found, RTOL, zero=("dof_damping",))


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_parameters_that_the_model_leaves_zero(integrator):
  """A value given for the call counts, although the compiled model has none of the law."""
  mjm = chain(integrator=integrator)
  points = harness.random_points(mjm, 3, velocity=2.0)
  values = {
    "dof_damping": np.array([1.0, 4.0, 0.3, 0.2, 0.1, 0.4]),
    "dof_armature": np.array([0.1, 0.2, 0.02, 0.03, 0.04, 0.05]),
    "dof_frictionloss": np.array([0.0, 3.0, 0.0, 0.0, 0.02, 0.3]),
    "jnt_stiffness": np.array([5.0, 40.0, 2.0, 1.0]),
  }
  found, local = harness.compare(mjm, points, tuple(values), values=values)
  harness.assert_close(found, FRICTION_RTOL)
  assert all(here.branch.zones.size == 3 for here in local)


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_damping_and_armature_of_actuators(integrator):
  """They act on their joint through the square of the gear; two on one joint add up."""
  extra = 'damping="0.6 0.1 0.02" armature="0.01"'
  mjm = chain(
    hinge='damping="0.5"',
    actuator=f"""
      <motor joint="hinge" gear="2" {extra}/>
      <motor joint="last" gear="1.5" damping="0.2"/>
      <motor joint="last" gear="3" damping="0.1 0 0.03"/>""",
    integrator=integrator,
  )
  points = harness.random_points(mjm, 4, velocity=3.0)
  found, _ = harness.compare(mjm, points, ("dof_damping", "dof_armature"))
  harness.assert_close(found, RTOL)
  bare = chain(hinge='damping="0.5"', integrator=integrator)
  without, _ = harness.compare(bare, [harness.with_inputs(p, ctrl=[]) for p in points])
  assert np.abs(found["qvel"].truth - without["qvel"].truth).max() > 1e-2


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_friction_loss_in_three_zones(integrator):
  """Sliding forwards, sliding backwards, and creeping between the bounds."""
  mjm = chain(
    hinge='frictionloss="1.5"',
    slide='frictionloss="2" damping="1"',
    ball='frictionloss="0.2"',
    last='frictionloss="0.1"',
    integrator=integrator,
  )
  points = harness.random_points(mjm, 6, velocity=1.0)
  points += [harness.with_inputs(p, qvel=0.02 * p.qvel) for p in points]
  found, local = harness.compare(mjm, points, ("dof_frictionloss", "dof_damping"))
  harness.assert_close(found, FRICTION_RTOL)
  zones = np.stack([here.branch.zones for here in local])
  assert zones.shape == (12, 6)
  assert {-1, 0, 1} <= set(zones[:, :2].ravel()) and {-1, 0, 1} <= set(zones[:, 2:].ravel())
  # Between its bounds a row does not know its bound; past it, it does.
  gradient = found["dof_frictionloss"].value
  for s, here in enumerate(local):
    np.testing.assert_array_equal(gradient[s][here.branch.zones == 0] == 0, True)
    assert np.all(gradient[s][here.branch.zones != 0] != 0)


def test_friction_loss_with_direct_solref():
  """Negative solref gives stiffness and damping of the row directly."""
  mjm = chain(hinge='frictionloss="1.5"', last='frictionloss="0.5"')
  mjm.dof_solref[:] = (-900.0, -70.0)
  mjm.dof_solimp[:] = (0.8, 0.9, 0.01, 0.4, 3.0)
  points = [harness.with_inputs(p, qvel=0.02 * p.qvel) for p in harness.random_points(mjm, 6)]
  found, local = harness.compare(mjm, points, ("dof_frictionloss",))
  harness.assert_close(found, FRICTION_RTOL)
  assert 0 in np.concatenate([here.branch.zones for here in local])
