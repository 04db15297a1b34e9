"""Worlds in a batch take the steps that they take alone."""

import numpy as np

from mjgrad.experiments import parallel


def test_steps_are_those_of_every_world_alone(monkeypatch):
  monkeypatch.setattr(parallel, "DURATION", 0.3)
  tables = parallel.run(count=3)
  worlds = tables["parallel_worlds"]
  assert np.all(worlds["largest_difference"] == 0.0)
  np.testing.assert_array_equal(worlds["steps"], worlds["steps_alone"])
  ends = [tables["parallel"]["step_size"][tables["parallel"]["world"] == i].sum() for i in range(3)]
  np.testing.assert_allclose(ends, 0.3, rtol=1e-6)
  assert parallel.shared_steps(tables["parallel"]) > worlds["steps"].max()
