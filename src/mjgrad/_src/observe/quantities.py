"""Cotangents of kinematic quantities of bodies, geoms, sites and subtrees.

Poses and their velocities are attached frames, see `tree/attach.py`. What is more:

    cvel          the twist T_b about the reference point c of its tree, a point that moves:
                  F^V = adj_cvel,  P = T_b x* F^V,  and adj_lin cross w is a cotangent of c
    subtree_com   com_a = sum_b m_b xipos_b / M_a over the subtree of a: a force at every xipos_b
    linear velocity of com_a (for sensors): the same sum over the velocities of the xipos_b

The masses m_b, and with them M_a, give dcom_a/dm_b = (xipos_b - com_a) / M_a.

Source: MuJoCo documentation, `mj_comPos` and `mj_comVel`; docs/derivation.md, "Observations".
"""

import mujoco
import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.rotation import matrix_torque
from mjgrad._src.rotation import quat_torque
from mjgrad._src.spatial import set_spatial
from mjgrad._src.spatial import spatial_at
from mjgrad._src.spatial import wrench_at
from mjgrad._src.tree.attach import FrameAdjoint
from mjgrad._src.tree.attach import add_frame
from mjgrad._src.tree.attach import add_pose
from mjgrad._src.tree.attach import add_wrench
from mjgrad._src.tree.attach import frame_state
from mjgrad._src.tree.twists import POSE
from mjgrad._src.tree.twists import V

wp.set_module_options({"enable_backward": False})

MINVAL = wp.constant(float(mujoco.mjMINVAL))
"""Mass [kg] below which a subtree counts as massless: its centre is `xipos` of its first body."""


@wp.kernel
def _body_vjp(
  # Model:
  body_rootid: wp.array[int],
  # Data in:
  xpos_in: wp.array2d[wp.vec3],
  xquat_in: wp.array2d[wp.quat],
  xmat_in: wp.array2d[wp.mat33],
  xipos_in: wp.array2d[wp.vec3],
  subtree_com_in: wp.array2d[wp.vec3],
  # Adjoint in:
  adj_xpos_in: wp.array2d[wp.vec3],
  adj_xquat_in: wp.array2d[wp.quat],
  adj_xmat_in: wp.array2d[wp.mat33],
  adj_xipos_in: wp.array2d[wp.vec3],
  adj_subtree_com_in: wp.array2d[wp.vec3],
  # Out:
  adj_com_out: wp.array2d[wp.vec3],
  adj_com_velocity_out: wp.array2d[wp.vec3],
  wrench_out: wp.array4d[float],
  inertial_wrench_out: wp.array2d[wp.spatial_vector],
):
  worldid, bodyid = wp.tid()
  reference = subtree_com_in[worldid, body_rootid[bodyid]]
  none = wp.vec3(0.0)
  pose = wp.spatial_vector()
  if adj_xpos_in.shape[0] > 0:
    pose += wrench_at(adj_xpos_in[worldid, bodyid], none, xpos_in[worldid, bodyid] - reference)
  if adj_xipos_in.shape[0] > 0:
    force = adj_xipos_in[worldid, bodyid]
    pose += wrench_at(force, none, xipos_in[worldid, bodyid] - reference)
    accumulate(inertial_wrench_out, worldid, bodyid, wp.spatial_vector(none, force))
  if adj_xquat_in.shape[0] > 0:
    pose += wp.spatial_vector(
      quat_torque(xquat_in[worldid, bodyid], adj_xquat_in[worldid, bodyid]), none
    )
  if adj_xmat_in.shape[0] > 0:
    pose += wp.spatial_vector(
      matrix_torque(xmat_in[worldid, bodyid], adj_xmat_in[worldid, bodyid]), none
    )
  set_spatial(wrench_out, worldid, POSE, bodyid, pose)
  adj_com = wp.vec3(0.0)
  if adj_subtree_com_in.shape[0] > 0:
    adj_com = adj_subtree_com_in[worldid, bodyid]
  adj_com_out[worldid, bodyid] = adj_com
  adj_com_velocity_out[worldid, bodyid] = none


@wp.kernel
def _attached_vjp(
  # Model:
  body_rootid: wp.array[int],
  # Data in:
  subtree_com_in: wp.array2d[wp.vec3],
  # In:
  bodyid: wp.array[int],
  pos: wp.array2d[wp.vec3],
  mat: wp.array2d[wp.mat33],
  # Adjoint in:
  adj_pos_in: wp.array2d[wp.vec3],
  adj_mat_in: wp.array2d[wp.mat33],
  # Adjoint out (+=):
  wrench_out: wp.array4d[float],
  frame_wrench_out: wp.array2d[wp.spatial_vector],
):
  worldid, frameid = wp.tid()
  body = bodyid[frameid]
  force = wp.vec3(0.0)
  torque = wp.vec3(0.0)
  if adj_pos_in.shape[0] > 0:
    force = adj_pos_in[worldid, frameid]
  if adj_mat_in.shape[0] > 0:
    torque = matrix_torque(mat[worldid, frameid], adj_mat_in[worldid, frameid])
  offset = pos[worldid, frameid] - subtree_com_in[worldid, body_rootid[body]]
  add_pose(worldid, body, force, torque, offset, wrench_out)
  accumulate(frame_wrench_out, worldid, frameid, wp.spatial_vector(torque, force))


@wp.kernel
def _cvel_vjp(
  # Model:
  body_rootid: wp.array[int],
  # In:
  body_lastdof: wp.array[int],
  twist: wp.array4d[float],
  # Adjoint in:
  adj_cvel_in: wp.array2d[wp.spatial_vector],
  # Adjoint out (+=):
  adj_com_out: wp.array2d[wp.vec3],
  wrench_out: wp.array4d[float],
):
  worldid, bodyid = wp.tid()
  v = spatial_at(twist, worldid, V, body_lastdof[bodyid] + 1)
  adj = adj_cvel_in[worldid, bodyid]
  add_wrench(worldid, bodyid, V, v, adj, wrench_out)
  adj_reference = wp.cross(wp.spatial_bottom(adj), wp.spatial_top(v))
  wp.atomic_add(adj_com_out, worldid, body_rootid[bodyid], adj_reference)


@wp.kernel
def _subtree_vjp(
  # Model:
  body_parentid: wp.array[int],
  body_rootid: wp.array[int],
  body_mass: wp.array2d[float],
  body_subtreemass: wp.array2d[float],
  # Data in:
  xipos_in: wp.array2d[wp.vec3],
  subtree_com_in: wp.array2d[wp.vec3],
  # In:
  body_lastdof: wp.array[int],
  twist: wp.array4d[float],
  subtree_linvel: wp.array2d[wp.vec3],
  # Adjoint in:
  adj_com_in: wp.array2d[wp.vec3],
  adj_com_velocity_in: wp.array2d[wp.vec3],
  # Adjoint out (+=):
  adj_body_mass_out: wp.array2d[float],
  wrench_out: wp.array4d[float],
  inertial_wrench_out: wp.array2d[wp.spatial_vector],
):
  worldid, bodyid = wp.tid()
  pos = xipos_in[worldid, bodyid]
  offset = pos - subtree_com_in[worldid, body_rootid[bodyid]]
  frame = frame_state(twist, worldid, body_lastdof[bodyid] + 1, offset)
  mass = body_mass[worldid % body_mass.shape[0], bodyid]

  adj = FrameAdjoint()
  adj_mass = float(0.0)
  ancestor = int(bodyid)
  while ancestor >= 0:
    total = body_subtreemass[worldid % body_subtreemass.shape[0], ancestor]
    adj_com = adj_com_in[worldid, ancestor]
    if total >= MINVAL:
      adj_velocity = adj_com_velocity_in[worldid, ancestor]
      adj.pos += adj_com * (mass / total)
      adj.vel += adj_velocity * (mass / total)
      share = wp.dot(adj_com, pos - subtree_com_in[worldid, ancestor])
      share += wp.dot(adj_velocity, frame.vel - subtree_linvel[worldid, ancestor])
      adj_mass += share / total
    elif ancestor == bodyid:
      adj.pos += adj_com
    ancestor = wp.where(ancestor == 0, -1, body_parentid[ancestor])

  own = add_frame(worldid, bodyid, frame, adj, wrench_out)
  accumulate(inertial_wrench_out, worldid, bodyid, own)
  accumulate(adj_body_mass_out, worldid, bodyid, adj_mass)


def body_vjp(work) -> None:
  """Starts the wrenches and the cotangents of the subtrees' centres of mass."""
  m, d, adj = work.model, work.data, work.adj_observed
  work.wrench.zero_()
  wp.launch(
    _body_vjp,
    dim=(d.nworld, m.nbody),
    inputs=[
      m.body_rootid,
      d.xpos,
      d.xquat,
      d.xmat,
      d.xipos,
      d.subtree_com,
      adj["xpos"],
      adj["xquat"],
      adj["xmat"],
      adj["xipos"],
      adj["subtree_com"],
    ],
    outputs=[work.adj_com, work.adj_com_velocity, work.wrench, work.inertial_wrench],
  )


def attached_vjp(work) -> None:
  """Adds the wrenches of geoms and sites."""
  m, d, adj = work.model, work.data, work.adj_observed
  frames = (("geom", m.geom_bodyid, work.geom_wrench), ("site", m.site_bodyid, work.site_wrench))
  for kind, bodyid, frame_wrench in frames:
    adj_pos, adj_mat = adj[f"{kind}_xpos"], adj[f"{kind}_xmat"]
    if not adj_pos.size and not adj_mat.size:
      continue
    pos, mat = getattr(d, f"{kind}_xpos"), getattr(d, f"{kind}_xmat")
    wp.launch(
      _attached_vjp,
      dim=pos.shape,
      inputs=[m.body_rootid, d.subtree_com, bodyid, pos, mat, adj_pos, adj_mat],
      outputs=[work.wrench, frame_wrench],
    )


def cvel_vjp(work) -> None:
  """Adds the wrenches of `cvel`."""
  if not work.adj_observed["cvel"].size:
    return
  m, d = work.model, work.data
  wp.launch(
    _cvel_vjp,
    dim=(d.nworld, m.nbody),
    inputs=[m.body_rootid, work.tree.body_lastdof, work.twist, work.adj_observed["cvel"]],
    outputs=[work.adj_com, work.wrench],
  )


def subtree_vjp(work) -> None:
  """Adds the wrenches of everything that has left a cotangent on a subtree's centre of mass."""
  if not any(work.adj_observed[name].size for name in ("subtree_com", "cvel", "sensordata")):
    return
  m, d = work.model, work.data
  wp.launch(
    _subtree_vjp,
    dim=(d.nworld, m.nbody),
    inputs=[
      m.body_parentid,
      m.body_rootid,
      m.body_mass,
      m.body_subtreemass,
      d.xipos,
      d.subtree_com,
      work.tree.body_lastdof,
      work.twist,
      work.subtree_linvel,
      work.adj_com,
      work.adj_com_velocity,
    ],
    outputs=[work.adj["body_mass"], work.wrench, work.inertial_wrench],
  )
