"""Damping and armature that actuators lend to joints and tendons, scaled by the gear squared."""

import pytest

from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.errors import UnsupportedFeature
from mjgrad._src.linearize import step_gradient
from tests import models
from tests.terms import harness
from tests.terms.chain import chain
from tests.terms.chain import free_body
from tests.terms.tendons import BRANCHES
from tests.terms.tendons import fixed
from tests.terms.tendons import spatial
from tests.terms.tendons import tendons

# As in test_actuator.py; the bar for parameters is 1e-3.
RTOL = 2e-4

PARAMS = ("actuator_damping", "actuator_dampingpoly", "actuator_armature", "actuator_gear")
LENDS = 'damping="0.4 0.1 0.05" armature="0.03"'


def points(mjm, count=6):
  return [
    harness.with_inputs(p, ctrl=[0.3] * mjm.nu)
    for p in harness.random_points(mjm, count, position=0.4, velocity=2.0)
  ]


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_joints(integrator):
  """One actuator of several on the hinge, two on the slide, one on three dofs of a ball."""
  mjm = chain(
    hinge='damping="0.2" armature="0.01"',
    actuator=f"""
      <motor joint="hinge" gear="2" {LENDS}/><motor joint="hinge" gear="3"/>
      <motor joint="slide" gear="3" {LENDS}/><position joint="slide" kp="9" gear="-2" {LENDS}/>
      <motor joint="ball" gear="0.7 0.2 -0.4" {LENDS}/>""",
    integrator=integrator,
  )
  found, _ = harness.compare(mjm, points(mjm), PARAMS)
  harness.assert_close(found, RTOL)


def test_free_joint():
  mjm = free_body(actuator=f'<motor joint="free" gear="1 0.5 -2 0.1 0.2 -0.3" {LENDS}/>')
  found, _ = harness.compare(mjm, points(mjm), PARAMS)
  harness.assert_close(found, RTOL)


TENDONS = {
  "fixed": fixed(name="t", damping="0.3"),
  "branches": fixed(BRANCHES, name="t"),
  "spatial": spatial("w", "a", "tip", name="t"),
}


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("name", TENDONS)
def test_tendons(name, integrator):
  mjm = tendons(
    TENDONS[name],
    actuator=f'<motor tendon="t" gear="2" {LENDS}/><motor tendon="t" gear="0.7" {LENDS}/>',
    integrator=integrator,
  )
  found, _ = harness.compare(mjm, points(mjm), PARAMS)
  harness.assert_close(found, RTOL)


def test_wrapping_tendon():
  """C MuJoCo has no armature of such a tendon."""
  mjm = tendons(spatial("w", "post", "tip", name="t"), actuator='<motor tendon="t"/>')
  found, _ = harness.compare(mjm, points(mjm), PARAMS[:2])
  harness.assert_close(found, RTOL)
  point = harness.inputs(points(mjm, 1))
  adj = {"adj_qpos": point["qpos"], "adj_qvel": point["qvel"]}
  with pytest.raises(UnsupportedFeature, match="parameter actuator_armature"):
    step_gradient(Simulator(mjm, 1, "cpu"), **point, **adj, wrt_params=("actuator_armature",))
