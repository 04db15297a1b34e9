"""States at which a model's gradients are checked: settled ones, and ones in the middle of things.

A gradient that is right on a settled state can be 30 % wrong on a sliding one, so candidates come
from seeded rollouts of C MuJoCo under random controls and forces and from posed configurations,
not from rest alone; they are then classified, and a spread over the classes is picked.

    settled   the start state, left alone for a while
    rollout   piecewise constant random controls and forces, stopped at a random time
    kicked    a settled state with random velocities: contacts slide
    posed     random joint positions around and past their limits, then a few steps of rollout

Activations start anywhere in their range, but those of settled states close to where they settled.

Every state is rounded to float32, so that the engine and the oracle see the same numbers.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace

import mujoco
import numpy as np

from mjgrad._src.check.active_set import ActiveSet
from mjgrad._src.check.actuator_zones import next_activation
from mjgrad._src.check.oracle import Oracle
from mjgrad._src.check.oracle import Point
from mjgrad._src.engine import history
from mjgrad._src.errors import InvalidInput

KINDS = ("settled", "rollout", "kicked", "posed")
SETTLE_TIME = 2.0  # [s]
SETTLE_STEPS = 1500
ROLLOUT_STEPS = 300
HOLD_STEPS = 20  # steps for which random controls and forces stay the same
CANDIDATES_PER_STATE = 4
CTRL_OVERSHOOT = 1.15  # controls are drawn from a slightly wider range than the clamps
ACT_OVERSHOOT = 1.5  # likewise activations, which are then clamped: a third lies at its clamps
FORCE_SCALE = 0.5  # applied forces, relative to the weight they act on
# Faster states are left out as the product of an explosion: what moves by more than a fifth of a
# unit in a step, or by more than four by its acceleration; but at least so much at any time step.
MAX_SPEED, MAX_MOVE = 100.0, 0.2  # [m/s or rad/s], [m or rad]
MAX_QACC, MAX_BEND = 1e6, 4.0  # [m/s^2 or rad/s^2], [m or rad]

_CNSTR = mujoco.mjtConstraint
_MUSCLE = int(mujoco.mjtDyn.mjDYN_MUSCLE)


@dataclass(frozen=True)
class CheckState:
  """A state with its inputs and what is going on in it.

  Attributes:
    point: the state.
    kind: how it was made, one of `KINDS`.
    labels: any of "airborne", "contact", "sliding", "self_contact", "joint_limit",
      "friction_loss_slip", "ctrl_clamp", "act_clamp", "force_clamp".
    ncon: number of contacts.
    nefc: number of constraint rows.
  """

  point: Point
  kind: str
  labels: tuple[str, ...]
  ncon: int
  nefc: int


def sample_states(mjm: mujoco.MjModel, nstates: int, seed: int = 0) -> list[CheckState]:
  """A spread of `nstates` states; the same seed gives the same states."""
  if nstates < 1:
    raise InvalidInput(f"The number of states must be at least 1, got {nstates}.")
  with _without_warnings():
    return _sample(Oracle(mjm), nstates, np.random.default_rng(seed))


@contextmanager
def _without_warnings() -> Iterator[None]:
  """Keeps MuJoCo from writing a log file about candidates that explode and are then left out."""
  before = mujoco.get_mju_user_warning()
  mujoco.set_mju_user_warning(lambda _: None)
  try:
    yield
  finally:
    mujoco.set_mju_user_warning(before)


def _sample(oracle: Oracle, nstates: int, rng: np.random.Generator) -> list[CheckState]:
  mjm = oracle.mjm
  starts = _start_points(mjm)
  rested = [_settle(oracle, start) for start in starts]
  candidates: list[CheckState] = []
  attempts = CANDIDATES_PER_STATE * nstates
  fastest = max(MAX_SPEED, MAX_MOVE / mjm.opt.timestep)
  for attempt in range(10 * attempts):
    if len(candidates) >= attempts:
      break
    kind = KINDS[attempt % len(KINDS)]
    which = int(rng.integers(len(starts)))
    point = _make(kind, oracle, starts[which], rested[which], rng)
    if not np.all(np.isfinite(point.qpos)) or not np.all(np.abs(point.qvel) < fastest):
      continue
    point = _with_inputs(mjm, point, rng, quiet=kind == "settled").float32()
    state = _classify(oracle, point, kind)
    if state is not None:
      candidates.append(state)
  if len(candidates) < nstates:
    raise InvalidInput(
      f"Only {len(candidates)} of {nstates} states could be reached without the simulation "
      "exploding. Check the model with a smaller time step."
    )
  return _spread(candidates, nstates)


def _start_points(mjm: mujoco.MjModel) -> list[Point]:
  starts = [Point.initial(mjm)]
  for key in range(mjm.nkey):
    point = Point.initial(mjm)
    point.qpos[:] = mjm.key_qpos[key]
    point.qvel[:] = mjm.key_qvel[key]
    point.act[:] = mjm.key_act[key]
    starts.append(point)
  return starts


def _settle(oracle: Oracle, start: Point) -> Point:
  steps = min(SETTLE_STEPS, int(SETTLE_TIME / oracle.mjm.opt.timestep))
  oracle.load(start, np.zeros(oracle.nv))
  mujoco.mj_step(oracle.mjm, oracle.mjd, steps)
  return _state_of(oracle)


def _make(
  kind: str, oracle: Oracle, start: Point, rested: Point, rng: np.random.Generator
) -> Point:
  mjm = oracle.mjm
  if kind == "settled":
    return _activated(mjm, _jittered(mjm, rested, rng, position=1e-4, velocity=1e-3), rng, 0.01)
  if kind == "kicked":
    return _activated(mjm, _jittered(mjm, rested, rng, position=1e-3, velocity=1.0), rng)
  if kind == "rollout":
    begin = _activated(mjm, _jittered(mjm, start, rng, position=0.05, velocity=0.3), rng)
    return _rollout(oracle, begin, rng, int(rng.integers(1, ROLLOUT_STEPS)))
  begin = start if rng.random() < 0.5 else rested
  posed = _activated(mjm, _posed(mjm, begin, rng), rng)
  return _rollout(oracle, posed, rng, int(rng.integers(1, HOLD_STEPS)))


def _rollout(oracle: Oracle, begin: Point, rng: np.random.Generator, steps: int) -> Point:
  point = begin
  for done in range(0, steps, HOLD_STEPS):
    driven = _with_inputs(oracle.mjm, point, rng)
    oracle.load(driven, np.zeros(oracle.nv))
    mujoco.mj_step(oracle.mjm, oracle.mjd, min(HOLD_STEPS, steps - done))
    point = _state_of(oracle)
  return point


def _state_of(oracle: Oracle) -> Point:
  point = Point.initial(oracle.mjm)
  point.qpos[:] = oracle.mjd.qpos
  point.qvel[:] = oracle.mjd.qvel
  point.act[:] = oracle.mjd.act
  point.history[:] = history.at_time_zero(oracle.mjm, oracle.mjd)
  return point


def _jittered(
  mjm: mujoco.MjModel, point: Point, rng: np.random.Generator, position: float, velocity: float
) -> Point:
  qpos = point.qpos.copy()
  mujoco.mj_integratePos(mjm, qpos, rng.normal(size=mjm.nv), position)
  qvel = point.qvel + velocity * rng.normal(size=mjm.nv)
  return replace(point, qpos=qpos, qvel=qvel)


def _activated(
  mjm: mujoco.MjModel, point: Point, rng: np.random.Generator, amount: float = 1.0
) -> Point:
  """Activations moved to or, with a smaller amount, towards random ones.

  These are in their range, some at its ends; without any, in [0, 1] for muscles and [-1, 1] for
  others. At the ends of [0, 1] the dynamics of a muscle have a kink.
  """
  if mjm.na == 0:
    return point
  act = point.act.copy()
  for i in np.flatnonzero(mjm.actuator_actnum):
    muscle = mjm.actuator_dyntype[i] == _MUSCLE
    low, high = (0.0 if muscle else -1.0), 1.0
    if mjm.actuator_actlimited[i]:
      low, high = mjm.actuator_actrange[i]
    start = mjm.actuator_actadr[i]
    entries = slice(start, start + mjm.actuator_actnum[i])
    limited = mjm.actuator_actlimited[i] and not muscle
    past = 0.5 * (ACT_OVERSHOOT - 1) * (high - low) if limited else 0.0
    drawn = rng.uniform(low - past, high + past, size=act[entries].size)
    act[entries] += amount * (np.clip(drawn, low, high) - act[entries])
  return replace(point, act=act)


def _posed(mjm: mujoco.MjModel, point: Point, rng: np.random.Generator) -> Point:
  """Random joint positions, a tenth of the range past either limit; roots keep their place."""
  out = _jittered(mjm, point, rng, position=0.1, velocity=0.5)
  for j in range(mjm.njnt):
    start = mjm.jnt_qposadr[j]
    low, high = mjm.jnt_range[j]
    kind = mjm.jnt_type[j]
    if kind in (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE):
      if mjm.jnt_limited[j]:
        past = 0.1 * (high - low)
        out.qpos[start] = rng.uniform(low - past, high + past)
    elif kind == mujoco.mjtJoint.mjJNT_BALL:
      axis = rng.normal(size=3)
      angle = rng.uniform(0, 1.1 * high if mjm.jnt_limited[j] else 2.0)
      quat = np.empty(4)
      mujoco.mju_axisAngle2Quat(quat, axis / np.linalg.norm(axis), angle)
      out.qpos[start : start + 4] = quat
  return out


def _with_inputs(
  mjm: mujoco.MjModel, point: Point, rng: np.random.Generator, quiet: bool = False
) -> Point:
  """Random controls, generalised forces and wrenches; a hundredth of them when quiet."""
  size = 0.01 if quiet else 1.0
  limited = mjm.actuator_ctrllimited.astype(bool)
  excitation = np.zeros(mjm.nu, dtype=bool)
  excitation[mjm.actuator_ctrladr[mjm.actuator_dyntype == _MUSCLE]] = True
  low = np.where(limited, mjm.actuator_ctrlrange[:, 0], np.where(excitation, 0.0, -1.0))
  high = np.where(limited, mjm.actuator_ctrlrange[:, 1], 1.0)
  wide = CTRL_OVERSHOOT if not quiet else 1.0
  ctrl = 0.5 * (low + high) + size * wide * 0.5 * (high - low) * rng.uniform(-1, 1, size=mjm.nu)
  gravity = max(float(np.linalg.norm(mjm.opt.gravity)), 1.0)
  force = size * FORCE_SCALE * gravity
  qfrc = force * mjm.dof_M0 * rng.normal(size=mjm.nv)
  xfrc = force * mjm.body_mass[:, None] * rng.normal(size=(mjm.nbody, 6))
  xfrc[:, 3:] *= 0.1
  return replace(point, ctrl=ctrl, qfrc_applied=qfrc, xfrc_applied=xfrc)


def _classify(oracle: Oracle, point: Point, kind: str) -> CheckState | None:
  """Labels a state; None when it is not one that a simulation should visit."""
  mjm, mjd = oracle.mjm, oracle.mjd
  branch = oracle.branch(point, oracle.step(point))
  if not np.all(np.abs(mjd.qacc) < max(MAX_QACC, MAX_BEND / mjm.opt.timestep**2)):
    return None
  labels = labels_of(mjm, mjd, branch)
  return CheckState(point, kind, labels, int(mjd.ncon), int(mjd.nefc))


def labels_of(mjm: mujoco.MjModel, mjd: mujoco.MjData, branch: ActiveSet) -> tuple[str, ...]:
  """Names of what is active in the evaluation that `mjd` and `branch` hold."""
  zones, kinds = branch.zones, np.asarray(mjd.efc_type)
  labels = set()
  touching = [i for i in range(mjd.ncon) if mjd.contact.efc_address[i] >= 0]
  labels.add("contact" if touching else "airborne")
  for i in touching:
    address, dim = mjd.contact.efc_address[i], mjd.contact.dim[i]
    kind = kinds[address]
    if kind == _CNSTR.mjCNSTR_CONTACT_ELLIPTIC and zones[address] == 1:
      labels.add("sliding")
    if kind == _CNSTR.mjCNSTR_CONTACT_PYRAMIDAL:
      edges = zones[address : address + 2 * (dim - 1)]
      if edges.any() and not edges.all():
        labels.add("sliding")
    bodies = mjm.geom_bodyid[mjd.contact.geom[i]]
    if np.all(mjm.body_weldid[bodies] > 0):
      labels.add("self_contact")
  if np.any(kinds == _CNSTR.mjCNSTR_LIMIT_JOINT):
    labels.add("joint_limit")
  if np.any((kinds == _CNSTR.mjCNSTR_FRICTION_DOF) & (zones != 0)):
    labels.add("friction_loss_slip")
  limited = mjm.actuator_ctrllimited.astype(bool)
  ctrl = history.controls(mjm, mjd)
  outside = (ctrl < mjm.actuator_ctrlrange[:, 0]) | (ctrl > mjm.actuator_ctrlrange[:, 1])
  if np.any(limited & outside):
    labels.add("ctrl_clamp")
  if any(
    np.any(next_activation(mjm, mjd, i, clamp=False) != next_activation(mjm, mjd, i))
    for i in np.flatnonzero(mjm.actuator_actlimited & (mjm.actuator_actnum > 0)).tolist()
  ):
    labels.add("act_clamp")
  bounded = mjm.actuator_forcelimited.astype(bool)
  at_bound = np.any(mjd.actuator_force[:, None] == mjm.actuator_forcerange, axis=1)
  if np.any(bounded & at_bound):
    labels.add("force_clamp")
  return tuple(sorted(labels))


def _spread(candidates: list[CheckState], nstates: int) -> list[CheckState]:
  """Greedy choice: always the candidate whose kind and labels are the least represented so far."""
  chosen: list[CheckState] = []
  seen: Counter[str] = Counter()
  rest = list(range(len(candidates)))
  tags = [(state.kind, *state.labels) for state in candidates]
  for _ in range(nstates):
    best = max(rest, key=lambda i: sum(1.0 / (1 + seen[tag]) for tag in tags[i]))
    rest.remove(best)
    chosen.append(candidates[best])
    seen.update(tags[best])
  return chosen
