"""Gradients through tosses against chains in float64, see tests/contact/tosses.py.

The bars are those of contacts: 1e-3 at the median and 1e-2 at worst. One-step errors near 1e-5 grow
with the cotangent, and relative to it add up like the number of steps; what a body that tumbles on
its rim amplifies is known less well.
"""

import numpy as np
import pytest

from tests.contact import tosses


def check(name, count, steps):
  found = tosses.compare(name, count, steps)
  errors = [max(toss.qpos, toss.qvel) for toss in found]
  assert np.median(errors) <= 1e-3 and max(errors) <= 1e-2, found
  for toss in found:
    assert toss.touching > steps // 2
    assert toss.switching + toss.differing <= 0.05 * steps, found


@pytest.mark.parametrize("name", ["mesh", "capsule on cube"])
def test_landing(name):
  check(name, count=1, steps=40)


@pytest.mark.slow
@pytest.mark.parametrize("name", tosses.TOSSES)
def test_one_second(name):
  check(name, count=2, steps=round(1.0 / tosses.TIMESTEP))
