"""Springs and dampers of tendons.

    spring   phi = lam x (k + k1 x + k2 x^2),   x the distance of L from the range `lengthspring`
    damper   phi = lam v (b + b1 |v| + b2 v^2)  and, under implicitfast,
             psi = h [mu, a_d] (b + 2 b1 |v| + 3 b2 v^2)

and under discrete, with s the sum of J_c^2 `work.metric_dual`_c (terms/row_scale.py),

    spring   phi += h (lam (v + h a) - h s) max(0, k + 2 k1 x + 3 k2 x^2)
    damper   phi += h (lam a - s) max(0, b + 2 b1 |v| + 3 b2 v^2)

with v, lam, ... the rates of the tendon (terms/tendon_rates.py). The implicit integrator keeps of
J J^T what the pattern of the inertia matrix has room for, pairs of dofs on one chain; [mu, a_d] is
that part of (J mu) (J a_d), see terms/tendon_direction.py where it is not all of it. `discrete`
keeps all of it.

Source: MuJoCo documentation, Computation, "Passive forces", "Numerical integration"; XML reference,
"tendon/spatial" (springlength).
"""

import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.accumulate import accumulate_option
from mjgrad._src.engine.adapter import tendon_damping_total
from mjgrad._src.terms.dof import damping_term
from mjgrad._src.terms.joint_spring import spring_slope
from mjgrad._src.terms.tendon_rates import chain_product
from mjgrad._src.terms.tendon_rates import squared_row
from mjgrad._src.tree.twists import ACC
from mjgrad._src.tree.twists import DELTA
from mjgrad._src.tree.twists import LAM
from mjgrad._src.tree.twists import MU
from mjgrad._src.tree.twists import V

wp.set_module_options({"enable_backward": False})


@wp.func
def spring_term(
  length: float,
  lam: float,
  stiffness: float,
  poly: wp.vec2,
  lengthspring: wp.vec2,
  drift: float,
) -> wp.float32:
  """phi of one spring; no force inside the dead band. `drift` is 0 but under discrete."""
  x = float(0.0)
  slope = float(0.0)
  if length > lengthspring[1]:
    x = length - lengthspring[1]
    slope = spring_slope(x, stiffness, poly)
  elif length < lengthspring[0]:
    x = length - lengthspring[0]
    slope = spring_slope(x, stiffness, poly)
  return lam * x * (stiffness + x * (poly[0] + x * poly[1])) + drift * slope


@wp.kernel
def _spring_vjp(
  # Model:
  opt_timestep: wp.array[float],
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  tendon_stiffness: wp.array2d[float],
  tendon_stiffnesspoly: wp.array2d[wp.vec2],
  tendon_lengthspring: wp.array2d[wp.vec2],
  # Data in:
  ten_J_in: wp.array2d[float],
  ten_length_in: wp.array2d[float],
  # In:
  ten_rate: wp.array3d[float],
  metric_dual: wp.array2d[float],
  discrete: bool,
  # Adjoint out (+=):
  adj_ten_length_out: wp.array2d[float],
  adj_ten_rate_out: wp.array3d[float],
  adj_tendon_stiffness_out: wp.array2d[float],
  adj_tendon_stiffnesspoly_out: wp.array2d[wp.vec2],
  adj_tendon_lengthspring_out: wp.array2d[wp.vec2],
  adj_timestep_out: wp.array[float],
):
  worldid, tenid = wp.tid()
  h = float(0.0)
  product = float(0.0)
  velocity = float(0.0)
  lam = ten_rate[worldid, tenid, LAM]
  v = ten_rate[worldid, tenid, V]
  a = ten_rate[worldid, tenid, ACC]
  if discrete:
    h = opt_timestep[worldid % opt_timestep.shape[0]]
    velocity = lam * v
    product = lam * a - squared_row(
      ten_J_rownnz, ten_J_rowadr, ten_J_colind, ten_J_in, metric_dual, worldid, tenid
    )
  adj_length, adj_lam, adj_stiffness, adj_poly, adj_lengthspring, adj_drift = wp.grad(spring_term)(
    ten_length_in[worldid, tenid],
    lam,
    tendon_stiffness[worldid % tendon_stiffness.shape[0], tenid],
    tendon_stiffnesspoly[worldid % tendon_stiffnesspoly.shape[0], tenid],
    tendon_lengthspring[worldid % tendon_lengthspring.shape[0], tenid],
    h * (velocity + h * product),
  )
  adj_ten_length_out[worldid, tenid] += adj_length
  adj_ten_rate_out[worldid, tenid, LAM] += adj_lam
  if discrete:
    adj_drift *= h
    adj_ten_rate_out[worldid, tenid, LAM] += adj_drift * (v + h * a)
    adj_ten_rate_out[worldid, tenid, V] += adj_drift * lam
    adj_ten_rate_out[worldid, tenid, ACC] += adj_drift * h * lam
    accumulate_option(adj_timestep_out, worldid, adj_drift / h * (velocity + 2.0 * h * product))
  accumulate(adj_tendon_stiffness_out, worldid, tenid, adj_stiffness)
  accumulate(adj_tendon_stiffnesspoly_out, worldid, tenid, adj_poly)
  accumulate(adj_tendon_lengthspring_out, worldid, tenid, adj_lengthspring)


@wp.kernel
def _damper_vjp(
  # Model:
  opt_timestep: wp.array[float],
  tendon_actuatorid: wp.array[int],
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  tendon_damping: wp.array2d[float],
  tendon_dampingpoly: wp.array2d[wp.vec2],
  actuator_trntype: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_damping: wp.array2d[float],
  actuator_dampingpoly: wp.array2d[wp.vec2],
  actuator_gear: wp.array2d[wp.spatial_vector],
  M_elemid: wp.array2d[int],
  # Data in:
  qacc_in: wp.array2d[float],
  ten_J_in: wp.array2d[float],
  # In:
  implicit: bool,
  discrete: bool,
  floor: float,
  mu_in: wp.array2d[float],
  delta_in: wp.array2d[float],
  metric_dual: wp.array2d[float],
  ten_rate: wp.array3d[float],
  tendon_branching: wp.array[bool],
  # Adjoint out (+=):
  adj_ten_rate_out: wp.array3d[float],
  branch_weight_out: wp.array2d[float],
  adj_tendon_damping_out: wp.array2d[float],
  adj_tendon_dampingpoly_out: wp.array2d[wp.vec2],
  adj_timestep_out: wp.array[float],
):
  worldid, tenid = wp.tid()
  damping, poly = tendon_damping_total(
    tendon_actuatorid,
    tendon_damping,
    tendon_dampingpoly,
    actuator_trntype,
    actuator_trnid,
    actuator_damping,
    actuator_dampingpoly,
    actuator_gear,
    worldid,
    tenid,
  )
  given = adj_tendon_damping_out.shape[0] > 0 or adj_tendon_dampingpoly_out.shape[0] > 0
  if damping == 0.0 and poly[0] == 0.0 and poly[1] == 0.0 and not given:
    return
  h = float(0.0)
  product = float(0.0)
  branching = bool(False)
  if implicit:
    h = opt_timestep[worldid % opt_timestep.shape[0]]
  if discrete:
    product = ten_rate[worldid, tenid, LAM] * ten_rate[worldid, tenid, ACC] - squared_row(
      ten_J_rownnz, ten_J_rowadr, ten_J_colind, ten_J_in, metric_dual, worldid, tenid
    )
  elif implicit:
    branching = tendon_branching[tenid]
    product = chain_product(
      ten_J_rownnz, ten_J_rowadr, ten_J_colind, M_elemid, ten_J_in, mu_in, qacc_in, worldid, tenid
    )
    product += chain_product(
      ten_J_rownnz, ten_J_rowadr, ten_J_colind, M_elemid, ten_J_in, mu_in, delta_in, worldid, tenid
    )
  adj_v, adj_lam, adj_product, adj_damping, adj_poly, adj_h, _floor = wp.grad(damping_term)(
    ten_rate[worldid, tenid, V], ten_rate[worldid, tenid, LAM], product, damping, poly, h, floor
  )
  adj_ten_rate_out[worldid, tenid, V] += adj_v
  adj_ten_rate_out[worldid, tenid, LAM] += adj_lam
  if implicit:
    accumulate_option(adj_timestep_out, worldid, adj_h)
  if branching:
    wp.atomic_add(branch_weight_out, worldid, tenid, adj_product)
  elif implicit:
    a_d = ten_rate[worldid, tenid, ACC] + ten_rate[worldid, tenid, DELTA]
    mu = ten_rate[worldid, tenid, MU]
    adj_ten_rate_out[worldid, tenid, MU] += adj_product * a_d
    adj_ten_rate_out[worldid, tenid, ACC] += adj_product * mu
    adj_ten_rate_out[worldid, tenid, DELTA] += adj_product * mu
  accumulate(adj_tendon_damping_out, worldid, tenid, adj_damping)
  accumulate(adj_tendon_dampingpoly_out, worldid, tenid, adj_poly)


@wp.kernel
def _damping_matrix(
  # Model:
  opt_timestep: wp.array[float],
  tendon_actuatorid: wp.array[int],
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  tendon_damping: wp.array2d[float],
  tendon_dampingpoly: wp.array2d[wp.vec2],
  actuator_trntype: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_damping: wp.array2d[float],
  actuator_dampingpoly: wp.array2d[wp.vec2],
  actuator_gear: wp.array2d[wp.spatial_vector],
  M_elemid: wp.array2d[int],
  # Data in:
  ten_J_in: wp.array2d[float],
  # In:
  ten_rate: wp.array3d[float],
  # Out:
  matrix_out: wp.array3d[wp.float64],
):
  worldid, tenid, nonzero = wp.tid()
  rownnz = ten_J_rownnz[tenid]
  if nonzero >= rownnz:
    return
  damping, poly = tendon_damping_total(
    tendon_actuatorid,
    tendon_damping,
    tendon_dampingpoly,
    actuator_trntype,
    actuator_trnid,
    actuator_damping,
    actuator_dampingpoly,
    actuator_gear,
    worldid,
    tenid,
  )
  v = wp.abs(ten_rate[worldid, tenid, V])
  slope = damping + 2.0 * poly[0] * v + 3.0 * poly[1] * v * v
  if slope == 0.0:
    return
  h = wp.float64(opt_timestep[worldid % opt_timestep.shape[0]])
  first = ten_J_rowadr[tenid]
  i = ten_J_colind[first + nonzero]
  scaled = h * wp.float64(slope) * wp.float64(ten_J_in[worldid, first + nonzero])
  for k in range(first + nonzero, first + rownnz):
    j = ten_J_colind[k]
    if M_elemid[wp.max(i, j), wp.min(i, j)] >= 0:
      wp.atomic_add(matrix_out, worldid, j, i, scaled * wp.float64(ten_J_in[worldid, k]))


def add_damping_matrix(work) -> None:
  """Adds what tendon damping contributes to A under implicitfast to `work.matrix`."""
  m, d = work.model, work.data
  if not work.implicit_tendon_damping:
    return
  wp.launch(
    _damping_matrix,
    dim=(d.nworld, m.ntendon, m.max_ten_J_rownnz),
    inputs=[
      m.opt.timestep,
      m.tendon_actuatorid,
      m.ten_J_rownnz,
      m.ten_J_rowadr,
      m.ten_J_colind,
      m.tendon_damping,
      m.tendon_dampingpoly,
      m.actuator_trntype,
      m.actuator_trnid,
      m.actuator_damping,
      m.actuator_dampingpoly,
      m.actuator_gear,
      m.M_elemid,
      d.ten_J,
      work.ten_rate,
    ],
    outputs=[work.matrix],
  )


def vjp(work) -> None:
  """Adds the cotangents of length and rates, and the gradients of the parameters."""
  m, d = work.model, work.data
  if m.ntendon == 0:
    return
  if work.spring_enabled:
    wp.launch(
      _spring_vjp,
      dim=(d.nworld, m.ntendon),
      inputs=[
        m.opt.timestep,
        m.ten_J_rownnz,
        m.ten_J_rowadr,
        m.ten_J_colind,
        m.tendon_stiffness,
        m.tendon_stiffnesspoly,
        m.tendon_lengthspring,
        d.ten_J,
        d.ten_length,
        work.ten_rate,
        work.metric_dual,
        work.discrete,
        work.adj_ten_length,
        work.adj_ten_rate,
        work.adj["tendon_stiffness"],
        work.adj["tendon_stiffnesspoly"],
        work.adj["tendon_lengthspring"],
        work.adj["opt.timestep"],
      ],
    )
  if work.damper_enabled:
    wp.launch(
      _damper_vjp,
      dim=(d.nworld, m.ntendon),
      inputs=[
        m.opt.timestep,
        m.tendon_actuatorid,
        m.ten_J_rownnz,
        m.ten_J_rowadr,
        m.ten_J_colind,
        m.tendon_damping,
        m.tendon_dampingpoly,
        m.actuator_trntype,
        m.actuator_trnid,
        m.actuator_damping,
        m.actuator_dampingpoly,
        m.actuator_gear,
        m.M_elemid,
        work.qacc,
        d.ten_J,
        work.implicit_tendon_damping or work.discrete,
        work.discrete,
        work.slope_floor,
        work.mu,
        work.delta,
        work.metric_dual,
        work.ten_rate,
        work.tree.tendon_branching,
        work.adj_ten_rate,
        work.branch_weight,
        work.adj["tendon_damping"],
        work.adj["tendon_dampingpoly"],
        work.adj["opt.timestep"],
      ],
    )
