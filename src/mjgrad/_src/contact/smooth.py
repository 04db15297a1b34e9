"""Smooth collision: the choices of the collision detector blend in the backward pass.

Where a contact goes over from one feature to another, its point, frame and distance are continuous
and their derivatives jump. With weights w_k of the features that it may be on, which add up to one,

    d(geometry) = sum_k w_k d(geometry on feature k)

does not. The weights are functions of how far the features are from being chosen, in lengths of
`softness`, and are not differentiated, as in the derivative of a soft clip:

| contact | choice | weight |
| --- | --- | --- |
| sphere or capsule on a capsule | inside of the segment or end | sigmoid of the way to the end |
| cylinder standing on a plane | how much the points turn | a^2 / (a^2 + (softness / radius)^2) |
| corner of the overlap of two faces | vertex of one or crossing of sides | see contact/overlap.py |

a being the sine of the tilt, at most a thousandth where this matters.
A plane has one contact with every corner of a box, which opens and closes at its surface: there is
nothing to blend. Which four corners are kept of an overlap that has more jumps in the forward pass
itself, which a blend of their derivatives does not bridge: it is held fixed, as are the features of
other geoms.
The forward pass makes its choices as ever; with `softness` zero so does the backward pass.

Source: Paulus et al., Differentiable Simulation of Hard Contacts with Soft Gradients for Learning
and Control (2026), appendix C.1, has the idea, for the forward pass of MJX.
"""

import dataclasses

import warp as wp

from mjgrad._src.contact.round import CAPSULE
from mjgrad._src.contact.round import SPHERE
from mjgrad._src.contact.round import spheres
from mjgrad._src.errors import InvalidInput

wp.set_module_options({"enable_backward": False})

PARALLEL = wp.constant(1e-6)
"""Squared sine of the angle between two capsules below which their ends are chosen as ever."""


@dataclasses.dataclass(frozen=True)
class SmoothCollision:
  """Choices of the collision detector that blend, in the backward pass only.

  The forward pass is that of the model. The gradient is then not that of the forward pass near a
  switch of contact features, but it is continuous there; with `softness` zero it is exact. See
  docs/contacts.md for the pairs.

  Source: Paulus et al., Differentiable Simulation of Hard Contacts with Soft Gradients for Learning
  and Control (2026), appendix C.1.

  Raises:
    InvalidInput: a negative softness.
  """

  softness: float
  """Distance from a switch over which the two sides blend [m], at least 0."""

  def __post_init__(self):
    if not self.softness >= 0.0:
      raise InvalidInput(
        f"SmoothCollision: softness is {self.softness}; expected a length of at least 0."
      )


@wp.func
def inside_weight(along: float, half: float, softness: float) -> float:
  """Weight of the inside of a segment at a projection on its line."""
  return 1.0 / (1.0 + wp.exp((wp.abs(along) - half) / softness))


@wp.func
def turning_weight(sine: float, radius: float, softness: float) -> float:
  """How much of the turn of a standing cylinder's points counts."""
  soft = softness / radius
  weight = float(1.0)
  if soft > 0.0:
    weight = sine * sine / (sine * sine + soft * soft)
  return weight


@wp.func
def farther_weight(near: float, far: float, softness: float) -> float:
  """Weight of the farther of two features at these distances relative to that of the nearer."""
  weight = float(0.0)
  if softness > 0.0:
    weight = wp.exp((near - far) / softness)
  return weight


@wp.func
def smooth_capsules_objective(
  pos1: wp.vec3,
  axis1: wp.vec3,
  size1: wp.vec3,
  pos2: wp.vec3,
  axis2: wp.vec3,
  size2: wp.vec3,
  inside1: float,
  inside2: float,
  end1: float,
  end2: float,
  shift1: float,
  shift2: float,
  normal: wp.vec3,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_frame: wp.mat33,
) -> wp.float32:
  """Two capsules; `end` is the sign of an end, `shift` takes the blend to where the contact is."""
  offset = pos2 - pos1
  c = wp.dot(axis1, axis2)
  d1 = wp.dot(offset, axis1)
  d2 = wp.dot(offset, axis2)
  tip1 = end1 * size1[1]
  tip2 = end2 * size2[1]
  square = 1.0 - c * c
  both = inside1 * inside2
  first = (1.0 - inside1) * inside2
  second = inside1 * (1.0 - inside2)
  ends = (1.0 - inside1) * (1.0 - inside2)
  s = both * (d1 - c * d2) / square + (first + ends) * tip1 + second * (d1 + c * tip2) + shift1
  t = both * (c * d1 - d2) / square + (second + ends) * tip2 + first * (c * tip1 - d2) + shift2
  x1 = pos1 + s * axis1
  x2 = pos2 + t * axis2
  far = wp.length(pos1) + wp.length(pos2) + size1[1] + size2[1]
  return spheres(x1, size1[0], x2, size2[0], far, normal, adj_dist, adj_point, adj_frame)


@wp.func
def smooth_capsule_objective(
  pos1: wp.vec3,
  size1: wp.vec3,
  pos2: wp.vec3,
  axis2: wp.vec3,
  size2: wp.vec3,
  inside: float,
  end: float,
  shift: float,
  normal: wp.vec3,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_frame: wp.mat33,
) -> wp.float32:
  """A sphere and a capsule."""
  t = inside * wp.dot(pos1 - pos2, axis2) + (1.0 - inside) * end * size2[1] + shift
  x2 = pos2 + t * axis2
  far = wp.length(pos1) + wp.length(pos2) + size2[1]
  return spheres(pos1, size1[0], x2, size2[0], far, normal, adj_dist, adj_point, adj_frame)


@wp.func
def is_smooth(type1: int, type2: int, axis1: wp.vec3, axis2: wp.vec3, softness: float) -> bool:
  """Whether a pair of round geoms blends; two capsules only if they are not parallel."""
  crossed = wp.length_sq(wp.cross(axis1, axis2)) > PARALLEL
  out = type1 == SPHERE or (type1 == CAPSULE and crossed)
  return out and type2 == CAPSULE and softness > 0.0


@wp.func
def smooth_vjp(
  type1: int,
  pos1: wp.vec3,
  axis1: wp.vec3,
  size1: wp.vec3,
  pos2: wp.vec3,
  axis2: wp.vec3,
  size2: wp.vec3,
  softness: float,
  dist: float,
  point: wp.vec3,
  normal: wp.vec3,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_frame: wp.mat33,
):
  """Cotangents of centres, axes and sizes of a sphere or capsule and a capsule that touch."""
  offset = pos2 - pos1
  d1 = wp.dot(offset, axis1)
  d2 = wp.dot(offset, axis2)
  t = wp.dot(point + (0.5 * dist + size2[0]) * normal - pos2, axis2)
  if type1 == SPHERE:
    inside = inside_weight(d2, size2[1], softness)
    end = -wp.sign(d2)
    shift = t + inside * d2 - (1.0 - inside) * end * size2[1]
    f1, g1, f2, h2, g2, _iw, _ew, _sw, _nw, _dw, _pw, _fw = wp.grad(smooth_capsule_objective)(
      pos1, size1, pos2, axis2, size2, inside, end, shift, normal, adj_dist, adj_point, adj_frame
    )
    return f1, wp.vec3(), g1, f2, h2, g2
  s = wp.dot(point - (0.5 * dist + size1[0]) * normal - pos1, axis1)
  c = wp.dot(axis1, axis2)
  free1 = d1 + t * c
  free2 = s * c - d2
  inside1 = inside_weight(free1, size1[1], softness)
  inside2 = inside_weight(free2, size2[1], softness)
  tip1 = wp.sign(free1) * size1[1]
  tip2 = wp.sign(free2) * size2[1]
  both = inside1 * inside2 / (1.0 - c * c)
  first = (1.0 - inside1) * inside2
  second = inside1 * (1.0 - inside2)
  blend1 = both * (d1 - c * d2) + (1.0 - inside1) * tip1 + second * (d1 + c * tip2)
  blend2 = both * (c * d1 - d2) + (1.0 - inside2) * tip2 + first * (c * tip1 - d2)
  f1, h1, g1, f2, h2, g2, _i1, _i2, _e1, _e2, _s1, _s2, _n2, _d2, _p2, _f2 = wp.grad(
    smooth_capsules_objective
  )(
    pos1,
    axis1,
    size1,
    pos2,
    axis2,
    size2,
    inside1,
    inside2,
    wp.sign(free1),
    wp.sign(free2),
    s - blend1,
    t - blend2,
    normal,
    adj_dist,
    adj_point,
    adj_frame,
  )
  return f1, h1, g1, f2, h2, g2
