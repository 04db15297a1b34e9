"""Actuators of disabled groups: no force, activations that stay; damping and armature are lent."""

import numpy as np
import pytest

from mjgrad import UnsupportedFeature
from tests.terms import harness
from tests.terms.chain import chain

# As in tests/terms/test_actuator.py.
RTOL = 5e-5
GROUPS = """
  <position joint="hinge" kp="20" kv="1" group="2" ctrlrange="-1 1"/>
  <motor joint="slide" gear="3" group="1"/>
  <general joint="last" dyntype="integrator" gainprm="5" group="2" damping="0.3" armature="0.02"/>
  <dcmotor joint="last" motorconst="0.5" resistance="2" inductance="0.05" group="2"/>
  <general joint="hinge" dyntype="filter" dynprm="0.05" gainprm="3" group="3"/>
"""


def disabled(integrator="euler"):
  mjm = chain(actuator=GROUPS, integrator=integrator)
  mjm.opt.disableactuator = 1 << 2
  return mjm


def points(mjm, count=4):
  rng = np.random.default_rng(1)
  return [
    harness.with_inputs(p, ctrl=rng.normal(size=mjm.nu), act=rng.normal(size=mjm.na)).float32()
    for p in harness.random_points(mjm, count)
  ]


@pytest.mark.parametrize("integrator", ["euler", "implicitfast"])
@pytest.mark.parametrize("on", ["qvel", "act"])
def test_gradient(on, integrator):
  mjm = disabled(integrator)
  channels = ("qpos", "qvel", "act", "ctrl")
  found, _ = harness.compare(mjm, points(mjm), ("actuator_damping",), channels=channels, on=on)
  zero = ("qpos", "qvel", "actuator_damping") if on == "act" else ()
  harness.assert_close(found, RTOL, zero=zero)
  assert not found["ctrl"].value[:, [0, 2, 3]].any()
  expected = 1.0 if on == "act" else 0.0
  assert np.all((found["act"].value[:, [0, 1]] != 0) == expected)


def test_their_laws_are_no_parameters():
  mjm = disabled()
  with pytest.raises(UnsupportedFeature, match="actuator_gainprm, actuator 0"):
    harness.compare(mjm, points(mjm, 1), ("actuator_gainprm",))
