"""Joint equalities: q1 - q1_0 = p(q2 - q2_0), p a quartic.

    phi = z D y,    r = q1 - q1_0 - p,    y = J a + b J v + k d(r) r,    z = J lam

with J = (1, -p'). With one joint, p is its constant. Under `discrete` J, which turns with q2, also
has a rate along the direction of terms/row_scale.py.

Source: MuJoCo documentation, XML reference, "equality/joint"; Computation, "Constraint model".
"""

import warp as wp

from mjgrad._src.accumulate import RowAdjoint
from mjgrad._src.accumulate import accumulate
from mjgrad._src.accumulate import accumulate_row
from mjgrad._src.engine.adapter import vec5
from mjgrad._src.engine.adapter import vec12
from mjgrad._src.terms.impedance import impedance
from mjgrad._src.terms.impedance import row_damping
from mjgrad._src.terms.impedance import row_stiffness
from mjgrad._src.terms.impedance import row_weight
from mjgrad._src.terms.row_scale import RowScales
from mjgrad._src.terms.row_scale import scale_of

wp.set_module_options({"enable_backward": False})

JointMotion = wp.types.vector(length=5, dtype=wp.float32)
"""Displacement from the reference, and rates along v, a, lam and x, of one joint."""


@wp.func
def equality_row(
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
  """phi of one equality row with violation r."""
  imp = impedance(solimp, r)
  y = acc + row_damping(solref, solimp, imp, timestep, disableflags) * vel
  y = y + row_stiffness(solref, solimp, imp, timestep, disableflags) * imp * r
  return lam * y * row_weight(invweight, solref, solimp, imp, timestep, disableflags)


@wp.func
def joint_equality_term(
  joint1: JointMotion,
  joint2: JointMotion,
  data: vec12,
  coupled: bool,
  solref: wp.vec2,
  solimp: vec5,
  invweight: float,
  timestep: float,
  disableflags: int,
) -> wp.float32:
  """phi of a joint equality; `joint2` counts only if `coupled`."""
  x = joint2[0]
  p = data[0]
  slope = float(0.0)
  if coupled:
    p = data[0] + x * (data[1] + x * (data[2] + x * (data[3] + x * data[4])))
    slope = data[1] + x * (2.0 * data[2] + x * (3.0 * data[3] + x * 4.0 * data[4]))
  value = equality_row(
    joint1[0] - p,
    joint1[1] - slope * joint2[1],
    joint1[2] - slope * joint2[2],
    joint1[3] - slope * joint2[3],
    solref,
    solimp,
    invweight,
    timestep,
    disableflags,
  )
  return value + joint1[4] - slope * joint2[4]


@wp.func
def _rate_along(rows: RowScales, worldid: int, eqid: int, dofid: int) -> float:
  """x of an equality's row at a dof, 0 but under `discrete`."""
  rate = float(0.0)
  if rows.scale.shape[0] > 0:
    rate = rows.direction[worldid, rows.equality[worldid, eqid], dofid]
  return rate


@wp.kernel
def _joint_equality_vjp(
  # Model:
  opt_timestep: wp.array[float],
  opt_disableflags: int,
  qpos0: wp.array2d[float],
  jnt_qposadr: wp.array[int],
  jnt_dofadr: wp.array[int],
  dof_invweight0: wp.array2d[float],
  eq_obj1id: wp.array[int],
  eq_obj2id: wp.array[int],
  eq_solref: wp.array2d[wp.vec2],
  eq_solimp: wp.array2d[vec5],
  eq_data: wp.array2d[vec12],
  eq_jnt_adr: wp.array[int],
  # Data in:
  qpos_in: wp.array2d[float],
  qvel_in: wp.array2d[float],
  qacc_in: wp.array2d[float],
  eq_active_in: wp.array2d[bool],
  # In:
  rows: RowScales,
  lam_in: wp.array2d[float],
  # Adjoint out (+=):
  adj_qpos_out: wp.array2d[float],
  adj_qvel_out: wp.array2d[float],
  adj_qpos0_out: wp.array2d[float],
  adj_eq_data_out: wp.array2d[vec12],
  adj_row_out: RowAdjoint,
):
  worldid, adr = wp.tid()
  eqid = eq_jnt_adr[adr]
  if not eq_active_in[worldid, eqid]:
    return
  jnt1 = eq_obj1id[eqid]
  jnt2 = eq_obj2id[eqid]
  row0 = worldid % qpos0.shape[0]
  weight_row = worldid % dof_invweight0.shape[0]
  dof1 = jnt_dofadr[jnt1]
  q1 = jnt_qposadr[jnt1]
  joint1 = JointMotion(
    qpos_in[worldid, q1] - qpos0[row0, q1],
    qvel_in[worldid, dof1],
    qacc_in[worldid, dof1],
    lam_in[worldid, dof1],
    _rate_along(rows, worldid, eqid, dof1),
  )
  invweight = dof_invweight0[weight_row, dof1]
  coupled = jnt2 >= 0
  joint2 = JointMotion()
  dof2 = int(0)
  if coupled:
    dof2 = jnt_dofadr[jnt2]
    q2 = jnt_qposadr[jnt2]
    joint2 = JointMotion(
      qpos_in[worldid, q2] - qpos0[row0, q2],
      qvel_in[worldid, dof2],
      qacc_in[worldid, dof2],
      lam_in[worldid, dof2],
      _rate_along(rows, worldid, eqid, dof2),
    )
    invweight += dof_invweight0[weight_row, dof2]
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
    joint1,
    joint2,
    eq_data[worldid % eq_data.shape[0], eqid],
    coupled,
    eq_solref[worldid % eq_solref.shape[0], eqid],
    eq_solimp[worldid % eq_solimp.shape[0], eqid],
    scale * invweight,
    opt_timestep[worldid % opt_timestep.shape[0]],
    opt_disableflags,
  )
  wp.atomic_add(adj_qpos_out, worldid, dof1, adj1[0])
  wp.atomic_add(adj_qvel_out, worldid, dof1, adj1[1])
  accumulate(adj_qpos0_out, worldid, q1, -adj1[0])
  if coupled:
    wp.atomic_add(adj_qpos_out, worldid, dof2, adj2[0])
    wp.atomic_add(adj_qvel_out, worldid, dof2, adj2[1])
    accumulate(adj_qpos0_out, worldid, jnt_qposadr[jnt2], -adj2[0])
  accumulate(adj_eq_data_out, worldid, eqid, adj_data)
  accumulate_row(adj_row_out, worldid, eqid, adj_solref, adj_solimp, adj_timestep)
  accumulate(adj_row_out.dof_invweight0, worldid, dof1, scale * adj_invweight)
  if coupled:
    accumulate(adj_row_out.dof_invweight0, worldid, dof2, scale * adj_invweight)


def vjp(work) -> None:
  """Adds the gradients of the active joint equalities."""
  m, d = work.model, work.data
  if not work.equality_enabled or m.eq_jnt_adr.size == 0:
    return
  wp.launch(
    _joint_equality_vjp,
    dim=(d.nworld, m.eq_jnt_adr.size),
    inputs=[
      m.opt.timestep,
      work.equality_flags,
      m.qpos0,
      m.jnt_qposadr,
      m.jnt_dofadr,
      m.dof_invweight0,
      m.eq_obj1id,
      m.eq_obj2id,
      m.eq_solref,
      m.eq_solimp,
      m.eq_data,
      m.eq_jnt_adr,
      d.qpos,
      d.qvel,
      work.qacc,
      d.eq_active,
      work.row_scales,
      work.lam,
      work.adj_qpos,
      work.adj_qvel,
      work.adj["qpos0"],
      work.adj["eq_data"],
      work.row_adjoint("eq_solref", "eq_solimp"),
    ],
  )
