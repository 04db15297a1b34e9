"""The frames that sensors are attached to: bodies, inertial frames, geoms and sites.

A frame rides on its body with a pose that the model fixes (body frames, "xbody", coincide with the
body). tree/attach.py turns its cotangents into wrenches on the body; what the frame alone receives
goes to its own pose, see tree/frame_poses.py.

Source: MuJoCo documentation, XML reference, "sensor", `objtype`.
"""

import mujoco
import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.engine.adapter import mul_quat

wp.set_module_options({"enable_backward": False})

BODY = wp.constant(int(mujoco.mjtObj.mjOBJ_BODY))
XBODY = wp.constant(int(mujoco.mjtObj.mjOBJ_XBODY))
GEOM = wp.constant(int(mujoco.mjtObj.mjOBJ_GEOM))
SITE = wp.constant(int(mujoco.mjtObj.mjOBJ_SITE))


@wp.func
def frame_body(
  geom_bodyid: wp.array[int], site_bodyid: wp.array[int], objtype: int, objid: int
) -> int:
  """The body that carries a body, geom or site frame; the world for none (objid -1)."""
  bodyid = int(0)
  if objid >= 0:
    if objtype == GEOM:
      bodyid = geom_bodyid[objid]
    elif objtype == SITE:
      bodyid = site_bodyid[objid]
    else:
      bodyid = objid
  return bodyid


@wp.func
def frame_pos(
  xpos_in: wp.array2d[wp.vec3],
  xipos_in: wp.array2d[wp.vec3],
  geom_xpos_in: wp.array2d[wp.vec3],
  site_xpos_in: wp.array2d[wp.vec3],
  worldid: int,
  objtype: int,
  objid: int,
) -> wp.vec3:
  """Position of a frame; the origin for none."""
  pos = wp.vec3(0.0)
  if objid >= 0:
    if objtype == GEOM:
      pos = geom_xpos_in[worldid, objid]
    elif objtype == SITE:
      pos = site_xpos_in[worldid, objid]
    elif objtype == BODY:
      pos = xipos_in[worldid, objid]
    else:
      pos = xpos_in[worldid, objid]
  return pos


@wp.func
def frame_quat(
  body_iquat: wp.array2d[wp.quat],
  geom_quat: wp.array2d[wp.quat],
  site_quat: wp.array2d[wp.quat],
  xquat_in: wp.array2d[wp.quat],
  worldid: int,
  bodyid: int,
  objtype: int,
  objid: int,
) -> wp.quat:
  """Rotation of a frame as a quaternion (w, x, y, z); the identity for none."""
  quat = wp.quat(1.0, 0.0, 0.0, 0.0)
  if objid >= 0:
    quat = xquat_in[worldid, bodyid]
    if objtype == GEOM:
      quat = mul_quat(quat, geom_quat[worldid % geom_quat.shape[0], objid])
    elif objtype == SITE:
      quat = mul_quat(quat, site_quat[worldid % site_quat.shape[0], objid])
    elif objtype == BODY:
      quat = mul_quat(quat, body_iquat[worldid % body_iquat.shape[0], objid])
  return quat


@wp.func
def accumulate_own(
  worldid: int,
  objtype: int,
  objid: int,
  own: wp.spatial_vector,
  inertial_wrench: wp.array2d[wp.spatial_vector],
  geom_wrench: wp.array2d[wp.spatial_vector],
  site_wrench: wp.array2d[wp.spatial_vector],
):
  """Adds what a frame alone receives, where its pose is a parameter."""
  if objid >= 0:
    if objtype == GEOM:
      accumulate(geom_wrench, worldid, objid, own)
    elif objtype == SITE:
      accumulate(site_wrench, worldid, objid, own)
    elif objtype == BODY:
      accumulate(inertial_wrench, worldid, objid, own)
