"""Static indices of the kinematic tree, of the rows that act on it and of the blocks of H."""

import dataclasses

import mujoco
import numpy as np
import warp as wp

BLOCK = wp.constant(4)
"""Rows and columns of a block of H: every entry of J that is read serves as many entries of H."""
Block = wp.types.matrix(shape=(4, 4), dtype=wp.float64)
Column = wp.types.vector(length=4, dtype=wp.float64)

_JOINT_NDOF = {
  int(mujoco.mjtJoint.mjJNT_FREE): 6,
  int(mujoco.mjtJoint.mjJNT_BALL): 3,
  int(mujoco.mjtJoint.mjJNT_SLIDE): 1,
  int(mujoco.mjtJoint.mjJNT_HINGE): 1,
}
_TENDON_TRANSMISSION = int(mujoco.mjtTrn.mjTRN_TENDON)
_JOINT_TRANSMISSIONS = (int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT))
_SITE_TRANSMISSIONS = (int(mujoco.mjtTrn.mjTRN_SITE), int(mujoco.mjtTrn.mjTRN_SLIDERCRANK))


def lone_free_trees(mjm: mujoco.MjModel) -> np.ndarray:
  """Trees of one free joint and nothing that moves on it, shape [ntree]."""
  found = np.zeros(mjm.ntree, dtype=bool)
  free = mjm.jnt_dofadr[mjm.jnt_type == int(mujoco.mjtJoint.mjJNT_FREE)]
  found[mjm.dof_treeid[free]] = mjm.tree_dofnum[mjm.dof_treeid[free]] == 6
  return found


def _gyroscopic_trees(mjm: mujoco.MjModel) -> np.ndarray:
  """See `Tree.tree_gyroscopic`; without any force to derive `implicitfast` is explicit."""
  disable = mujoco.mjtDisableBit
  forces = int(disable.mjDSBL_ACTUATION | disable.mjDSBL_SPRING | disable.mjDSBL_DAMPER)
  if mjm.opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICIT:
    return np.ones(mjm.ntree, dtype=bool)
  if mjm.opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST:
    return lone_free_trees(mjm) & (mjm.opt.disableflags & forces != forces)
  if mjm.opt.integrator == mujoco.mjtIntegrator.mjINT_DISCRETE:
    return lone_free_trees(mjm)
  return np.zeros(mjm.ntree, dtype=bool)


def inertia_pattern(mjm: mujoco.MjModel) -> np.ndarray:
  """Pairs of dofs with an entry in the inertia matrix, shape [nv, nv]."""
  found = np.zeros((mjm.nv, mjm.nv), dtype=bool)
  for i in range(mjm.nv):
    row = slice(mjm.M_rowadr[i], mjm.M_rowadr[i] + mjm.M_rownnz[i])
    found[i, mjm.M_colind[row]] = True
  return found | found.T


def tendon_dofs(mjm: mujoco.MjModel, tendon: int) -> np.ndarray:
  """Dofs that a tendon acts on."""
  row = slice(mjm.ten_J_rowadr[tendon], mjm.ten_J_rowadr[tendon] + mjm.ten_J_rownnz[tendon])
  return mjm.ten_J_colind[row]


def branching_tendons(mjm: mujoco.MjModel) -> np.ndarray:
  """Spatial tendons some of whose pairs of dofs have no entry in the inertia matrix.

  The engine keeps only the entries of J J^T that the inertia matrix has room for, pairs of dofs on
  one chain.
  """
  pattern = inertia_pattern(mjm)
  found = np.zeros(mjm.ntendon, dtype=bool)
  for t in np.flatnonzero(mjm.tendon_type == int(mujoco.mjtTendon.mjTENDON_SPATIAL)):
    dofs = tendon_dofs(mjm, t)
    found[t] = not pattern[np.ix_(dofs, dofs)].all()
  return found


def actuator_dofs(mjm: mujoco.MjModel, actuator: int) -> np.ndarray:
  """Dofs that an actuator on a joint, tendon, site or slider-crank acts on; none on a body."""
  kind, (target, reference) = mjm.actuator_trntype[actuator], mjm.actuator_trnid[actuator]
  if kind == _TENDON_TRANSMISSION:
    return tendon_dofs(mjm, target)
  if kind in _SITE_TRANSMISSIONS:
    moved = _moving_dofs(mjm, target) ^ _moving_dofs(mjm, reference)
    return np.array(sorted(moved), dtype=int)
  if kind in _JOINT_TRANSMISSIONS:
    first = mjm.jnt_dofadr[target]
    return np.arange(first, first + _JOINT_NDOF[int(mjm.jnt_type[target])])
  return np.zeros(0, dtype=int)


def _moving_dofs(mjm: mujoco.MjModel, site: int) -> set[int]:
  """Dofs that move a site, none for site -1."""
  if site < 0:
    return set()
  weld = mjm.body_weldid[mjm.site_bodyid[site]]
  dof = mjm.body_dofadr[weld] + mjm.body_dofnum[weld] - 1 if mjm.body_dofnum[weld] else -1
  found = set()
  while dof >= 0:
    found.add(int(dof))
    dof = mjm.dof_parentid[dof]
  return found


def split_actuators(mjm: mujoco.MjModel) -> np.ndarray:
  """Actuators, not on tendons, on pairs of dofs without an entry in the inertia matrix."""
  pattern = inertia_pattern(mjm)
  found = np.zeros(mjm.actuator_trntype.size, dtype=bool)
  for i in np.flatnonzero(mjm.actuator_trntype != _TENDON_TRANSMISSION):
    dofs = actuator_dofs(mjm, i)
    found[i] = not pattern[np.ix_(dofs, dofs)].all()
  return found


def diagonal_bodies(mjm: mujoco.MjModel) -> np.ndarray:
  """Bodies with mass, moved by dofs without an entry in the inertia matrix for each pair.

  Lone free bodies, which the implicit integrators but `discrete` solve by themselves, do not count.
  """
  pattern, lone = inertia_pattern(mjm), lone_free_trees(mjm)
  if mjm.opt.integrator == mujoco.mjtIntegrator.mjINT_DISCRETE:
    lone[:] = False
  found = np.zeros(mjm.nbody, dtype=bool)
  for b in np.flatnonzero((mjm.body_treeid >= 0) & (mjm.body_mass >= mujoco.mjMINVAL)):
    first = mjm.body_dofadr[mjm.body_weldid[b]]
    dofs = np.arange(first, first + mjm.body_dofnum[mjm.body_weldid[b]])
    found[b] = not (lone[mjm.body_treeid[b]] or pattern[np.ix_(dofs, dofs)].all())
  return found


@dataclasses.dataclass(frozen=True)
class Tree:
  """Static indices of the kinematic tree.

  Attributes:
    bodies: all body ids, shape [nbody]
    body_diagonal: whether the inertia matrix of the body's dofs is kept diagonal, shape [nbody]
    body_lastdof: last dof of the body's chain, -1 for a static body, shape [nbody]
    dof_before: last dof that a motion of this dof does not carry, -1 for none, shape [nv]
    dof_after: last dof of the same motion group (ball, rotations of a free joint), shape [nv]
    tree_gyroscopic: whether the integrator takes the velocity derivative of the tree's bias forces
      into A: `implicit` always, `implicitfast` for a lone free joint, `discrete` for one that
      nothing else acts on, shape [ntree]
    tendon_crossing: whether a spatial tendon acts on two dofs without an entry in the inertia
      matrix, a pair that armature leaves out of J J^T, shape [ntendon]
    tendon_branching: the same, where also the integrator leaves such pairs out of J J^T, as all but
      `discrete` do, shape [ntendon]
    actuator_split: whether an actuator that is not on a tendon acts on two such dofs, shape
      [nactuator]
    limited_jnt: ids of limited joints, shape [nlimit]
    body_equality: ids of connect and weld equalities, shape [nequality]
    block_row, block_col: lower triangle of H in blocks of `BLOCK` dofs, shape [nblock]
  """

  bodies: wp.array
  body_diagonal: wp.array
  body_lastdof: wp.array
  dof_before: wp.array
  dof_after: wp.array
  tree_gyroscopic: wp.array
  tendon_crossing: wp.array
  tendon_branching: wp.array
  actuator_split: wp.array
  limited_jnt: wp.array
  body_equality: wp.array
  block_row: wp.array
  block_col: wp.array

  @classmethod
  def from_model(cls, mjm: mujoco.MjModel, device: wp.Device) -> "Tree":
    weld = mjm.body_weldid
    lastdof = np.where(
      mjm.body_dofnum[weld] > 0, mjm.body_dofadr[weld] + mjm.body_dofnum[weld] - 1, -1
    )
    before = np.full(mjm.nv, -1)
    after = np.zeros(mjm.nv, dtype=int)
    for jntid in range(mjm.njnt):
      first = mjm.jnt_dofadr[jntid]
      last = first + _JOINT_NDOF[int(mjm.jnt_type[jntid])] - 1
      before[first : last + 1] = mjm.dof_parentid[first]
      after[first : last + 1] = last
      if mjm.jnt_type[jntid] == mujoco.mjtJoint.mjJNT_FREE:
        before[first + 3 : last + 1] = first + 2
        after[first : first + 3] = first + 2
    limited = np.nonzero(mjm.jnt_limited)[0]
    pair_types = [int(mujoco.mjtEq.mjEQ_CONNECT), int(mujoco.mjtEq.mjEQ_WELD)]
    body_equality = np.nonzero(np.isin(mjm.eq_type, pair_types))[0]
    blocks = np.tril_indices(-(-mjm.nv // BLOCK))
    gyroscopic = _gyroscopic_trees(mjm)
    bodies = np.arange(mjm.nbody)
    crossing = branching_tendons(mjm)
    branching = crossing.copy()
    if mjm.opt.integrator == mujoco.mjtIntegrator.mjINT_DISCRETE:
      branching[:] = False
    arrays = (
      bodies,
      diagonal_bodies(mjm),
      lastdof,
      before,
      after,
      gyroscopic,
      crossing,
      branching,
      split_actuators(mjm),
      limited,
      body_equality,
      *blocks,
    )
    types = (bool if a.dtype == bool else int for a in arrays)
    return cls(*(wp.array(a, dtype=t, device=device) for a, t in zip(arrays, types)))
