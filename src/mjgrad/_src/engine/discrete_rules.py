"""Where `discrete` has no exact gradient.

`discrete` solves with an effective metric that holds the slopes of springs, dampers, actuators and
of the drag in fluids (adjoint/metric.py), and scales the regularization of constraint rows with the
diagonals of metric and inertia matrix (terms/row_scale.py). Refused are

- adhesion that depends on the velocity, whose moment turns with the contacts;
- DC motors, whose slopes depend on which of their clamps hold;
- fluids on bodies whose inertia matrix is diagonal ("simple" bodies): the metric has no entry for
  the pairs of dofs that the drag couples.
"""

import mujoco
import numpy as np

from mjgrad._src.tree.indices import inertia_pattern

DISCRETE = int(mujoco.mjtIntegrator.mjINT_DISCRETE)


def is_discrete(mjm: mujoco.MjModel) -> bool:
  """Whether the model is integrated by `discrete`."""
  return mjm.opt.integrator == DISCRETE


def adhesive_actuators(mjm: mujoco.MjModel) -> np.ndarray:
  """Actuators whose moments are those of contacts."""
  return mjm.actuator_trntype == mujoco.mjtTrn.mjTRN_BODY


def uncoupled_bodies(mjm: mujoco.MjModel) -> np.ndarray:
  """Bodies with mass that move by dofs without an entry in the inertia matrix for each pair."""
  pattern = inertia_pattern(mjm)
  found = np.zeros(mjm.nbody, dtype=bool)
  for b in np.flatnonzero((mjm.body_treeid >= 0) & (mjm.body_mass >= mujoco.mjMINVAL)):
    first = mjm.body_dofadr[mjm.body_weldid[b]]
    dofs = np.arange(first, first + mjm.body_dofnum[mjm.body_weldid[b]])
    found[b] = not pattern[np.ix_(dofs, dofs)].all()
  return found
