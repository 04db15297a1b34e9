"""Rotations and the torques that cotangents of them exert on the frames they turn.

A torque is the cotangent of a rotation vector in world coordinates:

    matrix        dR = [rotation] R,                 sum_k x_k cross adj_k over the columns
    quaternion    dq = 1/2 (0, rotation) q,          1/2 vec(adj conj(q))

Source: DESIGN section 2.
"""

import warp as wp

from mjgrad._src.engine.adapter import mul_quat

wp.set_module_options({"enable_backward": False})


@wp.func
def matrix_torque(rot: wp.mat33, adj: wp.mat33) -> wp.vec3:
  """Torque of the cotangent of a rotation matrix."""
  x, adj_x = wp.transpose(rot), wp.transpose(adj)
  return wp.cross(x[0], adj_x[0]) + wp.cross(x[1], adj_x[1]) + wp.cross(x[2], adj_x[2])


@wp.func
def conjugate(q: wp.quat) -> wp.quat:
  """The inverse of a unit quaternion (w, x, y, z)."""
  return wp.quat(q[0], -q[1], -q[2], -q[3])


@wp.func
def quat_torque(quat: wp.quat, adj: wp.quat) -> wp.vec3:
  """Torque of the cotangent of a unit quaternion."""
  product = mul_quat(adj, conjugate(quat))
  return 0.5 * wp.vec3(product[1], product[2], product[3])
