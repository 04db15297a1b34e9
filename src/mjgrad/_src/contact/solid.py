"""From the cotangent of a contact's point, frame and distance to both geoms, for solid geoms."""

import warp as wp

from mjgrad._src.contact.geometry import GeomAdjoint
from mjgrad._src.contact.plane_cylinder import plane_cylinder_objective
from mjgrad._src.contact.surface import BOX
from mjgrad._src.contact.surface import CAPSULE
from mjgrad._src.contact.surface import CYLINDER
from mjgrad._src.contact.surface import ELLIPSOID
from mjgrad._src.contact.surface import MESH
from mjgrad._src.contact.surface import PLANE
from mjgrad._src.contact.surface import SPHERE
from mjgrad._src.contact.surface import Meshes
from mjgrad._src.contact.surface import surface_at
from mjgrad._src.contact.surface import witness_slack
from mjgrad._src.contact.witness import witness_objective
from mjgrad._src.engine.adapter import make_frame

wp.set_module_options({"enable_backward": False})

SOLID_PAIRS = frozenset(
  (int(a), int(b))
  for a, b in (
    (PLANE, ELLIPSOID),
    (PLANE, CYLINDER),
    (PLANE, BOX),
    (PLANE, MESH),
    (SPHERE, ELLIPSOID),
    (SPHERE, CYLINDER),
    (SPHERE, BOX),
    (SPHERE, MESH),
    (CAPSULE, ELLIPSOID),
    (ELLIPSOID, ELLIPSOID),
    (ELLIPSOID, CYLINDER),
    (ELLIPSOID, BOX),
    (ELLIPSOID, MESH),
  )
)
"""Pairs of geom types, in the engine's order, of which this file knows the gradient."""


@wp.func
def _frame_objective(normal: wp.vec3, adj_frame: wp.mat33) -> wp.float32:
  return wp.ddot(adj_frame, make_frame(normal))


@wp.func
def solid_geometry_vjp(
  type1: int,
  pos1: wp.vec3,
  rot1: wp.mat33,
  size1: wp.vec3,
  meshid1: int,
  type2: int,
  pos2: wp.vec3,
  rot2: wp.mat33,
  size2: wp.vec3,
  meshid2: int,
  meshes: Meshes,
  tolerance: float,
  index: int,
  dist: float,
  point: wp.vec3,
  frame: wp.mat33,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_frame: wp.mat33,
):
  """Cotangents of both geoms of a pair, ordered by type as in the contact."""
  geom1 = GeomAdjoint()
  geom2 = GeomAdjoint()
  if type1 == PLANE and type2 == CYLINDER:
    axis1 = wp.vec3(rot1[0, 2], rot1[1, 2], rot1[2, 2])
    axis2 = wp.vec3(rot2[0, 2], rot2[1, 2], rot2[2, 2])
    adj_pos1, adj_axis1, adj_pos2, adj_axis2, adj_size2, _i, _d, _p, _f = wp.grad(
      plane_cylinder_objective
    )(pos1, axis1, pos2, axis2, size2, index, adj_dist, adj_point, adj_frame)
    geom1.force = adj_pos1
    geom1.torque = wp.cross(axis1, adj_axis1)
    geom2.force = adj_pos2
    geom2.torque = wp.cross(axis2, adj_axis2)
    geom2.size = adj_size2
    return geom1, geom2

  n = frame[0]
  adj_normal, _f = wp.grad(_frame_objective)(n, adj_frame)
  arm1 = point - pos1 - 0.5 * dist * n
  arm2 = point - pos2 + 0.5 * dist * n
  local1 = wp.transpose(rot1) @ arm1
  local2 = wp.transpose(rot2) @ arm2
  slack1 = witness_slack(local1, pos1, tolerance)
  slack2 = witness_slack(local2, pos2, tolerance)
  surface1 = surface_at(type1, rot1, size1, meshes, meshid1, local1, n, slack1, type2)
  surface2 = surface_at(type2, rot2, size2, meshes, meshid2, local2, -n, slack2, type1)
  zero = wp.vec3()
  adj_u1, adj_o1, adj_u2, adj_o2, _r, _f2, _s1, _s2, _d, _p, _n = wp.grad(witness_objective)(
    zero,
    zero,
    zero,
    zero,
    dist,
    frame,
    surface1,
    surface2,
    adj_dist,
    adj_point,
    adj_normal,
  )
  geom1.force = adj_u1
  geom1.torque = adj_o1 + wp.cross(arm1, adj_u1)
  geom1.size = wp.transpose(surface1.size) @ adj_u1
  geom2.force = adj_u2
  geom2.torque = adj_o2 + wp.cross(arm2, adj_u2)
  geom2.size = wp.transpose(surface2.size) @ adj_u2
  return geom1, geom2
