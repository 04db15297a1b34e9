"""Contacts with a height field against differences of C MuJoCo's contacts, in float64.

Gradients in the poses and sizes of both geoms, in the sizes and elevations of the field and in the
scale of a mesh. The tolerance is that of other solid geoms.
"""

import mujoco_warp as mjw
import numpy as np
import pytest
import warp as wp

from mjgrad._src.check import contacts
from mjgrad._src.contact.dropped import dropped_at
from mjgrad._src.contact.dropped import dropped_vjp
from mjgrad._src.contact.height_field import HeightFields
from mjgrad._src.contact.height_field import height_fields
from mjgrad._src.contact.surface import BOX
from mjgrad._src.contact.surface import Meshes
from mjgrad._src.contact.surface import meshes
from tests.contact import pairs
from tests.contact.test_solid import RTOL
from tests.contact.test_solid import Contact
from tests.contact.test_solid import errors_of

wp.set_module_options({"enable_backward": False})

COUNT = 10
STEP = 1e-6
APART = 1e-6  # of two contacts [m]: neighbouring prisms often have the same


def contacts_with(kind):
  """Distinct contacts of a geom with a height field, in random poses."""
  options = {"ccd_tolerance": contacts.TOLERANCE, "ccd_iterations": contacts.ITERATIONS}
  mjm, rng, found = pairs.scene("hfield", kind, **options), np.random.default_rng(3), []
  for _ in range(COUNT):
    qpos, seen = pairs.touching(mjm, rng), []
    for index in range(Contact(mjm, qpos).count):
      contact = Contact(mjm, qpos, index)
      place = contact.read()[1]
      if all(np.linalg.norm(place - other) > APART for other in seen):
        found.append(contact)
        seen.append(place)
  return found


@pytest.mark.parametrize("kind", ["sphere", "capsule", "ellipsoid", "cylinder"])
def test_curved(kind):
  touching = contacts_with(kind)
  errors = errors_of(touching)
  assert len(errors) >= 0.7 * len(touching)
  assert np.median(errors) < 0.1 * RTOL and errors.max() < RTOL, errors


@pytest.mark.parametrize("kind", ["box", "mesh"])
def test_polytopes(kind):
  """Contacts on a face between two prisms, which mujoco-warp drops, are none of C MuJoCo."""
  touching = contacts_with(kind)
  errors = errors_of(touching)
  known = errors[np.isfinite(errors)]
  assert len(known) >= 0.6 * len(touching)
  assert np.median(known) < 0.1 * RTOL and known.max() < RTOL, errors


@wp.kernel
def _dropped_vjp(
  # In:
  fields: HeightFields,
  table: Meshes,
  rot1: wp.mat33,
  rot2: wp.mat33,
  size2: wp.vec3,
  local: wp.vec3,
  apart: wp.vec3,
  n: wp.vec3,
  dist: float,
  # Adjoint in:
  adj_dist: float,
  adj_point: wp.vec3,
  adj_normal: wp.vec3,
  # Adjoint out (+=):
  adj_out: wp.array2d[wp.vec3],
  # Out:
  inside_out: wp.array[int],
):
  place = dropped_at(fields, 0, rot1, BOX, rot2, size2, table, -1, local, apart, n, dist, 1e-6)
  geom1, geom2, _elevations = dropped_vjp(
    place, rot1, BOX, rot2, local, apart, n, adj_dist, adj_point, adj_normal
  )
  inside_out[0] = wp.where(place.found, 1, 0)
  inside_out[1] = wp.where(place.ids[0] >= 0, 1, 0)
  adj_out[0, 0] += geom1.force
  adj_out[0, 1] += geom1.torque
  adj_out[1, 0] += geom2.force
  adj_out[1, 1] += geom2.torque
  adj_out[1, 2] += geom2.size


def turned(axis, angle, rot):
  """A rotation after a turn about an axis of the world."""
  k = np.cross(axis, np.eye(3))
  return (np.eye(3) + np.sin(angle) * k.T + (1 - np.cos(angle)) * k.T @ k.T) @ rot


@pytest.mark.parametrize("over", [True, False], ids=["triangle", "corner"])
def test_dropped(over):
  """A vertex of a box over or under the top, or the height of a corner, in float64."""
  mjm, rng = pairs.scene("hfield", "box"), np.random.default_rng(4)
  size2, signs = mjm.geom_size[1], np.array([1.0, -1.0, 1.0])
  field = mjm.hfield_size[0]
  corners = field[2] * mjm.hfield_data.reshape(5, 6)[1, 2]
  slope = field[2] * np.array(
    [
      (mjm.hfield_data[9] - mjm.hfield_data[8]) / 0.2,
      (mjm.hfield_data[15] - mjm.hfield_data[9]) / 0.2,
    ]
  )
  start = np.array([-0.1, -0.2])  # of the cell in row 1, column 2
  place = np.array([0.03, -0.15, 0.07]) if over else np.array([0.03, -0.15, 0.2])
  rots = [turned(rng.normal(size=3) / 2, 1.0, np.eye(3)) for _ in range(2)]
  rots = [np.linalg.svd(rot)[0] @ np.linalg.svd(rot)[2] for rot in rots]
  pos1 = rng.normal(size=3)
  pos2 = pos1 + rots[0] @ place - rots[1] @ (signs * size2)
  adjoint = rng.normal(), rng.normal(size=3), rng.normal(size=3)

  def contact(pos1, rot1, pos2, rot2, size):
    x2 = rot1.T @ (pos2 + rot2 @ (signs * size) - pos1)
    height = corners + slope @ (x2[:2] - start) if over else corners
    sign = np.sign(height - x2[2])
    point = pos1 + rot1 @ np.array([x2[0], x2[1], 0.5 * (height + x2[2])])
    return -sign * (height - x2[2]), point, sign * rot1[:, 2], np.append(x2[:2], height)

  def objective(*geoms):
    dist, point, normal, _ = contact(*geoms)
    return adjoint[0] * dist + adjoint[1] @ point + adjoint[2] @ normal

  base = [pos1, rots[0], pos2, rots[1], size2]
  truth = np.zeros((2, 3, 3))
  for side, kind, k in np.ndindex(2, 3, 3):
    if kind == 2 and side == 0:
      continue
    values = []
    for step in (STEP, -STEP):
      moved, unit = list(base), np.eye(3)[k]
      if kind == 2:
        moved[4] = size2 + step * unit
      elif kind == 1:
        moved[2 * side + 1] = turned(unit, step, base[2 * side + 1])
      else:
        moved[2 * side] = base[2 * side] + step * unit
      values.append(objective(*moved))
    truth[side, kind, k] = (values[0] - values[1]) / (2 * STEP)

  dist, _, normal, local = contact(*base)
  with wp.ScopedDevice("cpu"):
    model = mjw.put_model(mjm)
    out, inside = wp.zeros((2, 3), dtype=wp.vec3), wp.zeros(2, dtype=int)
    inputs = [height_fields(model), meshes(model), wp.mat33(*rots[0].flat), wp.mat33(*rots[1].flat)]
    inputs += [wp.vec3(*x) for x in (size2, local, pos2 - pos1, normal)]
    inputs += [dist, adjoint[0], wp.vec3(*adjoint[1]), wp.vec3(*adjoint[2]), out, inside]
    wp.launch(_dropped_vjp, dim=1, inputs=inputs)
  assert inside.numpy().tolist() == [1, int(over)]
  np.testing.assert_allclose(out.numpy(), truth, atol=1e-5)
