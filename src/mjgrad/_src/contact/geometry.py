"""From the cotangent of a contact's point, frame and distance to wrenches on its two geoms.

Planes, spheres and capsules, by differentiating their closed forms (contact/round.py), with the
nearest end or interior point of a segment held fixed, or blended (contact/smooth.py). The result
for each geom is a force at its centre, a torque and the cotangent of its size. Other geoms:
contact/solid.py.

Source: MuJoCo documentation, Computation, "Collision"; docs/contacts.md.
"""

import warp as wp

from mjgrad._src.contact.round import CAPSULE
from mjgrad._src.contact.round import PLANE
from mjgrad._src.contact.round import SPHERE
from mjgrad._src.contact.round import capsule_capsule_objective
from mjgrad._src.contact.round import plane_capsule_objective
from mjgrad._src.contact.round import plane_sphere_objective
from mjgrad._src.contact.round import sphere_capsule_objective
from mjgrad._src.contact.round import sphere_sphere_objective
from mjgrad._src.contact.smooth import is_smooth
from mjgrad._src.contact.smooth import smooth_vjp

wp.set_module_options({"enable_backward": False})

ROUND_PAIRS = frozenset(
  (int(a), int(b))
  for a, b in (
    (PLANE, SPHERE),
    (PLANE, CAPSULE),
    (SPHERE, SPHERE),
    (SPHERE, CAPSULE),
    (CAPSULE, CAPSULE),
  )
)
"""Pairs of geom types, in the engine's order, of which this file knows the gradient."""


@wp.struct
class GeomAdjoint:
  """Cotangents of one geom.

  Attributes:
    force: at its centre
    torque: about its centre
    size: of its size [m]
    margin: of the contact's margin [m]
    stretch: of the gradient of a motion of its surface, see contact/deformation.py
  """

  force: wp.vec3
  torque: wp.vec3
  size: wp.vec3
  margin: float
  stretch: wp.mat33


@wp.func
def _axis(rot: wp.mat33) -> wp.vec3:
  """Third axis of a geom: normal of a plane, direction of a capsule."""
  return wp.vec3(rot[0, 2], rot[1, 2], rot[2, 2])


@wp.func
def is_round_pair(type1: int, type2: int) -> bool:
  """Whether a pair, ordered by type, is in `ROUND_PAIRS`."""
  plane_or_sphere = type1 == PLANE or type1 == SPHERE
  return (plane_or_sphere or type1 == CAPSULE) and (type2 == SPHERE or type2 == CAPSULE)


@wp.func
def contact_geometry_vjp(
  type1: int,
  pos1: wp.vec3,
  rot1: wp.mat33,
  size1: wp.vec3,
  type2: int,
  pos2: wp.vec3,
  rot2: wp.mat33,
  size2: wp.vec3,
  index: int,
  softness: float,
  dist: float,
  point: wp.vec3,
  normal: wp.vec3,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_frame: wp.mat33,
):
  """Cotangents of both geoms of a pair, ordered by type as in the contact.

  Args:
    type1: type of the first geom.
    pos1: its centre [m].
    rot1: its rotation.
    size1: its size [m].
    type2: type of the second geom.
    pos2: its centre [m].
    rot2: its rotation.
    size2: its size [m].
    index: slot of the contact among those of the pair.
    softness: see `SmoothCollision` [m].
    dist: distance of the contact [m].
    point: its point [m].
    normal: of the contact.
    adj_dist: cotangent of the distance.
    adj_point: cotangent of the point.
    adj_frame: cotangent of the frame.

  Returns:
    The two `GeomAdjoint`.
  """
  geom1 = GeomAdjoint()
  geom2 = GeomAdjoint()
  axis1 = _axis(rot1)
  axis2 = _axis(rot2)
  if type1 == PLANE and type2 == SPHERE:
    adj_pos1, adj_axis1, adj_pos2, adj_size2, _d, _p, _f = wp.grad(plane_sphere_objective)(
      pos1, axis1, pos2, size2, adj_dist, adj_point, adj_frame
    )
    geom1.force = adj_pos1
    geom1.torque = wp.cross(axis1, adj_axis1)
    geom2.force = adj_pos2
    geom2.size = adj_size2
  elif type1 == PLANE and type2 == CAPSULE:
    adj_pos1, adj_axis1, adj_pos2, adj_axis2, adj_size2, _i, _d, _p, _f = wp.grad(
      plane_capsule_objective
    )(pos1, axis1, pos2, axis2, size2, index, adj_dist, adj_point, adj_frame)
    geom1.force = adj_pos1
    geom1.torque = wp.cross(axis1, adj_axis1)
    geom2.force = adj_pos2
    geom2.torque = wp.cross(axis2, adj_axis2)
    geom2.size = adj_size2
  elif type1 == SPHERE and type2 == SPHERE:
    adj_pos1, adj_size1, adj_pos2, adj_size2, _n, _d, _p, _f = wp.grad(sphere_sphere_objective)(
      pos1, size1, pos2, size2, normal, adj_dist, adj_point, adj_frame
    )
    geom1.force = adj_pos1
    geom1.size = adj_size1
    geom2.force = adj_pos2
    geom2.size = adj_size2
  elif is_smooth(type1, type2, axis1, axis2, softness):
    adj_pos1, adj_axis1, adj_size1, adj_pos2, adj_axis2, adj_size2 = smooth_vjp(
      type1,
      pos1,
      axis1,
      size1,
      pos2,
      axis2,
      size2,
      softness,
      dist,
      point,
      normal,
      adj_dist,
      adj_point,
      adj_frame,
    )
    geom1.force = adj_pos1
    geom1.torque = wp.cross(axis1, adj_axis1)
    geom1.size = adj_size1
    geom2.force = adj_pos2
    geom2.torque = wp.cross(axis2, adj_axis2)
    geom2.size = adj_size2
  elif type1 == SPHERE and type2 == CAPSULE:
    adj_pos1, adj_size1, adj_pos2, adj_axis2, adj_size2, _n, _d, _p, _f = wp.grad(
      sphere_capsule_objective
    )(pos1, size1, pos2, axis2, size2, normal, adj_dist, adj_point, adj_frame)
    geom1.force = adj_pos1
    geom1.size = adj_size1
    geom2.force = adj_pos2
    geom2.torque = wp.cross(axis2, adj_axis2)
    geom2.size = adj_size2
  elif type1 == CAPSULE and type2 == CAPSULE:
    adj_pos1, adj_axis1, adj_size1, adj_pos2, adj_axis2, adj_size2, _i, _n, _d, _p, _f = wp.grad(
      capsule_capsule_objective
    )(pos1, axis1, size1, pos2, axis2, size2, index, normal, adj_dist, adj_point, adj_frame)
    geom1.force = adj_pos1
    geom1.torque = wp.cross(axis1, adj_axis1)
    geom1.size = adj_size1
    geom2.force = adj_pos2
    geom2.torque = wp.cross(axis2, adj_axis2)
    geom2.size = adj_size2
  return geom1, geom2
