"""A control that is not finite is named, even where the actuator's clamp would hide it."""

import numpy as np
import pytest
import torch

import mjgrad
import mjgrad.torch as mgt
from tests import models


def test_non_finite_control_behind_a_clamp():
  mjm = models.cartpole()
  assert mjm.actuator_ctrllimited.all()
  sim = mjgrad.Simulator(mjm, 3, "cpu")
  ctrl = torch.zeros(3, 1)
  ctrl[1, 0] = float("nan")
  with pytest.raises(mjgrad.NonFiniteState, match=r"world 1: ctrl\[0\] \(push\)"):
    mgt.step(sim, mgt.initial_state(sim), ctrl)
  state = mgt.step(sim, mgt.initial_state(sim), torch.zeros(3, 1))
  assert np.isfinite(state.qpos.numpy()).all()
