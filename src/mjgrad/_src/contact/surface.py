"""The surface of a convex geom at a witness point.

A convex body touches with its support point x(m), m the outward normal. When m turns, the point
moves by the radii of curvature, a symmetric tensor of the tangent plane: dx = radius dm. It is zero
at a vertex. Along a straight line (an edge, the side of a cylinder or capsule) or on a face, where
it is infinite, m cannot turn against the body, and the point slides freely instead.

| feature | radius | slides |
| --- | --- | --- |
| vertex | 0 | |
| sphere, cap of a capsule | r on the tangent plane | |
| rim of a cylinder | r / cos(elevation of m) along the rim, 0 across | |
| ellipsoid, A = diag(size) | A^2 / L - (A^2 m)(A^2 m)^T / L^3, L = |A m| | |
| edge | 0 across | along the edge |
| side of a cylinder or capsule | r across | along the axis |
| face, plane, end of a cylinder | | in the plane |

A box or a mesh touches a plane with a vertex. Otherwise, which feature a witness point is on
follows from where it is: the faces of a box, polygons of a mesh or parts of a cylinder that it lies
on within `slack`; and from the normal, against which a direction of sliding is not inclined by more
than TILT. A normal equal to that of a face decides for the face, however close to its border the
point lies: against a geom that is round, and where two parallel faces have a manifold, so that this
geom alone is meant.

Source: docs/contacts.md; Montana, "The kinematics of contact and grasp", IJRR 7(3), 1988.
"""

import mujoco
import mujoco_warp as mjw
import warp as wp

wp.set_module_options({"enable_backward": False})

PLANE = wp.constant(int(mujoco.mjtGeom.mjGEOM_PLANE))
SPHERE = wp.constant(int(mujoco.mjtGeom.mjGEOM_SPHERE))
CAPSULE = wp.constant(int(mujoco.mjtGeom.mjGEOM_CAPSULE))
ELLIPSOID = wp.constant(int(mujoco.mjtGeom.mjGEOM_ELLIPSOID))
CYLINDER = wp.constant(int(mujoco.mjtGeom.mjGEOM_CYLINDER))
BOX = wp.constant(int(mujoco.mjtGeom.mjGEOM_BOX))
MESH = wp.constant(int(mujoco.mjtGeom.mjGEOM_MESH))

POINT = wp.constant(0)
LINE = wp.constant(1)
FACE = wp.constant(2)

TILT = wp.constant(0.02)
"""Sine of the error that the normal of an iterative collision detector may have, [rad]."""
FLAT_TILT = wp.constant(0.1)
"""The same on a face of the other geom, which MuJoCo takes as parallel within 0.089 rad."""
WIDENINGS = wp.constant(4)
"""How many times the slack at a mesh is widened tenfold to agree with the normal."""
SAME_NORMAL = wp.constant(1e-5)
"""Sine below which the contact normal is that of a face, [rad]."""
SAME_POLYGON = wp.constant(1e-3)
"""Sine below which two polygons of a mesh count as one face, [rad]."""
POSITION_ROUNDING = wp.constant(3e-7)
"""Rounding of a position in the world, relative."""
SURFACE_ROUNDING = wp.constant(3e-6)
"""Distance between a witness point and the features it is on, relative to its distance from the
centre of the geom."""


@wp.struct
class Surface:
  """A geom around a witness point, in the world.

  Attributes:
    free: POINT, LINE or FACE, the dimension in which the point slides
    line: direction in which it slides, if that is a line
    radius: radii of curvature [m], a tensor of the tangent plane
    size: column k is the motion of the witness point with size k, the normal being fixed
  """

  free: int
  line: wp.vec3
  radius: wp.mat33
  size: wp.mat33


@wp.struct
class Meshes:
  """Polygons of all meshes, see the fields of the same names of MjModel."""

  vertadr: wp.array[int]
  vertnum: wp.array[int]
  vert: wp.array[wp.vec3]
  polynum: wp.array[int]
  polyadr: wp.array[int]
  polynormal: wp.array[wp.vec3]
  polyvertadr: wp.array[int]
  polyvertnum: wp.array[int]
  polyvert: wp.array[int]


def meshes(model: mjw.Model) -> Meshes:
  """The polygons of a model's meshes."""
  out = Meshes()
  for name in Meshes.vars:
    setattr(out, name, getattr(model, "mesh_" + name))
  return out


@wp.func
def witness_slack(local: wp.vec3, pos: wp.vec3, tolerance: float) -> float:
  """How far a witness point may lie from its features, by rounding and the collision tolerance.

  Args:
    local: the witness point in the geom's frame [m].
    pos: centre of the geom in the world [m].
    tolerance: of the collision detector [m].
  """
  rounding = SURFACE_ROUNDING * wp.length(local) + POSITION_ROUNDING * wp.length(pos)
  return rounding + 5.0 * tolerance


@wp.func
def _across(line: wp.vec3, normal: wp.vec3, radius: float) -> wp.mat33:
  """A radius across a line on the surface."""
  side = wp.cross(normal, line)
  return radius * wp.outer(side, side)


@wp.func
def _tangent(normal: wp.vec3, radius: float) -> wp.mat33:
  """The same radius in all directions of the tangent plane."""
  return radius * (wp.identity(n=3, dtype=float) - wp.outer(normal, normal))


@wp.func
def _columns(a: wp.vec3, b: wp.vec3, c: wp.vec3) -> wp.mat33:
  return wp.mat33(a[0], b[0], c[0], a[1], b[1], c[1], a[2], b[2], c[2])


@wp.func
def _capsule(size: wp.vec3, x: wp.vec3, m: wp.vec3, slack: float, tilt: float) -> Surface:
  out = Surface()
  axis = wp.vec3(0.0, 0.0, 1.0)
  along = x[2] - size[0] * m[2]
  # An error of the normal moves `along` by as much as it inclines the side.
  inside = size[1] - wp.abs(along)
  if inside > wp.max(slack, size[0] * wp.abs(m[2])) and wp.abs(m[2]) < tilt:
    out.free = LINE
    out.line = axis
    out.radius = _across(axis, m, size[0])
    out.size = _columns(m, wp.vec3(), wp.vec3())
  else:
    out.radius = _tangent(m, size[0])
    out.size = _columns(m, wp.sign(along) * axis, wp.vec3())
  return out


@wp.func
def _ellipsoid(size: wp.vec3, m: wp.vec3) -> Surface:
  out = Surface()
  square = wp.cw_mul(size, size)
  q = wp.cw_mul(square, m)
  length = wp.sqrt(wp.dot(q, m))
  cube = length * length * length
  out.radius = wp.diag(square) / length - wp.outer(q, q) / cube
  moved = wp.cw_mul(size, wp.cw_mul(m, m)) / cube
  out.size = wp.diag(2.0 * wp.cw_mul(size, m)) / length - wp.outer(q, moved)
  return out


@wp.func
def _cylinder(
  size: wp.vec3, x: wp.vec3, m: wp.vec3, slack: float, tilt: float, round_other: bool
) -> Surface:
  out = Surface()
  axis = wp.vec3(0.0, 0.0, 1.0)
  end = wp.sign(x[2]) * axis
  across = wp.length(wp.vec2(m[0], m[1]))
  on_end = wp.abs(x[2]) > size[1] - slack or wp.abs(m[2]) > tilt
  on_side = wp.length(wp.vec2(x[0], x[1])) > size[0] - slack or across > tilt
  if on_end and on_side:
    on_side = across > SAME_NORMAL or not round_other
    on_end = wp.abs(m[2]) > SAME_NORMAL or not round_other
  if on_end and not on_side:
    out.free = FACE
    out.size = _columns(wp.vec3(), end, wp.vec3())
  else:
    outward = wp.vec3(m[0], m[1], 0.0) / across
    rim = wp.cross(axis, outward)
    out.radius = (size[0] / across) * wp.outer(rim, rim)
    out.size = _columns(outward, end, wp.vec3())
    if not on_end:
      out.free = LINE
      out.line = axis
      out.size = _columns(outward, wp.vec3(), wp.vec3())
  return out


@wp.func
def _box(
  size: wp.vec3, x: wp.vec3, m: wp.vec3, slack: float, tilt: float, flat_decides: bool
) -> Surface:
  out = Surface()
  touched = int(0)
  open = int(0)
  for k in range(3):
    near = wp.abs(x[k]) > size[k] - wp.min(slack, 0.5 * size[k]) or wp.abs(m[k]) > tilt
    across = wp.vec2(m[(k + 1) % 3], m[(k + 2) % 3])
    flat = flat_decides and wp.length(across) < SAME_NORMAL
    if flat:
      touched = -3
    if near or flat:
      touched += 1
      out.size[k, k] = wp.sign(x[k])
    else:
      open = k
  if touched < 0:
    touched = 1
    for k in range(3):
      if wp.abs(m[k]) < 0.5:
        out.size[k, k] = 0.0
  if touched == 2:
    out.free = LINE
    out.line[open] = 1.0
  elif touched == 1:
    out.free = FACE
  return out


@wp.func
def _mesh_within(
  meshes: Meshes,
  meshid: int,
  x: wp.vec3,
  m: wp.vec3,
  slack: float,
  tilt: float,
  flat_decides: bool,
):
  """The feature of the polygons within the slack, and whether the normal agrees with it."""
  out = Surface()
  first = wp.vec3()
  line = wp.vec3()
  rank = int(0)
  flat = bool(False)
  vertadr = meshes.vertadr[meshid]
  for k in range(meshes.polyadr[meshid], meshes.polyadr[meshid] + meshes.polynum[meshid]):
    normal = meshes.polynormal[k]
    corner = meshes.vert[vertadr + meshes.polyvert[meshes.polyvertadr[k]]]
    if wp.abs(wp.dot(normal, x - corner)) <= slack:
      if wp.length(wp.cross(normal, m)) < SAME_NORMAL and flat_decides:
        flat = True
      if rank == 0:
        first = normal
        rank = 1
      elif rank == 1:
        line = wp.cross(first, normal)
        if wp.length(line) > SAME_POLYGON:
          line = wp.normalize(line)
          rank = 2
      elif wp.abs(wp.dot(line, normal)) > SAME_POLYGON:
        rank = 3
  agrees = True
  if flat or rank <= 1:
    out.free = FACE
    agrees = flat or wp.length(wp.cross(first, m)) < tilt
  elif rank == 2:
    out.free = LINE
    out.line = line
    agrees = wp.abs(wp.dot(line, m)) < tilt
  return out, rank > 0 and agrees


@wp.func
def _mesh(
  meshes: Meshes,
  meshid: int,
  x: wp.vec3,
  m: wp.vec3,
  slack: float,
  tilt: float,
  flat_decides: bool,
) -> Surface:
  out, agrees = _mesh_within(meshes, meshid, x, m, slack, tilt, flat_decides)
  wider = slack
  for _ in range(WIDENINGS):
    if not agrees:
      wider *= 10.0
      out, agrees = _mesh_within(meshes, meshid, x, m, wider, tilt, flat_decides)
  return out


@wp.func
def scaled(geomtype: int, rot: wp.mat33, size: wp.vec3, x: wp.vec3) -> wp.mat33:
  """Column k is the motion with size k of a point x of a box or cylinder that scales with it."""
  out = wp.mat33()
  if geomtype == BOX:
    out = wp.diag(wp.cw_div(x, size))
  elif geomtype == CYLINDER:
    out[0, 0] = x[0] / size[0]
    out[1, 0] = x[1] / size[0]
    out[2, 1] = x[2] / size[1]
  return rot @ out


@wp.func
def is_round(geomtype: int) -> bool:
  """Whether a geom has no flat faces."""
  return geomtype == SPHERE or geomtype == CAPSULE or geomtype == ELLIPSOID


@wp.func
def surface_at(
  geomtype: int,
  rot: wp.mat33,
  size: wp.vec3,
  meshes: Meshes,
  meshid: int,
  local: wp.vec3,
  normal: wp.vec3,
  slack: float,
  tilt: float,
  other: int,
  manifolds: bool,
) -> Surface:
  """The surface of a geom at a witness point.

  Args:
    geomtype: its type.
    rot: its rotation.
    size: its size [m].
    meshes: polygons of the model's meshes.
    meshid: its mesh.
    local: the witness point in its frame [m].
    normal: outward normal in the world.
    slack: see `witness_slack` [m].
    tilt: sine of the inclination that a direction of sliding may have against the normal.
    other: type of the geom that it touches.
    manifolds: two parallel faces are not among the pairs, see contact/manifold.py.
  """
  m = wp.transpose(rot) @ normal
  round_other = is_round(other)
  flat_decides = round_other or manifolds
  out = Surface()
  if geomtype == PLANE:
    out.free = FACE
  elif geomtype == SPHERE:
    out.radius = _tangent(m, size[0])
    out.size = _columns(m, wp.vec3(), wp.vec3())
  elif geomtype == CAPSULE:
    out = _capsule(size, local, m, slack, tilt)
  elif geomtype == ELLIPSOID:
    out = _ellipsoid(size, m)
  elif geomtype == CYLINDER:
    out = _cylinder(size, local, m, slack, tilt, round_other)
  elif geomtype == BOX and other == PLANE:
    out.size = wp.diag(wp.vec3(wp.sign(local[0]), wp.sign(local[1]), wp.sign(local[2])))
  elif geomtype == BOX:
    out = _box(size, local, m, slack, tilt, flat_decides)
  elif geomtype == MESH and other != PLANE:
    out = _mesh(meshes, meshid, local, m, slack, tilt, flat_decides)
  out.line = rot @ out.line
  out.radius = rot @ out.radius @ wp.transpose(rot)
  out.size = rot @ out.size
  return out
