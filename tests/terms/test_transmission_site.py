"""Sites and slider-cranks: transmissions that act on bodies."""

import numpy as np
import pytest

from tests import models
from tests import oracles
from tests.terms import harness
from tests.terms.tendons import tendons

# As in test_actuator.py; lengths and moments add the rounding of positions.
RTOL = 1e-4

CHANNELS = ("qpos", "qvel", "ctrl")
PARAMS = ("actuator_gear", "actuator_gainprm", "actuator_biasprm")
AFFINE = 'gaintype="affine" biastype="affine" gainprm="3 0.5 -0.8" biasprm="0.2 -4 -0.6"'
SIX = 'gear="0.4 -0.3 0.8 0.2 0.5 -0.6"'
LAWS = {"motor": 'gainprm="5"', "affine": AFFINE}

SITES = {
  "alone": 'site="c"',
  "tip": 'site="tip"',
  "world": 'site="c" refsite="w"',
  "to_world": 'site="w" refsite="b"',
  "chain": 'site="tip" refsite="a"',
  "upwards": 'site="a" refsite="tip"',
  "neighbours": 'site="c" refsite="b"',
  "trees": 'site="tip" refsite="rail"',
}


def points(mjm, count=6, seed=0):
  rng = np.random.default_rng(seed)
  return [
    harness.with_inputs(
      p,
      ctrl=rng.uniform(-0.2, 1.2, size=mjm.nu).astype(np.float32),
      act=rng.uniform(0.1, 0.9, size=mjm.na).astype(np.float32),
    )
    for p in harness.random_points(mjm, count, seed, position=0.4, velocity=2.0)
  ]


def compare(mjm, law, params=PARAMS, channels=CHANNELS):
  found, local = harness.compare(mjm, points(mjm), params, channels=channels)
  harness.assert_close(found, RTOL, zero=("actuator_biasprm",) if law != "affine" else ())
  return found


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", SITES)
def test_site(name, law, integrator):
  mjm = tendons("", actuator=f"<general {SITES[name]} {SIX} {LAWS[law]}/>", integrator=integrator)
  compare(mjm, law)


@pytest.mark.parametrize("gear", ["0.4 -0.3 0.8 0 0 0", "0 0 0 0.2 0.5 -0.6"])
def test_one_kind_of_gear(gear):
  """The gear that is zero has a gradient as well."""
  mjm = tendons("", actuator=f'<general site="tip" refsite="a" gear="{gear}" {AFFINE}/>')
  found = compare(mjm, "affine")
  assert np.all(found["actuator_gear"].truth != 0)


@pytest.mark.parametrize("dynamics", ["", 'dyntype="filter" dynprm="0.03"'])
def test_servo_on_an_angle_between_sites(dynamics):
  """Its set point counts modulo a full turn, 2 pi |gear|."""
  law = f'biastype="affine" gainprm="6" biasprm="0 -6 -0.4" {dynamics}'
  mjm = tendons("", actuator=f'<general site="tip" refsite="w" gear="0 0 0 .2 .5 -.6" {law}/>')
  turn = 2 * np.pi * np.linalg.norm(mjm.actuator_gear[0, 3:])
  at = [
    harness.with_inputs(p, ctrl=p.ctrl + k * turn, act=p.act - k * turn)
    for k, p in zip((-2, 1, 3, 0, 1, 2), points(mjm))
  ]
  channels = ("qpos", "qvel", "act") if dynamics else CHANNELS
  found, _ = harness.compare(mjm, at, ("actuator_gear",), channels=channels)
  harness.assert_close(found, RTOL, skipped=1)
  if dynamics:
    found, _ = harness.compare(mjm, at, ("actuator_gear",), channels=("act", "ctrl"), on="act")
    harness.assert_close(found, RTOL, skipped=1)


def crank(pin, slider, rod, law=AFFINE, integrator="euler"):
  sites = f'cranksite="{pin}" slidersite="{slider}" cranklength="{rod}" gear="1.3"'
  return tendons("", actuator=f"<general {sites} {law}/>", integrator=integrator)


CRANKS = {
  "world": ("tip", "w", 3.0),
  "to_world": ("far", "b", 2.0),
  "chain": ("tip", "a", 1.2),
  "upwards": ("a", "tip", 1.2),
  "trees": ("tip", "rail", 2.0),
  "out_of_reach": ("tip", "a", 0.01),
}


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", CRANKS)
def test_slider_crank(name, law, integrator):
  mjm = crank(*CRANKS[name], LAWS[law], integrator)
  compare(mjm, law)
  if name != "out_of_reach":
    found, _ = harness.compare(mjm, points(mjm), ("actuator_cranklength",), channels=())
    harness.assert_close(found, 1e-3)


def test_reach_of_a_slider_crank_is_a_switching_point():
  mjm = crank("tip", "a", 1.2)
  oracle = oracles.Oracle(mjm)
  at = points(mjm, 1)[0]
  oracle.forward(at)
  v = oracle.mjd.site("tip").xpos - oracle.mjd.site("a").xpos
  n = oracle.mjd.site("a").xmat.reshape(3, 3)[:, 2]
  oracle.mjm.actuator_cranklength[0] = np.sqrt(v @ v - (v @ n) ** 2)
  local = oracles.linearise(oracle, at, ("ctrl",))
  assert local.near_switch
  assert "reach of actuator 0" in local.branch.nearest


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_beside_a_joint_force_range(integrator):
  """Bodies are pulled on whose joints hold their total actuator force."""
  mjm = tendons(
    "",
    actuator=f"""
      <general site="tip" {SIX} {AFFINE}/>
      <general site="c" refsite="a" {SIX} {AFFINE}/>
      <general cranksite="tip" slidersite="a" cranklength="1.2" {AFFINE}/>
      <motor joint="hinge" gear="3"/>""",
    integrator=integrator,
  )
  mjm.jnt_actfrclimited[[0, 1, 3]] = True
  mjm.jnt_actfrcrange[[0, 1, 3]] = [(-1.0, 1.5), (-0.5, 0.5), (-0.2, 0.3)]
  params = ("jnt_actfrcrange", "actuator_gear", "actuator_gainprm", "actuator_cranklength")
  found, _ = harness.compare(mjm, points(mjm), params, channels=CHANNELS)
  harness.assert_close(found, 2e-4)
  assert (found["jnt_actfrcrange"].value != 0).any()


@pytest.mark.parametrize(
  "actuator",
  [
    f'<general site="tip" {SIX} {AFFINE}/>',
    f'<general site="c" refsite="a" {SIX} {AFFINE}/>',
    f'<general cranksite="tip" slidersite="a" cranklength="1.2" {AFFINE}/>',
  ],
)
def test_frames_of_the_sites(actuator):
  mjm = tendons("", actuator=actuator)
  found, _ = harness.compare(mjm, points(mjm), ("site_pos", "site_quat"), channels=())
  harness.assert_close(found, 2e-4)
