"""Random mechanisms: trees, joints, geoms, actuators, limits, cones and integrators by seed."""

import pytest

from tests import oracles
from tests.random_models import random_model

PARAMS = ("body_mass", "dof_damping", "geom_size", "opt.gravity")
NSTATES = 8


def check(seed):
  mjm = random_model(seed)
  result = oracles.run_check(mjm, nstates=NSTATES, seed=seed, params=PARAMS, device="cpu")
  for channel in result.channels:
    assert len(channel.compared) >= NSTATES - 2, result.to_text()
  assert result.channel("qpos").zero < NSTATES
  assert result.passed, result.to_text()


@pytest.mark.parametrize("seed", [11, 12, 21])
def test_small_mechanism(seed):
  """nv 7, 16 and 12, sizes for which other tests compile kernels too."""
  check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_any_mechanism(seed):
  check(seed)
