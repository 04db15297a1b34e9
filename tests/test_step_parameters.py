"""Parameters of the ant, shared by all worlds or one value per world."""

import numpy as np
import pytest

from mjgrad._src.engine.parameters import PARAMETERS
from mjgrad._src.engine.parameters import host_value
from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.linearize import step_gradient
from tests import models
from tests import oracles
from tests.terms import harness

# Sums over worlds in another order, with cancellation between the worlds.
ROUNDING = 1e-4
# A gradient below this part of the largest one over the worlds is compared with that part.
FLOOR = 1e-3
NWORLD = 4

# What the ant does not have: tests/test_parameters.py says where it is compared.
ELSEWHERE = (
  "eq_",
  "site_",
  "mesh_",
  "hfield_",
  "body_gravcomp",
  "dof_solref",
  "dof_solimp",
  "tendon",
  "pair",
  "actuator_dynprm",
  "actuator_forcerange",
  "actuator_actrange",
  "actuator_lengthrange",
  "actuator_acc0",
  "actuator_cranklength",
  "actuator_damping",
  "actuator_armature",
  "actuator_ctrlrange",
  "jnt_actfrcrange",
)
NAMES = tuple(name for name in PARAMETERS if not name.startswith(ELSEWHERE))


@pytest.fixture(scope="module")
def setting():
  """Ant in contact, a different state in every world."""
  mjm = models.variant(models.ant(), cone="elliptic")
  mjm.dof_frictionloss[6:] = 0.05
  mjm.jnt_stiffness[1:] = 0.5
  mjm.actuator_biastype[:] = 1
  mjm.actuator_biasprm[:, 1] = -0.01
  mjm.geom_friction[0] *= 0.9
  mjm.geom_solref[0] *= 1.1
  mjm.opt.timestep = 0.008  # twice 0.01 is the time constant of every row: a kink of refsafe
  mjm.opt.density, mjm.opt.viscosity = 30.0, 0.5
  mjm.opt.wind[:] = (0.5, -0.3, 0.2)
  states = [s for s in oracles.sample_states(mjm, 24, seed=2) if "contact" in s.labels][:NWORLD]
  points = [s.point for s in states]
  rng = np.random.default_rng(0)
  adj = {
    "adj_qpos": rng.normal(size=(NWORLD, mjm.nq)).astype(np.float32),
    "adj_qvel": rng.normal(size=(NWORLD, mjm.nv)).astype(np.float32),
  }
  return mjm, points, adj, Simulator(mjm, NWORLD, "cpu", nconmax=32, njmax=128)


@pytest.fixture(scope="module")
def per_world(setting):
  mjm, points, adj, sim = setting
  return step_gradient(sim, **harness.inputs(points), **adj, wrt_params=NAMES)


@pytest.fixture(scope="module")
def shared(setting):
  mjm, points, adj, sim = setting
  values = {name: host_value(mjm, name) for name in NAMES}
  return step_gradient(sim, **harness.inputs(points), **adj, params=values)


@pytest.mark.parametrize("name", NAMES)
def test_shared_gradient_is_the_sum(per_world, shared, name):
  rows = per_world.grad[name].astype(np.float64)
  some = np.abs(rows).reshape(NWORLD, -1).max(axis=1) > 0
  # A world whose contacts all stick has no friction gradient.
  assert some.all() or (name == "geom_friction" and some.sum() >= NWORLD // 2)
  truth = rows.sum(axis=0)
  assert shared.grad[name].shape == (1, *truth.shape)
  scale = np.abs(rows).sum(axis=0).max()
  np.testing.assert_allclose(shared.grad[name][0], truth, atol=ROUNDING * scale)


def test_the_state_gradient_does_not_depend_on_how_parameters_are_given(setting, per_world, shared):
  _, points, adj, sim = setting
  """What follows a parameter (`body_subtreemass`, ...) is computed anew, to rounding."""
  plain = step_gradient(sim, **harness.inputs(points), **adj)
  for name, value in plain.grad.items():
    scale = ROUNDING * np.abs(value).max(initial=0)
    np.testing.assert_allclose(value, per_world.grad[name], atol=scale, err_msg=name)
    np.testing.assert_allclose(value, shared.grad[name], atol=scale, err_msg=name)


def test_worlds_with_values_of_their_own(setting):
  """A batch in which every world has its own values is the worlds one at a time."""
  mjm, points, adj, sim = setting
  rng = np.random.default_rng(4)
  values = {
    name: host_value(mjm, name) * rng.uniform(0.9, 1.1, size=(NWORLD, *host_value(mjm, name).shape))
    for name in NAMES
  }
  batch = step_gradient(sim, **harness.inputs(points), **adj, params=values)
  single = Simulator(mjm, 1, "cpu", nconmax=32, njmax=128)
  for s in range(NWORLD):
    alone = step_gradient(
      single,
      **harness.inputs(points[s : s + 1]),
      **{key: value[s : s + 1] for key, value in adj.items()},
      params={name: value[s] for name, value in values.items()},
    )
    np.testing.assert_allclose(alone.qvel[0], batch.qvel[s], rtol=1e-4, atol=1e-5)
    for name in ("qpos", "qvel", "ctrl", *NAMES):
      truth = alone.grad[name][0]
      np.testing.assert_allclose(
        batch.grad[name][s], truth, atol=1e-3 * np.abs(truth).max(), err_msg=name
      )


@pytest.mark.parametrize("name", NAMES)
def test_against_the_oracle(setting, per_world, name):
  """The bars for parameters are 1e-3 at the median and 1e-2 at the worst state."""
  mjm, points, adj, _ = setting
  oracle = oracles.Oracle(mjm)
  values, truths = [], []
  for s, point in enumerate(points):
    local = oracles.linearise(oracle, point, (name,))
    if local.near_switch:
      continue
    jacobian = local.jacobians[name]
    adj_qpos = oracles.to_tangent(mjm, local.base.qpos, adj["adj_qpos"][s].astype(np.float64))
    truth = jacobian.vjp(adj_qpos, adj["adj_qvel"][s].astype(np.float64))
    truths.append(np.where(jacobian.switching, 0.0, truth))
    values.append(np.where(jacobian.switching, 0.0, per_world.grad[name][s].reshape(-1)))
  assert len(truths) >= NWORLD // 2
  size = np.linalg.norm(truths, axis=1)
  assert size.max() > 0
  errors = np.linalg.norm(np.subtract(values, truths), axis=1)
  errors /= np.maximum(size, FLOOR * size.max())
  assert np.median(errors) < 1e-3 and errors.max() < 1e-2, errors
