"""Two boxes in C MuJoCo as the engine collides them: as a box and a mesh.

C MuJoCo has an algorithm of its own for two boxes, which finds up to eight contacts; the engine has
that of convex geoms, and takes four corners of the overlap. So has C MuJoCo for a box and a mesh.
Which four depends on the corner that a polygon begins with: meshes of boxes get the engine's.
"""

import mujoco
import numpy as np

from tests import oracles

FACES = (
  ((1, 1, 1), (1, 1, -1), (1, -1, -1), (1, -1, 1)),
  ((-1, 1, -1), (-1, 1, 1), (-1, -1, 1), (-1, -1, -1)),
  ((-1, 1, -1), (1, 1, -1), (1, 1, 1), (-1, 1, 1)),
  ((-1, -1, 1), (1, -1, 1), (1, -1, -1), (-1, -1, -1)),
  ((-1, 1, 1), (1, 1, 1), (1, -1, 1), (-1, -1, 1)),
  ((1, 1, -1), (-1, 1, -1), (-1, -1, -1), (1, -1, -1)),
)
"""Corners of the faces of a box in the engine's order, `_box_face` in its `collision_gjk.py`."""


class BoxOracle(oracles.Oracle):
  """An oracle on a model whose boxes are meshes where they are the second of a pair.

  Args:
    mjm: that model, compiled; see `with_engine_corners`.
    meshes: its geoms that stand for boxes. Their sizes and orientations are those of compiled
      meshes, and are not compared.
    options: see `Oracle`.
  """

  def __init__(self, mjm: mujoco.MjModel, meshes: list[int], **options):
    super().__init__(with_engine_corners(mjm), **options)
    self._meshes = meshes

  def frozen(self, channel: str) -> np.ndarray:
    found = super().frozen(channel)
    if channel in ("geom_size", "geom_quat"):
      found.reshape(self.channel_shape(channel))[self._meshes] = True
    return found


def with_engine_corners(mjm: mujoco.MjModel) -> mujoco.MjModel:
  """The model, with the corners of its meshes of boxes in the engine's order."""
  corners = {frozenset(face): face for face in FACES}
  for geom in np.flatnonzero(mjm.geom_type == mujoco.mjtGeom.mjGEOM_MESH):
    mesh = mjm.geom_dataid[geom]
    turn = np.empty(9)
    mujoco.mju_quat2Mat(turn, mjm.geom_quat[geom])
    start, count = mjm.mesh_vertadr[mesh], mjm.mesh_vertnum[mesh]
    signs = np.sign(mjm.mesh_vert[start : start + count] @ turn.reshape(3, 3).T).astype(int)
    index = {tuple(sign): k for k, sign in enumerate(signs.tolist())}
    for k in range(mjm.mesh_polynum[mesh]):
      polygon = mjm.mesh_polyadr[mesh] + k
      first = mjm.mesh_polyvertadr[polygon]
      entries = slice(first, first + mjm.mesh_polyvertnum[polygon])
      face = frozenset(tuple(signs[v]) for v in mjm.mesh_polyvert[entries])
      if face in corners:
        # The detector reads polygons from their end.
        mjm.mesh_polyvert[entries] = [index[corner] for corner in reversed(corners[face])]
  return mjm
