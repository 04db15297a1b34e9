"""Second oracle, without a solver: derivatives of the acceleration from inverse dynamics.

At the solved acceleration a the residual of the equations of motion,

    r(a; q, v, u, tau) = mj_inverse(q, v, a) - qfrc_actuator - qfrc_applied - J^T xfrc_applied,

vanishes, so da/dx = -(dr/da)^-1 dr/dx for any input x. `mj_inverse` evaluates the constraint force
in closed form at any a; nothing iterates. The Jacobians of r are central differences in the
tangent space (`mjd_inverseFD` offers the first three too, one-sided).
"""

from dataclasses import dataclass

import mujoco
import numpy as np

from mjgrad._src.check.oracle import Oracle
from mjgrad._src.check.oracle import Point

STEP = 1e-6


@dataclass(frozen=True)
class Residual:
  """Value [nv] and Jacobians of r; `qacc` is H, shape [nv, nv]; `ctrl` is [nv, nu]."""

  value: np.ndarray
  qacc: np.ndarray
  qpos: np.ndarray
  qvel: np.ndarray
  ctrl: np.ndarray

  def acceleration(self, channel: str) -> np.ndarray:
    """Derivative of the solved acceleration with respect to a channel, shape [nv, n]."""
    return -np.linalg.solve(self.qacc, getattr(self, channel))


def residual(oracle: Oracle, point: Point, qacc: np.ndarray) -> np.ndarray:
  """r at any acceleration, shape [nv]."""
  mjm, mjd = oracle.mjm, oracle.mjd
  oracle.load(point, qacc)
  mjd.qacc[:] = qacc
  mujoco.mj_inverse(mjm, mjd)
  mujoco.mj_fwdActuation(mjm, mjd)
  wrench = np.zeros(mjm.nv)
  for body in np.flatnonzero(np.any(point.xfrc_applied != 0, axis=1)):
    force, torque = point.xfrc_applied[body, :3], point.xfrc_applied[body, 3:]
    mujoco.mj_applyFT(mjm, mjd, force, torque, mjd.xipos[body], int(body), wrench)
  return mjd.qfrc_inverse - mjd.qfrc_actuator - point.qfrc_applied - wrench


def linearise_residual(oracle: Oracle, point: Point, step: float = STEP) -> Residual:
  """Value and Jacobians of r at the solved acceleration of `point`."""
  qacc = oracle.forward(point)
  nv = oracle.nv

  def shifted(channel: str, index: int, delta: float) -> np.ndarray:
    values = {name: getattr(point, name) for name in Point.__dataclass_fields__}
    a = qacc.copy()
    if channel == "qacc":
      a[index] += delta
    elif channel == "qpos":
      unit = np.zeros(nv)
      unit[index] = 1.0
      qpos = point.qpos.copy()
      mujoco.mj_integratePos(oracle.mjm, qpos, unit, delta)
      values["qpos"] = qpos
    else:
      moved = getattr(point, channel).copy()
      moved[index] += delta
      values[channel] = moved
    return residual(oracle, Point(**values), a)

  def columns(channel: str, size: int) -> np.ndarray:
    out = np.zeros((nv, size))
    for i in range(size):
      out[:, i] = (shifted(channel, i, step) - shifted(channel, i, -step)) / (2 * step)
    return out

  return Residual(
    value=residual(oracle, point, qacc),
    qacc=columns("qacc", nv),
    qpos=columns("qpos", nv),
    qvel=columns("qvel", nv),
    ctrl=columns("ctrl", oracle.mjm.nu),
  )
