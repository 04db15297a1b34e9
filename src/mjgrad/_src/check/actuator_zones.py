"""Which branch of their laws the actuators of one evaluation are on.

The clamps of controls, activations, actuator forces and total forces of joints and tendons; the
full turns taken off angular set points; whether the rods of slider-cranks reach their axes.
"""

import mujoco
import numpy as np

from mjgrad._src.check.dcmotor_zones import dcmotor_zones
from mjgrad._src.check.nearest import Nearest
from mjgrad._src.engine import history

_ON_JOINT = (int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT))
_SET_POINT = tuple(
  int(mujoco.mjtDyn.__members__[f"mjDYN_{name}"])
  for name in ("NONE", "INTEGRATOR", "FILTER", "FILTEREXACT")
)
_TENDON = int(mujoco.mjtTrn.mjTRN_TENDON)


def actuator_zones(mjm: mujoco.MjModel, mjd: mujoco.MjData, nearest: Nearest) -> np.ndarray:
  """Zones of every actuator, equal exactly when all of them are on the same branch.

  Distances of a clamp are relative to the width of its range, of a turn to a turn, of a rod to its
  squared length.
  """
  parts = (_clamp_zones(mjm, mjd, nearest), _turns(mjm, mjd, nearest), _reach(mjm, mjd, nearest))
  return np.concatenate([np.asarray(part, dtype=np.int64).reshape(-1) for part in parts])


def _clamp_zones(mjm: mujoco.MjModel, mjd: mujoco.MjData, nearest: Nearest) -> np.ndarray:
  """Zones (-1 below, 0 inside, 1 above) of controls, activations, actuator and joint forces."""
  ctrl = history.controls(mjm, mjd)
  zones = []
  clamp_ctrl = not mjm.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_CLAMPCTRL
  for i in np.flatnonzero(mjm.actuator_ctrllimited):
    if clamp_ctrl:
      low, high = mjm.actuator_ctrlrange[i]
      zones.append(_zone(ctrl[i], low, high, f"control clamp of actuator {i}", nearest))
      ctrl[i] = np.clip(ctrl[i], low, high)
  for i in np.flatnonzero(_slope_of_control(mjm)):
    if mjd.ctrl[mjm.actuator_ctrladr[i]] != ctrl[mjm.actuator_ctrladr[i]]:
      nearest.see(0.0, f"slope of actuator {i}, for which the engine does not clamp the control")
  for i in np.flatnonzero(mjm.actuator_actlimited & (mjm.actuator_actnum > 0)).tolist():
    low, high = mjm.actuator_actrange[i]
    for value in next_activation(mjm, mjd, i, clamp=False):
      zones.append(_zone(value, low, high, f"activation clamp of actuator {i}", nearest))
  motor = mjm.actuator_gaintype == mujoco.mjtGain.mjGAIN_DCMOTOR
  for i in np.flatnonzero(motor).tolist():
    zones += dcmotor_zones(mjm, mjd, i, ctrl, nearest)
  for i in np.flatnonzero(mjm.actuator_forcelimited & ~motor).tolist():
    low, high = mjm.actuator_forcerange[i]
    force = _unclamped_force(mjm, mjd, i, ctrl)
    zones.append(_zone(force, low, high, f"force clamp of actuator {i}", nearest))
  for t in np.flatnonzero(mjm.tendon_actfrclimited):
    on_tendon = (mjm.actuator_trntype == mujoco.mjtTrn.mjTRN_TENDON) & (
      mjm.actuator_trnid[:, 0] == t
    )
    total = sum(_unclamped_force(mjm, mjd, i, ctrl) for i in np.flatnonzero(on_tendon).tolist())
    low, high = mjm.tendon_actfrcrange[t]
    zones.append(_zone(total, low, high, f"actuator force limit of tendon {t}", nearest))
    for i in np.flatnonzero(on_tendon & (mjm.actuator_forcelimited != 0)):
      force = mjd.actuator_force[i]
      zones.append(
        int(force >= mjm.actuator_forcerange[i, 1]) - int(force <= mjm.actuator_forcerange[i, 0])
      )
  for j in np.flatnonzero(mjm.jnt_actfrclimited):
    force = mjd.qfrc_actuator[mjm.jnt_dofadr[j]]
    low, high = mjm.jnt_actfrcrange[j]
    zones.append(int(force >= high) - int(force <= low))
  return np.array(zones, dtype=np.int8)


def _slope_of_control(mjm: mujoco.MjModel) -> np.ndarray:
  """Actuators whose control enters the matrix of `implicit` or `implicitfast`, shape [nactuator].

  There mujoco-warp 4.0.0 takes the control before its clamp, C MuJoCo after it.
  """
  implicit = (mujoco.mjtIntegrator.mjINT_IMPLICIT, mujoco.mjtIntegrator.mjINT_IMPLICITFAST)
  gain = (mjm.actuator_gaintype == mujoco.mjtGain.mjGAIN_AFFINE) & (mjm.actuator_gainprm[:, 2] != 0)
  gain |= mjm.actuator_gaintype == mujoco.mjtGain.mjGAIN_MUSCLE
  stateless = mjm.actuator_dyntype == mujoco.mjtDyn.mjDYN_NONE
  return gain & stateless & (mjm.actuator_ctrladr >= 0) & (mjm.opt.integrator in implicit)


def next_activation(
  mjm: mujoco.MjModel, mjd: mujoco.MjData, i: int, clamp: bool = True
) -> np.ndarray:
  """Activations of actuator i after a step from where `mj_forward` left `mjd`, shape [actnum]."""
  start = mjm.actuator_actadr[i]
  entries = slice(start, start + mjm.actuator_actnum[i])
  duration = mjm.opt.timestep
  if mjm.actuator_dyntype[i] == mujoco.mjtDyn.mjDYN_FILTEREXACT:
    tau = max(mjm.actuator_dynprm[i, 0], mujoco.mjMINVAL)
    duration = tau * -np.expm1(-duration / tau)
  act = mjd.act[entries] + duration * mjd.act_dot[entries]
  return np.clip(act, *mjm.actuator_actrange[i]) if clamp and mjm.actuator_actlimited[i] else act


def period(mjm: mujoco.MjModel, i: int) -> float:
  """Length of a full turn of the set point of actuator i, 0 where it has none."""
  servo = (
    mjm.actuator_gaintype[i] == mujoco.mjtGain.mjGAIN_FIXED
    and mjm.actuator_biastype[i] == mujoco.mjtBias.mjBIAS_AFFINE
    and mjm.actuator_gainprm[i, 0] == -mjm.actuator_biasprm[i, 1]
    and mjm.actuator_dyntype[i] in _SET_POINT
  )
  target, reference = mjm.actuator_trnid[i]
  gear = mjm.actuator_gear[i]
  if servo and mjm.actuator_trntype[i] in _ON_JOINT:
    if mjm.jnt_type[target] == mujoco.mjtJoint.mjJNT_BALL:
      return float(2 * np.pi * np.linalg.norm(gear[:3]))
  elif servo and mjm.actuator_trntype[i] == mujoco.mjtTrn.mjTRN_SITE and reference >= 0:
    if not gear[:3].any():
      return float(2 * np.pi * np.linalg.norm(gear[3:]))
  return 0.0


def _turns(mjm: mujoco.MjModel, mjd: mujoco.MjData, nearest: Nearest) -> np.ndarray:
  """Full turns taken off angular set points: control or activation, the next, the filtered."""
  found = np.zeros((mjm.actuator_trntype.size, 3), dtype=np.int64)
  ctrl = history.controls(mjm, mjd)
  for i in range(mjm.actuator_trntype.size):
    turn = period(mjm, i)
    if not turn:
      continue
    length = mjd.actuator_length[i]
    value = ctrl[mjm.actuator_ctrladr[i]]
    pairs = [(value, length)]
    if mjm.actuator_dyntype[i] != mujoco.mjtDyn.mjDYN_NONE:
      act, following = mjd.act[mjm.actuator_actadr[i]], next_activation(mjm, mjd, i)[0]
      pairs = [(act, length), (following, length)]
      if mjm.actuator_dyntype[i] != mujoco.mjtDyn.mjDYN_INTEGRATOR:
        pairs.append((value, act))
    for k, (value, near) in enumerate(pairs):
      count = (value - near) / turn
      nearest.see(0.5 - abs(count - np.round(count)), f"full turn of actuator {i}")
      found[i, k] = int(np.round(count))
  return found


def _reach(mjm: mujoco.MjModel, mjd: mujoco.MjData, nearest: Nearest) -> np.ndarray:
  """Whether the rod of each slider-crank reaches its axis; distances relative to the rod."""
  found = []
  for i in np.flatnonzero(mjm.actuator_trntype == mujoco.mjtTrn.mjTRN_SLIDERCRANK):
    pin, slider = mjm.actuator_trnid[i]
    v = mjd.site_xpos[pin] - mjd.site_xpos[slider]
    rod = mjm.actuator_cranklength[i]
    slack = (v @ mjd.site_xmat[slider].reshape(3, 3)[:, 2]) ** 2 + rod**2 - v @ v
    nearest.see(abs(slack) / rod**2, f"reach of actuator {i}")
    found.append(slack > 0)
  return np.array(found, dtype=bool)


def _zone(value: float, low: float, high: float, what: str, nearest: Nearest) -> int:
  width = max(high - low, mujoco.mjMINVAL)
  nearest.see(min(abs(value - low), abs(value - high)) / width, what)
  return int(value >= high) - int(value <= low)


def _unclamped_force(mjm: mujoco.MjModel, mjd: mujoco.MjData, i: int, ctrl: np.ndarray) -> float:
  """Actuator force before its clamp, gain times control or activation plus bias."""
  value = ctrl[mjm.actuator_ctrladr[i]]
  if mjm.actuator_dyntype[i] != mujoco.mjtDyn.mjDYN_NONE:
    value = mjd.act[mjm.actuator_actadr[i]]
    if mjm.actuator_actearly[i]:
      value = next_activation(mjm, mjd, i)[0]
  length, velocity = mjd.actuator_length[i], mjd.actuator_velocity[i]
  basis = np.array([1.0, length, velocity])
  gainprm, biasprm = mjm.actuator_gainprm[i, :9], mjm.actuator_biasprm[i, :9]
  muscle = mjm.actuator_lengthrange[i], mjm.actuator_acc0[i]
  gain, bias = gainprm[0], 0.0
  if mjm.actuator_gaintype[i] == mujoco.mjtGain.mjGAIN_AFFINE:
    gain = gainprm[:3] @ basis
  elif mjm.actuator_gaintype[i] == mujoco.mjtGain.mjGAIN_MUSCLE:
    gain = mujoco.mju_muscleGain(length, velocity, *muscle, gainprm)
  if mjm.actuator_biastype[i] == mujoco.mjtBias.mjBIAS_AFFINE:
    bias = biasprm[:3] @ basis
  elif mjm.actuator_biastype[i] == mujoco.mjtBias.mjBIAS_MUSCLE:
    bias = mujoco.mju_muscleBias(length, *muscle, biasprm)
  return float(gain * value + bias)
