"""The equations of the adjoint in continuous time, beside those of the state.

With lam = (lam_q, lam_v, lam_w) the gradient with respect to the state at time t, lam_q in the
tangent space, and s the time that is left before the end of a call,

    d lam_q / ds = omega x lam_q + qbar        (for rotations; qbar elsewhere)
    d lam_v / ds = lam_q + vbar
    d lam_w / ds = wbar
    d pbar / ds  = pbar'                       and likewise for controls and forces

where (qbar, vbar, wbar, pbar') pull (lam_v, lam_w) back through the dynamics and the rates of the
activations at (q, v, w). The product with omega is there because the tangent space of a rotation
turns with it: delta' = delta omega - omega x delta.

The state goes backwards along with lam, d(q, v, w) / ds = -F: nothing of the forward pass is kept
but its end. Parameters do not enter lam; what they receive is summed up, with the weights b of the
method, once a step is accepted.

Source: Pontryagin et al., The mathematical theory of optimal processes (1962); Chen et al., Neural
ordinary differential equations (2018), appendix B.
"""

import warp as wp

from mjgrad._src.accumulate import accumulate_option
from mjgrad._src.integrators.flow import BALL
from mjgrad._src.integrators.flow import FREE
from mjgrad._src.integrators.flow import ZERO
from mjgrad._src.integrators.flow import Flow
from mjgrad._src.integrators.flow import linear_dofs

wp.set_module_options({"enable_backward": False})


@wp.func
def _costate(
  weights: wp.array2d[wp.float64],
  stage: int,
  h: wp.float64,
  start: wp.array2d[wp.float64],
  rate: wp.array3d[wp.float64],
  worldid: int,
  i: int,
) -> wp.float64:
  """An entry of lam at a stage."""
  value = start[worldid, i]
  if h != ZERO:
    for j in range(wp.min(stage, weights.shape[1])):
      value += wp.abs(h) * weights[stage, j] * rate[j, worldid, i]
  return value


@wp.kernel
def _enter(
  # In:
  weights: wp.array2d[wp.float64],
  stage: int,
  step_size: wp.array[wp.float64],
  start: wp.array2d[wp.float64],
  rate: wp.array3d[wp.float64],
  # Out:
  y_out: wp.array2d[wp.float64],
):
  worldid, i = wp.tid()
  y_out[worldid, i] = _costate(weights, stage, step_size[worldid], start, rate, worldid, i)


@wp.kernel
def _to_dynamics(
  # In:
  weights: wp.array2d[wp.float64],
  stage: int,
  summing: bool,
  step_size: wp.array[wp.float64],
  accepts: wp.array[int],
  solved: wp.array3d[float],
  y: wp.array2d[wp.float64],
  # Data out:
  qfrc_smooth_out: wp.array2d[float],
  # Out:
  qacc_out: wp.array2d[float],
  adj_qacc_out: wp.array2d[wp.float64],
  adj_act_dot_out: wp.array3d[wp.float64],
):
  worldid, i = wp.tid()
  nv = qacc_out.shape[1]
  weight = wp.float64(1.0)
  if summing:
    weight = ZERO
    if accepts[worldid] != 0:
      weight = wp.abs(step_size[worldid]) * weights[weights.shape[0] - 1, stage]
  if i < nv:
    qacc_out[worldid, i] = solved[stage, worldid, i]
    qfrc_smooth_out[worldid, i] = solved[stage, worldid, nv + i]
    adj_qacc_out[worldid, i] = weight * y[worldid, nv + i]
  if i < adj_act_dot_out.shape[2]:
    adj_act_dot_out[stage, worldid, i] = weight * y[worldid, 2 * nv + i]


@wp.kernel
def _rate(
  # Model:
  jnt_type: wp.array[int],
  jnt_dofadr: wp.array[int],
  # Data in:
  qvel_in: wp.array2d[float],
  # In:
  stage: int,
  y: wp.array2d[wp.float64],
  # Adjoint in:
  adj_qpos_in: wp.array2d[float],
  adj_qvel_in: wp.array2d[float],
  adj_act_in: wp.array2d[float],
  # Out:
  rate_out: wp.array3d[wp.float64],
):
  worldid, jntid = wp.tid()
  nv = qvel_in.shape[1]
  dofadr = jnt_dofadr[jntid]
  jnttype = jnt_type[jntid]
  nlinear = linear_dofs(jnttype)
  ndof = nlinear
  if jnttype == FREE or jnttype == BALL:
    ndof += 3
    omega = wp.vec3d()
    lam = wp.vec3d()
    for i in range(3):
      omega[i] = wp.float64(qvel_in[worldid, dofadr + nlinear + i])
      lam[i] = y[worldid, dofadr + nlinear + i]
    turn = wp.cross(omega, lam)
    for i in range(3):
      dofid = dofadr + nlinear + i
      rate_out[stage, worldid, dofid] = turn[i] + wp.float64(adj_qpos_in[worldid, dofid])
  for i in range(nlinear):
    dofid = dofadr + i
    rate_out[stage, worldid, dofid] = wp.float64(adj_qpos_in[worldid, dofid])
  for i in range(ndof):
    dofid = dofadr + i
    rate_out[stage, worldid, nv + dofid] = y[worldid, dofid] + wp.float64(
      adj_qvel_in[worldid, dofid]
    )
  if jntid == 0:
    for i in range(adj_act_in.shape[1]):
      rate_out[stage, worldid, 2 * nv + i] = wp.float64(adj_act_in[worldid, i])


@wp.kernel
def _commit(
  # In:
  nstage: int,
  accepts: wp.array[int],
  y: wp.array2d[wp.float64],
  # Out:
  start_out: wp.array2d[wp.float64],
  rate_out: wp.array3d[wp.float64],
):
  worldid, i = wp.tid()
  if accepts[worldid] != 0:
    start_out[worldid, i] = y[worldid, i]
    rate_out[0, worldid, i] = rate_out[nstage, worldid, i]


@wp.kernel
def _reverse(
  # Out:
  step_size_out: wp.array[wp.float64],
):
  worldid = wp.tid()
  step_size_out[worldid] = -step_size_out[worldid]


@wp.kernel
def _end_of_call(
  # Model:
  opt_timestep: wp.array[float],
  # In:
  span: wp.array[wp.float64],
  rate: wp.array3d[wp.float64],
  solved: wp.array3d[float],
  costate: wp.array2d[wp.float64],
  # Adjoint out (+=):
  adj_timestep_out: wp.array[float],
):
  worldid = wp.tid()
  nv = rate.shape[2]
  product = wp.float64(0.0)
  for i in range(nv):
    product += costate[worldid, i] * rate[0, worldid, i]
    product += costate[worldid, nv + i] * wp.float64(solved[0, worldid, i])
  for i in range(solved.shape[2] - 2 * nv):
    product += costate[worldid, 2 * nv + i] * wp.float64(solved[0, worldid, 2 * nv + i])
  timestep = opt_timestep[worldid % opt_timestep.shape[0]]
  accumulate_option(adj_timestep_out, worldid, wp.float32(product * span[worldid]) / timestep)


class Costate:
  """lam beside the step of every world.

  Attributes:
    start: lam at the start of the step, shape [nworld, 2 nv + na].
    y: lam at the stage entered last, likewise.
    rate: d lam / ds at every stage, shape [nstage + 1, nworld, 2 nv + na].
    act_dot: the part of lam that belongs to the rates of the activations, at every stage, shape
      [nstage + 1, nworld, na].
  """

  def __init__(self, flow: Flow):
    self.flow = flow
    nstage, nworld, nv = flow.rate.shape
    na, device = flow.model.na, flow.rate.device
    self.start = wp.zeros((nworld, 2 * nv + na), dtype=wp.float64, device=device)
    self.y = wp.zeros_like(self.start)
    self.rate = wp.zeros((nstage, *self.start.shape), dtype=wp.float64, device=device)
    self.act_dot = wp.zeros((nstage, nworld, na), dtype=wp.float64, device=device)

  def arrays(self) -> list[wp.array]:
    """Everything that an attempt changes."""
    return [self.start, self.y, self.rate, self.act_dot]

  def reverse(self) -> None:
    """Lets the state go backwards in time."""
    step_size = self.flow.step_size
    wp.launch(_reverse, dim=step_size.shape, outputs=[step_size])

  def move(self, stage: int) -> None:
    """Moves `y` to a stage, the rates of all earlier ones known."""
    wp.launch(
      _enter,
      dim=self.start.shape,
      inputs=[self.flow.weights, stage, self.flow.step_size, self.start, self.rate],
      outputs=[self.y],
    )

  def enter(self, work, stage: int, accepts: wp.array | None = None) -> None:
    """Sets `work` up for the adjoint of the dynamics at a stage that the flow has solved.

    Args:
      work: the workspace.
      stage: the stage.
      accepts: None for the rate of lam; or the worlds whose step is taken, for what the stage adds
        to the cotangents of parameters and inputs.
    """
    flow, data = self.flow, work.data
    flow.enter(stage, data)
    self.move(stage)
    summing = accepts is not None
    wp.launch(
      _to_dynamics,
      dim=(data.nworld, max(flow.model.nv, flow.model.na)),
      inputs=[
        flow.weights,
        stage,
        summing,
        flow.step_size,
        accepts if summing else wp.empty(0, dtype=int),
        flow.solved,
        self.y,
      ],
      outputs=[data.qfrc_smooth, work.qacc, work.adj_qacc, self.act_dot],
    )
    for array in (work.adj_qpos, work.adj_qvel, work.adj_act):
      array.zero_()

  def leave(self, work, stage: int) -> None:
    """Takes the rate of lam at a stage from `work`."""
    m = work.model
    wp.launch(
      _rate,
      dim=(work.data.nworld, m.njnt),
      inputs=[
        m.jnt_type,
        m.jnt_dofadr,
        work.data.qvel,
        stage,
        self.y,
        work.adj_qpos,
        work.adj_qvel,
        work.adj_act,
      ],
      outputs=[self.rate],
    )

  def commit(self, accepts: wp.array) -> None:
    """Takes the step in the worlds where it is accepted."""
    wp.launch(
      _commit,
      dim=self.start.shape,
      inputs=[self.flow.nstage, accepts, self.y],
      outputs=[self.start, self.rate],
    )

  def end_of_call(self, work, span: wp.array) -> None:
    """Adds what the length of the call, `span` [s], does at its end."""
    wp.launch(
      _end_of_call,
      dim=span.shape,
      inputs=[work.model.opt.timestep, span, self.flow.rate, self.flow.solved, self.start],
      outputs=[work.adj["opt.timestep"]],
    )
