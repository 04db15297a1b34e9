"""Contact parameters: mixing of two geoms by priority and solmix, and explicit pairs."""

import numpy as np
import pytest

from tests import models
from tests.terms import harness
from tests.terms.test_contact_force import BARS
from tests.terms.test_contact_force import moving_points

GEOMS = ("geom_friction", "geom_solref", "geom_solimp", "geom_solmix", "geom_margin")
PAIRS = ("pair_friction", "pair_solref", "pair_solreffriction", "pair_solimp", "pair_margin")


def scene(cone, condim=4, pair=False):
  """A sphere on a plane whose parameters all differ, in the range where the impedance has slope."""
  xml = models.scene("plane", "sphere", condim)
  if pair:
    xml = xml.replace(
      "</mujoco>",
      f"""<contact><pair geom1="second" geom2="first" condim="{condim}" margin="0.002" gap="0.001"
            friction="0.5 0.6 0.02 0.03 0.04" solref="0.03 0.9" solreffriction="0.05 1.1"
            solimp="0.8 0.93 0.008 0.4 2.5"/></contact></mujoco>""",
    )
  mjm = models.variant(xml, cone=cone)
  mjm.geom_solref[:] = ((0.02, 1.1), (0.03, 0.9))
  mjm.geom_solimp[:] = ((0.8, 0.95, 0.01, 0.4, 2.5), (0.7, 0.93, 0.02, 0.6, 3.0))
  mjm.geom_solmix[:] = (1.5, 0.8)
  mjm.geom_margin[:] = (0.001, 0.0005)
  return mjm


def compared(mjm, params, zero=()):
  found, _ = harness.compare(mjm, moving_points(mjm), params)
  harness.assert_close(found, **BARS, zero=zero, skipped=1)
  return found


@pytest.mark.parametrize("cone", models.CONES)
def test_two_geoms(cone):
  found = compared(scene(cone), GEOMS)
  for name in ("geom_solref", "geom_solimp", "geom_solmix", "geom_margin"):
    both = np.abs(found[name].value.reshape(-1, 2, found[name].value.shape[1] // 2))
    assert np.all(both.max(axis=(0, 2)) > 0), name


@pytest.mark.parametrize("cone", models.CONES)
@pytest.mark.parametrize("first", [True, False])
def test_priority(cone, first):
  """The geom with the higher priority decides, but for the margin."""
  mjm = scene(cone)
  mjm.geom_priority[:] = (first, not first)
  found = compared(mjm, GEOMS, zero=("geom_solmix",))
  for name in ("geom_friction", "geom_solref", "geom_solimp"):
    both = found[name].value.reshape(len(found[name].value), 2, -1)
    assert np.all(both[:, int(first)] == 0), name
    assert np.any(both[:, int(not first)] != 0), name


@pytest.mark.parametrize("cone", models.CONES)
@pytest.mark.parametrize("solref", [((-3000, -90), (-4000, -80)), ((0.02, 1.1), (-4000, -80))])
def test_smaller_solref(cone, solref):
  """In direct form, or where the forms differ, the smaller entries are taken."""
  mjm = scene(cone)
  mjm.geom_solref[:] = solref
  compared(mjm, ("geom_solref", "geom_solimp", "geom_solmix"))


@pytest.mark.parametrize("solmix", [(0, 2), (2, 0), (0, 0)])
def test_vanishing_solmix(solmix):
  mjm = scene("elliptic")
  mjm.geom_solmix[:] = solmix
  compared(mjm, ("geom_solref", "geom_solimp"))


@pytest.mark.parametrize("cone", models.CONES)
def test_explicit_pair(cone):
  """The pair's own parameters decide; those of the geoms have no effect."""
  zero = (*GEOMS, *(("pair_solreffriction",) if cone == "pyramidal" else ()))
  compared(scene(cone, condim=6, pair=True), (*PAIRS, *GEOMS), zero=zero)


def test_sticking_with_solreffriction():
  mjm = scene("elliptic", condim=6, pair=True)
  mjm.pair_friction[:] = (3, 3, 1, 1, 1)
  compared(mjm, PAIRS)
