"""Every pair of geoms with gradients, with every condim and cone, as one step in contact."""

import pytest

from tests import models
from tests import oracles
from tests.test_step_models import COMPARED
from tests.test_step_models import assert_passed

# A body that rests on a face rocks: some corner is often about to touch or to leave.
COMPARED_AT_REST = 0.6


def check(mjm, condim, nstates, zero=(), compared=COMPARED):
  sampled = oracles.sample_states(mjm, 4 * nstates, seed=3)
  states = [s for s in sampled if "contact" in s.labels][:nstates]
  assert len(states) == nstates
  result = oracles.run_check(
    mjm, states=states, params=("geom_size", "geom_friction"), device="cpu"
  )
  zero = ("ctrl", *zero) + (("geom_friction",) if condim == 1 else ())
  assert_passed(result, zero, compared)


@pytest.mark.parametrize("condim", models.CONDIMS)
@pytest.mark.parametrize("cone", models.CONES)
@pytest.mark.parametrize("pair", models.ROUND_PAIRS, ids="-".join)
def test_pair(pair, cone, condim):
  check(models.variant(models.scene(*pair, condim), cone=cone), condim, 6)


@pytest.mark.parametrize("condim", models.CONDIMS)
@pytest.mark.parametrize("cone", models.CONES)
@pytest.mark.parametrize("shape", models.SOLIDS)
def test_plane_and_solid(shape, cone, condim):
  """The vertices of a mesh do not depend on `geom_size`."""
  mjm = models.variant(models.tumbling(shape, condim), cone=cone)
  zero = ("geom_size",) if shape == "mesh" else ()
  check(mjm, condim, 24, zero, COMPARED_AT_REST)
