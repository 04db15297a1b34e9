"""Contacts that MuJoCo Warp drops onto the top of a height field.

Where a geom is nearest to a vertical face between two prisms, the engine takes another contact: a
point of the geom, and straight above or below it a point of the field. In the frame of the field, c
being a vertex of the geom, or for a radius s the centre of a sphere or an end of a capsule,

    x_2 = c - s e_z,    x_1 = (x_2x, x_2y, h),    r = -|h - x_2z|,    n = sign(h - x_2z) e_z

h is the height of the triangle's plane at x_2, if x_2 is over it, and else that of one of its
corners.

Held fixed: the vertex or end, and the triangle or corner. Which corner it is cannot be told, so
that there is no gradient in elevations then.

Source: docs/contacts.md; mujoco_warp's `_epa_witness` has the same geometry.
"""

import warp as wp

from mjgrad._src.contact.facet import MISMATCH
from mjgrad._src.contact.facet import Elevations
from mjgrad._src.contact.facet import corner_of_box
from mjgrad._src.contact.facet import vertex
from mjgrad._src.contact.geometry import GeomAdjoint
from mjgrad._src.contact.height_field import HeightFields
from mjgrad._src.contact.height_field import Triangle
from mjgrad._src.contact.height_field import cell_of
from mjgrad._src.contact.height_field import triangle_of
from mjgrad._src.contact.surface import BOX
from mjgrad._src.contact.surface import CAPSULE
from mjgrad._src.contact.surface import MESH
from mjgrad._src.contact.surface import SPHERE
from mjgrad._src.contact.surface import Meshes

wp.set_module_options({"enable_backward": False})

VERTICAL = wp.constant(1e-4)
"""Sine below which a normal is along the axis of the field, by rounding [rad]."""
CORNER = wp.constant(-2)
"""In place of the elevations of a triangle: that of a corner, which cannot be told."""


@wp.struct
class Dropped:
  """Where a dropped contact is.

  Attributes:
    found: it is one
    v: the point c from the centre of the geom, in the world [m]
    radius: s [m]
    slope: gradient of h in the field's frame
    share: share of the triangle's corners in h
    ids: their elevations, or CORNER
  """

  found: bool
  v: wp.vec3
  radius: float
  slope: wp.vec3
  share: wp.vec3
  ids: wp.vec3i


@wp.func
def dropped_objective(
  c: wp.vec3,
  e1: wp.vec3,
  e2: wp.vec3,
  e3: wp.vec3,
  radius: float,
  height: float,
  slope: wp.vec3,
  at: wp.vec3,
  sign: float,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_normal: wp.vec3,
) -> wp.float32:
  """c from the field's centre and the field's axes, in the world; h is linear around `at`."""
  x = wp.dot(c, e1)
  y = wp.dot(c, e2)
  z = wp.dot(c, e3) - radius
  h = height + slope[0] * (x - at[0]) + slope[1] * (y - at[1])
  point = x * e1 + y * e2 + 0.5 * (z + h) * e3
  dist = -sign * (h - z)
  return adj_dist * dist + wp.dot(adj_point, point) + sign * wp.dot(adj_normal, e3)


@wp.func
def _point_of(
  type2: int, rot2: wp.mat33, size2: wp.vec3, meshes: Meshes, meshid2: int, v: wp.vec3
) -> wp.vec3:
  """The vertex, centre or end next to a point, from the geom's centre in the world."""
  out = wp.vec3()
  local = wp.transpose(rot2) @ v
  if type2 == CAPSULE:
    out = wp.vec3(0.0, 0.0, wp.sign(local[2]) * size2[1])
  elif type2 == BOX or type2 == MESH:
    count = int(8)
    if type2 != BOX:
      count = meshes.vertnum[meshid2]
    out = vertex(type2, size2, meshes, meshid2, 0)
    for i in range(1, count):
      other = vertex(type2, size2, meshes, meshid2, i)
      if wp.length_sq(other - local) < wp.length_sq(out - local):
        out = other
  return rot2 @ out


@wp.func
def _shares(top: Triangle, x: wp.vec3) -> wp.vec3:
  """Barycentric coordinates of the point of a triangle's plane over or under x."""
  a = top.a - x
  b = top.b - x
  c = top.c - x
  area = wp.vec3(b[0] * c[1] - b[1] * c[0], c[0] * a[1] - c[1] * a[0], a[0] * b[1] - a[1] * b[0])
  return area / (area[0] + area[1] + area[2])


@wp.func
def dropped_at(
  fields: HeightFields,
  id: int,
  rot1: wp.mat33,
  type2: int,
  rot2: wp.mat33,
  size2: wp.vec3,
  meshes: Meshes,
  meshid2: int,
  local: wp.vec3,
  apart: wp.vec3,
  n: wp.vec3,
  dist: float,
  slack: float,
) -> Dropped:
  """Whether a contact with the witness point `local` of the field is dropped, and where it is."""
  out = Dropped()
  up = wp.vec3(rot1[0, 2], rot1[1, 2], rot1[2, 2])
  if wp.length(wp.cross(up, n)) > VERTICAL:
    return out
  if type2 == SPHERE or type2 == CAPSULE:
    out.radius = size2[0]
  seen = rot1 @ local + dist * n + out.radius * up - apart
  out.v = _point_of(type2, rot2, size2, meshes, meshid2, seen)
  known = type2 == SPHERE or type2 == CAPSULE or type2 == BOX or type2 == MESH
  out.found = known and wp.length(out.v - seen) < MISMATCH * slack
  out.ids = wp.vec3i(CORNER, CORNER, CORNER)
  cell = cell_of(fields, id, local)
  row = cell[0]
  col = cell[1]
  if row >= 0 and col >= 0 and row < fields.nrow[id] - 1 and col < fields.ncol[id] - 1:
    for half in range(2):
      top = triangle_of(fields, id, row, col, half == 1)
      share = _shares(top, local)
      height = wp.dot(share, wp.vec3(top.a[2], top.b[2], top.c[2]))
      if wp.min(share) >= 0.0 and wp.abs(height - local[2]) < MISMATCH * slack:
        normal = wp.cross(top.b - top.a, top.c - top.a)
        out.slope = wp.vec3(-normal[0] / normal[2], -normal[1] / normal[2], 0.0)
        out.share = share
        out.ids = top.ids
  return out


@wp.func
def dropped_vjp(
  place: Dropped,
  rot1: wp.mat33,
  type2: int,
  rot2: wp.mat33,
  local: wp.vec3,
  apart: wp.vec3,
  n: wp.vec3,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_normal: wp.vec3,
):
  """Cotangents of the height field, of the geom, and of the heights of the triangle's corners."""
  geom1 = GeomAdjoint()
  geom2 = GeomAdjoint()
  elevations = Elevations()
  e1 = wp.vec3(rot1[0, 0], rot1[1, 0], rot1[2, 0])
  e2 = wp.vec3(rot1[0, 1], rot1[1, 1], rot1[2, 1])
  e3 = wp.vec3(rot1[0, 2], rot1[1, 2], rot1[2, 2])
  adj_c, adj_e1, adj_e2, adj_e3, adj_radius, adj_height, _l, _a, _s, _d, _p, _n = wp.grad(
    dropped_objective
  )(
    place.v + apart,
    e1,
    e2,
    e3,
    place.radius,
    local[2],
    place.slope,
    local,
    wp.sign(wp.dot(e3, n)),
    adj_dist,
    adj_point,
    adj_normal,
  )
  geom1.force = adj_point - adj_c
  geom1.torque = wp.cross(e1, adj_e1) + wp.cross(e2, adj_e2) + wp.cross(e3, adj_e3)
  lifted = wp.vec3(-place.slope[0] * local[0], -place.slope[1] * local[1], local[2])
  geom1.stretch = rot1 @ wp.diag(adj_height * lifted) @ wp.transpose(rot1)
  geom2.force = adj_c
  geom2.torque = wp.cross(place.v, adj_c)
  geom2.stretch = wp.outer(adj_c, place.v)
  geom2.size[0] = adj_radius
  if type2 == CAPSULE:
    axis = wp.vec3(rot2[0, 2], rot2[1, 2], rot2[2, 2])
    geom2.size[1] = wp.sign(wp.dot(axis, place.v)) * wp.dot(axis, adj_c)
  elif type2 == BOX:
    geom2.size = corner_of_box(rot2, place.v, adj_c)
  elevations.ids = place.ids
  elevations.value = adj_height * place.share
  return geom1, geom2, elevations
