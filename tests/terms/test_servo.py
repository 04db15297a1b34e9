"""Servos on angles: set points count modulo a full turn, 2 pi |gear|.

    F = kp (u - n period - l) - kv l',    with an activation w' = w + h (u - m period - w) / tau,
    kept near the angle: w' - k period

The numbers of turns n, m, k are held fixed; the period has a gradient in the gear.
"""

import numpy as np
import pytest

from mjgrad import UnsupportedFeature
from tests import models
from tests import oracles
from tests.terms import harness
from tests.terms.chain import chain

# As in test_actuator.py.
RTOL = 5e-5
ACT_RTOL = 5e-6

CHANNELS = ("qpos", "qvel", "act", "ctrl")
PARAMS = ("actuator_gear",)
ACTIVATION = {
  "none": "",
  "filter": 'dyntype="filter" dynprm="0.03"',
  "filterexact": 'dyntype="filterexact" dynprm="0.01"',
  "integrator": 'dyntype="integrator"',
  "filter_early": 'dyntype="filter" dynprm="0.03" actearly="true"',
}
GEAR = "0.3 0.5 -0.4"


def model(name, transmission="joint", integrator="euler"):
  law = f'biastype="affine" gainprm="6" biasprm="0 -6 -0.4" {ACTIVATION[name]}'
  actuator = f'<general {transmission}="ball" gear="{GEAR}" {law}/>'
  return chain(actuator=actuator, integrator=integrator)


def points(mjm, seed=0, count=8):
  """Set points and activations several turns away."""
  rng = np.random.default_rng(seed)
  period = 2 * np.pi * np.linalg.norm(mjm.actuator_gear[0, :3])
  found = []
  for p in harness.random_points(mjm, count, seed, position=0.5, velocity=2.0):
    turns = rng.integers(-2, 3, size=2) + rng.uniform(-0.4, 0.4, size=2)
    found.append(
      harness.with_inputs(
        p,
        ctrl=np.full(mjm.nu, turns[0] * period).astype(np.float32),
        act=np.full(mjm.na, turns[1] * period).astype(np.float32),
      )
    )
  return found


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("transmission", ["joint", "jointinparent"])
@pytest.mark.parametrize("name", ACTIVATION)
def test_force(name, transmission, integrator):
  mjm = model(name, transmission, integrator)
  channels = CHANNELS if mjm.na else ("qpos", "qvel", "ctrl")
  found, local = harness.compare(mjm, points(mjm), PARAMS, channels=channels)
  late = name in ("filter", "filterexact", "integrator")
  harness.assert_close(found, RTOL, skipped=2, zero=("ctrl",) if late else ())


@pytest.mark.parametrize("name", [n for n in ACTIVATION if n != "none"])
def test_next_activation(name):
  mjm = model(name)
  found, _ = harness.compare(mjm, points(mjm), PARAMS, channels=CHANNELS, on="act")
  harness.assert_close(found, ACT_RTOL, skipped=2, zero=("qpos", "qvel"))


@pytest.mark.parametrize("on", ["qvel", "act"])
@pytest.mark.parametrize("name", ["filterexact", "integrator", "filter_early"])
def test_under_rk4(name, on):
  """Stages filter towards the nearest set point; the step ends near the angle that it began at."""
  mjm = model(name, integrator="rk4")
  found, _ = harness.compare(mjm, points(mjm), channels=CHANNELS, on=on)
  rtol, zero = (RTOL, ()) if on == "qvel" else (ACT_RTOL, ("qpos", "qvel"))
  harness.assert_close(found, rtol, skipped=2, zero=zero)


def test_the_period_is_refused_under_rk4():
  with pytest.raises(UnsupportedFeature, match="actuator_gear, actuator 0"):
    mjm = model("filter", integrator="rk4")
    harness.compare(mjm, points(mjm, count=1), PARAMS)


def test_half_a_turn_is_a_switching_point():
  mjm = model("none")
  period = 2 * np.pi * np.linalg.norm(mjm.actuator_gear[0, :3])
  at = harness.with_inputs(points(mjm, count=1)[0], ctrl=[0.0])
  oracle = oracles.Oracle(mjm)
  oracle.forward(at)
  at = harness.with_inputs(at, ctrl=[oracle.mjd.actuator_length[0] + 0.5 * period])
  local = oracles.linearise(oracle, at, ("ctrl",))
  assert local.near_switch
  assert "full turn of actuator 0" in local.branch.nearest
