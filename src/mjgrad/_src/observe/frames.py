"""Frames fixed to bodies, and the wrench that a cotangent of a frame exerts on its body.

A frame has a position p, a rotation R (columns x_k), the linear velocity u of p and the angular
velocity w, all in world coordinates. Its body moves by the twist S about the reference point of its
tree, and with it dp = S at p and dR = [rotation of S] R. A cotangent is (adj_pos, adj_rot, adj_lin,
adj_ang), where adj_rot is a torque (rotation.py). At fixed twists T of the bodies, u = T at p moves
with p by w cross dp. This gives the two wrenches

    F^V = (adj_lin, adj_ang) at p
    P   = (adj_pos + adj_lin cross w, adj_rot) at p  +  T x* F^V

of which the last term counts the twist as attached to the body, as `tree/sweep.py` asks.

Source: DESIGN section 2; Featherstone, Rigid Body Dynamics Algorithms (2008), chapter 2.
"""

import mujoco
import warp as wp

from mjgrad._src.engine.adapter import mul_quat
from mjgrad._src.spatial import cross_force
from mjgrad._src.spatial import wrench_at

wp.set_module_options({"enable_backward": False})

BODY = wp.constant(int(mujoco.mjtObj.mjOBJ_BODY))
XBODY = wp.constant(int(mujoco.mjtObj.mjOBJ_XBODY))
GEOM = wp.constant(int(mujoco.mjtObj.mjOBJ_GEOM))
SITE = wp.constant(int(mujoco.mjtObj.mjOBJ_SITE))


@wp.func
def pose_wrench(
  twist: wp.spatial_vector,
  offset: wp.vec3,
  adj_pos: wp.vec3,
  adj_rot: wp.vec3,
  adj_lin: wp.vec3,
  adj_ang: wp.vec3,
) -> wp.spatial_vector:
  """P of a frame at `offset` from the reference point, on a body with this twist."""
  adj_point = adj_pos + wp.cross(adj_lin, wp.spatial_top(twist))
  moved = cross_force(twist, wrench_at(adj_lin, adj_ang, offset))
  return wrench_at(adj_point, adj_rot, offset) + moved


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
