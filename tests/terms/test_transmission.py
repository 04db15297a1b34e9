"""Transmissions besides the plain joint: joints in the parent's frame, and tendons."""

import numpy as np
import pytest

from tests import models
from tests.terms import harness
from tests.terms.chain import chain
from tests.terms.chain import free_body
from tests.terms.tendons import BRANCHES
from tests.terms.tendons import FIXED
from tests.terms.tendons import fixed
from tests.terms.tendons import spatial
from tests.terms.tendons import tendons

# As in test_actuator.py: accelerations of these models are good to about 1e-6 in float32.
RTOL = 5e-5

CHANNELS = ("qpos", "qvel", "ctrl")
PARAMS = ("actuator_gainprm", "actuator_biasprm")
AFFINE = 'gaintype="affine" biastype="affine" gainprm="3 0.5 -0.8" biasprm="0.2 -4 -0.6"'
MUSCLE = 'timeconst="0.02 0.05" range="0.4 1.7" lmin="0.3" lmax="1.8" force="20"'


def driven_points(mjm, count=6, seed=0):
  rng = np.random.default_rng(seed)
  points = harness.random_points(mjm, count, seed, position=0.4, velocity=2.0)
  return [
    harness.with_inputs(
      p,
      ctrl=rng.uniform(0.1, 0.9, size=mjm.nu).astype(np.float32),
      act=rng.uniform(0.1, 0.9, size=mjm.na).astype(np.float32),
    )
    for p in points
  ]


def in_parent(law, gear, joint):
  return f'<general jointinparent="{joint}" gear="{gear}" {law}/>'


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_motor_in_the_parent_of_a_ball(integrator):
  """The axis of the torque stays with the parent while the ball turns."""
  mjm = chain(actuator=in_parent('gainprm="5"', "0.4 -0.3 0.8", "ball"), integrator=integrator)
  points = driven_points(mjm)
  found, _ = harness.compare(mjm, points, PARAMS, channels=CHANNELS)
  harness.assert_close(found, RTOL, zero=("actuator_biasprm",))
  child = chain(actuator='<motor joint="ball" gear="2 -1.5 4"/>', integrator=integrator)
  other, _ = harness.compare(child, points, channels=CHANNELS)
  assert np.all(np.linalg.norm(found["qpos"].value - other["qpos"].value, axis=1) > 1e-3)


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("law", ['gainprm="5"', AFFINE])
def test_affine_in_the_parent_of_a_ball(law, integrator):
  mjm = chain(actuator=in_parent(law, "0.4 -0.3 0.8", "ball"), integrator=integrator)
  found, _ = harness.compare(mjm, driven_points(mjm), PARAMS, channels=CHANNELS)
  harness.assert_close(found, RTOL, zero=("actuator_biasprm",) if law != AFFINE else ())


@pytest.mark.parametrize("law", ['gainprm="5"', AFFINE])
def test_in_the_parent_of_a_free_joint(law):
  """The linear gears are in the world's axes anyway; the rotational ones become so."""
  mjm = free_body(actuator=in_parent(law, "1 0.5 -2 0.1 0.2 -0.3", "free"))
  found, _ = harness.compare(mjm, driven_points(mjm), PARAMS, channels=CHANNELS)
  harness.assert_close(found, RTOL, zero=("actuator_biasprm",) if law != AFFINE else ())


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("transmission", ["joint", "jointinparent"])
def test_velocity_feedback_on_a_free_root(transmission, integrator):
  """A free body that carries another is integrated like any other tree."""
  child = """
    <body pos="0.2 0 0"><joint name="arm" axis="0 1 0"/>
      <inertial pos="0.1 0 0" mass="0.3" diaginertia="0.01 0.01 0.01"/></body>"""
  law = f'gear="1 0.5 -2 0.1 0.2 -0.3" {AFFINE}'
  mjm = free_body(
    actuator=f'<general {transmission}="free" {law}/><velocity joint="arm" kv="0.3"/>',
    integrator=integrator,
    child=child,
  )
  found, _ = harness.compare(mjm, driven_points(mjm), PARAMS, channels=CHANNELS)
  harness.assert_close(found, RTOL)


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_hinges_and_slides_have_no_parent_frame(integrator):
  """On one axis both transmissions are the same."""
  law = f'gear="1.5" {AFFINE}'
  parent = chain(
    actuator="".join(f'<general jointinparent="{j}" {law}/>' for j in ("hinge", "slide")),
    integrator=integrator,
  )
  plain = chain(
    actuator="".join(f'<general joint="{j}" {law}/>' for j in ("hinge", "slide")),
    integrator=integrator,
  )
  points = driven_points(plain)
  found, _ = harness.compare(parent, points, PARAMS, channels=CHANNELS)
  harness.assert_close(found, RTOL)
  same, _ = harness.compare(plain, points, PARAMS, channels=CHANNELS)
  for name, channel in found.items():
    np.testing.assert_allclose(channel.value, same[name].value, rtol=1e-6, err_msg=name)


def test_servo_with_activation_in_the_parent_of_a_ball():
  mjm = chain(
    actuator=in_parent(f'{AFFINE} dyntype="filter" dynprm="0.02"', "0.4 -0.3 0.8", "ball")
  )
  found, _ = harness.compare(mjm, driven_points(mjm), PARAMS, channels=("qpos", "qvel", "act"))
  harness.assert_close(found, RTOL)


ON_TENDON = {
  "motor": '<motor tendon="t" gear="4"/>',
  "position": '<position tendon="t" kp="30" gear="1.5"/>',
  "velocity": '<velocity tendon="t" kv="2" gear="0.5"/>',
  "affine": f'<general tendon="t" {AFFINE} gear="2"/>',
  "filter": '<general tendon="t" gainprm="9" gear="2" dyntype="filter" dynprm="0.03"/>',
  "muscle": f'<muscle tendon="t" lengthrange="-1.5 1.5" gear="1.2" {MUSCLE}/>',
}

VELOCITY_FEEDBACK = ("velocity", "affine", "muscle")
TENDONS = {"fixed": fixed(name="t"), "spatial": spatial("w", "a", "tip", name="t")}


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("tendon", TENDONS)
@pytest.mark.parametrize("name", ON_TENDON)
def test_on_a_tendon(name, tendon, integrator):
  mjm = tendons(TENDONS[tendon], actuator=ON_TENDON[name], integrator=integrator)
  channels = ("qpos", "qvel", "act") if mjm.na else CHANNELS
  points = driven_points(mjm)
  found, _ = harness.compare(mjm, points, PARAMS, channels=channels)
  zero = () if mjm.actuator_biastype[0] else ("actuator_biasprm",)
  harness.assert_close(found, RTOL, zero=zero)
  assert np.all(found[channels[-1]].value != 0)


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("joints", [FIXED, BRANCHES])
def test_tendon_and_joints_share_dofs(joints, integrator):
  """Two actuators on the tendon, one on a joint that it pulls on; also over two trees."""
  mjm = tendons(
    fixed(joints, name="t", stiffness="20", damping="0.5"),
    actuator=ON_TENDON["affine"] + ON_TENDON["muscle"] + '<position joint="hinge" kp="20" kv="1"/>',
    integrator=integrator,
  )
  found, _ = harness.compare(mjm, driven_points(mjm), PARAMS, channels=(*CHANNELS, "act"))
  harness.assert_close(found, RTOL)


@pytest.mark.parametrize("integrator", ["euler", "implicitfast", "implicit"])
@pytest.mark.parametrize("name", sorted(VELOCITY_FEEDBACK))
def test_velocity_feedback_between_branches(name, integrator):
  """The implicit integrators keep the pairs of dofs on one chain; with both trees' dofs moving."""
  mjm = tendons(spatial("tip", "rail", name="t"), actuator=ON_TENDON[name], integrator=integrator)
  input = "act" if mjm.na else "ctrl"
  found, _ = harness.compare(mjm, driven_points(mjm), PARAMS, channels=("qpos", "qvel", input))
  harness.assert_close(found, RTOL)


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_force_clamp_on_a_tendon(integrator):
  mjm = tendons(TENDONS["fixed"], actuator=ON_TENDON["affine"], integrator=integrator)
  points = driven_points(mjm, 8)
  force = []
  for point in points:
    oracle = harness.Oracle(mjm)
    oracle.forward(point)
    force.append(oracle.mjd.actuator_force[0])
  middle = np.median(np.abs(force))
  mjm.actuator_forcelimited[:] = True
  mjm.actuator_forcerange[:] = (-middle, 0.9 * middle)
  found, _ = harness.compare(mjm, points, ("actuator_gainprm",), channels=CHANNELS)
  harness.assert_close(found, RTOL)
  held = found["ctrl"].value[:, 0] == 0
  assert held.any() and not held.all()
