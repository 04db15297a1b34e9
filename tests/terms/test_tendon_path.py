"""Paths over sites and pulleys, and the models of the mujoco-warp wheel."""

import importlib.util
from pathlib import Path

import mujoco
import numpy as np
import pytest

from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.linearize import step_gradient
from tests import models
from tests.terms import harness
from tests.terms.tendons import fixed
from tests.terms.tendons import spatial
from tests.terms.tendons import tendons

RTOL = 2e-5
LAW = {"stiffness": "100 20", "springlength": "0", "damping": "3"}


def wheel(name: str) -> mujoco.MjModel:
  """A tendon model of the mujoco-warp wheel, without actuators and contacts."""
  root = Path(importlib.util.find_spec("mujoco_warp").origin).parent
  spec = mujoco.MjSpec.from_file(str(root / "test_data" / "tendon" / f"{name}.xml"))
  for actuator in list(spec.actuators):
    spec.delete(actuator)
  spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONTACT
  return spec.compile()


@pytest.mark.parametrize(
  "names",
  [
    ("w", "a"),
    ("tip", "c", "b", "a", "w"),
    ("b", "rail"),
    ("w", "a", "2", "b", "tip", "far", "3", "c", "rail"),
    ("2", "a", "tip"),
  ],
  ids="-".join,
)
def test_sites_and_pulleys(names):
  mjm = tendons(spatial(*names, **LAW))
  points = harness.random_points(mjm, 6, position=0.6)
  found, _ = harness.compare(mjm, points, ("tendon_stiffness", "tendon_damping"))
  harness.assert_close(found, RTOL)


def test_many_tendons_at_once():
  """Several tendons share dofs and bodies; every world has its own state."""
  mjm = tendons(
    spatial("w", "a", "tip", **LAW)
    + fixed(**LAW)
    + spatial("far", "drum", "b", **LAW)
    + spatial("b", "2", "rail", "c", **LAW)
  )
  points = harness.random_points(mjm, 6, position=0.6)
  found, _ = harness.compare(mjm, points, ("tendon_stiffness",))
  harness.assert_close(found, RTOL)


def test_points_that_coincide():
  """Two sites at one place have no direction; the engine's is fixed, and so is the gradient's."""
  mjm = tendons(spatial("w", "a", "tip", **LAW))
  mjm.site_bodyid[mjm.site("w").id] = 0
  data = mujoco.MjData(mjm)
  point = harness.random_points(mjm, 1)[0]
  data.qpos[:] = point.qpos
  mujoco.mj_kinematics(mjm, data)
  mjm.site_pos[mjm.site("w").id] = data.site("a").xpos
  sim = Simulator(mjm, 1, "cpu")
  rng = np.random.default_rng(0)
  out = step_gradient(
    sim,
    **harness.inputs([point]),
    adj_qpos=rng.normal(size=(1, mjm.nq)),
    adj_qvel=rng.normal(size=(1, mjm.nv)),
  )
  for name in ("qpos_tangent", "qvel"):
    assert np.all(np.isfinite(out.grad[name])) and np.any(out.grad[name])


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize(
  "name",
  [
    "armature",
    "damping",
    "fixed",
    "fixed_site",
    "pulley_fixed_site",
    "pulley_site",
    "pulley_site_fixed",
    "pulley_wrap",
    "site",
    "site_fixed",
    "tendon_limit",
    "wrap",
  ],
)
def test_models_of_the_wheel(name, integrator):
  """Where such a model has no law of its own it is given springs and friction loss."""
  mjm = models.variant(wheel(name), integrator=integrator)
  if name not in ("armature", "damping", "tendon_limit"):
    mjm.tendon_stiffness[:] = 50.0
    mjm.tendon_frictionloss[:] = 0.1
  points = []
  rng = np.random.default_rng(0)
  for _ in range(4):
    point = harness.Point.initial(mjm)
    point.qpos[:] = mjm.key_qpos[0] + 0.05 * rng.normal(size=mjm.nq)
    point.qvel[:] = mjm.key_qvel[0] + 0.3 * rng.normal(size=mjm.nv)
    points.append(point)
  found, _ = harness.compare(mjm, points)
  harness.assert_close(found, 1e-4)
