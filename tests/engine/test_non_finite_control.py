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


def test_control_of_an_actuator_with_several():
  """Controls are numbered apart from actuators."""
  mjm = models.load(
    """
<mujoco>
  <worldbody><body><joint name="j"/><geom size="0.1"/></body></worldbody>
  <actuator>
    <dcmotor name="wheel" joint="j" motorconst="0.1" resistance="1" input="pos vel"
             controller="2 0 0.5"/>
    <motor name="push" joint="j"/>
  </actuator>
</mujoco>
"""
  )
  sim = mjgrad.Simulator(mjm, 1, "cpu")
  for i, name in enumerate(("wheel", "wheel", "push")):
    ctrl = torch.zeros(1, 3)
    ctrl[0, i] = float("inf")
    with pytest.raises(mjgrad.NonFiniteState, match=rf"ctrl\[{i}\] \({name}\)"):
      mgt.step(sim, mgt.initial_state(sim), ctrl)
