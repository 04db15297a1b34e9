"""Joint springs: tau = -(k + k1 x + k2 x^2) x about the spring reference.

For slides and hinges x = q - q_spring. For ball joints x is the rotation vector from the reference
and for free joints translation and rotation each have their own; there the coefficient uses |x|.

    phi = lam . x (k + k1 |x| + k2 |x|^2)

Source: MuJoCo documentation, Computation, "Passive forces"; Modeling, "stiffness".
"""

import mujoco
import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.engine.adapter import quat_sub
from mjgrad._src.integrators.manifold import log_jacobian_transpose
from mjgrad._src.integrators.manifold import to_ambient

wp.set_module_options({"enable_backward": False})

FREE = wp.constant(int(mujoco.mjtJoint.mjJNT_FREE))
BALL = wp.constant(int(mujoco.mjtJoint.mjJNT_BALL))


@wp.func
def spring_term(x: float, lam: float, stiffness: float, poly: wp.vec2) -> wp.float32:
  """phi of a scalar joint."""
  return lam * x * (stiffness + poly[0] * x + poly[1] * x * x)


@wp.func
def spring_term_3d(x: wp.vec3, lam: wp.vec3, stiffness: float, poly: wp.vec2) -> wp.float32:
  """phi of a translation or a rotation vector."""
  r = wp.length(x)
  return wp.dot(lam, x) * (stiffness + poly[0] * r + poly[1] * r * r)


@wp.func
def _vec3(values: wp.array2d[float], row: int, column: int) -> wp.vec3:
  return wp.vec3(values[row, column], values[row, column + 1], values[row, column + 2])


@wp.func
def _quat(values: wp.array2d[float], row: int, column: int) -> wp.quat:
  return wp.quat(
    values[row, column], values[row, column + 1], values[row, column + 2], values[row, column + 3]
  )


@wp.kernel
def _spring_vjp(
  # Model:
  qpos_spring: wp.array2d[float],
  jnt_type: wp.array[int],
  jnt_qposadr: wp.array[int],
  jnt_dofadr: wp.array[int],
  jnt_stiffness: wp.array2d[float],
  jnt_stiffnesspoly: wp.array2d[wp.vec2],
  # Data in:
  qpos_in: wp.array2d[float],
  # In:
  lam_in: wp.array2d[float],
  # Adjoint out (+=):
  adj_qpos_out: wp.array2d[float],
  adj_jnt_stiffness_out: wp.array2d[float],
  adj_jnt_stiffnesspoly_out: wp.array2d[wp.vec2],
  adj_qpos_spring_out: wp.array2d[float],
):
  worldid, jntid = wp.tid()
  stiffness = jnt_stiffness[worldid % jnt_stiffness.shape[0], jntid]
  poly = jnt_stiffnesspoly[worldid % jnt_stiffnesspoly.shape[0], jntid]
  requested = adj_jnt_stiffness_out.shape[0] > 0 or adj_jnt_stiffnesspoly_out.shape[0] > 0
  if stiffness == 0.0 and poly[0] == 0.0 and poly[1] == 0.0 and not requested:
    return
  spring_row = worldid % qpos_spring.shape[0]
  qposadr = jnt_qposadr[jntid]
  dofadr = jnt_dofadr[jntid]
  jnttype = jnt_type[jntid]
  grad_stiffness = float(0.0)
  grad_poly = wp.vec2()

  if jnttype == FREE or jnttype == BALL:
    if jnttype == FREE:
      x = _vec3(qpos_in, worldid, qposadr) - _vec3(qpos_spring, spring_row, qposadr)
      adj_x, _lam_3d, adj_k, adj_poly = wp.grad(spring_term_3d)(
        x, _vec3(lam_in, worldid, dofadr), stiffness, poly
      )
      for i in range(3):
        adj_qpos_out[worldid, dofadr + i] += adj_x[i]
        accumulate(adj_qpos_spring_out, worldid, qposadr + i, -adj_x[i])
      grad_stiffness += adj_k
      grad_poly += adj_poly
      qposadr += 3
      dofadr += 3
    rotation = wp.normalize(_quat(qpos_in, worldid, qposadr))
    reference = _quat(qpos_spring, spring_row, qposadr)
    x = quat_sub(rotation, reference)
    adj_x, _lam_3d, adj_k, adj_poly = wp.grad(spring_term_3d)(
      x, _vec3(lam_in, worldid, dofadr), stiffness, poly
    )
    adj_tangent = log_jacobian_transpose(x, adj_x)
    for i in range(3):
      adj_qpos_out[worldid, dofadr + i] += adj_tangent[i]
    # log(s^-1 q) has the differential -J_l^-1 in the tangent of s, J_l^-1(x) = J_r^-1(-x)
    adj_reference = to_ambient(reference, -log_jacobian_transpose(-x, adj_x))
    for i in range(4):
      accumulate(adj_qpos_spring_out, worldid, qposadr + i, adj_reference[i])
    grad_stiffness += adj_k
    grad_poly += adj_poly
  else:
    adj_scalar, _lam, adj_k, adj_poly = wp.grad(spring_term)(
      qpos_in[worldid, qposadr] - qpos_spring[spring_row, qposadr],
      lam_in[worldid, dofadr],
      stiffness,
      poly,
    )
    adj_qpos_out[worldid, dofadr] += adj_scalar
    accumulate(adj_qpos_spring_out, worldid, qposadr, -adj_scalar)
    grad_stiffness += adj_k
    grad_poly += adj_poly

  accumulate(adj_jnt_stiffness_out, worldid, jntid, grad_stiffness)
  accumulate(adj_jnt_stiffnesspoly_out, worldid, jntid, grad_poly)


def vjp(work) -> None:
  """Adds the gradients of the joint springs."""
  if not work.spring_enabled:
    return
  m, d = work.model, work.data
  wp.launch(
    _spring_vjp,
    dim=(d.nworld, m.njnt),
    inputs=[
      m.qpos_spring,
      m.jnt_type,
      m.jnt_qposadr,
      m.jnt_dofadr,
      m.jnt_stiffness,
      m.jnt_stiffnesspoly,
      d.qpos,
      work.lam,
      work.adj_qpos,
      work.adj["jnt_stiffness"],
      work.adj["jnt_stiffnesspoly"],
      work.adj["qpos_spring"],
    ],
  )
