"""Actuator transmissions: length and rates of what an actuator pulls on.

The rate along a direction w is moment . w, with the moment constant in the joint's own axes:

    hinge, slide        l = gear q,     rate = gear w
    ball                l = gear . t,   rate = gear . w           t the rotation vector
    free                l = 0,          rate = gear . w           six gears
    jointinparent       the rotational gear is fixed in the parent: rate = gear . R w
    tendon              gear times length and rates of the tendon (terms/tendon_rates.py)

Along lam and mu only dofs count whose total actuator force is not at its clamp.

Source: MuJoCo documentation, Computation, "Actuation model" (transmission).
"""

import mujoco
import warp as wp

from mjgrad._src.engine.adapter import quat_to_vel
from mjgrad._src.engine.adapter import rot_vec_quat
from mjgrad._src.integrators.manifold import log_jacobian_transpose

wp.set_module_options({"enable_backward": False})

FREE = wp.constant(int(mujoco.mjtJoint.mjJNT_FREE))
BALL = wp.constant(int(mujoco.mjtJoint.mjJNT_BALL))
TENDON = wp.constant(int(mujoco.mjtTrn.mjTRN_TENDON))
IN_PARENT = wp.constant(int(mujoco.mjtTrn.mjTRN_JOINTINPARENT))


@wp.func
def joint_rotation(qpos_in: wp.array2d[float], worldid: int, adr: int) -> wp.quat:
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
def joint_ndof(jnttype: int) -> int:
  """Number of dofs of a joint type."""
  n = int(1)
  if jnttype == FREE:
    n = 6
  elif jnttype == BALL:
    n = 3
  return n


@wp.func
def joint_moment(
  qpos_in: wp.array2d[float],
  worldid: int,
  jnttype: int,
  qposadr: int,
  trntype: int,
  gear: wp.spatial_vector,
) -> wp.spatial_vector:
  """Moment in the joint's own axes."""
  moment = gear
  if trntype == IN_PARENT:
    if jnttype == BALL:
      quat = joint_rotation(qpos_in, worldid, qposadr)
      inverse = wp.quat(quat[0], -quat[1], -quat[2], -quat[3])
      moment = wp.spatial_vector(rot_vec_quat(wp.spatial_top(gear), inverse), wp.vec3(0.0))
    elif jnttype == FREE:
      quat = joint_rotation(qpos_in, worldid, qposadr + 3)
      inverse = wp.quat(quat[0], -quat[1], -quat[2], -quat[3])
      moment = wp.spatial_vector(
        wp.spatial_top(gear), rot_vec_quat(wp.spatial_bottom(gear), inverse)
      )
  return moment


@wp.func
def joint_length(
  qpos_in: wp.array2d[float], worldid: int, jnttype: int, qposadr: int, gear: wp.spatial_vector
) -> float:
  """Transmission length [rad or m]."""
  length = float(0.0)
  if jnttype == BALL:
    rotation = quat_to_vel(joint_rotation(qpos_in, worldid, qposadr))
    length = wp.dot(wp.spatial_top(gear), rotation)
  elif jnttype != FREE:
    length = gear[0] * qpos_in[worldid, qposadr]
  return length


@wp.func
def joint_length_gradient(
  qpos_in: wp.array2d[float], worldid: int, jnttype: int, qposadr: int, gear: wp.spatial_vector
) -> wp.spatial_vector:
  """Derivative of the length in the joint's tangent."""
  gradient = wp.spatial_vector()
  if jnttype == BALL:
    rotation = quat_to_vel(joint_rotation(qpos_in, worldid, qposadr))
    gradient = wp.spatial_vector(
      log_jacobian_transpose(rotation, wp.spatial_top(gear)), wp.vec3(0.0)
    )
  elif jnttype != FREE:
    gradient = wp.spatial_vector(gear[0], 0.0, 0.0, 0.0, 0.0, 0.0)
  return gradient


@wp.func
def joint_rate(
  moment: wp.spatial_vector,
  direction: wp.array2d[float],
  gate: wp.array2d[float],
  worldid: int,
  dofadr: int,
  n: int,
) -> float:
  """moment . direction over the dofs that `gate` lets through."""
  total = float(0.0)
  for i in range(n):
    total += moment[i] * direction[worldid, dofadr + i] * gate[worldid, dofadr + i]
  return total
