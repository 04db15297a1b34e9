"""C MuJoCo in float64 with a converged solver: the oracle that gradients are held against.

One step of C MuJoCo is a map on the tangent space of the state,

    (q, v, w, b, u, tau, wrench, p)  ->  (q', v', w')

where w are the activations, b the past controls of delayed actuators, and a displacement of q is
an element of R^nv added with `mj_integratePos` and measured with `mj_differentiatePos`. Quaternions
therefore need no special case, neither as input nor as output.

Held fixed: the warm start (the solved acceleration of the undisturbed state, so that a solve is a
function of its input alone) and everything that the compiler derives from the parameters
(`body_invweight0`, `geom_rbound`, ...) but for `dof_M0` and `body_subtreemass`, see
`INERTIA_FIELDS`. The solver's tolerance is zero for
practical purposes and islands are off; cone, integrator, other flags and all physical options are
the model's own.
"""

import copy
from dataclasses import dataclass
from dataclasses import fields
from dataclasses import replace
from functools import cached_property
from functools import partial

import mujoco
import numpy as np

from mjgrad._src.check import boxes
from mjgrad._src.check import contacts
from mjgrad._src.check import height_fields
from mjgrad._src.check import pipeline
from mjgrad._src.check import stages
from mjgrad._src.check.active_set import ActiveSet
from mjgrad._src.check.active_set import active_set
from mjgrad._src.check.active_set import union
from mjgrad._src.check.stages import Evaluate
from mjgrad._src.engine import history
from mjgrad._src.engine import lenders
from mjgrad._src.engine.parameters import PARAMETERS
from mjgrad._src.engine.parameters import UNIT
from mjgrad._src.errors import InvalidInput

SOLVER_TOLERANCE = 1e-26  # on the scaled cost decrease; about the square of the error in qacc
SOLVER_ITERATIONS = 200
LS_TOLERANCE = 1e-14
LS_ITERATIONS = 200

# Entries of a DC motor's parameters that give it an activation where they are positive.
DCMOTOR_STATES = {"actuator_dynprm": (0, 2, 5, 7), "actuator_gainprm": (5,)}

STATE_CHANNELS = (
  "qpos",
  "qvel",
  "act",
  "history",
  "ctrl",
  "qfrc_applied",
  "xfrc_applied",
  "mocap_pos",
  "mocap_quat",
)

# Model parameters that MuJoCo reads only where they are positive: at zero they have one side.
NONNEGATIVE_FIELDS = tuple(name for name, info in PARAMETERS.items() if info.lower == 0.0)

# C MuJoCo keeps vertices and elevations in float32, too coarse to be differenced with these steps;
# their gradients are compared contact by contact in tests/contact.
FLOAT32_FIELDS = ("mesh_scale", "hfield_data")

# For bodies whose block of the inertia matrix is diagonal ("simple" bodies, a free ball for one),
# MuJoCo reads it from `dof_M0`, which the compiler derives from these; it has to follow them. So
# has `body_subtreemass`, which the rule of the implicit integrators for free bodies reads.
INERTIA_FIELDS = (
  "body_mass",
  "body_inertia",
  "dof_armature",
  "actuator_armature",
  "actuator_gear",
)


@dataclass(frozen=True)
class Point:
  """Everything that one step depends on, for one world.

  Attributes:
    qpos: positions, shape [nq].
    qvel: velocities, shape [nv].
    act: activations, shape [na].
    history: buffers of past controls at time zero, shape [nhistory]; see engine/history.py.
    ctrl: controls, shape [nu].
    qfrc_applied: generalised forces [N or N m], shape [nv].
    xfrc_applied: force [N] and torque [N m] at the centre of mass of every body, shape [nbody, 6].
    mocap_pos: positions of mocap bodies [m], shape [nmocap, 3].
    mocap_quat: their orientations, shape [nmocap, 4].
  """

  qpos: np.ndarray
  qvel: np.ndarray
  act: np.ndarray
  history: np.ndarray
  ctrl: np.ndarray
  qfrc_applied: np.ndarray
  xfrc_applied: np.ndarray
  mocap_pos: np.ndarray
  mocap_quat: np.ndarray

  @staticmethod
  def initial(mjm: mujoco.MjModel) -> "Point":
    """The reference configuration at rest, without controls or applied forces."""
    return Point(
      qpos=mjm.qpos0.copy(),
      qvel=np.zeros(mjm.nv),
      act=np.zeros(mjm.na),
      history=history.initial(mjm),
      ctrl=np.zeros(mjm.nu),
      qfrc_applied=np.zeros(mjm.nv),
      xfrc_applied=np.zeros((mjm.nbody, 6)),
      mocap_pos=mjm.body_pos[mocap_bodies(mjm)].copy(),
      mocap_quat=mjm.body_quat[mocap_bodies(mjm)].copy(),
    )

  def float32(self) -> "Point":
    """The same point with every number rounded to float32, as the engine will see it.

    But for buffers: C MuJoCo would take the times of samples, rounded, for different ones.
    """
    values = {f.name: getattr(self, f.name) for f in fields(self)}
    rounded = {n: v.astype(np.float32).astype(np.float64) for n, v in values.items()}
    return Point(**(rounded | {"history": self.history}))


@dataclass(frozen=True)
class Step:
  """Result of one step.

  Attributes:
    qpos: next positions, shape [nq].
    qvel: next velocities, shape [nv].
    act: next activations, shape [na].
    qacc: acceleration at the start of the step, shape [nv].
    qacc_smooth: the same without constraint forces, shape [nv].
    warmstart: where the solver began, shape [nv]; displaced evaluations begin there too.
  """

  qpos: np.ndarray
  qvel: np.ndarray
  act: np.ndarray
  qacc: np.ndarray
  qacc_smooth: np.ndarray
  warmstart: np.ndarray


class Oracle:
  """One model, its converged float64 copy, and the step map on its tangent space.

  Args:
    mjm: the model; it is copied.
    engine_frames: use mujoco-warp's tangents of plane-capsule contacts (see `pipeline.py`), and its
      contacts of two boxes (`boxes.py`).

  Attributes:
    mjm: the private model copy; parameter channels disturb it in place and put it back.
    mjd: its data. After `step` or `displaced` it holds the constraint rows of that evaluation.
  """

  def __init__(self, mjm: mujoco.MjModel, *, engine_frames: bool = False):
    self.mjm = copy.deepcopy(mjm)
    self._past_controls = history.entries(mjm, "value")
    opt = self.mjm.opt
    opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    opt.tolerance = SOLVER_TOLERANCE
    opt.iterations = SOLVER_ITERATIONS
    opt.ls_tolerance = LS_TOLERANCE
    opt.ls_iterations = LS_ITERATIONS
    opt.jacobian = mujoco.mjtJacobian.mjJAC_DENSE
    opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_ISLAND | mujoco.mjtDisableBit.mjDSBL_AUTORESET
    # What the compiler found to coincide with a body or inertial frame may move away from it.
    for sameframe in (self.mjm.body_sameframe, self.mjm.geom_sameframe, self.mjm.site_sameframe):
      sameframe[:] = mujoco.mjtSameFrame.mjSAMEFRAME_NONE
    self.mjd = mujoco.MjData(self.mjm)
    trntype, target = self.mjm.actuator_trntype, self.mjm.actuator_trnid[:, 0]
    ids = lenders.all_lenders(trntype, target, self.mjm.njnt, self.mjm.ntendon)
    self.mjm.jnt_actuatorid[:], self.mjm.tendon_actuatorid[:] = ids
    self._scratch = copy.deepcopy(self.mjm) if np.any(mjm.dof_simplenum) else None
    self._mj_step: Evaluate = stages.step
    self._mj_forward: Evaluate = mujoco.mj_forward
    curved = contacts.has_curved(self.mjm)
    if curved:
      opt.ccd_tolerance = contacts.TOLERANCE
      opt.ccd_iterations = contacts.ITERATIONS
    # `mj_forward` under discrete has stages that Python cannot call
    staged = opt.integrator != mujoco.mjtIntegrator.mjINT_DISCRETE
    selected = height_fields.has_height_field(self.mjm)
    self._boxes = boxes.Boxes(self.mjm) if engine_frames and boxes.differ(mjm) else None
    if (engine_frames or curved or selected) and staged:
      options = {"engine_frames": engine_frames, "boxes": self._boxes}
      self._mj_step = partial(pipeline.step, **options)
      self._mj_forward = partial(pipeline.forward, **options)

  @property
  def nv(self) -> int:
    return self.mjm.nv

  @property
  def ndx(self) -> int:
    """Size of a displacement of the state, 2 nv + na."""
    return 2 * self.mjm.nv + self.mjm.na

  def load(self, point: Point, warmstart: np.ndarray) -> None:
    """Writes a point and the solver's first guess into `mjd`."""
    mjd = self.mjd
    mjd.time = 0.0
    mjd.qpos[:] = point.qpos
    mjd.qvel[:] = point.qvel
    mjd.act[:] = point.act
    mjd.history[: point.history.size] = point.history
    mjd.ctrl[:] = point.ctrl
    mjd.qfrc_applied[:] = point.qfrc_applied
    mjd.xfrc_applied[:] = point.xfrc_applied
    mjd.mocap_pos[:] = point.mocap_pos
    mjd.mocap_quat[:] = point.mocap_quat
    mjd.qacc_warmstart[:] = warmstart

  def step(self, point: Point) -> Step:
    """One step of C MuJoCo from `point`, started at its own solution."""
    mjd = self.mjd
    qacc = self.forward(point)
    qacc_smooth = mjd.qacc_smooth.copy()
    self.load(point, qacc)
    self._mj_step(self.mjm, mjd)
    return Step(
      qpos=mjd.qpos.copy(),
      qvel=mjd.qvel.copy(),
      act=mjd.act.copy(),
      qacc=qacc,
      qacc_smooth=qacc_smooth,
      warmstart=qacc,
    )

  def forward(self, point: Point) -> np.ndarray:
    """Solved acceleration at `point`, shape [nv], without integrating."""
    self.load(point, np.zeros(self.nv))
    self._mj_forward(self.mjm, self.mjd)
    return self.mjd.qacc.copy()

  def driven(self, point: Point, qacc: np.ndarray) -> Point:
    """The point with a generalised force added, under which its acceleration is `qacc`.

    The force is the residual M a - qfrc_smooth - J^T f(J a - aref). Under `discrete`, where the
    residual is another one, the point itself.
    """
    mjm, mjd = self.mjm, self.mjd
    if mjm.opt.integrator == mujoco.mjtIntegrator.mjINT_DISCRETE:
      return point
    self.forward(point)
    force = np.empty(mjm.nv)
    mujoco.mj_mulM(mjm, mjd, force, qacc)
    if mjd.nefc:
      jac = mjd.efc_J[: mjd.nefc * mjm.nv].reshape(mjd.nefc, mjm.nv)
      mujoco.mj_constraintUpdate(mjm, mjd, jac @ qacc - mjd.efc_aref, None, 0)
      force -= mjd.qfrc_constraint
    return replace(point, qfrc_applied=point.qfrc_applied + force - mjd.qfrc_smooth)

  def displaced(
    self, point: Point, base: Step, channel: str, index: int, delta: float
  ) -> np.ndarray:
    """Tangent displacement of the next state when one input is displaced.

    Args:
      point: undisturbed input.
      base: its step.
      channel: a name in `STATE_CHANNELS` or of a model parameter.
      index: flat index into the channel (into the tangent space for "qpos").
      delta: displacement, in the channel's units.

    Returns:
      (q' - q'_base, v' - v'_base, w' - w'_base), shape [2 nv + na].
    """
    mjm, mjd = self.mjm, self.mjd
    self._evaluate(self._mj_step, point, base, channel, index, delta)
    moved = np.empty(mjm.nv)
    mujoco.mj_differentiatePos(mjm, moved, 1.0, base.qpos, mjd.qpos)
    return np.concatenate((moved, mjd.qvel - base.qvel, mjd.act - base.act))

  def branch(
    self, point: Point, base: Step, channel: str = "qvel", index: int = 0, delta: float = 0.0
  ) -> ActiveSet:
    """Active set at the displaced input; at `point` itself by default.

    Under RK4 that of every stage, and of the clamps of the next activations; `mjd` holds the
    constraint rows of the first.
    """
    found: list[ActiveSet] = []

    def see() -> None:
      found.append(active_set(self.mjm, self.mjd))

    def evaluate(mjm: mujoco.MjModel, mjd: mujoco.MjData) -> None:
      if mjm.opt.integrator != mujoco.mjtIntegrator.mjINT_RK4:
        self._mj_forward(mjm, mjd)
        return see()
      state = mjd.qpos.copy(), mjd.qvel.copy(), mjd.act.copy()
      stages.runge_kutta(mjm, mjd, self._mj_forward, see)
      mean = mjd.act_dot.copy()
      mjd.qpos[:], mjd.qvel[:], mjd.act[:] = state
      self._mj_forward(mjm, mjd)
      mjd.act_dot[:] = mean
      see()

    self._evaluate(evaluate, point, base, channel, index, delta)
    return union(found)

  def _evaluate(
    self, evaluate: Evaluate, point: Point, base: Step, channel: str, index: int, delta: float
  ) -> None:
    mjm, mjd = self.mjm, self.mjd
    self.load(point, base.warmstart)
    if channel not in STATE_CHANNELS:
      value = self.parameter(channel).copy()
      displaced = value.copy()
      displaced.reshape(-1)[index] += delta
      derived = mjm.dof_M0.copy(), mjm.body_subtreemass.copy()
      self._write(channel, displaced)
      try:
        if channel in INERTIA_FIELDS:
          self._follow_inertia()
        evaluate(mjm, mjd)
      finally:
        self._write(channel, value)
        mjm.dof_M0[:], mjm.body_subtreemass[:] = derived
      return
    if delta and channel == "qpos":
      unit = np.zeros(mjm.nv)
      unit[index] = 1.0
      mujoco.mj_integratePos(mjm, mjd.qpos, unit, delta)
    elif delta and channel == "history":
      mjd.history[index] += delta * self._past_controls[index]
    elif delta:
      getattr(mjd, channel).reshape(-1)[index] += delta
    evaluate(mjm, mjd)

  def _follow_inertia(self) -> None:
    """Derives what MuJoCo reads of the present inertias: subtree masses, those of simple bodies."""
    mjm = self.mjm
    mjm.body_subtreemass[:] = mjm.body_mass
    for b in range(mjm.nbody - 1, 0, -1):
      mjm.body_subtreemass[mjm.body_parentid[b]] += mjm.body_subtreemass[b]
    scratch = self._scratch
    if scratch is None:
      return
    for name in INERTIA_FIELDS:
      getattr(scratch, name)[:] = getattr(self.mjm, name)
    mujoco.mj_setConst(scratch, mujoco.MjData(scratch))
    self.mjm.dof_M0[:] = scratch.dof_M0

  def parameter(self, name: str) -> np.ndarray:
    """The model field with MuJoCo's name, `opt.` included; an array is a view of the private copy.

    Raises:
      InvalidInput: there is no such field, or it is not of floating-point numbers.
    """
    owner = self.mjm
    *path, leaf = name.split(".")
    for part in path:
      owner = getattr(owner, part, None)
    value = getattr(owner, leaf, None)
    if isinstance(value, float):
      return np.array(value)
    if not isinstance(value, np.ndarray) or value.dtype != np.float64:
      raise InvalidInput(
        f"'{name}' is not a floating-point array of MjModel. "
        "Use MuJoCo's field names, for example 'body_mass' or 'opt.gravity'."
      )
    return value

  def _write(self, name: str, value: np.ndarray) -> None:
    """Gives a parameter of the private copy a value, normalised like the compiler's."""
    if name in UNIT:
      self.parameter(name)[:] = value / np.linalg.norm(value, axis=-1, keepdims=True)
    elif value.ndim:
      self.parameter(name)[:] = value
    else:
      setattr(self.mjm.opt, name.removeprefix("opt."), float(value))

  def frozen(self, channel: str) -> np.ndarray:
    """Entries of a channel that may not move, flat.

    Those that would add a state to a DC motor; sizes of boxes that stand in as meshes; and the
    inverse weights of connected or welded bodies without joints, in whose place the engine, with a
    sparse Jacobian, reads those of the body that they are fixed to.
    """
    mjm = self.mjm
    found = np.zeros(self.channel_shape(channel), dtype=bool)
    if channel == "body_invweight0":
      bodies = np.array(connected_bodies(mjm), dtype=int)
      fixed = bodies[mjm.body_weldid[bodies] != bodies]
      found[fixed] = found[mjm.body_weldid[fixed]] = True
    motor = mjm.actuator_gaintype == mujoco.mjtGain.mjGAIN_DCMOTOR
    for entry in DCMOTOR_STATES.get(channel, ()):
      found[:, entry] = motor & (self.parameter(channel)[:, entry] == 0)
    if channel == "geom_size" and self._boxes is not None:
      found[np.flatnonzero(mjm.geom_type == mujoco.mjtGeom.mjGEOM_BOX)[1:]] = True
    return found.reshape(-1)

  def channel_shape(self, channel: str) -> tuple[int, ...]:
    """Shape of the gradient of a channel; "qpos" is in the tangent space."""
    mjm = self.mjm
    shapes = {
      "qpos": (mjm.nv,),
      "qvel": (mjm.nv,),
      "act": (mjm.na,),
      "history": self._past_controls.shape,
      "ctrl": (mjm.nu,),
      "qfrc_applied": (mjm.nv,),
      "xfrc_applied": (mjm.nbody, 6),
      "mocap_pos": (mjm.nmocap, 3),
      "mocap_quat": (mjm.nmocap, 4),
    }
    return shapes[channel] if channel in shapes else self.parameter(channel).shape

  @cached_property
  def _qfrc_scale(self) -> np.ndarray:
    """Force that moves the velocity of one dof by about one unit in a step, shape [nv]."""
    return np.maximum(self.mjm.dof_M0, 1e-6) / self.mjm.opt.timestep

  def channel_scale(self, channel: str) -> np.ndarray:
    """Natural size of a displacement of each entry of a channel, flat.

    Step sizes of the differences are multiples of it. Coordinates and velocities: one unit.
    Activations and controls: half their range. Forces: what changes a velocity by about one unit
    in a step. Armature: the inertia that it is added to. Margins: a millimetre at least, the width
    over which the default impedance changes. Other parameters: the entry's own size, or, where that
    is zero, the field's mean size, and a unit where all are (see `_unit`).
    """
    mjm = self.mjm
    if channel in ("qpos", "qvel"):
      return np.ones(mjm.nv)
    if channel in ("mocap_pos", "mocap_quat", "history"):
      return np.ones(np.prod(self.channel_shape(channel), dtype=int))
    if channel == "act":
      scale = np.ones(mjm.na)
      for i in np.flatnonzero(mjm.actuator_actlimited):
        start = mjm.actuator_actadr[i]
        scale[start : start + mjm.actuator_actnum[i]] = _half_range(mjm.actuator_actrange[i])
      return scale
    if channel == "ctrl":
      limited = mjm.actuator_ctrllimited.astype(bool)
      return np.where(limited, _half_range(mjm.actuator_ctrlrange.T), 1.0)
    if channel == "qfrc_applied":
      return self._qfrc_scale.copy()
    if channel == "xfrc_applied":
      inverse = np.maximum(np.repeat(mjm.body_invweight0, 3, axis=1), 1e-6)
      scale = np.minimum(1.0 / (inverse * mjm.opt.timestep), 1e4)
      return scale.reshape(-1)
    value = np.abs(self.parameter(channel)).reshape(-1)
    if channel == "dof_armature":
      return np.maximum(value, mjm.dof_M0)
    if channel.endswith("_margin"):
      return np.maximum(value, 1e-3)
    unit = self._unit(channel)
    typical = unit * ((value / unit)[value > 0].mean() if np.any(value > 0) else 1.0)
    return np.where(value > 1e-6 * typical, value, typical)

  def _unit(self, channel: str) -> np.ndarray:
    """What amounts to one unit, flat; for what actuators lend, one unit at the joint or tendon."""
    value = self.parameter(channel)
    if channel not in lenders.PARAMETERS:
      return np.ones(value.size)
    gear = np.sum(self.mjm.actuator_gear**2, axis=1)
    return np.repeat(1.0 / np.where(gear > 0, gear, 1.0), value.size // max(gear.size, 1))


def mocap_bodies(mjm: mujoco.MjModel) -> np.ndarray:
  """Mocap bodies in the order of `mocap_pos`, shape [nmocap]."""
  bodies = np.flatnonzero(mjm.body_mocapid >= 0)
  return bodies[np.argsort(mjm.body_mocapid[bodies])]


def connected_bodies(mjm: mujoco.MjModel) -> list[int]:
  """Bodies that a connect or weld joins, itself or at a site."""
  body = np.isin(mjm.eq_type, (mujoco.mjtEq.mjEQ_CONNECT, mujoco.mjtEq.mjEQ_WELD))
  ids = np.concatenate((mjm.eq_obj1id, mjm.eq_obj2id))
  on_sites = np.tile(mjm.eq_objtype == mujoco.mjtObj.mjOBJ_SITE, 2)
  return [
    int(mjm.site_bodyid[i]) if site else int(i)
    for i, site in zip(ids[np.tile(body, 2)], on_sites[np.tile(body, 2)], strict=True)
  ]


def _half_range(bounds: np.ndarray) -> np.ndarray:
  """Half the width of a range, one where that is zero."""
  half = 0.5 * (bounds[1] - bounds[0])
  return np.where(half > 0, half, 1.0)
