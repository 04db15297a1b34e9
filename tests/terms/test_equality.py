"""Equality constraints: joint polynomials, and connect and weld between bodies and sites."""

import mujoco
import numpy as np
import pytest

from tests.terms import harness

# 1e-4 at the median is the project's bar for a single step. The worst state may be ten times worse:
# a weld that is violated by 0.1 rad pulls with 1e3 rad/s^2, and float32 rounds what cancels there.
RTOL = 1e-4
WORST = 1e-3

MODEL = """
<mujoco>
  <option timestep="0.002"/>
  <default><geom type="capsule" size="0.05" contype="0" conaffinity="0"/></default>
  <worldbody>
    <body name="float" pos="0 0 1">
      <freejoint/>
      <geom fromto="0 0 0 0.3 0.1 0.2"/>
      <site name="site1" pos="0.1 0 0.2" quat="1 0.2 0.3 0.1"/>
      <body name="ball" pos="0.3 0.1 0.2">
        <joint type="ball" damping="0.3"/>
        <geom fromto="0 0 0 0.1 0.3 0.2"/>
      </body>
    </body>
    <body pos="0 0.3 1">
      <joint name="hinge1" axis="1 0.2 0"/>
      <joint axis="0 1 0.1"/>
      <geom fromto="0 0 0 -0.3 0.1 0.2"/>
      <body name="tip" pos="-0.3 0.1 0.2">
        <joint name="hinge2" axis="0 0 1"/>
        <joint name="slide" type="slide" axis="1 0 0"/>
        <geom fromto="0 0 0 0.1 -0.3 0.2"/>
        <site name="site2" pos="0 0.1 0" quat="0.3 1 0.1 0.2"/>
      </body>
    </body>
  </worldbody>
  <equality>{}</equality>
</mujoco>
"""

EQUALITIES = {
  "joint": '<joint joint1="hinge1" joint2="hinge2" polycoef="0.1 0.5 0.3 -0.2 0.4"/>',
  "joint constant": '<joint joint1="slide" polycoef="0.05 0 0 0 0"/>',
  "connect": '<connect body1="ball" body2="tip" anchor="0.1 0 0.05"/>',
  "connect world": '<connect body1="ball" anchor="0.1 0 0.05"/>',
  "connect sites": '<connect site1="site1" site2="site2"/>',
  "weld": '<weld body1="ball" body2="tip" anchor="0.1 0 0.05" torquescale="0.7"/>',
  "weld world": '<weld body1="tip"/>',
  "weld sites": '<weld site1="site1" site2="site2" torquescale="1.3"/>',
}
NROW = {"joint": 1, "connect": 3, "weld": 6}


@pytest.mark.parametrize("name", EQUALITIES)
def test_gradient(name):
  mjm = mujoco.MjModel.from_xml_string(MODEL.format(EQUALITIES[name]))
  points = harness.random_points(mjm, 4, seed=3, position=0.1)
  found, local = harness.compare(mjm, points, ("body_mass",))
  harness.assert_close(found, RTOL, worst=WORST)
  assert all(here.branch.zones.size == NROW[name.split()[0]] for here in local)


def test_two_equalities_on_one_joint_add():
  both = EQUALITIES["joint"] + '<joint joint1="hinge1" joint2="slide" polycoef="0 1 0 0 0"/>'
  mjm = mujoco.MjModel.from_xml_string(MODEL.format(both))
  found, _ = harness.compare(mjm, harness.random_points(mjm, 4, seed=4))
  harness.assert_close(found, RTOL, worst=WORST)


def test_inactive_equality_has_no_effect():
  free = mujoco.MjModel.from_xml_string(MODEL.format(""))
  off = EQUALITIES["weld"].replace("<weld", '<weld active="false"')
  mjm = mujoco.MjModel.from_xml_string(MODEL.format(off))
  points = harness.random_points(mjm, 2, seed=5)
  expected, _ = harness.compare(free, points)
  found, _ = harness.compare(mjm, points)
  for name, channel in found.items():
    np.testing.assert_array_equal(channel.value, expected[name].value)


def test_step_depends_on_the_state_alone():
  """Velocity products of connect rows come from this state, not from the previous call."""
  mjm = mujoco.MjModel.from_xml_string(MODEL.format(EQUALITIES["connect"]))
  points = harness.random_points(mjm, 2, seed=6)
  forward, _ = harness.compare(mjm, points)
  backward, _ = harness.compare(mjm, points[::-1])
  for name, channel in forward.items():
    assert channel.errors.max() < WORST and backward[name].errors.max() < WORST
