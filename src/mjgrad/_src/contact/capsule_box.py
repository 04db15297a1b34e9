"""Contacts of a capsule and a box: two spheres of the capsule, placed by rules.

MuJoCo collides with the box one or two spheres whose centres c + T a are on the capsule's axis. A
sphere touches the box with witness points (contact/witness.py); its centre moves with
dc + T da + dT a. In the frame of the box, y being the capsule's centre, a its direction and s the
size of the box,

    T = e h + w . (b - y) / (w . a) + 2 f . s / |f . a|

| place | e | w | b | f |
| --- | --- | --- | --- | --- |
| end of the capsule | +-1 | | | |
| nearest to a vertex | | a | vertex | |
| nearest to an edge along k | | a without component k | a vertex of it | |
| over the plane of a side k | | unit vector k | a vertex on it | |
| the width of the box further | that of the first sphere | | | +- unit vector k |

The first sphere is the point of the axis nearest to a side, over which an end lies, or to an edge.
The second is where the axis, away from that side or edge, leaves what is over the box:

| first sphere is nearest to | the second is |
| --- | --- |
| a side | an end, or over the plane of another side |
| inside of an edge | an end, over a side that the edge ends in, or the width of the box further |
| vertex | an end, or the width of the box further |

Held fixed: the place of each sphere, told apart by where the contact is, and the feature of the box
that a sphere touches.

Source: MuJoCo's `mjc_CapsuleBox`; docs/contacts.md.
"""

import warp as wp

from mjgrad._src.contact.geometry import GeomAdjoint
from mjgrad._src.contact.surface import BOX
from mjgrad._src.contact.surface import SPHERE
from mjgrad._src.contact.surface import TILT
from mjgrad._src.contact.surface import Meshes
from mjgrad._src.contact.surface import surface_at
from mjgrad._src.contact.surface import witness_slack
from mjgrad._src.contact.witness import witness_objective

wp.set_module_options({"enable_backward": False})

PARALLEL = wp.constant(1e-6)
"""Cosine below which an axis does not meet a plane, and sine below which it is along an edge."""
FAR = wp.constant(1e10)
INSIDE = wp.constant(-1)
VERTEX = wp.constant(-2)


@wp.struct
class Place:
  """Where on a capsule's axis a sphere is; see the module's table, components in the box's frame.

  Attributes:
    cost: how badly this place explains a contact [m]
    end: e
    across: 1 for the components of a that are in w
    plane: what is in w besides
    corner: signs of the components of b
    shift: f
  """

  cost: float
  end: float
  across: wp.vec3
  plane: wp.vec3
  corner: wp.vec3
  shift: wp.vec3


@wp.func
def along_axis(place: Place, y: wp.vec3, a: wp.vec3, half: float, size: wp.vec3) -> wp.float32:
  """T, the distance of a sphere's centre from that of the capsule [m]."""
  out = place.end * half
  if place.end == 0.0:
    w = wp.cw_mul(place.across, a) + place.plane
    out = wp.dot(w, wp.cw_mul(place.corner, size) - y) / wp.dot(w, a)
  if wp.length_sq(place.shift) > 0.0:
    out = out + 2.0 * wp.dot(place.shift, size) / wp.abs(wp.dot(place.shift, a))
  return out


@wp.func
def _end(sign: float, cost: float) -> Place:
  out = Place()
  out.end = sign
  out.cost = cost
  return out


@wp.func
def _over_side(
  best: Place, k: int, sign: float, y: wp.vec3, a: wp.vec3, size: wp.vec3, dist: float, seen: float
) -> Place:
  out = best
  if wp.abs(a[k]) > PARALLEL:
    cost = dist + wp.abs((sign * size[k] - y[k]) / a[k] - seen)
    if cost < best.cost:
      out = Place()
      out.cost = cost
      out.plane[k] = 1.0
      out.corner[k] = sign
  return out


@wp.func
def _further(
  best: Place, first: Place, t: float, k: int, a: wp.vec3, size: wp.vec3, seen: float
) -> Place:
  """The width of the box along k further than the first sphere, on either side."""
  out = best
  if wp.abs(a[k]) > PARALLEL:
    width = 2.0 * size[k] / wp.abs(a[k])
    cost = first.cost + wp.abs(wp.abs(seen - t) - width)
    if cost < best.cost:
      out = first
      out.cost = cost
      out.shift[k] = wp.sign(seen - t)
  return out


@wp.func
def _explain(
  best: Place,
  index: int,
  first: Place,
  t: float,
  near: int,
  y: wp.vec3,
  a: wp.vec3,
  half: float,
  size: wp.vec3,
  seen: float,
) -> Place:
  """The better of `best` and the places that the contact may have, given one of the first sphere.

  Args:
    best: the best place so far.
    index: 0 or 1, first or second sphere.
    first: place of the first sphere, its cost the distance from the box.
    t: its T [m].
    near: k if it is nearest to a side (0 to 2) or to an edge (3 to 5) along k; INSIDE, VERTEX.
    y: the capsule's centre in the box's frame [m].
    a: its direction.
    half: its half length [m].
    size: of the box [m].
    seen: T of the contact [m].
  """
  out = best
  if index == 0:
    cost = first.cost + wp.abs(t - seen)
    if cost < out.cost:
      out = first
      out.cost = cost
    return out
  if near == INSIDE:
    return out
  cost = first.cost + wp.abs(wp.abs(seen) - half)
  if cost < out.cost:
    out = _end(wp.sign(seen), cost)
  for k in range(3):
    side = (near >= 0 and near < 3 and near != k) or near == 3 + k
    if side:
      out = _over_side(out, k, -1.0, y, a, size, first.cost, seen)
      out = _over_side(out, k, 1.0, y, a, size, first.cost, seen)
    if near == VERTEX or (near >= 3 and near != 3 + k):
      out = _further(out, first, t, k, a, size, seen)
  return out


@wp.func
def _place(index: int, y: wp.vec3, a: wp.vec3, half: float, size: wp.vec3, seen: float) -> Place:
  """The place that explains a contact best: nearest to the box and to where the contact is."""
  best = Place()
  best.cost = FAR
  for side in range(2):
    sign = 2.0 * float(side) - 1.0
    tip = y + sign * half * a
    out = wp.vec3()
    count = int(0)
    near = INSIDE
    for k in range(3):
      if wp.abs(tip[k]) > size[k]:
        out[k] = wp.abs(tip[k]) - size[k]
        count += 1
        near = k
    if count <= 1:
      first = _end(sign, wp.length(out))
      best = _explain(best, index, first, sign * half, near, y, a, half, size, seen)
  for edge in range(12):
    j = edge // 4
    c = a[j]
    i = (j + 1) % 3
    k = (j + 2) % 3
    square = a[i] * a[i] + a[k] * a[k]
    if square > PARALLEL * PARALLEL:
      corner = wp.vec3()
      corner[i] = 2.0 * float(edge % 2) - 1.0
      corner[k] = 2.0 * float((edge // 2) % 2) - 1.0
      middle = wp.cw_mul(corner, size) - y
      # The nearest points of two segments, x along the edge. MuJoCo counts an edge as its vertex
      # where that was nearest to the line of the capsule, whatever is nearest to its end.
      near = 3 + j
      t = (middle[i] * a[i] + middle[k] * a[k]) / square
      x = t * c - middle[j]
      if wp.abs(x) > size[j]:
        x = wp.sign(x) * size[j]
        t = wp.dot(middle, a) + x * c
        near = VERTEX
      if wp.abs(t) > half:
        t = wp.sign(t) * half
        x = wp.clamp(t * c - middle[j], -size[j], size[j])
      first = Place()
      first.across = wp.vec3(1.0)
      first.corner = corner
      if wp.abs(x) == size[j]:
        near = VERTEX
        first.corner[j] = wp.sign(x)
      else:
        first.across[j] = 0.0
      if wp.abs(t) == half:
        first = _end(wp.sign(t), 0.0)
      middle[j] += x
      first.cost = wp.length(middle - t * a)
      best = _explain(best, index, first, t, near, y, a, half, size, seen)
  return best


@wp.func
def capsule_box_vjp(
  pos1: wp.vec3,
  rot1: wp.mat33,
  size1: wp.vec3,
  pos2: wp.vec3,
  rot2: wp.mat33,
  size2: wp.vec3,
  meshes: Meshes,
  index: int,
  dist: float,
  point: wp.vec3,
  frame: wp.mat33,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_normal: wp.vec3,
):
  """Cotangents of a capsule and a box, see contact/solid.py; index is 0 or 1."""
  n = frame[0]
  axis = wp.vec3(rot1[0, 2], rot1[1, 2], rot1[2, 2])
  apart = pos1 - pos2
  y = wp.transpose(rot2) @ apart
  a = wp.transpose(rot2) @ axis
  t = wp.dot(point - (size1[0] + 0.5 * dist) * n - pos1, axis)
  place = _place(index, y, a, size1[1], size2, t)

  zero = wp.vec3()
  arm2 = point + 0.5 * dist * n - pos2
  local2 = wp.transpose(rot2) @ arm2
  slack2 = witness_slack(local2, pos2, 0.0)
  surface1 = surface_at(SPHERE, rot1, size1, meshes, -1, zero, n, 0.0, TILT, BOX, False)
  surface2 = surface_at(BOX, rot2, size2, meshes, -1, local2, -n, slack2, TILT, SPHERE, False)
  adj_u1, _o1, adj_u2, adj_o2, _r, _f2, _s1, _s2, _d, _p, _n = wp.grad(witness_objective)(
    zero, zero, zero, zero, dist, frame, surface1, surface2, adj_dist, adj_point, adj_normal
  )
  _at, adj_y, adj_a, adj_half, adj_size = wp.grad(along_axis)(place, y, a, size1[1], size2)
  adj_t = wp.dot(axis, adj_u1)
  force = adj_t * (rot2 @ adj_y)
  turn = adj_t * wp.cross(axis, rot2 @ adj_a)
  geom1 = GeomAdjoint()
  geom2 = GeomAdjoint()
  geom1.force = adj_u1 + force
  geom1.torque = wp.cross(t * axis, adj_u1) + turn
  geom1.size = wp.vec3(wp.dot(n, adj_u1), adj_t * adj_half, 0.0)
  geom2.force = adj_u2 - force
  geom2.torque = adj_o2 + wp.cross(arm2, adj_u2) - turn - wp.cross(apart, force)
  geom2.size = wp.transpose(surface2.size) @ adj_u2 + adj_t * adj_size
  return geom1, geom2
