"""Per-dof laws: damping, armature and friction loss.

    damping        phi = lam v (b + b1 |v| + b2 v^2)   and, integrated implicitly,
                   psi = h mu a_d (b + 2 b1 |v| + 3 b2 v^2)
                   under discrete: h (lam a - s) max(0, b + 2 b1 |v| + 3 b2 v^2),
                   s of terms/row_scale.py
    armature       phi + psi = armature (lam a + mu e)
    friction loss  phi = -lam f(a - aref), aref = -b v, with f linear between its bounds
                   f = -D y for |y| < frictionloss / D, else -sign(y) frictionloss

Held fixed: the zone of a friction row, whose boundaries are switching points.

Source: MuJoCo documentation, Computation, "Passive forces", "Numerical integration" and
"Constraint model" (friction loss).
"""

import warp as wp

from mjgrad._src.accumulate import RowAdjoint
from mjgrad._src.accumulate import accumulate
from mjgrad._src.accumulate import accumulate_option
from mjgrad._src.accumulate import accumulate_row
from mjgrad._src.engine.adapter import dof_damping_total
from mjgrad._src.engine.adapter import vec5
from mjgrad._src.terms.impedance import friction_damping
from mjgrad._src.terms.impedance import friction_weight
from mjgrad._src.terms.impedance import impedance
from mjgrad._src.terms.row_scale import RowScales
from mjgrad._src.terms.row_scale import scale_of

wp.set_module_options({"enable_backward": False})


UNBOUNDED = wp.constant(-3.0e38)
"""The least slope of a damper that is integrated implicitly; under `discrete` it is 0."""


@wp.func
def damping_term(
  v: float,
  lam: float,
  product: float,
  damping: float,
  poly: wp.vec2,
  h: float,
  floor: float,
) -> wp.float32:
  """phi + psi of one dof, `product` is mu a_d; h is 0 where damping is integrated explicitly."""
  speed = wp.abs(v)
  force = v * (damping + poly[0] * speed + poly[1] * v * v)
  slope = damping + 2.0 * poly[0] * speed + 3.0 * poly[1] * v * v
  return lam * force + h * product * wp.max(floor, slope)


@wp.func
def friction_loss_term(
  v: float,
  a: float,
  lam: float,
  frictionloss: float,
  solref: wp.vec2,
  solimp: vec5,
  invweight: float,
  timestep: float,
  disableflags: int,
) -> wp.float32:
  """phi of one friction row."""
  imp = impedance(solimp, 0.0)
  d = friction_weight(invweight, solref, solimp, imp, timestep, disableflags)
  y = a + friction_damping(solref, solimp, timestep, disableflags) * v
  force = -d * y
  if d * y >= frictionloss:
    force = -frictionloss
  elif d * y <= -frictionloss:
    force = frictionloss
  return -lam * force


@wp.kernel
def _damping_vjp(
  # Model:
  opt_timestep: wp.array[float],
  jnt_actuatorid: wp.array[int],
  dof_jntid: wp.array[int],
  dof_damping: wp.array2d[float],
  dof_dampingpoly: wp.array2d[wp.vec2],
  actuator_trntype: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_damping: wp.array2d[float],
  actuator_dampingpoly: wp.array2d[wp.vec2],
  actuator_gear: wp.array2d[wp.spatial_vector],
  # Data in:
  qvel_in: wp.array2d[float],
  qacc_in: wp.array2d[float],
  # In:
  implicit: bool,
  floor: float,
  lam_in: wp.array2d[float],
  mu_in: wp.array2d[float],
  delta_in: wp.array2d[float],
  metric_dual: wp.array2d[float],
  # Adjoint out (+=):
  adj_qvel_out: wp.array2d[float],
  adj_dof_damping_out: wp.array2d[float],
  adj_dof_dampingpoly_out: wp.array2d[wp.vec2],
  adj_timestep_out: wp.array[float],
):
  worldid, dofid = wp.tid()
  damping, poly = dof_damping_total(
    jnt_actuatorid,
    dof_jntid,
    dof_damping,
    dof_dampingpoly,
    actuator_trntype,
    actuator_trnid,
    actuator_damping,
    actuator_dampingpoly,
    actuator_gear,
    worldid,
    dofid,
  )
  h = float(0.0)
  if implicit:
    h = opt_timestep[worldid % opt_timestep.shape[0]]
  product = mu_in[worldid, dofid] * (qacc_in[worldid, dofid] + delta_in[worldid, dofid])
  product -= metric_dual[worldid, dofid]
  adj_v, _lam, _product, adj_damping, adj_poly, adj_h, _floor = wp.grad(damping_term)(
    qvel_in[worldid, dofid], lam_in[worldid, dofid], product, damping, poly, h, floor
  )
  adj_qvel_out[worldid, dofid] += adj_v
  accumulate(adj_dof_damping_out, worldid, dofid, adj_damping)
  accumulate(adj_dof_dampingpoly_out, worldid, dofid, adj_poly)
  if implicit:
    accumulate_option(adj_timestep_out, worldid, adj_h)


@wp.kernel
def _armature_vjp(
  # Data in:
  qacc_in: wp.array2d[float],
  # In:
  lam_in: wp.array2d[float],
  mu_in: wp.array2d[float],
  delta_in: wp.array2d[float],
  # Adjoint out (+=):
  adj_dof_armature_out: wp.array2d[float],
):
  worldid, dofid = wp.tid()
  grad = lam_in[worldid, dofid] * qacc_in[worldid, dofid]
  grad += mu_in[worldid, dofid] * delta_in[worldid, dofid]
  accumulate(adj_dof_armature_out, worldid, dofid, grad)


@wp.kernel
def _friction_loss_vjp(
  # Model:
  opt_timestep: wp.array[float],
  opt_disableflags: int,
  dof_solref: wp.array2d[wp.vec2],
  dof_solimp: wp.array2d[vec5],
  dof_frictionloss: wp.array2d[float],
  dof_invweight0: wp.array2d[float],
  # Data in:
  qvel_in: wp.array2d[float],
  qacc_in: wp.array2d[float],
  # In:
  lam_in: wp.array2d[float],
  rows: RowScales,
  # Adjoint out (+=):
  adj_qvel_out: wp.array2d[float],
  adj_dof_frictionloss_out: wp.array2d[float],
  adj_row_out: RowAdjoint,
):
  worldid, dofid = wp.tid()
  frictionloss = dof_frictionloss[worldid % dof_frictionloss.shape[0], dofid]
  if frictionloss <= 0.0:
    return
  scale = scale_of(rows, rows.dof_friction, worldid, dofid)
  adj_v, _a, _lam, adj_loss, adj_solref, adj_solimp, adj_invweight, adj_timestep, _flags = wp.grad(
    friction_loss_term
  )(
    qvel_in[worldid, dofid],
    qacc_in[worldid, dofid],
    lam_in[worldid, dofid],
    frictionloss,
    dof_solref[worldid % dof_solref.shape[0], dofid],
    dof_solimp[worldid % dof_solimp.shape[0], dofid],
    scale * dof_invweight0[worldid % dof_invweight0.shape[0], dofid],
    opt_timestep[worldid % opt_timestep.shape[0]],
    opt_disableflags,
  )
  adj_qvel_out[worldid, dofid] += adj_v
  accumulate(adj_dof_frictionloss_out, worldid, dofid, adj_loss)
  accumulate_row(adj_row_out, worldid, dofid, adj_solref, adj_solimp, adj_timestep)
  accumulate(adj_row_out.dof_invweight0, worldid, dofid, scale * adj_invweight)


def armature_vjp(work) -> None:
  """Adds the gradient of armature."""
  m, d = work.model, work.data
  if work.adj["dof_armature"].shape[0] > 0:
    wp.launch(
      _armature_vjp,
      dim=(d.nworld, m.nv),
      inputs=[work.qacc, work.lam, work.mu, work.delta, work.adj["dof_armature"]],
    )


def vjp(work) -> None:
  """Adds the gradients of damping, armature and friction loss."""
  m, d = work.model, work.data
  if work.damper_enabled:
    wp.launch(
      _damping_vjp,
      dim=(d.nworld, m.nv),
      inputs=[
        m.opt.timestep,
        m.jnt_actuatorid,
        m.dof_jntid,
        m.dof_damping,
        m.dof_dampingpoly,
        m.actuator_trntype,
        m.actuator_trnid,
        m.actuator_damping,
        m.actuator_dampingpoly,
        m.actuator_gear,
        d.qvel,
        work.qacc,
        work.implicit or work.discrete,
        work.slope_floor,
        work.lam,
        work.mu,
        work.delta,
        work.metric_dual,
        work.adj_qvel,
        work.adj["dof_damping"],
        work.adj["dof_dampingpoly"],
        work.adj["opt.timestep"],
      ],
    )
  armature_vjp(work)
  if work.dof_friction:
    wp.launch(
      _friction_loss_vjp,
      dim=(d.nworld, m.nv),
      inputs=[
        m.opt.timestep,
        work.row_flags,
        m.dof_solref,
        m.dof_solimp,
        m.dof_frictionloss,
        m.dof_invweight0,
        d.qvel,
        work.qacc,
        work.lam,
        work.row_scales,
        work.adj_qvel,
        work.adj["dof_frictionloss"],
        work.row_adjoint("dof_solref", "dof_solimp"),
      ],
    )
