"""Whether the engine finds the contacts of C MuJoCo, looked at where a gradient is beyond the bar.

Two contacts of a pair of geoms may agree in their number and nearly in their forces and still not
have the same derivatives: the float32 search for the deepest point of two nearly parallel faces
ends at a normal that is 1e-3 rad off either face, and the lever arms of the derivative are those of
that normal. The engine's gradient belongs to the engine's contact, so such a state is one where the
forward steps differ.

Source: MuJoCo documentation, Computation, "Collision detection"; van den Bergen, Proximity queries
and penetration depth computation on 3D game objects, 2001.
"""

from dataclasses import dataclass

import numpy as np

# Rounding of float32 turns the normal of a face by 1e-6 rad and less.
NORMAL_TOLERANCE = 1e-4  # [rad]


@dataclass(frozen=True)
class Contacts:
  """The contacts with constraint rows of one state.

  Attributes:
    geom: the two geoms, shape [n, 2].
    normal: from the first to the second, unit length, shape [n, 3].
  """

  geom: np.ndarray
  normal: np.ndarray

  def by_pair(self) -> dict[tuple[int, int], np.ndarray]:
    """Normals from the lower to the higher geom, shape [contacts, 3], for every touching pair."""
    swapped = self.geom[:, 0] > self.geom[:, 1]
    normal = np.where(swapped[:, None], -self.normal, self.normal)
    found: dict[tuple[int, int], list[np.ndarray]] = {}
    for (a, b), n in zip(np.sort(self.geom, axis=1).tolist(), normal, strict=True):
      found.setdefault((a, b), []).append(n)
    return {pair: np.array(normals) for pair, normals in found.items()}


def difference(mine: Contacts, others: Contacts, names: list[str]) -> str:
  """Pairs of geoms that touch differently in C MuJoCo (`mine`) and in the engine; "" if none.

  Args:
    mine: the contacts of C MuJoCo.
    others: those of the engine.
    names: of all geoms.
  """
  here, there = mine.by_pair(), others.by_pair()
  none = np.empty((0, 3))
  found = []
  for pair in sorted(here.keys() | there.keys()):
    a, b = here.get(pair, none), there.get(pair, none)
    touching = f"geoms {names[pair[0]]} and {names[pair[1]]}"
    if len(a) != len(b):
      found.append(f"{touching}: {len(a)} contacts in C MuJoCo, {len(b)} in the engine")
    elif (angle := _apart(a, b)) > NORMAL_TOLERANCE:
      found.append(f"{touching}: the engine's normal is {angle:.1e} rad off")
  return ", ".join(found)


def _apart(a: np.ndarray, b: np.ndarray) -> float:
  """Largest distance of a normal in one set to the nearest in the other [rad, when small]."""
  distance = np.linalg.norm(a[:, None] - b[None], axis=2)
  return float(max(distance.min(axis=0).max(), distance.min(axis=1).max()))
