"""The rotation group: what the exponential and logarithm maps do to first order.

Rotations are unit quaternions q; their tangent is the body-frame rotation vector, q exp(delta), as
in `mj_integratePos` and `mj_differentiatePos`. With [t] the cross-product matrix of t, x = |t|,

    exp(t + dt) = exp(t) exp(J_r dt)    J_r    = 1 - (1 - cos x) / x^2 [t] + (x - sin x) / x^3 [t]^2
    log(q exp(d)) = log q + J_r^-1 d    J_r^-1 = 1 + 1/2 [t] + (1 - (x/2) cot(x/2)) / x^2 [t]^2

A cotangent g of the tangent is the ambient cotangent 2 q (0, g) of the quaternion, orthogonal to q;
an ambient cotangent p is the tangent cotangent vec(q^-1 p) / 2.

Source: Sola, Deray and Atchuthan, A micro Lie theory (2018), equations 143 to 146.
"""

import warp as wp

from mjgrad._src.engine.adapter import mul_quat

wp.set_module_options({"enable_backward": False})

SMALL_ANGLE = wp.constant(0.05)
"""Below this angle [rad] series replace the quotients; their error is under 1e-9."""


@wp.func
def rotate_by_exp(t: wp.vec3, v: wp.vec3) -> wp.vec3:
  """exp(t) v, the rotation by the vector t [rad] applied to v (Rodrigues' formula)."""
  x2 = wp.dot(t, t)
  a = 1.0 - x2 / 6.0 + x2 * x2 / 120.0
  b = 0.5 - x2 / 24.0 + x2 * x2 / 720.0
  if x2 > SMALL_ANGLE * SMALL_ANGLE:
    x = wp.sqrt(x2)
    a = wp.sin(x) / x
    b = (1.0 - wp.cos(x)) / x2
  u = wp.cross(t, v)
  return v + a * u + b * wp.cross(t, u)


@wp.func
def exp_jacobian_transpose(t: wp.vec3, g: wp.vec3) -> wp.vec3:
  """J_r(t)^T g."""
  x2 = wp.dot(t, t)
  b = 0.5 - x2 / 24.0 + x2 * x2 / 720.0
  c = 1.0 / 6.0 - x2 / 120.0 + x2 * x2 / 5040.0
  if x2 > SMALL_ANGLE * SMALL_ANGLE:
    x = wp.sqrt(x2)
    b = (1.0 - wp.cos(x)) / x2
    c = (x - wp.sin(x)) / (x2 * x)
  u = wp.cross(t, g)
  return g + b * u + c * wp.cross(t, u)


@wp.func
def log_jacobian_transpose(t: wp.vec3, g: wp.vec3) -> wp.vec3:
  """J_r^-1(t)^T g, for |t| at most pi."""
  x2 = wp.dot(t, t)
  c = 1.0 / 12.0 + x2 / 720.0 + x2 * x2 / 30240.0
  if x2 > SMALL_ANGLE * SMALL_ANGLE:
    half = 0.5 * wp.sqrt(x2)
    c = (1.0 - half * wp.cos(half) / wp.sin(half)) / x2
  u = wp.cross(t, g)
  return g - 0.5 * u + c * wp.cross(t, u)


@wp.func
def to_tangent(quat: wp.quat, adj_quat: wp.quat) -> wp.vec3:
  """Ambient to tangent cotangent, with q -> q / |q| as part of the map."""
  norm = wp.length(quat)
  inverse = wp.quat(quat[0], -quat[1], -quat[2], -quat[3])
  product = mul_quat(inverse, adj_quat)
  return wp.vec3(product[1], product[2], product[3]) * (0.5 / norm)


@wp.func
def to_ambient(quat: wp.quat, adj_tangent: wp.vec3) -> wp.quat:
  """Tangent to ambient cotangent of the unnormalised quaternion."""
  norm2 = wp.length_sq(quat)
  return mul_quat(quat, wp.quat(0.0, adj_tangent[0], adj_tangent[1], adj_tangent[2])) * (
    2.0 / norm2
  )
