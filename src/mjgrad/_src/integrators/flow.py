"""Explicit Runge-Kutta steps in float64, with a step size of its own in every world.

With a tableau (a, b, e), the continuous dynamics (alpha, wdot) = F(q, v, w) and the step size h of
a world, stage i of its step from y_0 = (q_0, v_0, w_0) is

    rho_i = h sum_j a_ij kappa_j        q_i = q_0 exp(rho_i)
    v_i   = v_0 + h sum_j a_ij alpha_j  kappa_i = J_r^-1(rho_i) v_i
    w_i   = w_0 + h sum_j a_ij wdot_j   (alpha_i, wdot_i) = F(q_i, v_i, w_i)

The result is stage s, whose weights are b and whose activations are clamped; what F gives there is
the first stage of the next step, for which it is not evaluated again. Nothing is integrated
implicitly: F is what `mujoco_warp.forward` solves for, the dynamics of MuJoCo's `RK4`.

The state is carried in float64. The engine evaluates F in float32 at the rounded stages; what that
leaves in F is noise of a relative size near 1e-6 that does not add up, while rounding the state
itself at every step would.

A world with h = 0 rests: all its stages are its start. This is how worlds wait for others, and how
an attempt goes on in which F stopped being finite, which is then rejected.

Source: integrators/runge_kutta.py for the equations; Munthe-Kaas, Runge-Kutta methods on Lie groups
(1998).
"""

from collections.abc import Callable

import mujoco
import mujoco_warp as mjw
import warp as wp

from mjgrad._src.engine import adapter
from mjgrad._src.engine.adapter import vec5
from mjgrad._src.integrators import rotations
from mjgrad._src.integrators.tableau import Tableau

wp.set_module_options({"enable_backward": False})

FREE = wp.constant(int(mujoco.mjtJoint.mjJNT_FREE))
BALL = wp.constant(int(mujoco.mjtJoint.mjJNT_BALL))
SATISFIED = wp.constant(int(mujoco.mjtConstraintState.mjCNSTRSTATE_SATISFIED))
LIMIT_TENDON = wp.constant(int(mujoco.mjtConstraint.mjCNSTR_LIMIT_TENDON))
FRICTION_TENDON = wp.constant(int(mujoco.mjtConstraint.mjCNSTR_FRICTION_TENDON))
MIX = wp.constant(73856093)
"""Spreads small numbers over the integers, so that sums of a few of them seldom agree."""
ZERO = wp.constant(wp.float64(0.0))


@wp.func
def linear_dofs(jnttype: int) -> int:
  """Number of leading dofs of a joint whose positions are numbers."""
  n = int(1)
  if jnttype == FREE:
    n = 3
  elif jnttype == BALL:
    n = 0
  return n


@wp.func
def mean_rate(
  weights: wp.array2d[wp.float64], rate: wp.array3d[wp.float64], stage: int, worldid: int, i: int
) -> wp.float64:
  """sum_j a_ij kappa_j for i = stage."""
  total = wp.float64(0.0)
  for j in range(wp.min(stage, weights.shape[1])):
    total += weights[stage, j] * rate[j, worldid, i]
  return total


@wp.func
def mean_solved(
  weights: wp.array2d[wp.float64], solved: wp.array3d[float], stage: int, worldid: int, i: int
) -> wp.float64:
  """sum_j a_ij of an entry of what the stages solved for."""
  total = wp.float64(0.0)
  for j in range(wp.min(stage, weights.shape[1])):
    total += weights[stage, j] * wp.float64(solved[j, worldid, i])
  return total


@wp.kernel
def _enter_joint(
  # Model:
  nq: int,
  jnt_type: wp.array[int],
  jnt_qposadr: wp.array[int],
  jnt_dofadr: wp.array[int],
  # In:
  weights: wp.array2d[wp.float64],
  stage: int,
  step_size: wp.array[wp.float64],
  start: wp.array2d[wp.float64],
  solved: wp.array3d[float],
  # Data out:
  qpos_out: wp.array2d[float],
  qvel_out: wp.array2d[float],
  qacc_warmstart_out: wp.array2d[float],
  # Out:
  y_out: wp.array2d[wp.float64],
  rate_out: wp.array3d[wp.float64],
):
  worldid, jntid = wp.tid()
  h = step_size[worldid]
  moved = stage
  if h == ZERO:
    moved = 0
  qposadr = jnt_qposadr[jntid]
  dofadr = jnt_dofadr[jntid]
  jnttype = jnt_type[jntid]
  nlinear = linear_dofs(jnttype)
  for i in range(nlinear):
    dofid = dofadr + i
    v = start[worldid, nq + dofid] + h * mean_solved(weights, solved, moved, worldid, dofid)
    q = start[worldid, qposadr + i] + h * mean_rate(weights, rate_out, moved, worldid, dofid)
    y_out[worldid, qposadr + i] = q
    y_out[worldid, nq + dofid] = v
    qpos_out[worldid, qposadr + i] = wp.float32(q)
    qvel_out[worldid, dofid] = wp.float32(v)
    rate_out[stage, worldid, dofid] = v
    if stage > 0:
      qacc_warmstart_out[worldid, dofid] = solved[wp.max(moved - 1, 0), worldid, dofid]
  if jnttype == FREE or jnttype == BALL:
    qposadr += nlinear
    dofadr += nlinear
    rho = wp.vec3d()
    velocity = wp.vec3d()
    for i in range(3):
      dofid = dofadr + i
      rho[i] = h * mean_rate(weights, rate_out, moved, worldid, dofid)
      v = start[worldid, nq + dofid] + h * mean_solved(weights, solved, moved, worldid, dofid)
      velocity[i] = v
      y_out[worldid, nq + dofid] = v
      qvel_out[worldid, dofid] = wp.float32(v)
      if stage > 0:
        qacc_warmstart_out[worldid, dofid] = solved[wp.max(moved - 1, 0), worldid, dofid]
    quat = wp.vec4d()
    for i in range(4):
      quat[i] = start[worldid, qposadr + i]
    quat = rotations.exp(quat, rho)
    kappa = rotations.rate(rho, velocity)
    for i in range(4):
      y_out[worldid, qposadr + i] = quat[i]
      qpos_out[worldid, qposadr + i] = wp.float32(quat[i])
    for i in range(3):
      rate_out[stage, worldid, dofadr + i] = kappa[i]


@wp.kernel
def _enter_activation(
  # Model:
  nq: int,
  nv: int,
  actuator_actadr: wp.array[int],
  actuator_actlimited: wp.array[bool],
  actuator_actrange: wp.array2d[wp.vec2],
  # In:
  weights: wp.array2d[wp.float64],
  stage: int,
  step_size: wp.array[wp.float64],
  start: wp.array2d[wp.float64],
  solved: wp.array3d[float],
  # Data out:
  act_out: wp.array2d[float],
  # Out:
  y_out: wp.array2d[wp.float64],
):
  worldid, actid = wp.tid()
  adr = actuator_actadr[actid]
  if adr < 0:
    return
  h = step_size[worldid]
  w = start[worldid, nq + nv + adr]
  if h != ZERO:
    w += h * mean_solved(weights, solved, stage, worldid, 2 * nv + adr)
    if stage == weights.shape[0] - 1 and actuator_actlimited[actid]:
      bounds = actuator_actrange[worldid % actuator_actrange.shape[0], actid]
      w = wp.clamp(w, wp.float64(bounds[0]), wp.float64(bounds[1]))
  y_out[worldid, nq + nv + adr] = w
  act_out[worldid, adr] = wp.float32(w)


@wp.func
def _piece(solimp: vec5, r: float) -> int:
  """Which piece of the spline of the impedance r is in; all join smoothly but for curvature."""
  x = wp.abs(r)
  piece = int(0)
  if x >= solimp[2]:
    piece = 2
  elif x > solimp[2] * solimp[3]:
    piece = 1
  return piece


@wp.kernel
def _solved(
  # Model:
  jnt_solimp: wp.array2d[vec5],
  tendon_solimp_lim: wp.array2d[vec5],
  # Data in:
  qacc_in: wp.array2d[float],
  qfrc_smooth_in: wp.array2d[float],
  act_dot_in: wp.array2d[float],
  nefc_in: wp.array[int],
  contact_solimp_in: wp.array[vec5],
  contact_geom_in: wp.array[wp.vec2i],
  efc_type_in: wp.array2d[int],
  efc_id_in: wp.array2d[int],
  efc_pos_in: wp.array2d[float],
  efc_margin_in: wp.array2d[float],
  efc_state_in: wp.array2d[int],
  # In:
  stage: int,
  # Out:
  solved_out: wp.array3d[float],
  step_size_out: wp.array[wp.float64],
  active_out: wp.array2d[int],
  present_out: wp.array2d[int],
):
  worldid, i = wp.tid()
  if i == 0:
    active = int(0)
    present = int(0)
    for row in range(wp.min(nefc_in[worldid], efc_state_in.shape[1])):
      state = efc_state_in[worldid, row]
      efctype = efc_type_in[worldid, row]
      piece = int(0)
      if efctype > FRICTION_TENDON:
        owner = efc_id_in[worldid, row]
        if efctype > LIMIT_TENDON:
          solimp = contact_solimp_in[owner]
          geoms = contact_geom_in[owner]
          owner = geoms[0] * MIX + geoms[1]
        elif efctype == LIMIT_TENDON:
          solimp = tendon_solimp_lim[worldid % tendon_solimp_lim.shape[0], owner]
        else:
          solimp = jnt_solimp[worldid % jnt_solimp.shape[0], owner]
        present += (8 * owner + efctype) * MIX
        piece = _piece(solimp, efc_pos_in[worldid, row] - efc_margin_in[worldid, row])
      if state != SATISFIED:
        active += (64 * piece + 8 * efctype + state) * MIX
    active_out[stage, worldid] = active
    present_out[stage, worldid] = present
  nv = qacc_in.shape[1]
  if i < nv:
    a = qacc_in[worldid, i]
    solved_out[stage, worldid, i] = a
    solved_out[stage, worldid, nv + i] = qfrc_smooth_in[worldid, i]
    if not wp.isfinite(a):
      step_size_out[worldid] = ZERO
  if i < act_dot_in.shape[1]:
    rate = act_dot_in[worldid, i]
    solved_out[stage, worldid, 2 * nv + i] = rate
    if not wp.isfinite(rate):
      step_size_out[worldid] = ZERO


@wp.kernel
def _load(
  # In:
  qpos: wp.array2d[wp.float64],
  qvel: wp.array2d[wp.float64],
  act: wp.array2d[wp.float64],
  # Out:
  start_out: wp.array2d[wp.float64],
  first_out: wp.array3d[float],
):
  worldid, i = wp.tid()
  nq, nv = qpos.shape[1], qvel.shape[1]
  if i < nq:
    start_out[worldid, i] = qpos[worldid, i]
    first_out[0, worldid, i] = wp.float32(qpos[worldid, i])
  elif i < nq + nv:
    start_out[worldid, i] = qvel[worldid, i - nq]
  else:
    start_out[worldid, i] = act[worldid, i - nq - nv]


@wp.kernel
def _unload(
  # In:
  start: wp.array2d[wp.float64],
  # Out:
  qpos_out: wp.array2d[wp.float64],
  qvel_out: wp.array2d[wp.float64],
  act_out: wp.array2d[wp.float64],
  last_out: wp.array3d[float],
):
  worldid, i = wp.tid()
  nq, nv = qpos_out.shape[1], qvel_out.shape[1]
  if i < nq:
    qpos_out[worldid, i] = start[worldid, i]
    last_out[0, worldid, i] = wp.float32(start[worldid, i])
  elif i < nq + nv:
    qvel_out[worldid, i - nq] = start[worldid, i]
  else:
    act_out[worldid, i - nq - nv] = start[worldid, i]


class Flow:
  """The step that every world is in.

  Attributes:
    tableau: the method.
    weights: its weights, shape [nstage + 1, nstage].
    step_size: h [s], zero in a world that rests, shape [nworld].
    start: (q, v, w) where the step starts, shape [nworld, nq + nv + na].
    y: (q, v, w) of the stage entered last, shape [nworld, nq + nv + na].
    rate: kappa of every stage [m/s or rad/s], shape [nstage + 1, nworld, nv].
    solved: acceleration, force but that of constraints, and rate of the activations of every stage,
      shape [nstage + 1, nworld, 2 nv + na].
    active: a number that tells the set of active constraint rows from others, whatever their
      order, shape [nstage + 1, nworld].
    present: likewise of the rows of limits and contacts that there are, active or not.
  """

  def __init__(self, model: mjw.Model, data: mjw.Data, tableau: Tableau):
    self.model, self.data, self.tableau = model, data, tableau
    device, nworld, nv = data.qpos.device, data.nworld, model.nv
    nstage, width = tableau.nstage, model.nq + nv + model.na
    self.weights = wp.array(tableau.weights(), dtype=wp.float64, device=device)
    self.step_size = wp.zeros(nworld, dtype=wp.float64, device=device)
    self.start = wp.zeros((nworld, width), dtype=wp.float64, device=device)
    self.y = wp.zeros_like(self.start)
    self.rate = wp.zeros((nstage + 1, nworld, nv), dtype=wp.float64, device=device)
    self.solved = wp.zeros((nstage + 1, nworld, 2 * nv + model.na), dtype=float, device=device)
    self.active, self.present = (
      wp.zeros((nstage + 1, nworld), dtype=int, device=device) for _ in range(2)
    )

  @property
  def nstage(self) -> int:
    return self.tableau.nstage

  def arrays(self) -> list[wp.array]:
    """Everything that a step changes."""
    sets = [self.active, self.present]
    return [self.step_size, self.start, self.y, self.rate, self.solved, *sets]

  def load(self, state: dict[str, wp.array], rounded: wp.array) -> None:
    """Takes the start of a step from `state`, and rounds its qpos, shape [1, nworld, nq]."""
    fields = [state[name] for name in ("qpos", "qvel", "act")]
    wp.launch(_load, dim=self.start.shape, inputs=fields, outputs=[self.start, rounded])

  def unload(self, state: dict[str, wp.array], rounded: wp.array) -> None:
    """Writes the start of a step to `state`, and rounds its qpos, shape [1, nworld, nq]."""
    fields = [state[name] for name in ("qpos", "qvel", "act")]
    wp.launch(_unload, dim=self.start.shape, inputs=[self.start], outputs=[*fields, rounded])

  def enter(self, stage: int, data: mjw.Data | None = None) -> None:
    """Moves `data` to a stage, all earlier ones solved; `nstage` is the result of the step."""
    m, d = self.model, data or self.data
    wp.launch(
      _enter_joint,
      dim=(d.nworld, m.njnt),
      inputs=[
        m.nq,
        m.jnt_type,
        m.jnt_qposadr,
        m.jnt_dofadr,
        self.weights,
        stage,
        self.step_size,
        self.start,
        self.solved,
      ],
      outputs=[d.qpos, d.qvel, d.qacc_warmstart, self.y, self.rate],
    )
    if m.na:
      wp.launch(
        _enter_activation,
        dim=(d.nworld, m.nactuator),
        inputs=[
          m.nq,
          m.nv,
          m.actuator_actadr,
          m.actuator_actlimited,
          m.actuator_actrange,
          self.weights,
          stage,
          self.step_size,
          self.start,
          self.solved,
        ],
        outputs=[d.act, self.y],
      )

  def solve(self, stage: int, evaluated: Callable[[], None]) -> None:
    """Enters a stage and evaluates the dynamics there.

    Args:
      stage: its number.
      evaluated: called when `data` holds what the stage solved for.
    """
    m, d = self.model, self.data
    self.enter(stage)
    adapter.evaluate(m, d)
    evaluated()
    wp.launch(
      _solved,
      dim=(d.nworld, max(m.nv, m.na)),
      inputs=[
        m.jnt_solimp,
        m.tendon_solimp_lim,
        d.qacc,
        d.qfrc_smooth,
        d.act_dot,
        d.nefc,
        d.contact.solimp,
        d.contact.geom,
        d.efc.type,
        d.efc.id,
        d.efc.pos,
        d.efc.margin,
        d.efc.state,
        stage,
      ],
      outputs=[self.solved, self.step_size, self.active, self.present],
    )
