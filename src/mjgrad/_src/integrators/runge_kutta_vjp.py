"""The adjoint of the stages of integrators/runge_kutta.py.

`leave(stage)` pulls the cotangents of (q_i, v_i, w_i) and of kappa_i, in tangents of the rotations,

    vbar_i  += J_r^-1(rho_i)^T kappabar_i
    rhobar_i = J_r(rho_i)^T qbar_i + d<kappabar_i, J_r^-1(rho_i) v_i> / d rho_i

back to the start of the step and to what the earlier stages j gave,

    (qbar_0, vbar_0, wbar_0) += (R(rho_i) qbar_i, vbar_i, wbar_i)
    (kappabar_j, alphabar_j, deltabar_j) += a_ij (h rhobar_i, h vbar_i, wbar_i)
    hbar += a_ij (rhobar_i kappa_j + vbar_i alpha_j)

with delta_j = D wdot_j, the advance of the activations at the rate of stage j, which

    (wbar_j, ubar, pbar) += deltabar_j d delta_j / d(w_j, u, p)

pulls back to the activation and control of that stage. Between the two comes the adjoint of the
dynamics at stage j (adjoint/step_vjp.py). Positions and velocities of the stages are held where
the forward step was.

Source: Hager, Runge-Kutta methods in optimal control and the transformed adjoint system (2000),
for the order of the operations.
"""

import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.accumulate import accumulate_option
from mjgrad._src.engine.adapter import deriv_expmap
from mjgrad._src.engine.adapter import vec10
from mjgrad._src.integrators.manifold import exp_jacobian_transpose
from mjgrad._src.integrators.manifold import rotate_by_exp
from mjgrad._src.integrators.runge_kutta import BALL
from mjgrad._src.integrators.runge_kutta import FREE
from mjgrad._src.integrators.runge_kutta import weighted
from mjgrad._src.integrators.runge_kutta import weighted_on_tape
from mjgrad._src.integrators.semi_implicit import product
from mjgrad._src.terms.actuator_law import activation_advance
from mjgrad._src.terms.actuator_law import activation_duration

wp.set_module_options({"enable_backward": False})


@wp.func
def rate_product(rho: wp.vec3, v: wp.vec3, adj_rate: wp.vec3) -> wp.float32:
  """<kappabar, J_r^-1(rho) v>."""
  return wp.dot(adj_rate, deriv_expmap(rho, v))


@wp.kernel
def _leave(
  # Model:
  opt_timestep: wp.array[float],
  jnt_type: wp.array[int],
  jnt_dofadr: wp.array[int],
  # Data in:
  qvel_in: wp.array2d[float],
  # In:
  weights: wp.array2d[float],
  stage: int,
  step: wp.array[int],
  tape_qacc: wp.array4d[float],
  rate: wp.array3d[float],
  # Adjoint in:
  adj_qpos_in: wp.array2d[float],
  adj_qvel_in: wp.array2d[float],
  # Adjoint out (+=):
  adj_start_qpos_out: wp.array2d[float],
  adj_start_qvel_out: wp.array2d[float],
  adj_rate_out: wp.array3d[float],
  adj_qacc_out: wp.array3d[wp.float64],
  adj_timestep_out: wp.array[float],
):
  worldid, jntid = wp.tid()
  h = opt_timestep[worldid % opt_timestep.shape[0]]
  dofadr = jnt_dofadr[jntid]
  jnttype = jnt_type[jntid]
  nlinear = int(1)
  if jnttype == FREE:
    nlinear = 3
  elif jnttype == BALL:
    nlinear = 0
  adj_h = float(0.0)
  for i in range(nlinear):
    dofid = dofadr + i
    adj_rho = adj_qpos_in[worldid, dofid]
    adj_velocity = adj_qvel_in[worldid, dofid] + adj_rate_out[stage, worldid, dofid]
    adj_start_qpos_out[worldid, dofid] += adj_rho
    adj_start_qvel_out[worldid, dofid] += adj_velocity
    for j in range(stage):
      weight = weights[stage, j]
      adj_rate_out[j, worldid, dofid] += h * weight * adj_rho
      adj_qacc_out[j, worldid, dofid] += product(h * weight, adj_velocity)
      adj_h += weight * adj_rho * rate[j, worldid, dofid]
      adj_h += weight * adj_velocity * tape_qacc[step[0], j, worldid, dofid]
  if jnttype == FREE or jnttype == BALL:
    dofadr += nlinear
    rho = wp.vec3()
    velocity = wp.vec3()
    adj_position = wp.vec3()
    adj_velocity3 = wp.vec3()
    adj_rate = wp.vec3()
    for i in range(3):
      rho[i] = h * weighted(weights, rate, stage, worldid, dofadr + i)
      velocity[i] = qvel_in[worldid, dofadr + i]
      adj_position[i] = adj_qpos_in[worldid, dofadr + i]
      adj_velocity3[i] = adj_qvel_in[worldid, dofadr + i]
      adj_rate[i] = adj_rate_out[stage, worldid, dofadr + i]
    through_rho, through_velocity, _adj_rate = wp.grad(rate_product)(rho, velocity, adj_rate)
    adj_start = rotate_by_exp(rho, adj_position)
    adj_rho3 = exp_jacobian_transpose(rho, adj_position) + through_rho
    adj_velocity3 += through_velocity
    for i in range(3):
      dofid = dofadr + i
      adj_start_qpos_out[worldid, dofid] += adj_start[i]
      adj_start_qvel_out[worldid, dofid] += adj_velocity3[i]
      for j in range(stage):
        turn = weights[stage, j]
        adj_rate_out[j, worldid, dofid] += h * turn * adj_rho3[i]
        adj_qacc_out[j, worldid, dofid] += product(h * turn, adj_velocity3[i])
        adj_h += turn * adj_rho3[i] * rate[j, worldid, dofid]
        adj_h += turn * adj_velocity3[i] * tape_qacc[step[0], j, worldid, dofid]
  accumulate_option(adj_timestep_out, worldid, adj_h)


@wp.kernel
def _leave_activation(
  # Model:
  opt_timestep: wp.array[float],
  actuator_dyntype: wp.array[int],
  actuator_actadr: wp.array[int],
  actuator_dynprm: wp.array2d[vec10],
  actuator_actlimited: wp.array[bool],
  actuator_actrange: wp.array2d[wp.vec2],
  # In:
  weights: wp.array2d[float],
  stage: int,
  step: wp.array[int],
  tape_act: wp.array3d[float],
  tape_act_dot: wp.array4d[float],
  # Adjoint in:
  adj_act_in: wp.array2d[float],
  # Adjoint out (+=):
  adj_start_act_out: wp.array2d[float],
  adj_advance_out: wp.array3d[float],
  adj_actuator_actrange_out: wp.array2d[wp.vec2],
):
  worldid, actid = wp.tid()
  dyntype = actuator_dyntype[actid]
  adr = actuator_actadr[actid]
  if adr < 0:
    return
  adj = adj_act_in[worldid, adr]
  if stage == weights.shape[0] - 1 and actuator_actlimited[actid]:
    duration = activation_duration(
      actuator_dynprm[worldid % actuator_dynprm.shape[0], actid],
      dyntype,
      opt_timestep[worldid % opt_timestep.shape[0]],
    )
    mean = weighted_on_tape(weights, tape_act_dot, step[0], stage, worldid, adr)
    value = tape_act[step[0], worldid, adr] + duration * mean
    bounds = actuator_actrange[worldid % actuator_actrange.shape[0], actid]
    clamped = wp.vec2(0.0, 0.0)
    if value < bounds[0]:
      clamped[0] = adj
    elif value > bounds[1]:
      clamped[1] = adj
    accumulate(adj_actuator_actrange_out, worldid, actid, clamped)
    adj -= clamped[0] + clamped[1]
  adj_start_act_out[worldid, adr] += adj
  for j in range(stage):
    adj_advance_out[j, worldid, adr] += weights[stage, j] * adj


@wp.kernel
def _advance_vjp(
  # Model:
  opt_timestep: wp.array[float],
  actuator_dyntype: wp.array[int],
  actuator_ctrladr: wp.array[int],
  actuator_actadr: wp.array[int],
  actuator_dynprm: wp.array2d[vec10],
  actuator_ctrlrange: wp.array2d[wp.vec2],
  # Data in:
  act_in: wp.array2d[float],
  ctrl_in: wp.array2d[float],
  # In:
  ctrl: wp.array2d[float],
  ctrl_free: wp.array2d[float],
  period: wp.array2d[float],
  turns: wp.array2d[wp.vec3],
  # Adjoint in:
  adj_advance_in: wp.array2d[float],
  # Adjoint out (+=):
  adj_act_out: wp.array2d[float],
  adj_ctrl_out: wp.array2d[float],
  adj_actuator_dynprm_out: wp.array2d[vec10],
  adj_actuator_ctrlrange_out: wp.array2d[wp.vec2],
  adj_timestep_out: wp.array[float],
):
  worldid, actid = wp.tid()
  dyntype = actuator_dyntype[actid]
  adr = actuator_actadr[actid]
  if adr < 0:
    return
  adj_u, adj_act, adj_dynprm, _dyntype, adj_timestep = wp.grad(activation_advance)(
    ctrl[worldid, actid] - period[worldid, actid] * turns[worldid, actid][0],
    act_in[worldid, adr],
    actuator_dynprm[worldid % actuator_dynprm.shape[0], actid],
    dyntype,
    opt_timestep[worldid % opt_timestep.shape[0]],
  )
  adj = adj_advance_in[worldid, adr]
  adj_act_out[worldid, adr] += adj * adj_act
  accumulate(adj_actuator_dynprm_out, worldid, actid, adj * adj_dynprm)
  accumulate_option(adj_timestep_out, worldid, adj * adj_timestep)
  ctrladr = actuator_ctrladr[actid]
  if ctrladr >= 0:
    if ctrl_free[worldid, actid] != 0.0:
      wp.atomic_add(adj_ctrl_out, worldid, ctrladr, adj * adj_u)
    else:
      bounds = actuator_ctrlrange[worldid % actuator_ctrlrange.shape[0], ctrladr]
      side = wp.vec2(adj * adj_u, 0.0)
      if ctrl_in[worldid, ctrladr] > bounds[0]:
        side = wp.vec2(0.0, adj * adj_u)
      accumulate(adj_actuator_ctrlrange_out, worldid, ctrladr, side)


class StageCotangents:
  """Cotangents of the stages and of the start of a step.

  Attributes:
    qpos, qvel, act: of the start, shape [nworld, n]; qpos in the tangent space
    rate: of kappa at every stage, shape [nstage + 1, nworld, nv]
    qacc: of the acceleration at every stage, shape [nstage + 1, nworld, nv]
    advance: of D wdot at every stage, shape [nstage + 1, nworld, na]
  """

  def __init__(self, stages, na: int):
    shape, device = stages.rate.shape, stages.rate.device
    self.stages = stages
    self.qpos, self.qvel, self.act, self.rate, self.advance = (
      wp.zeros(size, dtype=float, device=device)
      for size in (shape[1:], shape[1:], (shape[1], na), shape, (*shape[:2], na))
    )
    self.qacc = wp.zeros(shape, dtype=wp.float64, device=device)

  def begin(self) -> None:
    """Forgets the step before."""
    for array in (self.qpos, self.qvel, self.act, self.rate, self.qacc, self.advance):
      array.zero_()

  def enter(self, work, stage: int) -> None:
    """Sets `work` up for the adjoint of the dynamics at a stage."""
    wp.copy(work.adj_qacc, self.qacc[stage])
    for array in (work.adj_qpos, work.adj_qvel, work.adj_act):
      array.zero_()

  def leave(self, work, stage: int) -> None:
    """Pulls the cotangents of (q, v, w) in `work` back to the start and the earlier stages."""
    m, d, tape, weights = work.model, work.data, work.tape, self.stages.weights
    wp.launch(
      _leave,
      dim=(d.nworld, m.njnt),
      inputs=[
        m.opt.timestep,
        m.jnt_type,
        m.jnt_dofadr,
        d.qvel,
        weights,
        stage,
        tape.step,
        tape.qacc,
        self.stages.rate,
        work.adj_qpos,
        work.adj_qvel,
      ],
      outputs=[self.qpos, self.qvel, self.rate, self.qacc, work.adj["opt.timestep"]],
    )
    if m.na:
      wp.launch(
        _leave_activation,
        dim=(d.nworld, m.nactuator),
        inputs=[
          m.opt.timestep,
          m.actuator_dyntype,
          m.actuator_actadr,
          m.actuator_dynprm,
          m.actuator_actlimited,
          m.actuator_actrange,
          weights,
          stage,
          tape.step,
          tape.act,
          tape.act_dot,
          work.adj_act,
        ],
        outputs=[self.act, self.advance, work.adj["actuator_actrange"]],
      )

  def advance_vjp(self, work, stage: int) -> None:
    """Adds what the advance of the activations owes to the activation and control of a stage."""
    m, d, act = work.model, work.data, work.actuation
    if not (m.na and work.actuation_enabled):
      return
    wp.launch(
      _advance_vjp,
      dim=(d.nworld, m.nactuator),
      inputs=[
        m.opt.timestep,
        m.actuator_dyntype,
        m.actuator_ctrladr,
        m.actuator_actadr,
        m.actuator_dynprm,
        m.actuator_ctrlrange,
        d.act,
        d.ctrl,
        act.ctrl,
        act.ctrl_free,
        act.period,
        act.turns,
        self.advance[stage],
      ],
      outputs=[
        work.adj_act,
        work.adj_ctrl,
        work.adj["actuator_dynprm"],
        work.adj["actuator_ctrlrange"],
        work.adj["opt.timestep"],
      ],
    )

  def finish(self, work) -> None:
    """Hands over the cotangents of the start of the step."""
    for source, target in (
      (self.qpos, work.adj_qpos),
      (self.qvel, work.adj_qvel),
      (self.act, work.adj_act),
    ):
      wp.copy(target, source)
