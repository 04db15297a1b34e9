"""Site transmissions: from the cotangents of length and rates to the bodies of one or two sites.

With g_t, g_r the translational and rotational gears and R the rotation of the site, velocities u^w
and o^w of its frame,

    site            l = 0,                                    rate^w = R g_t . u^w + R g_r . o^w
    with refsite    l = g_t . R^T (p - p_r) + g_r . log(q_r^-1 q)
                    rate^w = R g_t . (u^w - u_r^w) + R g_r . (o^w - o_r^w)

where R is the rotation of the reference site if there is one, and the dofs that move both sites do
not count: u^w and o^w are taken relative to the last body that carries both. Without refsite the
wrench turns with its body, so that the body's twist in its own frame is all that matters and the
pose gets nothing. `site_wrench` collects what the frames of the sites receive in their bodies.

A servo on a purely rotational gear takes its set point modulo a full turn, `period` = 2 pi |g_r|.

Source: MuJoCo documentation, XML reference, "actuator/general" (site, refsite).
"""

import mujoco
import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.engine.adapter import mul_quat
from mjgrad._src.engine.adapter import quat_sub
from mjgrad._src.integrators.manifold import log_jacobian_transpose
from mjgrad._src.spatial import add_spatial
from mjgrad._src.spatial import velocity_at
from mjgrad._src.spatial import wrench_at
from mjgrad._src.terms.transmission import rate_cotangent
from mjgrad._src.tree.attach import add_pose
from mjgrad._src.tree.axes import Directions
from mjgrad._src.tree.axes import add_axes
from mjgrad._src.tree.axes import add_twist
from mjgrad._src.tree.axes import directions
from mjgrad._src.tree.axes import twist_of

wp.set_module_options({"enable_backward": False})

SITE = wp.constant(int(mujoco.mjtTrn.mjTRN_SITE))
KINDS = frozenset((int(SITE),))


@wp.func
def _last_common(dof_parentid: wp.array[int], first: int, second: int) -> int:
  """Last dof of two chains that moves both ends, -1 for none."""
  i = first
  j = second
  while i != j:
    if i > j:
      i = dof_parentid[i]
    else:
      j = dof_parentid[j]
  return i


@wp.kernel
def _site_vjp(
  # Model:
  body_rootid: wp.array[int],
  dof_bodyid: wp.array[int],
  dof_parentid: wp.array[int],
  site_bodyid: wp.array[int],
  site_quat: wp.array2d[wp.quat],
  actuator_trntype: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_gear: wp.array2d[wp.spatial_vector],
  # Data in:
  xquat_in: wp.array2d[wp.quat],
  site_xpos_in: wp.array2d[wp.vec3],
  site_xmat_in: wp.array2d[wp.mat33],
  subtree_com_in: wp.array2d[wp.vec3],
  # In:
  nrate: int,
  body_lastdof: wp.array[int],
  own: Directions,
  twist_in: wp.array4d[float],
  # Adjoint in:
  adj_length_in: wp.array2d[float],
  adj_rate_in: wp.array3d[float],
  adj_period_in: wp.array2d[float],
  # Adjoint out (+=):
  wrench_out: wp.array4d[float],
  site_wrench_out: wp.array2d[wp.spatial_vector],
  adj_actuator_gear_out: wp.array2d[wp.spatial_vector],
):
  worldid, actid = wp.tid()
  if actuator_trntype[actid] != SITE:
    return
  gear = actuator_gear[worldid % actuator_gear.shape[0], actid]
  siteid = actuator_trnid[actid][0]
  refid = actuator_trnid[actid][1]
  bodyid = site_bodyid[siteid]
  last = body_lastdof[bodyid]
  nown = wp.where(own.direction.shape[0] > 0, 1, 0)
  pos = site_xpos_in[worldid, siteid]
  offset = pos - subtree_com_in[worldid, body_rootid[bodyid]]
  adj_linear = wp.vec3()
  adj_rotational = wp.vec3()

  if refid < 0:
    rot = site_xmat_in[worldid, siteid]
    force = rot @ wp.spatial_top(gear)
    torque = rot @ wp.spatial_bottom(gear)
    wrench = wrench_at(force, torque, offset)
    for w in range(nrate + nown):
      c = rate_cotangent(worldid, actid, w, nrate, adj_rate_in)
      twist = twist_of(worldid, w, nrate, actid, last, twist_in, own)
      if w < nrate:
        add_spatial(wrench_out, worldid, w, bodyid, c * wrench)
      else:
        add_axes(worldid, actid, bodyid, last, wrench, own)
      u = velocity_at(twist, offset)
      o = wp.spatial_top(twist)
      turning = wp.cross(force, u) + wp.cross(torque, o)
      accumulate(
        site_wrench_out, worldid, siteid, c * wp.spatial_vector(turning, wp.cross(force, o))
      )
      adj_linear += c * (wp.transpose(rot) @ u)
      adj_rotational += c * (wp.transpose(rot) @ o)
    accumulate(adj_actuator_gear_out, worldid, actid, wp.spatial_vector(adj_linear, adj_rotational))
    return

  refbody = site_bodyid[refid]
  reflast = body_lastdof[refbody]
  refpos = site_xpos_in[worldid, refid]
  refoffset = refpos - subtree_com_in[worldid, body_rootid[refbody]]
  common = _last_common(dof_parentid, last, reflast)
  rot = site_xmat_in[worldid, refid]
  force = rot @ wp.spatial_top(gear)
  torque = rot @ wp.spatial_bottom(gear)
  wrench = wrench_at(force, torque, offset)
  refwrench = -wrench_at(force, torque, refoffset)

  adj_length = adj_length_in[worldid, actid]
  apart = pos - refpos
  siterow = worldid % site_quat.shape[0]
  quat = mul_quat(xquat_in[worldid, bodyid], site_quat[siterow, siteid])
  refquat = mul_quat(xquat_in[worldid, refbody], site_quat[siterow, refid])
  rotation = quat_sub(quat, refquat)
  turn = adj_length * (rot @ log_jacobian_transpose(-rotation, wp.spatial_bottom(gear)))
  adj_pos = adj_length * force
  adj_refpos = -adj_pos
  adj_refrot = adj_length * wp.cross(force, apart) - turn
  adj_linear = adj_length * (wp.transpose(rot) @ apart)
  adj_rotational = adj_length * rotation
  size = wp.length(wp.spatial_bottom(gear))
  if size > 0.0:
    scale = wp.static(2.0 * wp.pi) / size * adj_period_in[worldid, actid]
    adj_rotational += scale * wp.spatial_bottom(gear)

  for w in range(nrate + nown):
    c = rate_cotangent(worldid, actid, w, nrate, adj_rate_in)
    shared = twist_of(worldid, w, nrate, actid, common, twist_in, own)
    twist = twist_of(worldid, w, nrate, actid, last, twist_in, own)
    reftwist = twist_of(worldid, w, nrate, actid, reflast, twist_in, own)
    moved = twist - shared
    refmoved = reftwist - shared
    u = velocity_at(moved, offset) - velocity_at(refmoved, refoffset)
    o = wp.spatial_top(moved) - wp.spatial_top(refmoved)
    add_twist(worldid, w, nrate, actid, bodyid, last, twist, c * wrench, own, wrench_out)
    add_twist(worldid, w, nrate, actid, refbody, reflast, reftwist, c * refwrench, own, wrench_out)
    if common >= 0:
      balance = -c * (wrench + refwrench)
      add_twist(
        worldid,
        w,
        nrate,
        actid,
        dof_bodyid[common],
        common,
        shared,
        balance,
        own,
        wrench_out,
      )
    adj_pos += c * wp.cross(force, wp.spatial_top(moved))
    adj_refpos -= c * wp.cross(force, wp.spatial_top(refmoved))
    adj_refrot += c * (wp.cross(force, u) + wp.cross(torque, o))
    adj_linear += c * (wp.transpose(rot) @ u)
    adj_rotational += c * (wp.transpose(rot) @ o)
  add_pose(worldid, bodyid, adj_pos, turn, offset, wrench_out)
  add_pose(worldid, refbody, adj_refpos, adj_refrot, refoffset, wrench_out)
  accumulate(site_wrench_out, worldid, siteid, wp.spatial_vector(turn, adj_pos))
  accumulate(site_wrench_out, worldid, refid, wp.spatial_vector(adj_refrot, adj_refpos))
  accumulate(adj_actuator_gear_out, worldid, actid, wp.spatial_vector(adj_linear, adj_rotational))


def vjp(work) -> None:
  """Adds the wrenches of actuators on sites and the gradients of their gears."""
  m, d, act = work.model, work.data, work.actuation
  wp.launch(
    _site_vjp,
    dim=(d.nworld, m.nactuator),
    inputs=[
      m.body_rootid,
      m.dof_bodyid,
      m.dof_parentid,
      m.site_bodyid,
      m.site_quat,
      m.actuator_trntype,
      m.actuator_trnid,
      m.actuator_gear,
      d.xquat,
      d.site_xpos,
      d.site_xmat,
      d.subtree_com,
      act.nrate,
      work.tree.body_lastdof,
      directions(work, act.direction),
      work.twist,
      act.adj_length,
      act.adj_rate,
      act.adj_period,
      work.wrench,
      work.site_wrench,
      work.adj["actuator_gear"],
    ],
  )
