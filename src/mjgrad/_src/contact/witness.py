"""How a contact moves with its two geoms: the kinematics of two witness points.

Two convex bodies touch at the points where their outward normals are n and -n and that lie apart
along n alone, x_2 - x_1 = r n. Let u_i be the velocity of the material of body i at its witness
point and o_i its angular velocity. With radii of curvature R_i (contact/surface.py) the points move

    dx_1 = u_1 + R_1 (dn - o_1 x n) + s_1,      dx_2 = u_2 - R_2 (dn - o_2 x n) + s_2,

s_i being the free slide along a line or in a face. Differentiating x_2 - x_1 = r n,

    along n     dr = n . (u_2 - u_1)
    across n    (R_1 + R_2 + r) dn = [u_2 - u_1 + R_2 (o_2 x n) + R_1 (o_1 x n) + s_2 - s_1],

and where point i slides along e, or in a face, the normal is bound to the body:

    e . (dn - o_i x n) = 0,                     dn = o_i x n.

Nothing is assumed about the sign of r. The contact's point is the middle of the witness points.

Held fixed: the features. Where two lines are parallel or two faces meet, the witness points are
not unique: contact/manifold.py.

Source: docs/contacts.md; Montana, "The kinematics of contact and grasp", IJRR 7(3), 1988.
"""

import warp as wp

from mjgrad._src.contact.surface import FACE
from mjgrad._src.contact.surface import LINE
from mjgrad._src.contact.surface import POINT
from mjgrad._src.contact.surface import Surface

wp.set_module_options({"enable_backward": False})

PARALLEL = wp.constant(1e-6)
"""Sine of the angle between two lines below which they are parallel: there is no derivative, and
the division by zero is reported by terms/contact_solid.py."""


@wp.func
def _on_line(n: wp.vec3, e: wp.vec3, bound: wp.vec3, stiffness: wp.mat33, load: wp.vec3) -> wp.vec3:
  """dn where the normal is bound along e and free across."""
  t = wp.cross(n, e)
  along = wp.dot(e, bound)
  return (
    along * e + (wp.dot(t, load) - along * wp.dot(t, stiffness @ e)) / wp.dot(t, stiffness @ t) * t
  )


@wp.func
def normal_motion(
  r: float,
  frame: wp.mat33,
  surface1: Surface,
  surface2: Surface,
  apart: wp.vec3,
  turn1: wp.vec3,
  turn2: wp.vec3,
) -> wp.vec3:
  """dn; `apart` is u_2 - u_1 and `turn` is o x n."""
  n = frame[0]
  stiffness = surface1.radius + surface2.radius + r * wp.identity(n=3, dtype=float)
  load = apart + surface1.radius @ turn1 + surface2.radius @ turn2
  out = wp.vec3()
  if surface1.free == FACE:
    out = turn1
  elif surface2.free == FACE:
    out = turn2
  elif surface1.free == LINE and surface2.free == LINE:
    e1 = surface1.line
    e2 = surface2.line
    c = wp.dot(e1, e2)
    a1 = wp.dot(e1, turn1)
    a2 = wp.dot(e2, turn2)
    square = wp.length_sq(wp.cross(e1, e2))
    if square < PARALLEL * PARALLEL:
      square = 0.0
    out = ((a1 - c * a2) * e1 + (a2 - c * a1) * e2) / square
  elif surface1.free == LINE:
    out = _on_line(n, surface1.line, turn1, stiffness, load)
  elif surface2.free == LINE:
    out = _on_line(n, surface2.line, turn2, stiffness, load)
  else:
    t1 = frame[1]
    t2 = frame[2]
    a = wp.dot(t1, stiffness @ t1)
    b = wp.dot(t1, stiffness @ t2)
    d = wp.dot(t2, stiffness @ t2)
    f1 = wp.dot(t1, load)
    f2 = wp.dot(t2, load)
    out = ((d * f1 - b * f2) * t1 + (a * f2 - b * f1) * t2) / (a * d - b * b)
  return out


@wp.func
def witness_objective(
  u1: wp.vec3,
  o1: wp.vec3,
  u2: wp.vec3,
  o2: wp.vec3,
  r: float,
  frame: wp.mat33,
  surface1: Surface,
  surface2: Surface,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_normal: wp.vec3,
) -> wp.float32:
  """adj_dist dr + adj_point . d(point) + adj_normal . dn, linear in the velocities."""
  n = frame[0]
  apart = u2 - u1
  turn1 = wp.cross(o1, n)
  turn2 = wp.cross(o2, n)
  dr = wp.dot(n, apart)
  dn = normal_motion(r, frame, surface1, surface2, apart, turn1, turn2)
  x1 = u1 + surface1.radius @ (dn - turn1)
  x2 = u2 - surface2.radius @ (dn - turn2)
  separation = dr * n + r * dn
  point = x2 - 0.5 * separation
  if surface2.free != POINT:
    point = x1 + 0.5 * separation
  if surface1.free == LINE and surface2.free == LINE:
    t2 = wp.cross(n, surface2.line)
    slide = wp.dot(t2, x2 - x1 - r * dn) / wp.dot(t2, surface1.line)
    point = point + slide * surface1.line
  return adj_dist * dr + wp.dot(adj_point, point) + wp.dot(adj_normal, dn)
