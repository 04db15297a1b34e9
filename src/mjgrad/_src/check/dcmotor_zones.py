"""Which branch of its law a DC motor is on (terms/dcmotor_law.py), in float64."""

import mujoco
import numpy as np

from mjgrad._src.check.nearest import Nearest

_SLEW, _INTEGRAL, _TEMPERATURE, _BRISTLE, _CURRENT = range(5)


def dcmotor_zones(
  mjm: mujoco.MjModel, mjd: mujoco.MjData, i: int, ctrl: np.ndarray, nearest: Nearest
) -> list[int]:
  """Zones of the slew, the integral, the voltage, the current's rate, the force, the sliding.

  Args:
    mjm: the model.
    mjd: data of the evaluation.
    i: the actuator.
    ctrl: controls after their clamps, shape [nu].
    nearest: takes the distances, relative to the bounds and to one unit of speed.
  """
  h = mjm.opt.timestep
  te, dimax, RT, _, Ta, sigma0, _, slew, xmax, _ = mjm.actuator_dynprm[i]
  R, K, alpha, T0, kp, ki, kd, vmax = mjm.actuator_gainprm[i, :8]
  length, velocity = mjd.actuator_length[i], mjd.actuator_velocity[i]
  act = np.zeros(5)
  kept = np.array([slew, ki, RT, sigma0, te]) > 0
  if mjm.actuator_actnum[i]:
    start = mjm.actuator_actadr[i]
    act[kept] = mjd.act[start : start + mjm.actuator_actnum[i]]
  spec, adr = mjm.actuator_ctrlspec[i], mjm.actuator_ctrladr[i]
  kinds = [k for k in range(4) if spec & (1 << k)] or [3]
  driven = mjm.actuator_ctrlnum[i] > 0
  given = ctrl[adr : adr + mjm.actuator_ctrlnum[i]] if driven else np.zeros(1)
  u = np.zeros(4)
  u[kinds] = given
  zones = []

  def see(value: float, bound: float, what: str) -> float:
    zones.append(int(value >= bound) - int(value <= -bound))
    distance = abs(abs(value) - bound) / max(abs(bound), mujoco.mjMINVAL)
    nearest.see(distance, f"{what} of actuator {i}")
    return float(np.clip(value, -bound, bound))

  first = kinds[0]
  if kept[_SLEW]:
    u[first] = act[_SLEW] + see(u[first] - act[_SLEW], slew * h, "slew")
  if kept[_INTEGRAL] and xmax > 0:
    see(act[_INTEGRAL], xmax, "integral bound")
    see(act[_INTEGRAL] + h * (u[first] - length), xmax, "integral bound")
  voltage = u[first] if driven else 0.0
  if spec & 7:
    torque = kp * (u[0] - length) + kd * (u[1] - velocity) + ki * act[_INTEGRAL] + u[2]
    voltage = R / K * torque + K * velocity
    if vmax > 0:
      voltage = see(voltage, vmax, "voltage bound")
    voltage += u[3]
  if kept[_TEMPERATURE]:
    R *= 1 + alpha * (act[_TEMPERATURE] + Ta - T0)
  current = (voltage - K * velocity) / R
  if kept[_CURRENT]:
    rate = (current - act[_CURRENT]) / te
    if dimax > 0:
      rate = see(rate, dimax, "current rate bound")
    current = act[_CURRENT]
    if mjm.actuator_actearly[i]:
      current += rate * te * -np.expm1(-h / te)
  if mjm.actuator_forcelimited[i]:
    low, high = mjm.actuator_forcerange[i]
    middle = 0.5 * (low + high)
    see(K * current - middle, high - middle, "force clamp")
  if kept[_BRISTLE]:
    zones.append(int(np.sign(velocity)))
    nearest.see(abs(velocity), f"sliding direction of actuator {i}")
  return zones
