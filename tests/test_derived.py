"""Constants that the compiler derives at qpos0, as functions of the parameters."""

import copy

import mujoco
import numpy as np
import pytest
import warp as wp

import mjgrad
from mjgrad._src.derived.constants import DERIVED
from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.linearize import step_gradient
from tests import models
from tests.terms import harness
from tests.terms.chain import chain
from tests.terms.tendons import fixed
from tests.terms.tendons import spatial
from tests.terms.tendons import tendons

# The engine's poses are float32; an inverse inertia magnifies their rounding.
RTOL = 2e-5
# The bars for parameters: at the median and at the worst state.
MEDIAN, WORST = 1e-3, 1e-2

LIMIT = 'limited="true" solimplimit="0.5 0.95 0.1 0.4 2.5" damping="1"'
LIMITS = chain(
  hinge=f'{LIMIT} range="-1 1" frictionloss="2"',
  slide=f'{LIMIT} range="-0.02 0.02" armature="0.1"',
  ball=f'{LIMIT} range="0 10"',
  last=f'{LIMIT} range="-1 1"',
)
EQUALITIES = chain(
  equality="""
    <connect body1="last" anchor="0.05 0 0.1"/>
    <weld body1="slide" body2="hinge" torquescale="0.7"/>
    <joint joint1="hinge" joint2="last" polycoef="0.1 0.5 0.3 -0.2 0.4"/>"""
)
TENDONS = tendons(
  fixed(name="one", armature="0.3", limited="true", range="-0.01 0.01")
  + spatial("w", "a", "c", "tip", name="two"),
  equality='<tendon tendon1="one" tendon2="two" polycoef="0.1 0.5 0.3 -0.2 0.4"/>',
)
MUSCLES = chain(
  actuator="""
    <muscle joint="last" lengthrange="-2 2" gear="1.5"/>
    <muscle joint="hinge" lengthrange="-2 2" gear="-0.7"/>"""
)
CONTACT = models.load(
  models.scene("plane", "capsule", 4).replace('pos="0 0 0.069"', 'pos="0 0 0.064"')
)


SITES = tendons(
  spatial("w", "a", "c", "tip", name="one") + spatial("w", "post", "a", name="two"),
  equality="""
    <tendon tendon1="one" polycoef="0.1 0.5 0.3 -0.2 0.4"/>
    <tendon tendon1="two" polycoef="0.1 0.5 0.3 -0.2 0.4"/>""",
)
POSES = ("body_pos", "body_quat", "body_ipos", "body_iquat", "jnt_pos", "jnt_axis", "qpos0")


@pytest.mark.parametrize(
  "mjm",
  [models.load(models.JOINTS), models.humanoid(), TENDONS, MUSCLES],
  ids=("joints", "humanoid", "tendons", "muscles"),
)
def test_constants_of_the_compiler(mjm):
  """As compiled, and after the parameters have changed, each world in its own way."""
  rng = np.random.default_rng(0)
  changed = [copy.deepcopy(mjm) for _ in range(2)]
  for model in changed:
    model.body_mass[1:] *= rng.uniform(0.5, 2.0, size=mjm.nbody - 1)
    model.dof_armature[:] += rng.uniform(0.0, 0.1, size=mjm.nv)
    mujoco.mj_setConst(model, mujoco.MjData(model))
  sim = Simulator(mjm, 2, "cpu", derived="follow")
  program = sim.program({"body_mass": True, "dof_armature": True}, 1)
  for models_now in ([mjm, mjm], changed):
    with wp.ScopedDevice("cpu"):
      for name in ("body_mass", "dof_armature"):
        program.buffers[name].assign(np.stack([getattr(m, name) for m in models_now]))
      program.forward(record=False)
    for name in DERIVED:
      truth = np.stack([getattr(m, name) for m in models_now])
      value = program.buffers[name].numpy().reshape(truth.shape)
      scale = np.abs(truth).max(axis=tuple(range(1, truth.ndim)), keepdims=True, initial=0)
      assert np.all(np.abs(value - truth) <= RTOL * scale), name


@pytest.mark.parametrize(
  ("mjm", "params", "position", "velocity"),
  [
    pytest.param(LIMITS, ("body_mass", "body_inertia", "dof_armature"), 0.3, 1.0, id="limits"),
    pytest.param(EQUALITIES, ("body_mass", "body_inertia"), 0.03, 1.0, id="equalities"),
    pytest.param(TENDONS, ("body_mass", "tendon_armature"), 0.1, 1.0, id="tendons"),
    pytest.param(MUSCLES, ("body_mass", "actuator_gear"), 0.3, 1.0, id="muscles"),
    pytest.param(CONTACT, ("body_mass",), 1e-3, 0.1, id="contact"),
  ],
)
def test_gradient_of_a_recompiled_model(mjm, params, position, velocity):
  points = [
    harness.with_inputs(point, act=np.full(mjm.na, 0.4, dtype=np.float32))
    for point in harness.random_points(mjm, 6, seed=7, position=position, velocity=velocity)
  ]
  follow, _ = harness.compare(mjm, points, params, channels=(), derived="follow")
  harness.assert_close(follow, MEDIAN, worst=WORST, skipped=1)
  fixed_constants, _ = harness.compare(mjm, points, params, channels=())
  for name in params:
    difference = np.abs(follow[name].truth - fixed_constants[name].truth).max()
    assert difference > 5 * WORST * np.abs(follow[name].truth).max(), name


@pytest.mark.parametrize(
  ("mjm", "params", "position"),
  [
    pytest.param(LIMITS, POSES, 0.3, id="limits"),
    pytest.param(EQUALITIES, POSES, 0.03, id="equalities"),
    pytest.param(SITES, (*POSES, "site_pos"), 0.1, id="tendons"),
  ],
)
def test_what_poses_add_through_the_constants(mjm, params, position):
  """It is a small part of the gradient, and right by itself, to the rounding of the whole."""
  points = harness.random_points(mjm, 3, seed=7, position=position)
  follow, _ = harness.compare(mjm, points, params, channels=(), derived="follow")
  held, _ = harness.compare(mjm, points, params, channels=())
  for name in params:
    value, truth = (getattr(follow[name], k) - getattr(held[name], k) for k in ("value", "truth"))
    size, whole = np.abs(truth).max(), np.abs(follow[name].truth).max()
    assert size > 5e-4 * whole, name
    assert np.abs(value - truth).max() <= WORST * size + RTOL * whole, name


def test_shared_parameters_add_up_over_worlds():
  mjm = LIMITS
  points = harness.random_points(mjm, 3, seed=1)
  adj = {"adj_qpos": np.zeros((3, mjm.nq)), "adj_qvel": np.ones((3, mjm.nv))}
  sim = Simulator(mjm, 3, "cpu", derived="follow")
  own = step_gradient(sim, **harness.inputs(points), **adj, wrt_params=("body_mass",))
  shared = step_gradient(sim, **harness.inputs(points), **adj, params={"body_mass": mjm.body_mass})
  truth = own.grad["body_mass"].sum(axis=0)
  np.testing.assert_allclose(shared.grad["body_mass"][0], truth, atol=1e-4 * np.abs(truth).max())


def test_a_constant_cannot_both_follow_and_be_given():
  sim = Simulator(LIMITS, 1, "cpu", derived="follow")
  with pytest.raises(mjgrad.InvalidInput, match="dof_invweight0.*body_mass"):
    sim.program({"body_mass": False, "dof_invweight0": False}, 1)
  with pytest.raises(mjgrad.InvalidInput, match="fixed"):
    Simulator(LIMITS, 1, "cpu", derived="sometimes")
