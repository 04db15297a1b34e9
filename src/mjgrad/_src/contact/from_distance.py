"""Contacts from distance: which pairs of geoms act on each other before they touch, and how.

With r > 0 the distance beyond the margin, the impedance goes on as a second spline, from d_0 at
contact to d_c at the width, and what pushes is a softplus of the depth -r:

    d(r) = d_c + s(1 - r / width) (d_0 - d_c)             s: MuJoCo's spline with midpoint and power
    h(r) = -softplus log(1 + exp(-r / softplus)),   aref = -b v - k d(r) h(r)

h(r) is r in penetration and vanishes at a distance; MuJoCo's own law is h = min(r, 0).

Held fixed: the selected pairs, and the numbers of this file, which have no gradient.

Source: Paulus et al., Differentiable Simulation of Hard Contacts with Soft Gradients for Learning
and Control (2026), section 4; MuJoCo documentation, Modeling, "Solver parameters" (solimp).
"""

import dataclasses
from collections.abc import Sequence

import mujoco
import mujoco_warp as mjw
import numpy as np

from mjgrad._src.errors import InvalidInput

Geom = str | int


@dataclasses.dataclass(frozen=True)
class ContactsFromDistance:
  """Contacts that act from a distance, in the backward pass only.

  The forward pass is that of the model. The backward pass differentiates, at every state of the
  forward pass, dynamics in which geoms push each other before they touch: a straight-through
  estimate, which tells an optimizer where contacts are that the trajectory misses. The gradient is
  then not that of the forward pass; with `width` and `softplus` zero it is.

  Source: Paulus et al., Differentiable Simulation of Hard Contacts with Soft Gradients for Learning
  and Control (2026), section 4.

  Raises:
    InvalidInput: a number out of its range.
  """

  width: float
  """Distance beyond the margin up to which geoms act on each other [m], at least 0."""
  d_c: float = 0.0
  """Impedance at that distance, in [0, 1)."""
  d_0: float = 0.01
  """Impedance just before contact, in (0, 1)."""
  midpoint: float = 1.0
  """Midpoint of the spline between the two, in (0, 1]."""
  power: float = 2.0
  """Power of the spline, at least 1."""
  softplus: float | None = None
  """Depth over which the reference acceleration sets in [m]; 0: at contact, as in the model; None:
  a thousandth of the width. What lies apart at rest is only pushed over some of these depths; what
  comes closer is pushed by the damping over all of the width."""
  pairs: Sequence[tuple[Geom, Geom]] | None = None
  """Pairs of geoms, by name or number, that act from a distance; None: all that may collide."""
  nconmax: int | None = None
  """Room for contacts per world in the backward pass, on average over worlds; None: the
  simulator's."""
  njmax: int | None = None
  """Room for constraint rows of each world in the backward pass; None: the simulator's."""

  def __post_init__(self):
    for name, valid, expected in (
      ("width", self.width >= 0.0, "at least 0"),
      ("d_c", 0.0 <= self.d_c < 1.0, "in [0, 1)"),
      ("d_0", 0.0 < self.d_0 < 1.0, "in (0, 1)"),
      ("midpoint", 0.0 < self.midpoint <= 1.0, "in (0, 1]"),
      ("power", self.power >= 1.0, "at least 1"),
      ("softplus", self.softplus is None or self.softplus >= 0.0, "at least 0"),
    ):
      if not valid:
        raise InvalidInput(
          f"ContactsFromDistance: {name} is {getattr(self, name)}; expected {expected}."
        )

  def law(self) -> tuple[float, ...]:
    """(d_c, d_0, width, midpoint, power, softplus), as terms/impedance.py reads them."""
    softplus = 0.001 * self.width if self.softplus is None else self.softplus
    return (self.d_c, self.d_0, self.width, self.midpoint, self.power, softplus)

  def selected(self, mjm: mujoco.MjModel, model: mjw.Model) -> np.ndarray:
    """Which of the engine's pairs of geoms, `nxn_geom_pair`, act from a distance.

    Raises:
      InvalidInput: a pair with an unknown geom, or one that the engine does not collide.
    """
    collide = model.nxn_pairid.numpy()[:, 0] > -2
    if self.pairs is None:
      return collide
    rows = {tuple(pair): row for row, pair in enumerate(model.nxn_geom_pair.numpy().tolist())}
    mask = np.zeros_like(collide)
    for pair in self.pairs:
      first, second = sorted(_geom_id(mjm, geom) for geom in pair)
      row = rows.get((first, second))
      if row is None or not collide[row]:
        names = " and ".join(str(geom) for geom in pair)
        raise InvalidInput(
          f"ContactsFromDistance: {names} never collide; see contype, conaffinity and exclude."
        )
      mask[row] = True
    return mask


def _geom_id(mjm: mujoco.MjModel, geom: Geom) -> int:
  if isinstance(geom, str):
    geomid = mujoco.mj_name2id(mjm, mujoco.mjtObj.mjOBJ_GEOM, geom)
  else:
    geomid = geom
  if not 0 <= geomid < mjm.ngeom:
    raise InvalidInput(f"ContactsFromDistance: there is no geom {geom!r}.")
  return geomid
