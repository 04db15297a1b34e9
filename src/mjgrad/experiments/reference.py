"""Converged trajectories of a free body, from accelerations of C MuJoCo in float64.

    p' = v,   q' = q (0, w) / 2,   (v, w)' = qacc(p, q, v, w)

with the quaternion q as four numbers, normalised before every evaluation, by Dormand and Prince's
pair of order 5(4) and the elementary step control. Nothing is shared with mjgrad's own integrators.

Source: Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, table II.5.2 and
equation II.4.13.
"""

import mujoco
import numpy as np

A = (
  (),
  (1 / 5,),
  (3 / 40, 9 / 40),
  (44 / 45, -56 / 15, 32 / 9),
  (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
  (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
  (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
ERROR = np.array([71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40])
"""Weights of order 5 minus those of order 4; the last row of A is the method itself."""


def _solved_to_the_end(mjm: mujoco.MjModel) -> mujoco.MjModel:
  mjm.opt.tolerance, mjm.opt.iterations, mjm.opt.ls_iterations = 1e-14, 200, 100
  return mjm


class FreeBody:
  """The motion of a model whose only joint is a free one.

  Args:
    mjm: the model, whose solver options are changed.
    tolerance: absolute and relative tolerance of a step.
  """

  def __init__(self, mjm: mujoco.MjModel, tolerance: float = 1e-10):
    self.mjm, self.tolerance = _solved_to_the_end(mjm), tolerance
    self.mjd = mujoco.MjData(mjm)
    self.evaluations = 0

  def run(self, qpos: np.ndarray, qvel: np.ndarray, duration: float) -> np.ndarray:
    """The position [7] after a duration [s] from a state."""
    y = np.concatenate([qpos, qvel]).astype(float)
    t, h = 0.0, 1e-4
    rates = np.empty((7, 13))
    rates[0] = self._rate(y)
    while t < duration:
      h = min(h, duration - t)
      for i in range(1, 7):
        stage = y + h * (np.asarray(A[i]) @ rates[:i])
        rates[i] = self._rate(stage)
      scale = self.tolerance * (1.0 + np.maximum(np.abs(y), np.abs(stage)))
      error = np.sqrt(np.mean((h * (ERROR @ rates) / scale) ** 2))
      if error <= 1.0:
        t, y = t + h, stage
        y[3:7] /= np.linalg.norm(y[3:7])
        rates[0] = rates[6]
      h *= float(np.clip(0.9 * max(error, 1e-10) ** -0.2, 0.2, 5.0))
    return y[:7]

  def _rate(self, y: np.ndarray) -> np.ndarray:
    mjd = self.mjd
    mjd.qpos[:], mjd.qvel[:] = y[:7], y[7:]
    mujoco.mj_forward(self.mjm, mjd)
    self.evaluations += 1
    w, x, y_, z = mjd.qpos[3:7] / np.linalg.norm(mjd.qpos[3:7])
    a, b, c = mjd.qvel[3:6]
    turn = 0.5 * np.array(
      [
        -x * a - y_ * b - z * c,
        w * a + y_ * c - z * b,
        w * b + z * a - x * c,
        w * c + x * b - y_ * a,
      ]
    )
    return np.concatenate([mjd.qvel[:3], turn, mjd.qacc])
