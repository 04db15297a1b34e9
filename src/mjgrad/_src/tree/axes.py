"""Cotangents of the motion axes that a body sees: terms along directions of their own.

The axis of dof k is S_k on every body b that k moves. A term that is linear in the twist of b along
a direction x of its own,

    T_b^x = sum_k S_k x_k,    F = d phi / d T_b^x,

leaves G_bk = x_k F on the axes, and its part of the pose's wrench as any other term does. What a
motion of joint j does not carry are the axes before it, so that the sweep gets (tree/sweep.py)

    qbar_j -= S_j . sum over k before j of  S_k x* G_jk,    G_jk summed over the bodies beyond j.

The directions v, lam, a, mu and e are those of all terms, and their twists are stored instead.

Source: docs/derivation.md, "The sweep".
"""

import warp as wp

from mjgrad._src.spatial import add_spatial
from mjgrad._src.spatial import cross_force
from mjgrad._src.spatial import spatial_at
from mjgrad._src.tree.attach import add_wrench
from mjgrad._src.tree.twists import POSE

wp.set_module_options({"enable_backward": False})


@wp.struct
class Directions:
  """Directions that elements have of their own, and where their cotangents go.

  Attributes:
    direction: x of every element, shape [nworld, nelement, nv]; empty where there are none
    dof_parentid: parents of the dofs
    cdof: axes of the dofs
    axis_wrench: cotangents of the axes of bodies, shape [nworld, nbody, nv]
  """

  direction: wp.array3d[float]
  dof_parentid: wp.array[int]
  cdof: wp.array2d[wp.spatial_vector]
  axis_wrench: wp.array3d[wp.spatial_vector]


@wp.func
def twist_along(worldid: int, element: int, last: int, own: Directions) -> wp.spatial_vector:
  """Twist along an element's direction of the chain that ends at dof `last`."""
  twist = wp.spatial_vector()
  dofid = last
  while dofid >= 0:
    twist += own.direction[worldid, element, dofid] * own.cdof[worldid, dofid]
    dofid = own.dof_parentid[dofid]
  return twist


@wp.func
def add_axes(
  worldid: int, element: int, bodyid: int, last: int, wrench: wp.spatial_vector, own: Directions
):
  """Adds the cotangent of `twist_along`, of a wrench that turns with its body, to the axes."""
  dofid = last
  while dofid >= 0:
    grad = own.direction[worldid, element, dofid] * wrench
    wp.atomic_add(own.axis_wrench, worldid, bodyid, dofid, grad)
    dofid = own.dof_parentid[dofid]


@wp.func
def add_along(
  worldid: int,
  element: int,
  bodyid: int,
  last: int,
  twist: wp.spatial_vector,
  wrench: wp.spatial_vector,
  own: Directions,
  wrench_out: wp.array4d[float],
):
  """Adds the cotangent of `twist_along`, derived at a pose held fixed, to a body and its axes."""
  add_spatial(wrench_out, worldid, POSE, bodyid, cross_force(twist, wrench))
  add_axes(worldid, element, bodyid, last, wrench, own)


@wp.func
def twist_of(
  worldid: int,
  w: int,
  nrate: int,
  element: int,
  last: int,
  twist_in: wp.array4d[float],
  own: Directions,
) -> wp.spatial_vector:
  """Twist along one of `nrate` common directions, or along the element's own after them."""
  if w < nrate:
    return spatial_at(twist_in, worldid, w, last + 1)
  return twist_along(worldid, element, last, own)


@wp.func
def add_twist(
  worldid: int,
  w: int,
  nrate: int,
  element: int,
  bodyid: int,
  last: int,
  twist: wp.spatial_vector,
  wrench: wp.spatial_vector,
  own: Directions,
  wrench_out: wp.array4d[float],
):
  """Adds the cotangent of `twist_of`, derived at a pose held fixed."""
  if w < nrate:
    add_wrench(worldid, bodyid, w, twist, wrench, wrench_out)
  else:
    add_along(worldid, element, bodyid, last, twist, wrench, own, wrench_out)


@wp.func
def carried_axes(
  worldid: int,
  bodyid: int,
  row: int,
  dof_parentid: wp.array[int],
  cdof_in: wp.array2d[wp.spatial_vector],
  subtree_axis_wrench: wp.array3d[wp.spatial_vector],
) -> wp.spatial_vector:
  """What the axes before twist row `row` add to the wrench of a motion of `bodyid` and beyond."""
  pose = wp.spatial_vector()
  if subtree_axis_wrench.shape[0] > 0:
    dofid = row - 1
    while dofid >= 0:
      wrench = subtree_axis_wrench[worldid, bodyid, dofid]
      pose -= cross_force(cdof_in[worldid, dofid], wrench)
      dofid = dof_parentid[dofid]
  return pose


@wp.kernel
def _subtree_axis_wrench(
  # Model:
  body_subtreenum: wp.array[int],
  # In:
  axis_wrench: wp.array3d[wp.spatial_vector],
  # Out:
  subtree_axis_wrench_out: wp.array3d[wp.spatial_vector],
):
  worldid, bodyid, dofid = wp.tid()
  total = wp.spatial_vector()
  for descendant in range(bodyid, bodyid + body_subtreenum[bodyid]):
    total += axis_wrench[worldid, descendant, dofid]
  subtree_axis_wrench_out[worldid, bodyid, dofid] = total


def directions(work, direction: wp.array) -> Directions:
  """The directions in an array of a workspace."""
  own = Directions()
  own.direction, own.dof_parentid = direction, work.model.dof_parentid
  own.cdof, own.axis_wrench = work.data.cdof, work.axis_wrench
  return own


def start(work) -> None:
  """Clears the cotangents of axes."""
  work.axis_wrench.zero_()


def launch(work) -> None:
  """Sums the cotangents of axes over subtrees, before the sweep reads them."""
  wp.launch(
    _subtree_axis_wrench,
    dim=work.subtree_axis_wrench.shape,
    inputs=[work.model.body_subtreenum, work.axis_wrench],
    outputs=[work.subtree_axis_wrench],
  )
