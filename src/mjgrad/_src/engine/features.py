"""The allow-list: what a model may use so that every gradient is right.

Anything else raises `UnsupportedFeature` when the simulator is built, with every offending element
by name, all at once. Nothing is ever dropped from a gradient in silence.
"""

from collections.abc import Container

import mujoco
import mujoco_warp as mjw
import numpy as np

from mjgrad._src.contact.geometry import ROUND_PAIRS
from mjgrad._src.contact.solid import SOLID_PAIRS
from mjgrad._src.engine.disabled import LAW
from mjgrad._src.engine.disabled import disabled
from mjgrad._src.engine.discrete_rules import adhesive_actuators
from mjgrad._src.engine.discrete_rules import is_discrete
from mjgrad._src.engine.history import delayed
from mjgrad._src.engine.implicit_rules import actuator_rules
from mjgrad._src.engine.implicit_rules import fluid_rules
from mjgrad._src.engine.implicit_rules import is_implicit
from mjgrad._src.engine.implicit_rules import tendon_rules
from mjgrad._src.errors import UnsupportedFeature
from mjgrad._src.terms.actuator import TRANSMISSIONS
from mjgrad._src.terms.actuator_law import BIAS_AFFINE
from mjgrad._src.terms.actuator_law import BIASES
from mjgrad._src.terms.actuator_law import DYN_NONE
from mjgrad._src.terms.actuator_law import DYNAMICS
from mjgrad._src.terms.actuator_law import GAIN_AFFINE
from mjgrad._src.terms.actuator_law import GAIN_FIXED
from mjgrad._src.terms.actuator_law import GAIN_MUSCLE
from mjgrad._src.terms.actuator_law import GAINS
from mjgrad._src.terms.dcmotor_law import BIAS_DCMOTOR
from mjgrad._src.terms.dcmotor_law import DCMOTOR
from mjgrad._src.terms.dcmotor_law import DYN_DCMOTOR
from mjgrad._src.tree.indices import lone_free_trees

_OBJECT = mujoco.mjtObj
_EULER = int(mujoco.mjtIntegrator.mjINT_EULER)
_RK4 = int(mujoco.mjtIntegrator.mjINT_RK4)
_SOLVERS = [int(mujoco.mjtSolver.mjSOL_NEWTON), int(mujoco.mjtSolver.mjSOL_CG)]
_EQUALITIES = [
  int(mujoco.mjtEq.mjEQ_CONNECT),
  int(mujoco.mjtEq.mjEQ_WELD),
  int(mujoco.mjtEq.mjEQ_JOINT),
  int(mujoco.mjtEq.mjEQ_TENDON),
]
_JOINT_TRANSMISSIONS = [
  int(mujoco.mjtTrn.mjTRN_JOINT),
  int(mujoco.mjtTrn.mjTRN_JOINTINPARENT),
]
_BALL = int(mujoco.mjtJoint.mjJNT_BALL)
_SITE_TRANSMISSION = int(mujoco.mjtTrn.mjTRN_SITE)
_TENDON_TRANSMISSION = int(mujoco.mjtTrn.mjTRN_TENDON)
_HFIELD = int(mujoco.mjtGeom.mjGEOM_HFIELD)
_SDF = int(mujoco.mjtGeom.mjGEOM_SDF)
_WRAPS = [int(mujoco.mjtWrap.mjWRAP_SPHERE), int(mujoco.mjtWrap.mjWRAP_CYLINDER)]


DESCENT = "where a descent that the engine stops early ends"
MARGIN = "the engine does not take the margin off the distance from a height field; use margin 0"
ADHESION = "feedback of adhesion under discrete; use Euler"
FLUID = ("opt.wind", "opt.density", "opt.viscosity")
"""Parameters that switch fluid forces on."""


def _names(mjm: mujoco.MjModel, objtype: mujoco.mjtObj, ids) -> list[str]:
  kind = objtype.name.removeprefix("mjOBJ_").lower()
  found = []
  for i in np.atleast_1d(ids):
    name = mujoco.mj_id2name(mjm, objtype, int(i))
    found.append(f"{kind} '{name}'" if name else f"{kind} {int(i)}")
  return found


def _where(mask) -> np.ndarray:
  return np.nonzero(np.asarray(mask))[0]


def _wrapping_tendons(mjm: mujoco.MjModel) -> np.ndarray:
  """Tendons whose path has a sphere or cylinder."""
  found = np.zeros(mjm.ntendon, dtype=bool)
  for t in range(mjm.ntendon):
    path = slice(mjm.tendon_adr[t], mjm.tendon_adr[t] + mjm.tendon_num[t])
    found[t] = np.isin(mjm.wrap_type[path], _WRAPS).any()
  return found


def _tendon_has(mjm: mujoco.MjModel, fields: tuple[str, ...]) -> np.ndarray:
  """Tendons with a non-zero entry in one of the fields, of their own or of their actuator."""
  found = np.zeros(mjm.ntendon, dtype=bool)
  on_tendon = _on_tendon(mjm)
  for field in fields:
    own, lent = getattr(mjm, f"tendon_{field}"), getattr(mjm, f"actuator_{field}")
    found |= own.any(axis=tuple(range(1, own.ndim)))
    found[mjm.actuator_trnid[on_tendon & lent.any(axis=tuple(range(1, lent.ndim))), 0]] = True
  return found


def _on_tendon(mjm: mujoco.MjModel) -> np.ndarray:
  """Actuators with a tendon transmission."""
  return mjm.actuator_trntype == _TENDON_TRANSMISSION


def _velocity_feedback(mjm: mujoco.MjModel) -> np.ndarray:
  """Actuators whose force depends on their velocity."""
  gain = (mjm.actuator_gaintype == int(GAIN_AFFINE)) & (mjm.actuator_gainprm[:, 2] != 0)
  gain |= mjm.actuator_gaintype == int(GAIN_MUSCLE)
  bias = (mjm.actuator_biastype == int(BIAS_AFFINE)) & (mjm.actuator_biasprm[:, 2] != 0)
  motor = mjm.actuator_gaintype == int(DCMOTOR)
  return gain | bias | motor


def _length_feedback(mjm: mujoco.MjModel) -> np.ndarray:
  """Actuators whose force depends on their length."""
  gain = (mjm.actuator_gaintype == int(GAIN_AFFINE)) & (mjm.actuator_gainprm[:, 1] != 0)
  bias = (mjm.actuator_biastype == int(BIAS_AFFINE)) & (mjm.actuator_biasprm[:, 1] != 0)
  bias |= mjm.actuator_biastype == mujoco.mjtBias.mjBIAS_MUSCLE
  return gain | bias


def _servos_of_angles(mjm: mujoco.MjModel) -> np.ndarray:
  """Actuators whose set points the engine takes modulo a full turn."""
  servo = (mjm.actuator_gaintype == int(GAIN_FIXED)) & (mjm.actuator_biastype == int(BIAS_AFFINE))
  servo &= mjm.actuator_gainprm[:, 0] == -mjm.actuator_biasprm[:, 1]
  target, reference = mjm.actuator_trnid.T
  on_joint = np.isin(mjm.actuator_trntype, _JOINT_TRANSMISSIONS)
  on_ball = np.append(mjm.jnt_type == _BALL, False)[np.where(on_joint, target, -1)]
  return servo & (on_ball | ((mjm.actuator_trntype == _SITE_TRANSMISSION) & (reference >= 0)))


def unsupported(mjm: mujoco.MjModel) -> list[str]:
  """Every element of the model without a gradient, as `element: reason`."""
  found: list[str] = []

  def add(objtype: mujoco.mjtObj, mask, reason: str) -> None:
    found.extend(f"{name}: {reason}" for name in _names(mjm, objtype, _where(mask)))

  opt = mjm.opt
  if opt.integrator not in (_EULER, _RK4) and not (is_implicit(mjm) or is_discrete(mjm)):
    name = mujoco.mjtIntegrator(opt.integrator).name
    found.append(f"option integrator {name}: use Euler, implicit, implicitfast, discrete or RK4")
  if opt.solver not in _SOLVERS:
    found.append(f"option solver {mujoco.mjtSolver(opt.solver).name}: use Newton or CG")
  if opt.noslip_iterations:
    found.append("option noslip_iterations: the solution is not that of the convex problem")
  if opt.enableflags & mujoco.mjtEnableBit.mjENBL_SLEEP:
    found.append("option enable sleep: a sleeping tree has no gradient")
  if opt.enableflags & mujoco.mjtEnableBit.mjENBL_OVERRIDE:
    found.append("option enable override: contact override is not differentiated")

  tendon = _OBJECT.mjOBJ_TENDON
  add(tendon, mjm.tendon_springyield != 0, "plastic tendon springs are not differentiated")
  add(
    _OBJECT.mjOBJ_EQUALITY,
    ~np.isin(mjm.eq_type, _EQUALITIES),
    "only connect, weld, joint and tendon equalities are differentiated",
  )
  add(_OBJECT.mjOBJ_FLEX, np.ones(mjm.nflex), "flexes are not differentiated")
  add(_OBJECT.mjOBJ_PLUGIN, np.ones(mjm.nplugin), "plugins are not differentiated")
  add(_OBJECT.mjOBJ_JOINT, mjm.jnt_springyield != 0, "plastic joint springs are not differentiated")
  add(_OBJECT.mjOBJ_PAIR, mjm.pair_adhesion != 0, "contact adhesion is not differentiated")
  add(_OBJECT.mjOBJ_GEOM, (mjm.geom_surfacevel != 0).any(axis=1), "surface velocity")
  add(_OBJECT.mjOBJ_GEOM, mjm.geom_adhesion != 0, "contact adhesion is not differentiated")

  actuator = _OBJECT.mjOBJ_ACTUATOR
  known = [kind for transmission in TRANSMISSIONS for kind in transmission.KINDS]
  add(actuator, ~np.isin(mjm.actuator_trntype, known), "this transmission is not differentiated")
  motor = mjm.actuator_gaintype == int(DCMOTOR)
  reason = "use a fixed, affine, muscle or DC motor gain"
  add(actuator, ~(motor | np.isin(mjm.actuator_gaintype, GAINS)), reason)
  of_motor = mjm.actuator_biastype == BIAS_DCMOTOR
  bias = np.where(motor, of_motor, np.isin(mjm.actuator_biastype, BIASES))
  add(actuator, ~bias, "use no bias, an affine or a muscle one; that of DC motors with their gain")
  dynamics = np.isin(mjm.actuator_dyntype, DYNAMICS)
  of_motor = np.isin(mjm.actuator_dyntype, (int(DYN_NONE), DYN_DCMOTOR))
  add(actuator, ~np.where(motor, of_motor, dynamics), "these dynamics are not differentiated")
  if opt.disableflags & int(mujoco.mjtDisableBit.mjDSBL_ACTUATION):
    bristles = motor & (mjm.actuator_dynprm[:, 5] > 0)
    add(actuator, bristles, "the engine moves the bristles of DC motors without actuation")
  limited = np.append(mjm.tendon_actfrclimited != 0, False)
  add(
    actuator,
    motor & limited[np.where(_on_tendon(mjm), mjm.actuator_trnid[:, 0], -1)],
    "a DC motor on a tendon that limits its total actuator force",
  )
  if opt.integrator == _RK4:
    active = mjm.actuator_actnum > 0
    reason = "the engine takes whole steps of these dynamics in the stages of RK4; use Euler"
    add(actuator, active & ~dynamics, reason)
    add(actuator, delayed(mjm), "the engine stops the time of delays in a step of RK4; use Euler")

  if is_discrete(mjm):
    feedback = _velocity_feedback(mjm) | _length_feedback(mjm)
    add(actuator, adhesive_actuators(mjm) & feedback, ADHESION)
  if is_implicit(mjm):
    lone = lone_free_trees(mjm)[mjm.dof_treeid]
    damped = (mjm.dof_damping != 0) | mjm.dof_dampingpoly.any(axis=1)
    if mjm.actuator_damping.any() or mjm.actuator_dampingpoly.any():
      damped |= mjm.jnt_actuatorid[mjm.dof_jntid] != -1
    if (damped & ~lone).any() and opt.disableflags & int(mujoco.mjtDisableBit.mjDSBL_ACTUATION):
      found.append("option disable actuation: the implicit integrators drop damping; use Euler")
    damped = _tendon_has(mjm, ("damping", "dampingpoly"))
    for reason, mask in tendon_rules(mjm).items():
      add(tendon, mask & damped, f"damping {reason} under an implicit integrator; use Euler")
    velocity = _velocity_feedback(mjm)
    other_ctrl = (mjm.actuator_dyntype == mujoco.mjtDyn.mjDYN_NONE) & (
      mjm.actuator_ctrladr != np.arange(mjm.actuator_ctrladr.size)
    )
    add(
      actuator,
      other_ctrl & np.isin(mjm.actuator_gaintype, (int(GAIN_AFFINE), int(GAIN_MUSCLE))) & velocity,
      "the engine's slope of the gain reads another actuator's control; use Euler",
    )
    for reason, mask in actuator_rules(mjm).items():
      reason = f"velocity feedback {reason} under an implicit integrator; use Euler"
      add(actuator, mask & velocity, reason)
    if opt.disableflags & int(mujoco.mjtDisableBit.mjDSBL_DAMPER):
      add(actuator, velocity, "the engine drops velocity feedback where damping is disabled")
    if opt.density or opt.viscosity:
      for reason, mask in fluid_rules(mjm).items():
        add(_OBJECT.mjOBJ_BODY, mask, f"{reason}, under an implicit integrator; use Euler")
  return found


def colliding_types(mjm: mujoco.MjModel, model: mjw.Model) -> dict[tuple[int, int], set[int]]:
  """Pairs of geom types that the engine may collide, each with the geoms that take part."""
  disable = mujoco.mjtDisableBit
  if mjm.opt.disableflags & int(disable.mjDSBL_CONTACT | disable.mjDSBL_CONSTRAINT):
    return {}
  collide = model.nxn_pairid.numpy()[:, 0] > -2
  found: dict[tuple[int, int], set[int]] = {}
  for geoms in model.nxn_geom_pair.numpy()[collide]:
    first, second = sorted(int(t) for t in mjm.geom_type[geoms])
    found.setdefault((first, second), set()).update(int(g) for g in geoms)
  return found


def _colliding_fields(mjm: mujoco.MjModel) -> np.ndarray:
  """Height fields that may collide."""
  collide = (mjm.geom_contype != 0) | (mjm.geom_conaffinity != 0)
  collide[mjm.pair_geom1] = collide[mjm.pair_geom2] = True
  return collide & (mjm.geom_type == _HFIELD)


def _inflated_fields(mjm: mujoco.MjModel, model: mjw.Model) -> np.ndarray:
  """Geoms that the engine may collide with a height field, the pair having a margin or a gap."""
  pairs, ids = model.nxn_geom_pair.numpy(), model.nxn_pairid.numpy()[:, 0]
  width = np.abs(mjm.geom_margin) + np.abs(mjm.geom_gap)
  explicit = np.append(np.abs(mjm.pair_margin) + np.abs(mjm.pair_gap), 0.0)
  wide = np.where(ids >= 0, explicit[np.maximum(ids, -1)], width[pairs].sum(axis=1)) > 0
  field = (mjm.geom_type[pairs] == _HFIELD).any(axis=1)
  return np.unique(pairs[field & wide & (ids > -2)])


def unsupported_pairs(mjm: mujoco.MjModel, model: mjw.Model) -> list[str]:
  """Every geom that the engine may collide with one of a type that it has no gradient with."""
  types = colliding_types(mjm, model)
  found = []
  if any(first == _HFIELD for first, _ in types):
    inflated = _names(mjm, _OBJECT.mjOBJ_GEOM, _inflated_fields(mjm, model))
    found = [f"{name}: {MARGIN}" for name in inflated]
  for key, geoms in types.items():
    if key not in ROUND_PAIRS | SOLID_PAIRS:
      first, second = (mujoco.mjtGeom(t).name.removeprefix("mjGEOM_").lower() for t in key)
      kinds = f"{first}-{second} contacts" + f", {DESCENT}" * (_SDF in key)
      found.extend(
        f"{name}: {kinds}; set contype and conaffinity, or exclude the pair"
        for name in _names(mjm, _OBJECT.mjOBJ_GEOM, np.array(sorted(geoms)))
      )
    found.extend(
      f"{name}: a mesh without polygons of its convex hull"
      for name in _names(mjm, _OBJECT.mjOBJ_GEOM, _without_hull(mjm, geoms))
    )
  return found


def _without_hull(mjm: mujoco.MjModel, geoms: set[int]) -> np.ndarray:
  """Those of the geoms that are meshes without the polygons of a convex hull."""
  mesh = [g for g in sorted(geoms) if mjm.geom_type[g] == mujoco.mjtGeom.mjGEOM_MESH]
  return np.array([g for g in mesh if not mjm.mesh_polynum[mjm.geom_dataid[g]]], dtype=int)


def without_surrogate(mjm: mujoco.MjModel, model: mjw.Model, selected: np.ndarray) -> list[str]:
  """Every element that contacts from distance of the `selected` pairs cannot be with."""
  adhesive = _where(mjm.actuator_trntype == int(mujoco.mjtTrn.mjTRN_BODY))
  reason = "adhesion to what is near, beside contacts from distance"
  found = [f"{name}: {reason}" for name in _names(mjm, _OBJECT.mjOBJ_ACTUATOR, adhesive)]
  geoms = np.unique(model.nxn_geom_pair.numpy()[selected])
  fields = _names(mjm, _OBJECT.mjOBJ_GEOM, geoms[mjm.geom_type[geoms] == _HFIELD])
  reason = "the engine turns the normals of contacts apart from a height field; choose other pairs"
  return found + [f"{name}: {reason}" for name in fields]


def without_backsolve(mjm: mujoco.MjModel) -> list[str]:
  """Every element that cannot be integrated back, as `element: reason`."""
  held = (mjm.actuator_actlimited != 0) & (mjm.actuator_actnum > 0)
  reason = "an activation that its range holds does not come back; use Discretise"
  return [f"{name}: {reason}" for name in _names(mjm, _OBJECT.mjOBJ_ACTUATOR, _where(held))]


def raise_unsupported(found: list[str]) -> None:
  """Raises `UnsupportedFeature` listing every element, if there is one."""
  if found:
    lines = "\n  ".join(found)
    raise UnsupportedFeature(f"this model has no exact gradient because of\n  {lines}")


def refused_parameters(mjm: mujoco.MjModel) -> dict[str, list[str]]:
  """Parameters that would switch on a law without a gradient, with `element: reason` for each."""
  refused: dict[str, list[str]] = {}

  def add(name: str, objtype: mujoco.mjtObj, mask, reason: str) -> None:
    elements = [f"{element}: {reason}" for element in _names(mjm, objtype, _where(mask))]
    if elements:
      refused.setdefault(name, []).extend(elements)

  tendon = _OBJECT.mjOBJ_TENDON
  wrapping = _wrapping_tendons(mjm)
  add("tendon_armature", tendon, wrapping, "MuJoCo has no armature of a tendon that wraps")
  simple = (mjm.body_simple != 0) & (mjm.body_dofnum > 0)
  reason = 'the engine keeps the inertia of this body diagonal; give it simple="false"'
  for name in ("body_ipos", "body_iquat", "jnt_pos", "jnt_axis"):
    add(name, _OBJECT.mjOBJ_BODY, simple, reason)
  target = np.where(_on_tendon(mjm), mjm.actuator_trnid[:, 0], -1)
  unarmed = np.append(wrapping, False)[target]
  add("actuator_armature", _OBJECT.mjOBJ_ACTUATOR, unarmed, "no armature for a tendon that wraps")
  if mjm.opt.integrator == _RK4:
    turning = (mjm.actuator_actnum > 0) & _servos_of_angles(mjm)
    reason = "the gear of an angular set point with activation under RK4; use Euler"
    add("actuator_gear", _OBJECT.mjOBJ_ACTUATOR, turning, reason)
  for name in LAW:
    reason = "the engine does not disable groups of actuators; remove this one"
    add(name, _OBJECT.mjOBJ_ACTUATOR, disabled(mjm), reason)
  interpolated = delayed(mjm) & (mjm.actuator_history[:, 1] > 0)
  reason = "the times of the samples between which a delayed control is interpolated"
  add("opt.timestep", _OBJECT.mjOBJ_ACTUATOR, interpolated, reason)
  field = mjm.geom_type == _HFIELD
  add("geom_margin", _OBJECT.mjOBJ_GEOM, _colliding_fields(mjm), MARGIN)
  add("pair_margin", _OBJECT.mjOBJ_PAIR, field[mjm.pair_geom1] | field[mjm.pair_geom2], MARGIN)
  if is_discrete(mjm):
    for name in ("actuator_gainprm", "actuator_biasprm"):
      add(name, _OBJECT.mjOBJ_ACTUATOR, adhesive_actuators(mjm), ADHESION)
  if is_implicit(mjm):
    for reason, mask in tendon_rules(mjm).items():
      undamped = np.append(mask, False)[target]
      for name in ("tendon_damping", "tendon_dampingpoly"):
        add(name, tendon, mask, f"no damping {reason} under an implicit integrator; use Euler")
      for name in ("actuator_damping", "actuator_dampingpoly"):
        reason_here = f"no damping {reason} under an implicit integrator; use Euler"
        add(name, _OBJECT.mjOBJ_ACTUATOR, undamped, reason_here)
    affine = {
      "actuator_gainprm": mjm.actuator_gaintype == int(GAIN_AFFINE),
      "actuator_biasprm": mjm.actuator_biastype == int(BIAS_AFFINE),
    }
    for reason, mask in actuator_rules(mjm).items():
      reason = f"no velocity feedback {reason} under an implicit integrator; use Euler"
      for name, can_feed_back in affine.items():
        add(name, _OBJECT.mjOBJ_ACTUATOR, mask & can_feed_back, reason)
    if mjm.opt.disableflags & int(mujoco.mjtDisableBit.mjDSBL_ACTUATION):
      lone = lone_free_trees(mjm)[mjm.dof_treeid]
      reason = "no damping without actuation under an implicit integrator; use Euler"
      damped = np.zeros(mjm.njnt, dtype=bool)
      damped[mjm.dof_jntid[~lone]] = True
      for name in ("dof_damping", "dof_dampingpoly"):
        add(name, _OBJECT.mjOBJ_JOINT, damped, reason)
    for reason, mask in fluid_rules(mjm).items():
      for name in FLUID:
        add(name, _OBJECT.mjOBJ_BODY, mask, f"{reason}, under an implicit integrator; use Euler")
  return refused


def check_parameters(mjm: mujoco.MjModel, names: Container[str]) -> None:
  """Raises `UnsupportedFeature` where a parameter would switch on a law without a gradient.

  Args:
    mjm: the model.
    names: parameters that are given per call.
  """
  refused = refused_parameters(mjm)
  found = [
    f"parameter {name}, {element}"
    for name, elements in refused.items()
    if name in names
    for element in elements
  ]
  if found:
    lines = "\n  ".join(found)
    raise UnsupportedFeature(f"these parameters have no exact gradient because of\n  {lines}")
