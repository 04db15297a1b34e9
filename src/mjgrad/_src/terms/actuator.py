"""Actuators on joints: motors and affine (position, velocity) servos, with their clamps.

With moment m (the gear), length l, velocity m . v and control u,

    F = clamp( (g0 + g1 l + g2 m.v) u + (b0 + b1 l + b2 m.v) )
    phi = -(m . lam) F                                  zero on dofs at their actfrcrange
    psi = -h (m . mu) (m . a_d) (g2 u + b2)             implicitfast only, zero where clamped

A hinge or slide has l = gear q; a ball joint has l = gear . t with t its rotation vector; a free
joint has l = 0. At a clamp the gradient is the one of the clamped side, zero.

Source: MuJoCo documentation, Computation, "Actuation model" and "Numerical integration".
"""

import mujoco
import warp as wp

from mjgrad._src.engine.adapter import quat_to_vel
from mjgrad._src.engine.adapter import vec10
from mjgrad._src.integrators.manifold import log_jacobian_transpose

wp.set_module_options({"enable_backward": False})

FREE = wp.constant(int(mujoco.mjtJoint.mjJNT_FREE))
BALL = wp.constant(int(mujoco.mjtJoint.mjJNT_BALL))
GAIN_AFFINE = wp.constant(int(mujoco.mjtGain.mjGAIN_AFFINE))
BIAS_AFFINE = wp.constant(int(mujoco.mjtBias.mjBIAS_AFFINE))
MAX_DOF = wp.constant(6)


@wp.func
def affine_force(
  u: float,
  length: float,
  velocity: float,
  gainprm: vec10,
  biasprm: vec10,
  affine_gain: bool,
  affine_bias: bool,
) -> wp.float32:
  """F before the force clamp."""
  gain = gainprm[0]
  if affine_gain:
    gain = gainprm[0] + gainprm[1] * length + gainprm[2] * velocity
  force = gain * u
  if affine_bias:
    force = force + biasprm[0] + biasprm[1] * length + biasprm[2] * velocity
  return force


@wp.func
def force_slope(
  u: float, gainprm: vec10, biasprm: vec10, affine_gain: bool, affine_bias: bool
) -> wp.float32:
  """dF / d velocity before the force clamp."""
  slope = float(0.0)
  if affine_gain:
    slope = gainprm[2] * u
  if affine_bias:
    slope = slope + biasprm[2]
  return slope


@wp.func
def _ndof(jnttype: int) -> int:
  n = int(1)
  if jnttype == FREE:
    n = 6
  elif jnttype == BALL:
    n = 3
  return n


@wp.func
def _moment_dot(gear: wp.spatial_vector, x: wp.array2d[float], row: int, adr: int, n: int) -> float:
  total = float(0.0)
  for i in range(n):
    total += gear[i] * x[row, adr + i]
  return total


@wp.func
def _rotation_vector(qpos_in: wp.array2d[float], worldid: int, adr: int) -> wp.vec3:
  quat = wp.quat(
    qpos_in[worldid, adr],
    qpos_in[worldid, adr + 1],
    qpos_in[worldid, adr + 2],
    qpos_in[worldid, adr + 3],
  )
  return quat_to_vel(wp.normalize(quat))


@wp.kernel
def _actuator_force(
  # Model:
  jnt_type: wp.array[int],
  jnt_qposadr: wp.array[int],
  jnt_dofadr: wp.array[int],
  actuator_gaintype: wp.array[int],
  actuator_biastype: wp.array[int],
  actuator_ctrladr: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_gainprm: wp.array2d[vec10],
  actuator_biasprm: wp.array2d[vec10],
  actuator_forcelimited: wp.array[bool],
  actuator_forcerange: wp.array2d[wp.vec2],
  actuator_ctrllimited: wp.array[bool],
  actuator_ctrlrange: wp.array2d[wp.vec2],
  actuator_gear: wp.array2d[wp.spatial_vector],
  # Data in:
  qpos_in: wp.array2d[float],
  qvel_in: wp.array2d[float],
  ctrl_in: wp.array2d[float],
  # In:
  clamp_ctrl: bool,
  # Out:
  length_out: wp.array2d[float],
  velocity_out: wp.array2d[float],
  ctrl_out: wp.array2d[float],
  ctrl_free_out: wp.array2d[float],
  force_free_out: wp.array2d[float],
  qfrc_out: wp.array2d[float],
):
  worldid, actid = wp.tid()
  jntid = actuator_trnid[actid][0]
  jnttype = jnt_type[jntid]
  qposadr = jnt_qposadr[jntid]
  dofadr = jnt_dofadr[jntid]
  gear = actuator_gear[worldid % actuator_gear.shape[0], actid]
  gainprm = actuator_gainprm[worldid % actuator_gainprm.shape[0], actid]
  biasprm = actuator_biasprm[worldid % actuator_biasprm.shape[0], actid]
  affine_gain = actuator_gaintype[actid] == GAIN_AFFINE
  affine_bias = actuator_biastype[actid] == BIAS_AFFINE
  n = _ndof(jnttype)

  ctrladr = actuator_ctrladr[actid]
  u = ctrl_in[worldid, ctrladr]
  ctrl_free = float(1.0)
  if clamp_ctrl and actuator_ctrllimited[ctrladr]:
    bounds = actuator_ctrlrange[worldid % actuator_ctrlrange.shape[0], ctrladr]
    if u < bounds[0] or u > bounds[1]:
      ctrl_free = 0.0
    u = wp.clamp(u, bounds[0], bounds[1])

  length = float(0.0)
  if jnttype == BALL:
    rotation_gear = wp.vec3(gear[0], gear[1], gear[2])
    length = wp.dot(rotation_gear, _rotation_vector(qpos_in, worldid, qposadr))
    # A servo on an angle takes the shorter way round: its set point is the nearest equivalent.
    if not affine_gain and affine_bias and gainprm[0] == -biasprm[1]:
      period = wp.static(2.0 * wp.pi) * wp.length(rotation_gear)
      if period > 0.0:
        u -= period * wp.round((u - length) / period)
  elif jnttype != FREE:
    length = gear[0] * qpos_in[worldid, qposadr]
  velocity = _moment_dot(gear, qvel_in, worldid, dofadr, n)

  force = affine_force(u, length, velocity, gainprm, biasprm, affine_gain, affine_bias)
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
  force_free_out[worldid, actid] = force_free
  for i in range(n):
    wp.atomic_add(qfrc_out, worldid, dofadr + i, gear[i] * force)


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


@wp.kernel
def _velocity_slope(
  # Model:
  jnt_dofadr: wp.array[int],
  actuator_gaintype: wp.array[int],
  actuator_biastype: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_gainprm: wp.array2d[vec10],
  actuator_biasprm: wp.array2d[vec10],
  actuator_gear: wp.array2d[wp.spatial_vector],
  # Data in:
  ctrl_in: wp.array2d[float],
  # In:
  force_free: wp.array2d[float],
  dof_free: wp.array2d[float],
  # Out:
  slope_out: wp.array2d[float],
):
  worldid, actid = wp.tid()
  dofid = jnt_dofadr[actuator_trnid[actid][0]]
  gear = actuator_gear[worldid % actuator_gear.shape[0], actid][0]
  slope = force_slope(
    ctrl_in[worldid, actid],
    actuator_gainprm[worldid % actuator_gainprm.shape[0], actid],
    actuator_biasprm[worldid % actuator_biasprm.shape[0], actid],
    actuator_gaintype[actid] == GAIN_AFFINE,
    actuator_biastype[actid] == BIAS_AFFINE,
  )
  free = force_free[worldid, actid] * dof_free[worldid, dofid]
  wp.atomic_add(slope_out, worldid, dofid, free * gear * gear * slope)


@wp.kernel
def _actuator_vjp(
  # Model:
  opt_timestep: wp.array[float],
  jnt_type: wp.array[int],
  jnt_qposadr: wp.array[int],
  jnt_dofadr: wp.array[int],
  actuator_gaintype: wp.array[int],
  actuator_biastype: wp.array[int],
  actuator_ctrladr: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_gainprm: wp.array2d[vec10],
  actuator_biasprm: wp.array2d[vec10],
  actuator_forcelimited: wp.array[bool],
  actuator_forcerange: wp.array2d[wp.vec2],
  actuator_gear: wp.array2d[wp.spatial_vector],
  # Data in:
  qpos_in: wp.array2d[float],
  qacc_in: wp.array2d[float],
  ctrl_in: wp.array2d[float],
  # In:
  implicit: bool,
  length: wp.array2d[float],
  velocity: wp.array2d[float],
  clamped_ctrl: wp.array2d[float],
  ctrl_free: wp.array2d[float],
  force_free: wp.array2d[float],
  dof_free: wp.array2d[float],
  lam_in: wp.array2d[float],
  mu_in: wp.array2d[float],
  delta_in: wp.array2d[float],
  # Adjoint out (+=):
  adj_qpos_out: wp.array2d[float],
  adj_qvel_out: wp.array2d[float],
  adj_ctrl_out: wp.array2d[float],
  adj_actuator_gainprm_out: wp.array2d[vec10],
  adj_actuator_biasprm_out: wp.array2d[vec10],
):
  worldid, actid = wp.tid()
  if force_free[worldid, actid] == 0.0:
    return
  jntid = actuator_trnid[actid][0]
  jnttype = jnt_type[jntid]
  dofadr = jnt_dofadr[jntid]
  ctrladr = actuator_ctrladr[actid]
  gear = actuator_gear[worldid % actuator_gear.shape[0], actid]
  gainprm = actuator_gainprm[worldid % actuator_gainprm.shape[0], actid]
  biasprm = actuator_biasprm[worldid % actuator_biasprm.shape[0], actid]
  affine_gain = actuator_gaintype[actid] == GAIN_AFFINE
  affine_bias = actuator_biastype[actid] == BIAS_AFFINE
  n = _ndof(jnttype)

  moment_lam = float(0.0)
  for i in range(n):
    moment_lam += gear[i] * lam_in[worldid, dofadr + i] * dof_free[worldid, dofadr + i]

  adj_u, adj_length, adj_velocity, adj_gainprm, adj_biasprm, _g, _b = wp.grad(affine_force)(
    clamped_ctrl[worldid, actid],
    length[worldid, actid],
    velocity[worldid, actid],
    gainprm,
    biasprm,
    affine_gain,
    affine_bias,
  )
  grad_ctrl = -moment_lam * adj_u * ctrl_free[worldid, actid]
  grad_gainprm = -moment_lam * adj_gainprm
  grad_biasprm = -moment_lam * adj_biasprm

  if implicit:
    moment_mu = float(0.0)
    moment_a = float(0.0)
    for i in range(n):
      a_d = qacc_in[worldid, dofadr + i] + delta_in[worldid, dofadr + i]
      moment_mu += gear[i] * mu_in[worldid, dofadr + i] * dof_free[worldid, dofadr + i]
      moment_a += gear[i] * a_d
    weight = opt_timestep[worldid % opt_timestep.shape[0]] * moment_mu * moment_a
    slope_u, slope_gainprm, slope_biasprm, _sg, _sb = wp.grad(force_slope)(
      ctrl_in[worldid, actid], gainprm, biasprm, affine_gain, affine_bias
    )
    grad_ctrl -= weight * slope_u
    grad_gainprm -= weight * slope_gainprm
    grad_biasprm -= weight * slope_biasprm

  for i in range(n):
    wp.atomic_add(adj_qvel_out, worldid, dofadr + i, -moment_lam * adj_velocity * gear[i])
  if jnttype == BALL:
    rotation = _rotation_vector(qpos_in, worldid, jnt_qposadr[jntid])
    adj_tangent = log_jacobian_transpose(rotation, wp.vec3(gear[0], gear[1], gear[2]))
    for i in range(3):
      wp.atomic_add(adj_qpos_out, worldid, dofadr + i, -moment_lam * adj_length * adj_tangent[i])
  elif jnttype != FREE:
    wp.atomic_add(adj_qpos_out, worldid, dofadr, -moment_lam * adj_length * gear[0])
  wp.atomic_add(adj_ctrl_out, worldid, ctrladr, grad_ctrl)
  if adj_actuator_gainprm_out.shape[0] > 0:
    row = worldid % adj_actuator_gainprm_out.shape[0]
    wp.atomic_add(adj_actuator_gainprm_out, row, actid, grad_gainprm)
  if adj_actuator_biasprm_out.shape[0] > 0:
    row = worldid % adj_actuator_biasprm_out.shape[0]
    wp.atomic_add(adj_actuator_biasprm_out, row, actid, grad_biasprm)


def evaluate(work) -> None:
  """Forces, clamps and, under implicitfast, the velocity slope on the diagonal of A."""
  if not work.actuation_enabled:
    return
  m, d, act = work.model, work.data, work.actuation
  act.qfrc.zero_()
  wp.launch(
    _actuator_force,
    dim=(d.nworld, m.nactuator),
    inputs=[
      m.jnt_type,
      m.jnt_qposadr,
      m.jnt_dofadr,
      m.actuator_gaintype,
      m.actuator_biastype,
      m.actuator_ctrladr,
      m.actuator_trnid,
      m.actuator_gainprm,
      m.actuator_biasprm,
      m.actuator_forcelimited,
      m.actuator_forcerange,
      m.actuator_ctrllimited,
      m.actuator_ctrlrange,
      m.actuator_gear,
      d.qpos,
      d.qvel,
      d.ctrl,
      work.clamp_ctrl,
    ],
    outputs=[act.length, act.velocity, act.ctrl, act.ctrl_free, act.force_free, act.qfrc],
  )
  wp.launch(
    _dof_free,
    dim=(d.nworld, m.nv),
    inputs=[m.jnt_actfrclimited, m.jnt_actfrcrange, m.dof_jntid, act.qfrc],
    outputs=[act.dof_free],
  )
  if work.implicit_actuation:
    act.slope.zero_()
    wp.launch(
      _velocity_slope,
      dim=(d.nworld, m.nactuator),
      inputs=[
        m.jnt_dofadr,
        m.actuator_gaintype,
        m.actuator_biastype,
        m.actuator_trnid,
        m.actuator_gainprm,
        m.actuator_biasprm,
        m.actuator_gear,
        d.ctrl,
        act.force_free,
        act.dof_free,
      ],
      outputs=[act.slope],
    )


def vjp(work) -> None:
  """Adds the gradients of the actuator forces."""
  if not work.actuation_enabled:
    return
  m, d, act = work.model, work.data, work.actuation
  wp.launch(
    _actuator_vjp,
    dim=(d.nworld, m.nactuator),
    inputs=[
      m.opt.timestep,
      m.jnt_type,
      m.jnt_qposadr,
      m.jnt_dofadr,
      m.actuator_gaintype,
      m.actuator_biastype,
      m.actuator_ctrladr,
      m.actuator_trnid,
      m.actuator_gainprm,
      m.actuator_biasprm,
      m.actuator_forcelimited,
      m.actuator_forcerange,
      m.actuator_gear,
      d.qpos,
      work.qacc,
      d.ctrl,
      work.implicit_actuation,
      act.length,
      act.velocity,
      act.ctrl,
      act.ctrl_free,
      act.force_free,
      act.dof_free,
      work.lam,
      work.mu,
      work.delta,
      work.adj_qpos,
      work.adj_qvel,
      work.adj_ctrl,
      work.adj["actuator_gainprm"],
      work.adj["actuator_biasprm"],
    ],
  )
