"""Explicit Runge-Kutta steps, stage by stage, on the manifold of positions.

With the tableau (a, b) of integrators/tableau.py and the dynamics (alpha, wdot) = F(q, v, w), stage
i of the step from (q_0, v_0, w_0) is

    rho_i = h sum_j a_ij kappa_j        q_i = q_0 exp(rho_i)
    v_i   = v_0 + h sum_j a_ij alpha_j  kappa_i = J_r^-1(rho_i) v_i
    w_i   = w_0 + D sum_j a_ij wdot_j   (alpha_i, wdot_i) = F(q_i, v_i, w_i)

and the result is a stage with the weights b, its activations clamped and, where they are set points
of an angle, brought within half a turn of it at the start of the step. kappa is the rate of the
rotation vector rho (Munthe-Kaas); for everything but rotations exp is the addition and J_r the
identity. D is h, or tau (1 - exp(-h / tau)) for activations that are filtered exactly.

With MuJoCo's tableau this is `mujoco_warp.step`, which however does not tell what its stages solved
for. A step whose gradient is wanted is therefore taken here, with the engine's evaluations.

Source: MuJoCo documentation, Computation, "Numerical integration"; Hairer, Lubich and Wanner,
Geometric Numerical Integration, chapter IV.8.1.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import mujoco
import mujoco_warp as mjw
import warp as wp

from mjgrad._src.engine import adapter
from mjgrad._src.engine.adapter import deriv_expmap
from mjgrad._src.engine.adapter import next_act
from mjgrad._src.engine.adapter import quat_integrate
from mjgrad._src.engine.adapter import vec10
from mjgrad._src.integrators.tableau import Tableau
from mjgrad._src.terms.actuator_state import full_turns
from mjgrad._src.terms.actuator_state import turn_period

if TYPE_CHECKING:
  from mjgrad._src.adjoint.tape import Tape

wp.set_module_options({"enable_backward": False})

FREE = wp.constant(int(mujoco.mjtJoint.mjJNT_FREE))
BALL = wp.constant(int(mujoco.mjtJoint.mjJNT_BALL))


@wp.func
def weighted(
  weights: wp.array2d[float], rate: wp.array3d[float], stage: int, worldid: int, dofid: int
) -> float:
  """sum_j a_ij kappa_j for i = stage."""
  total = float(0.0)
  for j in range(stage):
    total += weights[stage, j] * rate[j, worldid, dofid]
  return total


@wp.func
def weighted_on_tape(
  weights: wp.array2d[float],
  tape: wp.array4d[float],
  slot: int,
  stage: int,
  worldid: int,
  i: int,
) -> float:
  """sum_j a_ij of what the tape holds of stage j in a slot."""
  total = float(0.0)
  for j in range(stage):
    total += weights[stage, j] * tape[slot, j, worldid, i]
  return total


@wp.kernel
def _enter_velocity(
  # Model:
  opt_timestep: wp.array[float],
  # In:
  weights: wp.array2d[float],
  stage: int,
  step: wp.array[int],
  tape_qvel: wp.array3d[float],
  tape_qacc: wp.array4d[float],
  # Data out:
  qvel_out: wp.array2d[float],
):
  worldid, dofid = wp.tid()
  h = opt_timestep[worldid % opt_timestep.shape[0]]
  slot = step[0]
  acc = weighted_on_tape(weights, tape_qacc, slot, stage, worldid, dofid)
  qvel_out[worldid, dofid] = tape_qvel[slot, worldid, dofid] + acc * h


@wp.kernel
def _enter_position(
  # Model:
  opt_timestep: wp.array[float],
  jnt_type: wp.array[int],
  jnt_qposadr: wp.array[int],
  jnt_dofadr: wp.array[int],
  # Data in:
  qvel_in: wp.array2d[float],
  # In:
  weights: wp.array2d[float],
  stage: int,
  step: wp.array[int],
  tape_qpos: wp.array3d[float],
  # Data out:
  qpos_out: wp.array2d[float],
  # Out:
  rate_out: wp.array3d[float],
):
  worldid, jntid = wp.tid()
  h = opt_timestep[worldid % opt_timestep.shape[0]]
  slot = step[0]
  qposadr = jnt_qposadr[jntid]
  dofadr = jnt_dofadr[jntid]
  jnttype = jnt_type[jntid]
  nlinear = int(1)
  if jnttype == FREE:
    nlinear = 3
  elif jnttype == BALL:
    nlinear = 0
  for i in range(nlinear):
    mean = weighted(weights, rate_out, stage, worldid, dofadr + i)
    qpos_out[worldid, qposadr + i] = tape_qpos[slot, worldid, qposadr + i] + h * mean
    rate_out[stage, worldid, dofadr + i] = qvel_in[worldid, dofadr + i]
  if jnttype == FREE or jnttype == BALL:
    qposadr += nlinear
    dofadr += nlinear
    angular = wp.vec3()
    velocity = wp.vec3()
    for i in range(3):
      angular[i] = weighted(weights, rate_out, stage, worldid, dofadr + i)
      velocity[i] = qvel_in[worldid, dofadr + i]
    quat = wp.quat()
    for i in range(4):
      quat[i] = tape_qpos[slot, worldid, qposadr + i]
    if stage > 0:
      quat = quat_integrate(quat, angular, h)
      velocity = deriv_expmap(h * angular, velocity)
    for i in range(4):
      qpos_out[worldid, qposadr + i] = quat[i]
    for i in range(3):
      rate_out[stage, worldid, dofadr + i] = velocity[i]


@wp.kernel
def _enter_activation(
  # Model:
  opt_timestep: wp.array[float],
  jnt_type: wp.array[int],
  actuator_trntype: wp.array[int],
  actuator_dyntype: wp.array[int],
  actuator_gaintype: wp.array[int],
  actuator_biastype: wp.array[int],
  actuator_actadr: wp.array[int],
  actuator_actnum: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_dynprm: wp.array2d[vec10],
  actuator_gainprm: wp.array2d[vec10],
  actuator_biasprm: wp.array2d[vec10],
  actuator_actlimited: wp.array[bool],
  actuator_actrange: wp.array2d[wp.vec2],
  actuator_gear: wp.array2d[wp.spatial_vector],
  # In:
  weights: wp.array2d[float],
  stage: int,
  step: wp.array[int],
  start_length: wp.array2d[float],
  tape_act: wp.array3d[float],
  tape_act_dot: wp.array4d[float],
  # Data out:
  act_out: wp.array2d[float],
):
  worldid, actid = wp.tid()
  slot = step[0]
  last = stage == weights.shape[0] - 1
  for k in range(actuator_actnum[actid]):
    adr = actuator_actadr[actid] + k
    value = next_act(
      opt_timestep[worldid % opt_timestep.shape[0]],
      actuator_dyntype[actid],
      actuator_dynprm[worldid % actuator_dynprm.shape[0], actid],
      actuator_actrange[worldid % actuator_actrange.shape[0], actid],
      tape_act[slot, worldid, adr],
      weighted_on_tape(weights, tape_act_dot, slot, stage, worldid, adr),
      1.0,
      last and actuator_actlimited[actid],
    )
    if last:
      period = turn_period(
        jnt_type,
        actuator_trntype[actid],
        actuator_trnid[actid],
        actuator_dyntype[actid],
        actuator_gaintype[actid],
        actuator_biastype[actid],
        actuator_gainprm[worldid % actuator_gainprm.shape[0], actid][0],
        actuator_biasprm[worldid % actuator_biasprm.shape[0], actid][1],
        actuator_gear[worldid % actuator_gear.shape[0], actid],
      )
      value -= period * full_turns(value, start_length[worldid, actid], period)
    act_out[worldid, adr] = value


@wp.kernel
def _finish(
  # Model:
  opt_timestep: wp.array[float],
  # In:
  weights: wp.array2d[float],
  step: wp.array[int],
  tape_qacc: wp.array4d[float],
  # Data out:
  qacc_out: wp.array2d[float],
  qacc_warmstart_out: wp.array2d[float],
  time_out: wp.array[float],
):
  worldid, dofid = wp.tid()
  nstage = weights.shape[1]
  qacc_warmstart_out[worldid, dofid] = tape_qacc[step[0], nstage - 1, worldid, dofid]
  qacc_out[worldid, dofid] = weighted_on_tape(weights, tape_qacc, step[0], nstage, worldid, dofid)
  if dofid == 0:
    time_out[worldid] = time_out[worldid] + opt_timestep[worldid % opt_timestep.shape[0]]


class RungeKutta:
  """An explicit method and the step that it is in, the one in the present slot of the tape.

  Attributes:
    tableau: the method.
    weights: its weights on the device, shape [nstage + 1, nstage].
    rate: kappa of every stage that was entered [m/s or rad/s], shape [nstage + 1, nworld, nv].
    start_length: lengths of the actuators at the start of the step, shape [nworld, nactuator].
  """

  def __init__(self, model: mjw.Model, data: mjw.Data, tape: "Tape", tableau: Tableau):
    self.model, self.data, self.tape, self.tableau = model, data, tape, tableau
    device = data.qpos.device
    self.weights = wp.array(tableau.weights(), dtype=float, device=device)
    self.start_length = wp.zeros_like(data.actuator_length)
    self.rate = wp.zeros((self.nstage + 1, *data.qvel.shape), dtype=float, device=device)

  @property
  def nstage(self) -> int:
    return self.tableau.nstage

  def enter(self, stage: int) -> None:
    """Moves `data` to a stage, all earlier ones entered and on the tape; `nstage` is the result."""
    m, d, tape = self.model, self.data, self.tape
    wp.launch(
      _enter_velocity,
      dim=d.qvel.shape,
      inputs=[m.opt.timestep, self.weights, stage, tape.step, tape.qvel, tape.qacc],
      outputs=[d.qvel],
    )
    wp.launch(
      _enter_position,
      dim=(d.nworld, m.njnt),
      inputs=[
        m.opt.timestep,
        m.jnt_type,
        m.jnt_qposadr,
        m.jnt_dofadr,
        d.qvel,
        self.weights,
        stage,
        tape.step,
        tape.qpos,
      ],
      outputs=[d.qpos, self.rate],
    )
    if m.na:
      wp.launch(
        _enter_activation,
        dim=(d.nworld, m.nactuator),
        inputs=[
          m.opt.timestep,
          m.jnt_type,
          m.actuator_trntype,
          m.actuator_dyntype,
          m.actuator_gaintype,
          m.actuator_biastype,
          m.actuator_actadr,
          m.actuator_actnum,
          m.actuator_trnid,
          m.actuator_dynprm,
          m.actuator_gainprm,
          m.actuator_biasprm,
          m.actuator_actlimited,
          m.actuator_actrange,
          m.actuator_gear,
          self.weights,
          stage,
          tape.step,
          self.start_length,
          tape.act,
          tape.act_dot,
        ],
        outputs=[d.act],
      )

  def step(self, record: Callable[[int], None]) -> None:
    """Takes a step from the state in the tape's slot.

    Args:
      record: called with the number of every stage when `data` holds what it solved for, which it
        has to put on the tape.
    """
    m, d, tape = self.model, self.data, self.tape
    for stage in range(self.nstage):
      self.enter(stage)
      adapter.evaluate(m, d)
      if stage == 0:
        wp.copy(self.start_length, d.actuator_length)
      record(stage)
    self.enter(self.nstage)
    wp.launch(
      _finish,
      dim=d.qacc.shape,
      inputs=[m.opt.timestep, self.weights, tape.step, tape.qacc],
      outputs=[d.qacc, d.qacc_warmstart, d.time],
    )
