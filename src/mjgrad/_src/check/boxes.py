"""Contacts of two boxes in C MuJoCo, as mujoco-warp finds them.

C MuJoCo has an algorithm of its own for two boxes, which finds up to eight contacts. The engine has
that of convex geoms, and takes four corners of the overlap of two faces at most. So has C MuJoCo
for a box and a mesh: here the second box becomes one, in a scene of its own, and the contacts of
that replace those of the boxes. Which four corners are taken depends on the corner that a polygon
begins with: the mesh gets the engine's.

Vertices of meshes are float32. What depends on the size of a second box is therefore known too
coarsely to be differenced.
"""

import copy

import mujoco
import numpy as np

EXCLUDED = 3  # mjContact.exclude of a contact without rows
FACES = (
  ((1, 1, 1), (1, 1, -1), (1, -1, -1), (1, -1, 1)),
  ((-1, 1, -1), (-1, 1, 1), (-1, -1, 1), (-1, -1, -1)),
  ((-1, 1, -1), (1, 1, -1), (1, 1, 1), (-1, 1, 1)),
  ((-1, -1, 1), (1, -1, 1), (1, -1, -1), (-1, -1, -1)),
  ((-1, 1, 1), (1, 1, 1), (1, -1, 1), (-1, -1, 1)),
  ((1, 1, -1), (-1, 1, -1), (-1, -1, -1), (1, -1, -1)),
)
"""Corners of the faces of a box in the engine's order, `_box_face` in its `collision_gjk.py`."""

_BOX = int(mujoco.mjtGeom.mjGEOM_BOX)
_NATIVE = int(mujoco.mjtDisableBit.mjDSBL_NATIVECCD)
_SCENE = """
<mujoco>
  <default><geom contype="0" conaffinity="0"/></default>
  <asset>
    <mesh name="box" vertex="-1 -2 -3  1 -2 -3  1 2 -3  -1 2 -3  -1 -2 3  1 -2 3  1 2 3  -1 2 3"/>
  </asset>
  <worldbody>
    <body><freejoint/><geom name="first" type="box" size="1 1 1"/></body>
    <body><freejoint/><geom name="second" type="mesh" mesh="box"/></body>
  </worldbody>
  <contact><pair geom1="first" geom2="second" condim="1"/></contact>
</mujoco>"""


def differ(mjm: mujoco.MjModel) -> bool:
  """Whether there may be boxes that the engine collides in another way."""
  return np.sum(mjm.geom_type == _BOX) > 1 and not mjm.opt.disableflags & _NATIVE


class Boxes:
  """A scene of a box and a mesh of a box, for the pairs of boxes of a model.

  Args:
    mjm: the model, for the options of its collision detector.
  """

  def __init__(self, mjm: mujoco.MjModel):
    self._mjm = mujoco.MjModel.from_xml_string(_SCENE)
    self._mjm.opt.ccd_tolerance = mjm.opt.ccd_tolerance
    self._mjm.opt.ccd_iterations = mjm.opt.ccd_iterations
    self._mjd = mujoco.MjData(self._mjm)
    turn = np.empty(9)
    mujoco.mju_quat2Mat(turn, self._mjm.geom_quat[1])
    self._turn = turn.reshape(3, 3)  # from the compiled mesh to the box
    self._signs = np.sign(self._mjm.mesh_vert @ self._turn.T).astype(int)
    _use_engine_corners(self._mjm, self._signs)

  def replace(self, mjm: mujoco.MjModel, mjd: mujoco.MjData) -> bool:
    """Replaces the contacts of pairs of boxes in place; whether there were any."""
    by_pair: dict[tuple[int, int], list[int]] = {}
    for i, pair in enumerate(mjd.contact.geom):
      if np.all(mjm.geom_type[pair] == _BOX):
        by_pair.setdefault((int(pair[0]), int(pair[1])), []).append(i)
    for pair, indices in by_pair.items():
      self._collide(mjm, mjd, *pair, margin=mjd.contact[indices[0]].includemargin)
      for i, found in zip(indices, self._mjd.contact, strict=False):
        _copy(found, mjd.contact[i])
      for i in indices[self._mjd.ncon :]:
        mjd.contact[i].exclude, mjd.contact[i].efc_address = EXCLUDED, -1
      for found in list(self._mjd.contact)[len(indices) :]:
        contact = copy.copy(mjd.contact[indices[0]])
        _copy(found, contact)
        mujoco.mj_addContact(mjm, mjd, contact)
    return bool(by_pair)

  def _collide(
    self, mjm: mujoco.MjModel, mjd: mujoco.MjData, first: int, second: int, margin: float
  ) -> None:
    """Finds the contacts of the scene in the poses and sizes of two boxes."""
    size = mjm.geom_size[second]
    self._mjm.geom_size[0] = mjm.geom_size[first]
    self._mjm.mesh_vert[:] = (self._signs * size) @ self._turn
    self._mjm.geom_rbound[:] = np.linalg.norm(mjm.geom_size[[first, second]], axis=1)
    self._mjm.pair_margin[0] = margin
    self._mjd.geom_xpos[:] = mjd.geom_xpos[[first, second]]
    self._mjd.geom_xmat[0] = mjd.geom_xmat[first]
    self._mjd.geom_xmat[1] = (mjd.geom_xmat[second].reshape(3, 3) @ self._turn).reshape(-1)
    mujoco.mj_collision(self._mjm, self._mjd)


def _copy(source, target) -> None:
  """Writes the geometry of a contact into another."""
  target.dist = source.dist
  target.pos[:] = source.pos
  target.frame[:] = source.frame


def _use_engine_corners(mjm: mujoco.MjModel, signs: np.ndarray) -> None:
  """Has every polygon of the mesh of a box begin with the engine's corner."""
  corners = {frozenset(face): face for face in FACES}
  index = {tuple(sign): k for k, sign in enumerate(signs.tolist())}
  for first, count in zip(mjm.mesh_polyvertadr, mjm.mesh_polyvertnum, strict=True):
    entries = slice(first, first + count)
    face = corners[frozenset(tuple(signs[v].tolist()) for v in mjm.mesh_polyvert[entries])]
    # The detector reads polygons from their end.
    mjm.mesh_polyvert[entries] = [index[corner] for corner in reversed(face)]
