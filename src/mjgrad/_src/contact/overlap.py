"""A corner of the overlap of two faces: a vertex of one, or where their sides cross.

The corner is, of what it lies on most closely, with the distances d of the corner,

    a vertex of face 1 or 2     d_1, d_2, from the second nearest side of the face
    a crossing of two sides     d_12, the larger of the distances from the two, which are among the
                                two nearest sides of each face and not parallel

and moves as contact/manifold.py says. When a vertex moves over a side of the other face, the corner
goes over to a crossing of this side and one of the two that meet at the vertex. With a softness s
these blend, see contact/smooth.py: the three kinds with weights exp(-d / s), and the crossings
with weights exp(-d_12 / s) times the squared sine of the angle between the sides. Without, the
closest has all the weight. Where two boxes are in line, a vertex of one is on a side of the other
that is parallel to its own: it counts as a vertex, which is the derivative from one side.

Held fixed: the weights; which corners of the overlap are contacts.

Source: docs/contacts.md.
"""

import warp as wp

from mjgrad._src.contact.manifold import FAR
from mjgrad._src.contact.manifold import Border
from mjgrad._src.contact.manifold import faces_objective
from mjgrad._src.contact.smooth import farther_weight

wp.set_module_options({"enable_backward": False})

NEGLIGIBLE = wp.constant(1e-7)
"""Weight below which a kind of corner is left out."""
PARALLEL = wp.constant(1e-10)
"""Squared sine of the angle between sides that float32 takes for parallel."""


@wp.func
def _kinds(vertex1: float, vertex2: float, crossing: float, softness: float) -> wp.vec3:
  """Weights of the kinds of corners at these distances; of equal ones the first counts."""
  least = wp.min(wp.min(vertex1, vertex2), crossing)
  out = wp.vec3(
    farther_weight(least, vertex1, softness),
    farther_weight(least, vertex2, softness),
    farther_weight(least, crossing, softness),
  )
  if softness == 0.0:
    if vertex2 <= least:
      out[1] = 1.0
    elif vertex1 <= least:
      out[0] = 1.0
    else:
      out[2] = 1.0
  return out / (out[0] + out[1] + out[2])


@wp.func
def _sines(border1: Border, border2: Border, n2: wp.vec3) -> wp.vec4:
  """Squared sines between the sides of two faces: near near, next near, near next, next next."""
  near = wp.cross(n2, border2.side)
  next = wp.cross(n2, border2.next_side)
  return wp.vec4(
    wp.pow(wp.dot(border1.side, near), 2.0),
    wp.pow(wp.dot(border1.next_side, near), 2.0),
    wp.pow(wp.dot(border1.side, next), 2.0),
    wp.pow(wp.dot(border1.next_side, next), 2.0),
  )


@wp.func
def _crossings(border1: Border, border2: Border, sines: wp.vec4) -> wp.vec4:
  """Distances of the corner from the crossings of these sides; parallel sides do not cross."""
  out = wp.vec4(
    wp.max(border1.near, border2.near),
    wp.max(border1.next, border2.near),
    wp.max(border1.near, border2.next),
    wp.max(border1.next, border2.next),
  )
  for k in range(4):
    if sines[k] < PARALLEL:
      out[k] = FAR
  return out


@wp.func
def _crossing_weights(distances: wp.vec4, sines: wp.vec4, softness: float) -> wp.vec4:
  """Weights of the crossings; without a softness, of equal ones the first counts."""
  least = wp.min(distances)
  out = wp.vec4()
  total = float(0.0)
  for k in range(4):
    if softness > 0.0:
      out[k] = sines[k] * farther_weight(least, distances[k], softness)
    elif total == 0.0 and distances[k] <= least:
      out[k] = 1.0
    total += out[k]
  return out / total


@wp.func
def corner_vjp(
  dist: float,
  n1: wp.vec3,
  n2: wp.vec3,
  border1: Border,
  border2: Border,
  softness: float,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_normal: wp.vec3,
):
  """Cotangents of the velocities of both materials at a corner, and of their turns.

  Args:
    dist: distance of the contact [m].
    n1: normal of the first face, in the world.
    n2: normal of the second.
    border1: sides of the first face next to the corner.
    border2: sides of the second.
    softness: see `SmoothCollision` [m].
    adj_dist: cotangent of the distance.
    adj_point: cotangent of the contact's point.
    adj_normal: cotangent of its normal.
  """
  zero = wp.vec3()
  adj_u1 = wp.vec3()
  adj_o1 = wp.vec3()
  adj_u2 = wp.vec3()
  adj_o2 = wp.vec3()
  sines = _sines(border1, border2, n2)
  distances = _crossings(border1, border2, sines)
  kinds = _kinds(border1.next, border2.next, wp.min(distances), softness)
  crossings = wp.vec4()
  if kinds[2] > 0.0:
    crossings = kinds[2] * _crossing_weights(distances, sines, softness)
  # In a loop that Warp does not unroll, so that there is one derivative to compile.
  corners = int(6)
  for k in range(corners):
    first = k == 0
    line = n1
    plane = n2
    weight = kinds[0]
    if k == 1:
      line = zero
      weight = kinds[1]
    elif k > 1:
      line = wp.cross(n2, wp.where(k < 4, border2.side, border2.next_side))
      plane = wp.where((k & 1) == 0, border1.side, border1.next_side)
      weight = crossings[k - 2]
    if not weight < NEGLIGIBLE:
      f1, t1, f2, t2, _r, _n1, _n2, _b, _l, _p, _d, _q, _n = wp.grad(faces_objective)(
        zero,
        zero,
        zero,
        zero,
        dist,
        n1,
        n2,
        first,
        line,
        plane,
        weight * adj_dist,
        weight * adj_point,
        weight * adj_normal,
      )
      adj_u1 += f1
      adj_o1 += t1
      adj_u2 += f2
      adj_o2 += t2
  return adj_u1, adj_o1, adj_u2, adj_o2
