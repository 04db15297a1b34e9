"""The branch of an evaluation does not depend on the order of the contacts of two geoms."""

from mjgrad._src.check.active_set import active_set
from tests import oracles
from tests.contact import pairs


def test_order_of_contacts():
  mjm = pairs.scene("plane", "box")
  oracle = oracles.Oracle(mjm)
  mjd = oracle.mjd
  oracle.forward(oracles.point(mjm, qpos=[0, 0, 0.0695, 1, 0, 0, 0]))
  assert mjd.ncon == 4 and mjd.nefc == 12
  pushing = active_set(oracle.mjm, mjd)
  mjd.efc_aref[0] -= 1e3  # opens the first contact
  first = active_set(oracle.mjm, mjd)
  jac = mjd.efc_J.reshape(mjd.nefc, mjm.nv)
  for rows in (jac, mjd.efc_aref, mjd.efc_R):
    rows[:6] = rows[[3, 4, 5, 0, 1, 2]]
  second = active_set(oracle.mjm, mjd)
  assert (first.zones[:6] == 0).tolist() == [True] * 3 + [False] * 3
  assert (second.zones[:6] == 0).tolist() == [False] * 3 + [True] * 3
  assert first.signature == second.signature != pushing.signature
  mjd.contact.exclude[0] = 1
  assert active_set(oracle.mjm, mjd).signature != second.signature
