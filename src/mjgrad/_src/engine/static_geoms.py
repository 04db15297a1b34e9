"""Poses of geoms on static bodies, when the model's poses are parameters.

The engine places geoms that never move once, when its data is made. Where `geom_pos`, `body_pos` or
their quaternions are given per call they do move, from call to call:

    X_geom = X_1 ... X_b X_g        the bodies between the world and the geom, and the geom itself
"""

from collections.abc import Container

import mujoco_warp as mjw
import warp as wp

from mjgrad._src.engine.adapter import mul_quat
from mjgrad._src.engine.adapter import quat_to_mat
from mjgrad._src.engine.adapter import rot_vec_quat

wp.set_module_options({"enable_backward": False})

MOVING = ("body_pos", "body_quat", "geom_pos", "geom_quat")
"""Parameters that move geoms of static bodies."""


@wp.kernel
def _place(
  # Model:
  body_parentid: wp.array[int],
  body_rootid: wp.array[int],
  body_weldid: wp.array[int],
  body_mocapid: wp.array[int],
  body_pos: wp.array2d[wp.vec3],
  body_quat: wp.array2d[wp.quat],
  geom_bodyid: wp.array[int],
  geom_pos: wp.array2d[wp.vec3],
  geom_quat: wp.array2d[wp.quat],
  # Data out:
  geom_xpos_out: wp.array2d[wp.vec3],
  geom_xmat_out: wp.array2d[wp.mat33],
):
  worldid, geomid = wp.tid()
  bodyid = geom_bodyid[geomid]
  if body_weldid[bodyid] != 0 or body_mocapid[body_rootid[bodyid]] != -1:
    return
  pos = geom_pos[worldid % geom_pos.shape[0], geomid]
  quat = geom_quat[worldid % geom_quat.shape[0], geomid]
  while bodyid > 0:
    body_rot = body_quat[worldid % body_quat.shape[0], bodyid]
    pos = body_pos[worldid % body_pos.shape[0], bodyid] + rot_vec_quat(pos, body_rot)
    quat = mul_quat(body_rot, quat)
    bodyid = body_parentid[bodyid]
  geom_xpos_out[worldid, geomid] = pos
  geom_xmat_out[worldid, geomid] = quat_to_mat(quat)


def place(m: mjw.Model, d: mjw.Data) -> None:
  """Places the geoms of static bodies where the model says."""
  wp.launch(
    _place,
    dim=(d.nworld, m.ngeom),
    inputs=[
      m.body_parentid,
      m.body_rootid,
      m.body_weldid,
      m.body_mocapid,
      m.body_pos,
      m.body_quat,
      m.geom_bodyid,
      m.geom_pos,
      m.geom_quat,
    ],
    outputs=[d.geom_xpos, d.geom_xmat],
  )


class StaticGeoms:
  """Keeps the geoms of static bodies where the model of the present call has them.

  Args:
    data: the engine's data, with these geoms where the simulator's own model has them.
  """

  def __init__(self, data: mjw.Data):
    self.data = data
    self._moved = False

  def place(self, m: mjw.Model, requested: Container[str]) -> None:
    """Places them as `m` says, where `requested` parameters move them or an earlier call did."""
    moved = any(name in requested for name in MOVING)
    if moved or self._moved:
      place(m, self.data)
    self._moved = moved
