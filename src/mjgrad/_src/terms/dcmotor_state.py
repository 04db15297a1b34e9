"""DC motors at the linearization point: forces, clamps and slopes.

Like terms/actuator_state.py this module only evaluates; terms/dcmotor.py differentiates.

Source: see terms/dcmotor_law.py.
"""

import warp as wp

from mjgrad._src.engine.adapter import vec5
from mjgrad._src.engine.adapter import vec10
from mjgrad._src.terms.dcmotor_law import CURRENT_HELD
from mjgrad._src.terms.dcmotor_law import DCMOTOR
from mjgrad._src.terms.dcmotor_law import FORCE_HELD
from mjgrad._src.terms.dcmotor_law import NO_INPUT
from mjgrad._src.terms.dcmotor_law import SET_POINT
from mjgrad._src.terms.dcmotor_law import VMAX_HELD
from mjgrad._src.terms.dcmotor_law import current_rate
from mjgrad._src.terms.dcmotor_law import dcmotor_length_slope
from mjgrad._src.terms.dcmotor_law import dcmotor_objective
from mjgrad._src.terms.dcmotor_law import dcmotor_slope
from mjgrad._src.terms.dcmotor_law import first_input
from mjgrad._src.terms.dcmotor_law import present
from mjgrad._src.terms.dcmotor_law import resistance
from mjgrad._src.terms.dcmotor_law import servo_voltage
from mjgrad._src.terms.dcmotor_law import slewed
from mjgrad._src.terms.dcmotor_law import terminal_voltage
from mjgrad._src.terms.dcmotor_law import vec7
from mjgrad._src.terms.transmission import moment_dot
from mjgrad._src.terms.transmission_joint import IN_PARENT
from mjgrad._src.terms.transmission_joint import JOINT

wp.set_module_options({"enable_backward": False})


@wp.func
def gather_inputs(
  ctrl_in: wp.array2d[float], first: float, worldid: int, ctrladr: int, spec: int
) -> wp.vec4:
  """Controls by kind: position, velocity, torque, voltage; the first one after its clamp."""
  u = wp.vec4()
  kind = first_input(spec)
  if spec != NO_INPUT:
    u[kind] = first
  adr = ctrladr + 1
  for k in range(1, 4):
    if k > kind and (spec & (1 << k)) != 0:
      u[k] = ctrl_in[worldid, adr]
      adr += 1
  return u


@wp.func
def gather_activations(
  act_in: wp.array2d[float], worldid: int, actadr: int, dynprm: vec10, gainprm: vec10
) -> vec5:
  """Activations by kind, 0 for those that the motor does not have."""
  act = vec5()
  adr = actadr
  for k in range(5):
    if present(dynprm, gainprm, k):
      act[k] = act_in[worldid, adr]
      adr += 1
  return act


@wp.kernel
def _evaluate(
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
  actuator_forcelimited: wp.array[bool],
  actuator_forcerange: wp.array2d[wp.vec2],
  actuator_ctrllimited: wp.array[bool],
  actuator_ctrlrange: wp.array2d[wp.vec2],
  # Data in:
  qvel_in: wp.array2d[float],
  act_in: wp.array2d[float],
  ctrl_in: wp.array2d[float],
  actuator_length_in: wp.array2d[float],
  moment_rownnz_in: wp.array2d[int],
  moment_rowadr_in: wp.array2d[int],
  moment_colind_in: wp.array2d[int],
  actuator_moment_in: wp.array2d[float],
  # In:
  clamp_ctrl: bool,
  # Out:
  velocity_out: wp.array2d[float],
  ctrl_out: wp.array2d[float],
  ctrl_free_out: wp.array2d[float],
  raw_force_out: wp.array2d[float],
  force_out: wp.array2d[float],
  force_free_out: wp.array2d[float],
  held_out: wp.array2d[int],
):
  worldid, actid = wp.tid()
  if actuator_gaintype[actid] != DCMOTOR:
    return
  spec = actuator_ctrlspec[actid]
  ctrladr = actuator_ctrladr[actid]
  dynprm = actuator_dynprm[worldid % actuator_dynprm.shape[0], actid]
  gainprm = actuator_gainprm[worldid % actuator_gainprm.shape[0], actid]
  biasprm = actuator_biasprm[worldid % actuator_biasprm.shape[0], actid]
  early = actuator_actearly[actid]
  h = opt_timestep[worldid % opt_timestep.shape[0]]
  length = actuator_length_in[worldid, actid]
  velocity = moment_dot(
    moment_rownnz_in,
    moment_rowadr_in,
    moment_colind_in,
    actuator_moment_in,
    qvel_in,
    worldid,
    actid,
  )
  first = float(0.0)
  ctrl_free = float(1.0)
  if spec != NO_INPUT:
    first = ctrl_in[worldid, ctrladr]
    if clamp_ctrl and actuator_ctrllimited[ctrladr]:
      bounds = actuator_ctrlrange[worldid % actuator_ctrlrange.shape[0], ctrladr]
      if first < bounds[0] or first > bounds[1]:
        ctrl_free = 0.0
      first = wp.clamp(first, bounds[0], bounds[1])
  u = gather_inputs(ctrl_in, first, worldid, ctrladr, spec)
  act = gather_activations(act_in, worldid, actuator_actadr[actid], dynprm, gainprm)

  electrical = vec7()
  electrical[0] = 1.0
  mechanical = vec7()
  mechanical[1] = 1.0
  raw = dcmotor_objective(
    u, act, length, velocity, dynprm, gainprm, biasprm, h, spec, early, electrical
  )
  mech = dcmotor_objective(
    u, act, length, velocity, dynprm, gainprm, biasprm, h, spec, early, mechanical
  )
  force = raw
  free = float(1.0)
  held = int(0)
  if actuator_forcelimited[actid]:
    limits = actuator_forcerange[worldid % actuator_forcerange.shape[0], actid]
    if raw <= limits[0] or raw >= limits[1]:
      free = 0.0
      held = FORCE_HELD
    force = wp.clamp(raw, limits[0], limits[1])

  u0 = slewed(first, act[0], dynprm, h)
  if (spec & SET_POINT) != 0 and gainprm[7] > 0.0:
    if wp.abs(servo_voltage(u, u0, act[1], length, velocity, gainprm, spec)) >= gainprm[7]:
      held |= VMAX_HELD
  if dynprm[0] > 0.0 and dynprm[1] > 0.0:
    voltage = terminal_voltage(u, u0, act[1], length, velocity, gainprm, spec)
    R = resistance(act[2], dynprm, gainprm)
    if wp.abs(current_rate(voltage, velocity, act[4], R, dynprm[0], gainprm[1])) >= dynprm[1]:
      held |= CURRENT_HELD

  velocity_out[worldid, actid] = velocity
  ctrl_out[worldid, actid] = first
  ctrl_free_out[worldid, actid] = ctrl_free
  raw_force_out[worldid, actid] = raw
  force_out[worldid, actid] = force + mech
  force_free_out[worldid, actid] = free
  held_out[worldid, actid] = held


@wp.kernel
def _slope(
  # Model:
  opt_timestep: wp.array[float],
  jnt_dofadr: wp.array[int],
  actuator_trntype: wp.array[int],
  actuator_gaintype: wp.array[int],
  actuator_ctrlspec: wp.array[int],
  actuator_actadr: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_dynprm: wp.array2d[vec10],
  actuator_gainprm: wp.array2d[vec10],
  actuator_biasprm: wp.array2d[vec10],
  actuator_actearly: wp.array[bool],
  # Data in:
  act_in: wp.array2d[float],
  actuator_length_in: wp.array2d[float],
  # In:
  discrete: bool,
  held: wp.array2d[int],
  dof_free: wp.array2d[float],
  # Out:
  slope_out: wp.array2d[float],
  slope_free_out: wp.array2d[float],
  length_slope_out: wp.array2d[float],
  length_slope_free_out: wp.array2d[float],
):
  worldid, actid = wp.tid()
  if actuator_gaintype[actid] != DCMOTOR:
    return
  dynprm = actuator_dynprm[worldid % actuator_dynprm.shape[0], actid]
  gainprm = actuator_gainprm[worldid % actuator_gainprm.shape[0], actid]
  act = gather_activations(act_in, worldid, actuator_actadr[actid], dynprm, gainprm)
  free = float(1.0)
  if actuator_trntype[actid] == JOINT or actuator_trntype[actid] == IN_PARENT:
    free = dof_free[worldid, jnt_dofadr[actuator_trnid[actid][0]]]
  h = opt_timestep[worldid % opt_timestep.shape[0]]
  spec = actuator_ctrlspec[actid]
  early = actuator_actearly[actid]
  slope = dcmotor_slope(act[2], dynprm, gainprm, h, spec, early, held[worldid, actid])
  if discrete:
    length_slope = dcmotor_length_slope(
      act[2],
      actuator_length_in[worldid, actid],
      dynprm,
      gainprm,
      actuator_biasprm[worldid % actuator_biasprm.shape[0], actid],
      h,
      spec,
      early,
      held[worldid, actid],
    )
    length_free = wp.where(length_slope < 0.0, free, 0.0)
    length_slope_out[worldid, actid] = length_free * length_slope
    length_slope_free_out[worldid, actid] = length_free
    free = wp.where(slope < 0.0, free, 0.0)
  slope_out[worldid, actid] = free * slope
  slope_free_out[worldid, actid] = free


def evaluate(work) -> None:
  """Forces and clamps of the DC motors."""
  m, d, act = work.model, work.data, work.actuation
  if not m.has_actuator_dcmotor:
    return
  wp.launch(
    _evaluate,
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
      m.actuator_forcelimited,
      m.actuator_forcerange,
      m.actuator_ctrllimited,
      m.actuator_ctrlrange,
      d.qvel,
      d.act,
      d.ctrl,
      d.actuator_length,
      d.moment_rownnz,
      d.moment_rowadr,
      d.moment_colind,
      d.actuator_moment,
      work.clamp_ctrl,
    ],
    outputs=[
      act.velocity,
      act.ctrl,
      act.ctrl_free,
      act.raw_force,
      act.force,
      act.force_free,
      act.held,
    ],
  )


def evaluate_slope(work) -> None:
  """Slopes, after the dofs that are held are known."""
  m, d, act = work.model, work.data, work.actuation
  if not (m.has_actuator_dcmotor and work.implicit_actuation):
    return
  wp.launch(
    _slope,
    dim=(d.nworld, m.nactuator),
    inputs=[
      m.opt.timestep,
      m.jnt_dofadr,
      m.actuator_trntype,
      m.actuator_gaintype,
      m.actuator_ctrlspec,
      m.actuator_actadr,
      m.actuator_trnid,
      m.actuator_dynprm,
      m.actuator_gainprm,
      m.actuator_biasprm,
      m.actuator_actearly,
      d.act,
      d.actuator_length,
      work.discrete,
      act.held,
      act.dof_free,
    ],
    outputs=[act.slope, act.slope_free, act.length_slope, act.length_slope_free],
  )
