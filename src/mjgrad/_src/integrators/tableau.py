"""Butcher tableaus of explicit Runge-Kutta methods.

      0    |
      c_1  | a_10
      c_2  | a_20  a_21                  c_i = sum_j a_ij
      ...  | ...
      -----+--------------------
           | b_0  b_1 ...  b_{s-1}       sum_j b_j = 1
           | e_0  e_1 ...  e_{s-1}  e_s  sum_j e_j = 0

The last row belongs to embedded pairs: h sum_j e_j k_j is the difference between the result and one
of a lower order, which estimates the error of the step. k_s is the rate at the result, the first
one of the next step.

Source: Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, chapters II.1, II.4.
"""

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Tableau:
  """An explicit method.

  Attributes:
    a: weights of the earlier stages in stage 1, 2, ...; row i - 1 has i entries
    b: weights of the stages in the result
    order: order of convergence
    error: weights e of the stages and of the rate at the result in the error estimate; empty where
      the method has none
  """

  a: tuple[tuple[float, ...], ...]
  b: tuple[float, ...]
  order: int
  error: tuple[float, ...] = ()

  def __post_init__(self):
    assert [len(row) for row in self.a] == list(range(1, self.nstage))
    assert math.isclose(sum(self.b), 1.0, rel_tol=1e-14)
    if self.order > 1:
      moment = sum(b * c for b, c in zip(self.b, self.c, strict=True))
      assert math.isclose(moment, 0.5, rel_tol=1e-14)
    if self.error:
      assert len(self.error) == self.nstage + 1
      assert abs(sum(self.error)) < 1e-14

  @property
  def nstage(self) -> int:
    """Number of evaluations of the dynamics in a step."""
    return len(self.b)

  @property
  def c(self) -> tuple[float, ...]:
    """Time of every stage, in steps."""
    return (0.0, *(math.fsum(row) for row in self.a))

  def weights(self) -> np.ndarray:
    """What every stage and, as the last row, the result owe to the stages, shape [s + 1, s]."""
    table = np.zeros((self.nstage + 1, self.nstage))
    for stage, row in enumerate(((), *self.a, self.b)):
      table[stage, : len(row)] = row
    return table


RK4 = Tableau(
  a=((1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)),
  b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
  order=4,
)
"""Kutta's method of order 4, MuJoCo's `RK4`."""

EULER = Tableau(a=(), b=(1.0,), order=1)
"""The explicit Euler method."""

HEUN = Tableau(a=((1.0,),), b=(1 / 2, 1 / 2), order=2, error=(-1 / 2, 1 / 2, 0.0))
"""Heun's method of order 2, with Euler's beside it."""

BOSH3 = Tableau(
  a=((1 / 2,), (0.0, 3 / 4)),
  b=(2 / 9, 1 / 3, 4 / 9),
  order=3,
  error=(2 / 9 - 7 / 24, 1 / 3 - 1 / 4, 4 / 9 - 1 / 3, -1 / 8),
)
"""Bogacki and Shampine, A 3(2) pair of Runge-Kutta formulas (1989)."""

DOPRI5 = Tableau(
  a=(
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
  ),
  b=(35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
  order=5,
  error=(
    71 / 57600,
    0.0,
    -71 / 16695,
    71 / 1920,
    -17253 / 339200,
    22 / 525,
    -1 / 40,
  ),
)
"""Dormand and Prince, A family of embedded Runge-Kutta formulae (1980), order 5(4)."""

TSIT5 = Tableau(
  a=(
    (0.161,),
    (-0.008480655492356989, 0.335480655492357),
    (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
    (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
    (
      5.86145544294642,
      -12.92096931784711,
      8.159367898576159,
      -0.071584973281401,
      -0.028269050394068383,
    ),
  ),
  b=(
    0.09646076681806523,
    0.01,
    0.4798896504144996,
    1.379008574103742,
    -3.290069515436081,
    2.324710524099774,
  ),
  order=5,
  error=(
    -0.00178001105222577714,
    -0.0008164344596567469,
    0.007880878010261995,
    -0.1447110071732629,
    0.5823571654525552,
    -0.45808210592918697,
    1 / 66,
  ),
)
"""Tsitouras, Runge-Kutta pairs of order 5(4) satisfying only the first column simplifying
assumption (2011), table 1."""
