"""Contacts of a box or a mesh with a height field: a facet of the Minkowski difference.

MuJoCo expands a polytope of differences w = p - q of vertices of the prism and of the geom, and
ends with a triangle of three of them. With C = (w_2 - w_1) x (w_3 - w_1),

    n = +- C / |C|,    r = -n . w_1,    x_1 = sum_i l_i p_i,    x_2 = sum_i l_i q_i

l being the affine coordinates of the point -r n of the triangle's plane. For a vertex on a face, a
face on a vertex and an edge on an edge these are the witness points of contact/witness.py. With a
height field the expansion stops when the vertex q repeats, maybe with a triangle that is no
feature of the two geoms; that triangle is then what the contact is.

Which triangle it is follows from n . w_i = -r. Held fixed: the triangle.

Source: docs/contacts.md; van den Bergen, "Collision detection in interactive 3D environments",
2003, chapter 4.
"""

import warp as wp

from mjgrad._src.contact.geometry import GeomAdjoint
from mjgrad._src.contact.height_field import HeightFields
from mjgrad._src.contact.height_field import Triangle
from mjgrad._src.contact.height_field import cell_of
from mjgrad._src.contact.height_field import triangle_of
from mjgrad._src.contact.surface import BOX
from mjgrad._src.contact.surface import Meshes

wp.set_module_options({"enable_backward": False})

THIN = wp.constant(1e-3)
"""Height of a triangle over its base below which it is none, relative."""
MISMATCH = wp.constant(30.0)
"""How far the witness points of a triangle may be from those of a contact, in slacks."""
CANDIDATES = wp.constant(12)
"""Pairs in the plane of a contact among which a triangle is sought."""
FAR = wp.constant(1e10)

candidates = wp.types.vector(length=12, dtype=int)


@wp.struct
class Pair:
  """A difference of a corner of a prism's top and a vertex of a geom, in the world.

  Attributes:
    corner: which corner, 0 to 2
    p: the corner from the centre of the height field [m]
    v: the vertex from the centre of the geom [m]
    w: the difference of the two points [m]
  """

  corner: int
  p: wp.vec3
  v: wp.vec3
  w: wp.vec3


@wp.struct
class Facet:
  """Three pairs, and how well they explain a contact.

  Attributes:
    found: there are three pairs
    off: distance of the triangle's witness points from the contact's [m]
    top: the top of the prism
  """

  found: bool
  off: float
  top: Triangle
  first: Pair
  second: Pair
  third: Pair


BOTTOM = wp.constant(-1)
"""In place of the elevations of a triangle: the bottom of a field, which they do not move."""


@wp.struct
class Elevations:
  """Corners of a triangle of a height field and the cotangents of their heights [m].

  Attributes:
    ids: the corners' elevations in `HeightFields.data`; negative: BOTTOM or `dropped.CORNER`
    value: cotangents of the heights
  """

  ids: wp.vec3i
  value: wp.vec3


@wp.func
def facet_objective(
  p1: wp.vec3,
  p2: wp.vec3,
  p3: wp.vec3,
  q1: wp.vec3,
  q2: wp.vec3,
  q3: wp.vec3,
  sign: float,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_normal: wp.vec3,
) -> wp.float32:
  """adj_dist r + adj_point . point + adj_normal . n as a function of the vertices."""
  w = p1 - q1
  a = p2 - q2 - w
  b = p3 - q3 - w
  c = wp.cross(a, b)
  n = sign * wp.normalize(c)
  depth = wp.dot(n, w)
  d = depth * n - w
  l2 = wp.dot(wp.cross(d, b), c) / wp.dot(c, c)
  l3 = wp.dot(wp.cross(a, d), c) / wp.dot(c, c)
  x1 = p1 + l2 * (p2 - p1) + l3 * (p3 - p1)
  x2 = q1 + l2 * (q2 - q1) + l3 * (q3 - q1)
  return -adj_dist * depth + wp.dot(adj_point, 0.5 * (x1 + x2)) + wp.dot(adj_normal, n)


@wp.func
def vertex(geomtype: int, size: wp.vec3, meshes: Meshes, meshid: int, i: int) -> wp.vec3:
  out = wp.vec3(size)
  if geomtype == BOX:
    for k in range(3):
      if (i >> k) & 1 == 0:
        out[k] = -size[k]
  else:
    out = meshes.vert[meshes.vertadr[meshid] + i]
  return out


@wp.func
def _pair(
  top: Triangle, rot1: wp.mat33, corner: int, v: wp.vec3, rot2: wp.mat33, apart: wp.vec3
) -> Pair:
  out = Pair()
  out.corner = corner
  p = top.a
  if corner == 1:
    p = top.b
  if corner == 2:
    p = top.c
  out.p = rot1 @ p
  out.v = rot2 @ v
  out.w = out.p - out.v - apart
  return out


@wp.func
def _explain(a: Pair, b: Pair, c: Pair, n: wp.vec3, x1: wp.vec3, x2: wp.vec3, apart: wp.vec3):
  """Distance of the witness points of three pairs from those of a contact [m]."""
  e = b.w - a.w
  f = c.w - a.w
  cross = wp.cross(e, f)
  square = wp.dot(cross, cross)
  off = float(FAR)
  if square > THIN * THIN * wp.max(wp.dot(e, e), wp.dot(f, f)):
    d = wp.dot(a.w, cross) / square * cross - a.w
    l2 = wp.dot(wp.cross(d, f), cross) / square
    l3 = wp.dot(wp.cross(e, d), cross) / square
    seen1 = a.p + l2 * (b.p - a.p) + l3 * (c.p - a.p)
    seen2 = apart + a.v + l2 * (b.v - a.v) + l3 * (c.v - a.v)
    off = wp.length(seen1 - x1) + wp.length(seen2 - x2)
  return off


@wp.func
def _facet_of(
  top: Triangle,
  rot1: wp.mat33,
  type2: int,
  rot2: wp.mat33,
  size2: wp.vec3,
  meshes: Meshes,
  meshid2: int,
  apart: wp.vec3,
  n: wp.vec3,
  depth: float,
  x1: wp.vec3,
  slack: float,
) -> Facet:
  """Of the pairs in the contact's plane the three whose witness points are those of the contact."""
  out = Facet()
  out.top = top
  out.off = FAR
  x2 = x1 - depth * n
  count = int(8)
  if type2 != BOX:
    count = meshes.vertnum[meshid2]
  near = candidates()
  found = int(0)
  for k in range(3 * count):
    pair = _pair(top, rot1, k % 3, vertex(type2, size2, meshes, meshid2, k // 3), rot2, apart)
    turned = slack / wp.max(depth, slack) * wp.length(pair.w)
    if wp.abs(wp.dot(n, pair.w) - depth) <= slack + turned and found < CANDIDATES:
      near[found] = k
      found += 1
  for i in range(found):
    a = near[i]
    first = _pair(top, rot1, a % 3, vertex(type2, size2, meshes, meshid2, a // 3), rot2, apart)
    for j in range(i):
      b = near[j]
      second = _pair(top, rot1, b % 3, vertex(type2, size2, meshes, meshid2, b // 3), rot2, apart)
      for k in range(j):
        c = near[k]
        third = _pair(top, rot1, c % 3, vertex(type2, size2, meshes, meshid2, c // 3), rot2, apart)
        off = _explain(first, second, third, n, x1, x2, apart)
        if off < out.off:
          out.off = off
          out.first = first
          out.second = second
          out.third = third
  out.found = out.off < MISMATCH * slack
  return out


@wp.func
def facet_at(
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
  depth: float,
  slack: float,
) -> Facet:
  """The facet of a contact, of the prisms around the witness point the one that fits best."""
  best = Facet()
  cell = cell_of(fields, id, local)
  for r in range(wp.max(cell[0] - 1, 0), wp.min(cell[0] + 2, fields.nrow[id] - 1)):
    for c in range(wp.max(cell[1] - 1, 0), wp.min(cell[1] + 2, fields.ncol[id] - 1)):
      for half in range(2):
        top = triangle_of(fields, id, r, c, half == 1)
        up = wp.normalize(wp.cross(top.b - top.a, top.c - top.a))
        if wp.abs(wp.dot(up, local - top.a)) <= 10.0 * slack:
          x1 = rot1 @ local
          facet = _facet_of(
            top, rot1, type2, rot2, size2, meshes, meshid2, apart, n, depth, x1, slack
          )
          if facet.found and (not best.found or facet.off < best.off):
            best = facet
  return best


@wp.func
def _seen(adj: wp.vec3, pair: Pair, rot1: wp.mat33, value: wp.vec3) -> wp.vec3:
  """Adds the height's part of the cotangent of a corner."""
  out = wp.vec3(value)
  out[pair.corner] = out[pair.corner] + wp.dot(adj, wp.vec3(rot1[0, 2], rot1[1, 2], rot1[2, 2]))
  return out


@wp.func
def corner_of_box(rot2: wp.mat33, v: wp.vec3, adj: wp.vec3) -> wp.vec3:
  """Cotangent of a box's size from that of one of its vertices."""
  local = wp.transpose(rot2) @ v
  f = wp.transpose(rot2) @ adj
  return wp.vec3(wp.sign(local[0]) * f[0], wp.sign(local[1]) * f[1], wp.sign(local[2]) * f[2])


@wp.func
def facet_vjp(
  facet: Facet,
  rot1: wp.mat33,
  type2: int,
  rot2: wp.mat33,
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
  a = facet.first
  b = facet.second
  c = facet.third
  sign = wp.sign(wp.dot(wp.cross(b.w - a.w, c.w - a.w), n))
  f1, f2, f3, g1, g2, g3, _s, _d, _p, _n = wp.grad(facet_objective)(
    a.p,
    b.p,
    c.p,
    a.v + apart,
    b.v + apart,
    c.v + apart,
    sign,
    adj_dist,
    adj_point,
    adj_normal,
  )
  geom1.force = f1 + f2 + f3
  geom1.torque = wp.cross(a.p, f1) + wp.cross(b.p, f2) + wp.cross(c.p, f3)
  geom1.stretch = wp.outer(f1, a.p) + wp.outer(f2, b.p) + wp.outer(f3, c.p)
  geom2.force = g1 + g2 + g3
  geom2.torque = wp.cross(a.v, g1) + wp.cross(b.v, g2) + wp.cross(c.v, g3)
  geom2.stretch = wp.outer(g1, a.v) + wp.outer(g2, b.v) + wp.outer(g3, c.v)
  if type2 == BOX:
    geom2.size = corner_of_box(rot2, a.v, g1)
    geom2.size += corner_of_box(rot2, b.v, g2) + corner_of_box(rot2, c.v, g3)
  elevations.ids = facet.top.ids
  elevations.value = _seen(f1, a, rot1, elevations.value)
  elevations.value = _seen(f2, b, rot1, elevations.value)
  elevations.value = _seen(f3, c, rot1, elevations.value)
  return geom1, geom2, elevations
