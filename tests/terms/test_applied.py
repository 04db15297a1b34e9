"""Applied forces: `qfrc_applied` and `xfrc_applied`."""

import numpy as np
import pytest

from tests import models
from tests.terms import harness
from tests.terms.chain import chain
from tests.terms.chain import free_body

# Accelerations of these small models are good to about 1e-6 in float32. The velocity gradient is
# what remains of a number near one, rounded to 6e-8, after one is taken off: as little as 1e-3.
RTOL = 1e-4

CHANNELS = ("qpos", "qvel", "qfrc_applied", "xfrc_applied")


def pushed_points(mjm, count=5, seed=0):
  rng = np.random.default_rng(seed)
  return [
    harness.with_inputs(
      p,
      qfrc_applied=2.0 * rng.normal(size=mjm.nv).astype(np.float32),
      xfrc_applied=4.0 * rng.normal(size=(mjm.nbody, 6)).astype(np.float32),
    )
    for p in harness.random_points(mjm, count, seed, position=0.6, velocity=0.3)
  ]


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_chain(integrator):
  mjm = chain(hinge='damping="1"', integrator=integrator)
  found, _ = harness.compare(mjm, pushed_points(mjm), channels=CHANNELS)
  harness.assert_close(found, RTOL)
  wrench = found["xfrc_applied"].value.reshape(-1, mjm.nbody, 6)
  assert np.all(wrench[:, 0] == 0), "the world does not move"
  assert np.all(np.abs(wrench[:, 1:]).max(axis=2) > 0)


def test_free_body():
  mjm = free_body()
  found, _ = harness.compare(mjm, pushed_points(mjm), channels=CHANNELS)
  harness.assert_close(found, RTOL)


def test_welded_child():
  """A body without a joint of its own, and one that is fixed in the world."""
  mjm = models.load("""
<mujoco>
  <option timestep="0.005"><flag contact="disable"/></option>
  <worldbody>
    <body pos="1 0 0"><inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/></body>
    <body pos="0 0 1">
      <freejoint/>
      <inertial pos="0.05 0 0.02" mass="0.5" diaginertia="0.02 0.03 0.01"/>
      <body pos="0.2 0.1 0" euler="20 0 10">
        <inertial pos="0.1 0 0.1" mass="0.3" diaginertia="0.01 0.01 0.01"/>
      </body>
    </body>
  </worldbody>
</mujoco>
""")
  found, _ = harness.compare(mjm, pushed_points(mjm), channels=CHANNELS)
  harness.assert_close(found, RTOL)
  wrench = found["xfrc_applied"].value.reshape(-1, mjm.nbody, 6)
  assert np.all(wrench[:, :2] == 0)
  assert np.all(wrench[:, 2:] != 0)


def test_force_at_the_centre_of_mass():
  """v' = v + h F / m for a body at rest in space: d v'/d F = h / m."""
  mjm = free_body()
  mjm.opt.gravity[:] = 0
  mjm.body_ipos[1] = 0
  point = harness.with_inputs(harness.Point.initial(mjm), xfrc_applied=np.ones((2, 6)))
  found, _ = harness.compare(mjm, [point], channels=CHANNELS[2:])
  adj = np.random.default_rng(0).normal(size=(1, 6)).astype(np.float32)[0]
  np.testing.assert_allclose(
    found["xfrc_applied"].value.reshape(2, 6)[1, :3], 0.005 / 0.5 * adj[:3], rtol=1e-6
  )
  np.testing.assert_allclose(
    found["xfrc_applied"].value.reshape(2, 6)[1, 3:],
    0.005 / mjm.body_inertia[1] * adj[3:],
    rtol=1e-6,
  )
