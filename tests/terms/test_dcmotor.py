"""DC motors: voltage, controller, winding, heating, friction, and their activations."""

import mujoco
import numpy as np
import pytest

from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.errors import UnsupportedFeature
from tests import models
from tests.terms import harness
from tests.terms.chain import chain
from tests.terms.tendons import fixed
from tests.terms.tendons import tendons

# As in test_actuator.py; the bristle and the current are stiff and lose another digit.
RTOL = 2e-4
ACT_RTOL = 2e-4

CONSTANTS = 'motorconst="0.8" resistance="2"'
MOTORS = {
  "voltage": "",
  "cogging": 'cogging="0.6 6 0.3"',
  "servo": 'input="pos vel" controller="2 0 0.5"',
  "torque": 'input="pos vel ff" controller="2 0 0.5"',
  "all_inputs": 'input="pos vel ff voltage" controller="2 0 0.5"',
  "velocity": 'input="vel" controller="0 0 0.7"',
  "integral": 'input="pos" controller="2 1.5 0.5"',
  "integral_bound": 'input="pos" controller="2 1.5 0.5 0 0.45"',
  "slew": 'input="pos vel" controller="2 0 0.5 20"',
  "voltage_bound": 'input="pos" controller="3 0 0.5 0 0 4"',
  "inductance": 'inductance="0.02"',
  "servo_inductance": 'input="pos" controller="2 0 0.5" inductance="0.02"',
  "thermal": 'thermal="10 5 0 0.04 25 20"',
  "thermal_servo": 'input="pos" controller="2 0 0.5" thermal="0.4 0.5 0 0.04 25 20"',
  "friction": 'lugre="40 0.3 0.5 1.5 0.7"',
  "everything": 'input="pos vel" controller="2 0.5 0.4 10 5 12" inductance="0.02" '
  'thermal="10 5 0 0.04 25 20" cogging="0.1 6 0.3" lugre="40 0.3 0.5 1.5 0.7"',
}
CHANNELS = ("qpos", "qvel", "act", "ctrl")
PARAMS = ("actuator_gear", "actuator_dynprm", "actuator_gainprm", "actuator_biasprm")


def model(name, integrator="euler", extra=""):
  """Motors on two joints; the second is behind a gear."""
  motors = "".join(
    f'<dcmotor joint="{j}" gear="{g}" {CONSTANTS} {MOTORS[name]} {extra}/>'
    for j, g in (("hinge", 1.5), ("last", 0.6))
  )
  return chain(actuator=motors, integrator=integrator)


def points(mjm, count=8, seed=0):
  rng = np.random.default_rng(seed)
  return [
    harness.with_inputs(
      p,
      ctrl=rng.normal(size=mjm.nu).astype(np.float32),
      act=(0.3 * rng.normal(size=mjm.na)).astype(np.float32),
    )
    for p in harness.random_points(mjm, count, seed, position=0.4, velocity=2.0)
  ]


def vanishing(found):
  """Channels in which both sides agree that nothing happens."""
  return [name for name, c in found.items() if not c.truth.any()]


def names(mjm):
  return [c for c in CHANNELS if (c != "act" or mjm.na) and (c != "ctrl" or mjm.nu)]


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("name", MOTORS)
def test_force(name, integrator):
  mjm = model(name, integrator)
  found, _ = harness.compare(mjm, points(mjm), PARAMS, channels=names(mjm))
  zero = vanishing(found)
  assert not {"qpos", "qvel", "actuator_gear", "actuator_gainprm"} & set(zero)
  harness.assert_close(found, RTOL, zero=zero, skipped=1)


@pytest.mark.parametrize("name", ["cogging", "voltage_bound", "thermal_servo", "everything"])
def test_under_discrete(name):
  """The metric takes the slopes in the length as well, those that resist."""
  mjm = model(name, "discrete")
  mjm.actuator_actearly[:] = mjm.na > 0
  mjm.dof_frictionloss[:] = 0.2
  params = (*PARAMS, "opt.timestep", "body_mass")
  found, _ = harness.compare(mjm, points(mjm), params, channels=names(mjm))
  harness.assert_close(found, RTOL, zero=vanishing(found), skipped=1)


@pytest.mark.parametrize("name", [n for n in MOTORS if model(n).na])
def test_next_activation(name):
  mjm = model(name)
  found, _ = harness.compare(mjm, points(mjm), PARAMS, channels=names(mjm), on="act")
  zero = vanishing(found)
  assert "act" not in zero
  harness.assert_close(found, ACT_RTOL, zero=zero, skipped=1)


@pytest.mark.parametrize("integrator", ["euler", "implicitfast"])
def test_limits(integrator):
  """Of the control, of the electrical force, of the current's rate, of the joint's total."""
  mjm = chain(
    last='actuatorfrcrange="-0.1 0.12"',
    actuator=f"""
      <dcmotor joint="hinge" {CONSTANTS} ctrlrange="-0.5 0.6"/>
      <dcmotor joint="slide" {CONSTANTS} cogging="0.6 6 0.3"/>
      <dcmotor joint="last" {CONSTANTS} inductance="0.02"/>""",
    integrator=integrator,
  )
  mjm.actuator_dynprm[2, 1] = 20.0
  mjm.actuator_forcelimited[1] = True
  mjm.actuator_forcerange[1] = (-0.4, 0.5)
  params = (*PARAMS, "actuator_forcerange", "actuator_ctrlrange", "jnt_actfrcrange")
  found, _ = harness.compare(mjm, points(mjm), params, channels=CHANNELS)
  harness.assert_close(found, RTOL, skipped=1)
  ranges = ("actuator_forcerange", "actuator_ctrlrange", "jnt_actfrcrange")
  assert all(found[name].truth.any() for name in ranges)


def test_on_a_tendon():
  mjm = tendons(
    fixed(name="t"), actuator=f'<dcmotor tendon="t" gear="2" {CONSTANTS} {MOTORS["everything"]}/>'
  )
  found, _ = harness.compare(mjm, points(mjm), PARAMS, channels=CHANNELS)
  harness.assert_close(found, RTOL, skipped=1)
  limited = tendons(
    fixed(name="t", actuatorfrcrange="-1 1"), actuator=f'<dcmotor tendon="t" {CONSTANTS}/>'
  )
  with pytest.raises(UnsupportedFeature, match="DC motor on a tendon that limits"):
    Simulator(limited, 1, "cpu")


def test_beside_other_actuators():
  """Controls and activations are numbered apart from actuators."""
  mjm = chain(
    actuator=f"""
      <dcmotor joint="hinge" {CONSTANTS} {MOTORS["everything"]}/>
      <motor joint="slide" gear="9"/>
      <general joint="last" dyntype="filter" dynprm="0.03" gainprm="2"/>
      <dcmotor joint="last" {CONSTANTS} input="none" lugre="40 0.3 0.5 1.5 0.7"/>
      <position joint="slide" kp="30"/>""",
    integrator="implicitfast",
  )
  assert (mjm.nu, mjm.na, mjm.actuator_trntype.size) == (5, 7, 5)
  found, _ = harness.compare(mjm, points(mjm), PARAMS, channels=CHANNELS)
  harness.assert_close(found, RTOL, skipped=1)
  found, _ = harness.compare(mjm, points(mjm), PARAMS, channels=CHANNELS, on="act")
  harness.assert_close(found, ACT_RTOL, skipped=1, zero=vanishing(found))


def test_actuation_switched_off():
  """All activations stand still, but for the bristles, which the engine moves."""
  mjm = model("friction")
  mjm.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_ACTUATION
  with pytest.raises(UnsupportedFeature, match="bristles"):
    Simulator(mjm, 1, "cpu")
  mjm = model("thermal_servo")
  mjm.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_ACTUATION
  found, _ = harness.compare(mjm, points(mjm, 2), PARAMS, channels=CHANNELS)
  harness.assert_close(found, RTOL, zero=("act", "ctrl", *PARAMS))


def test_without_any_control():
  """A passive motor brakes; the model has no controls at all."""
  mjm = chain(actuator=f'<dcmotor joint="hinge" {CONSTANTS} input="none" {MOTORS["friction"]}/>')
  assert mjm.nu == 0
  found, _ = harness.compare(mjm, points(mjm), PARAMS, channels=("qpos", "qvel", "act"))
  harness.assert_close(found, RTOL, skipped=1)
