"""Contacts of curved geoms in C MuJoCo, to rounding.

C MuJoCo finds the distance of two convex geoms by an iteration that stops when the distance is
within `ccd_tolerance`; normal and witness points are then good to the square root of it only, too
coarse to be differenced. From there Newton's method goes on. Near its witness point every geom is
a set of points c + A p, inflated by a radius, with p

    fixed                  a vertex, a sphere, the cap of a capsule
    in R or R^2            an edge, the side of a cylinder or capsule; a face
    on the unit circle     the rim of a cylinder
    on the unit sphere     an ellipsoid

and the witness points are where |x_2 - x_1|^2 / 2 is stationary. In a tangent basis T of p, the
first derivative of x is A T, and the second, on the circle and on the sphere, -A p.

Contacts of planes, boxes and meshes alone come out exact, those of spheres and capsules too unless
their centres are inside a mesh, and manifolds, whose contacts are corners of faces, have the
normals of faces: these are left as they are. A height field has one contact with
every prism.
"""

from dataclasses import dataclass

import mujoco
import numpy as np

from mjgrad._src.check import height_fields

TOLERANCE = 1e-15  # of the distance
ITERATIONS = 2000
NEAR = 1e-6  # [m], a witness point is on the features that are as near as this
FLAT = 1e-3  # sine of an angle below which two polygons of a mesh are one face
CORRECTION = 1e-4  # [m and rad], what moves further was not the end of an iteration
NEWTON = 8  # iterations, more than it takes to converge

_GEOM = mujoco.mjtGeom
_ROUND = (int(_GEOM.mjGEOM_SPHERE), int(_GEOM.mjGEOM_CAPSULE))
_CURVED = (int(_GEOM.mjGEOM_ELLIPSOID), int(_GEOM.mjGEOM_CYLINDER))


@dataclass
class _Feature:
  """Points c + A p around a witness point, in the world, inflated by a radius."""

  centre: np.ndarray
  matrix: np.ndarray
  p: np.ndarray
  curved: bool
  radius: float = 0.0

  @property
  def point(self) -> np.ndarray:
    return self.centre + self.matrix @ self.p

  @property
  def basis(self) -> np.ndarray:
    """Directions in which p may move."""
    if not self.curved:
      return np.eye(self.p.size)
    return np.linalg.svd(self.p[None, :])[2][1:].T

  def move(self, step: np.ndarray) -> None:
    self.p = self.p + self.basis @ step
    if self.curved:
      self.p /= np.linalg.norm(self.p)


def has_curved(mjm: mujoco.MjModel) -> bool:
  """Whether there may be contacts to refine."""
  kinds = mjm.geom_type[(mjm.geom_contype | mjm.geom_conaffinity) > 0]
  rounds = np.isin(kinds, _ROUND).any() and np.any(kinds == _GEOM.mjGEOM_MESH)
  return bool(rounds or np.isin(mjm.geom_type, _CURVED).any())


def iterates(mjm: mujoco.MjModel, geom1: int, geom2: int) -> bool:
  """Whether the contact of two geoms is only as good as the tolerance of the iteration."""
  kinds = sorted((int(mjm.geom_type[geom1]), int(mjm.geom_type[geom2])))
  closed = kinds[0] == _GEOM.mjGEOM_PLANE
  closed |= kinds == [_GEOM.mjGEOM_SPHERE, _GEOM.mjGEOM_CYLINDER]
  deep = kinds[0] in _ROUND and kinds[1] == _GEOM.mjGEOM_MESH
  return not closed and (deep or any(kind in _CURVED for kind in kinds))


def refine(mjm: mujoco.MjModel, mjd: mujoco.MjData) -> bool:
  """Corrects the single contacts of curved geoms in place; whether there were any."""
  pairs = [tuple(int(g) for g in pair) for pair in mjd.contact.geom]
  changed = False
  for i, pair in enumerate(pairs):
    alone = pairs.count(pair) == 1 or mjm.geom_type[pair[0]] == _GEOM.mjGEOM_HFIELD
    if iterates(mjm, *pair) and alone:
      _refine_contact(mjm, mjd, mjd.contact[i], *pair)
      changed = True
  return changed


def _refine_contact(mjm: mujoco.MjModel, mjd: mujoco.MjData, contact, geom1: int, geom2: int):
  normal = contact.frame[:3].copy()
  half = 0.5 * contact.dist * normal
  first = _feature(mjm, mjd, geom1, contact.pos - half, normal)
  second = _feature(mjm, mjd, geom2, contact.pos + half, -normal)
  for _ in range(NEWTON):
    apart = second.point - first.point
    tangent1, tangent2 = first.matrix @ first.basis, second.matrix @ second.basis
    gradient = np.concatenate((-tangent1.T @ apart, tangent2.T @ apart))
    both = np.hstack((-tangent1, tangent2))
    hessian = both.T @ both
    for feature, sign, entries in (
      (first, -1, slice(0, tangent1.shape[1])),
      (second, 1, slice(tangent1.shape[1], None)),
    ):
      if feature.curved:
        bend = sign * (apart @ feature.matrix @ feature.p)
        hessian[entries, entries] -= bend * np.eye(hessian[entries, entries].shape[0])
    step = -np.linalg.lstsq(hessian, gradient, rcond=1e-12)[0]
    first.move(step[: tangent1.shape[1]])
    second.move(step[tangent1.shape[1] :])
  apart = second.point - first.point
  length = np.copysign(np.linalg.norm(apart), normal @ apart)
  if length == 0.0:
    return
  normal = apart / length
  middle = 0.5 * (first.point + second.point + (first.radius - second.radius) * normal)
  moved = np.linalg.norm(middle - contact.pos) + np.linalg.norm(normal - contact.frame[:3])
  if moved > CORRECTION:
    return
  contact.dist = length - first.radius - second.radius
  contact.pos[:] = middle
  contact.frame[:] = _frame(normal).reshape(-1)


def _feature(
  mjm: mujoco.MjModel, mjd: mujoco.MjData, geom: int, point: np.ndarray, normal: np.ndarray
) -> _Feature:
  """What a geom is like around a witness point with this outward normal."""
  kind, size = int(mjm.geom_type[geom]), mjm.geom_size[geom]
  centre, rot = mjd.geom_xpos[geom], mjd.geom_xmat[geom].reshape(3, 3)
  x, m = rot.T @ (point - centre), rot.T @ normal

  def spread(anchor, directions, radius=0.0) -> _Feature:
    matrix = rot @ np.reshape(directions, (-1, 3)).T
    return _Feature(centre + rot @ anchor, matrix, np.zeros(matrix.shape[1]), False, radius)

  axis = np.array([0.0, 0.0, 1.0])
  if kind == _GEOM.mjGEOM_SPHERE:
    return spread(np.zeros(3), [], size[0])
  if kind == _GEOM.mjGEOM_CAPSULE:
    along = x[2] - size[0] * m[2]
    if abs(along) < size[1] - NEAR:
      return spread(along * axis, axis, size[0])
    return spread(np.sign(along) * size[1] * axis, [], size[0])
  if kind == _GEOM.mjGEOM_ELLIPSOID:
    p = x / size
    return _Feature(centre.copy(), rot * size, p / np.linalg.norm(p), True)
  if kind == _GEOM.mjGEOM_CYLINDER:
    end, rho = np.sign(x[2]) * size[1] * axis, np.hypot(x[0], x[1])
    on_end, on_side = abs(x[2]) > size[1] - NEAR, rho > size[0] - NEAR
    if on_end and on_side:
      return _Feature(centre + rot @ end, rot[:, :2] * size[0], x[:2] / rho, True)
    return spread(end, np.eye(3)[:2]) if on_end else spread(x[2] * axis, axis, size[0])
  if kind == _GEOM.mjGEOM_BOX:
    on = np.abs(x) > size - NEAR
    return spread(np.where(on, np.sign(x) * size, x), np.eye(3)[~on])
  if kind == _GEOM.mjGEOM_HFIELD:
    return spread(*height_fields.feature(mjm, int(mjm.geom_dataid[geom]), x))
  return spread(*_on_mesh(mjm, int(mjm.geom_dataid[geom]), x))


def _on_mesh(mjm: mujoco.MjModel, mesh: int, x: np.ndarray):
  """A point of the hull near x and the directions in which the feature around it extends."""
  polygons = slice(mjm.mesh_polyadr[mesh], mjm.mesh_polyadr[mesh] + mjm.mesh_polynum[mesh])
  normals = mjm.mesh_polynormal[polygons]
  corners = mjm.mesh_polyvert[mjm.mesh_polyvertadr[polygons]] + mjm.mesh_vertadr[mesh]
  offsets = np.einsum("ij,ij->i", normals, mjm.mesh_vert[corners])
  near = np.abs(normals @ x - offsets) < NEAR
  _, sizes, rows = np.linalg.svd(normals[near])
  rank = int(np.sum(sizes > FLAT))
  anchor = x - np.linalg.lstsq(normals[near], normals[near] @ x - offsets[near], rcond=FLAT)[0]
  return anchor, rows[rank:]


def _frame(normal: np.ndarray) -> np.ndarray:
  """The tangents are y, or z where the normal is close to y, projected on the plane."""
  reference = np.array([0.0, 1.0, 0.0] if -0.5 < normal[1] < 0.5 else [0.0, 0.0, 1.0])
  tangent = reference - normal * (normal @ reference)
  tangent /= np.linalg.norm(tangent)
  return np.stack([normal, tangent, np.cross(normal, tangent)])
