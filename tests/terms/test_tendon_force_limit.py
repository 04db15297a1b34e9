"""Limits of the total actuator force on a tendon: all its actuators are scaled by b / S."""

import numpy as np
import pytest

from tests import models
from tests.terms import harness
from tests.terms.tendons import fixed
from tests.terms.tendons import spatial
from tests.terms.tendons import tendons

# As in test_actuator.py.
RTOL = 1e-4

CHANNELS = ("qpos", "qvel", "ctrl")
PARAMS = ("tendon_actfrcrange", "actuator_gear", "actuator_gainprm", "actuator_forcerange")
AFFINE = 'gaintype="affine" biastype="affine" gainprm="3 0.5 -0.8" biasprm="0.2 -4 -0.6"'
LIMIT = {"name": "t", "actuatorfrcrange": "-3 2.5"}
TENDONS = {"fixed": fixed(**LIMIT), "spatial": spatial("w", "a", "tip", **LIMIT)}


def points(mjm, count=8):
  rng = np.random.default_rng(0)
  return [
    harness.with_inputs(p, ctrl=(1.5 * rng.normal(size=mjm.nu)).astype(np.float32))
    for p in harness.random_points(mjm, count, position=0.4, velocity=2.0)
  ]


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("name", TENDONS)
def test_gradient(name, integrator):
  """Different gears, one force with a limit of its own; a joint's limit beside it."""
  mjm = tendons(
    TENDONS[name],
    actuator=f"""
      <general tendon="t" {AFFINE} gear="2"/>
      <motor tendon="t" gear="0.7" forcerange="-0.4 0.5"/>
      <motor joint="hinge" gear="2"/>""",
    integrator=integrator,
  )
  mjm.jnt_actfrclimited[0] = True
  mjm.jnt_actfrcrange[0] = (-1.5, 1.5)
  found, _ = harness.compare(mjm, points(mjm), PARAMS, channels=CHANNELS)
  harness.assert_close(found, RTOL)
  assert (found["tendon_actfrcrange"].value != 0).any(axis=0).all()
  assert (found["tendon_actfrcrange"].value == 0).all(axis=1).any()


def test_bound_of_zero_and_no_range_of_its_own():
  """A total held at zero: the bound moves it, force ranges that limit nothing do not."""
  tendon = fixed(name="t", actuatorfrcrange="0 1")
  mjm = tendons(tendon, actuator=f'<general tendon="t" {AFFINE} gear="2"/>')
  params = ("tendon_actfrcrange", "actuator_forcerange")
  found, _ = harness.compare(mjm, points(mjm), params, channels=())
  harness.assert_close(found, RTOL, zero=("actuator_forcerange",))
  assert (found["tendon_actfrcrange"].value[:, 0] != 0).any()


def test_alone_its_force_is_the_bound():
  """Where the limit holds, neither the control nor the gain of a single actuator matters."""
  mjm = tendons(TENDONS["fixed"], actuator=f'<general tendon="t" {AFFINE} gear="2"/>')
  found, _ = harness.compare(mjm, points(mjm), ("tendon_actfrcrange",), channels=CHANNELS)
  harness.assert_close({n: found[n] for n in ("qpos", "qvel", "tendon_actfrcrange")}, RTOL)
  held = (found["tendon_actfrcrange"].value != 0).any(axis=1)
  assert held.any() and not held.all()
  size = np.abs(found["ctrl"].truth).max()
  # two terms of this size and larger cancel in float32
  np.testing.assert_allclose(found["ctrl"].value[held], 0, atol=1e-5 * size)
  np.testing.assert_allclose(found["ctrl"].value, found["ctrl"].truth, atol=RTOL * size)
