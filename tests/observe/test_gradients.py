"""Values and gradients of everything observed, against C MuJoCo in float64.

Tolerance: positions, velocities and lever arms are of order 1 and carry single-precision errors of
a few 1e-7, which the sum over at most a hundred of them leaves below 1e-6.
"""

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch

import mjgrad
import mjgrad.torch as mgt
from mjgrad._src.check.tangent import quaternion_addresses
from mjgrad._src.check.tangent import to_tangent
from mjgrad._src.observe.observer import QUANTITIES
from tests import models
from tests.observe import harness
from tests.random_models import random_model

NAMES = tuple(QUANTITIES)
NWORLD = 3
RTOL = 3e-6
TIME = 0.5


class Scene:
  """A model in several different states, with the oracle's Jacobians."""

  def __init__(self, mjm, names=NAMES):
    self.mjm, self.names = mjm, names
    self.sim = mjgrad.Simulator(mjm, NWORLD, device="cpu")
    self.qpos, self.qvel = harness.random_states(mjm, NWORLD)
    self.oracle = harness.Oracle(mjm, names)
    states = list(zip(self.qpos, self.qvel, strict=True))
    self.jacobians = [self.oracle.jacobians(*s) for s in states]
    self.truth = [self.oracle.values(*s, time=TIME) for s in states]

  def vjp(
    self, name: str, adj: np.ndarray, names=None
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ambient and tangent gradient in qpos, and gradient in qvel, of adj [nworld, size] . name."""
    state = harness.state(self.sim, self.qpos, self.qvel, TIME)
    observed = mgt.observe(self.sim, state, names or [name])[name]
    cotangent = torch.tensor(adj, dtype=torch.float32, device=observed.device).view(observed.shape)
    ambient, qvel = torch.autograd.grad(observed, [state.qpos, state.qvel], cotangent)
    ambient = ambient.cpu().numpy().astype(np.float64)
    tangent = [to_tangent(self.mjm, q, g) for q, g in zip(self.qpos, ambient, strict=True)]
    return ambient, np.stack(tangent), qvel.cpu().numpy()

  def expected(self, name: str, adj: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = self.oracle.slices()[name]
    qpos = [a @ jac[0][rows] for a, jac in zip(adj, self.jacobians, strict=True)]
    qvel = [a @ jac[1][rows] for a, jac in zip(adj, self.jacobians, strict=True)]
    return np.stack(qpos), np.stack(qvel)


@cache
def scene() -> Scene:
  return Scene(harness.model())


def random_cotangent(size: int, seed: int) -> np.ndarray:
  return np.random.default_rng(seed).normal(size=(NWORLD, size)).astype(np.float32)


def assert_close(found: np.ndarray, truth: np.ndarray, adj: np.ndarray, message: str) -> float:
  scale = max(float(np.abs(truth).max()), float(np.abs(adj).max()))
  error = float(np.abs(found - truth).max()) / scale
  assert error < RTOL, f"{message}: error {error:.2e}"
  return error


@pytest.mark.parametrize("name", NAMES)
def test_value(name):
  s = scene()
  state = harness.state(s.sim, s.qpos, s.qvel, TIME)
  found = mgt.observe(s.sim, state, [name])[name].detach().numpy()
  truth = np.stack([values[name] for values in s.truth])
  assert found.shape == truth.shape
  np.testing.assert_allclose(found, truth, rtol=0, atol=RTOL * max(1.0, np.abs(truth).max()))


@pytest.mark.parametrize("name", NAMES)
def test_gradient(name):
  s = scene()
  rows = s.oracle.slices()[name]
  adj = random_cotangent(rows.stop - rows.start, seed=len(name))
  _, qpos, qvel = s.vjp(name, adj)
  truth_qpos, truth_qvel = s.expected(name, adj)
  assert np.abs(truth_qpos).max() > 0.1
  assert_close(qpos, truth_qpos, adj, f"{name} in qpos")
  assert_close(qvel, truth_qvel, adj, f"{name} in qvel")


def test_every_sensor():
  s = scene()
  mjm = s.mjm
  silent = []
  for i in range(mjm.nsensor):
    name = mjm.sensor(i).name
    start, dim = mjm.sensor_adr[i], mjm.sensor_dim[i]
    adj = np.zeros((NWORLD, mjm.nsensordata), dtype=np.float32)
    adj[:, start : start + dim] = random_cotangent(dim, seed=i)
    _, qpos, qvel = s.vjp("sensordata", adj)
    truth_qpos, truth_qvel = s.expected("sensordata", adj)
    assert_close(qpos, truth_qpos, adj, f"{name} in qpos")
    assert_close(qvel, truth_qvel, adj, f"{name} in qvel")
    if max(np.abs(truth_qpos).max(), np.abs(truth_qvel).max()) < 1e-3:
      silent.append(name)
  assert silent == ["clock"]


def test_several_quantities_add_up():
  s = scene()
  names = ["cvel", "site_xpos", "subtree_com", "sensordata", "xquat"]
  state = harness.state(s.sim, s.qpos, s.qvel)
  observed = mgt.observe(s.sim, state, names)
  assert list(observed) == names
  weights = {n: torch.randn(v.shape, generator=torch.Generator()) for n, v in observed.items()}
  total = sum((observed[n] * weights[n]).sum() for n in names)
  together = torch.autograd.grad(total, [state.qpos, state.qvel])
  apart = [s.vjp(name, weights[name].reshape(NWORLD, -1).numpy())[::2] for name in names]
  for i in range(2):
    expected = sum(parts[i] for parts in apart)
    np.testing.assert_allclose(together[i].numpy(), expected, rtol=RTOL, atol=RTOL * 50)


def test_unused_outputs_have_no_cotangent():
  s = scene()
  adj = random_cotangent(s.mjm.nbody * 3, seed=5)
  alone = s.vjp("xpos", adj)
  among_others = s.vjp("xpos", adj, names=["cvel", "xpos", "sensordata"])
  np.testing.assert_array_equal(alone[0], among_others[0])
  np.testing.assert_array_equal(alone[2], among_others[2])


def test_ambient_gradient_is_orthogonal_to_quaternions():
  s = scene()
  adj = random_cotangent(s.mjm.nsensordata, seed=3)
  ambient, _, _ = s.vjp("sensordata", adj)
  for row, qpos in zip(ambient, s.qpos, strict=True):
    for a, _ in quaternion_addresses(s.mjm):
      quat = slice(a, a + 4)
      size = np.linalg.norm(row[quat])
      assert size > 0.1
      assert abs(row[quat] @ qpos[quat]) < 1e-6 * size


def test_ambient_gradient_of_an_unnormalised_quaternion():
  """f(q) = f(q / |q|), so scaling q by c divides the gradient by c."""
  s = scene()
  adj = random_cotangent(s.mjm.nsensordata, seed=4)
  unit, _, _ = s.vjp("sensordata", adj)
  scaled = Scene.__new__(Scene)
  scaled.__dict__.update(s.__dict__)
  scaled.qpos = s.qpos.copy()
  quats = np.concatenate([np.arange(a, a + 4) for a, _ in quaternion_addresses(s.mjm)])
  scaled.qpos[:, quats] *= 2.0
  found, _, _ = scaled.vjp("sensordata", adj)
  np.testing.assert_allclose(found[:, quats], unit[:, quats] / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["humanoid", "cartpole"])
def test_gradient_of_other_models(name):
  names = ("xpos", "xquat", "geom_xpos", "geom_xmat", "subtree_com", "cvel")
  s = Scene(getattr(models, name)(), names)
  for quantity in names:
    rows = s.oracle.slices()[quantity]
    adj = random_cotangent(rows.stop - rows.start, seed=1)
    _, qpos, qvel = s.vjp(quantity, adj)
    truth_qpos, truth_qvel = s.expected(quantity, adj)
    assert_close(qpos, truth_qpos, adj, f"{quantity} in qpos")
    assert_close(qvel, truth_qvel, adj, f"{quantity} in qvel")


@pytest.mark.parametrize("seed", range(4))
def test_gradient_of_random_models(seed):
  mjm = random_model(seed)
  s = Scene(mjm, ("xmat", "xipos", "cvel"))
  for quantity in s.names:
    rows = s.oracle.slices()[quantity]
    adj = random_cotangent(rows.stop - rows.start, seed=seed)
    _, qpos, qvel = s.vjp(quantity, adj)
    truth_qpos, truth_qvel = s.expected(quantity, adj)
    assert_close(qpos, truth_qpos, adj, f"{quantity} in qpos")
    assert_close(qvel, truth_qvel, adj, f"{quantity} in qvel")


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_gradient_on_a_gpu(name):
  s = Scene.__new__(Scene)
  s.__dict__.update(scene().__dict__)
  rows = s.oracle.slices()[name]
  adj = random_cotangent(rows.stop - rows.start, seed=2)
  expected = s.vjp(name, adj)
  s.sim = mjgrad.Simulator(s.mjm, NWORLD, device="cuda:0")
  for found, truth in zip(s.vjp(name, adj), expected, strict=True):
    assert_close(found, truth, adj, name)


def test_gradient_through_a_step():
  """Observing a stepped state chains with the gradient of the step."""
  s = scene()
  state = harness.state(s.sim, s.qpos, s.qvel)
  after = mgt.step(s.sim, state)
  leaf = dataclasses.replace(
    after, qpos=after.qpos.detach().requires_grad_(), qvel=after.qvel.detach().requires_grad_()
  )
  inner = torch.autograd.grad(
    mgt.observe(s.sim, leaf, ["cvel"])["cvel"].square().sum(), [leaf.qpos, leaf.qvel]
  )
  through = torch.autograd.grad(
    mgt.observe(s.sim, after, ["cvel"])["cvel"].square().sum(), state.qvel, retain_graph=True
  )[0]
  chained = torch.autograd.grad([after.qpos, after.qvel], state.qvel, inner)[0]
  torch.testing.assert_close(through, chained, rtol=1e-5, atol=1e-5)
