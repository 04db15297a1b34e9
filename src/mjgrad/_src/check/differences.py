"""Central differences at several step sizes, with a plateau and a kink test. Plain numpy.

For a smooth function the error of (f(+e) - f(-e)) / 2e falls as e^2 until rounding, growing as
1/e, takes over. In between, neighbouring step sizes agree: the plateau. The derivative is read
there, and the disagreement of the two steps bounds its error. There is no derivative to read

- where no two neighbouring steps agree (a jump, or a kink inside the range of steps), or
- where the one-sided derivatives f(+e)/e and -f(-e)/e keep their difference when e shrinks (a kink
  at the point itself; the central difference then is the mean of the two sides and agrees with
  itself at every step, so the plateau alone would not notice).

A function that is defined on one side only (a parameter at its lower bound zero) is differenced
with the second-order one-sided stencil (4 f(e) - f(2e)) / 2e; the kink test does not apply.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

STEPS = (1e-4, 1e-5, 1e-6, 1e-7)
PLATEAU_RTOL = 1e-5  # disagreement of the two best steps, relative to the derivative
KINK_RTOL = 1e-4  # difference of the one-sided derivatives, relative to the derivative
KINK_DECAY = 0.5  # it falls tenfold with the step when smooth and stays when there is a kink


@dataclass(frozen=True)
class Derivative:
  """Derivative of a vector function along one direction.

  Attributes:
    value: the derivative, shape [n].
    disagreement: norm of the difference between the two steps it was read from.
    step: the larger of the two steps; the function was used on [-step, step].
    plateau: the two steps agree.
    kink: the one-sided derivatives differ.
  """

  value: np.ndarray
  disagreement: float
  step: float
  plateau: bool
  kink: bool

  @property
  def smooth(self) -> bool:
    return self.plateau and not self.kink


def derivative(
  f: Callable[[float], np.ndarray],
  steps: tuple[float, ...] = STEPS,
  floor: float = 0.0,
  noise: float = 0.0,
  one_sided: bool = False,
) -> Derivative:
  """Differentiates f at 0, where f(0) = 0.

  Args:
    f: displacement -> result, shape [n].
    steps: at least three step sizes, in descending order.
    floor: norm below which a derivative counts as this large, so that rounding noise on a
      vanishing derivative is not taken for a missing plateau.
    noise: absolute accuracy of f; what it makes of a difference quotient is forgiven.
    one_sided: use positive displacements only.
  """
  if len(steps) < 3:
    raise ValueError(f"A plateau needs at least three step sizes, got {len(steps)}.")
  central, gaps = [], []
  for step in steps:
    plus = f(step)
    if one_sided:
      central.append((4 * plus - f(2 * step)) / (2 * step))
      gaps.append(0.0)
    else:
      minus = f(-step)
      central.append((plus - minus) / (2 * step))
      gaps.append(float(np.linalg.norm(plus + minus)) / step)

  pairs = list(zip(central[:-1], central[1:], strict=True))
  disagreements = [float(np.linalg.norm(coarse - fine)) for coarse, fine in pairs]
  best = int(np.nanargmin(disagreements)) if np.any(np.isfinite(disagreements)) else 0
  value = central[best + 1]
  size = max(float(np.linalg.norm(value)), floor)
  forgiven = noise / steps[best + 1]
  plateau = disagreements[best] <= PLATEAU_RTOL * size + forgiven
  wide, narrow = gaps[best], gaps[best + 1]
  kink = narrow > KINK_RTOL * size + forgiven and narrow > KINK_DECAY * wide
  return Derivative(value, disagreements[best], steps[best], bool(plateau), bool(kink))
