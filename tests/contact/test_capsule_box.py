"""Both contacts of a capsule and a box against differences of C MuJoCo's contacts, in float64.

Relative errors are those of a gradient in the poses and sizes of both geoms. Contacts are known to
1e-7; radii of curvature down to 1e-3 m, where the axis passes close to an edge, magnify it.
"""

import mujoco
import numpy as np
import pytest

from tests.contact import pairs
from tests.contact.test_solid import Contact
from tests.contact.test_solid import errors_of

RTOL = 1e-5
COUNT = 60
MARGIN = 0.03  # of either geom [m]: second contacts are often apart
TILTS = (1e-1, 1e-2, 1e-3, 2e-4)  # [rad]
HALVES = (0.05, 0.12, 0.4)  # half lengths, from shorter to longer than the box [m]


def scene(half):
  mjm = pairs.scene("capsule", "box")
  mjm.geom_margin[:] = MARGIN
  capsule = mjm.geom_type == mujoco.mjtGeom.mjGEOM_CAPSULE
  mjm.geom_size[capsule, 1] = half
  mjm.geom_rbound[capsule] = 1.0
  return mjm


def anywhere(rng, _):
  """The box around the capsule's centre, or next to it, turned at will."""
  place = rng.uniform(-1.0, 1.0, size=3) * (0.2, 0.25, 0.2)
  return np.concatenate([np.zeros(3), pairs.random_quat(rng), place, pairs.random_quat(rng)])


def flat(rng, trial):
  """The capsule lying on the box, almost parallel to its top, often to an edge."""
  tilt = TILTS[trial % len(TILTS)]
  heading = rng.choice([0.0, 0.5 * np.pi, rng.uniform(0.0, 2.0 * np.pi)]) + tilt * rng.normal()
  quat = np.array([np.sqrt(0.5), 0.0, np.sqrt(0.5), 0.0])
  axis = rng.normal(size=3)
  for turn, angle in (([0.0, 0.0, 1.0], heading), (axis / np.linalg.norm(axis), tilt)):
    by, before = np.empty(4), quat.copy()
    mujoco.mju_axisAngle2Quat(by, np.array(turn), angle)
    mujoco.mju_mulQuat(quat, by, before)
  place = rng.uniform(-1.0, 1.0, size=2) * 0.15
  height = 0.14 + rng.uniform(-0.01, 0.02)
  return np.concatenate([place, [height], quat, [0, 0, 0, 1, 0, 0, 0]])


@pytest.mark.parametrize("pose", [anywhere, flat])
@pytest.mark.parametrize("half", HALVES)
def test_contacts(half, pose):
  mjm, rng = scene(half), np.random.default_rng(5)
  mjd = mujoco.MjData(mjm)
  touching = [], []
  for trial in range(COUNT):
    qpos = pose(rng, trial)
    pairs.collide(mjm, mjd, qpos)
    for index in range(mjd.ncon):
      touching[index].append(Contact(mjm, qpos, index))
  for contacts in touching:
    assert len(contacts) >= 0.3 * COUNT
    errors = errors_of(contacts)
    assert len(errors) >= 0.8 * len(contacts)
    assert np.median(errors) < 0.1 * RTOL and errors.max() < RTOL, errors
