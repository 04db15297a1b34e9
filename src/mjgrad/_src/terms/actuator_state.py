"""Actuators at the linearization point: inputs, forces and clamps.

These kernels are a module of their own because they only evaluate: Warp leaves out the adjoint of
what a function calls when the function is first used without one, so a function that
terms/actuator.py differentiates must not be evaluated in the same module.

Source: MuJoCo documentation, Computation, "Actuation model" and "Numerical integration".
"""

import warp as wp

from mjgrad._src.engine.adapter import vec10
from mjgrad._src.terms import actuator_slope
from mjgrad._src.terms.actuator_law import BIAS_AFFINE
from mjgrad._src.terms.actuator_law import DYN_NONE
from mjgrad._src.terms.actuator_law import GAIN_FIXED
from mjgrad._src.terms.actuator_law import actuator_force
from mjgrad._src.terms.actuator_law import next_activation
from mjgrad._src.terms.transmission import BALL
from mjgrad._src.terms.transmission import TENDON
from mjgrad._src.terms.transmission import joint_length
from mjgrad._src.terms.transmission import joint_moment
from mjgrad._src.terms.transmission import joint_ndof
from mjgrad._src.terms.transmission import joint_rate
from mjgrad._src.tree.twists import V

wp.set_module_options({"enable_backward": False})


@wp.func
def _nearest_setpoint(u: float, length: float, gear: wp.vec3) -> float:
  """The equivalent of an angular set point that is nearest to the present angle."""
  period = wp.static(2.0 * wp.pi) * wp.length(gear)
  value = u
  if period > 0.0:
    value = u - period * wp.round((u - length) / period)
  return value


@wp.kernel
def _evaluate(
  # Model:
  opt_timestep: wp.array[float],
  jnt_type: wp.array[int],
  jnt_qposadr: wp.array[int],
  jnt_dofadr: wp.array[int],
  actuator_trntype: wp.array[int],
  actuator_dyntype: wp.array[int],
  actuator_gaintype: wp.array[int],
  actuator_biastype: wp.array[int],
  actuator_ctrladr: wp.array[int],
  actuator_actadr: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_dynprm: wp.array2d[vec10],
  actuator_gainprm: wp.array2d[vec10],
  actuator_biasprm: wp.array2d[vec10],
  actuator_actlimited: wp.array[bool],
  actuator_actrange: wp.array2d[wp.vec2],
  actuator_actearly: wp.array[bool],
  actuator_forcelimited: wp.array[bool],
  actuator_forcerange: wp.array2d[wp.vec2],
  actuator_ctrllimited: wp.array[bool],
  actuator_ctrlrange: wp.array2d[wp.vec2],
  actuator_gear: wp.array2d[wp.spatial_vector],
  actuator_acc0: wp.array2d[float],
  actuator_lengthrange: wp.array2d[wp.vec2],
  # Data in:
  qpos_in: wp.array2d[float],
  qvel_in: wp.array2d[float],
  act_in: wp.array2d[float],
  ctrl_in: wp.array2d[float],
  ten_length_in: wp.array2d[float],
  # In:
  clamp_ctrl: bool,
  ones: wp.array2d[float],
  ten_rate: wp.array3d[float],
  # Out:
  length_out: wp.array2d[float],
  velocity_out: wp.array2d[float],
  ctrl_out: wp.array2d[float],
  ctrl_free_out: wp.array2d[float],
  input_out: wp.array2d[float],
  force_out: wp.array2d[float],
  force_free_out: wp.array2d[float],
  qfrc_out: wp.array2d[float],
):
  worldid, actid = wp.tid()
  trntype = actuator_trntype[actid]
  target = actuator_trnid[actid][0]
  gear = actuator_gear[worldid % actuator_gear.shape[0], actid]
  gainprm = actuator_gainprm[worldid % actuator_gainprm.shape[0], actid]
  biasprm = actuator_biasprm[worldid % actuator_biasprm.shape[0], actid]
  gaintype = actuator_gaintype[actid]
  biastype = actuator_biastype[actid]
  dyntype = actuator_dyntype[actid]

  ctrladr = actuator_ctrladr[actid]
  u = ctrl_in[worldid, ctrladr]
  ctrl_free = float(1.0)
  if clamp_ctrl and actuator_ctrllimited[ctrladr]:
    bounds = actuator_ctrlrange[worldid % actuator_ctrlrange.shape[0], ctrladr]
    if u < bounds[0] or u > bounds[1]:
      ctrl_free = 0.0
    u = wp.clamp(u, bounds[0], bounds[1])

  jnttype = int(-1)
  dofadr = int(0)
  n = int(0)
  moment = wp.spatial_vector()
  if trntype == TENDON:
    length = gear[0] * ten_length_in[worldid, target]
    velocity = gear[0] * ten_rate[worldid, target, V]
  else:
    jnttype = jnt_type[target]
    dofadr = jnt_dofadr[target]
    n = joint_ndof(jnttype)
    moment = joint_moment(qpos_in, worldid, jnttype, jnt_qposadr[target], trntype, gear)
    length = joint_length(qpos_in, worldid, jnttype, jnt_qposadr[target], gear)
    velocity = joint_rate(moment, qvel_in, ones, worldid, dofadr, n)

  x = u
  if dyntype != DYN_NONE:
    x = act_in[worldid, actuator_actadr[actid]]
    if actuator_actearly[actid]:
      x = next_activation(
        u,
        x,
        actuator_dynprm[worldid % actuator_dynprm.shape[0], actid],
        dyntype,
        actuator_actrange[worldid % actuator_actrange.shape[0], actid],
        actuator_actlimited[actid],
        opt_timestep[worldid % opt_timestep.shape[0]],
      )
  servo = gaintype == GAIN_FIXED and biastype == BIAS_AFFINE and gainprm[0] == -biasprm[1]
  if jnttype == BALL and servo:
    x = _nearest_setpoint(x, length, wp.spatial_top(gear))

  force = actuator_force(
    x,
    length,
    velocity,
    gainprm,
    biasprm,
    actuator_lengthrange[worldid % actuator_lengthrange.shape[0], actid],
    actuator_acc0[worldid % actuator_acc0.shape[0], actid],
    gaintype,
    biastype,
  )
  force_free = float(1.0)
  if actuator_forcelimited[actid]:
    limits = actuator_forcerange[worldid % actuator_forcerange.shape[0], actid]
    if force <= limits[0] or force >= limits[1]:
      force_free = 0.0
    force = wp.clamp(force, limits[0], limits[1])

  length_out[worldid, actid] = length
  velocity_out[worldid, actid] = velocity
  ctrl_out[worldid, actid] = u
  ctrl_free_out[worldid, actid] = ctrl_free
  input_out[worldid, actid] = x
  force_out[worldid, actid] = force
  force_free_out[worldid, actid] = force_free
  for i in range(n):
    wp.atomic_add(qfrc_out, worldid, dofadr + i, moment[i] * force)


@wp.kernel
def _dof_free(
  # Model:
  jnt_actfrclimited: wp.array[bool],
  jnt_actfrcrange: wp.array2d[wp.vec2],
  dof_jntid: wp.array[int],
  # In:
  qfrc_in: wp.array2d[float],
  # Out:
  dof_free_out: wp.array2d[float],
):
  worldid, dofid = wp.tid()
  jntid = dof_jntid[dofid]
  free = float(1.0)
  if jnt_actfrclimited[jntid]:
    bounds = jnt_actfrcrange[worldid % jnt_actfrcrange.shape[0], jntid]
    qfrc = qfrc_in[worldid, dofid]
    if qfrc <= bounds[0] or qfrc >= bounds[1]:
      free = 0.0
  dof_free_out[worldid, dofid] = free


def evaluate(work) -> None:
  """Forces, clamps and, under implicitfast, slopes in the velocity."""
  if not work.actuation_enabled:
    return
  m, d, act = work.model, work.data, work.actuation
  act.qfrc.zero_()
  wp.launch(
    _evaluate,
    dim=(d.nworld, m.nactuator),
    inputs=[
      m.opt.timestep,
      m.jnt_type,
      m.jnt_qposadr,
      m.jnt_dofadr,
      m.actuator_trntype,
      m.actuator_dyntype,
      m.actuator_gaintype,
      m.actuator_biastype,
      m.actuator_ctrladr,
      m.actuator_actadr,
      m.actuator_trnid,
      m.actuator_dynprm,
      m.actuator_gainprm,
      m.actuator_biasprm,
      m.actuator_actlimited,
      m.actuator_actrange,
      m.actuator_actearly,
      m.actuator_forcelimited,
      m.actuator_forcerange,
      m.actuator_ctrllimited,
      m.actuator_ctrlrange,
      m.actuator_gear,
      m.actuator_acc0,
      m.actuator_lengthrange,
      d.qpos,
      d.qvel,
      d.act,
      d.ctrl,
      d.ten_length,
      work.clamp_ctrl,
      work.ones,
      work.ten_rate,
    ],
    outputs=[
      act.length,
      act.velocity,
      act.ctrl,
      act.ctrl_free,
      act.input,
      act.force,
      act.force_free,
      act.qfrc,
    ],
  )
  wp.launch(
    _dof_free,
    dim=(d.nworld, m.nv),
    inputs=[m.jnt_actfrclimited, m.jnt_actfrcrange, m.dof_jntid, act.qfrc],
    outputs=[act.dof_free],
  )
  actuator_slope.evaluate(work)
