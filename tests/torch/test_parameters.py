"""Parameters as tensors: leaves that are shared across steps and worlds."""

import pytest
import torch

import mjgrad
import mjgrad.torch as mgt
from mjgrad._src.engine.parameters import host_value
from tests import models

NWORLD = 3
NAMES = ("body_mass", "dof_damping", "opt.gravity")

# The same float32 sums in another order.
RTOL = 1e-4


@pytest.fixture(scope="module")
def sim():
  return mjgrad.Simulator(models.cartpole(), NWORLD, "cpu")


def start(sim):
  state = mgt.initial_state(sim)
  generator = torch.Generator().manual_seed(0)
  qpos = torch.randn(NWORLD, 2, generator=generator)
  qvel = torch.randn(NWORLD, 2, generator=generator)
  return mgt.State(qpos, qvel, state.act, state.qacc_warmstart, state.time)


def leaves(sim, per_world=False):
  out = {}
  for name in NAMES:
    value = torch.tensor(host_value(sim.mjm, name), dtype=torch.float32)
    value = value.expand(NWORLD, *value.shape).clone() if per_world else value
    out[name] = value.requires_grad_()
  return out


def loss(sim, params, calls=3, nstep=2):
  state = start(sim)
  total = 0.0
  for _ in range(calls):
    state = mgt.step(sim, state, torch.full((NWORLD, 1), 0.4), nstep=nstep, params=params)
    total = total + (state.qpos**2).sum() + (state.qvel**2).sum()
  return total


def test_a_leaf_shared_across_steps_accumulates(sim):
  """Its gradient is the sum over the calls of what separate leaves of each call get."""
  shared = leaves(sim)
  loss(sim, shared).backward()
  separate = [leaves(sim) for _ in range(3)]
  state, total = start(sim), 0.0
  for params in separate:
    state = mgt.step(sim, state, torch.full((NWORLD, 1), 0.4), nstep=2, params=params)
    total = total + (state.qpos**2).sum() + (state.qvel**2).sum()
  total.backward()
  for name in NAMES:
    truth = sum(params[name].grad for params in separate)
    assert truth.abs().max() > 0
    torch.testing.assert_close(shared[name].grad, truth, rtol=RTOL, atol=1e-5)


def test_shared_and_per_world(sim):
  shared, rows = leaves(sim), leaves(sim, per_world=True)
  loss(sim, shared).backward()
  loss(sim, rows).backward()
  for name in NAMES:
    assert shared[name].grad.shape == shared[name].shape
    assert rows[name].grad.shape == rows[name].shape
    assert torch.all(rows[name].grad.flatten(1).abs().amax(1) > 0)
    torch.testing.assert_close(shared[name].grad, rows[name].grad.sum(0), rtol=RTOL, atol=1e-5)


def test_one_step_in_one_call_or_several_programs(sim):
  """The program with parameters gives the numbers of the one without, at the model's values."""
  plain = loss(sim, None)
  torch.testing.assert_close(plain, loss(sim, leaves(sim)).detach(), rtol=1e-6, atol=0)


def test_parameter_of_the_graph(sim):
  """A parameter that is itself computed: the gradient reaches what it was computed from."""
  scale = torch.ones((), requires_grad=True)
  mass = torch.tensor(host_value(sim.mjm, "body_mass"), dtype=torch.float32)
  loss(sim, {"body_mass": scale * mass}).backward()
  direct = mass.clone().requires_grad_()
  loss(sim, {"body_mass": direct}).backward()
  torch.testing.assert_close(scale.grad, (direct.grad * mass).sum(), rtol=RTOL, atol=1e-5)


def test_a_changed_value_between_forward_and_backward_is_refused(sim):
  """The backward pass needs the values of the forward pass; PyTorch notices when they are gone."""
  params = leaves(sim)
  total = loss(sim, params)
  with torch.no_grad():
    params["body_mass"] *= 2.0
  with pytest.raises(RuntimeError, match="inplace"):
    total.backward()


def test_values_of_one_call_do_not_leak_into_the_next(sim):
  params = leaves(sim)
  before = loss(sim, params)
  heavier = {"body_mass": 2 * params["body_mass"].detach(), "opt.gravity": torch.zeros(3)}
  with torch.no_grad():
    loss(sim, heavier | {"dof_damping": params["dof_damping"]})
  before.backward()
  again = leaves(sim)
  loss(sim, again).backward()
  for name in NAMES:
    torch.testing.assert_close(params[name].grad, again[name].grad)


def test_static_geoms_are_put_back():
  """The engine places them once; a call that moves them leaves nothing behind for the next."""
  mjm = models.load(models.BALL_ON_PLANE)
  sim = mjgrad.Simulator(mjm, 2, "cpu")
  state = mgt.initial_state(sim)
  plain = mgt.step(sim, state, nstep=4)
  moved = torch.tensor(host_value(mjm, "geom_pos"), dtype=torch.float32).repeat(2, 1, 1)
  moved[1, mjm.geom("floor").id, 2] = -0.05  # out of reach
  moved.requires_grad_()
  apart = mgt.step(sim, state, nstep=4, params={"geom_pos": moved})
  torch.testing.assert_close(apart.qvel[0], plain.qvel[0], rtol=1e-6, atol=0)
  torch.testing.assert_close(
    apart.qvel[1], torch.tensor([-4 * 9.81 * mjm.opt.timestep], dtype=torch.float32)
  )
  again = mgt.step(sim, state, nstep=4)
  torch.testing.assert_close(again.qvel, plain.qvel, rtol=0, atol=0)
  apart.qvel.sum().backward()
  height = moved.grad[:, mjm.geom("floor").id, 2]
  assert height[0] > 1.0 and height[1] == 0.0
