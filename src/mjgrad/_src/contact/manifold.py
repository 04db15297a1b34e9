"""Contacts of a face with a face or with an edge, up to four at once.

Where two faces are within five degrees of each other, or an edge is within five degrees of a face,
the witness points of two convex geoms are not unique, and MuJoCo takes the corners of the overlap.
With outward normals n_1 and n_2 of two faces, a corner v of the overlap on face 2 and x_1 its
projection on face 1,

    a = n_1 . (v - x_1),  x_1 = v - a n_1,  r = -a n_1 . n_2,  n = -n_2,  point = x_1 - r n_2 / 2

and with an edge, v being on the edge, and a face with the outward normal m,

    r = m . (v - x_m),     point = v - r m / 2,     n = m if the face is of geom 1, else -m

A corner v is a vertex, or where a line e of body A meets a plane s of body B. With u the velocity
of the material of a body at v,

    dv = u_A + e s . (u_B - u_A) / (s . e)

| corner | line | plane |
| --- | --- | --- |
| vertex of face 2 | | |
| edge of face 2 over the border of face 1 | the edge | the border's, normal to face 1 |
| corner of face 1 under face 2 | through the corner along n_1 | face 2 |
| end of an edge | | |
| edge over the border of a face | the edge | the border's, normal to the face |

Held fixed: which corner it is, told apart by what v lies on most closely; of two faces, the three
kinds may blend (contact/smooth.py). Lines on the side of a capsule or cylinder:
contact/round_edge.py.

Source: docs/contacts.md; mujoco_warp's `multicontact` has the same geometry.
"""

import math

import warp as wp

from mjgrad._src.contact.surface import BOX
from mjgrad._src.contact.surface import CYLINDER
from mjgrad._src.contact.surface import MESH
from mjgrad._src.contact.surface import Meshes

wp.set_module_options({"enable_backward": False})

ALIGNED = wp.constant(math.cos(2e-3))
"""Cosine of the angle within which a contact's normal is that of a face, beyond rounding."""
FACING = wp.constant(math.cos(0.0889))
"""Cosine of the angle within which MuJoCo takes two faces as parallel."""
POLYGON = wp.constant(16)
"""Corners of the polygon that MuJoCo takes for the end of a cylinder."""
FAR = wp.constant(1e10)


@wp.struct
class Face:
  """A face of a geom, in the geom's frame.

  Attributes:
    id: which face: axis of a box, end of a cylinder, polygon of a mesh; -1 if there is none
    normal: its outward normal
    apart: distance of its plane from a point that should be on it, 0 within the slack [m]
  """

  id: int
  normal: wp.vec3
  apart: float


@wp.struct
class Border:
  """The two sides of a face's polygon that are nearest to a point.

  Attributes:
    near: distance from the nearest side [m]
    next: distance from the second nearest [m]
    side: outward normal of the nearest side's plane, in the world
    next_side: the same of the second nearest
  """

  near: float
  next: float
  side: wp.vec3
  next_side: wp.vec3


@wp.func
def facing(geomtype: int, meshes: Meshes, meshid: int, m: wp.vec3) -> Face:
  """The face of a geom whose outward normal is next to m, in the geom's frame."""
  face = Face()
  face.id = -1
  if geomtype == BOX:
    face.id = 0
    for k in range(1, 3):
      if wp.abs(m[k]) > wp.abs(m[face.id]):
        face.id = k
    face.normal[face.id] = wp.sign(m[face.id])
  elif geomtype == CYLINDER:
    face.id = 0
    face.normal[2] = wp.sign(m[2])
  elif geomtype == MESH:
    best = float(-1.0)
    for k in range(meshes.polyadr[meshid], meshes.polyadr[meshid] + meshes.polynum[meshid]):
      cosine = wp.dot(meshes.polynormal[k], m)
      if cosine > best:
        best = cosine
        face.id = k
        face.normal = meshes.polynormal[k]
  return face


@wp.func
def facing_through(
  geomtype: int, meshes: Meshes, meshid: int, m: wp.vec3, x: wp.vec3, slack: float
) -> Face:
  """As `facing`, among the faces within FACING of m in whose plane a point x lies.

  MuJoCo chooses among the faces around the deepest point, so it need not be the next to m. Where x
  lies on none of them within the slack, it is the nearest.
  """
  face = facing(geomtype, meshes, meshid, m)
  if geomtype == MESH:
    best = float(FAR)
    vertadr = meshes.vertadr[meshid]
    for k in range(meshes.polyadr[meshid], meshes.polyadr[meshid] + meshes.polynum[meshid]):
      normal = meshes.polynormal[k]
      corner = meshes.vert[vertadr + meshes.polyvert[meshes.polyvertadr[k]]]
      cosine = wp.dot(normal, m)
      apart = wp.abs(wp.dot(normal, x - corner))
      if apart <= slack:
        apart = -cosine
      if cosine > FACING and apart < best:
        best = apart
        face.id = k
        face.normal = normal
        face.apart = wp.max(apart, 0.0)
  return face


@wp.func
def _see(border: Border, distance: float, side: wp.vec3) -> Border:
  out = border
  if distance < out.near:
    out.next = out.near
    out.next_side = out.side
    out.near = distance
    out.side = side
  elif distance < out.next:
    out.next = distance
    out.next_side = side
  return out


@wp.func
def border_near(
  geomtype: int, rot: wp.mat33, size: wp.vec3, meshes: Meshes, meshid: int, face: Face, x: wp.vec3
) -> Border:
  """The sides of a face next to a point x of the geom's frame."""
  border = Border()
  border.near = FAR
  border.next = FAR
  if geomtype == BOX:
    for k in range(3):
      if k != face.id:
        side = wp.vec3()
        side[k] = wp.sign(x[k])
        border = _see(border, wp.abs(wp.abs(x[k]) - size[k]), side)
  elif geomtype == CYLINDER:
    for k in range(POLYGON):
      angle = (float(k) + 0.5) * wp.static(2.0 * math.pi / 16.0)
      side = wp.vec3(wp.cos(angle), wp.sin(angle), 0.0)
      offset = size[0] * wp.static(math.cos(math.pi / 16.0))
      border = _see(border, wp.abs(wp.dot(side, x) - offset), side)
  elif geomtype == MESH:
    vertadr = meshes.vertadr[meshid]
    first = meshes.polyvertadr[face.id]
    count = meshes.polyvertnum[face.id]
    for k in range(count):
      start = meshes.vert[vertadr + meshes.polyvert[first + k]]
      end = meshes.vert[vertadr + meshes.polyvert[first + (k + 1) % count]]
      side = wp.normalize(wp.cross(end - start, face.normal))
      border = _see(border, wp.abs(wp.dot(side, x - start)), side)
  border.side = rot @ border.side
  border.next_side = rot @ border.next_side
  return border


@wp.func
def corner_motion(u_line: wp.vec3, u_plane: wp.vec3, line: wp.vec3, plane: wp.vec3) -> wp.vec3:
  out = u_line
  if wp.dot(line, line) > 0.0:
    out = u_line + line * (wp.dot(plane, u_plane - u_line) / wp.dot(plane, line))
  return out


@wp.func
def faces_objective(
  u1: wp.vec3,
  o1: wp.vec3,
  u2: wp.vec3,
  o2: wp.vec3,
  r: float,
  n1: wp.vec3,
  n2: wp.vec3,
  first: bool,
  line: wp.vec3,
  plane: wp.vec3,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_normal: wp.vec3,
) -> wp.float32:
  """A corner of two faces; the line is of body 1 if `first`. Linear in the velocities."""
  dv = corner_motion(u2, u1, line, plane)
  if first:
    dv = corner_motion(u1, u2, line, plane)
  cosine = wp.dot(n1, n2)
  a = -r / cosine
  dn1 = wp.cross(o1, n1)
  dn2 = wp.cross(o2, n2)
  da = wp.dot(n1, dv - u1)
  dr = -da * cosine - a * (wp.dot(dn1, n2) + wp.dot(n1, dn2))
  point = dv - da * n1 - a * dn1 - 0.5 * (dr * n2 + r * dn2)
  return adj_dist * dr + wp.dot(adj_point, point) - wp.dot(adj_normal, dn2)


@wp.func
def edge_objective(
  u_edge: wp.vec3,
  u_face: wp.vec3,
  o_face: wp.vec3,
  r: float,
  m: wp.vec3,
  line: wp.vec3,
  plane: wp.vec3,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_m: wp.vec3,
) -> wp.float32:
  """A corner of an edge and a face with normal m. Linear in the velocities."""
  dm = wp.cross(o_face, m)
  dv = corner_motion(u_edge, u_face, line, plane)
  dr = wp.dot(m, dv - u_face)
  point = dv - 0.5 * (dr * m + r * dm)
  return adj_dist * dr + wp.dot(adj_point, point) + wp.dot(adj_m, dm)
