"""Which branch of MuJoCo's piecewise laws one evaluation is on, and how far the next branch is.

The constraint force of a row is a function of y = J a - aref with these zones (MuJoCo
documentation, chapter "Computation", section "Constraint model"):

    equality            always active
    friction loss       y <= -R eta | quadratic | y >= R eta
    limit, frictionless
      and pyramidal     active y < 0 | inactive y >= 0
    elliptic contact    N = mu y_0, T = |friction * y_1..|:
                        open N >= mu T | sliding | sticking mu N + T <= 0

The zones are computed from y; `efc_state` of the solver may be one iteration old. The branch also
contains which rows and contacts exist at all, the clamps of controls, activations and actuator
forces, and the full turns that are taken off angular set points.
"""

from dataclasses import dataclass

import mujoco
import numpy as np

_CNSTR = mujoco.mjtConstraint
_FRICTION_LOSS = (int(_CNSTR.mjCNSTR_FRICTION_DOF), int(_CNSTR.mjCNSTR_FRICTION_TENDON))
_EQUALITY = int(_CNSTR.mjCNSTR_EQUALITY)
_ROUND = (int(mujoco.mjtGeom.mjGEOM_SPHERE), int(mujoco.mjtGeom.mjGEOM_CAPSULE))
_ELLIPTIC = int(_CNSTR.mjCNSTR_CONTACT_ELLIPTIC)
_ON_JOINT = (int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT))
_SET_POINT = tuple(
  int(mujoco.mjtDyn.__members__[f"mjDYN_{name}"])
  for name in ("NONE", "INTEGRATOR", "FILTER", "FILTEREXACT")
)


@dataclass(frozen=True)
class ActiveSet:
  """The branch of one evaluation.

  Attributes:
    signature: equal for two evaluations exactly when they are on the same branch.
    distance: relative distance of the nearest switch (see `active_set`); inf without any.
    nearest: what would switch there, in words.
    zones: zone of every constraint row, shape [nefc]; for friction loss -1, 0, 1; for elliptic
      contacts 0 open, 1 sliding, 2 sticking on all rows of the contact; otherwise 0 or 1.
  """

  signature: bytes
  distance: float
  nearest: str
  zones: np.ndarray


def active_set(mjm: mujoco.MjModel, mjd: mujoco.MjData) -> ActiveSet:
  """Reads the branch of the evaluation whose results `mjd` holds.

  Distances are relative: of a force zone to |J| |a| + |aref| of the row, of a limit to one radian
  or metre, of a contact to one metre, of a clamp to the width of its range, and of two centres to
  their radii: where they coincide the normal has no direction. The model must use the dense
  Jacobian.
  """
  nearest = _Nearest()
  zones = _row_zones(mjm, mjd, nearest)
  clamps = _clamp_zones(mjm, mjd, nearest)
  turns = _turns(mjm, mjd, nearest)
  reach = _reach(mjm, mjd, nearest)
  _existence(mjm, mjd, nearest)
  contact = mjd.contact
  parts = (
    mjd.efc_type,
    mjd.efc_id,
    contact.geom,
    contact.dim,
    contact.exclude,
    zones,
    clamps,
    turns,
    reach,
  )
  signature = b"|".join(np.ascontiguousarray(part).tobytes() for part in parts)
  return ActiveSet(signature, nearest.distance, nearest.what, zones)


class _Nearest:
  """Keeps the smallest distance seen and its description."""

  def __init__(self):
    self.distance = np.inf
    self.what = "nothing"

  def see(self, distance: float, what: str) -> None:
    if distance < self.distance:
      self.distance, self.what = float(distance), what


def _row_zones(mjm: mujoco.MjModel, mjd: mujoco.MjData, nearest: _Nearest) -> np.ndarray:
  nefc = mjd.nefc
  zones = np.ones(nefc, dtype=np.int8)
  if nefc == 0:
    return zones
  jac = mjd.efc_J.reshape(nefc, mjm.nv)
  y = jac @ mjd.qacc - mjd.efc_aref
  scale = np.abs(jac) @ np.abs(mjd.qacc) + np.abs(mjd.efc_aref) + mujoco.mjMINVAL
  row = 0
  while row < nefc:
    kind = int(mjd.efc_type[row])
    if kind == _ELLIPTIC:
      contact = int(mjd.efc_id[row])
      dim = int(mjd.contact.dim[contact])
      rows = slice(row, row + dim)
      zones[rows] = _elliptic_zone(mjd, contact, y[rows], scale[rows].max(), nearest)
      row += dim
      continue
    if kind in _FRICTION_LOSS:
      bound = mjd.efc_frictionloss[row] * mjd.efc_R[row]
      zones[row] = 1 if y[row] >= bound else (-1 if y[row] <= -bound else 0)
      nearest.see(abs(abs(y[row]) - bound) / scale[row], f"friction loss of row {row}")
    elif kind != _EQUALITY:
      zones[row] = y[row] < 0
      nearest.see(abs(y[row]) / scale[row], f"{_CNSTR(kind).name} in row {row}")
    row += 1
  return zones


def _elliptic_zone(
  mjd: mujoco.MjData, contact: int, y: np.ndarray, scale: float, nearest: _Nearest
) -> int:
  mu = mjd.contact.mu[contact]
  normal = mu * y[0]
  tangent = float(np.linalg.norm(mjd.contact.friction[contact, : y.size - 1] * y[1:]))
  nearest.see(abs(normal - mu * tangent) / scale, f"opening of contact {contact}")
  nearest.see(abs(mu * normal + tangent) / scale, f"sliding of contact {contact}")
  if normal >= mu * tangent:
    return 0
  return 2 if mu * normal + tangent <= 0 else 1


def _clamp_zones(mjm: mujoco.MjModel, mjd: mujoco.MjData, nearest: _Nearest) -> np.ndarray:
  """Zones (-1 below, 0 inside, 1 above) of controls, activations, actuator and joint forces."""
  ctrl = mjd.ctrl.copy()
  zones = []
  clamp_ctrl = not mjm.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_CLAMPCTRL
  for i in np.flatnonzero(mjm.actuator_ctrllimited):
    if clamp_ctrl:
      low, high = mjm.actuator_ctrlrange[i]
      zones.append(_zone(ctrl[i], low, high, f"control clamp of actuator {i}", nearest))
      ctrl[i] = np.clip(ctrl[i], low, high)
  for i in np.flatnonzero(mjm.actuator_actlimited & (mjm.actuator_actnum > 0)).tolist():
    low, high = mjm.actuator_actrange[i]
    for value in next_activation(mjm, mjd, i, clamp=False):
      zones.append(_zone(value, low, high, f"activation clamp of actuator {i}", nearest))
  for i in np.flatnonzero(mjm.actuator_forcelimited).tolist():
    low, high = mjm.actuator_forcerange[i]
    force = _unclamped_force(mjm, mjd, i, ctrl)
    zones.append(_zone(force, low, high, f"force clamp of actuator {i}", nearest))
  for j in np.flatnonzero(mjm.jnt_actfrclimited):
    force = mjd.qfrc_actuator[mjm.jnt_dofadr[j]]
    low, high = mjm.jnt_actfrcrange[j]
    zones.append(int(force >= high) - int(force <= low))
  return np.array(zones, dtype=np.int8)


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


def _turns(mjm: mujoco.MjModel, mjd: mujoco.MjData, nearest: _Nearest) -> np.ndarray:
  """Full turns taken off angular set points: control or activation, the next, the filtered."""
  found = np.zeros((mjm.actuator_trntype.size, 3), dtype=np.int64)
  for i in range(mjm.actuator_trntype.size):
    turn = period(mjm, i)
    if not turn:
      continue
    length = mjd.actuator_length[i]
    value = mjd.ctrl[mjm.actuator_ctrladr[i]]
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


def _reach(mjm: mujoco.MjModel, mjd: mujoco.MjData, nearest: _Nearest) -> np.ndarray:
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


def _zone(value: float, low: float, high: float, what: str, nearest: _Nearest) -> int:
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


def _existence(mjm: mujoco.MjModel, mjd: mujoco.MjData, nearest: _Nearest) -> None:
  """Distances at which a limit row or a contact would appear or vanish."""
  contact = mjd.contact
  for i in range(mjd.ncon):
    gap = abs(contact.dist[i] - contact.includemargin[i])
    nearest.see(gap, f"existence of contact {i}")
    geoms = contact.geom[i]
    if np.all(np.isin(mjm.geom_type[geoms], _ROUND)):
      reach = mjm.geom_size[geoms, 0].sum()
      overlap = (reach + contact.dist[i]) / reach
      nearest.see(overlap, f"normal of contact {i}, whose centres coincide")
  if mjm.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_LIMIT:
    return
  for j in np.flatnonzero(mjm.jnt_limited):
    low, high = mjm.jnt_range[j]
    what = f"existence of the limit of joint {j}"
    start = mjm.jnt_qposadr[j]
    if mjm.jnt_type[j] == mujoco.mjtJoint.mjJNT_BALL:
      w, *xyz = mjd.qpos[start : start + 4]
      angle = 2 * np.arctan2(np.linalg.norm(xyz), abs(w))
      nearest.see(abs(max(low, high) - angle - mjm.jnt_margin[j]), what)
    else:
      for slack in (mjd.qpos[start] - low, high - mjd.qpos[start]):
        nearest.see(abs(slack - mjm.jnt_margin[j]), what)
