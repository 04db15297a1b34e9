"""Actuators: force, clamps and activation, on top of the transmission's length and rates.

    phi = -rate_lam F                          zero where the force is clamped
    psi = -h rate_mu rate_a_d F'               implicitfast only; F' the slope in velocity
    next activation                            pulled back with its own cotangent

with rate_w = moment . w (terms/transmission.py) and F, F', the activation from
terms/actuator_law.py. At a clamp of the control, of the force or of the dof's total force the
gradient is the one of the clamped side, zero.

Source: MuJoCo documentation, Computation, "Actuation model" and "Numerical integration".
"""

import warp as wp

from mjgrad._src.engine.adapter import vec10
from mjgrad._src.terms.actuator_law import DYN_NONE
from mjgrad._src.terms.actuator_law import actuator_force
from mjgrad._src.terms.actuator_law import force_slope
from mjgrad._src.terms.actuator_law import next_activation
from mjgrad._src.terms.actuator_law import slope_input
from mjgrad._src.terms.tendon_rates import chain_product
from mjgrad._src.terms.transmission import IN_PARENT
from mjgrad._src.terms.transmission import TENDON
from mjgrad._src.terms.transmission import joint_length_gradient
from mjgrad._src.terms.transmission import joint_moment
from mjgrad._src.terms.transmission import joint_ndof
from mjgrad._src.terms.transmission import joint_rate
from mjgrad._src.tree.twists import ACC
from mjgrad._src.tree.twists import DELTA
from mjgrad._src.tree.twists import LAM
from mjgrad._src.tree.twists import MU
from mjgrad._src.tree.twists import V

wp.set_module_options({"enable_backward": False})


@wp.kernel
def _force_vjp(
  # Model:
  opt_timestep: wp.array[float],
  jnt_type: wp.array[int],
  jnt_qposadr: wp.array[int],
  jnt_dofadr: wp.array[int],
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  actuator_trntype: wp.array[int],
  actuator_dyntype: wp.array[int],
  actuator_gaintype: wp.array[int],
  actuator_biastype: wp.array[int],
  actuator_ctrladr: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_gainprm: wp.array2d[vec10],
  actuator_biasprm: wp.array2d[vec10],
  actuator_gear: wp.array2d[wp.spatial_vector],
  actuator_acc0: wp.array2d[float],
  actuator_lengthrange: wp.array2d[wp.vec2],
  M_elemid: wp.array2d[int],
  # Data in:
  qpos_in: wp.array2d[float],
  qvel_in: wp.array2d[float],
  qacc_in: wp.array2d[float],
  ten_J_in: wp.array2d[float],
  ctrl_in: wp.array2d[float],
  # In:
  implicit: bool,
  length: wp.array2d[float],
  velocity: wp.array2d[float],
  input: wp.array2d[float],
  force: wp.array2d[float],
  force_free: wp.array2d[float],
  dof_free: wp.array2d[float],
  slope: wp.array2d[float],
  ones: wp.array2d[float],
  lam_in: wp.array2d[float],
  mu_in: wp.array2d[float],
  delta_in: wp.array2d[float],
  ten_rate: wp.array3d[float],
  # Adjoint out (+=):
  adj_qpos_out: wp.array2d[float],
  adj_qvel_out: wp.array2d[float],
  adj_ctrl_out: wp.array2d[float],
  adj_input_out: wp.array2d[float],
  adj_ten_length_out: wp.array2d[float],
  adj_ten_rate_out: wp.array3d[float],
  adj_actuator_gainprm_out: wp.array2d[vec10],
  adj_actuator_biasprm_out: wp.array2d[vec10],
):
  worldid, actid = wp.tid()
  target = actuator_trnid[actid][0]
  trntype = actuator_trntype[actid]
  dyntype = actuator_dyntype[actid]
  gaintype = actuator_gaintype[actid]
  biastype = actuator_biastype[actid]
  gear = actuator_gear[worldid % actuator_gear.shape[0], actid]
  gainprm = actuator_gainprm[worldid % actuator_gainprm.shape[0], actid]
  biasprm = actuator_biasprm[worldid % actuator_biasprm.shape[0], actid]
  acc0 = actuator_acc0[worldid % actuator_acc0.shape[0], actid]
  lengthrange = actuator_lengthrange[worldid % actuator_lengthrange.shape[0], actid]
  jnttype = int(-1)
  qposadr = int(0)
  dofadr = int(0)
  n = int(0)
  moment = wp.spatial_vector()
  if trntype == TENDON:
    rate_lam = gear[0] * ten_rate[worldid, target, LAM]
  else:
    jnttype = jnt_type[target]
    qposadr = jnt_qposadr[target]
    dofadr = jnt_dofadr[target]
    n = joint_ndof(jnttype)
    moment = joint_moment(qpos_in, worldid, jnttype, qposadr, trntype, gear)
    rate_lam = joint_rate(moment, lam_in, dof_free, worldid, dofadr, n)
  free = force_free[worldid, actid]

  adj_x, adj_length, adj_velocity, adj_gain, adj_bias, _range, _acc0, _g, _b = wp.grad(
    actuator_force
  )(
    input[worldid, actid],
    length[worldid, actid],
    velocity[worldid, actid],
    gainprm,
    biasprm,
    lengthrange,
    acc0,
    gaintype,
    biastype,
  )
  weight = -rate_lam * free
  grad_x = weight * adj_x
  grad_length = weight * adj_length
  grad_velocity = weight * adj_velocity
  grad_gain = weight * adj_gain
  grad_bias = weight * adj_bias

  rate_mu = float(0.0)
  rate_acc = float(0.0)
  implicit_slope = float(0.0)
  if implicit:
    h = opt_timestep[worldid % opt_timestep.shape[0]]
    implicit_slope = -h * slope[worldid, actid]
    product = float(0.0)
    if trntype == TENDON:
      rate_mu = gear[0] * ten_rate[worldid, target, MU]
      rate_acc = gear[0] * (ten_rate[worldid, target, ACC] + ten_rate[worldid, target, DELTA])
      product = chain_product(
        ten_J_rownnz,
        ten_J_rowadr,
        ten_J_colind,
        M_elemid,
        ten_J_in,
        mu_in,
        qacc_in,
        worldid,
        target,
      )
      product += chain_product(
        ten_J_rownnz,
        ten_J_rowadr,
        ten_J_colind,
        M_elemid,
        ten_J_in,
        mu_in,
        delta_in,
        worldid,
        target,
      )
      product *= gear[0] * gear[0]
    else:
      rate_mu = joint_rate(moment, mu_in, dof_free, worldid, dofadr, n)
      rate_acc = joint_rate(moment, qacc_in, ones, worldid, dofadr, n)
      rate_acc += joint_rate(moment, delta_in, ones, worldid, dofadr, n)
      product = rate_mu * rate_acc
    slope_weight = -h * product * free
    slope_x, slope_length, slope_velocity, slope_gain, slope_bias, _r, _a, _gt, _bt = wp.grad(
      force_slope
    )(
      slope_input(ctrl_in[worldid, actid], input[worldid, actid], dyntype),
      length[worldid, actid],
      velocity[worldid, actid],
      gainprm,
      biasprm,
      lengthrange,
      acc0,
      gaintype,
      biastype,
    )
    if dyntype == DYN_NONE:
      wp.atomic_add(adj_ctrl_out, worldid, actuator_ctrladr[actid], slope_weight * slope_x)
    else:
      grad_x += slope_weight * slope_x
    grad_length += slope_weight * slope_length
    grad_velocity += slope_weight * slope_velocity
    grad_gain += slope_weight * slope_gain
    grad_bias += slope_weight * slope_bias

  adj_input_out[worldid, actid] = grad_x
  if trntype == TENDON:
    wp.atomic_add(adj_ten_length_out, worldid, target, grad_length * gear[0])
    wp.atomic_add(adj_ten_rate_out, worldid, target, V, grad_velocity * gear[0])
    wp.atomic_add(adj_ten_rate_out, worldid, target, LAM, -force[worldid, actid] * gear[0])
    if implicit:
      wp.atomic_add(adj_ten_rate_out, worldid, target, MU, implicit_slope * rate_acc * gear[0])
      wp.atomic_add(adj_ten_rate_out, worldid, target, ACC, implicit_slope * rate_mu * gear[0])
      wp.atomic_add(adj_ten_rate_out, worldid, target, DELTA, implicit_slope * rate_mu * gear[0])
  length_gradient = joint_length_gradient(qpos_in, worldid, jnttype, qposadr, gear)
  for i in range(n):
    wp.atomic_add(adj_qvel_out, worldid, dofadr + i, grad_velocity * moment[i])
    wp.atomic_add(adj_qpos_out, worldid, dofadr + i, grad_length * length_gradient[i])

  if trntype == IN_PARENT and n > 1:
    # gear . R w has the gradient w x (R^T gear) in the joint's tangent
    first = dofadr + n - 3
    rotational = wp.spatial_top(moment)
    if n == 6:
      rotational = wp.spatial_bottom(moment)
    turned = wp.vec3()
    for i in range(3):
      turned[i] = grad_velocity * qvel_in[worldid, first + i]
      turned[i] -= force[worldid, actid] * lam_in[worldid, first + i] * dof_free[worldid, first + i]
      turned[i] += implicit_slope * rate_acc * mu_in[worldid, first + i]
      turned[i] += implicit_slope * rate_mu * qacc_in[worldid, first + i]
      turned[i] += implicit_slope * rate_mu * delta_in[worldid, first + i]
    adj_tangent = wp.cross(turned, rotational)
    for i in range(3):
      wp.atomic_add(adj_qpos_out, worldid, first + i, adj_tangent[i])

  if adj_actuator_gainprm_out.shape[0] > 0:
    row = worldid % adj_actuator_gainprm_out.shape[0]
    wp.atomic_add(adj_actuator_gainprm_out, row, actid, grad_gain)
  if adj_actuator_biasprm_out.shape[0] > 0:
    row = worldid % adj_actuator_biasprm_out.shape[0]
    wp.atomic_add(adj_actuator_biasprm_out, row, actid, grad_bias)


@wp.kernel
def _input_vjp(
  # Model:
  opt_timestep: wp.array[float],
  actuator_dyntype: wp.array[int],
  actuator_ctrladr: wp.array[int],
  actuator_actadr: wp.array[int],
  actuator_dynprm: wp.array2d[vec10],
  actuator_actlimited: wp.array[bool],
  actuator_actrange: wp.array2d[wp.vec2],
  actuator_actearly: wp.array[bool],
  # Data in:
  act_in: wp.array2d[float],
  # In:
  ctrl: wp.array2d[float],
  ctrl_free: wp.array2d[float],
  # Adjoint in:
  adj_input_in: wp.array2d[float],
  # Adjoint out (+=):
  adj_act_out: wp.array2d[float],
  adj_ctrl_out: wp.array2d[float],
):
  worldid, actid = wp.tid()
  grad_u = adj_input_in[worldid, actid]
  if actuator_dyntype[actid] != DYN_NONE:
    adr = actuator_actadr[actid]
    grad_act = float(0.0)
    grad_next = adj_act_out[worldid, adr]
    if actuator_actearly[actid]:
      grad_next += grad_u
    else:
      grad_act = grad_u
    adj_u, adj_act, _prm, _type, _range, _limited, _timestep = wp.grad(next_activation)(
      ctrl[worldid, actid],
      act_in[worldid, adr],
      actuator_dynprm[worldid % actuator_dynprm.shape[0], actid],
      actuator_dyntype[actid],
      actuator_actrange[worldid % actuator_actrange.shape[0], actid],
      actuator_actlimited[actid],
      opt_timestep[worldid % opt_timestep.shape[0]],
    )
    adj_act_out[worldid, adr] = grad_act + grad_next * adj_act
    grad_u = grad_next * adj_u
  wp.atomic_add(adj_ctrl_out, worldid, actuator_ctrladr[actid], grad_u * ctrl_free[worldid, actid])


def vjp(work) -> None:
  """Adds the gradients of the actuator forces and pulls activations back."""
  if not work.actuation_enabled:
    return
  m, d, act = work.model, work.data, work.actuation
  wp.launch(
    _force_vjp,
    dim=(d.nworld, m.nactuator),
    inputs=[
      m.opt.timestep,
      m.jnt_type,
      m.jnt_qposadr,
      m.jnt_dofadr,
      m.ten_J_rownnz,
      m.ten_J_rowadr,
      m.ten_J_colind,
      m.actuator_trntype,
      m.actuator_dyntype,
      m.actuator_gaintype,
      m.actuator_biastype,
      m.actuator_ctrladr,
      m.actuator_trnid,
      m.actuator_gainprm,
      m.actuator_biasprm,
      m.actuator_gear,
      m.actuator_acc0,
      m.actuator_lengthrange,
      m.M_elemid,
      d.qpos,
      d.qvel,
      work.qacc,
      d.ten_J,
      d.ctrl,
      work.implicit_actuation,
      act.length,
      act.velocity,
      act.input,
      act.force,
      act.force_free,
      act.dof_free,
      act.slope,
      work.ones,
      work.lam,
      work.mu,
      work.delta,
      work.ten_rate,
      work.adj_qpos,
      work.adj_qvel,
      work.adj_ctrl,
      act.adj_input,
      work.adj_ten_length,
      work.adj_ten_rate,
      work.adj["actuator_gainprm"],
      work.adj["actuator_biasprm"],
    ],
  )
  wp.launch(
    _input_vjp,
    dim=(d.nworld, m.nactuator),
    inputs=[
      m.opt.timestep,
      m.actuator_dyntype,
      m.actuator_ctrladr,
      m.actuator_actadr,
      m.actuator_dynprm,
      m.actuator_actlimited,
      m.actuator_actrange,
      m.actuator_actearly,
      d.act,
      act.ctrl,
      act.ctrl_free,
      act.adj_input,
      work.adj_act,
      work.adj_ctrl,
    ],
  )
