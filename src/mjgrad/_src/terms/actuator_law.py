"""Actuator force and activation laws, as scalar functions of length, velocity and one input.

    force        F = gain(l, l') x + bias(l, l')
    activation   w' = w + D wdot, clamped to actrange, wdot = dynamics(u, w)

x is the control where the actuator has no dynamics, otherwise the activation, or the next one where
it acts early. D is the time step, or tau (1 - exp(-h / tau)) for the exact filter. Gains and biases
are constants, affine functions, or the muscle's force, length and velocity curves; the dynamics
integrate, filter, or follow the muscle's activation. The curves of the muscle are the engine's own
pure functions, piecewise quadratic with continuous slopes.

Source: MuJoCo documentation, Computation, "Actuation model"; Modeling, "Muscles"; Millard et al.,
Flexing computational muscle (2013), for the activation dynamics.
"""

import mujoco
import warp as wp

from mjgrad._src.engine.adapter import muscle_bias
from mjgrad._src.engine.adapter import muscle_bias_len_deriv
from mjgrad._src.engine.adapter import muscle_dynamics
from mjgrad._src.engine.adapter import muscle_gain
from mjgrad._src.engine.adapter import muscle_gain_len_deriv
from mjgrad._src.engine.adapter import muscle_gain_vel_deriv
from mjgrad._src.engine.adapter import vec10

wp.set_module_options({"enable_backward": False})

GAIN_FIXED = wp.constant(int(mujoco.mjtGain.mjGAIN_FIXED))
GAIN_AFFINE = wp.constant(int(mujoco.mjtGain.mjGAIN_AFFINE))
GAIN_MUSCLE = wp.constant(int(mujoco.mjtGain.mjGAIN_MUSCLE))
BIAS_NONE = wp.constant(int(mujoco.mjtBias.mjBIAS_NONE))
BIAS_AFFINE = wp.constant(int(mujoco.mjtBias.mjBIAS_AFFINE))
BIAS_MUSCLE = wp.constant(int(mujoco.mjtBias.mjBIAS_MUSCLE))
DYN_NONE = wp.constant(int(mujoco.mjtDyn.mjDYN_NONE))
DYN_INTEGRATOR = wp.constant(int(mujoco.mjtDyn.mjDYN_INTEGRATOR))
DYN_FILTER = wp.constant(int(mujoco.mjtDyn.mjDYN_FILTER))
DYN_FILTEREXACT = wp.constant(int(mujoco.mjtDyn.mjDYN_FILTEREXACT))
DYN_MUSCLE = wp.constant(int(mujoco.mjtDyn.mjDYN_MUSCLE))
MINVAL = wp.constant(mujoco.mjMINVAL)

GAINS = (int(GAIN_FIXED), int(GAIN_AFFINE), int(GAIN_MUSCLE))
BIASES = (int(BIAS_NONE), int(BIAS_AFFINE), int(BIAS_MUSCLE))
DYNAMICS = tuple(
  int(d) for d in (DYN_NONE, DYN_INTEGRATOR, DYN_FILTER, DYN_FILTEREXACT, DYN_MUSCLE)
)


@wp.func
def held_by_range(limited: bool, force: float, bounds: wp.vec2) -> int:
  """Which bound of its range holds a force: -1 the lower, 1 the upper, 0 none."""
  side = int(0)
  if limited and force <= bounds[0]:
    side = -1
  elif limited and force >= bounds[1]:
    side = 1
  return side


@wp.func
def actuator_force(
  x: float,
  length: float,
  velocity: float,
  gainprm: vec10,
  biasprm: vec10,
  lengthrange: wp.vec2,
  acc0: float,
  gaintype: int,
  biastype: int,
) -> wp.float32:
  """F before its clamp."""
  gain = gainprm[0]
  if gaintype == GAIN_AFFINE:
    gain = gainprm[0] + gainprm[1] * length + gainprm[2] * velocity
  elif gaintype == GAIN_MUSCLE:
    gain = muscle_gain(length, velocity, lengthrange, acc0, gainprm)
  bias = float(0.0)
  if biastype == BIAS_AFFINE:
    bias = biasprm[0] + biasprm[1] * length + biasprm[2] * velocity
  elif biastype == BIAS_MUSCLE:
    bias = muscle_bias(length, lengthrange, acc0, biasprm)
  return gain * x + bias


@wp.func
def force_slope(
  x: float,
  length: float,
  velocity: float,
  gainprm: vec10,
  biasprm: vec10,
  lengthrange: wp.vec2,
  acc0: float,
  gaintype: int,
  biastype: int,
) -> wp.float32:
  """dF / d velocity before the clamp."""
  slope = float(0.0)
  if gaintype == GAIN_AFFINE:
    slope = gainprm[2] * x
  elif gaintype == GAIN_MUSCLE:
    slope = x * muscle_gain_vel_deriv(length, velocity, lengthrange, acc0, gainprm)
  bias = float(0.0)
  if biastype == BIAS_AFFINE:
    bias = biasprm[2]
  return slope + bias


@wp.func
def force_length_slope(
  x: float,
  length: float,
  velocity: float,
  gainprm: vec10,
  biasprm: vec10,
  lengthrange: wp.vec2,
  acc0: float,
  gaintype: int,
  biastype: int,
) -> wp.float32:
  """dF / d length before the clamp."""
  slope = float(0.0)
  if gaintype == GAIN_AFFINE:
    slope = gainprm[1] * x
  elif gaintype == GAIN_MUSCLE:
    slope = x * muscle_gain_len_deriv(length, velocity, lengthrange, acc0, gainprm)
  bias = float(0.0)
  if biastype == BIAS_AFFINE:
    bias = biasprm[1]
  elif biastype == BIAS_MUSCLE:
    bias = muscle_bias_len_deriv(length, lengthrange, acc0, biasprm)
  return slope + bias


@wp.func
def activation_duration(dynprm: vec10, dyntype: int, timestep: float) -> float:
  """D, the time that a constant rate acts for; less than the step where filtering is exact."""
  duration = timestep
  if dyntype == DYN_FILTEREXACT:
    tau = wp.max(dynprm[0], MINVAL)
    duration = tau * (1.0 - wp.exp(-timestep / tau))
  return duration


@wp.func
def activation_rate(u: float, act: float, dynprm: vec10, dyntype: int) -> wp.float32:
  """wdot, from the clamped control u."""
  rate = float(0.0)
  if dyntype == DYN_INTEGRATOR:
    rate = u
  elif dyntype == DYN_FILTER or dyntype == DYN_FILTEREXACT:
    rate = (u - act) / wp.max(dynprm[0], MINVAL)
  elif dyntype == DYN_MUSCLE:
    rate = muscle_dynamics(u, act, dynprm)
  return rate


@wp.func
def activation_advance(
  u: float, act: float, dynprm: vec10, dyntype: int, timestep: float
) -> wp.float32:
  """D wdot, from the clamped control u."""
  rate = activation_rate(u, act, dynprm, dyntype)
  return rate * activation_duration(dynprm, dyntype, timestep)


@wp.func
def next_activation(
  u: float,
  act: float,
  dynprm: vec10,
  dyntype: int,
  actrange: wp.vec2,
  limited: bool,
  timestep: float,
) -> wp.float32:
  """Activation after one step, from the clamped control u."""
  value = act + activation_advance(u, act, dynprm, dyntype, timestep)
  if limited:
    value = wp.clamp(value, actrange[0], actrange[1])
  return value


@wp.func
def slope_input(
  ctrl_in: wp.array2d[float], worldid: int, ctrladr: int, x: float, dyntype: int
) -> float:
  """Input of `force_slope`; the engine's derivative takes the control before its clamp."""
  value = x
  if dyntype == DYN_NONE and ctrladr >= 0:
    value = ctrl_in[worldid, ctrladr]
  return value
