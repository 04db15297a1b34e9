"""Where `discrete` has no exact gradient.

`discrete` solves with an effective metric that holds the slopes of springs, dampers, actuators and
of the drag in fluids (adjoint/metric.py), and scales the regularization of constraint rows with the
diagonals of metric and inertia matrix (terms/row_scale.py). Refused are

- rows whose Jacobian turns with the joints, but for contacts: ball limits, equalities, and limits
  and friction loss of tendons;
- beside any row, what enters the metric through a Jacobian that turns: springs, dampers and
  actuators of spatial tendons, actuators on sites, slider-cranks and in the parent's frame; fluids;
  and tendon armature, which the diagonal of the inertia matrix holds;
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


def _enabled(mjm: mujoco.MjModel, name: str) -> bool:
  flags = mujoco.mjtDisableBit
  off = int(flags.mjDSBL_CONSTRAINT | flags.__members__["mjDSBL_" + name])
  return not mjm.opt.disableflags & off


def has_friction(mjm: mujoco.MjModel) -> bool:
  """Whether friction loss, where there is any, makes constraint rows."""
  return _enabled(mjm, "FRICTIONLOSS")


def refused_rows(mjm: mujoco.MjModel) -> list[tuple[mujoco.mjtObj, np.ndarray]]:
  """Masks over the elements with rows whose scale is not differentiated."""
  joint, tendon = mujoco.mjtObj.mjOBJ_JOINT, mujoco.mjtObj.mjOBJ_TENDON
  limit, friction = _enabled(mjm, "LIMIT"), has_friction(mjm)
  ball = mjm.jnt_type == mujoco.mjtJoint.mjJNT_BALL
  return [
    (joint, limit & ball & (mjm.jnt_limited != 0)),
    (tendon, limit & (mjm.tendon_limited != 0) | friction & (mjm.tendon_frictionloss > 0)),
    (mujoco.mjtObj.mjOBJ_EQUALITY, np.full(mjm.neq, _enabled(mjm, "EQUALITY"))),
  ]


def may_have_rows(mjm: mujoco.MjModel) -> bool:
  """Whether the model may have contacts, or has joints with limits or friction loss."""
  colliding = ((mjm.geom_contype != 0) | (mjm.geom_conaffinity != 0)).sum() > 1 or mjm.npair > 0
  return bool(
    _enabled(mjm, "CONTACT")
    and colliding
    or _enabled(mjm, "LIMIT")
    and mjm.jnt_limited.any()
    or has_friction(mjm)
    and mjm.dof_frictionloss.any()
  )


def turning_actuators(mjm: mujoco.MjModel) -> np.ndarray:
  """Actuators whose moments turn with the joints."""
  transmission = mujoco.mjtTrn
  kind, target = mjm.actuator_trntype, mjm.actuator_trnid[:, 0]
  on_tendon = kind == int(transmission.mjTRN_TENDON)
  spatial = np.append(mjm.tendon_type == mujoco.mjtTendon.mjTENDON_SPATIAL, False)
  joint = np.isin(kind, (int(transmission.mjTRN_JOINT), int(transmission.mjTRN_JOINTINPARENT)))
  constant = kind == int(transmission.mjTRN_JOINT)
  scalar = np.isin(mjm.jnt_type, (mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE))
  constant |= joint & np.append(scalar, False)[np.where(joint, target, -1)]
  constant |= on_tendon & ~spatial[np.where(on_tendon, target, -1)]
  return ~constant


def uncoupled_bodies(mjm: mujoco.MjModel) -> np.ndarray:
  """Bodies with mass that move by dofs without an entry in the inertia matrix for each pair."""
  pattern = inertia_pattern(mjm)
  found = np.zeros(mjm.nbody, dtype=bool)
  for b in np.flatnonzero((mjm.body_treeid >= 0) & (mjm.body_mass >= mujoco.mjMINVAL)):
    first = mjm.body_dofadr[mjm.body_weldid[b]]
    dofs = np.arange(first, first + mjm.body_dofnum[mjm.body_weldid[b]])
    found[b] = not pattern[np.ix_(dofs, dofs)].all()
  return found
