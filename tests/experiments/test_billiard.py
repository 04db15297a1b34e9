"""The billiard: contacts from distance point to where the balls meet."""

import numpy as np
import pytest

from mjgrad.experiments import billiard


def test_a_shot_that_misses(monkeypatch):
  """Its exact gradient is zero, that with contacts from distance leads to the other ball."""
  monkeypatch.setattr(billiard, "NINTERVAL", 60)
  monkeypatch.setattr(billiard, "RANGE", (-4.0, 0.0))
  columns = billiard.sweep("aside", 4)
  np.testing.assert_allclose(columns["loss"], 0.117**2 + 0.103**2, rtol=1e-4)
  assert np.all(columns["grad_exact"] == 0.0)
  assert np.all(columns["grad_far"] < -1e-4)


@pytest.mark.slow
def test_free_flight():
  """Few long steps do not see contacts from distance; going back with steps of its own does."""
  columns = billiard.fly(5)
  scale = np.abs(columns["grad_short"]).max()
  np.testing.assert_allclose(columns["loss_discretise"], columns["loss_short"], atol=1e-4)
  assert np.all(columns["steps_discretise"] < 0.1 * columns["steps_short"])
  # The short steps themselves are 2 % from still shorter ones.
  np.testing.assert_allclose(columns["grad_backsolve"], columns["grad_short"], atol=0.04 * scale)
  assert np.abs(columns["grad_discretise"] - columns["grad_short"]).max() > 10 * scale


@pytest.mark.slow
def test_every_shot():
  """The project's bars: downhill for 95 % of all forces, where the exact gradient is for half."""
  for layout in billiard.LAYOUTS:
    columns = billiard.sweep(layout, 40)
    assert np.mean(columns["grad_far"] != 0.0) >= 0.95
    assert billiard.downhill(columns, "grad_far") >= 0.95
    assert billiard.downhill(columns, "grad_exact") < 0.6


@pytest.mark.slow
def test_adam():
  """The project's bar: a loss below 1e-3 within 30 iterations from a shot that misses."""
  assert billiard.optimise(billiard.FAR)["loss"].min() < 1e-3
  stuck = billiard.optimise(None)
  assert np.all(stuck["u0"] == 0.0)
