"""Construction of a simulator and its parameters."""

import mujoco_warp as mjw
import numpy as np
import pytest

import mjgrad
from mjgrad._src.engine.parameters import PARAMETERS
from mjgrad._src.linearize import step_gradient
from tests import models
from tests.terms import harness


@pytest.fixture(scope="module")
def cartpole():
  mjm = models.cartpole()
  return mjm, mjgrad.Simulator(mjm, 3, "cpu")


def test_sizes(cartpole):
  mjm, sim = cartpole
  assert (sim.nq, sim.nv, sim.nu, sim.na, sim.nbody) == (2, 2, 1, 0, 3)
  assert sim.nworld == 3
  assert sim.mjm is mjm
  assert isinstance(sim.model, mjw.Model)
  assert str(sim.device) == "cpu"


@pytest.mark.parametrize(
  ("args", "message"),
  [((models.CARTPOLE, 1), "str"), ((None, 1), "NoneType"), ((models.cartpole(), 0), "nworld")],
  ids=["string", "none", "no_worlds"],
)
def test_invalid_arguments(args, message):
  with pytest.raises(mjgrad.InvalidInput, match=message):
    mjgrad.Simulator(*args, "cpu")


def test_parameters_are_listed(cartpole):
  mjm, sim = cartpole
  listed = mjgrad.parameters(sim)
  absent = {
    name
    for name in PARAMETERS
    if name.startswith(("tendon_", "pair_", "eq_", "site_", "mesh_", "hfield_"))
  }
  assert set(listed) == set(PARAMETERS) - absent
  for name, info in listed.items():
    owner, field = (mjm.opt, name[4:]) if name.startswith("opt.") else (mjm, name)
    assert info.shape == np.shape(getattr(owner, field))
    assert info.unit
    assert info.lower < info.upper


def test_parameters_without_a_gradient_are_not_listed():
  """The engine keeps the matrix of two slides and a hinge on one body diagonal, not so C MuJoCo."""
  mjm = models.variant(
    """
<mujoco>
  <worldbody>
    <body>
      <joint type="slide" axis="1 0 0"/>
      <joint type="slide" axis="0 0 1"/>
      <joint axis="0 1 0"/>
      <geom size="0.1"/>
    </body>
  </worldbody>
</mujoco>""",
    integrator="implicit",
  )
  listed = mjgrad.parameters(mjgrad.Simulator(mjm, 1, "cpu"))
  assert "body_mass" in listed
  assert "opt.density" not in listed


def gradient(sim, params=None, wrt=()):
  zeros, ones = np.zeros((3, 2)), np.ones((3, 2))
  state = np.linspace(0.1, 0.6, 6).reshape(3, 2)
  ctrl = np.full((3, 1), 0.3)
  return step_gradient(sim, state, ones, ctrl, zeros, ones, params=params, wrt_params=wrt)


def test_unknown_parameter(cartpole):
  with pytest.raises(mjgrad.InvalidInput, match="body_weight.*body_mass"):
    gradient(cartpole[1], {"body_weight": np.ones(3)})
  with pytest.raises(mjgrad.InvalidInput, match="body_weight.*body_mass"):
    gradient(cartpole[1], wrt=("body_weight",))


def test_wrong_shape(cartpole):
  with pytest.raises(mjgrad.InvalidInput, match=r"body_mass.*\(2,\).*\(3,\).*\(3, 3\)"):
    gradient(cartpole[1], {"body_mass": np.ones(2)})


def test_parameter_values_are_those_of_a_compiled_model(cartpole):
  """A step with given values equals a step of a model that has them."""
  mjm, sim = cartpole
  other = models.cartpole()
  other.body_mass[:] = (0.0, 1.7, 0.4)
  other.dof_damping[:] = (0.6, 0.2)
  other.opt.gravity[:] = (0.5, 0, -7)
  values = {
    "body_mass": other.body_mass,
    "dof_damping": other.dof_damping,
    "opt.gravity": other.opt.gravity,
  }
  with_values = gradient(sim, values)
  compiled = gradient(mjgrad.Simulator(other, 3, "cpu"))
  np.testing.assert_allclose(with_values.qvel, compiled.qvel, rtol=1e-6)
  for name in ("qpos", "qvel", "ctrl"):
    np.testing.assert_allclose(with_values.grad[name], compiled.grad[name], rtol=1e-5, atol=1e-7)
  # The simulator itself keeps its own values.
  plain = gradient(sim)
  assert np.abs(plain.qvel - with_values.qvel).max() > 1e-3
  np.testing.assert_array_equal(gradient(sim).qvel, plain.qvel)


def test_geom_size_moves_the_broad_phase():
  """A ball grown for the call touches the floor that the compiled one does not reach."""
  mjm = models.load(models.scene("plane", "sphere"))
  point = harness.Point.initial(mjm)
  point.qpos[2] = 0.198
  sim = mjgrad.Simulator(mjm, 1, "cpu")
  size = mjm.geom_size.copy()
  size[1, 0] = 0.2
  args = harness.inputs([point]) | {"adj_qpos": np.zeros((1, 7)), "adj_qvel": np.ones((1, 6))}
  free = step_gradient(sim, **args)
  grown = step_gradient(sim, **args, params={"geom_size": size}, wrt_params=("geom_size",))
  np.testing.assert_allclose(free.qacc[0, 2], -9.81, rtol=1e-6)
  assert grown.qacc[0, 2] > -9.0
  assert np.abs(grown.grad["geom_size"][0, 1, 0]) > 1e-3
