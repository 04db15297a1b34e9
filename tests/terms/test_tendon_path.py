"""Paths over sites and pulleys, and the models of the mujoco-warp wheel."""

import importlib.util
from pathlib import Path

import mujoco
import numpy as np
import pytest

from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.linearize import step_gradient
from tests import models
from tests import oracles
from tests.terms import harness
from tests.terms.tendons import fixed
from tests.terms.tendons import spatial
from tests.terms.tendons import tendons

# Accelerations of this model are good to about 1e-6 in float32. The gradient in the stiffness of a
# polynomial spring is the rounding of its length better than that.
RTOL = 2e-5
STIFFNESS_RTOL = 1e-4
LAW = {"stiffness": "100 20", "springlength": "0", "damping": "3"}
WHEEL = (
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
)


def wheel(name: str) -> mujoco.MjModel:
  """A tendon model of the mujoco-warp wheel, without actuators and contacts."""
  root = Path(importlib.util.find_spec("mujoco_warp").origin).parent
  spec = mujoco.MjSpec.from_file(str(root / "test_data" / "tendon" / f"{name}.xml"))
  for actuator in list(spec.actuators):
    spec.delete(actuator)
  for geom in spec.geoms:
    geom.contype = geom.conaffinity = 0
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
  harness.assert_close(found, STIFFNESS_RTOL)


def test_many_tendons_at_once():
  """Several tendons share dofs and bodies; every world has its own state."""
  mjm = tendons(
    spatial("w", "a", "tip", **LAW)
    + fixed(**LAW)
    + spatial("far", "drum", "b", **LAW)
    + spatial("b", "w", "2", "rail", "c", **LAW)
  )
  points = harness.random_points(mjm, 6, position=0.6)
  found, _ = harness.compare(mjm, points, ("tendon_stiffness",))
  harness.assert_close(found, RTOL)


@pytest.mark.parametrize("integrator", ["euler", "implicitfast"])
def test_sixteen_steps(integrator):
  """The cotangents of lengths and rates start from zero in every step."""
  mjm = tendons(
    spatial("w", "drum:side_ball", "tip", **LAW)
    + spatial("w", "a", "tip", armature="0.5")
    + fixed(frictionloss="0.5", limited="true", range="-0.1 0.1"),
    integrator=integrator,
  )
  points = harness.random_points(mjm, 2)
  sim = Simulator(mjm, len(points), "cpu")
  adj_qpos = np.zeros((len(points), mjm.nq))
  adj_qvel = np.random.default_rng(0).normal(size=(len(points), mjm.nv)).astype(np.float32)
  out = step_gradient(sim, **harness.inputs(points), adj_qpos=adj_qpos, adj_qvel=adj_qvel, nstep=16)
  visited = [points]
  for _ in range(15):
    one = step_gradient(sim, **harness.inputs(points), adj_qpos=adj_qpos, adj_qvel=adj_qvel)
    points = [
      harness.with_inputs(p, qpos=one.qpos[s], qvel=one.qvel[s]) for s, p in enumerate(points)
    ]
    visited.append(points)
  oracle = oracles.Oracle(mjm)
  for s in range(len(points)):
    chain = [states[s] for states in visited]
    truth = oracles.chain_vjp(oracle, chain, np.zeros(mjm.nv), adj_qvel[s].astype(float), ())
    assert not truth.switching
    assert oracles.relative_error(out.grad["qpos_tangent"][s], truth.qpos[0]) <= RTOL
    assert oracles.relative_error(out.grad["qvel"][s], truth.qvel[0]) <= RTOL


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


@pytest.mark.parametrize("integrator", ["euler", "implicitfast"])
@pytest.mark.parametrize("name", WHEEL)
def test_models_of_the_wheel(name, integrator):
  """Where such a model has no law of its own it is given springs and dampers.

  Their bodies are heavy and their steps short: what v' = v + dt a leaves of a velocity gradient
  after one is taken off is mostly rounding, so positions are compared.
  """
  mjm = models.variant(wheel(name), integrator=integrator)
  if name not in ("armature", "damping", "tendon_limit"):
    mjm.tendon_stiffness[:] = 50.0
  if name not in ("armature", "pulley_wrap", "wrap"):
    mjm.tendon_damping[:] = 5.0
  points = []
  rng = np.random.default_rng(0)
  for _ in range(4):
    point = harness.Point.initial(mjm)
    point.qpos[:] = mjm.key_qpos[0] + 0.05 * rng.normal(size=mjm.nq)
    point.qvel[:] = mjm.key_qvel[0] + rng.normal(size=mjm.nv)
    points.append(point)
  found, _ = harness.compare(mjm, points, channels=("qpos",))
  harness.assert_close(found, RTOL)
