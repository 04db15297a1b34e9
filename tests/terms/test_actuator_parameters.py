"""Parameters of actuators: gears, ranges, constants of muscles and of activation dynamics.

At a clamp the gradient flows to the bound that holds: F = F_max has dF / dF_max = 1.
"""

import numpy as np
import pytest

from tests import models
from tests.terms import harness
from tests.terms.chain import chain
from tests.terms.chain import free_body
from tests.terms.tendons import BRANCHES
from tests.terms.tendons import fixed
from tests.terms.tendons import spatial
from tests.terms.tendons import tendons

# As in test_actuator.py; the bar for parameters is 1e-3.
RTOL = 1e-4
ACT_RTOL = 1e-5

AFFINE = 'gaintype="affine" biastype="affine" gainprm="3 0.5 -0.8" biasprm="0.2 -4 -0.6"'
MUSCLE = 'timeconst="0.02 0.05" range="0.4 1.7" lmin="0.3" lmax="1.8"'


def points(mjm, count=8, seed=0):
  rng = np.random.default_rng(seed)
  return [
    harness.with_inputs(
      p,
      ctrl=rng.uniform(-0.2, 1.2, size=mjm.nu).astype(np.float32),
      act=rng.uniform(0.1, 0.9, size=mjm.na).astype(np.float32),
    )
    for p in harness.random_points(mjm, count, seed, position=0.4, velocity=2.0)
  ]


GEARS = {
  "scalar": f'<general joint="hinge" gear="2" {AFFINE}/><motor joint="slide" gear="-9"/>',
  "ball": f'<general joint="ball" gear="0.4 -0.3 0.8" {AFFINE}/>',
  "ball_in_parent": f'<general jointinparent="ball" gear="0.4 -0.3 0.8" {AFFINE}/>',
}


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("name", GEARS)
def test_gear_of_a_joint(name, integrator):
  mjm = chain(actuator=GEARS[name], integrator=integrator)
  found, _ = harness.compare(mjm, points(mjm), ("actuator_gear",), channels=())
  harness.assert_close(found, RTOL)


@pytest.mark.parametrize("transmission", ["joint", "jointinparent"])
def test_gear_of_a_free_joint(transmission):
  mjm = free_body(actuator=f'<general {transmission}="free" gear="1 .5 -2 .1 .2 -.3" {AFFINE}/>')
  found, _ = harness.compare(mjm, points(mjm), ("actuator_gear",), channels=())
  harness.assert_close(found, RTOL)


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize(
  "tendon", [fixed(name="t"), fixed(BRANCHES, name="t"), spatial("w", "a", "tip", name="t")]
)
def test_gear_of_a_tendon(tendon, integrator):
  mjm = tendons(tendon, actuator=f'<general tendon="t" {AFFINE} gear="2"/>', integrator=integrator)
  found, _ = harness.compare(mjm, points(mjm), ("actuator_gear",), channels=())
  harness.assert_close(found, RTOL)


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("force", ["4", "-1"])
def test_muscle_constants(force, integrator):
  """Without a force of its own a muscle takes scale / acc0."""
  muscles = "".join(
    f'<muscle joint="{j}" lengthrange="-1.5 1.5" gear="1.2" force="{force}" {MUSCLE}/>'
    for j in ("hinge", "last")
  )
  mjm = chain(actuator=muscles, integrator=integrator)
  params = ("actuator_lengthrange", "actuator_acc0", "actuator_gainprm", "actuator_biasprm")
  found, _ = harness.compare(mjm, points(mjm), params, channels=())
  harness.assert_close(found, RTOL, zero=("actuator_acc0",) if force != "-1" else ())


DYNAMICS = {
  "filter": 'dyntype="filter" dynprm="0.03"',
  "filterexact": 'dyntype="filterexact" dynprm="0.007"',
  "muscle": 'dyntype="muscle" dynprm="0.02 0.05 0"',
  "muscle_smooth": 'dyntype="muscle" dynprm="0.02 0.05 0.6"',
}


@pytest.mark.parametrize("early", ["false", "true"])
@pytest.mark.parametrize("name", DYNAMICS)
def test_activation_dynamics(name, early):
  mjm = chain(
    actuator=f'<general joint="hinge" {AFFINE} {DYNAMICS[name]} actearly="{early}"/>',
    integrator="implicitfast",
  )
  params = ("actuator_dynprm",)
  found, _ = harness.compare(mjm, points(mjm), params, channels=(), on="act")
  harness.assert_close(found, ACT_RTOL)
  found, _ = harness.compare(mjm, points(mjm), params, channels=())
  harness.assert_close(found, RTOL, zero=() if early == "true" else params)


@pytest.mark.parametrize("early", ["false", "true"])
def test_activation_range(early):
  """Both bounds are met; where neither is, there is no gradient."""
  law = f'{AFFINE} dyntype="integrator" actrange="0.3 0.6" actearly="{early}"'
  mjm = chain(actuator=f'<general joint="hinge" {law}/><general joint="slide" {law}/>')
  params = ("actuator_actrange",)
  found, _ = harness.compare(mjm, points(mjm), params, channels=(), on="act")
  harness.assert_close(found, ACT_RTOL)
  value = found["actuator_actrange"].value
  assert (value != 0).any(axis=0).all() and (value == 0).any(axis=0).all()
  found, _ = harness.compare(mjm, points(mjm), params, channels=())
  harness.assert_close(found, RTOL, zero=() if early == "true" else params)


@pytest.mark.parametrize("integrator", ["euler", "implicitfast"])
def test_control_range(integrator):
  """The bound of the control takes the gradient, for a gain that does not see it through A."""
  mjm = chain(
    actuator="""
      <position joint="hinge" kp="30" kv="2" ctrlrange="0.2 0.7"/>
      <general joint="slide" gainprm="9" dyntype="filter" dynprm="0.03" actearly="true"
               ctrlrange="0.2 0.7"/>""",
    integrator=integrator,
  )
  found, _ = harness.compare(mjm, points(mjm), ("actuator_ctrlrange",), channels=("ctrl",))
  harness.assert_close(found, RTOL)
  value = found["actuator_ctrlrange"].value
  assert (value != 0).any(axis=0).all()
  held = (value != 0).reshape(len(value), -1, 2).any(axis=2)
  np.testing.assert_array_equal(held, found["ctrl"].value == 0)


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_force_range(integrator):
  mjm = chain(
    actuator=f"""
      <general joint="hinge" {AFFINE} forcerange="2.5 3.5"/>
      <velocity joint="slide" kv="3" forcerange="-2 1"/>""",
    integrator=integrator,
  )
  params = ("actuator_forcerange", "actuator_gear", "actuator_biasprm")
  found, _ = harness.compare(mjm, points(mjm), params)
  harness.assert_close(found, RTOL)
  assert (found["actuator_forcerange"].value != 0).any(axis=0).all()


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_joint_force_range(integrator):
  mjm = chain(
    hinge='actuatorfrcrange="0.1 1"',
    last='actuatorfrcrange="-0.3 0.2"',
    actuator="""
      <motor joint="hinge" gear="2"/><velocity joint="hinge" kv="0.4"/>
      <position joint="last" kp="0.5" kv="0.05"/>""",
    integrator=integrator,
  )
  params = ("jnt_actfrcrange", "actuator_gear")
  found, _ = harness.compare(mjm, points(mjm), params)
  harness.assert_close(found, RTOL)
  value = found["jnt_actfrcrange"].value.reshape(8, -1, 2)
  assert (value[:, [0, 3]] != 0).any(axis=0).all()


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("tendon", [fixed(name="t"), spatial("w", "a", "tip", name="t")])
def test_tendon_beside_a_joint_force_range(tendon, integrator):
  """The tendon pulls on a dof whose total actuator force is held, and on others."""
  mjm = tendons(
    tendon,
    actuator=f'<general tendon="t" {AFFINE} gear="2"/><motor joint="hinge" gear="3"/>',
    integrator=integrator,
  )
  mjm.jnt_actfrclimited[[0, 3]] = True
  mjm.jnt_actfrcrange[0] = (-1.0, 1.5)
  mjm.jnt_actfrcrange[3] = (-0.2, 0.3)
  params = ("jnt_actfrcrange", "actuator_gear", "actuator_gainprm", "actuator_biasprm")
  found, _ = harness.compare(mjm, points(mjm), params, channels=("qpos", "qvel", "ctrl"))
  harness.assert_close(found, RTOL)
  assert (found["jnt_actfrcrange"].value != 0).any(axis=0)[[0, 1]].all()
