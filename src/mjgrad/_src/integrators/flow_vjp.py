"""The adjoint of the steps of integrators/flow.py, in float64.

`leave(stage)` pulls the cotangents of (q_i, v_i, w_i) and of kappa_i, in tangents of the rotations,

    vbar_i  += J_r^-1(rho_i)^T kappabar_i
    rhobar_i = J_r(rho_i)^T qbar_i + d<kappabar_i, J_r^-1(rho_i) v_i> / d rho_i

back to the start of the step and to what the earlier stages j gave,

    (qbar_0, vbar_0, wbar_0) += (R(rho_i) qbar_i, vbar_i, wbar_i)
    (kappabar_j, alphabar_j, wdotbar_j) += h a_ij (rhobar_i, vbar_i, wbar_i)
    hbar += a_ij (rhobar_i kappa_j + vbar_i alpha_j + wbar_i wdot_j)

Between two stages come the adjoints of the dynamics (adjoint/step_vjp.py) and of the rates of the
activations at stage j,

    (wbar_j, ubar, pbar) += wdotbar_j d wdot_j / d(w_j, u, p).

The sizes of the steps are held fixed: neither the controller nor the choice of accepted steps is
differentiated; what a jump of the forces adds is in adjoint/saltation.py. Where the time step, and
so the length of a call, is a parameter, all sizes are proportional to it.

Source: Hager, Runge-Kutta methods in optimal control and the transformed adjoint system (2000).
"""

import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.accumulate import accumulate_option
from mjgrad._src.engine.adapter import vec10
from mjgrad._src.integrators import rotations
from mjgrad._src.integrators.flow import BALL
from mjgrad._src.integrators.flow import FREE
from mjgrad._src.integrators.flow import ZERO
from mjgrad._src.integrators.flow import Flow
from mjgrad._src.integrators.flow import linear_dofs
from mjgrad._src.integrators.flow import mean_rate
from mjgrad._src.integrators.flow import mean_solved
from mjgrad._src.integrators.rotations import rate_product
from mjgrad._src.terms.actuator_law import activation_rate

wp.set_module_options({"enable_backward": False})


@wp.kernel
def _leave_joint(
  # Model:
  nq: int,
  nv: int,
  opt_timestep: wp.array[float],
  jnt_type: wp.array[int],
  jnt_dofadr: wp.array[int],
  # In:
  weights: wp.array2d[wp.float64],
  stage: int,
  step_size: wp.array[wp.float64],
  y: wp.array2d[wp.float64],
  rate: wp.array3d[wp.float64],
  solved: wp.array3d[float],
  # Adjoint in:
  adj_stage_in: wp.array2d[wp.float64],
  # Adjoint out (+=):
  adj_start_out: wp.array2d[wp.float64],
  adj_rate_out: wp.array3d[wp.float64],
  adj_qacc_out: wp.array3d[wp.float64],
  adj_timestep_out: wp.array[float],
):
  worldid, jntid = wp.tid()
  h = step_size[worldid]
  dofadr = jnt_dofadr[jntid]
  jnttype = jnt_type[jntid]
  nlinear = linear_dofs(jnttype)
  adj_h = wp.float64(0.0)
  for i in range(nlinear):
    dofid = dofadr + i
    adj_q = adj_stage_in[worldid, dofid]
    adj_v = adj_stage_in[worldid, nv + dofid] + adj_rate_out[stage, worldid, dofid]
    adj_start_out[worldid, dofid] += adj_q
    adj_start_out[worldid, nv + dofid] += adj_v
    if h != ZERO:
      for j in range(wp.min(stage, weights.shape[1])):
        weight = weights[stage, j]
        adj_rate_out[j, worldid, dofid] += h * weight * adj_q
        adj_qacc_out[j, worldid, dofid] += h * weight * adj_v
        adj_h += weight * adj_q * rate[j, worldid, dofid]
        adj_h += weight * adj_v * wp.float64(solved[j, worldid, dofid])
  if jnttype == FREE or jnttype == BALL:
    dofadr += nlinear
    rho = wp.vec3d()
    v = wp.vec3d()
    adj_q3 = wp.vec3d()
    adj_v3 = wp.vec3d()
    adj_rate = wp.vec3d()
    for i in range(3):
      dofid = dofadr + i
      if h != ZERO:
        rho[i] = h * mean_rate(weights, rate, stage, worldid, dofid)
      v[i] = y[worldid, nq + dofid]
      adj_q3[i] = adj_stage_in[worldid, dofid]
      adj_v3[i] = adj_stage_in[worldid, nv + dofid]
      adj_rate[i] = adj_rate_out[stage, worldid, dofid]
    through_rho, through_v, _adj_rate = wp.grad(rate_product)(rho, v, adj_rate)
    adj_start3 = rotations.rotate_by_exp(rho, adj_q3)
    adj_rho = rotations.exp_jacobian_transpose(rho, adj_q3) + through_rho
    adj_v3 += through_v
    for i in range(3):
      dofid = dofadr + i
      adj_start_out[worldid, dofid] += adj_start3[i]
      adj_start_out[worldid, nv + dofid] += adj_v3[i]
      if h != ZERO:
        for j in range(wp.min(stage, weights.shape[1])):
          turn = weights[stage, j]
          adj_rate_out[j, worldid, dofid] += h * turn * adj_rho[i]
          adj_qacc_out[j, worldid, dofid] += h * turn * adj_v3[i]
          adj_h += turn * adj_rho[i] * rate[j, worldid, dofid]
          adj_h += turn * adj_v3[i] * wp.float64(solved[j, worldid, dofid])
  timestep = opt_timestep[worldid % opt_timestep.shape[0]]
  accumulate_option(adj_timestep_out, worldid, wp.float32(adj_h * h) / timestep)


@wp.kernel
def _leave_activation(
  # Model:
  nv: int,
  opt_timestep: wp.array[float],
  actuator_actadr: wp.array[int],
  actuator_actlimited: wp.array[bool],
  actuator_actrange: wp.array2d[wp.vec2],
  # In:
  weights: wp.array2d[wp.float64],
  stage: int,
  step_size: wp.array[wp.float64],
  start: wp.array2d[wp.float64],
  start_adr: int,
  solved: wp.array3d[float],
  # Adjoint in:
  adj_stage_in: wp.array2d[wp.float64],
  # Adjoint out (+=):
  adj_start_out: wp.array2d[wp.float64],
  adj_act_dot_out: wp.array3d[wp.float64],
  adj_actuator_actrange_out: wp.array2d[wp.vec2],
  adj_timestep_out: wp.array[float],
):
  worldid, actid = wp.tid()
  adr = actuator_actadr[actid]
  if adr < 0:
    return
  h = step_size[worldid]
  adj = adj_stage_in[worldid, 2 * nv + adr]
  mean = wp.float64(0.0)
  if h != ZERO:
    mean = mean_solved(weights, solved, stage, worldid, 2 * nv + adr)
    if stage == weights.shape[0] - 1 and actuator_actlimited[actid]:
      value = start[worldid, start_adr + adr] + h * mean
      bounds = actuator_actrange[worldid % actuator_actrange.shape[0], actid]
      clamped = wp.vec2(0.0, 0.0)
      if value < wp.float64(bounds[0]):
        clamped[0] = wp.float32(adj)
        adj = ZERO
      elif value > wp.float64(bounds[1]):
        clamped[1] = wp.float32(adj)
        adj = ZERO
      accumulate(adj_actuator_actrange_out, worldid, actid, clamped)
    for j in range(wp.min(stage, weights.shape[1])):
      adj_act_dot_out[j, worldid, adr] += h * weights[stage, j] * adj
  adj_start_out[worldid, 2 * nv + adr] += adj
  timestep = opt_timestep[worldid % opt_timestep.shape[0]]
  accumulate_option(adj_timestep_out, worldid, wp.float32(adj * mean * h) / timestep)


@wp.kernel
def _activation_rate_vjp(
  # Model:
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
  stage: int,
  # Adjoint in:
  adj_act_dot_in: wp.array3d[wp.float64],
  # Adjoint out (+=):
  adj_act_out: wp.array2d[float],
  adj_ctrl_out: wp.array2d[float],
  adj_actuator_dynprm_out: wp.array2d[vec10],
  adj_actuator_ctrlrange_out: wp.array2d[wp.vec2],
):
  worldid, actid = wp.tid()
  dyntype = actuator_dyntype[actid]
  adr = actuator_actadr[actid]
  if adr < 0:
    return
  adj_u, adj_act, adj_dynprm, _dyntype = wp.grad(activation_rate)(
    ctrl[worldid, actid] - period[worldid, actid] * turns[worldid, actid][0],
    act_in[worldid, adr],
    actuator_dynprm[worldid % actuator_dynprm.shape[0], actid],
    dyntype,
  )
  adj = wp.float32(adj_act_dot_in[stage, worldid, adr])
  adj_act_out[worldid, adr] += adj * adj_act
  accumulate(adj_actuator_dynprm_out, worldid, actid, adj * adj_dynprm)
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


@wp.kernel
def _to_dynamics(
  # In:
  solved: wp.array3d[float],
  stage: int,
  # Adjoint in:
  adj_qacc_stages_in: wp.array3d[wp.float64],
  # Data out:
  qfrc_smooth_out: wp.array2d[float],
  # Out:
  qacc_out: wp.array2d[float],
  adj_qacc_out: wp.array2d[wp.float64],
):
  worldid, dofid = wp.tid()
  nv = qacc_out.shape[1]
  qacc_out[worldid, dofid] = solved[stage, worldid, dofid]
  qfrc_smooth_out[worldid, dofid] = solved[stage, worldid, nv + dofid]
  adj_qacc_out[worldid, dofid] = adj_qacc_stages_in[stage, worldid, dofid]


@wp.kernel
def _from_work(
  # Adjoint in:
  adj_qpos_in: wp.array2d[float],
  adj_qvel_in: wp.array2d[float],
  adj_act_in: wp.array2d[float],
  # Out:
  adj_y_out: wp.array2d[wp.float64],
):
  worldid, i = wp.tid()
  nv = adj_qvel_in.shape[1]
  if i < nv:
    adj_y_out[worldid, i] = wp.float64(adj_qpos_in[worldid, i])
    adj_y_out[worldid, nv + i] = wp.float64(adj_qvel_in[worldid, i])
  if i < adj_act_in.shape[1]:
    adj_y_out[worldid, 2 * nv + i] = wp.float64(adj_act_in[worldid, i])


@wp.kernel
def _to_work(
  # Adjoint in:
  adj_y_in: wp.array2d[wp.float64],
  # Out:
  adj_qpos_out: wp.array2d[float],
  adj_qvel_out: wp.array2d[float],
  adj_act_out: wp.array2d[float],
):
  worldid, i = wp.tid()
  nv = adj_qvel_out.shape[1]
  if i < nv:
    adj_qpos_out[worldid, i] = wp.float32(adj_y_in[worldid, i])
    adj_qvel_out[worldid, i] = wp.float32(adj_y_in[worldid, nv + i])
  if i < adj_act_out.shape[1]:
    adj_act_out[worldid, i] = wp.float32(adj_y_in[worldid, 2 * nv + i])


def from_work(work, adj_y: wp.array) -> None:
  """Takes cotangents of (q, v, w), in the tangent space, from `work`."""
  m = work.model
  wp.launch(
    _from_work,
    dim=(work.data.nworld, max(m.nv, m.na)),
    inputs=[work.adj_qpos, work.adj_qvel, work.adj_act],
    outputs=[adj_y],
  )


def to_work(adj_y: wp.array, work) -> None:
  """Hands cotangents of (q, v, w), in the tangent space, to `work`."""
  m = work.model
  wp.launch(
    _to_work,
    dim=(work.data.nworld, max(m.nv, m.na)),
    inputs=[adj_y],
    outputs=[work.adj_qpos, work.adj_qvel, work.adj_act],
  )


def activation_vjp(work, adj_act_dot: wp.array, stage: int) -> None:
  """Adds what the rates of the activations owe to the activation and control of a stage."""
  m, d, act = work.model, work.data, work.actuation
  if not (m.na and work.actuation_enabled):
    return
  wp.launch(
    _activation_rate_vjp,
    dim=(d.nworld, m.nactuator),
    inputs=[
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
      stage,
      adj_act_dot,
    ],
    outputs=[
      work.adj_act,
      work.adj_ctrl,
      work.adj["actuator_dynprm"],
      work.adj["actuator_ctrlrange"],
    ],
  )


class FlowCotangents:
  """Cotangents of the step that every world is in.

  Attributes:
    y: of the state (q, v, w), q in the tangent space, shape [nworld, 2 nv + na].
    stage: of the stage that is being left, likewise.
    rate: of kappa at every stage, shape [nstage + 1, nworld, nv].
    qacc: of the acceleration at every stage, shape [nstage + 1, nworld, nv].
    act_dot: of the rate of the activations at every stage, shape [nstage + 1, nworld, na].
  """

  def __init__(self, flow: Flow):
    self.flow = flow
    shape, device = flow.rate.shape, flow.rate.device
    nworld, nv, na = shape[1], shape[2], flow.model.na

    def doubles(*size: int) -> wp.array:
      return wp.zeros(size, dtype=wp.float64, device=device)

    self.y, self.stage = doubles(nworld, 2 * nv + na), doubles(nworld, 2 * nv + na)
    self.rate, self.qacc = doubles(*shape), doubles(*shape)
    self.act_dot = doubles(shape[0], nworld, na)

  def arrays(self) -> list[wp.array]:
    """Everything that a reversed step changes."""
    return [self.y, self.stage, self.rate, self.qacc, self.act_dot]

  def arrive(self, work) -> None:
    """Takes the cotangents of the last state of a call from `work`."""
    from_work(work, self.y)

  def depart(self, work) -> None:
    """Hands the cotangents of the first state of a call to `work`."""
    to_work(self.y, work)

  def begin(self) -> None:
    """Turns the cotangent of the state into that of the result of a step."""
    for array in (self.rate, self.qacc, self.act_dot):
      array.zero_()
    wp.copy(self.stage, self.y)
    self.y.zero_()

  def enter(self, work, stage: int) -> None:
    """Sets `work` up for the adjoint of the dynamics at a stage, which the flow has entered."""
    wp.launch(
      _to_dynamics,
      dim=work.qacc.shape,
      inputs=[self.flow.solved, stage, self.qacc],
      outputs=[work.data.qfrc_smooth, work.qacc, work.adj_qacc],
    )
    for array in (work.adj_qpos, work.adj_qvel, work.adj_act):
      array.zero_()

  def collect(self, work) -> None:
    """Takes the cotangents of the stage from `work`."""
    from_work(work, self.stage)

  def leave(self, work, stage: int) -> None:
    """Pulls the cotangents of a stage back to the start and the earlier stages."""
    m, d, flow = work.model, work.data, self.flow
    wp.launch(
      _leave_joint,
      dim=(d.nworld, m.njnt),
      inputs=[
        m.nq,
        m.nv,
        m.opt.timestep,
        m.jnt_type,
        m.jnt_dofadr,
        flow.weights,
        stage,
        flow.step_size,
        flow.y,
        flow.rate,
        flow.solved,
        self.stage,
      ],
      outputs=[self.y, self.rate, self.qacc, work.adj["opt.timestep"]],
    )
    if m.na:
      wp.launch(
        _leave_activation,
        dim=(d.nworld, m.nactuator),
        inputs=[
          m.nv,
          m.opt.timestep,
          m.actuator_actadr,
          m.actuator_actlimited,
          m.actuator_actrange,
          flow.weights,
          stage,
          flow.step_size,
          flow.start,
          m.nq + m.nv,
          flow.solved,
          self.stage,
        ],
        outputs=[
          self.y,
          self.act_dot,
          work.adj["actuator_actrange"],
          work.adj["opt.timestep"],
        ],
      )
