import mujoco
import numpy as np

from tests import models
from tests import oracles


def test_tangent_cotangent_is_the_derivative_along_the_manifold():
  """<adj, dq> of a small tangent step."""
  mjm = models.load(models.JOINTS)
  rng = np.random.default_rng(0)
  start = oracles.moved(mjm, oracles.point(mjm), rng.normal(size=mjm.nv))
  adj = rng.normal(size=mjm.nq)
  tangent = oracles.to_tangent(mjm, start.qpos, adj)
  for i in range(mjm.nv):
    unit = np.eye(mjm.nv)[i]
    plus, minus = (oracles.moved(mjm, start, unit, e).qpos for e in (1e-6, -1e-6))
    np.testing.assert_allclose(tangent[i], adj @ (plus - minus) / 2e-6, rtol=1e-7, atol=1e-9)


def test_ambient_representative():
  """It is orthogonal to every quaternion and has the tangent cotangent it was made from."""
  mjm = models.load(models.JOINTS)
  rng = np.random.default_rng(1)
  start = oracles.moved(mjm, oracles.point(mjm), rng.normal(size=mjm.nv))
  tangent = rng.normal(size=mjm.nv)
  ambient = oracles.to_ambient(mjm, start.qpos, tangent)
  np.testing.assert_allclose(oracles.to_tangent(mjm, start.qpos, ambient), tangent, rtol=1e-12)
  for joint in np.flatnonzero(mjm.jnt_type == mujoco.mjtJoint.mjJNT_BALL):
    at = slice(mjm.jnt_qposadr[joint], mjm.jnt_qposadr[joint] + 4)
    assert abs(ambient[at] @ start.qpos[at]) < 1e-12
