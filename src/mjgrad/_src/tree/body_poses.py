"""Poses of bodies and joints: what moves everything beyond them.

A virtual motion S after twist row r that carries body b and all beyond it changes phi by S . W,

    W(b, r) = P - sum_w T_r^w x* F^w + V_r x* (V_r x* F^BIAS)           tree/sweep.py

with P and F^w summed over the subtree of b, and what terms/gyroscopic.py adds. With f the force of
W and t_o its torque about a point o, the parameters are such motions, or the difference of two:

    body_pos, body_quat    a motion before the first joint:  R_parent^T f,  R^T t_o at the frame
    mocap_pos, mocap_quat  the same for a mocap body, in the world
    jnt_pos                a translation before the joint, and back after it:
                           R_before^T f_before - R_after^T f_after
    jnt_axis               a rotation before the joint, and back after it, about the anchor (of a
                           slide: about the frame on either side): (R_before^T t - R_after^T t') x n
    qpos0                  of a hinge or slide: -S_j . W, the joint's motion backwards

A body on a free joint has no pose parameters, slides no position, balls no axis. Quaternions and
axes count as normalised: their gradients are orthogonal to them.

Source: docs/derivation.md, "Poses"; MuJoCo documentation, Computation, "Kinematics".
"""

import mujoco
import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.engine.adapter import mul_quat
from mjgrad._src.engine.adapter import rot_vec_quat
from mjgrad._src.integrators.manifold import to_ambient
from mjgrad._src.rotation import conjugate
from mjgrad._src.tree.sweep import carried_product
from mjgrad._src.tree.sweep import carried_wrench
from mjgrad._src.tree.sweep import subtree_product_wrench

wp.set_module_options({"enable_backward": False})

FREE = wp.constant(int(mujoco.mjtJoint.mjJNT_FREE))
BALL = wp.constant(int(mujoco.mjtJoint.mjJNT_BALL))
HINGE = wp.constant(int(mujoco.mjtJoint.mjJNT_HINGE))
SLIDE = wp.constant(int(mujoco.mjtJoint.mjJNT_SLIDE))

BODY = ("body_pos", "body_quat")
JOINT = ("jnt_pos", "jnt_axis", "qpos0")


@wp.func
def _wrench(
  worldid: int,
  bodyid: int,
  row: int,
  body_subtreenum: wp.array[int],
  dof_parentid: wp.array[int],
  cdof_in: wp.array2d[wp.spatial_vector],
  twist_in: wp.array4d[float],
  subtree_wrench_in: wp.array4d[float],
  subtree_axis_wrench: wp.array3d[wp.spatial_vector],
  product_in: wp.array2d[wp.spatial_vector],
  product_wrench_in: wp.array2d[wp.spatial_vector],
) -> wp.spatial_vector:
  """W(bodyid, row)."""
  wrench = carried_wrench(
    worldid,
    bodyid,
    row,
    dof_parentid,
    cdof_in,
    twist_in,
    subtree_wrench_in,
    subtree_axis_wrench,
  )
  if product_in.shape[0] > 0:
    f_y = subtree_product_wrench(worldid, bodyid, body_subtreenum, product_wrench_in)
    wrench += carried_product(worldid, row, f_y, twist_in, product_in)
  return wrench


@wp.func
def _torque_at(wrench: wp.spatial_vector, offset: wp.vec3) -> wp.vec3:
  """Torque of a wrench about the point at `offset` from the reference point."""
  return wp.spatial_top(wrench) - wp.cross(offset, wp.spatial_bottom(wrench))


@wp.kernel
def _body_vjp(
  # Model:
  body_parentid: wp.array[int],
  body_rootid: wp.array[int],
  body_mocapid: wp.array[int],
  body_subtreenum: wp.array[int],
  body_jntnum: wp.array[int],
  body_jntadr: wp.array[int],
  body_pos: wp.array2d[wp.vec3],
  body_quat: wp.array2d[wp.quat],
  jnt_type: wp.array[int],
  dof_parentid: wp.array[int],
  # Data in:
  xpos_in: wp.array2d[wp.vec3],
  xquat_in: wp.array2d[wp.quat],
  mocap_pos_in: wp.array2d[wp.vec3],
  mocap_quat_in: wp.array2d[wp.quat],
  subtree_com_in: wp.array2d[wp.vec3],
  cdof_in: wp.array2d[wp.spatial_vector],
  # In:
  given_quat: wp.array2d[wp.quat],
  body_lastdof: wp.array[int],
  twist_in: wp.array4d[float],
  subtree_wrench_in: wp.array4d[float],
  subtree_axis_wrench: wp.array3d[wp.spatial_vector],
  product_in: wp.array2d[wp.spatial_vector],
  product_wrench_in: wp.array2d[wp.spatial_vector],
  # Adjoint out (+=):
  adj_body_pos_out: wp.array2d[wp.vec3],
  adj_body_quat_out: wp.array2d[wp.quat],
  adj_mocap_pos_out: wp.array2d[wp.vec3],
  adj_mocap_quat_out: wp.array2d[wp.quat],
):
  worldid, bodyid = wp.tid()
  if bodyid == 0:
    return
  if body_jntnum[bodyid] == 1 and jnt_type[body_jntadr[bodyid]] == FREE:
    return
  mocapid = body_mocapid[bodyid]
  if mocapid < 0 and adj_body_pos_out.shape[0] == 0 and adj_body_quat_out.shape[0] == 0:
    return
  pos = body_pos[worldid % body_pos.shape[0], bodyid]
  quat = body_quat[worldid % body_quat.shape[0], bodyid]
  given = given_quat[worldid % given_quat.shape[0], bodyid]
  if mocapid >= 0:
    pos = mocap_pos_in[worldid, mocapid]
    given = mocap_quat_in[worldid, mocapid]
    quat = wp.normalize(given)

  parent = body_parentid[bodyid]
  parent_quat = xquat_in[worldid, parent]
  wrench = _wrench(
    worldid,
    bodyid,
    body_lastdof[parent] + 1,
    body_subtreenum,
    dof_parentid,
    cdof_in,
    twist_in,
    subtree_wrench_in,
    subtree_axis_wrench,
    product_in,
    product_wrench_in,
  )
  origin = xpos_in[worldid, parent] + rot_vec_quat(pos, parent_quat)
  torque = _torque_at(wrench, origin - subtree_com_in[worldid, body_rootid[bodyid]])
  adj_pos = rot_vec_quat(wp.spatial_bottom(wrench), conjugate(parent_quat))
  adj_quat = to_ambient(given, rot_vec_quat(torque, conjugate(mul_quat(parent_quat, quat))))
  if mocapid >= 0:
    adj_mocap_pos_out[worldid, mocapid] += adj_pos
    adj_mocap_quat_out[worldid, mocapid] += adj_quat
  else:
    accumulate(adj_body_pos_out, worldid, bodyid, adj_pos)
    accumulate(adj_body_quat_out, worldid, bodyid, adj_quat)


@wp.func
def _joint_rotation(
  jnttype: int, axis: wp.vec3, qposadr: int, q0: float, qpos_in: wp.array2d[float], worldid: int
) -> wp.quat:
  """Rotation of a joint in its own frame."""
  quat = wp.quat(1.0, 0.0, 0.0, 0.0)
  if jnttype == BALL:
    quat = wp.normalize(
      wp.quat(
        qpos_in[worldid, qposadr],
        qpos_in[worldid, qposadr + 1],
        qpos_in[worldid, qposadr + 2],
        qpos_in[worldid, qposadr + 3],
      )
    )
  elif jnttype == HINGE:
    half = 0.5 * (qpos_in[worldid, qposadr] - q0)
    s = wp.sin(half)
    quat = wp.quat(wp.cos(half), s * axis[0], s * axis[1], s * axis[2])
  return quat


@wp.kernel
def _joint_vjp(
  # Model:
  qpos0: wp.array2d[float],
  body_parentid: wp.array[int],
  body_rootid: wp.array[int],
  body_subtreenum: wp.array[int],
  body_jntadr: wp.array[int],
  body_quat: wp.array2d[wp.quat],
  jnt_type: wp.array[int],
  jnt_qposadr: wp.array[int],
  jnt_dofadr: wp.array[int],
  jnt_bodyid: wp.array[int],
  jnt_pos: wp.array2d[wp.vec3],
  jnt_axis: wp.array2d[wp.vec3],
  dof_parentid: wp.array[int],
  # Data in:
  qpos_in: wp.array2d[float],
  xquat_in: wp.array2d[wp.quat],
  xanchor_in: wp.array2d[wp.vec3],
  xaxis_in: wp.array2d[wp.vec3],
  subtree_com_in: wp.array2d[wp.vec3],
  cdof_in: wp.array2d[wp.spatial_vector],
  # In:
  given_axis: wp.array2d[wp.vec3],
  dof_before: wp.array[int],
  dof_after: wp.array[int],
  twist_in: wp.array4d[float],
  subtree_wrench_in: wp.array4d[float],
  subtree_axis_wrench: wp.array3d[wp.spatial_vector],
  product_in: wp.array2d[wp.spatial_vector],
  product_wrench_in: wp.array2d[wp.spatial_vector],
  # Adjoint out (+=):
  adj_jnt_pos_out: wp.array2d[wp.vec3],
  adj_jnt_axis_out: wp.array2d[wp.vec3],
  adj_qpos0_out: wp.array2d[float],
):
  worldid, jntid = wp.tid()
  jnttype = jnt_type[jntid]
  if jnttype == FREE:
    return
  bodyid = jnt_bodyid[jntid]
  dofid = jnt_dofadr[jntid]
  before = _wrench(
    worldid,
    bodyid,
    dof_before[dofid] + 1,
    body_subtreenum,
    dof_parentid,
    cdof_in,
    twist_in,
    subtree_wrench_in,
    subtree_axis_wrench,
    product_in,
    product_wrench_in,
  )
  after = _wrench(
    worldid,
    bodyid,
    dof_after[dofid] + 1,
    body_subtreenum,
    dof_parentid,
    cdof_in,
    twist_in,
    subtree_wrench_in,
    subtree_axis_wrench,
    product_in,
    product_wrench_in,
  )

  row0 = worldid % qpos0.shape[0]
  axis_row = worldid % jnt_axis.shape[0]
  frame = xquat_in[worldid, body_parentid[bodyid]]
  frame = mul_quat(frame, body_quat[worldid % body_quat.shape[0], bodyid])
  for k in range(body_jntadr[bodyid], jntid):
    adr = jnt_qposadr[k]
    turn = _joint_rotation(
      jnt_type[k], jnt_axis[axis_row, k], adr, qpos0[row0, adr], qpos_in, worldid
    )
    frame = mul_quat(frame, turn)
  qposadr = jnt_qposadr[jntid]
  q0 = qpos0[row0, qposadr]
  axis = jnt_axis[axis_row, jntid]
  turn = _joint_rotation(jnttype, axis, qposadr, q0, qpos_in, worldid)
  to_before = conjugate(frame)
  to_after = conjugate(mul_quat(frame, turn))

  anchor = xanchor_in[worldid, jntid] - subtree_com_in[worldid, body_rootid[bodyid]]
  origin = anchor
  moved = anchor
  if jnttype == SLIDE:
    origin = anchor - rot_vec_quat(jnt_pos[worldid % jnt_pos.shape[0], jntid], frame)
    moved = origin + xaxis_in[worldid, jntid] * (qpos_in[worldid, qposadr] - q0)
  else:
    adj_pos = rot_vec_quat(wp.spatial_bottom(before), to_before)
    adj_pos -= rot_vec_quat(wp.spatial_bottom(after), to_after)
    accumulate(adj_jnt_pos_out, worldid, jntid, adj_pos)
  if jnttype != BALL:
    torque = rot_vec_quat(_torque_at(before, origin), to_before)
    torque -= rot_vec_quat(_torque_at(after, moved), to_after)
    length = wp.length(given_axis[worldid % given_axis.shape[0], jntid])
    accumulate(adj_jnt_axis_out, worldid, jntid, wp.cross(torque, axis) / length)
    accumulate(adj_qpos0_out, worldid, qposadr, -wp.dot(cdof_in[worldid, dofid], before))


def launch(work) -> None:
  """Adds the gradients of poses of bodies and joints, after `sweep.launch`."""
  m, d = work.model, work.data
  if m.nmocap or any(work.adj[name].shape[0] for name in BODY):
    wp.launch(
      _body_vjp,
      dim=(d.nworld, m.nbody),
      inputs=[
        m.body_parentid,
        m.body_rootid,
        m.body_mocapid,
        m.body_subtreenum,
        m.body_jntnum,
        m.body_jntadr,
        m.body_pos,
        m.body_quat,
        m.jnt_type,
        m.dof_parentid,
        d.xpos,
        d.xquat,
        d.mocap_pos,
        d.mocap_quat,
        d.subtree_com,
        d.cdof,
        work.given["body_quat"],
        work.tree.body_lastdof,
        work.twist,
        work.subtree_wrench,
        work.subtree_axis_wrench,
        work.product,
        work.product_wrench,
        work.adj["body_pos"],
        work.adj["body_quat"],
        work.adj_mocap_pos,
        work.adj_mocap_quat,
      ],
    )
  if any(work.adj[name].shape[0] for name in JOINT):
    wp.launch(
      _joint_vjp,
      dim=(d.nworld, m.njnt),
      inputs=[
        m.qpos0,
        m.body_parentid,
        m.body_rootid,
        m.body_subtreenum,
        m.body_jntadr,
        m.body_quat,
        m.jnt_type,
        m.jnt_qposadr,
        m.jnt_dofadr,
        m.jnt_bodyid,
        m.jnt_pos,
        m.jnt_axis,
        m.dof_parentid,
        d.qpos,
        d.xquat,
        d.xanchor,
        d.xaxis,
        d.subtree_com,
        d.cdof,
        work.given["jnt_axis"],
        work.tree.dof_before,
        work.tree.dof_after,
        work.twist,
        work.subtree_wrench,
        work.subtree_axis_wrench,
        work.product,
        work.product_wrench,
        work.adj["jnt_pos"],
        work.adj["jnt_axis"],
        work.adj["qpos0"],
      ],
    )
