"""The buffers of past controls, the part of the state through which delays act.

An actuator with n samples of its d controls owns 2 + n + n d consecutive entries of
`mjData.history`,

    user, cursor, n times, n x d values

kept as a ring whose newest sample is at the cursor. The buffers of actuators come first, then those
of sensors, which nothing in the dynamics reads. A model whose actuators have no delay has no
buffers here, even where it records controls.

Source: MuJoCo documentation, Modeling, "Delays"; `mj_readCtrl`.
"""

from typing import Literal

import mujoco
import numpy as np


def delayed(mjm: mujoco.MjModel) -> np.ndarray:
  """Actuators that read their controls from a buffer, shape [nactuator]."""
  return (mjm.actuator_history[:, 0] > 0) & (mjm.actuator_delay != 0)


def size(mjm: mujoco.MjModel) -> int:
  """Number of leading entries of `mjData.history` that a step of the dynamics depends on."""
  if not delayed(mjm).any():
    return 0
  samples = mjm.actuator_history[:, 0]
  ends = mjm.actuator_historyadr + 2 + samples * (1 + mjm.actuator_ctrlnum)
  return int(ends[samples > 0].max())


def initial(mjm: mujoco.MjModel) -> np.ndarray:
  """The buffers of a reset: past controls of zero, shape [size]."""
  return mujoco.MjData(mjm).history[: size(mjm)].copy()


def entries(mjm: mujoco.MjModel, kind: Literal["time", "value"]) -> np.ndarray:
  """Which entries are times of samples, or past controls, shape [size]."""
  found = np.zeros(size(mjm), dtype=bool)
  for i in np.flatnonzero(mjm.actuator_history[:, 0]) if found.size else ():
    samples, first = mjm.actuator_history[i, 0], mjm.actuator_historyadr[i] + 2
    if kind == "time":
      found[first : first + samples] = True
    else:
      found[first + samples : first + samples * (1 + mjm.actuator_ctrlnum[i])] = True
  return found


def at_time_zero(mjm: mujoco.MjModel, mjd: mujoco.MjData) -> np.ndarray:
  """The buffers of `mjd` as they would be if its time were zero, shape [size].

  Times are whole steps, without the rounding that the clock has gathered, and past controls have
  float32 values.
  """
  buffers = mjd.history[: size(mjm)].copy()
  times, values = entries(mjm, "time"), entries(mjm, "value")
  steps = np.round((buffers[times] - mjd.time) / mjm.opt.timestep)
  buffers[times] = steps * mjm.opt.timestep
  buffers[values] = buffers[values].astype(np.float32)
  return buffers


def controls(mjm: mujoco.MjModel, mjd: mujoco.MjData) -> np.ndarray:
  """The controls that act at the present state of `mjd`, shape [nu]."""
  ctrl = mjd.ctrl.copy()
  for i in np.flatnonzero(delayed(mjm)).tolist():
    mine = slice(mjm.actuator_ctrladr[i], mjm.actuator_ctrladr[i] + mjm.actuator_ctrlnum[i])
    result = np.zeros((mjm.actuator_ctrlnum[i], 1))
    ctrl[mine] = np.reshape(mujoco.mj_readCtrl(mjm, mjd, i, mjd.time, result, -1), -1)
  return ctrl
