"""Joint springs: tau = -(k + k1 x + k2 x^2) x about the spring reference.

For slides and hinges x = q - q_spring. For ball joints x is the rotation vector from the reference
and for free joints translation and rotation each have their own; there the coefficient uses |x|.

    phi = lam . x (k + k1 |x| + k2 |x|^2)  and, under discrete,
        + h (lam . (v + h a) - h s) max(0, k + 2 k1 |x| + 3 k2 |x|^2)

s being the sum of `work.metric_dual` over the dofs (terms/row_scale.py).

Source: MuJoCo documentation, Computation, "Passive forces"; Modeling, "stiffness".
"""

import mujoco
import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.accumulate import accumulate_option
from mjgrad._src.engine.adapter import quat_sub
from mjgrad._src.integrators.manifold import log_jacobian_transpose
from mjgrad._src.integrators.manifold import to_ambient

wp.set_module_options({"enable_backward": False})

FREE = wp.constant(int(mujoco.mjtJoint.mjJNT_FREE))
BALL = wp.constant(int(mujoco.mjtJoint.mjJNT_BALL))


@wp.func
def spring_slope(x: float, stiffness: float, poly: wp.vec2) -> wp.float32:
  """Derivative of the spring force where it is positive, else 0."""
  return wp.max(0.0, stiffness + 2.0 * poly[0] * x + 3.0 * poly[1] * x * x)


@wp.func
def spring_term(x: float, lam: float, stiffness: float, poly: wp.vec2, drift: float) -> wp.float32:
  """phi of a scalar joint; `drift` is h (lam . (v + h a) - h s), 0 but under discrete."""
  force = x * (stiffness + poly[0] * x + poly[1] * x * x)
  return lam * force + drift * spring_slope(x, stiffness, poly)


@wp.func
def spring_term_3d(
  x: wp.vec3, lam: wp.vec3, stiffness: float, poly: wp.vec2, drift: float
) -> wp.float32:
  """phi of a translation or a rotation vector."""
  r = wp.length(x)
  force = wp.dot(lam, x) * (stiffness + poly[0] * r + poly[1] * r * r)
  return force + drift * spring_slope(r, stiffness, poly)


@wp.struct
class Drift:
  """h (lam . (v + h a) - h s) of some dofs, and its derivative in h."""

  value: float
  rate: float


@wp.func
def _drift(
  # Model:
  opt_timestep: wp.array[float],
  # Data in:
  qvel_in: wp.array2d[float],
  qacc_in: wp.array2d[float],
  # In:
  lam_in: wp.array2d[float],
  metric_dual: wp.array2d[float],
  discrete: bool,
  worldid: int,
  dofadr: int,
  count: int,
) -> Drift:
  drift = Drift()
  if discrete:
    h = opt_timestep[worldid % opt_timestep.shape[0]]
    velocity = float(0.0)
    product = float(0.0)
    for dofid in range(dofadr, dofadr + count):
      velocity += lam_in[worldid, dofid] * qvel_in[worldid, dofid]
      product += lam_in[worldid, dofid] * qacc_in[worldid, dofid] - metric_dual[worldid, dofid]
    drift.value = h * (velocity + h * product)
    drift.rate = velocity + 2.0 * h * product
  return drift


@wp.func
def _drift_vjp(
  # Model:
  opt_timestep: wp.array[float],
  # In:
  lam_in: wp.array2d[float],
  drift: Drift,
  discrete: bool,
  worldid: int,
  dofadr: int,
  count: int,
  # Adjoint in:
  adj_drift: float,
  # Adjoint out (+=):
  adj_qvel_out: wp.array2d[float],
  adj_timestep_out: wp.array[float],
):
  if discrete:
    h = opt_timestep[worldid % opt_timestep.shape[0]]
    for dofid in range(dofadr, dofadr + count):
      adj_qvel_out[worldid, dofid] += adj_drift * h * lam_in[worldid, dofid]
    accumulate_option(adj_timestep_out, worldid, adj_drift * drift.rate)


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
  opt_timestep: wp.array[float],
  qpos_spring: wp.array2d[float],
  jnt_type: wp.array[int],
  jnt_qposadr: wp.array[int],
  jnt_dofadr: wp.array[int],
  jnt_stiffness: wp.array2d[float],
  jnt_stiffnesspoly: wp.array2d[wp.vec2],
  # Data in:
  qpos_in: wp.array2d[float],
  qvel_in: wp.array2d[float],
  qacc_in: wp.array2d[float],
  # In:
  lam_in: wp.array2d[float],
  metric_dual: wp.array2d[float],
  discrete: bool,
  # Adjoint out (+=):
  adj_qpos_out: wp.array2d[float],
  adj_qvel_out: wp.array2d[float],
  adj_jnt_stiffness_out: wp.array2d[float],
  adj_jnt_stiffnesspoly_out: wp.array2d[wp.vec2],
  adj_qpos_spring_out: wp.array2d[float],
  adj_timestep_out: wp.array[float],
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
      drift = _drift(
        opt_timestep, qvel_in, qacc_in, lam_in, metric_dual, discrete, worldid, dofadr, 3
      )
      adj_x, _lam_3d, adj_k, adj_poly, adj_drift = wp.grad(spring_term_3d)(
        x, _vec3(lam_in, worldid, dofadr), stiffness, poly, drift.value
      )
      _drift_vjp(
        opt_timestep,
        lam_in,
        drift,
        discrete,
        worldid,
        dofadr,
        3,
        adj_drift,
        adj_qvel_out,
        adj_timestep_out,
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
    drift = _drift(
      opt_timestep, qvel_in, qacc_in, lam_in, metric_dual, discrete, worldid, dofadr, 3
    )
    adj_x, _lam_3d, adj_k, adj_poly, adj_drift = wp.grad(spring_term_3d)(
      x, _vec3(lam_in, worldid, dofadr), stiffness, poly, drift.value
    )
    _drift_vjp(
      opt_timestep,
      lam_in,
      drift,
      discrete,
      worldid,
      dofadr,
      3,
      adj_drift,
      adj_qvel_out,
      adj_timestep_out,
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
    drift = _drift(
      opt_timestep, qvel_in, qacc_in, lam_in, metric_dual, discrete, worldid, dofadr, 1
    )
    adj_scalar, _lam, adj_k, adj_poly, adj_drift = wp.grad(spring_term)(
      qpos_in[worldid, qposadr] - qpos_spring[spring_row, qposadr],
      lam_in[worldid, dofadr],
      stiffness,
      poly,
      drift.value,
    )
    _drift_vjp(
      opt_timestep,
      lam_in,
      drift,
      discrete,
      worldid,
      dofadr,
      1,
      adj_drift,
      adj_qvel_out,
      adj_timestep_out,
    )
    adj_qpos_out[worldid, dofadr] += adj_scalar
    accumulate(adj_qpos_spring_out, worldid, qposadr, -adj_scalar)
    grad_stiffness += adj_k
    grad_poly += adj_poly

  accumulate(adj_jnt_stiffness_out, worldid, jntid, grad_stiffness)
  accumulate(adj_jnt_stiffnesspoly_out, worldid, jntid, grad_poly)


def vjp(work) -> None:
  """Adds the gradients of the joint springs."""
  if not work.joint_springs:
    return
  m, d = work.model, work.data
  wp.launch(
    _spring_vjp,
    dim=(d.nworld, m.njnt),
    inputs=[
      m.opt.timestep,
      m.qpos_spring,
      m.jnt_type,
      m.jnt_qposadr,
      m.jnt_dofadr,
      m.jnt_stiffness,
      m.jnt_stiffnesspoly,
      d.qpos,
      d.qvel,
      work.qacc,
      work.lam,
      work.metric_dual,
      work.discrete,
      work.adj_qpos,
      work.adj_qvel,
      work.adj["jnt_stiffness"],
      work.adj["jnt_stiffnesspoly"],
      work.adj["qpos_spring"],
      work.adj["opt.timestep"],
    ],
  )
