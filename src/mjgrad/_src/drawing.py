"""Draws a MuJoCo scene in software, for machines without OpenGL.

Every geom becomes a set of flat faces in its own frame. A face is moved to the world, dropped if it
looks away from the camera, shaded by the angle to a light, projected and filled from far to near.
Planes are drawn first, as a checkerboard. Textures, shadows and transparency are left out.
"""

import mujoco
import numpy as np
from PIL import Image
from PIL import ImageDraw

SKY = (226, 231, 238)
"""Background colour."""
LIGHT = np.array([0.35, -0.55, 0.76])
"""Direction towards the light in the world frame, unit length."""
AMBIENT = 0.45
"""Brightness of a face that the light does not reach."""
NEAR = 0.05
"""Faces closer to the camera plane than this are not drawn [m]."""
SUPERSAMPLING = 2
"""The picture is drawn this many times larger and scaled down, which smooths its edges."""
PLANE_CELLS = 24
"""Squares along each side of the checkerboard."""

_GEOM = mujoco.mjtGeom


class Artist:
  """Draws images of one model.

  Attributes:
    size: width and height in pixels.
  """

  def __init__(self, mjm: mujoco.MjModel, size: tuple[int, int] = (480, 320)):
    self._mjm = mjm
    self._mjd = mujoco.MjData(mjm)
    self.size = size
    self._faces = {g: _faces(mjm, g) for g in range(mjm.ngeom) if _visible(mjm, g)}
    self._planes = [
      g
      for g in range(mjm.ngeom)
      if mjm.geom_type[g] == _GEOM.mjGEOM_PLANE and mjm.geom_group[g] < 3
    ]

  def draw(self, qpos: np.ndarray) -> np.ndarray:
    """Image, uint8, shape [height, width, 3], of a configuration, shape [nq]."""
    mjm, mjd = self._mjm, self._mjd
    mjd.qpos[:] = qpos
    mujoco.mj_kinematics(mjm, mjd)
    mujoco.mj_comPos(mjm, mjd)
    mujoco.mj_camlight(mjm, mjd)
    origin, axes, focal = _camera(mjm, mjd)
    width, height = (SUPERSAMPLING * s for s in self.size)
    image = Image.new("RGB", (width, height), SKY)
    canvas = ImageDraw.Draw(image)

    def fill(faces: np.ndarray, colors: np.ndarray) -> None:
      local = (faces - origin) @ axes  # x right, y up, z backwards
      depth = -local[..., 2]
      scale = focal * height / np.maximum(depth, NEAR)
      pixels = np.stack(
        [0.5 * width + scale * local[..., 0], 0.5 * height - scale * local[..., 1]], axis=-1
      )
      shown = np.all(depth > NEAR, axis=1)
      for i in np.argsort(-depth.mean(axis=1)):
        if shown[i]:
          canvas.polygon(pixels[i].ravel().tolist(), fill=tuple(colors[i].tolist()))

    for g in self._planes:
      fill(*self._checkerboard(g, origin))
    world, colors = [np.empty((0, 4, 3))], [np.empty((0, 3), np.uint8)]
    for g, local in self._faces.items():
      faces = local @ mjd.geom_xmat[g].reshape(3, 3).T + mjd.geom_xpos[g]
      normal = np.cross(faces[:, 2] - faces[:, 0], faces[:, 3] - faces[:, 1])
      normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
      front = np.einsum("fi,fi->f", normal, origin - faces.mean(axis=1)) > 0.0
      shade = AMBIENT + (1.0 - AMBIENT) * np.maximum(normal[front] @ LIGHT, 0.0)
      world.append(faces[front])
      colors.append((255.0 * shade[:, None] * _rgb(mjm, g)).astype(np.uint8))
    fill(np.concatenate(world), np.concatenate(colors))
    return np.asarray(image.resize(self.size, Image.Resampling.LANCZOS))

  def _checkerboard(self, g: int, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squares of a plane around the point under the camera, and their colours."""
    mjm, mjd = self._mjm, self._mjd
    axes = mjd.geom_xmat[g].reshape(3, 3)
    cell = max(mjm.stat.extent / 4.0, 1e-3)
    centre = (origin - mjd.geom_xpos[g]) @ axes
    first = np.round(centre[:2] / cell) - PLANE_CELLS // 2
    i, j = np.meshgrid(np.arange(PLANE_CELLS), np.arange(PLANE_CELLS), indexing="ij")
    corner = np.stack([i.ravel() + first[0], j.ravel() + first[1]], axis=-1)
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    flat = cell * (corner[:, None] + square)
    faces = flat @ axes[:, :2].T + mjd.geom_xpos[g]
    bright = np.where(corner.sum(axis=1) % 2 == 0, 1.0, 0.88)
    return faces, (255.0 * bright[:, None] * _rgb(mjm, g)).clip(0, 255).astype(np.uint8)


def _visible(mjm: mujoco.MjModel, g: int) -> bool:
  """True for geoms drawn as faces; groups 3 and above are hidden, as in MuJoCo's viewer."""
  return mjm.geom_type[g] != _GEOM.mjGEOM_PLANE and mjm.geom_group[g] < 3 and _rgba(mjm, g)[3] > 0.0


def _rgba(mjm: mujoco.MjModel, g: int) -> np.ndarray:
  """A geom's own colour, or its material's where it has none of its own."""
  own, material = mjm.geom_rgba[g], mjm.geom_matid[g]
  plain = np.allclose(own, 0.5 * np.array([1, 1, 1, 2]))
  return mjm.mat_rgba[material] if plain and material >= 0 else own


def _rgb(mjm: mujoco.MjModel, g: int) -> np.ndarray:
  return _rgba(mjm, g)[:3]


def _faces(mjm: mujoco.MjModel, g: int) -> np.ndarray:
  """Faces of a geom in its frame, counter-clockwise from outside, shape [F, 4, 3]."""
  kind, size = mjm.geom_type[g], mjm.geom_size[g]
  if kind == _GEOM.mjGEOM_SPHERE:
    return size[0] * _ball()
  if kind == _GEOM.mjGEOM_ELLIPSOID:
    return size * _ball()
  if kind == _GEOM.mjGEOM_CAPSULE:
    angles = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 10)
    shift = np.where(angles < 0.0, -size[1], size[1])
    return _turned(size[0] * np.cos(angles), size[0] * np.sin(angles) + shift)
  if kind == _GEOM.mjGEOM_CYLINDER:
    radius, half = size[:2]
    return _turned(np.array([0.0, radius, radius, 0.0]), np.array([-half, -half, half, half]))
  if kind == _GEOM.mjGEOM_MESH:
    mesh = mjm.geom_dataid[g]
    vertices = mjm.mesh_vert[mjm.mesh_vertadr[mesh] :][: mjm.mesh_vertnum[mesh]]
    triangles = mjm.mesh_face[mjm.mesh_faceadr[mesh] :][: mjm.mesh_facenum[mesh]]
    return vertices[triangles[:, [0, 1, 2, 2]]].astype(float)
  half = size if kind == _GEOM.mjGEOM_BOX else mjm.geom_aabb[g, 3:]
  corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
  sides = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
  centre = 0.0 if kind == _GEOM.mjGEOM_BOX else mjm.geom_aabb[g, :3]
  return (half * corners + centre)[np.array(sides)]


def _ball() -> np.ndarray:
  angles = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 13)
  return _turned(np.cos(angles), np.sin(angles))


def _turned(radius: np.ndarray, height: np.ndarray, sectors: int = 20) -> np.ndarray:
  """Faces of the surface that a profile from bottom to top sweeps about the z axis."""
  phi = np.linspace(0.0, 2.0 * np.pi, sectors + 1)
  circle = np.stack([np.cos(phi), np.sin(phi)], axis=-1)
  rings = np.concatenate(
    [
      radius[:, None, None] * circle,
      np.broadcast_to(height[:, None, None], (len(height), sectors + 1, 1)),
    ],
    axis=-1,
  )
  faces = np.stack([rings[:-1, :-1], rings[:-1, 1:], rings[1:, 1:], rings[1:, :-1]], axis=2)
  return faces.reshape(-1, 4, 3)


def _camera(mjm: mujoco.MjModel, mjd: mujoco.MjData) -> tuple[np.ndarray, np.ndarray, float]:
  """Position [m], axes as columns, and focal length in picture heights of the first camera."""
  if mjm.ncam:
    origin, axes, fovy = mjd.cam_xpos[0], mjd.cam_xmat[0].reshape(3, 3), mjm.cam_fovy[0]
  else:
    azimuth = np.deg2rad(mjm.vis.global_.azimuth)
    elevation = np.deg2rad(mjm.vis.global_.elevation)
    forward = np.array(
      [
        np.cos(elevation) * np.cos(azimuth),
        np.cos(elevation) * np.sin(azimuth),
        np.sin(elevation),
      ]
    )
    right = np.array([np.sin(azimuth), -np.cos(azimuth), 0.0])
    axes = np.stack([right, np.cross(right, forward), -forward], axis=-1)
    origin = mjm.stat.center - 1.5 * mjm.stat.extent * forward
    fovy = mjm.vis.global_.fovy
  return origin, axes, 0.5 / np.tan(0.5 * np.deg2rad(fovy))
