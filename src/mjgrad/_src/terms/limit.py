"""Joint limits of slides, hinges and balls.

A limit is one unilateral row with distance r = margin-corrected distance to the bound, velocity J v
and acceleration J a, where J is +1 at the lower and -1 at the upper bound, and minus the rotation
axis n for a ball joint:

    phi = (J lam) D(r) y  for y < 0,      y = J a + b J v + k d(r) r

For a ball joint the axis turns with the joint: with t the rotation vector, x = |t|, n = t / x,

    dn = 1/2 n x delta + 1/2 cot(x/2) (delta - n (n . delta)),      dx = n . delta

and under `discrete` J has a rate along the direction of terms/row_scale.py.

Held fixed: which bound is nearer; the sign of y.

Source: MuJoCo documentation, Computation, "Constraint model" (limit).
"""

import functools

import mujoco
import warp as wp

from mjgrad._src.accumulate import RowAdjoint
from mjgrad._src.accumulate import accumulate
from mjgrad._src.accumulate import accumulate_row
from mjgrad._src.engine.adapter import quat_to_vel
from mjgrad._src.engine.adapter import vec5
from mjgrad._src.terms.impedance import ROW_FLAGS
from mjgrad._src.terms.impedance import impedance
from mjgrad._src.terms.impedance import row_damping
from mjgrad._src.terms.impedance import row_stiffness
from mjgrad._src.terms.impedance import row_weight
from mjgrad._src.terms.row_scale import RowScales
from mjgrad._src.terms.row_scale import scale_of

wp.set_module_options({"enable_backward": False})

BALL = wp.constant(int(mujoco.mjtJoint.mjJNT_BALL))


@wp.func
def limit_term(
  r: float,
  vel: float,
  acc: float,
  lam: float,
  solref: wp.vec2,
  solimp: vec5,
  invweight: float,
  timestep: float,
  disableflags: int,
) -> wp.float32:
  """phi of one unilateral row; vel, acc and lam are already projected on the row."""
  imp = impedance(solimp, r)
  y = acc + row_damping(solref, solimp, imp, timestep, disableflags) * vel
  y += row_stiffness(solref, solimp, imp, timestep, disableflags) * imp * r
  value = float(0.0)
  if y < 0.0:
    value = lam * y * row_weight(invweight, solref, solimp, imp, timestep, disableflags)
  return value


@wp.func
def _vec3(values: wp.array2d[float], row: int, column: int) -> wp.vec3:
  return wp.vec3(values[row, column], values[row, column + 1], values[row, column + 2])


@functools.cache
def _limit_vjp(balls: bool, flags: int) -> wp.Kernel:
  """The kernel for models with or without limited balls, and for the flags that rows depend on."""

  @wp.kernel(module="unique", enable_backward=False)
  def limit_vjp(
    # Model:
    opt_timestep: wp.array[float],
    jnt_type: wp.array[int],
    jnt_qposadr: wp.array[int],
    jnt_dofadr: wp.array[int],
    jnt_solref: wp.array2d[wp.vec2],
    jnt_solimp: wp.array2d[vec5],
    jnt_range: wp.array2d[wp.vec2],
    jnt_margin: wp.array2d[float],
    dof_invweight0: wp.array2d[float],
    # Data in:
    qpos_in: wp.array2d[float],
    qvel_in: wp.array2d[float],
    qacc_in: wp.array2d[float],
    # In:
    limited_jnt: wp.array[int],
    rows: RowScales,
    lam_in: wp.array2d[float],
    # Adjoint out (+=):
    adj_qpos_out: wp.array2d[float],
    adj_qvel_out: wp.array2d[float],
    adj_jnt_range_out: wp.array2d[wp.vec2],
    adj_jnt_margin_out: wp.array2d[float],
    adj_row_out: RowAdjoint,
  ):
    worldid, limitid = wp.tid()
    jntid = limited_jnt[limitid]
    qposadr = jnt_qposadr[jntid]
    dofadr = jnt_dofadr[jntid]
    bounds = jnt_range[worldid % jnt_range.shape[0], jntid]
    margin = jnt_margin[worldid % jnt_margin.shape[0], jntid]
    is_ball = wp.static(balls) and jnt_type[jntid] == BALL

    axis = wp.vec3()
    rotation = wp.vec3()
    angle = float(0.0)
    sign = float(1.0)
    if is_ball:
      quat = wp.quat(
        qpos_in[worldid, qposadr],
        qpos_in[worldid, qposadr + 1],
        qpos_in[worldid, qposadr + 2],
        qpos_in[worldid, qposadr + 3],
      )
      rotation = quat_to_vel(wp.normalize(quat))
      angle = wp.length(rotation)
      r = wp.max(bounds[0], bounds[1]) - angle - margin
    else:
      lower = qpos_in[worldid, qposadr] - bounds[0]
      upper = bounds[1] - qpos_in[worldid, qposadr]
      if lower >= upper:
        sign = -1.0
      r = wp.min(lower, upper) - margin
    if r >= 0.0:
      return

    if is_ball:
      axis = rotation / angle
      v = _vec3(qvel_in, worldid, dofadr)
      a = _vec3(qacc_in, worldid, dofadr)
      lam = _vec3(lam_in, worldid, dofadr)
      row_v = -wp.dot(axis, v)
      row_a = -wp.dot(axis, a)
      row_lam = -wp.dot(axis, lam)
    else:
      row_v = sign * qvel_in[worldid, dofadr]
      row_a = sign * qacc_in[worldid, dofadr]
      row_lam = sign * lam_in[worldid, dofadr]

    scale = scale_of(rows, rows.joint_limit, worldid, jntid)
    adj_r, adj_v, adj_a, adj_lam, adj_solref, adj_solimp, adj_invweight, adj_timestep, _flags = (
      wp.grad(limit_term)(
        r,
        row_v,
        row_a,
        row_lam,
        jnt_solref[worldid % jnt_solref.shape[0], jntid],
        jnt_solimp[worldid % jnt_solimp.shape[0], jntid],
        scale * dof_invweight0[worldid % dof_invweight0.shape[0], dofadr],
        opt_timestep[worldid % opt_timestep.shape[0]],
        wp.static(flags),
      )
    )
    if is_ball:
      adj_axis = -(adj_v * v + adj_a * a + adj_lam * lam)
      if rows.scale.shape[0] > 0:
        row = rows.joint_limit[worldid, jntid]
        for i in range(3):
          adj_axis[i] -= rows.direction[worldid, row, dofadr + i]
      half_cot = 0.5 * wp.cos(0.5 * angle) / wp.sin(0.5 * angle)
      adj_tangent = half_cot * (adj_axis - axis * wp.dot(axis, adj_axis))
      adj_tangent -= 0.5 * wp.cross(axis, adj_axis) + adj_r * axis
      for i in range(3):
        adj_qpos_out[worldid, dofadr + i] += adj_tangent[i]
        adj_qvel_out[worldid, dofadr + i] -= adj_v * axis[i]
    else:
      adj_qpos_out[worldid, dofadr] += sign * adj_r
      adj_qvel_out[worldid, dofadr] += sign * adj_v

    adj_bounds = wp.vec2(0.0, adj_r)
    if is_ball:
      if bounds[0] >= bounds[1]:
        adj_bounds = wp.vec2(adj_r, 0.0)
    elif sign > 0.0:
      adj_bounds = wp.vec2(-adj_r, 0.0)
    accumulate(adj_jnt_range_out, worldid, jntid, adj_bounds)
    accumulate(adj_jnt_margin_out, worldid, jntid, -adj_r)
    accumulate_row(adj_row_out, worldid, jntid, adj_solref, adj_solimp, adj_timestep)
    accumulate(adj_row_out.dof_invweight0, worldid, dofadr, scale * adj_invweight)

  return limit_vjp


def vjp(work) -> None:
  """Adds the gradients of the active joint limits."""
  m, d = work.model, work.data
  if not work.limit_enabled:
    return
  wp.launch(
    _limit_vjp(work.ball_limits, work.row_flags & ROW_FLAGS),
    dim=(d.nworld, work.tree.limited_jnt.shape[0]),
    inputs=[
      m.opt.timestep,
      m.jnt_type,
      m.jnt_qposadr,
      m.jnt_dofadr,
      m.jnt_solref,
      m.jnt_solimp,
      m.jnt_range,
      m.jnt_margin,
      m.dof_invweight0,
      d.qpos,
      d.qvel,
      work.qacc,
      work.tree.limited_jnt,
      work.row_scales,
      work.lam,
      work.adj_qpos,
      work.adj_qvel,
      work.adj["jnt_range"],
      work.adj["jnt_margin"],
      work.row_adjoint("jnt_solref", "jnt_solimp"),
    ],
  )
