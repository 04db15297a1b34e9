"""Spatial (6-D) algebra in one fixed world-aligned frame per kinematic tree.

Motions are (rotation, translation) and forces are (torque, force), both about the reference point
of the tree, `subtree_com` of its root, which is where MuJoCo expresses `cdof`, `cvel` and `cinert`.
The physics does not depend on that point, so derivatives hold it fixed.

Source: Featherstone, Rigid Body Dynamics Algorithms (2008), chapter 2.
"""

import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.func
def cross_motion(u: wp.spatial_vector, v: wp.spatial_vector) -> wp.spatial_vector:
  """u x v, the rate of change of the motion v when its frame moves with twist u."""
  u_rot = wp.spatial_top(u)
  v_rot = wp.spatial_top(v)
  return wp.spatial_vector(
    wp.cross(u_rot, v_rot),
    wp.cross(wp.spatial_bottom(u), v_rot) + wp.cross(u_rot, wp.spatial_bottom(v)),
  )


@wp.func
def cross_force(u: wp.spatial_vector, f: wp.spatial_vector) -> wp.spatial_vector:
  """u x* f, the dual of `cross_motion`: x . (u x* f) = -(u x x) . f for every motion x."""
  u_rot = wp.spatial_top(u)
  force = wp.spatial_bottom(f)
  return wp.spatial_vector(
    wp.cross(u_rot, wp.spatial_top(f)) + wp.cross(wp.spatial_bottom(u), force),
    wp.cross(u_rot, force),
  )


@wp.func
def wrench_at(force: wp.vec3, torque: wp.vec3, offset: wp.vec3) -> wp.spatial_vector:
  """The wrench of a force and a torque acting at `offset` from the reference point."""
  return wp.spatial_vector(torque + wp.cross(offset, force), force)


@wp.func
def velocity_at(twist: wp.spatial_vector, offset: wp.vec3) -> wp.vec3:
  """Linear velocity of the point at `offset` from the reference point."""
  return wp.spatial_bottom(twist) + wp.cross(wp.spatial_top(twist), offset)
