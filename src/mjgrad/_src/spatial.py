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


def zeros(nworld: int, nslot: int, count: int, device: wp.DeviceLike = None) -> wp.array:
  """Spatial vectors in `nslot` slots of `count` bodies or rows, shape [nworld, nslot, count, 6].

  A GPU stores the component before the body: neighbouring threads, which work on neighbouring
  bodies, then write neighbouring numbers, and whole sectors of memory.
  """
  device = wp.get_device(device)
  if device.is_cuda:
    return wp.zeros((nworld, nslot, 6, count), dtype=float, device=device).transpose((0, 1, 3, 2))
  return wp.zeros((nworld, nslot, count, 6), dtype=float, device=device)


@wp.func
def spatial_at(array: wp.array4d[float], worldid: int, slot: int, index: int) -> wp.spatial_vector:
  """The vector of body or row `index` in a slot of an array of `zeros`."""
  return wp.spatial_vector(
    array[worldid, slot, index, 0],
    array[worldid, slot, index, 1],
    array[worldid, slot, index, 2],
    array[worldid, slot, index, 3],
    array[worldid, slot, index, 4],
    array[worldid, slot, index, 5],
  )


@wp.func
def set_spatial(
  array: wp.array4d[float], worldid: int, slot: int, index: int, value: wp.spatial_vector
):
  """Writes what `spatial_at` reads."""
  for i in range(6):
    array[worldid, slot, index, i] = value[i]


@wp.func
def add_spatial(
  array: wp.array4d[float], worldid: int, slot: int, index: int, value: wp.spatial_vector
):
  """Adds to what `spatial_at` reads, as one of several threads that may do so."""
  for i in range(6):
    wp.atomic_add(array, worldid, slot, index, i, value[i])
