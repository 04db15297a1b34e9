"""Actuators of the groups that a model disables.

MuJoCo gives them no force and leaves their activations where they are; what they lend of damping
and armature stays. The engine knows no disabled groups, so it is given a model in which these
actuators have no gain, no bias, no dynamics and no range of force.

Source: MuJoCo documentation, XML reference, "option" (actuatorgroupdisable); Computation,
"Actuation model".
"""

import copy

import mujoco
import numpy as np

LAW = ("actuator_gainprm", "actuator_biasprm", "actuator_dynprm", "actuator_forcerange")
"""Parameters that would give a disabled actuator a force."""


def disabled(mjm: mujoco.MjModel) -> np.ndarray:
  """Actuators of a disabled group, shape [nactuator]."""
  group = mjm.actuator_group
  chosen = (1 << np.clip(group, 0, 30)) & mjm.opt.disableactuator != 0
  return chosen & (group >= 0) & (group <= 30)


def without_disabled(mjm: mujoco.MjModel) -> mujoco.MjModel:
  """The model, or a copy in which the disabled actuators do nothing."""
  off = disabled(mjm)
  if not off.any():
    return mjm
  mjm = copy.copy(mjm)
  mjm.actuator_gaintype[off] = mujoco.mjtGain.mjGAIN_FIXED
  mjm.actuator_biastype[off] = mujoco.mjtBias.mjBIAS_NONE
  mjm.actuator_dyntype[off] = mujoco.mjtDyn.mjDYN_NONE
  mjm.actuator_forcelimited[off] = 0
  for name in LAW:
    getattr(mjm, name)[off] = 0
  return mjm
