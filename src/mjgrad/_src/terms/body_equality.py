"""Connect and weld equalities between two bodies or two sites.

Both hold the point pos1 of body 1 at pos2 of body 2; a weld also holds their relative rotation.
With x = pos1 - pos2 and rotation error e = s vec(conj(q2) q1), s the torque scale,

    phi = D_t lam . (x'' + b x' + k d x)  +  D_r e_lam . (e'' + b e' + k d e),    d = d(|(x, e)|)

x', e' are the rates along v, x_lam, e_lam along lam, and x'', e'' the true second derivatives,
which contain the velocity products: MuJoCo subtracts Jdot v from aref. Under `discrete` they count
only 1/f (terms/impedance.py), x'' stands for x_a + (x'' - x_a) / f with x_a the rate along a, every
row has a D of its own, and J a rate of its own (terms/equality_direction.py). With w1, w2 the
angular velocities,

    e'  = s/2 vec(conj(q2) (w1 - w2) q1)
    e'' = s/2 vec(conj(q2) (al1 - al2) q1 + conj(q2') (w1 - w2) q1 + conj(q2) (w1 - w2) q1')

Source: MuJoCo documentation, XML reference, "equality/connect", "equality/weld"; Computation,
"Constraint model".
"""

import mujoco
import warp as wp

from mjgrad._src.accumulate import RowAdjoint
from mjgrad._src.accumulate import accumulate
from mjgrad._src.accumulate import accumulate_row
from mjgrad._src.engine.adapter import mul_quat
from mjgrad._src.engine.adapter import vec5
from mjgrad._src.engine.adapter import vec12
from mjgrad._src.rotation import conjugate
from mjgrad._src.rotation import quat_torque
from mjgrad._src.spatial import spatial_at
from mjgrad._src.spatial import velocity_at
from mjgrad._src.spatial import wrench_at
from mjgrad._src.terms.equality_direction import Side
from mjgrad._src.terms.equality_direction import add_row
from mjgrad._src.terms.equality_direction import angular_along
from mjgrad._src.terms.equality_direction import sandwich
from mjgrad._src.terms.equality_direction import weld_rates
from mjgrad._src.terms.impedance import impedance
from mjgrad._src.terms.impedance import row_damping
from mjgrad._src.terms.impedance import row_factor
from mjgrad._src.terms.impedance import row_stiffness
from mjgrad._src.terms.impedance import row_weight
from mjgrad._src.terms.row_scale import RowScales
from mjgrad._src.tree.attach import FrameAdjoint
from mjgrad._src.tree.attach import add_frame
from mjgrad._src.tree.attach import add_wrench
from mjgrad._src.tree.attach import frame_state
from mjgrad._src.tree.axes import Directions
from mjgrad._src.tree.axes import directions
from mjgrad._src.tree.twists import ACC

wp.set_module_options({"enable_backward": False})

SITE = wp.constant(int(mujoco.mjtObj.mjOBJ_SITE))
WELD = wp.constant(int(mujoco.mjtEq.mjEQ_WELD))


@wp.func
def _rate(w: wp.vec3, q: wp.quat) -> wp.quat:
  """Time derivative of q when it turns with angular velocity w."""
  return mul_quat(wp.quat(0.0, w[0], w[1], w[2]), q) * 0.5


@wp.func
def rotation_error(q1: wp.quat, q2: wp.quat) -> wp.vec3:
  """vec(conj(q2) q1)."""
  product = mul_quat(conjugate(q2), q1)
  return wp.vec3(product[1], product[2], product[3])


@wp.func
def connect_term(
  x: wp.vec3,
  vel: wp.vec3,
  acc: wp.vec3,
  rate: wp.vec3,
  lam: wp.vec3,
  violation: float,
  solref: wp.vec2,
  solimp: vec5,
  invweight: wp.vec3,
  timestep: float,
  disableflags: int,
) -> wp.float32:
  """phi of three equality rows that share the impedance of `violation`; `rate` is along a."""
  imp = impedance(solimp, violation)
  b = row_damping(solref, solimp, imp, timestep, disableflags)
  k = row_stiffness(solref, solimp, imp, timestep, disableflags)
  f = row_factor(solref, solimp, imp, timestep, disableflags)
  y = rate + (acc - rate) / f + b * vel + k * imp * x
  value = lam[0] * y[0] * row_weight(invweight[0], solref, solimp, imp, timestep, disableflags)
  value += lam[1] * y[1] * row_weight(invweight[1], solref, solimp, imp, timestep, disableflags)
  value += lam[2] * y[2] * row_weight(invweight[2], solref, solimp, imp, timestep, disableflags)
  return value


@wp.func
def weld_term(
  x: wp.vec3,
  vel: wp.vec3,
  acc: wp.vec3,
  rate: wp.vec3,
  lam: wp.vec3,
  q1: wp.quat,
  q2: wp.quat,
  w1: wp.vec3,
  w2: wp.vec3,
  angular_acc: wp.vec3,
  angular_rate: wp.vec3,
  angular_lam: wp.vec3,
  scale: float,
  solref: wp.vec2,
  solimp: vec5,
  invweight: wp.vec3,
  angular_invweight: wp.vec3,
  timestep: float,
  disableflags: int,
) -> wp.float32:
  """phi of the six rows of a weld; angular accelerations are of body 1 minus body 2."""
  e = scale * rotation_error(q1, q2)
  e_vel = scale * sandwich(q2, w1 - w2, q1)
  e_lam = scale * sandwich(q2, angular_lam, q1)
  e_rate = scale * sandwich(q2, angular_rate, q1)
  e_acc = sandwich(q2, angular_acc, q1)
  e_acc = e_acc + sandwich(_rate(w2, q2), w1 - w2, q1)
  e_acc = scale * (e_acc + sandwich(q2, w1 - w2, _rate(w1, q1)))
  violation = wp.sqrt(wp.dot(x, x) + wp.dot(e, e) + 1.0e-30)
  value = connect_term(
    x, vel, acc, rate, lam, violation, solref, solimp, invweight, timestep, disableflags
  )
  return value + connect_term(
    e,
    e_vel,
    e_acc,
    e_rate,
    e_lam,
    violation,
    solref,
    solimp,
    angular_invweight,
    timestep,
    disableflags,
  )


@wp.func
def point_weld_term(
  x: wp.vec3,
  vel: wp.vec3,
  acc: wp.vec3,
  rate: wp.vec3,
  lam: wp.vec3,
  solref: wp.vec2,
  solimp: vec5,
  invweight: wp.vec3,
  timestep: float,
  disableflags: int,
) -> wp.float32:
  """phi of the three rows of a connect."""
  violation = wp.sqrt(wp.dot(x, x) + 1.0e-30)
  return connect_term(
    x, vel, acc, rate, lam, violation, solref, solimp, invweight, timestep, disableflags
  )


@wp.func
def _row_scales(rows: RowScales, worldid: int, first: int) -> wp.vec3:
  """Scales of three rows, 1 but under `discrete`."""
  scale = wp.vec3(1.0, 1.0, 1.0)
  if rows.scale.shape[0] > 0:
    for i in range(3):
      scale[i] = rows.scale[worldid, first + i]
  return scale


@wp.func
def _add_rate(
  worldid: int,
  bodyid: int,
  twist: wp.spatial_vector,
  force: wp.vec3,
  torque: wp.vec3,
  offset: wp.vec3,
  wrench_out: wp.array4d[float],
) -> wp.vec3:
  """Adds the cotangent of a frame's velocity along a; returns the force on its point."""
  add_wrench(worldid, bodyid, ACC, twist, wrench_at(force, torque, offset), wrench_out)
  return wp.cross(force, wp.spatial_top(twist))


@wp.kernel
def _body_equality_vjp(
  # Model:
  opt_timestep: wp.array[float],
  opt_disableflags: int,
  body_rootid: wp.array[int],
  body_weldid: wp.array[int],
  body_invweight0: wp.array2d[wp.vec2],
  site_bodyid: wp.array[int],
  site_quat: wp.array2d[wp.quat],
  eq_type: wp.array[int],
  eq_obj1id: wp.array[int],
  eq_obj2id: wp.array[int],
  eq_objtype: wp.array[int],
  eq_solref: wp.array2d[wp.vec2],
  eq_solimp: wp.array2d[vec5],
  eq_data: wp.array2d[vec12],
  # Data in:
  eq_active_in: wp.array2d[bool],
  xpos_in: wp.array2d[wp.vec3],
  xquat_in: wp.array2d[wp.quat],
  xmat_in: wp.array2d[wp.mat33],
  site_xpos_in: wp.array2d[wp.vec3],
  subtree_com_in: wp.array2d[wp.vec3],
  # In:
  sparse: bool,
  body_equality: wp.array[int],
  body_lastdof: wp.array[int],
  rows: RowScales,
  own: Directions,
  twist_in: wp.array4d[float],
  # Adjoint out (+=):
  wrench_out: wp.array4d[float],
  site_wrench_out: wp.array2d[wp.spatial_vector],
  adj_eq_data_out: wp.array2d[vec12],
  adj_row_out: RowAdjoint,
):
  worldid, adr = wp.tid()
  eqid = body_equality[adr]
  if not eq_active_in[worldid, eqid]:
    return
  weld = eq_type[eqid] == WELD
  data = eq_data[worldid % eq_data.shape[0], eqid]
  body1 = eq_obj1id[eqid]
  body2 = eq_obj2id[eqid]
  on_sites = eq_objtype[eqid] == SITE
  site1 = int(0)
  site2 = int(0)
  if on_sites:
    site1 = body1
    site2 = body2
    body1 = site_bodyid[site1]
    body2 = site_bodyid[site2]
    pos1 = site_xpos_in[worldid, site1]
    pos2 = site_xpos_in[worldid, site2]
    site_row = worldid % site_quat.shape[0]
    q1 = mul_quat(xquat_in[worldid, body1], site_quat[site_row, site1])
    q2 = mul_quat(xquat_in[worldid, body2], site_quat[site_row, site2])
  else:
    anchor1 = wp.vec3(data[0], data[1], data[2])
    anchor2 = wp.vec3(data[3], data[4], data[5])
    q1 = xquat_in[worldid, body1]
    if weld:
      anchor1 = wp.vec3(data[3], data[4], data[5])
      anchor2 = wp.vec3(data[0], data[1], data[2])
      q1 = mul_quat(q1, wp.quat(data[6], data[7], data[8], data[9]))
    pos1 = xpos_in[worldid, body1] + xmat_in[worldid, body1] @ anchor1
    pos2 = xpos_in[worldid, body2] + xmat_in[worldid, body2] @ anchor2
    q2 = xquat_in[worldid, body2]

  side1 = Side()
  side1.bodyid = body1
  side1.last = body_lastdof[body1]
  side1.sign = 1.0
  side1.offset = pos1 - subtree_com_in[worldid, body_rootid[body1]]
  side2 = Side()
  side2.bodyid = body2
  side2.last = body_lastdof[body2]
  side2.sign = -1.0
  side2.offset = pos2 - subtree_com_in[worldid, body_rootid[body2]]
  frame1 = frame_state(twist_in, worldid, side1.last + 1, side1.offset)
  frame2 = frame_state(twist_in, worldid, side2.last + 1, side2.offset)
  a1 = spatial_at(twist_in, worldid, ACC, side1.last + 1)
  a2 = spatial_at(twist_in, worldid, ACC, side2.last + 1)
  weight1 = body1
  weight2 = body2
  if sparse:
    weight1 = body_weldid[body1]
    weight2 = body_weldid[body2]
  weight_row = worldid % body_invweight0.shape[0]
  invweight = body_invweight0[weight_row, weight1] + body_invweight0[weight_row, weight2]
  discrete = rows.scale.shape[0] > 0
  first = int(0)
  if discrete:
    first = rows.equality[worldid, eqid]
  scales = _row_scales(rows, worldid, first)
  solref = eq_solref[worldid % eq_solref.shape[0], eqid]
  solimp = eq_solimp[worldid % eq_solimp.shape[0], eqid]
  timestep = opt_timestep[worldid % opt_timestep.shape[0]]

  x = pos1 - pos2
  vel = frame1.vel - frame2.vel
  acc = frame1.acc - frame2.acc
  rate = velocity_at(a1, side1.offset) - velocity_at(a2, side2.offset)
  lam = frame1.lam - frame2.lam
  adj_invweight = wp.vec2()
  adj1 = FrameAdjoint()
  adj2 = FrameAdjoint()
  adj_data = vec12()
  adj_q1 = wp.quat()
  adj_q2 = wp.quat()
  adj_angular_rate = wp.vec3()
  if weld:
    w1 = wp.spatial_top(frame1.v)
    w2 = wp.spatial_top(frame2.v)
    angular_scales = _row_scales(rows, worldid, first + 3)
    (
      adj_x,
      adj_vel,
      adj_acc,
      adj_rate,
      adj_lam,
      adj_q1,
      adj_q2,
      adj_w1,
      adj_w2,
      adj_angular_acc,
      adj_angular_rate,
      adj_angular_lam,
      adj_scale,
      adj_solref,
      adj_solimp,
      adj_weights,
      adj_angular_weights,
      adj_timestep,
      _flags,
    ) = wp.grad(weld_term)(
      x,
      vel,
      acc,
      rate,
      lam,
      q1,
      q2,
      w1,
      w2,
      wp.spatial_top(frame1.a) - wp.spatial_top(frame2.a),
      wp.spatial_top(a1) - wp.spatial_top(a2),
      wp.spatial_top(frame1.l) - wp.spatial_top(frame2.l),
      data[10],
      solref,
      solimp,
      invweight[0] * scales,
      invweight[1] * angular_scales,
      timestep,
      opt_disableflags,
    )
    adj_data[10] = adj_scale
    adj_invweight = wp.vec2(
      wp.dot(scales, adj_weights), wp.dot(angular_scales, adj_angular_weights)
    )
    adj1.rot_vel = adj_w1
    adj2.rot_vel = adj_w2
    adj1.rot_acc = adj_angular_acc
    adj2.rot_acc = -adj_angular_acc
    adj1.rot_lam = adj_angular_lam
    adj2.rot_lam = -adj_angular_lam
  else:
    (
      adj_x,
      adj_vel,
      adj_acc,
      adj_rate,
      adj_lam,
      adj_solref,
      adj_solimp,
      adj_weights,
      adj_timestep,
      _flags,
    ) = wp.grad(point_weld_term)(
      x,
      vel,
      acc,
      rate,
      lam,
      solref,
      solimp,
      invweight[0] * scales,
      timestep,
      opt_disableflags,
    )
    adj_invweight = wp.vec2(wp.dot(scales, adj_weights), 0.0)
  adj1.pos = adj_x
  adj2.pos = -adj_x
  adj1.vel = adj_vel
  adj2.vel = -adj_vel
  adj1.acc = adj_acc
  adj2.acc = -adj_acc
  adj1.lam = adj_lam
  adj2.lam = -adj_lam

  if discrete:
    adj1.pos += _add_rate(worldid, body1, a1, adj_rate, adj_angular_rate, side1.offset, wrench_out)
    adj2.pos += _add_rate(
      worldid, body2, a2, -adj_rate, -adj_angular_rate, side2.offset, wrench_out
    )
    for i in range(3):
      axis = wp.vec3()
      axis[i] = 1.0
      adj1.pos += add_row(worldid, first + i, side1, axis, wp.vec3(), own, wrench_out)
      adj2.pos += add_row(worldid, first + i, side2, axis, wp.vec3(), own, wrench_out)
    if weld:
      o = wp.mat33()
      for i in range(3):
        o[i] = angular_along(worldid, first + 3 + i, side1, own)
        o[i] += angular_along(worldid, first + 3 + i, side2, own)
      rates_q1, rates_q2, adj_o, rates_scale = wp.grad(weld_rates)(q1, q2, o, data[10])
      adj_q1 += rates_q1
      adj_q2 += rates_q2
      adj_data[10] += rates_scale
      for i in range(3):
        add_row(worldid, first + 3 + i, side1, wp.vec3(), adj_o[i], own, wrench_out)
        add_row(worldid, first + 3 + i, side2, wp.vec3(), adj_o[i], own, wrench_out)
  if weld:
    adj1.rot = quat_torque(q1, adj_q1)
    adj2.rot = quat_torque(q2, adj_q2)
    if not on_sites:
      adj_relative = mul_quat(conjugate(xquat_in[worldid, body1]), adj_q1)
      for i in range(4):
        adj_data[i + 6] = adj_relative[i]
  pose1 = add_frame(worldid, body1, frame1, adj1, wrench_out)
  pose2 = add_frame(worldid, body2, frame2, adj2, wrench_out)

  accumulate_row(adj_row_out, worldid, eqid, adj_solref, adj_solimp, adj_timestep)
  accumulate(adj_row_out.body_invweight0, worldid, weight1, adj_invweight)
  accumulate(adj_row_out.body_invweight0, worldid, weight2, adj_invweight)
  if on_sites:
    accumulate(site_wrench_out, worldid, site1, pose1)
    accumulate(site_wrench_out, worldid, site2, pose2)
  else:
    adj_anchor1 = wp.transpose(xmat_in[worldid, body1]) @ wp.spatial_bottom(pose1)
    adj_anchor2 = wp.transpose(xmat_in[worldid, body2]) @ wp.spatial_bottom(pose2)
    for i in range(3):
      adj_data[i] += wp.where(weld, adj_anchor2[i], adj_anchor1[i])
      adj_data[i + 3] += wp.where(weld, adj_anchor1[i], adj_anchor2[i])
  accumulate(adj_eq_data_out, worldid, eqid, adj_data)


def vjp(work) -> None:
  """Adds the wrenches of the active connect and weld equalities."""
  m, d = work.model, work.data
  if not work.equality_enabled or work.tree.body_equality.size == 0:
    return
  wp.launch(
    _body_equality_vjp,
    dim=(d.nworld, work.tree.body_equality.size),
    inputs=[
      m.opt.timestep,
      work.equality_flags,
      m.body_rootid,
      m.body_weldid,
      m.body_invweight0,
      m.site_bodyid,
      m.site_quat,
      m.eq_type,
      m.eq_obj1id,
      m.eq_obj2id,
      m.eq_objtype,
      m.eq_solref,
      m.eq_solimp,
      m.eq_data,
      d.eq_active,
      d.xpos,
      d.xquat,
      d.xmat,
      d.site_xpos,
      d.subtree_com,
      m.is_sparse,
      work.tree.body_equality,
      work.tree.body_lastdof,
      work.row_scales,
      directions(work, work.row_scales.direction),
      work.twist,
      work.wrench,
      work.site_wrench,
      work.adj["eq_data"],
      work.row_adjoint("eq_solref", "eq_solimp"),
    ],
  )
