"""Impedance and reference acceleration of a constraint row.

With r the signed violation, x = |r| / width and the impedance d(r) running from d_0 to d_width,

    R = (1 - d) / d * invweight,   D = 1 / R,   aref = -b v - k d r
    k = 1 / (d_width^2 timeconst^2 dampratio^2),   b = 2 / (d_width timeconst)

and, in direct form (solref <= 0), k = -solref_0 / d_width^2, b = -solref_1 / d_width. The clamps
are the compiler's: the gradient of a clamped parameter is zero because the force does not depend
on it.

Source: MuJoCo documentation, Modeling, "Solver parameters"; Computation, "Constraint model".
"""

import mujoco
import warp as wp

from mjgrad._src.engine.adapter import vec5

wp.set_module_options({"enable_backward": False})

REFSAFE = wp.constant(int(mujoco.mjtDisableBit.mjDSBL_REFSAFE))
MINVAL = wp.constant(mujoco.mjMINVAL)
MINIMP = wp.constant(mujoco.mjMINIMP)
MAXIMP = wp.constant(mujoco.mjMAXIMP)


@wp.func
def impedance(solimp: vec5, r: float) -> wp.float32:
  """d(r), the constraint's ability to generate force, in (0, 1)."""
  dmin = wp.clamp(solimp[0], MINIMP, MAXIMP)
  dmax = wp.clamp(solimp[1], MINIMP, MAXIMP)
  mid = wp.clamp(solimp[3], MINIMP, MAXIMP)
  power = wp.max(1.0, solimp[4])
  x = wp.abs(r) / wp.max(MINVAL, solimp[2])

  value = dmax
  if solimp[2] <= MINVAL:
    value = 0.5 * (dmin + dmax)
  elif x < 1.0:
    y = x
    if power > 1.0:
      if x <= 0.0:
        y = 0.0
      elif x <= mid:
        y = wp.pow(x, power) / wp.pow(mid, power - 1.0)
      else:
        y = 1.0 - wp.pow(1.0 - x, power) / wp.pow(1.0 - mid, power - 1.0)
    value = dmin + y * (dmax - dmin)
  return value


@wp.func
def stiffness(solref: wp.vec2, solimp: vec5, timestep: float, disableflags: int) -> wp.float32:
  """k, in 1/s^2."""
  dmax = wp.clamp(solimp[1], MINIMP, MAXIMP)
  value = -solref[0] / wp.max(MINVAL, dmax * dmax)
  if solref[0] > 0.0:
    timeconst = solref[0]
    if (disableflags & REFSAFE) == 0:
      timeconst = wp.max(timeconst, 2.0 * timestep)
    value = 1.0 / wp.max(MINVAL, dmax * dmax * timeconst * timeconst * solref[1] * solref[1])
  return value


@wp.func
def damping(solref: wp.vec2, solimp: vec5, timestep: float, disableflags: int) -> wp.float32:
  """b, in 1/s."""
  dmax = wp.clamp(solimp[1], MINIMP, MAXIMP)
  value = -solref[1] / wp.max(MINVAL, dmax)
  if solref[1] > 0.0:
    timeconst = solref[0]
    if (disableflags & REFSAFE) == 0:
      timeconst = wp.max(timeconst, 2.0 * timestep)
    value = 2.0 / wp.max(MINVAL, dmax * timeconst)
  return value


@wp.func
def inverse_regularizer(invweight: float, imp: float) -> wp.float32:
  """D = 1 / R, in kg or kg m^2."""
  return 1.0 / wp.max(invweight * (1.0 - imp) / imp, MINVAL)
