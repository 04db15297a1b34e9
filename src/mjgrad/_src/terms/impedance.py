"""Impedance and reference acceleration of a constraint row.

With r the signed violation, x = |r| / width and the impedance d(r) running from d_0 to d_width,

    R = (1 - d) / d * invweight,   D = 1 / R,   aref = -b v - k d r
    k = 1 / (d_width^2 timeconst^2 dampratio^2),   b = 2 / (d_width timeconst)

and, in direct form (solref <= 0), k = -solref_0 / d_width^2, b = -solref_1 / d_width. The clamps
are the compiler's: the gradient of a clamped parameter is zero because the force does not depend
on it.

Under `discrete`, the flag DISCRETE, a row counts on what its spring and damper do in a step,

    f = 1 + h b + h^2 k d,   R = max(R / f, R at d = MAXIMP),
    aref = -(b + h k d) / f v - k / f d r

with k and b of limits and contacts lowered where h^2 k d > 1, and k = 0 in a row of friction. Rows
of equalities, whose k and b stay, take the flag REFSAFE with them.

Contacts from distance (contact/from_distance.py) have d(r) for r > 0 too, and a softplus h(r) in
the place of r in aref; the numbers of their `law` are d_c, d_0, width, midpoint, power and
softplus. A law of zeros stands for contacts without them.

Source: MuJoCo documentation, Modeling, "Solver parameters"; Computation, "Constraint model".
"""

import mujoco
import warp as wp

from mjgrad._src.engine.adapter import vec5

vec6 = wp.types.vector(length=6, dtype=wp.float32)

wp.set_module_options({"enable_backward": False})

REFSAFE = wp.constant(int(mujoco.mjtDisableBit.mjDSBL_REFSAFE))
DISCRETE = wp.constant(1 << 30)
"""Stands beside MuJoCo's disable flags for the integrator `discrete`."""
ROW_FLAGS = int(REFSAFE) | int(DISCRETE)
"""All flags that the functions below look at."""
MINVAL = wp.constant(mujoco.mjMINVAL)
MINIMP = wp.constant(mujoco.mjMINIMP)
MAXIMP = wp.constant(mujoco.mjMAXIMP)


@wp.func
def _spline(dmin: float, dmax: float, midpoint: float, power: float, x: float) -> wp.float32:
  """From dmin at x = 0 to dmax at x = 1 and beyond."""
  mid = wp.clamp(midpoint, MINIMP, MAXIMP)
  value = dmax
  if x < 1.0:
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
def impedance(solimp: vec5, r: float) -> wp.float32:
  """d(r), the constraint's ability to generate force, in (0, 1)."""
  dmin = wp.clamp(solimp[0], MINIMP, MAXIMP)
  dmax = wp.clamp(solimp[1], MINIMP, MAXIMP)
  value = 0.5 * (dmin + dmax)
  if solimp[2] > MINVAL:
    value = _spline(dmin, dmax, solimp[3], wp.max(1.0, solimp[4]), wp.abs(r) / solimp[2])
  return value


@wp.func
def contact_impedance(solimp: vec5, law: vec6, r: float) -> wp.float32:
  """d(r) of a contact, which `law` continues for r > 0; in [0, 1)."""
  value = impedance(solimp, r)
  if r > 0.0:
    value = _spline(law[0], law[1], law[3], law[4], 1.0 - r / law[2])
  return value


@wp.func
def _log1p(x: float) -> wp.float32:
  """log(1 + x) for x in [0, 1], as 2 artanh(x / (2 + x)), good for small x too."""
  z = x / (2.0 + x)
  y = z * z
  series = y * (1.0 / 7.0 + y * (1.0 / 9.0 + y * (1.0 / 11.0 + y / 13.0)))
  return 2.0 * z * (1.0 + y * (1.0 / 3.0 + y * (1.0 / 5.0 + series)))


@wp.func
def approach(law: vec6, r: float) -> wp.float32:
  """h(r), in m: r in penetration, or minus the softplus of -r."""
  value = wp.min(r, 0.0)
  if law[5] > 0.0:
    value = value - law[5] * _log1p(wp.exp(-wp.abs(r) / law[5]))
  return value


@wp.func
def stiffness(solref: wp.vec2, solimp: vec5, timestep: float, disableflags: int) -> wp.float32:
  """k, in 1/s^2."""
  dmax = wp.clamp(solimp[1], MINIMP, MAXIMP)
  value = -solref[0] / wp.max(MINVAL, dmax * dmax)
  if solref[0] > 0.0:
    timeconst = solref[0]
    if (disableflags & (REFSAFE | DISCRETE)) == 0:
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
    if (disableflags & (REFSAFE | DISCRETE)) == 0:
      timeconst = wp.max(timeconst, 2.0 * timestep)
    value = 2.0 / wp.max(MINVAL, dmax * timeconst)
  return value


@wp.func
def inverse_regularizer(invweight: float, imp: float) -> wp.float32:
  """D = 1 / R, in kg or kg m^2."""
  return imp / wp.max(invweight * (1.0 - imp), MINVAL * imp)


@wp.func
def _is_stiff(solref: wp.vec2, excess: float, disableflags: int) -> bool:
  """Whether `discrete` lowers k and b; `excess` is h^2 k d."""
  safe = (disableflags & DISCRETE) != 0 and (disableflags & REFSAFE) == 0
  return safe and solref[0] > 0.0 and excess > 1.0


@wp.func
def _safe_stiffness(
  solref: wp.vec2, solimp: vec5, imp: float, timestep: float, disableflags: int
) -> wp.float32:
  k = stiffness(solref, solimp, timestep, disableflags)
  if _is_stiff(solref, timestep * timestep * k * imp, disableflags):
    k = 1.0 / (timestep * timestep * imp)
  return k


@wp.func
def _safe_damping(
  solref: wp.vec2, solimp: vec5, imp: float, timestep: float, disableflags: int
) -> wp.float32:
  b = damping(solref, solimp, timestep, disableflags)
  excess = timestep * timestep * stiffness(solref, solimp, timestep, disableflags) * imp
  if _is_stiff(solref, excess, disableflags):
    largest = MAXIMP * (1.0 - imp) / (imp * (1.0 - MAXIMP))
    b = wp.min(b / wp.sqrt(excess), wp.max(0.0, largest - 2.0) / timestep)
  return b


@wp.func
def row_factor(
  solref: wp.vec2, solimp: vec5, imp: float, timestep: float, disableflags: int
) -> wp.float32:
  """f of a row with a spring."""
  value = float(1.0)
  if (disableflags & DISCRETE) != 0:
    b = _safe_damping(solref, solimp, imp, timestep, disableflags)
    k = _safe_stiffness(solref, solimp, imp, timestep, disableflags)
    value = 1.0 + timestep * b + timestep * timestep * k * imp
  return value


@wp.func
def row_stiffness(
  solref: wp.vec2, solimp: vec5, imp: float, timestep: float, disableflags: int
) -> wp.float32:
  """Derivative of -aref in d r, for a limit or contact."""
  k = _safe_stiffness(solref, solimp, imp, timestep, disableflags)
  value = k
  if (disableflags & DISCRETE) != 0:
    b = _safe_damping(solref, solimp, imp, timestep, disableflags)
    value = k / (1.0 + timestep * b + timestep * timestep * k * imp)
  return value


@wp.func
def row_damping(
  solref: wp.vec2, solimp: vec5, imp: float, timestep: float, disableflags: int
) -> wp.float32:
  """Derivative of -aref in v, for a limit or contact."""
  b = _safe_damping(solref, solimp, imp, timestep, disableflags)
  value = b
  if (disableflags & DISCRETE) != 0:
    k = _safe_stiffness(solref, solimp, imp, timestep, disableflags)
    value = (b + timestep * k * imp) / (1.0 + timestep * b + timestep * timestep * k * imp)
  return value


@wp.func
def friction_damping(
  solref: wp.vec2, solimp: vec5, timestep: float, disableflags: int
) -> wp.float32:
  """Derivative of -aref in v, for a row without a spring."""
  b = damping(solref, solimp, timestep, disableflags)
  value = b
  if (disableflags & DISCRETE) != 0:
    value = b / (1.0 + timestep * b)
  return value


@wp.func
def _discrete_weight(invweight: float, imp: float, f: float) -> wp.float32:
  smallest = wp.max(MINVAL, invweight * (1.0 - MAXIMP) / MAXIMP)
  return 1.0 / wp.max(smallest, wp.max(MINVAL, invweight * (1.0 - imp) / imp) / f)


@wp.func
def row_weight(
  invweight: float,
  solref: wp.vec2,
  solimp: vec5,
  imp: float,
  timestep: float,
  disableflags: int,
) -> wp.float32:
  """D of a limit or contact."""
  value = inverse_regularizer(invweight, imp)
  if (disableflags & DISCRETE) != 0:
    k = _safe_stiffness(solref, solimp, imp, timestep, disableflags)
    b = _safe_damping(solref, solimp, imp, timestep, disableflags)
    value = _discrete_weight(invweight, imp, 1.0 + timestep * b + timestep * timestep * k * imp)
  return value


@wp.func
def friction_weight(
  invweight: float,
  solref: wp.vec2,
  solimp: vec5,
  imp: float,
  timestep: float,
  disableflags: int,
) -> wp.float32:
  """D of a row without a spring."""
  value = inverse_regularizer(invweight, imp)
  if (disableflags & DISCRETE) != 0:
    b = damping(solref, solimp, timestep, disableflags)
    value = _discrete_weight(invweight, imp, 1.0 + timestep * b)
  return value
