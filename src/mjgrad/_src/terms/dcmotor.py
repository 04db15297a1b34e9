"""DC motors: the gradient of their forces and activations, see terms/dcmotor_law.py.

    phi = -rate_lam (F + F_mech)       F, the electrical force, at its clamp is the bound
    psi = -h rate_mu rate_a_d F'       the implicit integrators; under discrete as in
                                       terms/actuator.py, with the slope in the length
    next activations                   pulled back with their own cotangents

Source: see terms/dcmotor_law.py and terms/actuator.py.
"""

import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.accumulate import accumulate_option
from mjgrad._src.engine.adapter import vec10
from mjgrad._src.terms.dcmotor_law import DCMOTOR
from mjgrad._src.terms.dcmotor_law import NO_INPUT
from mjgrad._src.terms.dcmotor_law import dcmotor_length_slope
from mjgrad._src.terms.dcmotor_law import dcmotor_objective
from mjgrad._src.terms.dcmotor_law import dcmotor_slope
from mjgrad._src.terms.dcmotor_law import first_input
from mjgrad._src.terms.dcmotor_law import present
from mjgrad._src.terms.dcmotor_law import vec7
from mjgrad._src.terms.dcmotor_state import gather_activations
from mjgrad._src.terms.dcmotor_state import gather_inputs
from mjgrad._src.terms.transmission import implicit_rates
from mjgrad._src.terms.transmission import moment_dot_free
from mjgrad._src.terms.transmission import squared_moment
from mjgrad._src.tree.twists import ACC
from mjgrad._src.tree.twists import DELTA
from mjgrad._src.tree.twists import LAM
from mjgrad._src.tree.twists import MU
from mjgrad._src.tree.twists import V

wp.set_module_options({"enable_backward": False})


@wp.kernel
def _dcmotor_vjp(
  # Model:
  opt_timestep: wp.array[float],
  actuator_gaintype: wp.array[int],
  actuator_ctrladr: wp.array[int],
  actuator_ctrlspec: wp.array[int],
  actuator_actadr: wp.array[int],
  actuator_dynprm: wp.array2d[vec10],
  actuator_gainprm: wp.array2d[vec10],
  actuator_biasprm: wp.array2d[vec10],
  actuator_actearly: wp.array[bool],
  actuator_forcerange: wp.array2d[wp.vec2],
  actuator_ctrlrange: wp.array2d[wp.vec2],
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
  implicit: bool,
  discrete: bool,
  velocity: wp.array2d[float],
  ctrl: wp.array2d[float],
  ctrl_free: wp.array2d[float],
  raw_force: wp.array2d[float],
  force: wp.array2d[float],
  force_free: wp.array2d[float],
  held: wp.array2d[int],
  slope: wp.array2d[float],
  slope_free: wp.array2d[float],
  length_slope: wp.array2d[float],
  length_slope_free: wp.array2d[float],
  dof_free: wp.array2d[float],
  lam_in: wp.array2d[float],
  mu_in: wp.array2d[float],
  delta_in: wp.array2d[float],
  metric_dual: wp.array2d[float],
  # Adjoint out (+=):
  adj_act_out: wp.array2d[float],
  adj_ctrl_out: wp.array2d[float],
  adj_actuator_dynprm_out: wp.array2d[vec10],
  adj_actuator_gainprm_out: wp.array2d[vec10],
  adj_actuator_biasprm_out: wp.array2d[vec10],
  adj_actuator_forcerange_out: wp.array2d[wp.vec2],
  adj_actuator_ctrlrange_out: wp.array2d[wp.vec2],
  adj_timestep_out: wp.array[float],
  # Out:
  slope_product_out: wp.array2d[float],
  adj_length_out: wp.array2d[float],
  adj_rate_out: wp.array3d[float],
):
  worldid, actid = wp.tid()
  if actuator_gaintype[actid] != DCMOTOR:
    return
  spec = actuator_ctrlspec[actid]
  ctrladr = actuator_ctrladr[actid]
  actadr = actuator_actadr[actid]
  dynprm = actuator_dynprm[worldid % actuator_dynprm.shape[0], actid]
  gainprm = actuator_gainprm[worldid % actuator_gainprm.shape[0], actid]
  biasprm = actuator_biasprm[worldid % actuator_biasprm.shape[0], actid]
  early = actuator_actearly[actid]
  h = opt_timestep[worldid % opt_timestep.shape[0]]
  u = gather_inputs(ctrl_in, ctrl[worldid, actid], worldid, ctrladr, spec)
  act = gather_activations(act_in, worldid, actadr, dynprm, gainprm)
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

  weight = vec7()
  weight[0] = -rate_lam * force_free[worldid, actid]
  weight[1] = -rate_lam
  adr = actadr
  for k in range(5):
    if present(dynprm, gainprm, k):
      weight[2 + k] = adj_act_out[worldid, adr]
      adr += 1
  adj_u, adj_act, adj_length, adj_velocity, adj_dyn, adj_gain, adj_bias, adj_h, _s, _e, _w = (
    wp.grad(dcmotor_objective)(
      u,
      act,
      actuator_length_in[worldid, actid],
      velocity[worldid, actid],
      dynprm,
      gainprm,
      biasprm,
      h,
      spec,
      early,
      weight,
    )
  )

  if implicit:
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
    if discrete:
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
    scale = -h * product * slope_free[worldid, actid]
    slope_act, slope_dyn, slope_gain, slope_h, _spec, _early, _held = wp.grad(dcmotor_slope)(
      act[2], dynprm, gainprm, h, spec, early, held[worldid, actid]
    )
    adj_act[2] += scale * slope_act
    adj_dyn += scale * slope_dyn
    adj_gain += scale * slope_gain
    adj_h += scale * slope_h - product * slope[worldid, actid]

    if discrete:
      rate_v = velocity[worldid, actid]
      stiffness = -length_slope[worldid, actid]
      drift = h * (rates[0] * rate_v + h * product)
      adj_rate_out[worldid, actid, MU] += stiffness * h * (rate_v + h * rates[1])
      adj_rate_out[worldid, actid, ACC] += stiffness * h * h * rates[0]
      adj_rate_out[worldid, actid, DELTA] += stiffness * h * h * rates[0]
      adj_h += stiffness * (rates[0] * rate_v + 2.0 * h * product)
      # the gear's part through the rate along v is counted with that rate
      through_rate = stiffness * h * rates[0]
      slope_product_out[worldid, actid] += stiffness * drift - 0.5 * through_rate * rate_v
      adj_velocity += through_rate

      scale = -drift * length_slope_free[worldid, actid]
      slope_act, slope_length, slope_dyn, slope_gain, slope_bias, slope_h, _s, _e, _held = wp.grad(
        dcmotor_length_slope
      )(
        act[2],
        actuator_length_in[worldid, actid],
        dynprm,
        gainprm,
        biasprm,
        h,
        spec,
        early,
        held[worldid, actid],
      )
      adj_act[2] += scale * slope_act
      adj_length += scale * slope_length
      adj_dyn += scale * slope_dyn
      adj_gain += scale * slope_gain
      adj_bias += scale * slope_bias
      adj_h += scale * slope_h

  adr = actadr
  for k in range(5):
    if present(dynprm, gainprm, k):
      adj_act_out[worldid, adr] = adj_act[k]
      adr += 1
  if spec != NO_INPUT:
    kind = first_input(spec)
    if ctrl_free[worldid, actid] != 0.0:
      wp.atomic_add(adj_ctrl_out, worldid, ctrladr, adj_u[kind])
    else:
      bounds = actuator_ctrlrange[worldid % actuator_ctrlrange.shape[0], ctrladr]
      side = wp.vec2(adj_u[kind], 0.0)
      if ctrl_in[worldid, ctrladr] > bounds[0]:
        side = wp.vec2(0.0, adj_u[kind])
      accumulate(adj_actuator_ctrlrange_out, worldid, ctrladr, side)
    adr = ctrladr + 1
    for k in range(1, 4):
      if k > kind and (spec & (1 << k)) != 0:
        wp.atomic_add(adj_ctrl_out, worldid, adr, adj_u[k])
        adr += 1

  adj_length_out[worldid, actid] = adj_length
  adj_rate_out[worldid, actid, V] = adj_velocity
  adj_rate_out[worldid, actid, LAM] = -force[worldid, actid]
  accumulate(adj_actuator_dynprm_out, worldid, actid, adj_dyn)
  accumulate(adj_actuator_gainprm_out, worldid, actid, adj_gain)
  accumulate(adj_actuator_biasprm_out, worldid, actid, adj_bias)
  accumulate_option(adj_timestep_out, worldid, adj_h)
  if adj_actuator_forcerange_out.shape[0] > 0 and force_free[worldid, actid] == 0.0:
    bounds = actuator_forcerange[worldid % actuator_forcerange.shape[0], actid]
    side = wp.vec2(-rate_lam, 0.0)
    if raw_force[worldid, actid] > bounds[0]:
      side = wp.vec2(0.0, -rate_lam)
    accumulate(adj_actuator_forcerange_out, worldid, actid, side)


def vjp(work) -> None:
  """Leaves the cotangents of lengths and rates; adds those of controls, states and parameters."""
  m, d, act = work.model, work.data, work.actuation
  if not m.has_actuator_dcmotor:
    return
  wp.launch(
    _dcmotor_vjp,
    dim=(d.nworld, m.nactuator),
    inputs=[
      m.opt.timestep,
      m.actuator_gaintype,
      m.actuator_ctrladr,
      m.actuator_ctrlspec,
      m.actuator_actadr,
      m.actuator_dynprm,
      m.actuator_gainprm,
      m.actuator_biasprm,
      m.actuator_actearly,
      m.actuator_forcerange,
      m.actuator_ctrlrange,
      m.M_elemid,
      work.qacc,
      d.act,
      d.ctrl,
      d.actuator_length,
      d.moment_rownnz,
      d.moment_rowadr,
      d.moment_colind,
      d.actuator_moment,
      work.implicit_actuation,
      work.discrete,
      act.velocity,
      act.ctrl,
      act.ctrl_free,
      act.raw_force,
      act.force,
      act.force_free,
      act.held,
      act.slope,
      act.slope_free,
      act.length_slope,
      act.length_slope_free,
      act.dof_free,
      work.lam,
      work.mu,
      work.delta,
      work.metric_dual,
      work.adj_act,
      work.adj_ctrl,
      work.adj["actuator_dynprm"],
      work.adj["actuator_gainprm"],
      work.adj["actuator_biasprm"],
      work.adj["actuator_forcerange"],
      work.adj["actuator_ctrlrange"],
      work.adj["opt.timestep"],
    ],
    outputs=[act.slope_product, act.adj_length, act.adj_rate],
  )
