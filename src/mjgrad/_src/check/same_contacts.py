"""Whether the engine finds the contacts of C MuJoCo, looked at where a gradient is beyond the bar.

Two contacts of a pair of geoms may agree in their number and nearly in their forces and still not
have the same derivatives: the float32 search for the deepest point of two nearly parallel faces
ends at a normal that is 1e-3 rad off either face, and the lever arms of the derivative are those of
that normal; a cylinder that stands within a thousandth on a plane has contacts whose distances lose
1e-5 m in a difference of unit vectors. The engine's gradient belongs to the engine's contact, so
such a state is one where the forward steps differ.

Source: MuJoCo documentation, Computation, "Collision detection"; van den Bergen, Proximity queries
and penetration depth computation on 3D game objects, 2001.
"""

from dataclasses import dataclass

import numpy as np

# Rounding of float32 turns the normal of a face by 1e-6 rad and less.
NORMAL_TOLERANCE = 1e-4  # [rad]
# And of its distance by 1e-7 of the distance from the origin.
DISTANCE_RTOL = 1e-6


@dataclass(frozen=True)
class Contacts:
  """The contacts with constraint rows of one state.

  Attributes:
    geom: the two geoms, shape [n, 2].
    normal: from the first to the second, unit length, shape [n, 3].
    dist: distances [m], shape [n].
    pos: places [m], shape [n, 3].
  """

  geom: np.ndarray
  normal: np.ndarray
  dist: np.ndarray
  pos: np.ndarray

  def of(self, pair: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, float]:
    """Normals from the lower to the higher geom, sorted distances, and the reach of the places."""
    here = np.flatnonzero(np.all(np.sort(self.geom, axis=1) == pair, axis=1))
    swapped = self.geom[here, 0] > self.geom[here, 1]
    normal = np.where(swapped[:, None], -self.normal[here], self.normal[here])
    reach = float(np.linalg.norm(self.pos[here], axis=1).max(initial=1.0))
    return normal, np.sort(self.dist[here]), reach

  def pairs(self) -> set[tuple[int, int]]:
    """The geoms that touch, the lower first."""
    return {(int(a), int(b)) for a, b in np.sort(self.geom, axis=1)}


def difference(mine: Contacts, others: Contacts, names: list[str]) -> str:
  """Pairs of geoms that touch differently in C MuJoCo (`mine`) and in the engine; "" if none.

  Args:
    mine: the contacts of C MuJoCo.
    others: those of the engine.
    names: of all geoms.
  """
  found = []
  for pair in sorted(mine.pairs() | others.pairs()):
    normals, dist, reach = mine.of(pair)
    other_normals, other_dist, _ = others.of(pair)
    touching = f"geoms {names[pair[0]]} and {names[pair[1]]}"
    if dist.size != other_dist.size:
      found.append(f"{touching}: {dist.size} contacts in C MuJoCo, {other_dist.size} in the engine")
    elif (angle := _apart(normals, other_normals)) > NORMAL_TOLERANCE:
      found.append(f"{touching}: the engine's normal is {angle:.1e} rad off")
    elif (off := float(np.abs(dist - other_dist).max())) > DISTANCE_RTOL * reach:
      found.append(f"{touching}: the engine's distance is {off:.1e} m off")
  return ", ".join(found)


def _apart(a: np.ndarray, b: np.ndarray) -> float:
  """Largest distance of a normal in one set to the nearest in the other [rad, when small]."""
  distance = np.linalg.norm(a[:, None] - b[None], axis=2)
  return float(max(distance.min(axis=0).max(), distance.min(axis=1).max()))
