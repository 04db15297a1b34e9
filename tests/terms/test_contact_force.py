"""Contact forces: pyramidal and elliptic cones, condim 1, 3, 4 and 6."""

import mujoco
import numpy as np
import pytest

from tests import models
from tests.terms import harness

# A contact multiplies the rounding of dist, a difference of positions near one, by its stiffness:
# where dist is 1e-4 the impedance slope is good to 1e-3.
BARS = {"rtol": 3e-5, "worst": 5e-3}

PARAMS = ("geom_friction", "geom_size", "body_mass", "opt.gravity")


def scene(first, second, condim, cone):
  """The scene with geoms off the bodies' centres.

  For a body whose inertia is centred and aligned C MuJoCo reads a compiled constant instead of
  `body_mass` and `body_inertia`; differences of the oracle would then miss these parameters.
  """
  xml = models.scene(first, second, condim)
  for name in ("first", "second") if first != "plane" else ("second",):
    xml = xml.replace(f'<geom name="{name}"', f'<geom name="{name}" pos="0.001 0.002 0"')
  mjm = models.variant(xml, cone=cone)
  assert not mjm.body_simple[1:].any()
  return mjm


def moving_points(mjm, seed=0, count=8):
  """Small displacements and velocities from creeping to fast, in every direction, spin included.

  Kept are states whose contacts press on each other.
  """
  rng = np.random.default_rng(seed)
  oracle = harness.Oracle(mjm)
  points = []
  while len(points) < count:
    point = harness.Point.initial(mjm)
    mujoco.mj_integratePos(mjm, point.qpos, rng.normal(size=mjm.nv), 1e-3)
    point.qvel[:] = 10 ** rng.uniform(-3, 0) * rng.normal(size=mjm.nv)
    point = point.float32()
    if oracle.branch(point, oracle.step(point)).zones.any():
      points.append(point)
  return points


@pytest.mark.parametrize("condim", models.CONDIMS)
@pytest.mark.parametrize("cone", models.CONES)
@pytest.mark.parametrize("second", ["sphere", "capsule"])
def test_on_a_plane(second, cone, condim):
  mjm = scene("plane", second, condim, cone)
  points = moving_points(mjm, count=6)
  found, local = harness.compare(mjm, points, PARAMS)
  zero = ("geom_friction",) if condim == 1 else ()
  harness.assert_close(found, **BARS, zero=zero, skipped=1)
  assert all(here.branch.zones.size for here in local)


ZONES = {
  "pyramidal": lambda zones: 0 < zones.sum() < zones.size,
  "elliptic": lambda zones: 1 in zones,
}


@pytest.mark.parametrize("condim", [3, 4, 6])
@pytest.mark.parametrize("cone", models.CONES)
def test_zones(cone, condim):
  """Both ends of the cone's behaviour occur: edges partly active or sliding, and sticking.

  The friction gradient is that of the sliding states; states without sliding have one as well
  with a pyramidal cone, whose stiffness contains the coefficients.
  """
  mjm = scene("plane", "sphere", condim, cone)
  points = moving_points(mjm, seed=1, count=12)
  found, local = harness.compare(mjm, points, ("geom_friction",))
  harness.assert_close(found, **BARS, skipped=1)
  sliding = [s for s, here in enumerate(local) if ZONES[cone](here.branch.zones)]
  sticking = [
    s for s, here in enumerate(local) if np.all(here.branch.zones == local[0].branch.zones.max())
  ]
  assert len(sliding) >= 3
  assert len(sticking) >= 2 or cone == "pyramidal"
  friction = found["geom_friction"].value.reshape(len(points), 2, 3)
  assert np.all(np.abs(friction[sliding]).max(axis=(1, 2)) > 0)


def test_separating_elliptic_contact():
  """A contact that opens fast is there and pushes nothing: the gradient is that of free flight."""
  mjm = scene("plane", "sphere", 3, "elliptic")
  points = [
    harness.with_inputs(p, qvel=[0.1, 0.2, 3.0, 0.3, 0, 0]) for p in moving_points(mjm, count=2)
  ]
  found, local = harness.compare(mjm, points, ("geom_size", "opt.gravity"))
  assert all(here.branch.zones.tolist() == [0, 0, 0] for here in local)
  harness.assert_close(
    {name: found[name] for name in ("opt.gravity", "geom_size")}, **BARS, zero=("geom_size",)
  )


@pytest.mark.parametrize("cone", models.CONES)
@pytest.mark.parametrize("impratio", [0.3, 5.0])
def test_impratio(cone, impratio):
  mjm = scene("plane", "sphere", 6, cone)
  mjm.opt.impratio = impratio
  found, _ = harness.compare(mjm, moving_points(mjm), ("geom_friction",))
  harness.assert_close(found, **BARS, skipped=1)


@pytest.mark.parametrize("cone", models.CONES)
def test_direct_solref_and_steep_impedance(cone):
  mjm = scene("plane", "capsule", 4, cone)
  mjm.geom_solref[:] = (-3000.0, -90.0)
  mjm.geom_solimp[:] = (0.4, 0.95, 0.02, 0.3, 3.0)
  found, _ = harness.compare(mjm, moving_points(mjm), PARAMS)
  harness.assert_close(found, **BARS, skipped=1)


@pytest.mark.parametrize("cone", models.CONES)
def test_margin_and_gap(cone):
  mjm = scene("plane", "sphere", 3, cone)
  mjm.geom_margin[:] = 0.01
  mjm.geom_gap[:] = 0.004
  found, local = harness.compare(mjm, moving_points(mjm), PARAMS)
  harness.assert_close(found, **BARS, skipped=1)
  assert all(here.branch.zones.any() for here in local)


@pytest.mark.parametrize("priority", [(0, 0), (1, 0), (0, 1)])
def test_friction_mixing(priority):
  """The geom of the higher priority decides; with equal ones the larger coefficient."""
  mjm = scene("plane", "sphere", 6, "elliptic")
  mjm.geom_priority[:] = priority
  mjm.geom_friction[:] = [(0.8, 0.02, 0.02), (0.6, 0.03, 0.01)]
  found, _ = harness.compare(mjm, moving_points(mjm), ("geom_friction",))
  harness.assert_close(found, **BARS, skipped=1)
  first, second = np.abs(found["geom_friction"].value.reshape(-1, 2, 3)).max(axis=0)
  if priority == (0, 0):
    assert (first > 0).tolist() == [True, False, True]
    assert (second > 0).tolist() == [False, True, False]
  else:
    assert np.all((first > 0) == (priority[0] == 1)) and np.all((second > 0) == (priority[1] == 1))


@pytest.mark.parametrize("cone", models.CONES)
@pytest.mark.parametrize("pair", [p for p in models.ROUND_PAIRS if p[0] != "plane"], ids="-".join)
def test_between_free_bodies(pair, cone):
  """Both bodies move, each with a reference point of its own."""
  mjm = scene(*pair, 4, cone)
  found, _ = harness.compare(mjm, moving_points(mjm), PARAMS, differing=1)
  harness.assert_close(found, **BARS, skipped=2)


def test_contacts_switched_off():
  mjm = scene("plane", "sphere", 3, "pyramidal")
  points = moving_points(mjm, count=2)
  mjm.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
  found, local = harness.compare(mjm, points, ("opt.gravity", "geom_size"))
  assert all(here.branch.zones.size == 0 for here in local)
  harness.assert_close(
    {name: found[name] for name in ("opt.gravity", "geom_size")}, **BARS, zero=("geom_size",)
  )
