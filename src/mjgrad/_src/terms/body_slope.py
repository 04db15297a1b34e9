"""Derivatives of forces on bodies in the twists of those bodies, and their place in A.

A force law of one body depends on v through the body's twist V alone. With K_b the derivative of
the wrench that opposes it, about the reference point of the tree, a pair (i, j) of dofs on one
chain gets

    A_ij += h S_i . (K_m S_j + I_m g_j)

where m is the body of the deeper of the two dofs and K_m and I_m are sums over its subtree. Fluid
forces and the velocity products of the inertia add their part to K (terms/fluid_slope.py,
terms/gyroscopic.py); g_j = (V_before + V_after) x S_j is what the acceleration products of
the latter leave to the joint, where `tree_gyroscopic` holds. Where it does not, the pairs that the
inertia matrix has no room for, those of "simple" bodies, are left out.

Source: MuJoCo documentation, Computation, "Numerical integration"; docs/derivation.md,
"Velocity derivatives in A".
"""

import warp as wp

from mjgrad._src.engine.adapter import inert_vec
from mjgrad._src.engine.adapter import vec10
from mjgrad._src.spatial import cross_motion
from mjgrad._src.terms import fluid_slope
from mjgrad._src.terms import gyroscopic

wp.set_module_options({"enable_backward": False})


@wp.kernel
def _subtree_slope(
  # Model:
  body_subtreenum: wp.array[int],
  # In:
  slope_in: wp.array2d[wp.spatial_matrix],
  # Out:
  subtree_slope_out: wp.array2d[wp.spatial_matrix],
):
  worldid, bodyid = wp.tid()
  total = slope_in[worldid, bodyid]
  for descendant in range(bodyid + 1, bodyid + body_subtreenum[bodyid]):
    total += slope_in[worldid, descendant]
  subtree_slope_out[worldid, bodyid] = total


@wp.func
def _joint_product(
  # Data in:
  qvel_in: wp.array2d[float],
  cdof_in: wp.array2d[wp.spatial_vector],
  cdof_dot_in: wp.array2d[wp.spatial_vector],
  # In:
  dof_after: wp.array[int],
  worldid: int,
  dofid: int,
) -> wp.spatial_vector:
  """g = (V_before + V_after) x S of one dof, V_after - V_before being the twist of its group."""
  group = wp.spatial_vector()
  last = dof_after[dofid]
  for k in range(wp.max(0, last - 2), last + 1):
    if dof_after[k] == last:
      group += cdof_in[worldid, k] * qvel_in[worldid, k]
  return 2.0 * cdof_dot_in[worldid, dofid] + cross_motion(group, cdof_in[worldid, dofid])


@wp.kernel
def _slope_matrix(
  # Model:
  opt_timestep: wp.array[float],
  dof_bodyid: wp.array[int],
  dof_treeid: wp.array[int],
  dof_tri_row: wp.array[int],
  dof_tri_col: wp.array[int],
  body_isdofancestor: wp.array2d[int],
  M_elemid: wp.array2d[int],
  # Data in:
  qvel_in: wp.array2d[float],
  cdof_in: wp.array2d[wp.spatial_vector],
  cdof_dot_in: wp.array2d[wp.spatial_vector],
  crb_in: wp.array2d[vec10],
  # In:
  dof_after: wp.array[int],
  tree_gyroscopic: wp.array2d[bool],
  subtree_slope: wp.array2d[wp.spatial_matrix],
  # Out:
  matrix_out: wp.array3d[wp.float64],
):
  worldid, pairid = wp.tid()
  i = dof_tri_col[pairid]
  j = dof_tri_row[pairid]
  bodyid = dof_bodyid[i]
  upper = matrix_out[worldid, i, j]
  gyroscopic = tree_gyroscopic[worldid % tree_gyroscopic.shape[0], dof_treeid[i]]
  if body_isdofancestor[bodyid, j] != 0 and (gyroscopic or M_elemid[i, j] >= 0):
    h = wp.float64(opt_timestep[worldid % opt_timestep.shape[0]])
    axis_i = cdof_in[worldid, i]
    axis_j = cdof_in[worldid, j]
    wrench_i = subtree_slope[worldid, bodyid] @ axis_i
    wrench_j = subtree_slope[worldid, bodyid] @ axis_j
    if gyroscopic:
      g_i = _joint_product(qvel_in, cdof_in, cdof_dot_in, dof_after, worldid, i)
      g_j = _joint_product(qvel_in, cdof_in, cdof_dot_in, dof_after, worldid, j)
      wrench_i += inert_vec(crb_in[worldid, bodyid], g_i)
      wrench_j += inert_vec(crb_in[worldid, bodyid], g_j)
    matrix_out[worldid, i, j] += h * wp.float64(wp.dot(axis_i, wrench_j))
    upper += h * wp.float64(wp.dot(axis_j, wrench_i))
  matrix_out[worldid, j, i] = upper


def add_matrix(work) -> None:
  """Adds the slopes to A, and completes `work.matrix` from its lower triangle."""
  m, d, tree = work.model, work.data, work.tree
  if not (work.gyroscopic or work.implicit_fluid):
    return
  work.slope.zero_()
  gyroscopic.add_slope(work)
  if not work.discrete:
    fluid_slope.add_slope(work)
  wp.launch(
    _subtree_slope,
    dim=(d.nworld, m.nbody),
    inputs=[m.body_subtreenum, work.slope],
    outputs=[work.subtree_slope],
  )
  wp.launch(
    _slope_matrix,
    dim=(d.nworld, m.dof_tri_row.shape[0]),
    inputs=[
      m.opt.timestep,
      m.dof_bodyid,
      m.dof_treeid,
      m.dof_tri_row,
      m.dof_tri_col,
      m.body_isdofancestor,
      m.M_elemid,
      d.qvel,
      d.cdof,
      d.cdof_dot,
      d.crb,
      tree.dof_after,
      work.tree_gyroscopic,
      work.subtree_slope,
    ],
    outputs=[work.matrix],
  )
