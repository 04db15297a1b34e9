"""The one sweep of the tree: from adjoint wrenches of bodies to generalised gradients.

Every term leaves, for each body b, the wrench P_b of its pose and the wrenches F_b^w of its twists
along v, lam, a, mu, e and BIAS. A motion of dof j carries all bodies of its subtree and every axis
further out; what it does not carry is T_{j,before}, the twist of the dofs before its joint. Seen
from the carried frame, only those parts move, by -S_j x T_{j,before}, so

    qbar_j = S_j . [ P - sum_w T_before^w x* F^w + V_before x* (V_before x* F^BIAS) ]
    vbar_j = S_j . [ F^V - (V_before + V_after) x* F^BIAS ]

with P and F^w summed over the subtree. The second-order term appears because the velocity products
in A are built from V: with the part of A inherited from V already in F^V (terms/inertia.py), it
removes what V_before contributed there. P_b counts the twists as attached to the body: a term whose
wrench is derived at fixed twists adds T_b^w x* F_b^w to it.

The dofs before a joint are those of its ancestors and of earlier joints on its body; the rotations
of a free joint also come after its translations; the axes of a ball or free joint carry each other.

Source: DESIGN section 2, "One sweep"; docs/derivation.md, "The sweep".
"""

import warp as wp

from mjgrad._src.spatial import cross_force
from mjgrad._src.spatial import set_spatial
from mjgrad._src.spatial import spatial_at
from mjgrad._src.tree import axes
from mjgrad._src.tree.axes import carried_axes
from mjgrad._src.tree.twists import ACC
from mjgrad._src.tree.twists import BIAS
from mjgrad._src.tree.twists import DELTA
from mjgrad._src.tree.twists import MU
from mjgrad._src.tree.twists import NTWIST
from mjgrad._src.tree.twists import NWRENCH
from mjgrad._src.tree.twists import POSE
from mjgrad._src.tree.twists import V

wp.set_module_options({"enable_backward": False})


@wp.kernel
def _subtree_wrench(
  # Model:
  body_subtreenum: wp.array[int],
  # In:
  implicit: bool,
  wrench_in: wp.array4d[float],
  # Out:
  subtree_wrench_out: wp.array4d[float],
):
  worldid, slot, bodyid = wp.tid()
  if not implicit and (slot == MU or slot == DELTA):
    return
  total = spatial_at(wrench_in, worldid, slot, bodyid)
  for descendant in range(bodyid + 1, bodyid + body_subtreenum[bodyid]):
    total += spatial_at(wrench_in, worldid, slot, descendant)
  set_spatial(subtree_wrench_out, worldid, slot, bodyid, total)


@wp.func
def carried_wrench(
  worldid: int,
  bodyid: int,
  row: int,
  dof_parentid: wp.array[int],
  cdof_in: wp.array2d[wp.spatial_vector],
  twist_in: wp.array4d[float],
  subtree_wrench_in: wp.array4d[float],
  subtree_axis_wrench: wp.array3d[wp.spatial_vector],
) -> wp.spatial_vector:
  """Wrench that a rigid motion of body `bodyid` and all beyond, after twist row `row`, works on."""
  v_before = spatial_at(twist_in, worldid, V, row)
  f_bias = spatial_at(subtree_wrench_in, worldid, BIAS, bodyid)
  pose = spatial_at(subtree_wrench_in, worldid, POSE, bodyid)
  pose += cross_force(v_before, cross_force(v_before, f_bias))
  for w in range(wp.static(NTWIST)):
    pose -= cross_force(
      spatial_at(twist_in, worldid, w, row), spatial_at(subtree_wrench_in, worldid, w, bodyid)
    )
  return pose + carried_axes(worldid, bodyid, row, dof_parentid, cdof_in, subtree_axis_wrench)


@wp.func
def subtree_product_wrench(
  worldid: int,
  bodyid: int,
  body_subtreenum: wp.array[int],
  product_wrench: wp.array2d[wp.spatial_vector],
) -> wp.spatial_vector:
  """F^Y of terms/gyroscopic.py, summed over the subtree of a body."""
  f_y = wp.spatial_vector()
  for descendant in range(bodyid, bodyid + body_subtreenum[bodyid]):
    f_y += product_wrench[worldid, descendant]
  return f_y


@wp.func
def carried_product(
  worldid: int,
  row: int,
  f_y: wp.spatial_vector,
  twist_in: wp.array4d[float],
  product_in: wp.array2d[wp.spatial_vector],
) -> wp.spatial_vector:
  """What `carried_wrench` misses where velocity products are integrated implicitly."""
  v = spatial_at(twist_in, worldid, V, row)
  x = spatial_at(twist_in, worldid, ACC, row) + spatial_at(twist_in, worldid, DELTA, row)
  pose = cross_force(v, cross_force(x, f_y)) + cross_force(x, cross_force(v, f_y))
  return pose - cross_force(product_in[worldid, row], f_y)


@wp.kernel
def _sweep(
  # Model:
  dof_bodyid: wp.array[int],
  dof_parentid: wp.array[int],
  # Data in:
  cdof_in: wp.array2d[wp.spatial_vector],
  # In:
  dof_before: wp.array[int],
  dof_after: wp.array[int],
  twist_in: wp.array4d[float],
  subtree_wrench_in: wp.array4d[float],
  subtree_axis_wrench: wp.array3d[wp.spatial_vector],
  # Adjoint out (+=):
  adj_qpos_out: wp.array2d[float],
  adj_qvel_out: wp.array2d[float],
):
  worldid, dofid = wp.tid()
  bodyid = dof_bodyid[dofid]
  before = dof_before[dofid] + 1
  after = dof_after[dofid] + 1
  axis = cdof_in[worldid, dofid]
  v_before = spatial_at(twist_in, worldid, V, before)
  f_bias = spatial_at(subtree_wrench_in, worldid, BIAS, bodyid)

  pose = carried_wrench(
    worldid,
    bodyid,
    before,
    dof_parentid,
    cdof_in,
    twist_in,
    subtree_wrench_in,
    subtree_axis_wrench,
  )
  adj_qpos_out[worldid, dofid] += wp.dot(axis, pose)

  velocity = spatial_at(subtree_wrench_in, worldid, V, bodyid)
  velocity -= cross_force(v_before + spatial_at(twist_in, worldid, V, after), f_bias)
  adj_qvel_out[worldid, dofid] += wp.dot(axis, velocity)


def launch(work) -> None:
  """Adds the gradients in the tangent of qpos and in qvel of everything in `work.wrench`."""
  m, d = work.model, work.data
  wp.launch(
    _subtree_wrench,
    dim=(d.nworld, NWRENCH, m.nbody),
    inputs=[m.body_subtreenum, work.integrator_twists, work.wrench],
    outputs=[work.subtree_wrench],
  )
  axes.launch(work)
  wp.launch(
    _sweep,
    dim=(d.nworld, m.nv),
    inputs=[
      m.dof_bodyid,
      m.dof_parentid,
      d.cdof,
      work.tree.dof_before,
      work.tree.dof_after,
      work.twist,
      work.subtree_wrench,
      work.subtree_axis_wrench,
      work.adj_qpos,
      work.adj_qvel,
    ],
  )
