"""The interface: parameters, types, modes, messages."""

import dataclasses
import gc
import weakref

import mujoco
import numpy as np
import pytest
import torch

import mjgrad
import mjgrad.torch as mgt
from mjgrad import InvalidInput
from mjgrad import UnsupportedFeature
from mjgrad._src.check.differences import derivative
from tests import models
from tests.observe import harness

NWORLD = 2
MASS_RTOL = 1e-5
"""Single precision, with differences of positions that nearly cancel."""


@pytest.fixture(scope="module")
def sim():
  return mjgrad.Simulator(harness.model(), NWORLD, device="cpu")


@pytest.fixture
def state(sim):
  return harness.state(sim, *harness.random_states(sim.mjm, NWORLD))


def _values_at_mass(mjm, mass, qpos, qvel, names) -> np.ndarray:
  mjm.body_mass[:] = mass
  for bodyid in reversed(range(mjm.nbody)):
    children = np.flatnonzero(mjm.body_parentid == bodyid)
    children = children[children != bodyid]
    mjm.body_subtreemass[bodyid] = mass[bodyid] + mjm.body_subtreemass[children].sum()
  return harness.Oracle(mjm, names).vector(qpos, qvel)


@pytest.mark.parametrize("per_world", [False, True])
@pytest.mark.parametrize("name", ["subtree_com", "cvel", "sensordata"])
def test_body_mass(sim, state, name, per_world):
  rng = np.random.default_rng(0)
  shape = (NWORLD, sim.nbody) if per_world else (sim.nbody,)
  moving = sim.mjm.body_mass > 0
  mass = (sim.mjm.body_mass * rng.uniform(0.7, 1.3, size=shape)).astype(np.float32)
  param = torch.tensor(mass, requires_grad=True)
  found = mgt.observe(sim, state, [name], params={"body_mass": param})[name]
  adj = torch.tensor(rng.normal(size=found.shape).astype(np.float32))
  grad, grad_qpos = torch.autograd.grad(found, [param, state.qpos], adj)
  assert grad.shape == param.shape
  assert grad_qpos.abs().max() > 0.1

  mjm = harness.model()
  qpos, qvel = state.qpos.detach().numpy(), state.qvel.detach().numpy()
  truth = np.zeros((NWORLD, sim.nbody))
  for w in range(NWORLD):
    base_mass = np.broadcast_to(mass, (NWORLD, sim.nbody))[w].astype(np.float64)

    def change(amount, direction, w=w, base_mass=base_mass):
      return _values_at_mass(mjm, base_mass + amount * direction, qpos[w], qvel[w], (name,))

    base = change(0.0, 0.0)
    np.testing.assert_allclose(found[w].detach().numpy().ravel(), base, rtol=0, atol=2e-5)
    for b in np.flatnonzero(moving):
      direction = np.eye(sim.nbody)[b]
      slope = derivative(lambda e, d=direction, f=change, y=base: f(e, d) - y)
      assert slope.smooth
      truth[w, b] = adj[w].numpy().ravel().astype(np.float64) @ slope.value
  truth = truth if per_world else truth.sum(axis=0)
  scale = np.abs(truth).max()
  assert scale > 0.01
  np.testing.assert_allclose(
    grad.numpy()[..., moving], truth[..., moving], rtol=0, atol=MASS_RTOL * max(scale, 1.0)
  )


def test_parameters_that_nothing_observed_depends_on(sim, state):
  damping = torch.tensor(sim.mjm.dof_damping, dtype=torch.float32, requires_grad=True)
  observed = mgt.observe(sim, state, ["xpos"], params={"dof_damping": damping})["xpos"]
  assert torch.equal(observed, mgt.observe(sim, state, ["xpos"])["xpos"])
  (grad,) = torch.autograd.grad(observed.sum(), [damping], allow_unused=True)
  assert grad is None
  with pytest.raises(InvalidInput, match="dof_damping.*shape"):
    mgt.observe(sim, state, ["xpos"], params={"dof_damping": damping[:2]})
  with pytest.raises(InvalidInput, match="'nothing'"):
    mgt.observe(sim, state, ["xpos"], params={"nothing": damping})


def test_no_grad_saves_nothing(sim, state):
  with torch.no_grad():
    observed = mgt.observe(sim, state, ["xpos", "sensordata"])
  assert all(not value.requires_grad for value in observed.values())
  detached = mgt.observe(sim, state.detach(), ["xpos"])["xpos"]
  assert detached.grad_fn is None
  torch.testing.assert_close(detached, observed["xpos"], rtol=0, atol=0)


def test_gradient_in_qvel_alone(sim, state):
  fixed = dataclasses.replace(state, qpos=state.qpos.detach())
  observed = mgt.observe(sim, fixed, ["cvel"])["cvel"]
  (grad,) = torch.autograd.grad(observed.sum(), [state.qvel])
  assert grad.abs().max() > 0.1


def test_results_are_not_overwritten_by_later_calls(sim, state):
  first = mgt.observe(sim, state, ["xpos"])["xpos"]
  kept = first.detach().clone()
  other = state.map(lambda x: x.detach() + 0.1)
  mgt.observe(sim, other, ["xpos"])
  mgt.step(sim, other)
  assert torch.equal(first, kept)
  gradient = torch.autograd.grad(first.square().sum(), state.qpos)[0]
  fresh = torch.autograd.grad(mgt.observe(sim, state, ["xpos"])["xpos"].square().sum(), state.qpos)[
    0
  ]
  assert torch.equal(gradient, fresh)


def test_does_not_disturb_a_step(sim, state):
  expected = mgt.step(sim, state, nstep=2)
  grads = torch.autograd.grad(expected.qvel.sum(), [state.qpos, state.qvel])
  after = mgt.step(sim, state, nstep=2)
  torch.autograd.grad(mgt.observe(sim, state, ["cvel"])["cvel"].sum(), state.qpos)
  again = torch.autograd.grad(after.qvel.sum(), [state.qpos, state.qvel])
  assert torch.equal(expected.qpos, after.qpos)
  for first, second in zip(grads, again, strict=True):
    assert torch.equal(first, second)


def test_float64_is_cast_at_the_boundary(sim, state):
  double = dataclasses.replace(
    state,
    qpos=state.qpos.detach().double().requires_grad_(),
    qvel=state.qvel.detach().double().requires_grad_(),
  )
  found = mgt.observe(sim, double, ["site_xpos", "sensordata"])
  single = mgt.observe(sim, state, ["site_xpos", "sensordata"])
  assert {value.dtype for value in found.values()} == {torch.float64}
  for name, value in found.items():
    assert torch.equal(value.float(), single[name])
  grads = torch.autograd.grad(found["sensordata"].sum(), [double.qpos, double.qvel])
  expected = torch.autograd.grad(single["sensordata"].sum(), [state.qpos, state.qvel])
  for grad, value in zip(grads, expected, strict=True):
    assert grad.dtype == torch.float64
    assert torch.equal(grad.float(), value)


def test_several_simulators(sim, state):
  other = mjgrad.Simulator(models.cartpole(), 4, device="cpu")
  start = mgt.initial_state(other)
  small = mgt.observe(other, start, ["xpos", "geom_xmat"])
  large = mgt.observe(sim, state, ["xpos", "geom_xmat"])
  assert small["xpos"].shape == (4, other.nbody, 3)
  assert large["xpos"].shape == (NWORLD, sim.nbody, 3)
  assert large["geom_xmat"].shape == (NWORLD, sim.mjm.ngeom, 3, 3)


def test_a_simulator_can_be_freed():
  sim = mjgrad.Simulator(models.cartpole(), 1, device="cpu")
  mgt.observe(sim, mgt.initial_state(sim), ["xpos"])
  alive = weakref.ref(sim)
  del sim
  gc.collect()
  assert alive() is None


def test_empty_quantities():
  sim = mjgrad.Simulator(models.cartpole(), NWORLD, device="cpu")
  start = mgt.initial_state(sim)
  start = dataclasses.replace(start, qpos=start.qpos.requires_grad_())
  observed = mgt.observe(sim, start, ["site_xpos", "site_xmat", "sensordata", "xpos"])
  assert observed["site_xpos"].shape == (NWORLD, 0, 3)
  assert observed["site_xmat"].shape == (NWORLD, 0, 3, 3)
  assert observed["sensordata"].shape == (NWORLD, 0)
  (grad,) = torch.autograd.grad(sum(v.sum() for v in observed.values()), [start.qpos])
  assert grad.abs().max() > 0
  assert mgt.observe(sim, start, []) == {}


def test_repeated_name(sim, state):
  observed = mgt.observe(sim, state, ["xpos", "xpos"])
  assert list(observed) == ["xpos"]


def test_cutoff():
  """A clipped entry is the bound and has no gradient; an axis is never clipped."""
  sensors = """
    <framepos name="p" objtype="site" objname="tip_site" cutoff="0.4"/>
    <framezaxis name="z" objtype="site" objname="tip_site"/>
    <jointvel name="v" joint="hinge" cutoff="0.1"/>
    <jointvel name="w" joint="tilt" cutoff="100"/>"""
  mjm = harness.model(sensors)
  sim = mjgrad.Simulator(mjm, NWORLD, device="cpu")
  qpos, qvel = harness.random_states(mjm, NWORLD, seed=2)
  state = harness.state(sim, qpos, qvel)
  observed = mgt.observe(sim, state, ["sensordata"])["sensordata"]
  oracle = harness.Oracle(mjm, ("sensordata",))
  clipped = 0
  for w in range(NWORLD):
    truth = oracle.values(qpos[w], qvel[w])["sensordata"]
    np.testing.assert_allclose(observed[w].detach().numpy(), truth, rtol=0, atol=2e-6)
    jac_qpos, _ = oracle.jacobians(qpos[w], qvel[w])
    for i in range(mjm.nsensordata):
      grads = torch.autograd.grad(observed[w, i], [state.qpos, state.qvel], retain_graph=True)
      free = any(bool(grad[w].any()) for grad in grads)
      if i < 3:
        assert free == bool(jac_qpos[i].any()), f"entry {i} of world {w}"
        clipped += not free
  assert clipped > 0


@pytest.mark.parametrize("names", [["qpos"], ["xpos", "nothing"]])
def test_unknown_name(sim, state, names):
  with pytest.raises(InvalidInput, match=f"'{names[-1]}'; choose from xpos, xquat, .*sensordata"):
    mgt.observe(sim, state, names)


def test_names_as_a_string(sim, state):
  with pytest.raises(InvalidInput, match=r"the string 'xpos'.*\['xpos'\]"):
    mgt.observe(sim, state, "xpos")


def test_wrong_shape(sim, state):
  with pytest.raises(InvalidInput, match=r"state\.qvel has shape .*expected \(2, "):
    mgt.observe(sim, dataclasses.replace(state, qvel=state.qvel[:1]), ["xpos"])


def test_unsupported_sensors_are_all_named():
  sensors = """
    <accelerometer name="acc" site="tip_site"/>
    <touch name="touch" site="tip_site"/>
    <gyro name="fine" site="tip_site"/>
    <jointpos name="late" joint="hinge" delay="0.01" nsample="5"/>
    <subtreeangmom body="base"/>"""
  mjm = harness.model(sensors)
  sim = mjgrad.Simulator(mjm, 1, device="cpu")
  start = mgt.initial_state(sim)
  with pytest.raises(UnsupportedFeature) as error:
    mgt.observe(sim, start, ["xpos", "sensordata"])
  message = str(error.value)
  for part in ("'acc': accelerometer", "'touch': touch", "'late': jointpos with a delay"):
    assert part in message
  assert "sensor 4: subtreeangmom" in message
  assert "fine" not in message
  assert mgt.observe(sim, start, ["xpos"])["xpos"].shape == (1, mjm.nbody, 3)


def test_disabled_sensors():
  mjm = harness.model()
  mjm.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_SENSOR
  sim = mjgrad.Simulator(mjm, 1, device="cpu")
  with pytest.raises(UnsupportedFeature, match="disable sensor"):
    mgt.observe(sim, mgt.initial_state(sim), ["sensordata"])
