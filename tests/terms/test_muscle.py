"""Muscle forces F = -f (FL(L) FV(V) w + FP(L)) on every piece of the three curves.

    L = r0 + (l - l0) / L0,    V = l' / (L0 vmax),    L0 = (l1 - l0) / (r1 - r0)

Source: MuJoCo documentation, Modeling, "Muscles".
"""

import mujoco
import numpy as np
import pytest

from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.linearize import step_gradient
from tests import models
from tests.terms import harness
from tests.terms.chain import HINGE
from tests.terms.chain import SLIDE
from tests.terms.chain import chain

# Accelerations of these models are good to about 1e-6 in float32; the curves multiply the rounding
# of L by slopes up to ten.
RTOL = 5e-5

LMIN, LMAX, VMAX, FVMAX, R0, R1 = 0.5, 1.6, 1.5, 1.3, 0.4, 1.7
# Ends of the pieces: 0.5, 0.75, 1, 1.3, 1.6 in length and -1, 0, 0.3 in velocity.
LENGTHS = {
  "too short": 0.45,
  "ascending": 0.62,
  "near the top": 0.9,
  "past the top": 1.12,
  "descending": 1.45,
  "too long": 1.68,
}
VELOCITIES = {
  "too fast": -1.2,
  "shortening": -0.6,
  "lengthening": 0.1,
  "saturated": 0.5,
}
CURVE = f'range="{R0} {R1}" lmin="{LMIN}" lmax="{LMAX}" vmax="{VMAX}" fpmax="1.4" fvmax="{FVMAX}"'
CHANNELS = ("qpos", "qvel", "act")
PARAMS = ("actuator_gainprm", "actuator_biasprm")


def model(integrator="euler", strength='force="30"', timeconst="0.02 0.05", smooth="0"):
  """A muscle on the hinge, between -1 and 1 rad, and one on the slide, between -0.3 and 0.5 m."""
  common = f'{CURVE} {strength} timeconst="{timeconst}" tausmooth="{smooth}"'
  return chain(
    actuator=f"""
      <muscle joint="hinge" lengthrange="-1 1" {common}/>
      <muscle joint="slide" gear="2" lengthrange="-0.6 1" {common}/>""",
    integrator=integrator,
  )


def points_at(mjm, lengths, velocities, act=(0.6, 0.4)):
  """One state for each pair of a normalized length and velocity, the same in both muscles."""
  points = []
  for i, (length, velocity) in enumerate(zip(lengths, velocities)):
    point = harness.random_points(mjm, 1, seed=i)[0]
    for k, dof in enumerate((HINGE, SLIDE)):
      low, high = mjm.actuator_lengthrange[k]
      optimum = (high - low) / (R1 - R0)
      gear = mjm.actuator_gear[k, 0]
      point.qpos[dof] = (low + (length - R0) * optimum) / gear
      point.qvel[dof] = velocity * optimum * VMAX / gear
    points.append(harness.with_inputs(point, act=act, ctrl=(0.3, 0.8)).float32())
  return points


def product():
  pairs = [(length, velocity) for length in LENGTHS.values() for velocity in VELOCITIES.values()]
  return list(zip(*pairs))


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("strength", ['force="30"', 'force="-1" scale="150"'])
def test_every_piece_of_the_curves(strength, integrator):
  """All lengths with all velocities; the peak force is given, or scaled by `acc0`."""
  mjm = model(integrator, strength)
  points = points_at(mjm, *product())
  found, _ = harness.compare(mjm, points, PARAMS, channels=(*CHANNELS, "ctrl"))
  harness.assert_close(found, RTOL, zero=("ctrl",))
  by_piece = found["act"].value[:, 0].reshape(len(LENGTHS), len(VELOCITIES))
  produces = np.zeros((len(LENGTHS), len(VELOCITIES)), dtype=bool)
  produces[1:-1, 1:] = True
  np.testing.assert_array_equal(by_piece != 0, produces)
  scaled = strength.startswith('force="-1"')
  gain = found["actuator_gainprm"].value.reshape(-1, 2, 10)
  assert np.all(gain[..., 2] == 0) == scaled and np.all(gain[..., 3] == 0) != scaled


def test_every_entry_of_the_parameters():
  """Entry by entry, in units of the entry, so that a small one cannot hide behind a large one.

  With the force, the lengths and the shape of the curves: each moves the force somewhere.
  """
  mjm = model()
  found, _ = harness.compare(mjm, points_at(mjm, *product()), PARAMS)
  used = {"actuator_gainprm": [0, 1, 2, 4, 5, 6, 8], "actuator_biasprm": [0, 1, 2, 5, 7]}
  for name, entries in used.items():
    prm = getattr(mjm, name)
    value, truth = (x.reshape(-1, 2, 10) * prm for x in (found[name].value, found[name].truth))
    size = np.abs(truth).max(axis=(0, 1))
    np.testing.assert_array_equal(np.flatnonzero(size), entries)
    error = np.abs(value - truth).max(axis=(0, 1))
    assert np.all(error <= RTOL * size), (name, error[entries] / size[entries])


def test_passive_force_alone():
  """FP rises quadratically from the optimal length and linearly from (1 + lmax) / 2."""
  mjm = model()
  found, _ = harness.compare(
    mjm, points_at(mjm, LENGTHS.values(), [0.1] * 6, act=(0.0, 0.0)), PARAMS
  )
  harness.assert_close(found, RTOL, zero=("actuator_gainprm",))
  bias = found["actuator_biasprm"].value.reshape(6, 2, 10)
  stretched = np.array(list(LENGTHS.values())) > 1
  np.testing.assert_array_equal(np.any(bias != 0, axis=2), np.stack([stretched] * 2, axis=1))


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_force_clamp(integrator):
  mjm = model(integrator)
  mjm.actuator_forcelimited[:] = True
  mjm.actuator_forcerange[:] = (-12, 1)  # not 0, the force where the curves end
  points = points_at(mjm, *product())
  found, _ = harness.compare(mjm, points, PARAMS, channels=CHANNELS)
  harness.assert_close(found, RTOL)
  oracle = harness.Oracle(mjm)
  force = []
  for point in points:
    oracle.forward(point)
    force.append(oracle.mjd.actuator_force.copy())
  clamped = np.array(force) <= -12
  assert clamped.any() and not clamped.all()
  assert np.all(found["act"].value[clamped] == 0)


@pytest.mark.parametrize("smooth", ["0", "0.4"])
def test_activation_dynamics(smooth):
  """Activating, deactivating and, with a smoothing width, between the two time constants."""
  mjm = model(smooth=smooth)
  start = points_at(mjm, [0.9] * 4, [0.1] * 4)
  pairs = [((0.2, 0.3), (0.9, 0.35)), ((0.7, 0.6), (0.1, 0.5)), ((0.0, 1.0), (0.5, 0.5))]
  pairs += [((0.4, 0.5), (0.45, 0.45))]
  points = [harness.with_inputs(p, act=a, ctrl=u).float32() for p, (a, u) in zip(start, pairs)]
  found, local = harness.compare(mjm, points, channels=("qpos", "qvel", "act", "ctrl"), on="act")
  # 0 and 1 are the ends of the range that the dynamics clamp to: no two-sided gradient there.
  harness.assert_close(found, RTOL, zero=("qpos", "qvel"), skipped=1)
  assert local[2].switching("act")
  assert np.all(found["ctrl"].value != 0)


def test_strength_from_acc0_closed_form():
  """One slide of mass m with gear g: acc0 = |g| / m, so F = -scale / acc0 FL FV w."""
  mass, gear, scale, act = 2.0, 3.0, 40.0, 0.7
  mjm = models.load(f"""
<mujoco>
  <option timestep="0.005" gravity="0 0 0"/>
  <worldbody><body>
    <joint name="x" type="slide" axis="1 0 0"/>
    <inertial pos="0 0 0" mass="{mass}" diaginertia="1 1 1"/>
  </body></worldbody>
  <actuator>
    <muscle joint="x" gear="{gear}" lengthrange="0 1" range="0.75 1.05" force="-1" scale="{scale}"/>
  </actuator>
</mujoco>""")
  mjm.actuator_biasprm[0, 7] = 0.0
  np.testing.assert_allclose(mjm.actuator_acc0, gear / mass)
  h, adj = 0.005, 1.3
  length, velocity = 0.25 / 0.3, -0.4  # L = 1, FL = 1
  optimum = 1 / 0.3
  shortening = velocity * gear / (optimum * 1.5)
  out = step_gradient(
    Simulator(mjm, 1, "cpu"),
    np.array([[length / gear]]),
    np.array([[velocity]]),
    None,
    np.zeros((1, 1)),
    np.array([[adj]]),
    act=np.array([[act]]),
  )
  # F = -scale m / g (1 + V)^2 w,  v' = v + h g F / m
  expected = -adj * h * scale * (1 + shortening) ** 2
  np.testing.assert_allclose(out.grad["act"], expected, rtol=1e-5)
  slope = 2 * (1 + shortening) * gear / (optimum * 1.5)
  np.testing.assert_allclose(out.grad["qvel"], adj * (1 - h * scale * act * slope), rtol=1e-5)


def test_muscle_gain_with_other_dynamics_and_bias():
  """Gain, bias and dynamics are independent of each other."""
  mjm = model()
  mjm.actuator_dyntype[0] = int(mujoco.mjtDyn.mjDYN_FILTER)
  mjm.actuator_dynprm[0, 0] = 0.03
  mjm.actuator_biastype[1] = int(mujoco.mjtBias.mjBIAS_AFFINE)
  mjm.actuator_biasprm[1, :3] = (0.3, -2.0, -0.4)
  for integrator in models.INTEGRATORS:
    models.variant(mjm, integrator=integrator)
    found, _ = harness.compare(mjm, points_at(mjm, *product()), PARAMS, channels=CHANNELS)
    harness.assert_close(found, RTOL)
