"""RK4 of C MuJoCo stage by stage, with a forward pass of the caller's choice.

`mj_RungeKutta` does not show its stages. integrators/runge_kutta.py has the equations;
`mj_integratePos` adds rotation vectors, whose rates at a stage are

    J_r^-1(rho) v = v + 1/2 rho x v + (1 - (x/2) cot(x/2)) / x^2 rho x (rho x v),    x = |rho|

for rotations and v for everything else.

Activations with `filterexact` are advanced as the engine does, by the exact filter in the stages as
in the result; `mj_RungeKutta` advances them by the time step in the stages and by the exact filter
in the result. Set points of angles end within half a turn of the angle at the start.
"""

from collections.abc import Callable

import mujoco
import numpy as np

from mjgrad._src.check.actuator_zones import next_activation
from mjgrad._src.check.actuator_zones import period
from mjgrad._src.integrators.tableau import RK4
from mjgrad._src.integrators.tableau import Tableau

Evaluate = Callable[[mujoco.MjModel, mujoco.MjData], None]


def step(mjm: mujoco.MjModel, mjd: mujoco.MjData) -> None:
  """`mj_step`, but with the engine's activations in the stages of RK4."""
  rk4 = mjm.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
  if rk4 and np.any(mjm.actuator_dyntype == mujoco.mjtDyn.mjDYN_FILTEREXACT):
    runge_kutta(mjm, mjd, mujoco.mj_forward)
  else:
    mujoco.mj_step(mjm, mjd)


def runge_kutta(
  mjm: mujoco.MjModel,
  mjd: mujoco.MjData,
  evaluate: Evaluate,
  evaluated: Callable[[], None] = lambda: None,
  tableau: Tableau = RK4,
) -> None:
  """A step of an explicit Runge-Kutta method from the state in `mjd`.

  Args:
    mjm: the model.
    mjd: its data; holds the next state afterwards, `act_dot` the mean rate of the activations.
    evaluate: the forward pass.
    evaluated: called after the forward pass of every stage.
    tableau: the method.
  """
  h = mjm.opt.timestep
  qpos, qvel, act = mjd.qpos.copy(), mjd.qvel.copy(), mjd.act.copy()
  rate, qacc, act_dot = [], [], []
  length = mjd.actuator_length
  zero = np.zeros(mjm.nv), np.zeros(mjm.na)
  for stage, weights in enumerate(((), *tableau.a, tableau.b)):
    last = stage == tableau.nstage

    def mean(rates, zero, weights=weights):
      return sum((w * r for w, r in zip(weights, rates, strict=True)), zero)

    rotation = h * mean(rate, zero[0])
    mjd.qpos[:] = qpos
    if stage:
      mujoco.mj_integratePos(mjm, mjd.qpos, rotation, 1.0)
    mjd.qvel[:] = qvel + h * mean(qacc, zero[0])
    mjd.act[:] = act
    if stage and mjm.na:
      mjd.act_dot[:] = mean(act_dot, zero[1])
      for i in np.flatnonzero(mjm.actuator_actnum).tolist():
        start = mjm.actuator_actadr[i]
        entries = slice(start, start + mjm.actuator_actnum[i])
        mjd.act[entries] = next_activation(mjm, mjd, i, clamp=last)
        turn = period(mjm, i) if last else 0.0
        if turn:
          mjd.act[entries] -= turn * np.round((mjd.act[entries] - length[i]) / turn)
    if not last:
      evaluate(mjm, mjd)
      evaluated()
      length = length if stage else mjd.actuator_length.copy()
      rate.append(_rotation_rates(mjm, rotation, mjd.qvel))
      qacc.append(mjd.qacc.copy())
      act_dot.append(mjd.act_dot.copy())


def _rotation_rates(mjm: mujoco.MjModel, rotation: np.ndarray, qvel: np.ndarray) -> np.ndarray:
  """Rates of the tangent displacement `rotation` at the velocity `qvel`, shape [nv]."""
  rate = qvel.copy()
  for j in range(mjm.njnt):
    first = mjm.jnt_dofadr[j]
    if mjm.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE:
      first += 3
    elif mjm.jnt_type[j] != mujoco.mjtJoint.mjJNT_BALL:
      continue
    rho, v = rotation[first : first + 3], qvel[first : first + 3]
    angle = np.linalg.norm(rho)
    factor = 1 / 12 + angle**2 / 720
    if angle > 1e-3:
      factor = (1 - angle / 2 / np.tan(angle / 2)) / angle**2
    cross = np.cross(rho, v)
    rate[first : first + 3] = v + cross / 2 + factor * np.cross(rho, cross)
  return rate
