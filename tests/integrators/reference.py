"""Converged trajectories: accelerations of C MuJoCo, integrated in float64.

A second implementation of the equations of integrators/flow.py, with Dormand and Prince's pair, one
world and the plainest controller.
"""

import copy

import mujoco
import numpy as np

from mjgrad._src.integrators.tableau import DOPRI5


def integrate(
  mjm, qpos, qvel, duration, *, act=None, tol=1e-11, tableau=DOPRI5, step=None, **inputs
):
  """The state (qpos, qvel, act) after `duration` [s], and the number of steps.

  Args:
    mjm: the model; its integrator is not used.
    qpos, qvel, act: where to start.
    duration: how long [s].
    tol: relative and absolute tolerance.
    tableau: the method.
    step: size of fixed steps [s]; None adapts them.
    inputs: constant controls, forces and poses, by their names in MjData.
  """
  mjm = copy.copy(mjm)
  mjm.opt.integrator = mujoco.mjtIntegrator.mjINT_RK4
  mjm.opt.tolerance = 0
  mjd = mujoco.MjData(mjm)
  for name, value in inputs.items():
    getattr(mjd, name)[:] = value
  nv, na = mjm.nv, mjm.na
  rotation = np.zeros(nv, dtype=bool)
  for j in range(mjm.njnt):
    first = mjm.jnt_dofadr[j]
    if mjm.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE:
      rotation[first + 3 : first + 6] = True
    elif mjm.jnt_type[j] == mujoco.mjtJoint.mjJNT_BALL:
      rotation[first : first + 3] = True
  starts = np.flatnonzero(rotation).reshape(-1, 3)

  def rates(q0, displacement, v, w):
    mjd.qpos[:] = q0
    mujoco.mj_integratePos(mjm, mjd.qpos, displacement, 1.0)
    mjd.qvel[:], mjd.act[:] = v, w
    mujoco.mj_forward(mjm, mjd)
    kappa = v.copy()
    for dofs in starts:
      rho = displacement[dofs]
      x = np.linalg.norm(rho)
      c = 1 / 12 + x**2 / 720 + x**4 / 30240
      if x > 0.05:
        c = (1 - x / 2 / np.tan(x / 2)) / x**2
      u = np.cross(rho, v[dofs])
      kappa[dofs] = v[dofs] + u / 2 + c * np.cross(rho, u)
    return np.concatenate([kappa, mjd.qacc, mjd.act_dot]), mjd.qpos.copy()

  q, v = np.array(qpos, dtype=float), np.array(qvel, dtype=float)
  w = np.zeros(na) if act is None else np.array(act, dtype=float)
  t, count = 0.0, 0
  h = step or min(1e-3, duration)
  weights = tableau.weights()
  while t < duration:
    h = min(h, duration - t)
    if duration - t - h < 1e-9 * duration:
      h = duration - t
    ks = []
    for row in weights:
      mean = sum((a * k for a, k in zip(row, ks)), np.zeros(2 * nv + na))
      new = h * mean[:nv], v + h * mean[nv : 2 * nv], w + h * mean[2 * nv :]
      k, position = rates(q, *new)
      ks.append(k)
    next_h = h
    if step is None:
      error = h * sum(e * k for e, k in zip(tableau.error, ks, strict=True))
      size = np.concatenate([np.ones(nv), np.abs(v), np.abs(w)])
      e = max(np.abs(error / (tol + tol * size)).max(), 1e-10)
      next_h = h * np.clip(0.9 * e ** (-1 / tableau.order), 0.2, 5.0)
      if e > 1:
        h = next_h
        continue
    t, count, h = t + h, count + 1, next_h
    q, v, w = position, new[1], new[2]
  return q, v, w, count
