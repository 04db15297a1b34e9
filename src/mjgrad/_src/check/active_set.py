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
forces, and the full turns that are taken off angular set points. Where the inverse weights of both
bodies are zero, the regularization R of a row is at its bound mjMINVAL: such a row weighs 1e15, no
solver resolves what goes on beside it, and R has one side.

The contacts of two geoms come in no order: MuJoCo begins a manifold with the corner that its search
found first, and of two that are equally deep this may be either.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from mjgrad._src.check.actuator_zones import actuator_zones
from mjgrad._src.check.nearest import Nearest

_CNSTR = mujoco.mjtConstraint
_FRICTION_LOSS = (int(_CNSTR.mjCNSTR_FRICTION_DOF), int(_CNSTR.mjCNSTR_FRICTION_TENDON))
_EQUALITY = int(_CNSTR.mjCNSTR_EQUALITY)
_ROUND = (int(mujoco.mjtGeom.mjGEOM_SPHERE), int(mujoco.mjtGeom.mjGEOM_CAPSULE))
_PYRAMIDAL = int(_CNSTR.mjCNSTR_CONTACT_PYRAMIDAL)
_ELLIPTIC = int(_CNSTR.mjCNSTR_CONTACT_ELLIPTIC)
_CONTACT = (int(_CNSTR.mjCNSTR_CONTACT_FRICTIONLESS), _PYRAMIDAL, _ELLIPTIC)


@dataclass(frozen=True)
class ActiveSet:
  """The branch of one evaluation.

  Attributes:
    signature: equal for two evaluations exactly when they are on the same branch, but for the order
      of the contacts of two geoms.
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
  or metre, of a contact to one metre, of a clamp to the width of its range, and of the nearest
  points of the axes of two round geoms to the sizes of these and their distance from the origin:
  where they coincide the normal has no direction. The model must use the dense Jacobian.
  """
  nearest = Nearest()
  zones = _row_zones(mjm, mjd, nearest)
  actuators = actuator_zones(mjm, mjd, nearest)
  _existence(mjm, mjd, nearest)
  of_contact = np.isin(mjd.efc_type, _CONTACT)
  others = (mjd.efc_type[~of_contact], mjd.efc_id[~of_contact], zones[~of_contact], actuators)
  parts = [np.ascontiguousarray(part).tobytes() for part in others]
  parts += sorted(_contact_branches(mjd, of_contact, zones))
  return ActiveSet(b"|".join(parts), nearest.distance, nearest.what, zones)


def _contact_branches(mjd: mujoco.MjData, of_contact: np.ndarray, zones: np.ndarray) -> list[bytes]:
  """Geoms, dimension and zones of every contact."""
  contact = mjd.contact
  rows = [np.flatnonzero(of_contact & (mjd.efc_id == i)) for i in range(mjd.ncon)]
  fixed = np.column_stack((contact.geom, contact.dim, contact.exclude)).astype(np.int32)
  return [one.tobytes() + zones[r].tobytes() for one, r in zip(fixed, rows, strict=True)]


def union(parts: Sequence[ActiveSet]) -> ActiveSet:
  """The branch of several evaluations in a row, with the zones of the last."""
  nearest = min(parts, key=lambda part: part.distance)
  signature = b"#".join(part.signature for part in parts)
  return ActiveSet(signature, nearest.distance, nearest.nearest, parts[-1].zones)


def _row_zones(mjm: mujoco.MjModel, mjd: mujoco.MjData, nearest: Nearest) -> np.ndarray:
  nefc = mjd.nefc
  zones = np.ones(nefc, dtype=np.int8)
  if nefc == 0:
    return zones
  jac = mjd.efc_J[: nefc * mjm.nv].reshape(nefc, mjm.nv)
  y = jac @ mjd.qacc - mjd.efc_aref
  scale = np.abs(jac) @ np.abs(mjd.qacc) + np.abs(mjd.efc_aref) + mujoco.mjMINVAL
  row = 0
  while row < nefc:
    kind = int(mjd.efc_type[row])
    element = int(mjd.efc_id[row])
    dim = int(mjd.contact.dim[element]) if kind == _ELLIPTIC else 1
    rows = slice(row, row + dim)
    if np.any(jac[rows]):
      edges = 2.0 * mjd.contact.mu[element] ** 2 if kind == _PYRAMIDAL else 1.0
      above = mjd.efc_R[row] / (edges * mujoco.mjMINVAL) - 1.0
      nearest.see(above, f"bound of the regularization of row {row}")
    if kind == _ELLIPTIC:
      zones[rows] = _elliptic_zone(mjd, element, y[rows], scale[rows].max(), nearest)
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
  mjd: mujoco.MjData, contact: int, y: np.ndarray, scale: float, nearest: Nearest
) -> int:
  mu = mjd.contact.mu[contact]
  normal = mu * y[0]
  tangent = float(np.linalg.norm(mjd.contact.friction[contact, : y.size - 1] * y[1:]))
  nearest.see(abs(normal - mu * tangent) / scale, f"opening of contact {contact}")
  nearest.see(abs(mu * normal + tangent) / scale, f"sliding of contact {contact}")
  if normal >= mu * tangent:
    return 0
  return 2 if mu * normal + tangent <= 0 else 1


def _existence(mjm: mujoco.MjModel, mjd: mujoco.MjData, nearest: Nearest) -> None:
  """Distances at which a limit row or a contact would appear or vanish."""
  contact = mjd.contact
  for i in range(mjd.ncon):
    gap = abs(contact.dist[i] - contact.includemargin[i])
    nearest.see(gap, f"existence of contact {i}")
    geoms = contact.geom[i]
    if np.all(np.isin(mjm.geom_type[geoms], _ROUND)):
      apart = mjm.geom_size[geoms, 0].sum() + contact.dist[i]
      scale = mjm.geom_rbound[geoms].sum() + np.linalg.norm(contact.pos[i])
      nearest.see(apart / scale, f"normal of contact {i}, whose centres coincide")
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
