"""Adhesion: a force along the normals of a body's contacts, those in their gap included."""

import numpy as np
import pytest

from tests import models
from tests.terms import harness

# Contacts with a stiff reference magnify float32 rounding of positions, see test_term_contract.py.
RTOL = 2e-4
WORST = 5e-3

CHANNELS = ("qpos", "qvel", "ctrl")
PARAMS = ("actuator_gainprm", "geom_size", "geom_pos")
SOFT = 'solref="0.03 1" solimp="0.8 0.9 0.02"'


def grip(condim=3, cone="pyramidal", integrator="euler", joints="", extra=""):
  """A finger of two spheres presses a capsule on a plane; one sphere hovers in its gap."""
  return models.variant(
    f"""
<mujoco>
  <option timestep="0.004"/>
  <default><geom condim="{condim}" friction="0.5 0.03 0.02" {SOFT}/></default>
  <worldbody>
    <geom name="floor" type="plane" size="3 3 0.1" friction="0.8 0.03 0.02"/>
    <body name="rod" pos="0 0 0.068">
      <freejoint/>
      <geom name="rod" type="capsule" size="0.07 0.2" euler="90 3 0" mass="0.6"/>
    </body>
    <body pos="0 0 0.5">
      <joint name="swing" axis="0 1 0" damping="0.1" {joints}/>
      <inertial pos="0 0 -0.1" mass="0.3" diaginertia="0.01 0.01 0.01"/>
      <body name="finger" pos="0.01 0 -0.324">
        <joint name="reach" type="slide" axis="0.1 0 -1" damping="1"/>
        <geom name="tip" type="sphere" size="0.05" pos="0 0.03 0.008" mass="0.2"/>
        <geom name="near" type="sphere" size="0.04" pos="0.02 -0.09 0.004" mass="0.1"
              gap="0.03"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <adhesion name="stick" body="finger" gain="6" ctrlrange="0 1"/>
    <motor joint="reach" gear="2"/>
    {extra}
  </actuator>
</mujoco>
""",
    integrator=integrator,
    cone=cone,
  )


def points(mjm, count=8, seed=0):
  rng = np.random.default_rng(seed)
  return [
    harness.with_inputs(p, ctrl=rng.uniform(0.1, 0.9, size=mjm.nu).astype(np.float32))
    for p in harness.random_points(mjm, count, seed, position=2e-3, velocity=0.1)
  ]


@pytest.mark.parametrize(
  ("condim", "cone", "integrator"),
  [
    (1, "pyramidal", "euler"),
    (3, "pyramidal", "euler"),
    (3, "elliptic", "implicitfast"),
    (4, "pyramidal", "implicitfast"),
    (6, "elliptic", "euler"),
  ],
)
def test_gradient(condim, cone, integrator):
  mjm = grip(condim, cone, integrator)
  found, local = harness.compare(mjm, points(mjm), PARAMS, channels=CHANNELS)
  harness.assert_close(found, RTOL, worst=WORST, skipped=3)
  assert np.all(found["ctrl"].value[:, 0] != 0)


def test_in_the_gap_only():
  """Contacts that exert no force still pull; along a normal their size does not matter."""
  mjm = grip()
  mjm.geom_gap[:] = 0.05
  raised = []
  for p in points(mjm):
    qpos = p.qpos.copy()
    qpos[2] += 0.01
    qpos[8] -= 0.02
    raised.append(harness.with_inputs(p, qpos=qpos))
  found, local = harness.compare(mjm, raised, ("actuator_gainprm",), channels=CHANNELS)
  harness.assert_close(found, RTOL, worst=WORST, skipped=3)
  assert all(here.branch.zones.size == 0 for here in local)


def test_two_actuators_and_a_held_joint():
  """Both bodies of a contact are adhesive; the swing's limit does not count what they pull."""
  mjm = grip(
    extra='<adhesion body="rod" gain="3" ctrlrange="0 1"/><motor joint="swing" gear="2"/>',
    joints='actuatorfrcrange="-0.5 0.3"',
  )
  found, _ = harness.compare(mjm, points(mjm), (*PARAMS, "jnt_actfrcrange"), channels=CHANNELS)
  harness.assert_close(found, RTOL, worst=WORST, skipped=3)


def test_box():
  """The corners of a solid geom on a plane, whose geometry is that of terms/contact_solid.py."""
  mjm = models.variant(
    f"""
<mujoco>
  <option timestep="0.004"/>
  <worldbody>
    <geom type="plane" size="3 3 0.1" zaxis="0.1 0.05 1" {SOFT}/>
    <body name="box" pos="0 0 0.068" euler="3 -5 20">
      <freejoint/>
      <geom type="box" size="0.1 0.15 0.07" mass="0.6" gap="0.05" {SOFT}/>
    </body>
  </worldbody>
  <actuator><adhesion body="box" gain="6" ctrlrange="0 1"/></actuator>
</mujoco>
"""
  )
  found, _ = harness.compare(mjm, points(mjm), ("actuator_gainprm",), channels=CHANNELS)
  harness.assert_close(found, RTOL, worst=WORST, skipped=3)
