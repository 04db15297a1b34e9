"""Contact point, frame and distance between planes, spheres and capsules, and their adjoint.

The collision functions are the engine's own pure functions. What is held fixed: which ends or
which interior points of the segments are nearest (the branches they take), and the reference axis
that completes the contact frame. At a branch boundary, for example a capsule turning parallel to
another, the gradient is the one of the branch that the forward pass took.

The adjoint differentiates the scalar

    adj_dist dist + adj_point . point + sum_i adj_frame_i . frame_i

in the centre, the axis (third column of the geom's rotation) and the size of both geoms.

Source: MuJoCo documentation, Computation, "Collision"; docs/derivation.md, "Contact geometry".
"""

import mujoco
import warp as wp

from mjgrad._src.engine.adapter import capsule_capsule
from mjgrad._src.engine.adapter import make_frame
from mjgrad._src.engine.adapter import plane_capsule
from mjgrad._src.engine.adapter import plane_sphere
from mjgrad._src.engine.adapter import sphere_capsule
from mjgrad._src.engine.adapter import sphere_sphere

wp.set_module_options({"enable_backward": False})

PLANE = wp.constant(int(mujoco.mjtGeom.mjGEOM_PLANE))
SPHERE = wp.constant(int(mujoco.mjtGeom.mjGEOM_SPHERE))
CAPSULE = wp.constant(int(mujoco.mjtGeom.mjGEOM_CAPSULE))


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
def sphere_sphere_objective(
  pos1: wp.vec3,
  size1: wp.vec3,
  pos2: wp.vec3,
  size2: wp.vec3,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_frame: wp.mat33,
) -> wp.float32:
  dist, point, normal = sphere_sphere(pos1, size1[0], pos2, size2[0])
  return contact_objective(dist, point, make_frame(normal), adj_dist, adj_point, adj_frame)


@wp.func
def sphere_capsule_objective(
  pos1: wp.vec3,
  size1: wp.vec3,
  pos2: wp.vec3,
  axis2: wp.vec3,
  size2: wp.vec3,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_frame: wp.mat33,
) -> wp.float32:
  dist, point, normal = sphere_capsule(pos1, size1[0], pos2, axis2, size2[0], size2[1])
  return contact_objective(dist, point, make_frame(normal), adj_dist, adj_point, adj_frame)


@wp.func
def capsule_capsule_objective(
  pos1: wp.vec3,
  axis1: wp.vec3,
  size1: wp.vec3,
  pos2: wp.vec3,
  axis2: wp.vec3,
  size2: wp.vec3,
  index: int,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_frame: wp.mat33,
) -> wp.float32:
  dist, point, normal = capsule_capsule(
    pos1, axis1, size1[0], size1[1], pos2, axis2, size2[0], size2[1]
  )
  frame = make_frame(normal[index])
  return contact_objective(dist[index], point[index], frame, adj_dist, adj_point, adj_frame)
