"""Butcher tableaus of explicit Runge-Kutta methods.

      0    |
      c_1  | a_10
      c_2  | a_20  a_21                  c_i = sum_j a_ij
      ...  | ...
      -----+--------------------
           | b_0  b_1 ...  b_{s-1}       sum_j b_j = 1

Source: Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, chapter II.1.
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
  """

  a: tuple[tuple[float, ...], ...]
  b: tuple[float, ...]
  order: int

  def __post_init__(self):
    assert [len(row) for row in self.a] == list(range(1, self.nstage))
    assert math.isclose(sum(self.b), 1.0, rel_tol=1e-14)
    if self.order > 1:
      moment = sum(b * c for b, c in zip(self.b, self.c, strict=True))
      assert math.isclose(moment, 0.5, rel_tol=1e-14)

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
