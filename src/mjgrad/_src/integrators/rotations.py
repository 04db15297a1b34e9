"""The rotation group in float64, for methods that carry their state in it.

As integrators/manifold.py: rotations are unit quaternions q, their tangent the body-frame rotation
vector. With [t] the cross-product matrix of t and x = |t|,

    exp(t)   = (cos(x/2), sin(x/2) t / x)
    J_r      = 1 - (1 - cos x) / x^2 [t] + (x - sin x) / x^3 [t]^2
    J_r^-1   = 1 + 1/2 [t] + (1 - (x/2) cot(x/2)) / x^2 [t]^2

and q exp(t) turns at the rate v when t changes at the rate J_r^-1(t) v. J_r^-1 is singular at a
full turn, x = 2 pi.

Source: Sola, Deray and Atchuthan, A micro Lie theory (2018), equations 101 and 143 to 146.
"""

import warp as wp

wp.set_module_options({"enable_backward": False})

SMALL_ANGLE = wp.constant(wp.float64(0.1))
"""Below this angle [rad] series replace the quotients; their error is under 1e-16."""

HALF = wp.constant(wp.float64(0.5))
ONE = wp.constant(wp.float64(1.0))


@wp.func
def _sinc(x2: wp.float64) -> wp.float64:
  """sin(x) / x."""
  value = ONE - x2 / wp.float64(6.0) * (
    ONE - x2 / wp.float64(20.0) * (ONE - x2 / wp.float64(42.0) * (ONE - x2 / wp.float64(72.0)))
  )
  if x2 > SMALL_ANGLE * SMALL_ANGLE:
    x = wp.sqrt(x2)
    value = wp.sin(x) / x
  return value


@wp.func
def _one_minus_cos(x2: wp.float64) -> wp.float64:
  """(1 - cos x) / x^2."""
  s = _sinc(x2 * wp.float64(0.25))
  return HALF * s * s


@wp.func
def _x_minus_sin(x2: wp.float64) -> wp.float64:
  """(x - sin x) / x^3."""
  value = (
    ONE - x2 / wp.float64(20.0) * (ONE - x2 / wp.float64(42.0) * (ONE - x2 / wp.float64(72.0)))
  ) / wp.float64(6.0)
  if x2 > SMALL_ANGLE * SMALL_ANGLE:
    x = wp.sqrt(x2)
    value = (x - wp.sin(x)) / (x2 * x)
  return value


@wp.func
def _bortz(x2: wp.float64) -> wp.float64:
  """(1 - (x/2) cot(x/2)) / x^2."""
  value = (
    ONE + x2 / wp.float64(60.0) * (ONE + x2 / wp.float64(42.0) * (ONE + x2 / wp.float64(40.0)))
  ) / wp.float64(12.0)
  if x2 > SMALL_ANGLE * SMALL_ANGLE:
    half = HALF * wp.sqrt(x2)
    value = (ONE - half * wp.cos(half) / wp.sin(half)) / x2
  return value


@wp.func
def exp(q: wp.vec4d, t: wp.vec3d) -> wp.vec4d:
  """Quaternion (w, x, y, z) of the rotation by t [rad] after q, of unit length."""
  x2 = wp.dot(t, t)
  c = wp.cos(HALF * wp.sqrt(x2))
  s = HALF * _sinc(x2 * wp.float64(0.25))
  u = wp.vec3d(q[1], q[2], q[3])
  w = q[0] * c - s * wp.dot(u, t)
  r = s * q[0] * t + c * u + s * wp.cross(u, t)
  return wp.normalize(wp.vec4d(w, r[0], r[1], r[2]))


@wp.func
def rate(t: wp.vec3d, v: wp.vec3d) -> wp.vec3d:
  """J_r^-1(t) v."""
  u = wp.cross(t, v)
  return v + HALF * u + _bortz(wp.dot(t, t)) * wp.cross(t, u)


@wp.func
def rate_product(t: wp.vec3d, v: wp.vec3d, adj_rate: wp.vec3d) -> wp.float64:
  """<adj_rate, J_r^-1(t) v>, for its gradient."""
  return wp.dot(adj_rate, rate(t, v))


@wp.func
def rotate_by_exp(t: wp.vec3d, v: wp.vec3d) -> wp.vec3d:
  """exp(t) v, the rotation by the vector t applied to v (Rodrigues' formula)."""
  x2 = wp.dot(t, t)
  u = wp.cross(t, v)
  return v + _sinc(x2) * u + _one_minus_cos(x2) * wp.cross(t, u)


@wp.func
def exp_jacobian_transpose(t: wp.vec3d, g: wp.vec3d) -> wp.vec3d:
  """J_r(t)^T g."""
  x2 = wp.dot(t, t)
  u = wp.cross(t, g)
  return g + _one_minus_cos(x2) * u + _x_minus_sin(x2) * wp.cross(t, u)
