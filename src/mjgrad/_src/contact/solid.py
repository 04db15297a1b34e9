"""From the cotangent of a contact's point, frame and distance to both geoms, for solid geoms."""

import warp as wp

from mjgrad._src.contact.capsule_box import capsule_box_vjp
from mjgrad._src.contact.deformation import elevations_of
from mjgrad._src.contact.deformation import stretch
from mjgrad._src.contact.dropped import dropped_at
from mjgrad._src.contact.dropped import dropped_vjp
from mjgrad._src.contact.facet import Elevations
from mjgrad._src.contact.facet import facet_at
from mjgrad._src.contact.facet import facet_vjp
from mjgrad._src.contact.geometry import GeomAdjoint
from mjgrad._src.contact.height_field import HFIELD
from mjgrad._src.contact.height_field import HeightFields
from mjgrad._src.contact.height_field import Patch
from mjgrad._src.contact.height_field import patch_at
from mjgrad._src.contact.manifold import ALIGNED
from mjgrad._src.contact.manifold import FACING
from mjgrad._src.contact.manifold import Face
from mjgrad._src.contact.manifold import border_near
from mjgrad._src.contact.manifold import edge_objective
from mjgrad._src.contact.manifold import facing
from mjgrad._src.contact.manifold import facing_through
from mjgrad._src.contact.overlap import corner_vjp
from mjgrad._src.contact.plane_cylinder import plane_cylinder_objective
from mjgrad._src.contact.round_edge import is_on_side
from mjgrad._src.contact.round_edge import round_edge_vjp
from mjgrad._src.contact.smooth import turning_weight
from mjgrad._src.contact.surface import BOX
from mjgrad._src.contact.surface import CAPSULE
from mjgrad._src.contact.surface import CYLINDER
from mjgrad._src.contact.surface import ELLIPSOID
from mjgrad._src.contact.surface import FACE
from mjgrad._src.contact.surface import FLAT_TILT
from mjgrad._src.contact.surface import LINE
from mjgrad._src.contact.surface import MESH
from mjgrad._src.contact.surface import PLANE
from mjgrad._src.contact.surface import SPHERE
from mjgrad._src.contact.surface import TILT
from mjgrad._src.contact.surface import Meshes
from mjgrad._src.contact.surface import Surface
from mjgrad._src.contact.surface import is_round
from mjgrad._src.contact.surface import scaled
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
    (HFIELD, SPHERE),
    (HFIELD, CAPSULE),
    (HFIELD, ELLIPSOID),
    (HFIELD, CYLINDER),
    (HFIELD, BOX),
    (HFIELD, MESH),
    (SPHERE, ELLIPSOID),
    (SPHERE, CYLINDER),
    (SPHERE, BOX),
    (SPHERE, MESH),
    (CAPSULE, ELLIPSOID),
    (ELLIPSOID, ELLIPSOID),
    (ELLIPSOID, CYLINDER),
    (ELLIPSOID, BOX),
    (ELLIPSOID, MESH),
    (CAPSULE, CYLINDER),
    (CAPSULE, BOX),
    (CAPSULE, MESH),
    (CYLINDER, CYLINDER),
    (CYLINDER, BOX),
    (CYLINDER, MESH),
    (BOX, BOX),
    (BOX, MESH),
    (MESH, MESH),
  )
)
"""Pairs of geom types, in the engine's order, of which this file knows the gradient."""


@wp.func
def _frame_objective(normal: wp.vec3, adj_frame: wp.mat33) -> wp.float32:
  return wp.ddot(adj_frame, make_frame(normal))


@wp.func
def is_round_or_plane(type1: int, type2: int) -> bool:
  """Whether a pair has a geom that makes no manifold of face or edge with the other."""
  flat1 = type1 == CAPSULE or type1 == CYLINDER or type1 == BOX or type1 == MESH
  flat2 = type2 == CAPSULE or type2 == CYLINDER or type2 == BOX or type2 == MESH
  return not (flat1 and flat2)


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
  fields: HeightFields,
  tolerance: float,
  manifolds: bool,
  softness: float,
  index: int,
  dist: float,
  point: wp.vec3,
  frame: wp.mat33,
  margin: float,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_frame: wp.mat33,
):
  """Cotangents of both geoms of a pair, ordered by type as in the contact.

  Returns:
    The two `GeomAdjoint`, and the `Elevations` of a height field.
  """
  geom1 = GeomAdjoint()
  geom2 = GeomAdjoint()
  elevations = Elevations()
  if type1 == PLANE and type2 == CYLINDER:
    axis1 = wp.vec3(rot1[0, 2], rot1[1, 2], rot1[2, 2])
    axis2 = wp.vec3(rot2[0, 2], rot2[1, 2], rot2[2, 2])
    across = wp.dot(axis1, axis2) * axis2 - axis1
    turning = turning_weight(wp.length(across), size2[0], softness)
    held = wp.normalize(across)
    adj_pos1, adj_axis1, adj_pos2, adj_axis2, adj_size2, _i, _t, _h, _d, _p, _f = wp.grad(
      plane_cylinder_objective
    )(pos1, axis1, pos2, axis2, size2, index, turning, held, adj_dist, adj_point, adj_frame)
    geom1.force = adj_pos1
    geom1.torque = wp.cross(axis1, adj_axis1)
    geom2.force = adj_pos2
    geom2.torque = wp.cross(axis2, adj_axis2)
    geom2.size = adj_size2
    return geom1, geom2, elevations

  n = frame[0]
  adj_normal, _f = wp.grad(_frame_objective)(n, adj_frame)
  if type1 == CAPSULE and type2 == BOX:
    geom1, geom2 = capsule_box_vjp(
      pos1,
      rot1,
      size1,
      pos2,
      rot2,
      size2,
      meshes,
      index,
      dist,
      point,
      frame,
      adj_dist,
      adj_point,
      adj_normal,
    )
    return geom1, geom2, elevations

  local1 = wp.transpose(rot1) @ (point - 0.5 * dist * n - pos1)
  local2 = wp.transpose(rot2) @ (point + 0.5 * dist * n - pos2)
  slack1 = witness_slack(local1, pos1, tolerance)
  slack2 = witness_slack(local2, pos2, tolerance)
  patch = Patch()
  if type1 == HFIELD:
    apart = pos2 - pos1
    if type2 == BOX or type2 == MESH:
      facet = facet_at(
        fields, meshid1, rot1, type2, rot2, size2, meshes, meshid2, local1, apart, n, -dist, slack1
      )
      if facet.found:
        geom1, geom2, elevations = facet_vjp(
          facet, rot1, type2, rot2, apart, n, adj_dist, adj_point, adj_normal
        )
        return geom1, geom2, elevations
    else:
      patch = patch_at(fields, meshid1, rot1, local1, n, slack1, TILT, is_round(type2))
    if not patch.agrees:
      place = dropped_at(
        fields, meshid1, rot1, type2, rot2, size2, meshes, meshid2, local1, apart, n, dist, slack1
      )
      geom1, geom2, elevations = dropped_vjp(
        place, rot1, type2, rot2, local1, apart, n, adj_dist, adj_point, adj_normal
      )
      if not place.found:
        geom1.force = wp.vec3(wp.nan, wp.nan, wp.nan)  # terms/contact_solid.py reports it
      return geom1, geom2, elevations

  face1 = Face()
  face2 = Face()
  face1.id = -1
  face2.id = -1
  if manifolds and not is_round_or_plane(type1, type2):
    face1 = facing(type1, meshes, meshid1, wp.transpose(rot1) @ n)
    face2 = facing(type2, meshes, meshid2, -wp.transpose(rot2) @ n)
  n2 = rot2 @ face2.normal
  onto2 = face2.id >= 0 and wp.dot(n2, n) < -ALIGNED
  if onto2:
    face1 = facing_through(type1, meshes, meshid1, wp.transpose(rot1) @ n, local1, slack1)
  n1 = rot1 @ face1.normal
  onto1 = face1.id >= 0 and wp.dot(n1, n) > ALIGNED

  m1 = wp.transpose(rot1) @ n
  m2 = wp.transpose(rot2) @ n
  if onto2 and is_on_side(type1, size1, margin, local1, m1, slack1):
    geom1, geom2 = round_edge_vjp(
      type1,
      pos1,
      rot1,
      size1,
      type2,
      pos2,
      rot2,
      size2,
      meshes,
      meshid2,
      face2,
      slack1,
      dist,
      point,
      margin,
      adj_dist,
      adj_point,
      -adj_normal,
    )
    return geom1, geom2, elevations
  if onto1 and is_on_side(type2, size2, margin, local2, m2, slack2):
    geom2, geom1 = round_edge_vjp(
      type2,
      pos2,
      rot2,
      size2,
      type1,
      pos1,
      rot1,
      size1,
      meshes,
      meshid1,
      face1,
      slack2,
      dist,
      point,
      margin,
      adj_dist,
      adj_point,
      adj_normal,
    )
    return geom1, geom2, elevations

  tilt1 = wp.where(onto2, FLAT_TILT, TILT)
  tilt2 = wp.where(onto1, FLAT_TILT, TILT)
  surface1 = Surface()
  if type1 == HFIELD:
    surface1 = patch.surface
  else:
    surface1 = surface_at(
      type1, rot1, size1, meshes, meshid1, local1, n, slack1, tilt1, type2, manifolds
    )
  surface2 = surface_at(
    type2, rot2, size2, meshes, meshid2, local2, -n, slack2, tilt2, type1, manifolds
  )

  zero = wp.vec3()
  arm1 = point - 0.5 * dist * n - pos1
  arm2 = point + 0.5 * dist * n - pos2
  adj_o1 = zero
  adj_o2 = zero
  size_map1 = surface1.size
  size_map2 = surface2.size
  turned1 = n
  turned2 = n
  # An edge of a mesh between faces that are steeper, or its end, may be next to one that is not.
  elsewhere = surface1.free != FACE and face1.apart > 0.0
  if onto2 and face1.id >= 0 and wp.dot(n1, n2) < -FACING and not elsewhere:
    foot = point + 0.5 * dist * n2
    corner = foot - dist / wp.dot(n1, n2) * n1
    local1 = wp.transpose(rot1) @ (foot - pos1)
    local2 = wp.transpose(rot2) @ (corner - pos2)
    border1 = border_near(type1, rot1, size1, meshes, meshid1, face1, local1)
    border2 = border_near(type2, rot2, size2, meshes, meshid2, face2, local2)
    adj_u1, adj_o1, adj_u2, adj_o2 = corner_vjp(
      dist, n1, n2, border1, border2, softness, adj_dist, adj_point, adj_normal
    )
    arm1 = corner - pos1
    arm2 = corner - pos2
    turned1 = n1
    turned2 = n2
    size_map1 = scaled(type1, rot1, size1, local1)
    size_map2 = scaled(type2, rot2, size2, local2)
  elif onto2 and surface1.free == LINE:
    foot = point - 0.5 * dist * n2
    local2 = wp.transpose(rot2) @ (foot - pos2)
    border2 = border_near(type2, rot2, size2, meshes, meshid2, face2, local2)
    adj_u1, adj_u2, adj_o2, _r, _m, _l, _p, _d, _q, _n = wp.grad(edge_objective)(
      zero, zero, zero, dist, n2, surface1.line, border2.side, adj_dist, adj_point, -adj_normal
    )
    arm1 = point + 0.5 * dist * n2 - pos1
    arm2 = point + 0.5 * dist * n2 - pos2
    turned2 = n2
    size_map2 = scaled(type2, rot2, size2, local2)
  elif onto1 and surface2.free == LINE:
    foot = point - 0.5 * dist * n1
    local1 = wp.transpose(rot1) @ (foot - pos1)
    border1 = border_near(type1, rot1, size1, meshes, meshid1, face1, local1)
    adj_u2, adj_u1, adj_o1, _r, _m, _l, _p, _d, _q, _n = wp.grad(edge_objective)(
      zero, zero, zero, dist, n1, surface2.line, border1.side, adj_dist, adj_point, adj_normal
    )
    arm1 = point + 0.5 * dist * n1 - pos1
    arm2 = point + 0.5 * dist * n1 - pos2
    turned1 = n1
    size_map1 = scaled(type1, rot1, size1, local1)
  else:
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
  geom1.size = wp.transpose(size_map1) @ adj_u1
  geom1.stretch = stretch(adj_u1, adj_o1, arm1, turned1)
  geom2.force = adj_u2
  geom2.torque = adj_o2 + wp.cross(arm2, adj_u2)
  geom2.size = wp.transpose(size_map2) @ adj_u2
  geom2.stretch = stretch(adj_u2, adj_o2, arm2, turned2)
  if type1 == HFIELD:
    elevations = elevations_of(patch, fields.size[meshid1][3], local1, rot1, adj_u1, adj_o1, n)
  return geom1, geom2, elevations
