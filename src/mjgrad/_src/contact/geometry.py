"""From the cotangent of a contact's point, frame and distance to wrenches on its two geoms.

| pair | what is differentiated | held fixed |
| --- | --- | --- |
| planes, spheres, capsules | closed forms (contact/round.py) | nearest end or interior point |
| plane and box or mesh | a vertex against a plane | which vertex touches |
| plane and ellipsoid | the support point, a closed form | nothing |

The result for each geom is a force at its centre, a torque and the cotangent of its size.

Source: MuJoCo documentation, Computation, "Collision"; docs/derivation.md, "Contact geometry".
"""

import mujoco
import warp as wp

from mjgrad._src.contact.round import CAPSULE
from mjgrad._src.contact.round import PLANE
from mjgrad._src.contact.round import SPHERE
from mjgrad._src.contact.round import capsule_capsule_objective
from mjgrad._src.contact.round import contact_objective
from mjgrad._src.contact.round import plane_capsule_objective
from mjgrad._src.contact.round import plane_sphere_objective
from mjgrad._src.contact.round import sphere_capsule_objective
from mjgrad._src.contact.round import sphere_sphere_objective
from mjgrad._src.engine.adapter import make_frame
from mjgrad._src.engine.adapter import plane_ellipsoid
from mjgrad._src.rotation import matrix_torque

wp.set_module_options({"enable_backward": False})

ELLIPSOID = wp.constant(int(mujoco.mjtGeom.mjGEOM_ELLIPSOID))
BOX = wp.constant(int(mujoco.mjtGeom.mjGEOM_BOX))
MESH = wp.constant(int(mujoco.mjtGeom.mjGEOM_MESH))

GEOM_PAIRS = frozenset(
  (int(a), int(b))
  for a, b in (
    (PLANE, SPHERE),
    (PLANE, CAPSULE),
    (PLANE, ELLIPSOID),
    (PLANE, BOX),
    (PLANE, MESH),
    (SPHERE, SPHERE),
    (SPHERE, CAPSULE),
    (CAPSULE, CAPSULE),
  )
)
"""Pairs of geom types, in the engine's order, whose contacts have gradients."""


@wp.struct
class GeomAdjoint:
  """Cotangents of one geom: force at its centre, torque, size [m]."""

  force: wp.vec3
  torque: wp.vec3
  size: wp.vec3


@wp.func
def _axis(rot: wp.mat33) -> wp.vec3:
  """Third axis of a geom: normal of a plane, direction of a capsule."""
  return wp.vec3(rot[0, 2], rot[1, 2], rot[2, 2])


@wp.func
def vertex_plane_objective(
  pos1: wp.vec3,
  axis1: wp.vec3,
  vertex: wp.vec3,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_frame: wp.mat33,
) -> wp.float32:
  """A vertex of the second geom, in the world, against a plane."""
  dist = wp.dot(axis1, vertex - pos1)
  point = vertex - 0.5 * dist * axis1
  return contact_objective(dist, point, make_frame(axis1), adj_dist, adj_point, adj_frame)


@wp.func
def plane_ellipsoid_objective(
  pos1: wp.vec3,
  axis1: wp.vec3,
  pos2: wp.vec3,
  rot2: wp.mat33,
  size2: wp.vec3,
  adj_dist: float,
  adj_point: wp.vec3,
  adj_frame: wp.mat33,
) -> wp.float32:
  """The support point of an ellipsoid against a plane."""
  dist, point, normal = plane_ellipsoid(axis1, pos1, pos2, rot2, size2)
  return contact_objective(dist, point, make_frame(normal), adj_dist, adj_point, adj_frame)


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
  dist: float,
  point: wp.vec3,
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
    dist: the contact's distance [m].
    point: the contact's point [m].
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
  elif type1 == PLANE and type2 == ELLIPSOID:
    adj_pos1, adj_axis1, adj_pos2, adj_rot2, adj_size2, _d, _p, _f = wp.grad(
      plane_ellipsoid_objective
    )(pos1, axis1, pos2, rot2, size2, adj_dist, adj_point, adj_frame)
    geom1.force = adj_pos1
    geom1.torque = wp.cross(axis1, adj_axis1)
    geom2.force = adj_pos2
    geom2.torque = matrix_torque(rot2, adj_rot2)
    geom2.size = adj_size2
  elif type1 == PLANE and (type2 == BOX or type2 == MESH):
    vertex = point + 0.5 * dist * axis1
    adj_pos1, adj_axis1, adj_vertex, _d, _p, _f = wp.grad(vertex_plane_objective)(
      pos1, axis1, vertex, adj_dist, adj_point, adj_frame
    )
    geom1.force = adj_pos1
    geom1.torque = wp.cross(axis1, adj_axis1)
    geom2.force = adj_vertex
    geom2.torque = wp.cross(vertex - pos2, adj_vertex)
    if type2 == BOX:
      local = wp.transpose(rot2) @ adj_vertex
      for k in range(3):
        geom2.size[k] = local[k] * wp.where((index & (1 << k)) != 0, 1.0, -1.0)
  elif type1 == SPHERE and type2 == SPHERE:
    adj_pos1, adj_size1, adj_pos2, adj_size2, _d, _p, _f = wp.grad(sphere_sphere_objective)(
      pos1, size1, pos2, size2, adj_dist, adj_point, adj_frame
    )
    geom1.force = adj_pos1
    geom1.size = adj_size1
    geom2.force = adj_pos2
    geom2.size = adj_size2
  elif type1 == SPHERE and type2 == CAPSULE:
    adj_pos1, adj_size1, adj_pos2, adj_axis2, adj_size2, _d, _p, _f = wp.grad(
      sphere_capsule_objective
    )(pos1, size1, pos2, axis2, size2, adj_dist, adj_point, adj_frame)
    geom1.force = adj_pos1
    geom1.size = adj_size1
    geom2.force = adj_pos2
    geom2.torque = wp.cross(axis2, adj_axis2)
    geom2.size = adj_size2
  elif type1 == CAPSULE and type2 == CAPSULE:
    adj_pos1, adj_axis1, adj_size1, adj_pos2, adj_axis2, adj_size2, _i, _d, _p, _f = wp.grad(
      capsule_capsule_objective
    )(pos1, axis1, size1, pos2, axis2, size2, index, adj_dist, adj_point, adj_frame)
    geom1.force = adj_pos1
    geom1.torque = wp.cross(axis1, adj_axis1)
    geom1.size = adj_size1
    geom2.force = adj_pos2
    geom2.torque = wp.cross(axis2, adj_axis2)
    geom2.size = adj_size2
  return geom1, geom2
