"""Constraint rows of tendons: limits, friction loss and polynomial equalities.

    limit          r = min(L - lower, upper - L) - margin, row J or -J: as for joints, limit.py
    friction loss  as for dofs (terms/dof.py), on the rates of the tendon
    equality       L1 - L1_0 = p(L2 - L2_0), p a quartic: as for joints (terms/joint_equality.py)

Under `discrete` each row has a rate along the direction x of terms/row_scale.py, which it adds to
those of its tendons (terms/tendon_direction.py): x or -x for a limit, x and -p' x for an equality.

Held fixed: `tendon_invweight0`; which bound is nearer; the sign of y.

Source: MuJoCo documentation, Computation, "Constraint model"; XML reference, "equality/tendon".
"""

import warp as wp

from mjgrad._src.accumulate import RowAdjoint
from mjgrad._src.accumulate import accumulate
from mjgrad._src.accumulate import accumulate_row
from mjgrad._src.engine.adapter import vec5
from mjgrad._src.engine.adapter import vec12
from mjgrad._src.terms.dof import friction_loss_term
from mjgrad._src.terms.joint_equality import JointMotion
from mjgrad._src.terms.joint_equality import joint_equality_term
from mjgrad._src.terms.limit import limit_term
from mjgrad._src.terms.row_scale import RowScales
from mjgrad._src.terms.row_scale import scale_of
from mjgrad._src.tree.twists import ACC
from mjgrad._src.tree.twists import LAM
from mjgrad._src.tree.twists import V

wp.set_module_options({"enable_backward": False})


@wp.func
def _add_along(
  rows: RowScales,
  row_of: wp.array2d[int],
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  worldid: int,
  element: int,
  tenid: int,
  slope: float,
  ten_direction_out: wp.array3d[float],
):
  """Adds what the direction of an element's row is for a tendon that it is `slope` times."""
  if rows.scale.shape[0] > 0:
    row = row_of[worldid, element]
    first = ten_J_rowadr[tenid]
    for k in range(first, first + ten_J_rownnz[tenid]):
      c = ten_J_colind[k]
      wp.atomic_add(ten_direction_out, worldid, tenid, c, slope * rows.direction[worldid, row, c])


@wp.kernel
def _limit_vjp(
  # Model:
  opt_timestep: wp.array[float],
  opt_disableflags: int,
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  tendon_solref_lim: wp.array2d[wp.vec2],
  tendon_solimp_lim: wp.array2d[vec5],
  tendon_range: wp.array2d[wp.vec2],
  tendon_margin: wp.array2d[float],
  tendon_invweight0: wp.array2d[float],
  tendon_limited_adr: wp.array[int],
  # Data in:
  ten_length_in: wp.array2d[float],
  # In:
  rows: RowScales,
  ten_rate: wp.array3d[float],
  # Adjoint out (+=):
  adj_ten_length_out: wp.array2d[float],
  adj_ten_rate_out: wp.array3d[float],
  ten_direction_out: wp.array3d[float],
  adj_tendon_range_out: wp.array2d[wp.vec2],
  adj_tendon_margin_out: wp.array2d[float],
  adj_row_out: RowAdjoint,
):
  worldid, limitid = wp.tid()
  tenid = tendon_limited_adr[limitid]
  bounds = tendon_range[worldid % tendon_range.shape[0], tenid]
  length = ten_length_in[worldid, tenid]
  lower = length - bounds[0]
  upper = bounds[1] - length
  r = wp.min(lower, upper) - tendon_margin[worldid % tendon_margin.shape[0], tenid]
  if r >= 0.0:
    return
  sign = float(-1.0)
  if lower < upper:
    sign = 1.0
  scale = scale_of(rows, rows.tendon_limit, worldid, tenid)

  adj_r, adj_v, adj_a, adj_lam, adj_solref, adj_solimp, adj_invweight, adj_timestep, _flags = (
    wp.grad(limit_term)(
      r,
      sign * ten_rate[worldid, tenid, V],
      sign * ten_rate[worldid, tenid, ACC],
      sign * ten_rate[worldid, tenid, LAM],
      tendon_solref_lim[worldid % tendon_solref_lim.shape[0], tenid],
      tendon_solimp_lim[worldid % tendon_solimp_lim.shape[0], tenid],
      scale * tendon_invweight0[worldid % tendon_invweight0.shape[0], tenid],
      opt_timestep[worldid % opt_timestep.shape[0]],
      opt_disableflags,
    )
  )
  adj_ten_length_out[worldid, tenid] += sign * adj_r
  adj_ten_rate_out[worldid, tenid, V] += sign * adj_v
  adj_ten_rate_out[worldid, tenid, ACC] += sign * adj_a
  adj_ten_rate_out[worldid, tenid, LAM] += sign * adj_lam
  _add_along(
    rows,
    rows.tendon_limit,
    ten_J_rownnz,
    ten_J_rowadr,
    ten_J_colind,
    worldid,
    tenid,
    tenid,
    sign,
    ten_direction_out,
  )
  adj_bounds = wp.vec2(0.0, adj_r)
  if lower < upper:
    adj_bounds = wp.vec2(-adj_r, 0.0)
  accumulate(adj_tendon_range_out, worldid, tenid, adj_bounds)
  accumulate(adj_tendon_margin_out, worldid, tenid, -adj_r)
  accumulate_row(adj_row_out, worldid, tenid, adj_solref, adj_solimp, adj_timestep)
  accumulate(adj_row_out.tendon_invweight0, worldid, tenid, scale * adj_invweight)


@wp.kernel
def _friction_loss_vjp(
  # Model:
  opt_timestep: wp.array[float],
  opt_disableflags: int,
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  tendon_solref_fri: wp.array2d[wp.vec2],
  tendon_solimp_fri: wp.array2d[vec5],
  tendon_frictionloss: wp.array2d[float],
  tendon_invweight0: wp.array2d[float],
  # In:
  rows: RowScales,
  ten_rate: wp.array3d[float],
  # Adjoint out (+=):
  adj_ten_rate_out: wp.array3d[float],
  ten_direction_out: wp.array3d[float],
  adj_tendon_frictionloss_out: wp.array2d[float],
  adj_row_out: RowAdjoint,
):
  worldid, tenid = wp.tid()
  frictionloss = tendon_frictionloss[worldid % tendon_frictionloss.shape[0], tenid]
  if frictionloss <= 0.0:
    return
  scale = scale_of(rows, rows.tendon_friction, worldid, tenid)
  (
    adj_v,
    adj_a,
    adj_lam,
    adj_loss,
    adj_solref,
    adj_solimp,
    adj_invweight,
    adj_timestep,
    _flags,
  ) = wp.grad(friction_loss_term)(
    ten_rate[worldid, tenid, V],
    ten_rate[worldid, tenid, ACC],
    ten_rate[worldid, tenid, LAM],
    frictionloss,
    tendon_solref_fri[worldid % tendon_solref_fri.shape[0], tenid],
    tendon_solimp_fri[worldid % tendon_solimp_fri.shape[0], tenid],
    scale * tendon_invweight0[worldid % tendon_invweight0.shape[0], tenid],
    opt_timestep[worldid % opt_timestep.shape[0]],
    opt_disableflags,
  )
  adj_ten_rate_out[worldid, tenid, V] += adj_v
  adj_ten_rate_out[worldid, tenid, ACC] += adj_a
  adj_ten_rate_out[worldid, tenid, LAM] += adj_lam
  _add_along(
    rows,
    rows.tendon_friction,
    ten_J_rownnz,
    ten_J_rowadr,
    ten_J_colind,
    worldid,
    tenid,
    tenid,
    1.0,
    ten_direction_out,
  )
  accumulate(adj_tendon_frictionloss_out, worldid, tenid, adj_loss)
  accumulate_row(adj_row_out, worldid, tenid, adj_solref, adj_solimp, adj_timestep)
  accumulate(adj_row_out.tendon_invweight0, worldid, tenid, scale * adj_invweight)


@wp.func
def _rate_along(
  rows: RowScales,
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  ten_J_in: wp.array2d[float],
  worldid: int,
  eqid: int,
  tenid: int,
) -> float:
  """J x of a tendon, x of an equality's row; 0 but under `discrete`."""
  rate = float(0.0)
  if rows.scale.shape[0] > 0:
    row = rows.equality[worldid, eqid]
    first = ten_J_rowadr[tenid]
    for k in range(first, first + ten_J_rownnz[tenid]):
      rate += ten_J_in[worldid, k] * rows.direction[worldid, row, ten_J_colind[k]]
  return rate


@wp.func
def _motion(
  tendon_length0: wp.array2d[float],
  ten_length_in: wp.array2d[float],
  ten_rate: wp.array3d[float],
  rate_along: float,
  worldid: int,
  tenid: int,
) -> JointMotion:
  """Displacement from the reference length, and rates along v, a, lam and x."""
  return JointMotion(
    ten_length_in[worldid, tenid] - tendon_length0[worldid % tendon_length0.shape[0], tenid],
    ten_rate[worldid, tenid, V],
    ten_rate[worldid, tenid, ACC],
    ten_rate[worldid, tenid, LAM],
    rate_along,
  )


@wp.func
def _add_motion(
  worldid: int,
  tenid: int,
  adj: JointMotion,
  adj_ten_length_out: wp.array2d[float],
  adj_ten_rate_out: wp.array3d[float],
):
  wp.atomic_add(adj_ten_length_out, worldid, tenid, adj[0])
  wp.atomic_add(adj_ten_rate_out, worldid, tenid, V, adj[1])
  wp.atomic_add(adj_ten_rate_out, worldid, tenid, ACC, adj[2])
  wp.atomic_add(adj_ten_rate_out, worldid, tenid, LAM, adj[3])


@wp.kernel
def _equality_vjp(
  # Model:
  opt_timestep: wp.array[float],
  opt_disableflags: int,
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  eq_obj1id: wp.array[int],
  eq_obj2id: wp.array[int],
  eq_solref: wp.array2d[wp.vec2],
  eq_solimp: wp.array2d[vec5],
  eq_data: wp.array2d[vec12],
  tendon_length0: wp.array2d[float],
  tendon_invweight0: wp.array2d[float],
  eq_ten_adr: wp.array[int],
  # Data in:
  eq_active_in: wp.array2d[bool],
  ten_J_in: wp.array2d[float],
  ten_length_in: wp.array2d[float],
  # In:
  rows: RowScales,
  ten_rate: wp.array3d[float],
  # Adjoint out (+=):
  adj_ten_length_out: wp.array2d[float],
  adj_ten_rate_out: wp.array3d[float],
  ten_direction_out: wp.array3d[float],
  adj_tendon_length0_out: wp.array2d[float],
  adj_eq_data_out: wp.array2d[vec12],
  adj_row_out: RowAdjoint,
):
  worldid, adr = wp.tid()
  eqid = eq_ten_adr[adr]
  if not eq_active_in[worldid, eqid]:
    return
  ten1 = eq_obj1id[eqid]
  ten2 = eq_obj2id[eqid]
  weight_row = worldid % tendon_invweight0.shape[0]
  along1 = _rate_along(
    rows, ten_J_rownnz, ten_J_rowadr, ten_J_colind, ten_J_in, worldid, eqid, ten1
  )
  motion1 = _motion(tendon_length0, ten_length_in, ten_rate, along1, worldid, ten1)
  invweight = tendon_invweight0[weight_row, ten1]
  coupled = ten2 >= 0
  motion2 = JointMotion()
  if coupled:
    along2 = _rate_along(
      rows, ten_J_rownnz, ten_J_rowadr, ten_J_colind, ten_J_in, worldid, eqid, ten2
    )
    motion2 = _motion(tendon_length0, ten_length_in, ten_rate, along2, worldid, ten2)
    invweight += tendon_invweight0[weight_row, ten2]
  scale = scale_of(rows, rows.equality, worldid, eqid)

  (
    adj1,
    adj2,
    adj_data,
    _coupled,
    adj_solref,
    adj_solimp,
    adj_invweight,
    adj_timestep,
    _flags,
  ) = wp.grad(joint_equality_term)(
    motion1,
    motion2,
    eq_data[worldid % eq_data.shape[0], eqid],
    coupled,
    eq_solref[worldid % eq_solref.shape[0], eqid],
    eq_solimp[worldid % eq_solimp.shape[0], eqid],
    scale * invweight,
    opt_timestep[worldid % opt_timestep.shape[0]],
    opt_disableflags,
  )
  _add_motion(worldid, ten1, adj1, adj_ten_length_out, adj_ten_rate_out)
  _add_along(
    rows,
    rows.equality,
    ten_J_rownnz,
    ten_J_rowadr,
    ten_J_colind,
    worldid,
    eqid,
    ten1,
    adj1[4],
    ten_direction_out,
  )
  accumulate(adj_tendon_length0_out, worldid, ten1, -adj1[0])
  if coupled:
    _add_motion(worldid, ten2, adj2, adj_ten_length_out, adj_ten_rate_out)
    _add_along(
      rows,
      rows.equality,
      ten_J_rownnz,
      ten_J_rowadr,
      ten_J_colind,
      worldid,
      eqid,
      ten2,
      adj2[4],
      ten_direction_out,
    )
    accumulate(adj_tendon_length0_out, worldid, ten2, -adj2[0])
  accumulate(adj_eq_data_out, worldid, eqid, adj_data)
  accumulate_row(adj_row_out, worldid, eqid, adj_solref, adj_solimp, adj_timestep)
  accumulate(adj_row_out.tendon_invweight0, worldid, ten1, scale * adj_invweight)
  if coupled:
    accumulate(adj_row_out.tendon_invweight0, worldid, ten2, scale * adj_invweight)


def vjp(work) -> None:
  """Adds the cotangents of length and rates, and the gradients of the parameters."""
  m, d = work.model, work.data
  if m.ntendon == 0:
    return
  if work.tendon_limit_enabled:
    wp.launch(
      _limit_vjp,
      dim=(d.nworld, m.tendon_limited_adr.size),
      inputs=[
        m.opt.timestep,
        work.row_flags,
        m.ten_J_rownnz,
        m.ten_J_rowadr,
        m.ten_J_colind,
        m.tendon_solref_lim,
        m.tendon_solimp_lim,
        m.tendon_range,
        m.tendon_margin,
        m.tendon_invweight0,
        m.tendon_limited_adr,
        d.ten_length,
        work.row_scales,
        work.ten_rate,
        work.adj_ten_length,
        work.adj_ten_rate,
        work.ten_direction,
        work.adj["tendon_range"],
        work.adj["tendon_margin"],
        work.row_adjoint("tendon_solref_lim", "tendon_solimp_lim"),
      ],
    )
  if work.frictionloss_enabled:
    wp.launch(
      _friction_loss_vjp,
      dim=(d.nworld, m.ntendon),
      inputs=[
        m.opt.timestep,
        work.row_flags,
        m.ten_J_rownnz,
        m.ten_J_rowadr,
        m.ten_J_colind,
        m.tendon_solref_fri,
        m.tendon_solimp_fri,
        m.tendon_frictionloss,
        m.tendon_invweight0,
        work.row_scales,
        work.ten_rate,
        work.adj_ten_rate,
        work.ten_direction,
        work.adj["tendon_frictionloss"],
        work.row_adjoint("tendon_solref_fri", "tendon_solimp_fri"),
      ],
    )
  if work.equality_enabled and m.eq_ten_adr.size:
    wp.launch(
      _equality_vjp,
      dim=(d.nworld, m.eq_ten_adr.size),
      inputs=[
        m.opt.timestep,
        work.equality_flags,
        m.ten_J_rownnz,
        m.ten_J_rowadr,
        m.ten_J_colind,
        m.eq_obj1id,
        m.eq_obj2id,
        m.eq_solref,
        m.eq_solimp,
        m.eq_data,
        m.tendon_length0,
        m.tendon_invweight0,
        m.eq_ten_adr,
        d.eq_active,
        d.ten_J,
        d.ten_length,
        work.row_scales,
        work.ten_rate,
        work.adj_ten_length,
        work.adj_ten_rate,
        work.ten_direction,
        work.adj["tendon_length0"],
        work.adj["eq_data"],
        work.row_adjoint("eq_solref", "eq_solimp"),
      ],
    )
