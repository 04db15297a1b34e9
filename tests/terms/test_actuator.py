"""Actuators on joints: motors, servos and affine gains, with every clamp."""

import mujoco
import numpy as np
import pytest

from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.linearize import step_gradient
from tests import models
from tests.terms import harness
from tests.terms.chain import chain
from tests.terms.chain import free_body

# Accelerations of these small models are good to about 1e-6 in float32, and the velocity gradient
# loses the digits of the one that is taken off it.
RTOL = 5e-5

CHANNELS = ("qpos", "qvel", "ctrl")
PARAMS = ("actuator_gainprm", "actuator_biasprm")

AFFINE = 'gaintype="affine" biastype="affine" gainprm="3 0.5 -0.8" biasprm="0.2 -4 -0.6"'
ACTUATORS = {
  "motor": '<motor joint="hinge" gear="4"/><motor joint="slide" gear="-20"/>',
  "position": """
    <position joint="hinge" kp="30" kv="2" gear="1.5"/>
    <position joint="slide" kp="200" kv="5"/>
    <position joint="last" kp="3"/>""",
  "velocity": '<velocity joint="hinge" kv="2" gear="0.5"/><velocity joint="slide" kv="10"/>',
  "affine": f"""
    <general joint="hinge" {AFFINE} gear="2"/>
    <general joint="slide" {AFFINE} gear="3"/>
    <general joint="last" gaintype="affine" gainprm="0 0.4 -0.3"/>""",
  "shared": f"""
    <motor joint="hinge"/><velocity joint="hinge" kv="2"/><general joint="hinge" {AFFINE}/>""",
  "ball_motor": '<motor joint="ball" gear="0.4 -0.3 0.8"/>',
  "ball_servo": '<position joint="ball" kp="6" gear="0.3 0.5 -0.4"/>',
}


def driven_points(mjm, count=6, seed=0, ctrl=0.6):
  rng = np.random.default_rng(seed)
  points = harness.random_points(mjm, count, seed, position=0.4, velocity=2.0)
  return [
    harness.with_inputs(p, ctrl=(ctrl * rng.normal(size=mjm.nu)).astype(np.float32)) for p in points
  ]


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("name", ACTUATORS)
def test_gradient(name, integrator):
  mjm = chain(actuator=ACTUATORS[name], integrator=integrator)
  has_gain = np.any(mjm.actuator_biastype != int(mujoco.mjtBias.mjBIAS_NONE))
  zero = () if has_gain else ("actuator_biasprm",)
  found, _ = harness.compare(mjm, driven_points(mjm), PARAMS, channels=CHANNELS)
  harness.assert_close(found, RTOL, zero=zero)
  assert np.all(found["ctrl"].value != 0)


@pytest.mark.parametrize(
  "actuator",
  [
    '<motor joint="free" gear="1 0.5 -2 0.1 0.2 -0.3"/>',
    '<velocity joint="free" kv="0.4" gear="1 0.5 -2 0.1 0.2 -0.3"/>',
  ],
)
def test_free_joint(actuator):
  """A free joint has a velocity along its gear, but no length."""
  mjm = free_body(actuator=actuator)
  found, _ = harness.compare(mjm, driven_points(mjm), ("actuator_gainprm",), channels=CHANNELS)
  harness.assert_close(found, RTOL)


def test_ball_servo_takes_the_shorter_way():
  """A set point a turn away is replaced by its nearest equivalent; the gradient stays the same."""
  mjm = chain(actuator=ACTUATORS["ball_servo"])
  turn = 2 * np.pi * np.linalg.norm(mjm.actuator_gear[0, :3])
  points = driven_points(mjm, 3)
  further = [harness.with_inputs(p, ctrl=p.ctrl + k * turn) for p, k in zip(points, (-2, 1, 3))]
  found, _ = harness.compare(mjm, [*points, *further], PARAMS, channels=CHANNELS)
  harness.assert_close(found, RTOL)


@pytest.mark.parametrize(
  ("name", "integrator"),
  [(n, i) for n in ("motor", "position") for i in models.INTEGRATORS] + [("affine", "euler")],
)
def test_control_clamp(name, integrator):
  """Beyond its range a control has no effect; what it is clamped to still has."""
  mjm = chain(actuator=ACTUATORS[name], integrator=integrator)
  mjm.actuator_ctrllimited[:] = True
  mjm.actuator_ctrlrange[:] = (-0.4, 0.5)
  points = driven_points(mjm, 8, ctrl=0.6)
  found, _ = harness.compare(mjm, points, ("actuator_gainprm",), channels=CHANNELS)
  harness.assert_close(found, RTOL)
  ctrl = np.stack([p.ctrl for p in points])
  clamped = (ctrl < -0.4) | (ctrl > 0.5)
  assert clamped.any(axis=0).all() and (~clamped).any(axis=0).all()
  np.testing.assert_array_equal(found["ctrl"].value == 0, clamped)


def test_clamped_control_of_an_affine_gain_under_implicitfast():
  """The engine's implicitfast takes the slope g2 u of a gain at the control before its clamp.

  C MuJoCo takes it after; the gradient is that of the engine's step. With two equal masses m,

    F = (g0 + g2 v) clamp(u),   v' = v + h F / (m - h g2 u),   d v'/d u = h^2 g2 F / (m - h g2 u)^2
  """
  mass = '<inertial pos="0 0 0" mass="2" diaginertia="1 1 1"/>'
  gain = 'gaintype="affine" gainprm="3 0 -0.8" ctrllimited="true" ctrlrange="-0.4 0.5"'
  mjm = models.variant(
    f"""
<mujoco>
  <option timestep="0.005" gravity="0 0 0"/>
  <worldbody>
    <body><joint name="x" type="slide" axis="1 0 0"/>{mass}</body>
    <body><joint name="y" type="slide" axis="0 1 0"/>{mass}</body>
  </worldbody>
  <actuator><general joint="x" {gain}/><general joint="y" {gain}/></actuator>
</mujoco>
""",
    integrator="implicitfast",
  )
  h, m, g0, g2 = 0.005, 2.0, 3.0, -0.8
  v, u = np.array([[1.5, -2.0]]), np.array([[0.9, -0.7]])
  adj = np.array([[1.3, -0.4]])
  force = (g0 + g2 * v) * np.clip(u, -0.4, 0.5)
  matrix = m - h * g2 * u
  sim = Simulator(mjm, 1, "cpu")
  out = step_gradient(sim, np.zeros((1, 2)), v, u, np.zeros((1, 2)), adj)
  np.testing.assert_allclose(out.qvel, v + h * force / matrix, rtol=1e-6)
  np.testing.assert_allclose(out.grad["ctrl"], adj * h * h * g2 * force / matrix**2, rtol=RTOL)


def test_control_clamp_switched_off():
  mjm = chain(actuator=ACTUATORS["motor"])
  mjm.actuator_ctrllimited[:] = True
  mjm.actuator_ctrlrange[:] = (-0.4, 0.5)
  mjm.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CLAMPCTRL
  points = [harness.with_inputs(p, ctrl=[0.9, -0.8]) for p in driven_points(mjm, 2)]
  found, _ = harness.compare(mjm, points, channels=CHANNELS)
  harness.assert_close(found, RTOL)


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("name", ["motor", "position", "velocity", "affine", "ball_motor"])
def test_force_clamp(name, integrator):
  """A saturated actuator has no gradient at all, and no place in the integrator's matrix."""
  mjm = chain(actuator=ACTUATORS[name], integrator=integrator)
  points = driven_points(mjm, 8)
  force = []
  for point in points:
    oracle = harness.Oracle(mjm)
    oracle.forward(point)
    force.append(oracle.mjd.actuator_force.copy())
  middle = np.median(np.abs(force), axis=0)
  mjm.actuator_forcelimited[:] = True
  mjm.actuator_forcerange[:] = np.stack([-middle, 0.9 * middle], axis=1)
  found, _ = harness.compare(mjm, points, ("actuator_gainprm",), channels=CHANNELS)
  harness.assert_close(found, RTOL)
  saturated = (force <= -middle) | (force >= 0.9 * middle)
  assert saturated.any(axis=0).all() and (~saturated).any(axis=0).all()
  np.testing.assert_array_equal(found["ctrl"].value == 0, saturated)


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_joint_force_clamp(integrator):
  """`actuatorfrcrange` clamps the sum of the actuators of a joint."""
  mjm = chain(
    hinge='actuatorfrclimited="true" actuatorfrcrange="-1 1.2"',
    last='actuatorfrclimited="true" actuatorfrcrange="-0.3 0.2"',
    actuator="""
      <motor joint="hinge" gear="2"/><velocity joint="hinge" kv="0.4"/>
      <position joint="last" kp="0.5" kv="0.05"/><motor joint="slide" gear="9"/>""",
    integrator=integrator,
  )
  points = driven_points(mjm, 8)
  found, _ = harness.compare(mjm, points, PARAMS, channels=CHANNELS)
  harness.assert_close(found, RTOL)
  held = found["ctrl"].value == 0
  np.testing.assert_array_equal(held[:, 0], held[:, 1])
  assert held[:, 0].any() and not held[:, 0].all()
  assert held[:, 2].any() and not held[:, 2].all()
  assert not held[:, 3].any()


def test_actuation_switched_off():
  mjm = chain(actuator=ACTUATORS["affine"], integrator="implicitfast")
  mjm.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_ACTUATION
  found, _ = harness.compare(mjm, driven_points(mjm, 2), PARAMS, channels=CHANNELS)
  harness.assert_close(found, RTOL, zero=("ctrl", *PARAMS))


@pytest.mark.parametrize("name", ["affine", "velocity"])
def test_velocity_feedback_on_a_ball_under_implicitfast(name):
  """The slope couples the three dofs of the joint in the integrator's matrix."""
  law = {"affine": AFFINE, "velocity": 'biastype="affine" gainprm="3" biasprm="0 0 -3"'}[name]
  actuator = f'<general joint="ball" {law} gear="0.4 -0.3 0.8"/>'
  mjm = chain(actuator=actuator + ACTUATORS["shared"], integrator="implicitfast")
  points = driven_points(mjm)
  found, _ = harness.compare(mjm, points, PARAMS, channels=CHANNELS)
  harness.assert_close(found, RTOL)
  explicit, _ = harness.compare(chain(actuator=actuator + ACTUATORS["shared"]), points)
  difference = np.linalg.norm(found["qvel"].value - explicit["qvel"].value, axis=1)
  assert np.all(difference > 1e-2 * explicit["qvel"].size)
