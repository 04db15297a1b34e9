"""The integrators that a simulator can be given, and their adjoints, as settings.

Each integrator is an explicit Runge-Kutta method of integrators/tableau.py for the continuous
dynamics, which are those of MuJoCo's `RK4`: damping is not integrated implicitly.
"""

import dataclasses
import math
from typing import ClassVar

from mjgrad._src.errors import InvalidInput
from mjgrad._src.integrators import tableau as tables


@dataclasses.dataclass(frozen=True)
class PIDController:
  """How the next step size follows from the errors e of the last steps, each 1 at the tolerance.

      h' = h clip(safety e_n^-b1 e_n-1^-b2 e_n-2^-b3, factor_min, factor_max)
      b1 = (P + I + D) / k,  b2 = -(P + 2 D) / k,  b3 = D / k,  k the order of the method

  A rejected step is tried again with the same rule and a factor of at most one; e_n-1 and e_n-2 are
  those of accepted steps. P = D = 0 is the classical controller of Hairer, equation II.4.13.

  Source: Soederlind, Automatic control and adaptive time-stepping (2002), equation 34; Soederlind,
  Digital filters in adaptive time-stepping (2003).
  """

  pcoeff: float = 0.2
  """P, the proportional coefficient."""
  icoeff: float = 0.4
  """I, the integral coefficient."""
  dcoeff: float = 0.0
  """D, the derivative coefficient."""
  safety: float = 0.9
  """Factor on the step that would just meet the tolerance."""
  factor_min: float = 0.2
  """Smallest ratio of two steps."""
  factor_max: float = 10.0
  """Largest ratio of two steps."""

  def __post_init__(self):
    if not 0 < self.factor_min < 1 < self.factor_max or not 0 < self.safety <= 1:
      raise InvalidInput(
        f"safety {self.safety}, factor_min {self.factor_min}, factor_max {self.factor_max}; "
        "expected 0 < safety <= 1 and 0 < factor_min < 1 < factor_max."
      )

  def exponents(self, order: int) -> tuple[float, float, float]:
    """Exponents of 1 / e_n, 1 / e_n-1 and 1 / e_n-2."""
    p, i, d = self.pcoeff, self.icoeff, self.dcoeff
    return (p + i + d) / order, -(p + 2 * d) / order, d / order


def _positive(name: str, value: float | None) -> None:
  if value is not None and not (value > 0 and math.isfinite(value)):
    raise InvalidInput(f"{name} is {value}; expected a positive number.")


@dataclasses.dataclass(frozen=True)
class Adaptive:
  """An embedded pair, with a step size of its own in every world.

  A step is accepted when the root mean square, over all positions, velocities and activations, of

      error / (atol + rtol max(|y before|, |y after|))

  is at most one; for rotations, whose error is a rotation vector [rad], |y| is one.

  Source: Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, equations II.4.10
  and 4.11.
  """

  rtol: float = 1e-5
  """Tolerance relative to the state. Forces have float32 precision: below 1e-8 it means nothing."""
  atol: float = 1e-5
  """Tolerance in the units of the state."""
  switching: float = 1e6
  """Factor on the error of a step in which constraints become active or inactive.

  Across such a kink of the forces a step of size h has an error of order h^2, and the gradient
  through it one of order h. Errors of gradients would otherwise follow the root of the tolerance.
  1 saves these steps where gradients are not needed, or where contacts open and close incessantly.
  """
  max_step: float | None = None
  """Longest step [s]; None takes `opt.timestep`. A longer one may jump over a thin obstacle."""
  first_step: float | None = None
  """First step of a fresh state [s]; None takes the longest."""
  max_steps: int = 4096
  """Budget of accepted and rejected steps per world and call; beyond it `StepLimit` is raised."""
  controller: PIDController = PIDController()
  """The rule for the next step."""

  tableau: ClassVar[tables.Tableau]

  def __post_init__(self):
    for name in ("rtol", "atol", "switching", "max_step", "first_step", "max_steps"):
      _positive(name, getattr(self, name))


@dataclasses.dataclass(frozen=True)
class Tsit5(Adaptive):
  """Tsitouras' pair of order 5(4), the default choice."""

  tableau: ClassVar[tables.Tableau] = tables.TSIT5


@dataclasses.dataclass(frozen=True)
class Dopri5(Adaptive):
  """Dormand and Prince's pair of order 5(4)."""

  tableau: ClassVar[tables.Tableau] = tables.DOPRI5


@dataclasses.dataclass(frozen=True)
class Bosh3(Adaptive):
  """Bogacki and Shampine's pair of order 3(2)."""

  tableau: ClassVar[tables.Tableau] = tables.BOSH3


@dataclasses.dataclass(frozen=True)
class Heun(Adaptive):
  """Heun's method with Euler's, of order 2(1)."""

  tableau: ClassVar[tables.Tableau] = tables.HEUN


@dataclasses.dataclass(frozen=True)
class Fixed:
  """A method with steps of one size, the last of a call shorter if it has to be."""

  step: float | None = None
  """Size of the steps [s]; None takes `opt.timestep`."""
  max_steps: int = 4096
  """Budget of steps per call; beyond it `StepLimit` is raised."""

  tableau: ClassVar[tables.Tableau]

  def __post_init__(self):
    for name in ("step", "max_steps"):
      _positive(name, getattr(self, name))


@dataclasses.dataclass(frozen=True)
class RK4(Fixed):
  """Kutta's method of order 4, in float64; MuJoCo's own is the option `integrator="RK4"`."""

  tableau: ClassVar[tables.Tableau] = tables.RK4


@dataclasses.dataclass(frozen=True)
class Euler(Fixed):
  """The explicit Euler method; MuJoCo's `Euler` is semi-implicit."""

  tableau: ClassVar[tables.Tableau] = tables.EULER


@dataclasses.dataclass(frozen=True)
class Discretise:
  """Discretise, then optimise: the exact gradient of the steps that were taken.

  It agrees with the result to rounding, whatever the tolerance, and is the right choice but where
  memory for a few states is missing. Where limits or contacts open or close with a force, it adds
  what the time of that jump owes (docs/adaptive.md, Jumps).
  """

  checkpoints: int = 32
  """Number of states kept per call.

  With c of them, n steps are repeated about r times, n <= (c + r)! / (c! r!): not at all up to 32
  steps with the default, once up to some hundred, three times up to some thousand.
  """

  def __post_init__(self):
    _positive("checkpoints", self.checkpoints)


@dataclasses.dataclass(frozen=True)
class Backsolve:
  """Optimise, then discretise: integrates state and adjoint back from the end of a call.

  Nothing is kept but that end, and the gradient has an error of its own, that of `integrator`. What
  dissipates energy is unstable backwards: where contacts are stiff or dampers strong, the state
  that is integrated back leaves the one that it came from. Use it for smooth motion, short calls.
  """

  integrator: Adaptive | Fixed | None = None
  """What goes back, with its own tolerances; None takes the simulator's."""
