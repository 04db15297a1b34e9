"""Contacts of two engines, held against each other."""

import numpy as np

from mjgrad._src.check.same_contacts import Contacts
from mjgrad._src.check.same_contacts import difference

NAMES = ["floor", "box", "ball"]
UP = (0.0, 0.0, 1.0)


def _contacts(*rows):
  geom = np.array([row[0] for row in rows], dtype=int).reshape(-1, 2)
  normal = np.array([row[1] for row in rows], dtype=float).reshape(-1, 3)
  dist = np.array([row[2] if len(row) > 2 else -1e-3 for row in rows])
  return Contacts(geom, normal, dist, np.zeros_like(normal))


def test_order_of_geoms_and_contacts_does_not_matter():
  tilted = (np.sin(0.3), 0.0, np.cos(0.3))
  mine = _contacts(((0, 1), UP), ((0, 1), tilted), ((0, 2), UP))
  down = tuple(-x for x in tilted)
  others = _contacts(((2, 0), (0, 0, -1)), ((1, 0), down), ((0, 1), UP))
  assert difference(mine, others, NAMES) == ""


def test_names_other_numbers_of_contacts():
  mine = _contacts(((0, 1), UP), ((0, 1), UP))
  others = _contacts(((0, 1), UP), ((0, 2), UP))
  assert difference(mine, others, NAMES) == (
    "geoms floor and box: 2 contacts in C MuJoCo, 1 in the engine, "
    "geoms floor and ball: 0 contacts in C MuJoCo, 1 in the engine"
  )


def test_names_another_normal():
  turned = (np.sin(1e-3), 0.0, np.cos(1e-3))
  found = difference(_contacts(((0, 1), UP)), _contacts(((0, 1), turned)), NAMES)
  assert found == "geoms floor and box: the engine's normal is 1.0e-03 rad off"
  rounded = (1e-6, 0.0, 1.0)
  assert difference(_contacts(((0, 1), UP)), _contacts(((0, 1), rounded)), NAMES) == ""


def test_names_another_distance():
  found = difference(_contacts(((0, 1), UP, -1e-3)), _contacts(((0, 1), UP, -1.01e-3)), NAMES)
  assert found == "geoms floor and box: the engine's distance is 1.0e-05 m off"
