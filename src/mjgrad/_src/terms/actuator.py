"""Actuators: force, clamps and activation, on top of the transmission's length and rates.

    phi = -rate_lam F                          F at its clamp is the bound
    psi = -h rate_mu rate_a_d F'               implicitfast only; F' the slope in velocity
    phi += -h (rate_lam rate_a - s) F'         discrete only, and with the slope F_l in length
           -h (rate_lam (rate_v + h rate_a) - h s) F_l
    next activation                            pulled back with its own cotangent

with rate_w = m . x_w (terms/transmission.py) and F, F', F_l, the activation from
terms/actuator_law.py; under `discrete` slopes that are positive are left out, and s is the sum of
m_c^2 `work.metric_dual`_c (terms/row_scale.py).
At a clamp of the control, of the activation or of the force the gradient is the one of the clamped
side: zero for what is clamped, and what arrives there goes to the bound. What remains are
cotangents of the length, of the rates and of the period of a set point, which the transmissions
carry on.

Held fixed: how many turns are taken off a set point (terms/actuator_state.py).

Source: MuJoCo documentation, Computation, "Actuation model" and "Numerical integration".
"""

import functools

import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.accumulate import accumulate_option
from mjgrad._src.engine.adapter import vec10
from mjgrad._src.terms import actuator_direction
from mjgrad._src.terms import dcmotor
from mjgrad._src.terms import force_limit
from mjgrad._src.terms import tendon_force_limit
from mjgrad._src.terms import transmission_body
from mjgrad._src.terms import transmission_crank
from mjgrad._src.terms import transmission_joint
from mjgrad._src.terms import transmission_site
from mjgrad._src.terms import transmission_tendon
from mjgrad._src.terms.actuator_law import BIAS_MUSCLE
from mjgrad._src.terms.actuator_law import DYN_MUSCLE
from mjgrad._src.terms.actuator_law import DYN_NONE
from mjgrad._src.terms.actuator_law import GAIN_MUSCLE
from mjgrad._src.terms.actuator_law import actuator_force
from mjgrad._src.terms.actuator_law import force_length_slope
from mjgrad._src.terms.actuator_law import force_slope
from mjgrad._src.terms.actuator_law import held_by_range
from mjgrad._src.terms.actuator_law import next_activation
from mjgrad._src.terms.actuator_law import slope_input
from mjgrad._src.terms.dcmotor_law import DCMOTOR
from mjgrad._src.terms.transmission import implicit_rates
from mjgrad._src.terms.transmission import moment_dot_free
from mjgrad._src.terms.transmission import squared_moment
from mjgrad._src.tree.twists import ACC
from mjgrad._src.tree.twists import DELTA
from mjgrad._src.tree.twists import LAM
from mjgrad._src.tree.twists import MU
from mjgrad._src.tree.twists import V

wp.set_module_options({"enable_backward": False})

TRANSMISSIONS = (
  transmission_joint,
  transmission_tendon,
  transmission_site,
  transmission_crank,
  transmission_body,
)
"""Every kind of transmission that carries cotangents on."""


@functools.cache
def _actuator_vjp(muscles: bool, implicit: bool, discrete: bool) -> wp.Kernel:
  """The kernel for models with or without muscles, and for a kind of integrator."""

  @wp.kernel(module="unique", enable_backward=False)
  def actuator_vjp(
    # Model:
    opt_timestep: wp.array[float],
    actuator_dyntype: wp.array[int],
    actuator_gaintype: wp.array[int],
    actuator_biastype: wp.array[int],
    actuator_ctrladr: wp.array[int],
    actuator_actadr: wp.array[int],
    actuator_dynprm: wp.array2d[vec10],
    actuator_gainprm: wp.array2d[vec10],
    actuator_biasprm: wp.array2d[vec10],
    actuator_actlimited: wp.array[bool],
    actuator_actrange: wp.array2d[wp.vec2],
    actuator_actearly: wp.array[bool],
    actuator_forcelimited: wp.array[bool],
    actuator_forcerange: wp.array2d[wp.vec2],
    actuator_ctrlrange: wp.array2d[wp.vec2],
    actuator_acc0: wp.array2d[float],
    actuator_lengthrange: wp.array2d[wp.vec2],
    M_elemid: wp.array2d[int],
    # Data in:
    qacc_in: wp.array2d[float],
    act_in: wp.array2d[float],
    ctrl_in: wp.array2d[float],
    actuator_length_in: wp.array2d[float],
    moment_rownnz_in: wp.array2d[int],
    moment_rowadr_in: wp.array2d[int],
    moment_colind_in: wp.array2d[int],
    actuator_moment_in: wp.array2d[float],
    # In:
    velocity: wp.array2d[float],
    ctrl: wp.array2d[float],
    ctrl_free: wp.array2d[float],
    period: wp.array2d[float],
    turns: wp.array2d[wp.vec3],
    input: wp.array2d[float],
    force: wp.array2d[float],
    force_free: wp.array2d[float],
    slope: wp.array2d[float],
    slope_free: wp.array2d[float],
    length_slope: wp.array2d[float],
    length_slope_free: wp.array2d[float],
    dof_free: wp.array2d[float],
    lam_in: wp.array2d[float],
    mu_in: wp.array2d[float],
    delta_in: wp.array2d[float],
    metric_dual: wp.array2d[float],
    # Adjoint in:
    adj_force_in: wp.array2d[float],
    # Adjoint out (+=):
    adj_act_out: wp.array2d[float],
    adj_ctrl_out: wp.array2d[float],
    adj_actuator_dynprm_out: wp.array2d[vec10],
    adj_actuator_gainprm_out: wp.array2d[vec10],
    adj_actuator_biasprm_out: wp.array2d[vec10],
    adj_actuator_actrange_out: wp.array2d[wp.vec2],
    adj_actuator_forcerange_out: wp.array2d[wp.vec2],
    adj_actuator_ctrlrange_out: wp.array2d[wp.vec2],
    adj_actuator_acc0_out: wp.array2d[float],
    adj_actuator_lengthrange_out: wp.array2d[wp.vec2],
    adj_timestep_out: wp.array[float],
    # Out:
    slope_product_out: wp.array2d[float],
    adj_length_out: wp.array2d[float],
    adj_rate_out: wp.array3d[float],
    adj_period_out: wp.array2d[float],
  ):
    worldid, actid = wp.tid()
    dyntype = actuator_dyntype[actid]
    gaintype = actuator_gaintype[actid]
    if gaintype == DCMOTOR:
      return
    biastype = actuator_biastype[actid]
    if wp.static(not muscles):
      # there are none, and with this the compiler leaves out their curves
      if gaintype == GAIN_MUSCLE or biastype == BIAS_MUSCLE or dyntype == DYN_MUSCLE:
        return
    gainprm = actuator_gainprm[worldid % actuator_gainprm.shape[0], actid]
    biasprm = actuator_biasprm[worldid % actuator_biasprm.shape[0], actid]
    acc0 = actuator_acc0[worldid % actuator_acc0.shape[0], actid]
    lengthrange = actuator_lengthrange[worldid % actuator_lengthrange.shape[0], actid]
    h = opt_timestep[worldid % opt_timestep.shape[0]]
    length = actuator_length_in[worldid, actid]
    rate_v = velocity[worldid, actid]
    x = input[worldid, actid]
    ctrladr = actuator_ctrladr[actid]

    rate_lam = moment_dot_free(
      moment_rownnz_in,
      moment_rowadr_in,
      moment_colind_in,
      actuator_moment_in,
      lam_in,
      dof_free,
      worldid,
      actid,
    )
    weight = adj_force_in[worldid, actid] - rate_lam * force_free[worldid, actid]
    grad_x, grad_length, grad_velocity, grad_gain, grad_bias, grad_range, grad_acc0, _g, _b = (
      wp.grad(actuator_force)(
        x, length, rate_v, gainprm, biasprm, lengthrange, acc0, gaintype, biastype
      )
    )
    grad_x *= weight
    grad_length *= weight
    grad_velocity *= weight
    grad_gain *= weight
    grad_bias *= weight
    grad_range *= weight
    grad_acc0 *= weight

    if wp.static(implicit):
      rates = implicit_rates(
        M_elemid,
        moment_rownnz_in,
        moment_rowadr_in,
        moment_colind_in,
        actuator_moment_in,
        mu_in,
        qacc_in,
        delta_in,
        worldid,
        actid,
      )
      product = rates[2]
      x_slope = slope_input(ctrl_in, worldid, ctrladr, x, dyntype)
      if wp.static(discrete):
        x_slope = x
        product = rates[0] * rates[1] - squared_moment(
          moment_rownnz_in,
          moment_rowadr_in,
          moment_colind_in,
          actuator_moment_in,
          metric_dual,
          worldid,
          actid,
        )
      adj_product = -h * slope[worldid, actid]
      adj_rate_out[worldid, actid, MU] = adj_product * rates[1]
      adj_rate_out[worldid, actid, ACC] = adj_product * rates[0]
      adj_rate_out[worldid, actid, DELTA] = adj_product * rates[0]
      slope_product_out[worldid, actid] = adj_product * product
      accumulate_option(adj_timestep_out, worldid, -product * slope[worldid, actid])

      weight = -h * product * slope_free[worldid, actid]
      (
        slope_x,
        slope_length,
        slope_vel,
        slope_gain,
        slope_bias,
        slope_range,
        slope_acc0,
        _g,
        _b,
      ) = wp.grad(force_slope)(
        x_slope,
        length,
        rate_v,
        gainprm,
        biasprm,
        lengthrange,
        acc0,
        gaintype,
        biastype,
      )
      if dyntype != DYN_NONE or wp.static(discrete):
        grad_x += weight * slope_x
      elif ctrladr >= 0:
        wp.atomic_add(adj_ctrl_out, worldid, ctrladr, weight * slope_x)
      grad_length += weight * slope_length
      grad_velocity += weight * slope_vel
      grad_gain += weight * slope_gain
      grad_bias += weight * slope_bias
      grad_range += weight * slope_range
      grad_acc0 += weight * slope_acc0

      if wp.static(discrete):
        stiffness = -length_slope[worldid, actid]
        drift = h * (rates[0] * rate_v + h * product)
        adj_rate_out[worldid, actid, MU] += stiffness * h * (rate_v + h * rates[1])
        adj_rate_out[worldid, actid, ACC] += stiffness * h * h * rates[0]
        adj_rate_out[worldid, actid, DELTA] += stiffness * h * h * rates[0]
        accumulate_option(
          adj_timestep_out, worldid, stiffness * (rates[0] * rate_v + 2.0 * h * product)
        )
        # the gear's part through the rate along v is counted with that rate
        adj_velocity = stiffness * h * rates[0]
        slope_product_out[worldid, actid] += stiffness * drift - 0.5 * adj_velocity * rate_v
        grad_velocity += adj_velocity

        weight = -drift * length_slope_free[worldid, actid]
        (
          slope_x,
          slope_length,
          slope_vel,
          slope_gain,
          slope_bias,
          slope_range,
          slope_acc0,
          _g,
          _b,
        ) = wp.grad(force_length_slope)(
          x, length, rate_v, gainprm, biasprm, lengthrange, acc0, gaintype, biastype
        )
        grad_x += weight * slope_x
        grad_length += weight * slope_length
        grad_velocity += weight * slope_vel
        grad_gain += weight * slope_gain
        grad_bias += weight * slope_bias
        grad_range += weight * slope_range
        grad_acc0 += weight * slope_acc0

    # input: the control, the activation, or the next one
    taken = turns[worldid, actid]
    grad_period = -taken[2] * grad_x
    grad_u = grad_x
    if dyntype != DYN_NONE:
      adr = actuator_actadr[actid]
      grad_act = float(0.0)
      grad_next = adj_act_out[worldid, adr]
      grad_period -= taken[1] * grad_next
      if actuator_actearly[actid]:
        grad_next += grad_x
      else:
        grad_act = grad_x
      adj_u, adj_act, adj_dynprm, _type, adj_actrange, _limited, adj_timestep = wp.grad(
        next_activation
      )(
        ctrl[worldid, actid] - period[worldid, actid] * taken[0],
        act_in[worldid, adr],
        actuator_dynprm[worldid % actuator_dynprm.shape[0], actid],
        dyntype,
        actuator_actrange[worldid % actuator_actrange.shape[0], actid],
        actuator_actlimited[actid],
        h,
      )
      adj_act_out[worldid, adr] = grad_act + grad_next * adj_act
      grad_u = grad_next * adj_u
      grad_period -= taken[0] * grad_u
      accumulate(adj_actuator_dynprm_out, worldid, actid, grad_next * adj_dynprm)
      accumulate(adj_actuator_actrange_out, worldid, actid, grad_next * adj_actrange)
      accumulate_option(adj_timestep_out, worldid, grad_next * adj_timestep)
    if ctrladr >= 0:
      if ctrl_free[worldid, actid] != 0.0:
        wp.atomic_add(adj_ctrl_out, worldid, ctrladr, grad_u)
      else:
        bounds = actuator_ctrlrange[worldid % actuator_ctrlrange.shape[0], ctrladr]
        side = wp.vec2(grad_u, 0.0)
        if ctrl_in[worldid, ctrladr] > bounds[0]:
          side = wp.vec2(0.0, grad_u)
        accumulate(adj_actuator_ctrlrange_out, worldid, ctrladr, side)

    adj_length_out[worldid, actid] = grad_length
    adj_rate_out[worldid, actid, V] = grad_velocity
    adj_rate_out[worldid, actid, LAM] = -force[worldid, actid]
    adj_period_out[worldid, actid] = grad_period
    accumulate(adj_actuator_gainprm_out, worldid, actid, grad_gain)
    accumulate(adj_actuator_biasprm_out, worldid, actid, grad_bias)
    accumulate(adj_actuator_lengthrange_out, worldid, actid, grad_range)
    accumulate(adj_actuator_acc0_out, worldid, actid, grad_acc0)
    bounds = actuator_forcerange[worldid % actuator_forcerange.shape[0], actid]
    held = held_by_range(actuator_forcelimited[actid], force[worldid, actid], bounds)
    if held < 0:
      accumulate(adj_actuator_forcerange_out, worldid, actid, wp.vec2(-rate_lam, 0.0))
    elif held > 0:
      accumulate(adj_actuator_forcerange_out, worldid, actid, wp.vec2(0.0, -rate_lam))

  return actuator_vjp


def vjp(work) -> None:
  """Adds the gradients of the actuators and pulls activations back."""
  if not work.actuation_enabled:
    return
  m, d, act = work.model, work.data, work.actuation
  tendon_force_limit.vjp(work)
  wp.launch(
    _actuator_vjp(act.muscles, work.implicit_actuation, work.discrete),
    dim=(d.nworld, m.nactuator),
    inputs=[
      m.opt.timestep,
      m.actuator_dyntype,
      m.actuator_gaintype,
      m.actuator_biastype,
      m.actuator_ctrladr,
      m.actuator_actadr,
      m.actuator_dynprm,
      m.actuator_gainprm,
      m.actuator_biasprm,
      m.actuator_actlimited,
      m.actuator_actrange,
      m.actuator_actearly,
      m.actuator_forcelimited,
      m.actuator_forcerange,
      m.actuator_ctrlrange,
      m.actuator_acc0,
      m.actuator_lengthrange,
      m.M_elemid,
      work.qacc,
      d.act,
      d.ctrl,
      d.actuator_length,
      d.moment_rownnz,
      d.moment_rowadr,
      d.moment_colind,
      d.actuator_moment,
      act.velocity,
      act.ctrl,
      act.ctrl_free,
      act.period,
      act.turns,
      act.input,
      act.force,
      act.force_free,
      act.slope,
      act.slope_free,
      act.length_slope,
      act.length_slope_free,
      act.dof_free,
      work.lam,
      work.mu,
      work.delta,
      work.metric_dual,
      act.adj_force,
      work.adj_act,
      work.adj_ctrl,
      work.adj["actuator_dynprm"],
      work.adj["actuator_gainprm"],
      work.adj["actuator_biasprm"],
      work.adj["actuator_actrange"],
      work.adj["actuator_forcerange"],
      work.adj["actuator_ctrlrange"],
      work.adj["actuator_acc0"],
      work.adj["actuator_lengthrange"],
      work.adj["opt.timestep"],
    ],
    outputs=[act.slope_product, act.adj_length, act.adj_rate, act.adj_period],
  )
  dcmotor.vjp(work)
  force_limit.vjp(work)
  actuator_direction.evaluate(work)
  transmissions_vjp(work)


def transmissions_vjp(work) -> None:
  """Carries the cotangents of lengths and rates through every kind of transmission in the model."""
  act = work.actuation
  gated = act.gated
  if gated is not None:
    force_limit.start(work, gated, act.dof_free)
  for kind in TRANSMISSIONS:
    if kind.KINDS & act.kinds:
      beyond_joints = kind is not transmission_joint and gated is not None
      kind.vjp(gated if beyond_joints else work)
  if gated is not None:
    force_limit.finish(gated)
