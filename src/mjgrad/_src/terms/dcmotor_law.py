"""DC motors: electrical force, mechanical force and up to five activations.

A controller turns set points of position, velocity and torque into a terminal voltage V, or V is
the control itself. With the constant K, the speed v and the winding's resistance R(T),

    V = R_0 / K (kp (pos - l) + kd (vel - v) + ki x + torque) + K v,  clamped to V_max, + voltage
    R = R_0 (1 + alpha (T + T_a - T_0))
    force = K i,  i = (V - K v) / R, or the current where the winding has an inductance
    mechanical force = A sin(N l + phi) - sigma_0 z - sigma_1 z'          (cogging, LuGre friction)

and the activations, each present where its parameter is positive, are

    slew          u' = u clamped to within h slew of the last u
    integral      x' = clamp(x + h (u - l)), not beyond its bound I_max
    temperature   T' = T + h (R i^2 - T / R_T) / C
    bristle       z' = e^(ah) z + h phi_1(ah) v,  phi_1(x) = (e^x - 1) / x,
                  a = -sigma_0 |v| / g(v),  g(v) = F_C + (F_S - F_C) exp(-(v / v_S)^2)
    current       i' = i + t_e (1 - e^(-h / t_e)) clamp(((V - K v) / R - i) / t_e)

All of it is one scalar, contracted with a weight for each result, which Warp differentiates.

Source: MuJoCo documentation, XML reference, "actuator/dcmotor"; Canudas de Wit et al., A new model
for control of systems with friction (1995).
"""

import mujoco
import warp as wp

from mjgrad._src.engine.adapter import vec5
from mjgrad._src.engine.adapter import vec10

wp.set_module_options({"enable_backward": False})

DCMOTOR = wp.constant(int(mujoco.mjtGain.mjGAIN_DCMOTOR))
BIAS_DCMOTOR = int(mujoco.mjtBias.mjBIAS_DCMOTOR)
DYN_DCMOTOR = int(mujoco.mjtDyn.mjDYN_DCMOTOR)
SET_POINT = wp.constant(7)
"""Input bits position, velocity and torque; the next bit is the voltage, the last says none."""
NO_INPUT = wp.constant(16)
VMAX_HELD = wp.constant(2)
CURRENT_HELD = wp.constant(4)
FORCE_HELD = wp.constant(1)
MINVAL = wp.constant(mujoco.mjMINVAL)
SERIES = wp.constant(0.2)
"""Below this |x| a series takes the place of (e^x - 1) / x; its error is under 1e-8."""

vec7 = wp.types.vector(length=7, dtype=wp.float32)
"""Weights of the electrical and the mechanical force and of the five next activations."""


@wp.func
def present(dynprm: vec10, gainprm: vec10, slot: int) -> bool:
  """Whether the motor has slew 0, integral 1, temperature 2, bristle 3 or current 4."""
  value = dynprm[0]
  if slot == 0:
    value = dynprm[7]
  elif slot == 1:
    value = gainprm[5]
  elif slot == 2:
    value = dynprm[2]
  elif slot == 3:
    value = dynprm[5]
  return value > 0.0


@wp.func
def first_input(spec: int) -> int:
  """Kind of the first control: 0 position, 1 velocity, 2 torque, 3 voltage."""
  kind = int(3)
  if (spec & 1) != 0:
    kind = 0
  elif (spec & 2) != 0:
    kind = 1
  elif (spec & 4) != 0:
    kind = 2
  return kind


@wp.func
def slewed(u: float, last: float, dynprm: vec10, h: float) -> wp.float32:
  """First control after the limit of its rate."""
  value = u
  if dynprm[7] > 0.0:
    value = wp.clamp(u, last - h * dynprm[7], last + h * dynprm[7])
  return value


@wp.func
def servo_voltage(
  u: wp.vec4, u0: float, x: float, length: float, velocity: float, gainprm: vec10, spec: int
) -> wp.float32:
  """Voltage of the controller before its clamp."""
  first = first_input(spec)
  pos = wp.where(first == 0, u0, u[0])
  vel = wp.where(first == 1, u0, u[1])
  torque = wp.where(first == 2, u0, u[2])
  torque += gainprm[4] * (pos - length) + gainprm[6] * (vel - velocity) + gainprm[5] * x
  return gainprm[0] / gainprm[1] * torque + gainprm[1] * velocity


@wp.func
def resistance(temperature: float, dynprm: vec10, gainprm: vec10) -> wp.float32:
  """Resistance of the winding."""
  value = gainprm[0]
  if dynprm[2] > 0.0:
    value = gainprm[0] * (1.0 + gainprm[2] * (temperature + dynprm[4] - gainprm[3]))
  return wp.max(MINVAL, value)


@wp.func
def terminal_voltage(
  u: wp.vec4, u0: float, x: float, length: float, velocity: float, gainprm: vec10, spec: int
) -> wp.float32:
  """Voltage at the terminals."""
  voltage = u0
  if (spec & SET_POINT) != 0:
    voltage = servo_voltage(u, u0, x, length, velocity, gainprm, spec)
    if gainprm[7] > 0.0:
      voltage = wp.clamp(voltage, -gainprm[7], gainprm[7])
    voltage += u[3]
  elif spec == NO_INPUT:
    voltage = 0.0
  return voltage


@wp.func
def current_rate(
  voltage: float, velocity: float, current: float, R: float, te: float, K: float
) -> wp.float32:
  """Rate of the current before its clamp."""
  return ((voltage - K * velocity) / R - current) / te


@wp.func
def dcmotor_objective(
  u: wp.vec4,
  act: vec5,
  length: float,
  velocity: float,
  dynprm: vec10,
  gainprm: vec10,
  biasprm: vec10,
  h: float,
  spec: int,
  early: bool,
  weight: vec7,
) -> wp.float32:
  """Forces and next activations, contracted with `weight`."""
  K = gainprm[1]
  te = dynprm[0]
  u0 = slewed(u[first_input(spec)], act[0], dynprm, h)
  total = weight[2] * u0

  x = float(0.0)
  if gainprm[5] > 0.0:
    x = act[1]
    rate = u0 - length
    bound = dynprm[8]
    next = x + h * rate
    if bound > 0.0:
      if x >= bound:
        next = x + h * wp.min(rate, 0.0)
      elif x <= -bound:
        next = x + h * wp.max(rate, 0.0)
      next = wp.clamp(next, -bound, bound)
    total += weight[3] * next

  voltage = terminal_voltage(u, u0, x, length, velocity, gainprm, spec)
  R = resistance(act[2], dynprm, gainprm)
  current = (voltage - K * velocity) / R
  if te > 0.0:
    current = act[4]

  if dynprm[2] > 0.0:
    heating = (R * current * current - act[2] / dynprm[2]) / dynprm[3]
    total += weight[4] * (act[2] + h * heating)

  if te > 0.0:
    rate = current_rate(voltage, velocity, act[4], R, te, K)
    if dynprm[1] > 0.0:
      rate = wp.clamp(rate, -dynprm[1], dynprm[1])
    next = act[4] + rate * te * (1.0 - wp.exp(-h / te))
    total += weight[6] * next
    if early:
      current = next
  total += weight[0] * K * current

  if biasprm[0] != 0.0:
    total += weight[1] * biasprm[0] * wp.sin(biasprm[1] * length + biasprm[2])
  if dynprm[5] > 0.0:
    ratio = velocity / wp.max(MINVAL, biasprm[5])
    g = biasprm[3] + (biasprm[4] - biasprm[3]) * wp.exp(-ratio * ratio)
    a = -dynprm[5] * wp.abs(velocity) / wp.max(MINVAL, g)
    s = a * h
    phi1 = 1.0 + s * (0.5 + s * (1.0 / 6.0 + s * (1.0 / 24.0 + s * (1.0 / 120.0 + s / 720.0))))
    if wp.abs(s) > SERIES:
      phi1 = (wp.exp(s) - 1.0) / s
    total += weight[5] * (wp.exp(s) * act[3] + h * phi1 * velocity)
    total -= weight[1] * (dynprm[5] * act[3] + dynprm[6] * (a * act[3] + velocity))
  return total


@wp.func
def dcmotor_slope(
  temperature: float,
  dynprm: vec10,
  gainprm: vec10,
  h: float,
  spec: int,
  early: bool,
  held: int,
) -> wp.float32:
  """dF / d velocity as the implicit integrators take it; `held` says what a clamp takes away."""
  K = gainprm[1]
  te = dynprm[0]
  R = resistance(temperature, dynprm, gainprm)
  slope = float(0.0)
  if (held & FORCE_HELD) == 0:
    voltage = float(0.0)
    if (spec & SET_POINT) != 0 and (held & VMAX_HELD) == 0:
      voltage = K - gainprm[6] * gainprm[0] / K
    if te <= 0.0:
      slope = K * (voltage - K) / R
    elif early and (held & CURRENT_HELD) == 0:
      slope = K * (voltage - K) / R * (1.0 - wp.exp(-h / te))
  if dynprm[6] > 0.0:
    slope -= dynprm[6]
  return slope


@wp.func
def dcmotor_length_slope(
  temperature: float,
  length: float,
  dynprm: vec10,
  gainprm: vec10,
  biasprm: vec10,
  h: float,
  spec: int,
  early: bool,
  held: int,
) -> wp.float32:
  """dF / d length as `discrete` takes it; `held` says what a clamp takes away."""
  te = dynprm[0]
  slope = float(0.0)
  if (held & FORCE_HELD) == 0 and (spec & SET_POINT) != 0 and (held & VMAX_HELD) == 0:
    stiffness = -gainprm[4] * gainprm[0] / resistance(temperature, dynprm, gainprm)
    if te <= 0.0:
      slope = stiffness
    elif early and (held & CURRENT_HELD) == 0:
      slope = stiffness * (1.0 - wp.exp(-h / te))
  if biasprm[0] != 0.0:
    slope += biasprm[0] * biasprm[1] * wp.cos(biasprm[1] * length + biasprm[2])
  return slope
