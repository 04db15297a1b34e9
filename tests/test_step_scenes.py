"""Every pair of round geoms with every condim and cone, as one step of two bodies."""

import pytest

from tests import models
from tests import oracles
from tests.test_step_models import assert_passed

NSTATES = 6


@pytest.mark.parametrize("condim", models.CONDIMS)
@pytest.mark.parametrize("cone", models.CONES)
@pytest.mark.parametrize("pair", models.ROUND_PAIRS, ids="-".join)
def test_pair(pair, cone, condim):
  mjm = models.variant(models.scene(*pair, condim), cone=cone)
  states = [s for s in oracles.sample_states(mjm, 24, seed=3) if "contact" in s.labels][:NSTATES]
  assert len(states) == NSTATES
  result = oracles.run_check(
    mjm, states=states, params=("geom_size", "geom_friction"), device="cpu"
  )
  zero = ("ctrl",) + (("geom_friction",) if condim == 1 else ())
  assert_passed(result, zero)
