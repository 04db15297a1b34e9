"""The errors over run time: adaptive steps against fixed ones."""

import numpy as np
import pytest

from mjgrad._src.integrators import methods
from mjgrad.experiments import pareto

# The project's bar; errors at these tolerances are 5e-4 to 8e-4.
BAR = 5e-3


@pytest.mark.slow
def test_errors_and_times(monkeypatch):
  monkeypatch.setattr(pareto, "ADAPTIVE", {methods.Tsit5: (1e-5,), methods.Bosh3: (1e-5,)})
  monkeypatch.setattr(pareto, "FIXED", {methods.RK4: (1e-3,)})
  monkeypatch.setattr(pareto, "MUJOCO", {"Euler": (1e-3,)})
  monkeypatch.setattr(pareto, "first_use", lambda _device: {"wall": [0.0], "cpu": [0.0]})
  tables = pareto.run()
  error = dict(zip(tables["pareto"]["method"], tables["pareto"]["grad_error"], strict=True))
  assert error["Tsit5"] <= BAR
  assert error["Bosh3"] <= BAR
  assert error["MuJoCo's Euler"] > 10.0
  assert np.all(tables["pareto"]["run_time"] > 0.0)
  assert any("Tsit5" in line for line in pareto.summary(tables))
