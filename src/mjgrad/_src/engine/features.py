"""The allow-list: what a model may use so that every gradient is right.

Anything else raises `UnsupportedFeature` when the simulator is built, with every offending element
by name, all at once. Nothing is ever dropped from a gradient in silence.
"""

import mujoco
import numpy as np

from mjgrad._src.contact.round import GEOM_TYPES
from mjgrad._src.errors import UnsupportedFeature

_OBJECT = mujoco.mjtObj
_EULER = int(mujoco.mjtIntegrator.mjINT_EULER)
_IMPLICITFAST = int(mujoco.mjtIntegrator.mjINT_IMPLICITFAST)
_SOLVERS = [int(mujoco.mjtSolver.mjSOL_NEWTON), int(mujoco.mjtSolver.mjSOL_CG)]
_GAINS = [int(mujoco.mjtGain.mjGAIN_FIXED), int(mujoco.mjtGain.mjGAIN_AFFINE)]
_BIASES = [int(mujoco.mjtBias.mjBIAS_NONE), int(mujoco.mjtBias.mjBIAS_AFFINE)]
_EQUALITIES = [
  int(mujoco.mjtEq.mjEQ_CONNECT),
  int(mujoco.mjtEq.mjEQ_WELD),
  int(mujoco.mjtEq.mjEQ_JOINT),
]
_JOINT_TRANSMISSION = int(mujoco.mjtTrn.mjTRN_JOINT)
_FREE = int(mujoco.mjtJoint.mjJNT_FREE)
_SCALAR_JOINTS = [int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)]


def _names(mjm: mujoco.MjModel, objtype: mujoco.mjtObj, ids) -> list[str]:
  kind = objtype.name.removeprefix("mjOBJ_").lower()
  found = []
  for i in np.atleast_1d(ids):
    name = mujoco.mj_id2name(mjm, objtype, int(i))
    found.append(f"{kind} '{name}'" if name else f"{kind} {int(i)}")
  return found


def _where(mask) -> np.ndarray:
  return np.nonzero(np.asarray(mask))[0]


def _collidable(mjm: mujoco.MjModel) -> np.ndarray:
  """Geoms that can touch another one."""
  contype, conaffinity = mjm.geom_contype, mjm.geom_conaffinity
  matches = (contype[:, None] & conaffinity[None, :]) | (contype[None, :] & conaffinity[:, None])
  return (matches != 0).any(axis=1)


def _inert_tendons(mjm: mujoco.MjModel) -> np.ndarray:
  """Tendons that exert no force; they may serve sensors or drawing."""
  active = (mjm.tendon_limited != 0) | (mjm.tendon_stiffnesspoly != 0).any(axis=1)
  active |= (mjm.tendon_dampingpoly != 0).any(axis=1)
  for field in ("stiffness", "damping", "armature", "frictionloss"):
    active |= getattr(mjm, f"tendon_{field}") != 0
  return ~active


def unsupported(mjm: mujoco.MjModel) -> list[str]:
  """Every element of the model without a gradient, as `element: reason`."""
  found: list[str] = []

  def add(objtype: mujoco.mjtObj, mask, reason: str) -> None:
    found.extend(f"{name}: {reason}" for name in _names(mjm, objtype, _where(mask)))

  opt = mjm.opt
  if opt.integrator not in (_EULER, _IMPLICITFAST):
    name = mujoco.mjtIntegrator(opt.integrator).name
    found.append(f"option integrator {name}: use Euler or implicitfast")
  if opt.solver not in _SOLVERS:
    found.append(f"option solver {mujoco.mjtSolver(opt.solver).name}: use Newton or CG")
  if opt.noslip_iterations:
    found.append("option noslip_iterations: the solution is not that of the convex problem")
  if opt.enableflags & mujoco.mjtEnableBit.mjENBL_SLEEP:
    found.append("option enable sleep: a sleeping tree has no gradient")
  if opt.enableflags & mujoco.mjtEnableBit.mjENBL_OVERRIDE:
    found.append("option enable override: contact override is not differentiated")
  if opt.density or opt.viscosity:
    found.append("option density, viscosity: fluid forces are not differentiated")

  add(_OBJECT.mjOBJ_TENDON, ~_inert_tendons(mjm), "tendon forces are not differentiated")
  add(
    _OBJECT.mjOBJ_EQUALITY,
    ~np.isin(mjm.eq_type, _EQUALITIES),
    "only connect, weld and joint equalities are differentiated",
  )
  add(_OBJECT.mjOBJ_FLEX, np.ones(mjm.nflex), "flexes are not differentiated")
  add(_OBJECT.mjOBJ_PLUGIN, np.ones(mjm.nplugin), "plugins are not differentiated")
  add(_OBJECT.mjOBJ_BODY, mjm.body_gravcomp != 0, "gravity compensation is not differentiated")
  add(_OBJECT.mjOBJ_BODY, mjm.body_mocapid >= 0, "mocap bodies are not differentiated")
  add(_OBJECT.mjOBJ_JOINT, mjm.jnt_springyield != 0, "plastic joint springs are not differentiated")
  add(_OBJECT.mjOBJ_PAIR, np.ones(mjm.npair), "explicit contact pairs are not differentiated")
  add(
    _OBJECT.mjOBJ_GEOM,
    _collidable(mjm) & ~np.isin(mjm.geom_type, GEOM_TYPES),
    "only planes, spheres and capsules collide differentiably; set contype and conaffinity to 0",
  )
  add(_OBJECT.mjOBJ_GEOM, (mjm.geom_surfacevel != 0).any(axis=1), "surface velocity")
  add(_OBJECT.mjOBJ_GEOM, mjm.geom_adhesion != 0, "contact adhesion is not differentiated")

  on_joint = mjm.actuator_trntype == _JOINT_TRANSMISSION
  actuator = _OBJECT.mjOBJ_ACTUATOR
  add(actuator, ~on_joint, "only joint transmissions are differentiated")
  add(actuator, mjm.actuator_actadr >= 0, "actuators with activation are not differentiated")
  add(actuator, ~np.isin(mjm.actuator_gaintype, _GAINS), "use a fixed or affine gain")
  add(actuator, ~np.isin(mjm.actuator_biastype, _BIASES), "use no bias or an affine one")
  add(actuator, mjm.actuator_delay != 0, "delayed controls are not differentiated")

  if opt.integrator == _IMPLICITFAST:
    standalone = [
      mjm.jnt_bodyid[j]
      for j in _where(mjm.jnt_type == _FREE)
      if mjm.tree_dofnum[mjm.dof_treeid[mjm.jnt_dofadr[j]]] == 6
    ]
    found.extend(
      f"{name}: implicitfast integrates lone free bodies by a rule of its own; use Euler"
      for name in _names(mjm, _OBJECT.mjOBJ_BODY, np.array(standalone, dtype=int))
    )
    jnt = np.where(on_joint, mjm.actuator_trnid[:, 0], 0)
    scalar = np.isin(mjm.jnt_type[jnt], _SCALAR_JOINTS)
    velocity = (mjm.actuator_gainprm[:, 2] != 0) | (mjm.actuator_biasprm[:, 2] != 0)
    add(
      actuator,
      on_joint & ~scalar & velocity,
      "velocity feedback on a ball or free joint under implicitfast; use Euler",
    )
  return found


def check_supported(mjm: mujoco.MjModel) -> None:
  """Raises `UnsupportedFeature` listing every element without a gradient."""
  found = unsupported(mjm)
  if found:
    lines = "\n  ".join(found)
    raise UnsupportedFeature(f"this model has no exact gradient because of\n  {lines}")
