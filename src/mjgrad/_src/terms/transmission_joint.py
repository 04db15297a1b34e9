"""Joint transmissions: from the cotangents of length and rates to coordinates and gears.

    hinge, slide        l = gear q,     rate = gear w
    ball                l = gear . t,   rate = gear . w           t the rotation vector
    free                l = 0,          rate = gear . w           six gears
    jointinparent       the rotational gear is fixed in the parent: rate = gear . R w

A servo on a ball joint takes its set point modulo a full turn, `period` = 2 pi |gear|; how many
turns, is held fixed.

Source: MuJoCo documentation, Computation, "Actuation model" (transmission).
"""

import mujoco
import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.engine.adapter import quat_to_vel
from mjgrad._src.engine.adapter import rot_vec_quat
from mjgrad._src.integrators.manifold import log_jacobian_transpose
from mjgrad._src.rotation import conjugate
from mjgrad._src.tree.twists import ACC
from mjgrad._src.tree.twists import DELTA
from mjgrad._src.tree.twists import LAM
from mjgrad._src.tree.twists import MU
from mjgrad._src.tree.twists import V

wp.set_module_options({"enable_backward": False})

FREE = wp.constant(int(mujoco.mjtJoint.mjJNT_FREE))
BALL = wp.constant(int(mujoco.mjtJoint.mjJNT_BALL))
JOINT = wp.constant(int(mujoco.mjtTrn.mjTRN_JOINT))
IN_PARENT = wp.constant(int(mujoco.mjtTrn.mjTRN_JOINTINPARENT))
KINDS = frozenset((int(JOINT), int(IN_PARENT)))


@wp.func
def _rotation(qpos_in: wp.array2d[float], worldid: int, adr: int) -> wp.quat:
  """Unit quaternion of a ball joint, or of the rotation of a free joint, at `adr`."""
  return wp.normalize(
    wp.quat(
      qpos_in[worldid, adr],
      qpos_in[worldid, adr + 1],
      qpos_in[worldid, adr + 2],
      qpos_in[worldid, adr + 3],
    )
  )


@wp.func
def _contracted(
  adj_rate_in: wp.array3d[float],
  qvel_in: wp.array2d[float],
  qacc_in: wp.array2d[float],
  dof_free: wp.array2d[float],
  lam_in: wp.array2d[float],
  mu_in: wp.array2d[float],
  delta_in: wp.array2d[float],
  direction: wp.array3d[float],
  implicit: bool,
  worldid: int,
  actid: int,
  dofid: int,
) -> float:
  """sum_w adj_rate^w x_w at one dof, and the actuator's own direction."""
  total = adj_rate_in[worldid, actid, V] * qvel_in[worldid, dofid]
  lam = lam_in[worldid, dofid] * dof_free[worldid, dofid]
  total += adj_rate_in[worldid, actid, LAM] * lam
  if implicit:
    total += adj_rate_in[worldid, actid, MU] * mu_in[worldid, dofid]
    total += adj_rate_in[worldid, actid, ACC] * qacc_in[worldid, dofid]
    total += adj_rate_in[worldid, actid, DELTA] * delta_in[worldid, dofid]
  if direction.shape[0] > 0:
    total += direction[worldid, actid, dofid]
  return total


@wp.kernel
def _joint_vjp(
  # Model:
  jnt_type: wp.array[int],
  jnt_qposadr: wp.array[int],
  jnt_dofadr: wp.array[int],
  actuator_trntype: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_gear: wp.array2d[wp.spatial_vector],
  # Data in:
  qpos_in: wp.array2d[float],
  qvel_in: wp.array2d[float],
  qacc_in: wp.array2d[float],
  # In:
  implicit: bool,
  dof_free: wp.array2d[float],
  lam_in: wp.array2d[float],
  mu_in: wp.array2d[float],
  delta_in: wp.array2d[float],
  direction: wp.array3d[float],
  # Adjoint in:
  adj_length_in: wp.array2d[float],
  adj_rate_in: wp.array3d[float],
  adj_period_in: wp.array2d[float],
  # Adjoint out (+=):
  adj_qpos_out: wp.array2d[float],
  adj_qvel_out: wp.array2d[float],
  adj_actuator_gear_out: wp.array2d[wp.spatial_vector],
):
  worldid, actid = wp.tid()
  trntype = actuator_trntype[actid]
  if trntype != JOINT and trntype != IN_PARENT:
    return
  jntid = actuator_trnid[actid][0]
  jnttype = jnt_type[jntid]
  dofadr = jnt_dofadr[jntid]
  gear = actuator_gear[worldid % actuator_gear.shape[0], actid]
  adj_length = adj_length_in[worldid, actid]
  adj_velocity = adj_rate_in[worldid, actid, V]
  given = adj_actuator_gear_out.shape[0] > 0

  if jnttype != FREE and jnttype != BALL:
    wp.atomic_add(adj_qpos_out, worldid, dofadr, gear[0] * adj_length)
    wp.atomic_add(adj_qvel_out, worldid, dofadr, gear[0] * adj_velocity)
    if given:
      grad = adj_length * qpos_in[worldid, jnt_qposadr[jntid]]
      grad += _contracted(
        adj_rate_in,
        qvel_in,
        qacc_in,
        dof_free,
        lam_in,
        mu_in,
        delta_in,
        direction,
        implicit,
        worldid,
        actid,
        dofadr,
      )
      accumulate(
        adj_actuator_gear_out, worldid, actid, wp.spatial_vector(grad, 0.0, 0.0, 0.0, 0.0, 0.0)
      )
    return

  adj_linear = wp.vec3()
  rotational = wp.spatial_top(gear)
  qposadr = jnt_qposadr[jntid]
  if jnttype == FREE:
    for i in range(3):
      wp.atomic_add(adj_qvel_out, worldid, dofadr + i, gear[i] * adj_velocity)
      if given:
        adj_linear[i] = _contracted(
          adj_rate_in,
          qvel_in,
          qacc_in,
          dof_free,
          lam_in,
          mu_in,
          delta_in,
          direction,
          implicit,
          worldid,
          actid,
          dofadr + i,
        )
    rotational = wp.spatial_bottom(gear)
    qposadr += 3
    dofadr += 3
  quat = _rotation(qpos_in, worldid, qposadr)
  turned = wp.vec3()
  for i in range(3):
    turned[i] = _contracted(
      adj_rate_in,
      qvel_in,
      qacc_in,
      dof_free,
      lam_in,
      mu_in,
      delta_in,
      direction,
      implicit,
      worldid,
      actid,
      dofadr + i,
    )
  moment = rotational
  adj_tangent = wp.vec3()
  adj_rotational = turned
  if trntype == IN_PARENT:
    # gear . R w has the gradient w x (R^T gear) in the joint's tangent
    moment = rot_vec_quat(rotational, conjugate(quat))
    adj_tangent = wp.cross(turned, moment)
    adj_rotational = rot_vec_quat(turned, quat)
  if jnttype == BALL:
    # the length takes the gear R^T gear as well, but R t = t
    rotation = quat_to_vel(quat)
    adj_tangent += adj_length * log_jacobian_transpose(rotation, rotational)
    adj_rotational += adj_length * rotation
    size = wp.length(rotational)
    if size > 0.0:
      scale = wp.static(2.0 * wp.pi) / size
      adj_rotational += adj_period_in[worldid, actid] * scale * rotational
  for i in range(3):
    wp.atomic_add(adj_qvel_out, worldid, dofadr + i, moment[i] * adj_velocity)
    wp.atomic_add(adj_qpos_out, worldid, dofadr + i, adj_tangent[i])
  if given:
    adj_gear = wp.spatial_vector(adj_rotational, wp.vec3(0.0))
    if jnttype == FREE:
      adj_gear = wp.spatial_vector(adj_linear, adj_rotational)
    accumulate(adj_actuator_gear_out, worldid, actid, adj_gear)


def vjp(work) -> None:
  """Carries the cotangents of actuators on joints to `adj_qpos`, `adj_qvel` and the gears."""
  m, d, act = work.model, work.data, work.actuation
  wp.launch(
    _joint_vjp,
    dim=(d.nworld, m.nactuator),
    inputs=[
      m.jnt_type,
      m.jnt_qposadr,
      m.jnt_dofadr,
      m.actuator_trntype,
      m.actuator_trnid,
      m.actuator_gear,
      d.qpos,
      d.qvel,
      work.qacc,
      work.implicit_actuation,
      act.dof_free,
      work.lam,
      work.mu,
      work.delta,
      act.direction,
      act.adj_length,
      act.adj_rate,
      act.adj_period,
      work.adj_qpos,
      work.adj_qvel,
      work.adj["actuator_gear"],
    ],
  )
