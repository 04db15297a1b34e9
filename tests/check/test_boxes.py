"""The oracle's contacts of two boxes against the engine's, and that C MuJoCo's own are others."""

import mujoco
import mujoco_warp as mjw
import numpy as np
import pytest

from tests import oracles
from tests.contact import pairs

SCENE = """
<mujoco>
  <option cone="elliptic"/>
  <worldbody>
    <body><freejoint/><geom type="box" size="0.1 0.13 0.07"/></body>
    <body><freejoint/><geom type="box" size="0.06 0.09 0.12"/></body>
  </worldbody>
</mujoco>"""
COUNT = 8
ATOL = 1e-4  # a normal is known as well as points 1e-7 apart over a depth of 1e-3


def engine_contacts(mjm, qpos):
  """Distances, points and normals, sorted by point."""
  model = mjw.put_model(mjm)
  data = mjw.make_data(mjm, nconmax=16, njmax=64)
  data.qpos.assign(qpos[None].astype(np.float32))
  mjw.kinematics(model, data)
  mjw.com_pos(model, data)
  mjw.collision(model, data)
  count, contact = int(data.nacon.numpy()[0]), data.contact
  return sorted_rows(
    contact.dist.numpy()[:count], contact.pos.numpy()[:count], contact.frame.numpy()[:count, 0]
  )


def oracle_contacts(oracle, qpos):
  """The same of C MuJoCo's contacts with constraint rows."""
  oracle.forward(oracles.point(oracle.mjm, qpos=qpos))
  contact = oracle.mjd.contact
  rows = contact.efc_address >= 0
  return sorted_rows(contact.dist[rows], contact.pos[rows], contact.frame[rows, :3])


def sorted_rows(dist, pos, normal):
  rows = np.hstack([dist[:, None], pos, normal]).astype(float)
  return rows[np.lexsort(np.round(rows[:, 1:4], 4).T)]


@pytest.mark.parametrize("pose", [pairs.stacked, pairs.touching])
def test_contacts_of_boxes_are_the_engine_s(pose):
  mjm, rng = mujoco.MjModel.from_xml_string(SCENE), np.random.default_rng(0)
  own, framed = oracles.Oracle(mjm), oracles.Oracle(mjm, engine_frames=True)
  counts = []
  for _ in range(COUNT):
    qpos = pose(mjm, rng)
    truth, found = engine_contacts(mjm, qpos), oracle_contacts(framed, qpos)
    np.testing.assert_allclose(found, truth, atol=ATOL)
    counts.append((len(oracle_contacts(own, qpos)), len(found)))
  if pose is pairs.stacked:
    assert any(mine != engine for mine, engine in counts), counts


def test_contacts_that_c_mujoco_does_not_have():
  """They are added, with rows."""
  mjm, rng = mujoco.MjModel.from_xml_string(SCENE), np.random.default_rng(0)
  framed = oracles.Oracle(mjm, engine_frames=True)
  qpos = pairs.stacked(mjm, rng)
  truth = oracle_contacts(framed, qpos)
  mjd, boxes = framed.mjd, framed._boxes
  mujoco.mj_fwdPosition(framed.mjm, mjd)
  first = mjd.contact[0]
  mjd.ncon = 0
  mujoco.mj_addContact(framed.mjm, mjd, first)
  assert mjd.ncon == 1 and boxes.replace(framed.mjm, mjd)
  mujoco.mj_makeConstraint(framed.mjm, mjd)
  assert len(truth) == mjd.ncon == 4 and mjd.nefc == 12
  np.testing.assert_array_equal(np.sort(mjd.contact.dist), np.sort(truth[:, 0]))
