"""The switch that is nearest to an evaluation."""

import numpy as np


class Nearest:
  """Keeps the smallest distance seen and its description."""

  def __init__(self):
    self.distance = np.inf
    self.what = "nothing"

  def see(self, distance: float, what: str) -> None:
    if distance < self.distance:
      self.distance, self.what = float(distance), what
