"""Up to four points of a cylinder on a plane.

With n the plane's normal, a the axis of the cylinder turned towards the plane, d the unit vector
from the axis to the plane across it, and e = d x a,

    slot 0      c + h a + r d                        the rim next to the plane
    slot 1      c - h a + r d                        the other end of the same side
    slots 2, 3  c + h a - r d / 2 +- r sqrt(3) / 2 e  an equilateral triangle with slot 0 on the end

and the contact is the point's projection halfway to the plane. d turns with the cylinder and the
plane; only when the two are aligned to 1e-6 rad it is held fixed, as the engine then takes a fixed
direction.

Held fixed: the end that is next to the plane.

Source: MuJoCo documentation, Computation, "Collision"; docs/contacts.md.
"""

import warp as wp

from mjgrad._src.contact.round import contact_objective
from mjgrad._src.engine.adapter import make_frame

wp.set_module_options({"enable_backward": False})

ALIGNED = wp.constant(1e-12)
"""Squared sine below which the engine takes a fixed direction for d."""
HALF_SQRT3 = wp.constant(0.8660254037844386)


@wp.func
def plane_cylinder_objective(
  pos1: wp.vec3,
  axis1: wp.vec3,
  pos2: wp.vec3,
  axis2: wp.vec3,
  size2: wp.vec3,
  index: int,
  turning: float,
  held: wp.vec3,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_frame: wp.mat33,
) -> wp.float32:
  """adj_dist dist + adj_point . point + adj_frame . frame of one slot.

  `held` is d, and `turning` how much of its turn counts, see contact/smooth.py.
  """
  towards = wp.where(wp.dot(axis1, axis2) > 0.0, -1.0, 1.0)
  axis = towards * axis2
  across = axis * wp.dot(axis, axis1) - axis1
  side = wp.vec3(1.0, 0.0, 0.0)
  if wp.dot(across, across) >= ALIGNED:
    side = held + turning * (wp.normalize(across) - held)
  along = size2[1] * axis
  radial = size2[0] * side
  if index == 1:
    along = -size2[1] * axis
  elif index >= 2:
    turn = wp.where(index == 2, HALF_SQRT3, -HALF_SQRT3)
    radial = size2[0] * (turn * wp.normalize(wp.cross(side, axis)) - 0.5 * side)
  corner = pos2 + along + radial
  dist = wp.dot(axis1, corner - pos1)
  point = corner - 0.5 * dist * axis1
  return contact_objective(dist, point, make_frame(axis1), adj_dist, adj_point, adj_frame)
