"""Contact point, frame and distance between planes, spheres and capsules, and their adjoint.

Spheres and capsules touch like spheres at the nearest points x_1, x_2 of their axes,

    n = (x_2 - x_1) / |x_2 - x_1|,  r = n . (x_2 - x_1) - r_1 - r_2,  point = x_1 + (r_1 + r / 2) n

with x_i = c_i + t_i a_i and the t_i of the engine's own pure functions, as are planes.

What is held fixed: which ends or which interior points of the segments are nearest (the branches
they take), and the reference axis that completes the contact frame. At a branch boundary, for
example a capsule turning parallel to another, the gradient is the one of the branch that the
forward pass took. Where x_1 and x_2 coincide to rounding, n has no direction: the engine takes x,
or what rounding makes of it, and that n is held fixed. Then r has the derivative of a motion along
n, one of two sides, unless the points move together, as at a joint where two capsules meet.

The adjoint differentiates the scalar

    adj_dist dist + adj_point . point + sum_i adj_frame_i . frame_i

in the centre, the axis (third column of the geom's rotation) and the size of both geoms.

Source: MuJoCo documentation, Computation, "Collision"; docs/contacts.md.
"""

import mujoco
import warp as wp

from mjgrad._src.engine.adapter import make_frame
from mjgrad._src.engine.adapter import plane_capsule
from mjgrad._src.engine.adapter import plane_sphere
from mjgrad._src.engine.adapter import segment_weights

wp.set_module_options({"enable_backward": False})

PLANE = wp.constant(int(mujoco.mjtGeom.mjGEOM_PLANE))
SPHERE = wp.constant(int(mujoco.mjtGeom.mjGEOM_SPHERE))
CAPSULE = wp.constant(int(mujoco.mjtGeom.mjGEOM_CAPSULE))

COINCIDING = wp.constant(2e-6)
"""Distance of two points that rounding may have made, relative to how far away they are."""


@wp.func
def contact_objective(
  dist: float,
  point: wp.vec3,
  frame: wp.mat33,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_frame: wp.mat33,
) -> wp.float32:
  return adj_dist * dist + wp.dot(adj_point, point) + wp.ddot(adj_frame, frame)


@wp.func
def plane_sphere_objective(
  pos1: wp.vec3,
  axis1: wp.vec3,
  pos2: wp.vec3,
  size2: wp.vec3,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_frame: wp.mat33,
) -> wp.float32:
  dist, point = plane_sphere(axis1, pos1, pos2, size2[0])
  return contact_objective(dist, point, make_frame(axis1), adj_dist, adj_point, adj_frame)


@wp.func
def plane_capsule_objective(
  pos1: wp.vec3,
  axis1: wp.vec3,
  pos2: wp.vec3,
  axis2: wp.vec3,
  size2: wp.vec3,
  index: int,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_frame: wp.mat33,
) -> wp.float32:
  dist, point, frame = plane_capsule(axis1, pos1, pos2, axis2, size2[0], size2[1])
  return contact_objective(dist[index], point[index], frame, adj_dist, adj_point, adj_frame)


@wp.func
def spheres(
  x1: wp.vec3,
  radius1: float,
  x2: wp.vec3,
  radius2: float,
  far: float,
  normal: wp.vec3,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_frame: wp.mat33,
) -> wp.float32:
  """Two spheres; `far` is the size of the numbers that the centres are sums of."""
  apart = x2 - x1
  n = normal
  if wp.length(apart) > COINCIDING * far:
    n = wp.normalize(apart)
  dist = wp.dot(n, apart) - radius1 - radius2
  point = x1 + (radius1 + 0.5 * dist) * n
  return contact_objective(dist, point, make_frame(n), adj_dist, adj_point, adj_frame)


@wp.func
def sphere_sphere_objective(
  pos1: wp.vec3,
  size1: wp.vec3,
  pos2: wp.vec3,
  size2: wp.vec3,
  normal: wp.vec3,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_frame: wp.mat33,
) -> wp.float32:
  """`normal` is that of the contact, held fixed."""
  far = wp.length(pos1) + wp.length(pos2)
  return spheres(pos1, size1[0], pos2, size2[0], far, normal, adj_dist, adj_point, adj_frame)


@wp.func
def sphere_capsule_objective(
  pos1: wp.vec3,
  size1: wp.vec3,
  pos2: wp.vec3,
  axis2: wp.vec3,
  size2: wp.vec3,
  normal: wp.vec3,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_frame: wp.mat33,
) -> wp.float32:
  along = wp.clamp(wp.dot(axis2, pos1 - pos2), -size2[1], size2[1])
  far = wp.length(pos1) + wp.length(pos2) + size2[1]
  return spheres(
    pos1, size1[0], pos2 + along * axis2, size2[0], far, normal, adj_dist, adj_point, adj_frame
  )


@wp.func
def capsule_capsule_objective(
  pos1: wp.vec3,
  axis1: wp.vec3,
  size1: wp.vec3,
  pos2: wp.vec3,
  axis2: wp.vec3,
  size2: wp.vec3,
  index: int,
  normal: wp.vec3,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_frame: wp.mat33,
) -> wp.float32:
  half1 = size1[1] * axis1
  half2 = size2[1] * axis2
  _count, first, second = segment_weights(pos1 - half1, pos1 + half1, pos2 - half2, pos2 + half2)
  weights = first
  if index == 1:
    weights = second
  x1 = pos1 + (2.0 * weights[0] - 1.0) * half1
  x2 = pos2 + (2.0 * weights[1] - 1.0) * half2
  far = wp.length(pos1) + size1[1] + wp.length(pos2) + size2[1]
  return spheres(x1, size1[0], x2, size2[0], far, normal, adj_dist, adj_point, adj_frame)
