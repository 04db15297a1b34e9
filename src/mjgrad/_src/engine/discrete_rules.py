"""Where `discrete` has no exact gradient.

`discrete` solves with an effective metric that holds the slopes of springs, dampers, actuators and
of the drag in fluids (adjoint/metric.py), and scales the regularization of constraint rows with the
diagonals of metric and inertia matrix (terms/row_scale.py). Refused is adhesion that depends on the
velocity, whose moment turns with the contacts.
"""

import mujoco
import numpy as np

DISCRETE = int(mujoco.mjtIntegrator.mjINT_DISCRETE)


def is_discrete(mjm: mujoco.MjModel) -> bool:
  """Whether the model is integrated by `discrete`."""
  return mjm.opt.integrator == DISCRETE


def adhesive_actuators(mjm: mujoco.MjModel) -> np.ndarray:
  """Actuators whose moments are those of contacts."""
  return mjm.actuator_trntype == mujoco.mjtTrn.mjTRN_BODY
