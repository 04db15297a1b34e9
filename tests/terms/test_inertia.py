"""Inertia, velocity products, gravity, and their parameters."""

import mujoco
import numpy as np
import pytest

from tests import models
from tests.terms import harness

# The float32 accelerations of these unconstrained trees are good to about 1e-6.
RTOL = 2e-5

TREE = """
<mujoco>
  <option timestep="0.004" integrator="implicitfast"><flag contact="disable"/></option>
  <worldbody>
    <body pos="0 0 1">
      <freejoint/>
      <inertial pos="0.1 -0.05 0.02" mass="1.5" fullinertia="0.05 0.04 0.03 0.004 -0.003 0.006"/>
      <body pos="0.3 0 0" euler="10 20 30">
        <joint type="ball"/>
        <inertial pos="0.15 0.02 0" mass="0.7" fullinertia="0.01 0.03 0.03 0.002 0.001 0.001"/>
        <body pos="0.3 0 0">
          <joint type="hinge" axis="0 1 0.2" pos="0.02 0 0.01"/>
          <joint type="slide" axis="1 0.3 0" pos="0.02 0 0.01"/>
          <inertial pos="0.15 0 0.05" mass="0.5" diaginertia="0.01 0.02 0.02"/>
          <body pos="0.1 0.1 0" euler="0 40 0">
            <inertial pos="0 0.05 0.05" mass="0.2" diaginertia="0.002 0.001 0.002"/>
          </body>
        </body>
      </body>
      <body pos="-0.2 0.1 0">
        <joint type="hinge" axis="1 0 0.4" armature="0.01"/>
        <joint type="hinge" axis="0 1 0" pos="0 0.05 0" armature="0.01"/>
        <joint type="hinge" axis="0 0 1" armature="0.01"/>
        <inertial pos="0 0 -0.1" mass="0.4" diaginertia="0.01 0.01 0.005"/>
      </body>
    </body>
    <body pos="1 0 1">
      <joint type="ball" pos="0 0 0.2"/>
      <inertial pos="0.05 0 0" mass="0.6" diaginertia="0.02 0.03 0.01"/>
    </body>
  </worldbody>
</mujoco>
"""
"""Every joint type, several joints on a body, a welded child, oblique inertias; nv 17."""


@pytest.fixture(scope="module")
def tree():
  return models.load(TREE)


@pytest.fixture(scope="module")
def found(tree):
  points = harness.random_points(tree, 6, position=0.8, velocity=3.0)
  channels = ("qpos", "qvel", "qfrc_applied")
  params = ("body_mass", "body_inertia", "opt.gravity")
  return harness.compare(tree, points, params, channels=channels)[0]


@pytest.mark.parametrize(
  "channel", ["qpos", "qvel", "qfrc_applied", "body_mass", "body_inertia", "opt.gravity"]
)
def test_gradient(found, channel):
  harness.assert_close({channel: found[channel]}, RTOL)


def test_every_moving_body_has_a_gradient(tree, found):
  """Also the welded child; the world has none."""
  mass = found["body_mass"].value
  assert np.all(mass[:, 0] == 0)
  assert np.all(mass[:, 1:] != 0)
  inertia = found["body_inertia"].value.reshape(-1, tree.nbody, 3)
  assert np.all(inertia[:, 1:] != 0)


def test_no_gravity(tree):
  """The flag switches off the law, so the parameter has no effect either."""
  mjm = models.load(TREE)
  mjm.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_GRAVITY
  points = harness.random_points(mjm, 2, position=0.8, velocity=3.0)
  found, _ = harness.compare(mjm, points, ("opt.gravity",))
  harness.assert_close(found, RTOL, zero=("opt.gravity",))


def test_spinning_free_body():
  """I w' = -w x I w: the velocity gradient at rest in space is I^-1 of the gyroscopic matrix.

  With w along a principal axis, d w'/d w = diag(1/I) ([I w] - [w] I), [.] the cross product.
  """
  mjm = models.load("""
<mujoco>
  <option timestep="0.004" gravity="0 0 0"><flag eulerdamp="disable"/></option>
  <worldbody><body><freejoint/>
    <inertial pos="0 0 0" mass="1" diaginertia="0.01 0.02 0.025"/>
  </body></worldbody>
</mujoco>
""")
  inertia = np.diag([0.01, 0.02, 0.025])
  w = np.array([0.0, 0.0, 3.0])

  def cross(x):
    return np.array([[0, -x[2], x[1]], [x[2], 0, -x[0]], [-x[1], x[0], 0]])

  slope = np.linalg.inv(inertia) @ (cross(inertia @ w) - cross(w) @ inertia)
  point = harness.with_inputs(harness.Point.initial(mjm), qvel=[0, 0, 0, *w])
  found, _ = harness.compare(mjm, [point])
  adj = np.random.default_rng(0).normal(size=(1, 6)).astype(np.float32)[0, 3:]
  truth = 0.004 * slope.T @ adj
  np.testing.assert_allclose(found["qvel"].value[0, 3:], truth, rtol=RTOL, atol=1e-7)
