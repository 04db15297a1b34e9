"""Where a tendon touches a sphere or cylinder: the derivative of its two touching points.

In the plane of the path, with normal N, let the sites be at distances d0, d1 from the centre in the
directions e0, e1, and s = +-1 the sense in which the path turns about N. With r the radius, a path
around the outside touches at

    t0 = r (cos a0 e0 + s sin a0 N x e0),    cos a0 = r / d0
    t1 = r (cos a1 e1 - s sin a1 N x e1),    cos a1 = r / d1

and a path that is held inside touches at one point, where both segments make the same angle psi
with the outward normal,

    t0 = t1 = r (cos g e0 + s sin g N x e0),    g = psi - asin(A sin psi),
    F = asin(A sin psi) + asin(B sin psi) - 2 psi + G = 0,    A = r / d0,  B = r / d1

with G the angle between e0 and e1; one Newton step from its value gives psi to first order.

N is fixed in the geom: the axis of a cylinder, or the normal of the plane through the centre of a
sphere and the sites as they are. What is left are the heights of the touching points over this
plane, given those of the sites, z0 and z1, and the lengths l0, l1 of the segments in the plane:

    cylinder         h = z0 + x (z1 - z0) / (l0 + arc + l1), x = l0 or l0 + arc: unrolled, a line
    sphere, outside  h = a z0 / d0 + b z1 / d1, t = a e0 + b e1: the plane turns with the sites
    sphere, inside   h = (z0 / l0 + z1 / l1) / (1 / l0 + 1 / l1 + 2 cos psi / r): the shortest path

An outside path whose sites are in line with the centre of a sphere has no derivative; each touching
point then follows its own site. Square roots have a floor at their ends, where a site lies on the
surface, so that everything stays finite.

Held fixed: whether the path touches, on which side, and whether it is inside. The side site enters
only through these.

Source: MuJoCo documentation, Modeling, "Tendons"; the touching points of the engine's `wrap`.
"""

import warp as wp

wp.set_module_options({"enable_backward": False})

END = wp.constant(1e-10)
"""Floor of squared sines, at whose zero an angle has no derivative."""
COLLINEAR = wp.constant(1e-6)
"""Sine between the directions of the sites below which they do not span a plane."""
TURN = wp.constant(-1e-6)
"""A turn more negative than this has passed half a revolution; rounding is not."""


@wp.struct
class Touch:
  """The path at a frozen configuration.

  Attributes:
    cylinder: cylinder or sphere
    inside: held inside or outside
    sense: +1 or -1, the sense of the turn about the normal of the plane
    psi: angle at an inside touching point [rad]
  """

  cylinder: bool
  inside: bool
  sense: float
  psi: float


@wp.struct
class WrapAdjoint:
  """Cotangents of the two sites, in the axes in which those of the points were given."""

  x0: wp.vec3
  x1: wp.vec3
  radius: float


@wp.func
def _flat(p: wp.vec3, normal: wp.vec3) -> wp.vec3:
  return p - wp.dot(normal, p) * normal


@wp.func
def plane_normal(p0: wp.vec3, p1: wp.vec3, cylinder: bool) -> wp.vec3:
  """Normal of the plane of the path; any that contains p0 where the sites do not span one."""
  out = wp.vec3(0.0, 0.0, 1.0)
  if not cylinder:
    c = wp.cross(p0, p1)
    if wp.length(c) > COLLINEAR * wp.length(p0) * wp.length(p1):
      out = wp.normalize(c)
    else:
      axis = wp.vec3(1.0, 0.0, 0.0)
      if wp.abs(p0[0]) > wp.abs(p0[1]):
        axis = wp.vec3(0.0, 1.0, 0.0)
      out = wp.normalize(wp.cross(p0, axis))
  return out


@wp.func
def _arc_sine(x: float) -> float:
  return wp.atan2(x, wp.sqrt(wp.max(1.0 - x * x, END)))


@wp.func
def _turn(normal: wp.vec3, e0: wp.vec3, e1: wp.vec3, sense: float) -> float:
  """Angle from e0 to e1 in the given sense, in [0, 2 pi)."""
  angle = sense * wp.atan2(wp.dot(normal, wp.cross(e0, e1)), wp.dot(e0, e1))
  if angle < TURN:
    angle = angle + 2.0 * wp.pi
  return angle


@wp.func
def _newton_slope(a: float, b: float, psi: float) -> float:
  """dF / dpsi, which is negative for sites outside the circle."""
  z = wp.sin(psi)
  slope = a / wp.sqrt(wp.max(1.0 - a * a * z * z, END))
  slope = slope + b / wp.sqrt(wp.max(1.0 - b * b * z * z, END))
  return wp.min(wp.cos(psi) * slope - 2.0, -1.0e-6)


@wp.func
def _height(
  t: wp.vec3, own: wp.vec2, z0: float, z1: float, q0: wp.vec3, q1: wp.vec3, normal: wp.vec3
) -> float:
  """Height of t when the plane through the centre turns with the sites; `own` marks t's site."""
  span = wp.dot(normal, wp.cross(q0, q1))
  height = float(0.0)
  if wp.abs(span) > COLLINEAR * wp.length(q0) * wp.length(q1):
    a = wp.dot(normal, wp.cross(t, q1)) / span
    b = wp.dot(normal, wp.cross(q0, t)) / span
    height = a * z0 + b * z1
  else:
    height = z0 * own[0] * wp.dot(t, q0) / wp.dot(q0, q0)
    height = height + z1 * own[1] * wp.dot(t, q1) / wp.dot(q1, q1)
  return height


@wp.func
def touching_term(
  p0: wp.vec3,
  p1: wp.vec3,
  radius: float,
  touch: Touch,
  normal: wp.vec3,
  adj0: wp.vec3,
  adj1: wp.vec3,
) -> wp.float32:
  """adj0 . t0 + adj1 . t1, with everything in the frame of the geom.

  Calls functions that call no others: where one of those has run forward in the same module before,
  Warp 1.19 leaves the adjoints of what it calls empty.
  """
  z0 = wp.dot(normal, p0)
  z1 = wp.dot(normal, p1)
  q0 = _flat(p0, normal)
  q1 = _flat(p1, normal)
  d0 = wp.length(q0)
  d1 = wp.length(q1)
  e0 = q0 / d0
  e1 = q1 / d1
  turn = _turn(normal, e0, e1, touch.sense)
  a = radius / d0
  b = radius / d1

  t0 = wp.vec3()
  t1 = wp.vec3()
  l0 = float(0.0)
  l1 = float(0.0)
  arc = float(0.0)
  if touch.inside:
    f = _arc_sine(a * wp.sin(touch.psi)) + _arc_sine(b * wp.sin(touch.psi)) - 2.0 * touch.psi + turn
    psi = touch.psi - f / _newton_slope(a, b, touch.psi)
    g = psi - _arc_sine(a * wp.sin(psi))
    t0 = radius * (wp.cos(g) * e0 + touch.sense * wp.sin(g) * wp.cross(normal, e0))
    t1 = t0
    l0 = wp.length(q0 - t0)
    l1 = wp.length(q1 - t0)
  else:
    s0 = wp.sqrt(wp.max((1.0 - a) * (1.0 + a), END))
    s1 = wp.sqrt(wp.max((1.0 - b) * (1.0 + b), END))
    t0 = radius * (a * e0 + touch.sense * s0 * wp.cross(normal, e0))
    t1 = radius * (b * e1 - touch.sense * s1 * wp.cross(normal, e1))
    l0 = d0 * s0
    l1 = d1 * s1
    arc = radius * wp.max(turn - wp.atan2(s0, a) - wp.atan2(s1, b), 0.0)

  h0 = float(0.0)
  h1 = float(0.0)
  if touch.cylinder:
    rise = (z1 - z0) / wp.max(l0 + arc + l1, END)
    h0 = z0 + rise * l0
    h1 = z0 + rise * (l0 + arc)
  elif touch.inside:
    pull = 1.0 / l0 + 1.0 / l1 + 2.0 * wp.cos(touch.psi) / radius
    h0 = (z0 / l0 + z1 / l1) / pull
    h1 = h0
  else:
    h0 = _height(t0, wp.vec2(1.0, 0.0), z0, z1, q0, q1, normal)
    h1 = _height(t1, wp.vec2(0.0, 1.0), z0, z1, q0, q1, normal)
  return wp.dot(adj0, t0 + h0 * normal) + wp.dot(adj1, t1 + h1 * normal)


@wp.func
def touch_of(
  p0: wp.vec3,
  p1: wp.vec3,
  t0: wp.vec3,
  t1: wp.vec3,
  cylinder: bool,
  inside: bool,
  normal: wp.vec3,
) -> Touch:
  """Reads the frozen choices from the touching points that the engine found."""
  touch = Touch()
  touch.cylinder = cylinder
  touch.inside = inside
  q0 = _flat(p0, normal)
  c0 = _flat(t0, normal)
  touch.sense = 1.0
  if wp.dot(normal, wp.cross(q0, c0) + wp.cross(_flat(t1, normal), _flat(p1, normal))) < 0.0:
    touch.sense = -1.0
  touch.psi = wp.atan2(wp.length(wp.cross(c0, q0 - c0)), wp.dot(c0, q0 - c0))
  return touch


@wp.func
def length_slope(p0: wp.vec3, p1: wp.vec3, radius: float, touch: Touch, normal: wp.vec3) -> float:
  """dL / dr of the path, which is the shortest: it does not matter where it touches."""
  q0 = _flat(p0, normal)
  q1 = _flat(p1, normal)
  d0 = wp.length(q0)
  d1 = wp.length(q1)
  slope = float(0.0)
  flat = float(0.0)
  if touch.inside:
    # Law of cosines, with the angle pi - psi at the touching point.
    cosine = wp.cos(touch.psi)
    sine = radius * wp.sin(touch.psi)
    slope = -2.0 * cosine
    flat = wp.sqrt(wp.max(d0 * d0 - sine * sine, 0.0)) + radius * slope
    flat += wp.sqrt(wp.max(d1 * d1 - sine * sine, 0.0))
  else:
    a0 = wp.acos(wp.min(radius / d0, 1.0))
    a1 = wp.acos(wp.min(radius / d1, 1.0))
    slope = wp.max(_turn(normal, q0 / d0, q1 / d1, touch.sense) - a0 - a1, 0.0)
    flat = d0 * wp.sin(a0) + d1 * wp.sin(a1) + radius * slope
  height = wp.dot(normal, p1 - p0)
  return slope * flat / wp.max(wp.sqrt(flat * flat + height * height), END)


@wp.func
def turning(torque: wp.vec3, mat: wp.mat33, cylinder: bool) -> wp.vec3:
  """What a torque on the geom works on: not on turning a sphere, nor a cylinder about its axis.

  There the torques of all forces cancel, in float32 up to rounding.
  """
  out = wp.vec3(0.0)
  if cylinder:
    out = _flat(torque, mat @ wp.vec3(0.0, 0.0, 1.0))
  return out


@wp.func
def touching_vjp(
  x0: wp.vec3,
  x1: wp.vec3,
  pos: wp.vec3,
  mat: wp.mat33,
  radius: float,
  cylinder: bool,
  inside: bool,
  t0: wp.vec3,
  t1: wp.vec3,
  adj_t0: wp.vec3,
  adj_t1: wp.vec3,
  adj_length: float,
) -> WrapAdjoint:
  """Pulls cotangents of the touching points back to the sites, all in the world.

  The path depends on the sites only through their positions in the frame of the geom; the geom
  therefore takes the balance of all these forces, see `terms/tendon_path.py`.

  Args:
    x0: first site [m]; likewise x1.
    x1: second site [m].
    pos: position of the geom [m].
    mat: rotation of the geom.
    radius: radius of the geom [m].
    cylinder: cylinder or sphere.
    inside: path held inside the geom.
    t0: touching point on the side of x0, from the engine [m]; likewise t1.
    t1: touching point on the side of x1.
    adj_t0: cotangent of t0.
    adj_t1: cotangent of t1.
    adj_length: cotangent of the length, of which only the radius receives its share here.
  """
  to_local = wp.transpose(mat)
  p0 = to_local @ (x0 - pos)
  p1 = to_local @ (x1 - pos)
  normal = plane_normal(p0, p1, cylinder)
  touch = touch_of(p0, p1, to_local @ (t0 - pos), to_local @ (t1 - pos), cylinder, inside, normal)
  adj_p0, adj_p1, adj_radius, _touch, _normal, _adj0, _adj1 = wp.grad(touching_term)(
    p0, p1, radius, touch, normal, to_local @ adj_t0, to_local @ adj_t1
  )
  adj = WrapAdjoint()
  adj.x0 = mat @ adj_p0
  adj.x1 = mat @ adj_p1
  adj.radius = adj_radius + adj_length * length_slope(p0, p1, radius, touch, normal)
  return adj
