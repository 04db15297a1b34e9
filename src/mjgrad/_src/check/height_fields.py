"""Contacts of height fields in C MuJoCo, as mujoco-warp keeps them.

Both collide a geom with every prism of a height field under it. C MuJoCo keeps all contacts,
mujoco-warp at most four: the deepest one, the one furthest from it, the one furthest from the
line through these two, and the one furthest from two sides of that triangle. It stops where the
next is closer than a millimetre but not the same point. Two prisms often have the same contact:
whether these count as one, is decided by rounding.
"""

import mujoco
import numpy as np

# [m], or of the distance from the centre of the field if that is more than a metre: a witness point
# is on the features that are as near as the first of these at which it is on one.
NEAR = (1e-6, 1e-5, 1e-4)
FLAT = 1e-6  # relative size of what makes two faces one plane
APART = 1e-3  # [m], mujoco_warp's MIN_DIST_TO_NEXT_CONTACT
EXCLUDED = 3  # mjContact.exclude of a contact without rows

_HFIELD = int(mujoco.mjtGeom.mjGEOM_HFIELD)


def has_height_field(mjm: mujoco.MjModel) -> bool:
  """Whether there may be contacts to leave out."""
  return bool((mjm.geom_type == _HFIELD).any())


def select(mjm: mujoco.MjModel, mjd: mujoco.MjData) -> bool:
  """Leaves out the contacts that mujoco-warp does not keep; whether there were any."""
  by_pair: dict[tuple[int, int], list[int]] = {}
  for i, pair in enumerate(mjd.contact.geom):
    if _HFIELD in mjm.geom_type[pair]:
      by_pair.setdefault((int(pair[0]), int(pair[1])), []).append(i)
  changed = False
  for indices in by_pair.values():
    kept = _kept(mjd.contact.dist[indices], mjd.contact.pos[indices], _normals(mjd, indices))
    for k, i in enumerate(indices):
      if k not in kept and mjd.contact[i].exclude == 0:
        mjd.contact[i].exclude = EXCLUDED
        mjd.contact[i].efc_address = -1  # which C MuJoCo leaves as it was
        changed = True
  return changed


def _normals(mjd: mujoco.MjData, indices: list[int]) -> np.ndarray:
  return mjd.contact.frame[indices][:, :3]


def _kept(dist: np.ndarray, pos: np.ndarray, normal: np.ndarray) -> list[int]:
  """Which contacts of a pair mujoco-warp keeps."""
  pos = pos.astype(np.float32).astype(np.float64)
  kept = [int(np.argmin(dist))]
  n, first = normal[kept[0]], pos[kept[0]]

  def furthest(distance: np.ndarray) -> bool:
    """Keeps the furthest contact of those that are left, if there is one that counts."""
    left = [i for i in range(dist.size) if i not in kept]
    if not left:
      return False
    best = left[int(np.argmax(distance[left]))]
    if 0.0 < distance[best] < APART:
      return False
    kept.append(best)
    return True

  if not furthest(np.linalg.norm(pos - first, axis=1)):
    return kept
  second = pos[kept[1]]
  if not furthest(np.abs((pos - first) @ np.cross(n, first - second))):
    return kept
  third = pos[kept[2]]
  over = np.abs((pos - first) @ np.cross(n, first - third))
  furthest(over + np.abs((second - pos) @ np.cross(n, second - third)))
  return kept


def feature(mjm: mujoco.MjModel, field: int, x: np.ndarray):
  """A point of a prism near x and the directions in which the feature around it extends."""
  size, nrow, ncol = mjm.hfield_size[field], mjm.hfield_nrow[field], mjm.hfield_ncol[field]
  start = mjm.hfield_adr[field]
  data = mjm.hfield_data[start : start + nrow * ncol].reshape(nrow, ncol)

  def corner(r: int, c: int) -> np.ndarray:
    return np.array(
      [size[0] * (2 * c / (ncol - 1) - 1), size[1] * (2 * r / (nrow - 1) - 1), size[2] * data[r, c]]
    )

  row = int(np.floor(0.5 * (x[1] / size[1] + 1) * (nrow - 1)))
  col = int(np.floor(0.5 * (x[0] / size[0] + 1) * (ncol - 1)))
  prisms = []
  for r in range(max(row - 1, 0), min(row + 2, nrow - 1)):
    for c in range(max(col - 1, 0), min(col + 2, ncol - 1)):
      middle = corner(r, c), corner(r + 1, c + 1)
      for top in ([middle[0], corner(r, c + 1), middle[1]], [*middle, corner(r + 1, c)]):
        prisms.append(_faces(np.array(top), size[3], x))
  for within in np.array(NEAR) * max(1.0, np.linalg.norm(x)):
    for normals, heights in prisms:
      near = np.abs(heights) < within
      if near.any() and heights.max() < within:
        anchor = x - np.linalg.lstsq(normals[near], heights[near], rcond=FLAT)[0]
        _, sizes, rows = np.linalg.svd(normals[near])
        return anchor, rows[int(np.sum(sizes > 1e-3)) :]
  raise ValueError(f"{x} is on no prism of height field {field}")


def _faces(top: np.ndarray, bottom: float, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Outward normals of the faces of a prism, and the heights of x over them."""
  normals = [np.cross(top[1] - top[0], top[2] - top[0]), np.array([0.0, 0.0, -1.0])]
  starts = [top[0], np.array([0.0, 0.0, -bottom])]
  for start, end in zip(top, np.roll(top, -1, axis=0), strict=True):
    normals.append(np.array([end[1] - start[1], start[0] - end[0], 0.0]))
    starts.append(start)
  unit = np.array([n / np.linalg.norm(n) for n in normals])
  return unit, np.einsum("ij,ij->i", unit, x - np.array(starts))
