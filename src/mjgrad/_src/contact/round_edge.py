"""A capsule or cylinder that lies on a face: corners of a line on its side.

Where the axis a is within five degrees of a face with the outward normal m, MuJoCo takes the line
on the side that goes through the witness point which its detector found first, and clips it at the
face. With rho the radius and n_0 the normal at that witness point, a corner is

    v = c + t a + o,      o = rho n_0,      r = m . (v - x_m),      point = v - r m / 2

t being an end of the line, or where it meets the plane of the face's border. n_0 is not m:

| the first witness point is on | o |
| --- | --- |
| the face, under the deeper end | rho (b - (b . a) a), b = -m; on a cylinder as long as rho |
| the border of the face | rho (n_0 - (n_0 . a) a), n_0 moving as in contact/witness.py |

The deeper end is over the face in the first case and beyond its border in the second, which shows
in o. There the feature of the border is what is furthest along -n_0: a vertex, an edge, or the rim
of a cylinder. It touches the side, n_0 . a = 0, or the cap of a capsule, which makes o shorter than
rho.

Between geoms with a margin h the detector has capsules that are wider by h / 2 and faces that lie
out by h / 2, and moves what it finds back along m, so that v = c + t a + o + h / 2 m, and rho is
h / 2 more than the radius.

Held fixed: these choices. Source: docs/contacts.md; mujoco_warp's `multicontact`.
"""

import warp as wp

from mjgrad._src.contact.deformation import stretch
from mjgrad._src.contact.geometry import GeomAdjoint
from mjgrad._src.contact.manifold import Face
from mjgrad._src.contact.manifold import border_near
from mjgrad._src.contact.manifold import corner_motion
from mjgrad._src.contact.surface import BOX
from mjgrad._src.contact.surface import CAPSULE
from mjgrad._src.contact.surface import CYLINDER
from mjgrad._src.contact.surface import FLAT_TILT
from mjgrad._src.contact.surface import LINE
from mjgrad._src.contact.surface import MESH
from mjgrad._src.contact.surface import POINT
from mjgrad._src.contact.surface import Meshes
from mjgrad._src.contact.surface import Surface
from mjgrad._src.contact.surface import scaled
from mjgrad._src.contact.witness import normal_motion

wp.set_module_options({"enable_backward": False})

TIED = wp.constant(5e-3)
"""Cosine of the angle between n_0 and a side below which n_0 is normal to it."""
FAR = wp.constant(1e10)


@wp.struct
class RoundEdge:
  """A corner of a line on the side of a capsule or cylinder, in the world.

  Attributes:
    axis: direction of the line
    offset: o [m]
    radius: rho [m]
    swelling: by how much a capsule is wider, h / 2 [m]
    end: +1 or -1 at an end of the line, 0 where it meets the border's plane
    capsule: of a capsule
    on_face: the first witness point is on the face
    cap: +1 or -1 where it is on the cap at this end, else 0
    normal: n_0, where it is not on the face
    surface: of the capsule or cylinder there
    feature: of the face there
    place: a point on the feature [m]
    back: from the corner to the first witness point [m]
    gap: signed distance of the first two witness points [m]
  """

  axis: wp.vec3
  offset: wp.vec3
  radius: float
  swelling: float
  end: float
  capsule: bool
  on_face: bool
  cap: float
  normal: wp.vec3
  surface: Surface
  feature: Surface
  place: wp.vec3
  back: wp.vec3
  gap: float


@wp.func
def _swelling(geomtype: int, margin: float) -> float:
  return wp.where(geomtype == CAPSULE, 0.5 * margin, 0.0)


@wp.func
def is_on_side(
  geomtype: int, size: wp.vec3, margin: float, x: wp.vec3, m: wp.vec3, slack: float
) -> bool:
  """Whether x is on the side of a capsule or cylinder that lies along a face with normal m."""
  lies = geomtype == CAPSULE or geomtype == CYLINDER
  reach = size[1] + slack + wp.abs(m[2]) * _swelling(geomtype, margin)
  return lies and wp.abs(m[2]) < FLAT_TILT and wp.abs(x[2]) < reach


@wp.func
def _furthest(geomtype: int, size: wp.vec3, meshes: Meshes, meshid: int, face: Face, g: wp.vec3):
  """What of a face is furthest along g, and a point on it, in the frame of the geom."""
  out = Surface()
  place = wp.vec3()
  if geomtype == BOX:
    tied = float(TIED)
    for k in range(3):
      place[k] = wp.sign(g[k]) * size[k]
      if wp.abs(g[k]) < tied:
        tied = wp.abs(g[k])
        out.free = LINE
        out.line = wp.vec3()
        out.line[k] = 1.0
  elif geomtype == CYLINDER:
    across = wp.length(wp.vec2(g[0], g[1]))
    outward = wp.vec3(g[0], g[1], 0.0) / across
    rim = wp.vec3(-outward[1], outward[0], 0.0)
    place = size[0] * outward + size[1] * face.normal
    out.radius = (size[0] / across) * wp.outer(rim, rim)
  elif geomtype == MESH:
    adr = meshes.polyvertadr[face.id]
    most = float(-FAR)
    for k in range(meshes.polyvertnum[face.id]):
      vertex = meshes.vert[meshes.vertadr[meshid] + meshes.polyvert[adr + k]]
      if wp.dot(g, vertex) > most:
        most = wp.dot(g, vertex)
        place = vertex
    least = float(TIED)
    for k in range(meshes.polyvertnum[face.id]):
      side = meshes.vert[meshes.vertadr[meshid] + meshes.polyvert[adr + k]] - place
      length = wp.length(side)
      if length > 0.0 and -wp.dot(g, side) < least * length:
        least = -wp.dot(g, side) / length
        out.free = LINE
        out.line = side / length
  return out, place


@wp.func
def _on_border(
  edge: RoundEdge,
  pos: wp.vec3,
  half: float,
  corner: wp.vec3,
  facetype: int,
  facepos: wp.vec3,
  facerot: wp.mat33,
  facesize: wp.vec3,
  meshes: Meshes,
  meshid: int,
  face: Face,
  slack: float,
) -> RoundEdge:
  """The first witness point where it is on the border of the face.

  o says how far n_0 rises along the axis, but not to which end, and hardly if it is little: then
  the feature says it, which is nearest to the line of the axis beyond an end of the capsule.
  """
  out = edge
  a = edge.axis
  length = wp.length(edge.offset)
  rise = float(0.0)
  if edge.capsule and length < edge.radius - slack:
    rise = wp.sqrt(1.0 - length * length / (edge.radius * edge.radius))
  best = float(FAR)
  for k in range(2):
    end = float(0.0)
    n = edge.offset / length
    if rise > 0.0:
      end = 2.0 * float(k) - 1.0
      n = edge.offset / edge.radius + end * rise * a
    g = -wp.transpose(facerot) @ n
    feature, place = _furthest(facetype, facesize, meshes, meshid, face, g)
    feature.line = facerot @ feature.line
    feature.radius = facerot @ feature.radius @ wp.transpose(facerot)
    place = facepos + facerot @ place
    apart = place - pos - end * half * a
    miss = apart - wp.dot(apart, n) * n
    if rise == 0.0:
      miss -= wp.dot(miss, a) * a
    if feature.free == LINE and wp.length(miss) < 10.0 * slack:
      feature.free = POINT  # of the side that is all but normal to n, only the vertex touches
      feature.line = wp.vec3()
    miss -= wp.dot(miss, feature.line) * feature.line
    if wp.length(miss) < best:
      best = wp.length(miss)
      out.cap = end
      out.normal = n
      out.feature = feature
      out.place = place
  e = out.feature.line
  apart = out.place - pos
  c = wp.dot(a, e)
  along = wp.dot(apart, a - c * e) / (1.0 - c * c)
  if edge.capsule and wp.abs(along) > half and out.cap == 0.0:
    out.cap = wp.sign(along)
  if out.cap != 0.0 and facetype != CYLINDER:
    apart -= out.cap * half * a
    apart -= wp.dot(apart, e) * e
    out.normal = wp.sign(wp.dot(apart, out.normal)) * wp.normalize(apart)
  n = out.normal
  out.surface.radius = edge.radius * (wp.identity(n=3, dtype=float) - wp.outer(n, n))
  if out.cap == 0.0:
    out.surface.free = LINE
    out.surface.line = a
  else:
    along = out.cap * half
  first = pos + along * a + edge.radius * n
  out.place -= wp.dot(out.place - first, e) * e
  out.back = first - corner
  out.gap = wp.dot(n, out.place - first)
  return out


@wp.func
def round_edge(
  geomtype: int,
  pos: wp.vec3,
  rot: wp.mat33,
  size: wp.vec3,
  x: wp.vec3,
  facetype: int,
  facepos: wp.vec3,
  facerot: wp.mat33,
  facesize: wp.vec3,
  meshes: Meshes,
  meshid: int,
  face: Face,
  margin: float,
  slack: float,
) -> RoundEdge:
  """What a corner x, in the frame of the capsule or cylinder, is a corner of."""
  out = RoundEdge()
  axis = wp.vec3(0.0, 0.0, 1.0)
  b = -wp.transpose(rot) @ (facerot @ face.normal)
  across = wp.normalize(wp.vec3(b[0], b[1], 0.0))
  out.swelling = _swelling(geomtype, margin)
  found = x + out.swelling * b
  offset = wp.vec3(found[0], found[1], 0.0)
  rho = size[0] + out.swelling
  out.radius = rho
  out.capsule = geomtype == CAPSULE
  if wp.abs(found[2]) > size[1] - slack:
    out.end = wp.sign(found[2])
  flat = rho * across
  if out.capsule:
    flat = rho * wp.vec3(b[0], b[1], 0.0)
  out.on_face = wp.length(offset - flat) < 2.0 * slack
  if out.on_face:
    offset = flat
  out.axis = rot @ axis
  out.offset = rot @ offset
  if not out.on_face:
    corner = pos + rot @ x
    out = _on_border(
      out, pos, size[1], corner, facetype, facepos, facerot, facesize, meshes, meshid, face, slack
    )
  return out


@wp.func
def round_edge_objective(
  u_edge: wp.vec3,
  o_edge: wp.vec3,
  u_face: wp.vec3,
  o_face: wp.vec3,
  u_feature: wp.vec3,
  o_feature: wp.vec3,
  u_line: wp.vec3,
  u_cap: wp.vec3,
  r: float,
  m: wp.vec3,
  edge: RoundEdge,
  plane: wp.vec3,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_m: wp.vec3,
) -> wp.float32:
  """Linear in the velocities; those of the line and of the cap are relative to their body.

  A face and its feature turn alike, but where the geom is deformed.
  """
  a = edge.axis
  dm = wp.cross(o_face, m)
  bent = wp.cross(o_edge, m) - dm
  if not edge.on_face:
    n = edge.normal
    apart = u_feature - u_edge - wp.cross(o_edge, edge.back) - u_cap
    turn1 = wp.cross(o_edge, n)
    turn2 = wp.cross(o_feature, n)
    tangent = wp.normalize(wp.cross(n, a))
    frame = wp.matrix_from_rows(n, tangent, wp.cross(n, tangent))
    dn = normal_motion(edge.gap, frame, edge.surface, edge.feature, apart, turn1, turn2)
    bent = dn - turn1
  moved = edge.radius * (bent - wp.dot(a, bent) * a)
  if edge.on_face and not edge.capsule:
    side = wp.normalize(wp.cross(a, edge.offset))
    moved = (edge.radius * wp.dot(side, bent) / wp.length(wp.cross(a, m))) * side
  dv = u_edge + u_line + moved + edge.swelling * (dm - wp.cross(o_edge, m))
  if edge.end == 0.0:
    dv = corner_motion(dv, u_face, a, plane)
  dr = wp.dot(m, dv - u_face)
  point = dv - 0.5 * (dr * m + r * dm)
  return adj_dist * dr + wp.dot(adj_point, point) + wp.dot(adj_m, dm)


@wp.func
def round_edge_vjp(
  geomtype: int,
  pos: wp.vec3,
  rot: wp.mat33,
  size: wp.vec3,
  facetype: int,
  facepos: wp.vec3,
  facerot: wp.mat33,
  facesize: wp.vec3,
  meshes: Meshes,
  meshid: int,
  face: Face,
  slack: float,
  dist: float,
  point: wp.vec3,
  margin: float,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_m: wp.vec3,
):
  """Cotangents of a capsule or cylinder and of the geom with the face, in this order."""
  m = facerot @ face.normal
  corner = point + 0.5 * dist * m
  foot = wp.transpose(facerot) @ (point - 0.5 * dist * m - facepos)
  x = wp.transpose(rot) @ (corner - pos)
  edge = round_edge(
    geomtype,
    pos,
    rot,
    size,
    x,
    facetype,
    facepos,
    facerot,
    facesize,
    meshes,
    meshid,
    face,
    margin,
    slack,
  )
  border = border_near(facetype, facerot, facesize, meshes, meshid, face, foot)
  zero = wp.vec3()
  (
    adj_u1,
    adj_o1,
    adj_u2,
    adj_o2,
    adj_u3,
    adj_o3,
    adj_line,
    adj_cap,
    _r,
    _m,
    _e,
    _p,
    _d,
    _q,
    _n,
  ) = wp.grad(round_edge_objective)(
    zero,
    zero,
    zero,
    zero,
    zero,
    zero,
    zero,
    zero,
    dist,
    m,
    edge,
    border.side,
    adj_dist,
    adj_point,
    adj_m,
  )
  geom = GeomAdjoint()
  geom.force = adj_u1
  geom.torque = adj_o1 + wp.cross(corner - pos, adj_u1)
  geom.size[0] = wp.dot(edge.offset, adj_line) / edge.radius
  if edge.capsule:
    geom.margin = 0.5 * (geom.size[0] + wp.dot(m, adj_line))
  geom.size[1] = wp.dot(edge.axis, edge.end * adj_line + edge.cap * adj_cap)
  other = GeomAdjoint()
  other.force = adj_u2 + adj_u3
  other.torque = adj_o2 + adj_o3 + wp.cross(corner - facepos, adj_u2)
  other.torque += wp.cross(edge.place - facepos, adj_u3)
  place = wp.transpose(facerot) @ (edge.place - facepos)
  other.size = wp.transpose(scaled(facetype, facerot, facesize, foot)) @ adj_u2
  other.size += wp.transpose(scaled(facetype, facerot, facesize, place)) @ adj_u3
  other.stretch = stretch(adj_u2, adj_o2, corner - facepos, m)
  other.stretch += stretch(adj_u3, adj_o3, edge.place - facepos, edge.normal)
  return geom, other
