"""Actuators at the linearization point: transmissions, inputs, forces and clamps.

A servo on an angle takes set points modulo a full turn: of equivalent ones the nearest to the
present angle counts, and an activation is kept near it. How many turns are taken off is computed
here and held fixed.

These kernels are a module of their own because they only evaluate: Warp leaves out the adjoint of
what a function calls when the function is first used without one, so a function that
terms/actuator.py differentiates must not be evaluated in the same module.

Source: MuJoCo documentation, Computation, "Actuation model" and "Numerical integration".
"""

import mujoco
import warp as wp

from mjgrad._src.engine import adapter
from mjgrad._src.engine.adapter import vec10
from mjgrad._src.terms import actuator_slope
from mjgrad._src.terms import dcmotor_state
from mjgrad._src.terms import force_limit
from mjgrad._src.terms import tendon_force_limit
from mjgrad._src.terms.actuator_law import BIAS_AFFINE
from mjgrad._src.terms.actuator_law import DYN_FILTER
from mjgrad._src.terms.actuator_law import DYN_FILTEREXACT
from mjgrad._src.terms.actuator_law import DYN_INTEGRATOR
from mjgrad._src.terms.actuator_law import DYN_NONE
from mjgrad._src.terms.actuator_law import GAIN_FIXED
from mjgrad._src.terms.actuator_law import actuator_force
from mjgrad._src.terms.actuator_law import held_by_range
from mjgrad._src.terms.actuator_law import next_activation
from mjgrad._src.terms.dcmotor_law import DCMOTOR
from mjgrad._src.terms.transmission import moment_dot

wp.set_module_options({"enable_backward": False})

BALL = wp.constant(int(mujoco.mjtJoint.mjJNT_BALL))
JOINT = wp.constant(int(mujoco.mjtTrn.mjTRN_JOINT))
IN_PARENT = wp.constant(int(mujoco.mjtTrn.mjTRN_JOINTINPARENT))
SITE = wp.constant(int(mujoco.mjtTrn.mjTRN_SITE))


@wp.func
def turn_period(
  jnt_type: wp.array[int],
  trntype: int,
  trnid: wp.vec2i,
  dyntype: int,
  gaintype: int,
  biastype: int,
  kp: float,
  bias1: float,
  gear: wp.spatial_vector,
) -> float:
  """Length of a full turn where the actuator is a servo on an angle, else 0."""
  servo = gaintype == GAIN_FIXED and biastype == BIAS_AFFINE and kp == -bias1
  if dyntype != DYN_NONE and dyntype != DYN_INTEGRATOR:
    servo = servo and (dyntype == DYN_FILTER or dyntype == DYN_FILTEREXACT)
  period = float(0.0)
  if servo and (trntype == JOINT or trntype == IN_PARENT):
    if jnt_type[trnid[0]] == BALL:
      period = wp.static(2.0 * wp.pi) * wp.length(wp.spatial_top(gear))
  elif servo and trntype == SITE and trnid[1] >= 0:
    if wp.length(wp.spatial_top(gear)) == 0.0:
      period = wp.static(2.0 * wp.pi) * wp.length(wp.spatial_bottom(gear))
  return period


@wp.func
def full_turns(value: float, near: float, period: float) -> float:
  """Number of full turns to take off a value."""
  n = float(0.0)
  if period > 0.0:
    n = wp.round((value - near) / period)
  return n


@wp.kernel
def _evaluate(
  # Model:
  opt_timestep: wp.array[float],
  jnt_type: wp.array[int],
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
  period_out: wp.array2d[float],
  turns_out: wp.array2d[wp.vec3],
  input_out: wp.array2d[float],
  raw_force_out: wp.array2d[float],
  force_out: wp.array2d[float],
  force_free_out: wp.array2d[float],
):
  worldid, actid = wp.tid()
  trntype = actuator_trntype[actid]
  gear = actuator_gear[worldid % actuator_gear.shape[0], actid]
  gainprm = actuator_gainprm[worldid % actuator_gainprm.shape[0], actid]
  biasprm = actuator_biasprm[worldid % actuator_biasprm.shape[0], actid]
  gaintype = actuator_gaintype[actid]
  biastype = actuator_biastype[actid]
  dyntype = actuator_dyntype[actid]
  if gaintype == DCMOTOR:
    return
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
  period = turn_period(
    jnt_type,
    trntype,
    actuator_trnid[actid],
    dyntype,
    gaintype,
    biastype,
    gainprm[0],
    biasprm[1],
    gear,
  )

  u = float(0.0)
  ctrl_free = float(1.0)
  ctrladr = actuator_ctrladr[actid]
  if ctrladr >= 0:
    u = ctrl_in[worldid, ctrladr]
    if clamp_ctrl and actuator_ctrllimited[ctrladr]:
      bounds = actuator_ctrlrange[worldid % actuator_ctrlrange.shape[0], ctrladr]
      if u < bounds[0] or u > bounds[1]:
        ctrl_free = 0.0
      u = wp.clamp(u, bounds[0], bounds[1])

  x = u
  turns = wp.vec3()
  if dyntype != DYN_NONE:
    act = act_in[worldid, actuator_actadr[actid]]
    if dyntype == DYN_FILTER or dyntype == DYN_FILTEREXACT:
      turns[0] = full_turns(u, act, period)
    next = next_activation(
      u - period * turns[0],
      act,
      actuator_dynprm[worldid % actuator_dynprm.shape[0], actid],
      dyntype,
      actuator_actrange[worldid % actuator_actrange.shape[0], actid],
      actuator_actlimited[actid],
      opt_timestep[worldid % opt_timestep.shape[0]],
    )
    turns[1] = full_turns(next, length, period)
    x = wp.where(actuator_actearly[actid], next, act)
  turns[2] = full_turns(x, length, period)
  x -= period * turns[2]

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
  raw_force_out[worldid, actid] = force
  force_free = float(1.0)
  limits = actuator_forcerange[worldid % actuator_forcerange.shape[0], actid]
  if held_by_range(actuator_forcelimited[actid], force, limits) != 0:
    force_free = 0.0
    force = wp.clamp(force, limits[0], limits[1])

  velocity_out[worldid, actid] = velocity
  ctrl_out[worldid, actid] = u
  ctrl_free_out[worldid, actid] = ctrl_free
  period_out[worldid, actid] = period
  turns_out[worldid, actid] = turns
  input_out[worldid, actid] = x
  force_out[worldid, actid] = force
  force_free_out[worldid, actid] = force_free


def evaluate(work) -> None:
  """Forces, clamps and, where they are integrated implicitly, slopes in the velocity."""
  if not work.actuation_enabled:
    return
  m, d, act = work.model, work.data, work.actuation
  adapter.transmission(m, d)
  wp.launch(
    _evaluate,
    dim=(d.nworld, m.nactuator),
    inputs=[
      m.opt.timestep,
      m.jnt_type,
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
      act.period,
      act.turns,
      act.input,
      act.raw_force,
      act.force,
      act.force_free,
    ],
  )
  dcmotor_state.evaluate(work)
  tendon_force_limit.evaluate(work)
  force_limit.evaluate(work)
  actuator_slope.evaluate(work)
  dcmotor_state.evaluate_slope(work)
