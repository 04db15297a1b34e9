"""Gravity compensation, whole, in part and in excess, as a passive and as an actuator force."""

import mujoco
import numpy as np
import pytest

from tests import models
from tests.terms import harness

# Accelerations of this model are good to about 1e-6 in float32.
RTOL = 2e-5

PARAMS = ("body_mass", "opt.gravity")


def model(gravcomp=(0.5, 1.3, 1.0), joint="", integrator="euler", option=""):
  """A free body, a hinge and a ball, each with its own gravity compensation."""
  free, hinge, ball = gravcomp
  return models.variant(
    f"""
<mujoco>
  <option timestep="0.005" gravity="1 -2 -9" {option}><flag contact="disable"/></option>
  <worldbody>
    <body gravcomp="{free}">
      <freejoint/>
      <inertial pos="0.1 0.02 0" mass="1.1" diaginertia="0.02 0.03 0.03"/>
      <body pos="0.3 0 0" gravcomp="{hinge}">
        <joint name="hinge" axis="0 1 0.3" {joint}/>
        <inertial pos="0.1 0.05 0" mass="0.8" diaginertia="0.02 0.02 0.03"/>
        <body pos="0.2 0 0.1" gravcomp="{ball}">
          <joint type="ball"/>
          <inertial pos="0.05 0 -0.1" mass="0.6" diaginertia="0.01 0.02 0.02"/>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="hinge" gear="2"/></actuator>
</mujoco>
""",
    integrator=integrator,
  )


def points_of(mjm, count=4):
  points = harness.random_points(mjm, count, position=0.4, velocity=1.5)
  return [harness.with_inputs(p, ctrl=[0.4]) for p in points]


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("gravcomp", [(0.5, 1.3, 1.0), (0, 0.7, 0), (-0.4, 1, 1)])
def test_gradient(gravcomp, integrator):
  mjm = model(gravcomp, integrator=integrator)
  found, _ = harness.compare(mjm, points_of(mjm), PARAMS)
  harness.assert_close(found, RTOL)


def test_it_matters():
  """The same states without compensation have another gradient."""
  points = points_of(model())
  with_it, _ = harness.compare(model(), points, PARAMS)
  without, _ = harness.compare(model((0, 0, 0)), points, PARAMS)
  for name in ("qpos", *PARAMS):
    difference = np.linalg.norm(with_it[name].value - without[name].value)
    assert difference > 1e-2 * np.linalg.norm(without[name].value), name


def test_whole_compensation_is_free_fall():
  """Everything at gravcomp 1: no gradient in gravity is left, up to what cancels in float32."""
  found, _ = harness.compare(model((1, 1, 1)), points_of(model()), ("opt.gravity",))
  bare, _ = harness.compare(model((0, 0, 0)), points_of(model()), ("opt.gravity",))
  size = np.abs(bare["opt.gravity"].value).max()
  assert np.abs(found["opt.gravity"].value).max() < 1e-5 * size


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_as_an_actuator_force(integrator):
  """`actuatorgravcomp` moves the force to the actuators and leaves the motion as it was."""
  points = points_of(model())
  actuated = model(joint='actuatorgravcomp="true"', integrator=integrator)
  found, _ = harness.compare(actuated, points, PARAMS)
  harness.assert_close(found, RTOL)
  passive, _ = harness.compare(model(integrator=integrator), points, PARAMS)
  for name, channel in found.items():
    scale = np.abs(passive[name].value).max()
    np.testing.assert_allclose(channel.value, passive[name].value, atol=RTOL * scale)


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_inside_an_actuator_force_limit(integrator):
  """Where the limit holds the joint, its compensation does not matter; other joints keep theirs."""
  mjm = model(joint='actuatorgravcomp="true" actuatorfrcrange="0 9"', integrator=integrator)
  points = [
    harness.with_inputs(p, ctrl=[u])
    for p, u in zip(points_of(mjm, 6), (0.4, -0.8, 2.9, 4.0, 0.1, -9.0))
  ]
  found, _ = harness.compare(
    mjm, points, (*PARAMS, "jnt_actfrcrange", "body_gravcomp"), channels=("qpos", "qvel", "ctrl")
  )
  harness.assert_close(found, RTOL)
  held = found["ctrl"].value[:, 0] == 0
  assert held.any() and not held.all()


def test_lost_without_actuation():
  """With actuation switched off nobody compensates for the joint; the others are passive."""
  mjm = model(joint='actuatorgravcomp="true"')
  mjm.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_ACTUATION
  found, _ = harness.compare(mjm, points_of(mjm), PARAMS)
  harness.assert_close(found, RTOL)


@pytest.mark.parametrize("flags", [("GRAVITY",), ("SPRING",), ("SPRING", "DAMPER")])
def test_switched_off(flags):
  """It goes with gravity, and with the last of the passive forces."""
  mjm = model()
  for flag in flags:
    mjm.opt.disableflags |= mujoco.mjtDisableBit.__members__[f"mjDSBL_{flag}"]
  found, _ = harness.compare(mjm, points_of(mjm), PARAMS)
  harness.assert_close(found, RTOL, zero=("opt.gravity",) if flags == ("GRAVITY",) else ())
