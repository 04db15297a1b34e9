"""Gradients of everything observed in the poses of the model and of mocap bodies.

Against C MuJoCo in float64. Tolerance: as in test_gradients.py; the sum over worlds of a shared
parameter adds up the cotangents as well.
"""

from functools import cache

import mujoco
import numpy as np
import pytest
import torch

import mjgrad
import mjgrad.torch as mgt
from mjgrad._src.check.differences import derivative
from mjgrad._src.engine.parameters import UNIT
from mjgrad._src.engine.parameters import host_value
from mjgrad._src.observe.observer import QUANTITIES
from mjgrad._src.observe.observer import RELEVANT
from tests.observe import harness
from tests.random_models import random_model

NAMES = tuple(QUANTITIES)
MOCAP = ("mocap_pos", "mocap_quat")
POSES = tuple(name for name in RELEVANT if name != "body_mass")
ROTATIONS = (*UNIT, "mocap_quat")
NWORLD = 2
RTOL = 3e-6

BODIES = ("body_pos", "body_quat", "jnt_pos", "jnt_axis", "qpos0", *MOCAP)
TURNS = ("body_quat", "jnt_axis", "qpos0", "mocap_quat")
CENTRES = (*BODIES, "body_ipos")
DEPENDS = {
  "xpos": BODIES,
  "xquat": TURNS,
  "xmat": TURNS,
  "xipos": CENTRES,
  "geom_xpos": (*BODIES, "geom_pos"),
  "geom_xmat": (*TURNS, "geom_quat"),
  "site_xpos": (*BODIES, "site_pos"),
  "site_xmat": (*TURNS, "site_quat"),
  "subtree_com": CENTRES,
  "cvel": tuple(name for name in CENTRES if name != "mocap_pos"),  # a shift of a whole tree
  "sensordata": (*POSES, *MOCAP),
}
"""What each quantity depends on."""


class Scene:
  """Two worlds with different states and poses, with the oracle's Jacobians in the poses."""

  def __init__(self, mjm: mujoco.MjModel, names: tuple[str, ...] = NAMES):
    self.mjm, self.names = mjm, names
    self.sim = mjgrad.Simulator(self.mjm, NWORLD, device="cpu")
    self.qpos, self.qvel = harness.random_states(self.mjm, NWORLD, seed=3)
    self.oracle = harness.Oracle(self.mjm, names)
    self.rows = self.oracle.slices()
    self.poses = [self._random_poses(seed) for seed in range(NWORLD)]
    self._jacobians = {}

  def _random_poses(self, seed: int) -> dict[str, np.ndarray]:
    """Poses near the model's; quaternions and axes are not normalised."""
    rng = np.random.default_rng(seed)
    found = {}
    for name in (*POSES, *MOCAP):
      owner = self.oracle.data if name in MOCAP else self.mjm
      value = np.array(getattr(owner, name))
      value += 0.1 * rng.normal(size=value.shape)
      if name in ROTATIONS:
        value *= rng.uniform(0.7, 1.4)
      found[name] = value.astype(np.float32)
    return found

  def value(self, world: int, poses: dict[str, np.ndarray]) -> np.ndarray:
    """Everything observed in C MuJoCo, as one vector."""
    for name, value in poses.items():
      owner = self.oracle.data if name in MOCAP else self.oracle.mjm
      value = np.asarray(value, dtype=np.float64)
      if name in ROTATIONS:
        value = value / np.linalg.norm(value, axis=-1, keepdims=True)
      getattr(owner, name)[:] = value
    found = self.oracle.vector(self.qpos[world], self.qvel[world])
    # The engine places the inertial frame of the world at its `body_ipos`, C MuJoCo at the origin.
    if "xipos" in self.names:
      start = self.rows["xipos"].start
      found[start : start + 3] = poses["body_ipos"][0]
    return found

  def jacobians(self, world: int, source: int) -> dict[str, np.ndarray]:
    """Derivatives at the state of a world and the poses of `source`, by name [noutput, size]."""
    if (world, source) not in self._jacobians:
      self._jacobians[world, source] = self._differences(world, source)
    return self._jacobians[world, source]

  def _differences(self, world: int, source: int) -> dict[str, np.ndarray]:
    poses = {name: value.astype(np.float64) for name, value in self.poses[source].items()}
    base = self.value(world, poses)
    found = {}
    for name, value in poses.items():
      columns = []
      for i in range(value.size):

        def change(amount, name=name, value=value, i=i):
          moved = value.copy()
          moved.flat[i] += amount
          return self.value(world, poses | {name: moved}) - base

        slope = derivative(change, floor=1.0, noise=1e-13)
        assert slope.plateau, f"no plateau in {name}, entry {i}"
        columns.append(slope.value)
      found[name] = np.stack(columns, axis=1) if columns else np.zeros((base.size, 0))
    return found

  def tensors(self, per_world: bool) -> dict[str, torch.Tensor]:
    found = {}
    for name in (*POSES, *MOCAP):
      values = [self.poses[w if per_world else 0][name] for w in range(NWORLD)]
      value = values[0] if name in POSES and not per_world else np.stack(values)
      found[name] = torch.tensor(value, requires_grad=True)
    return found

  def observe(self, names, tensors) -> dict[str, torch.Tensor]:
    state = harness.state(self.sim, self.qpos, self.qvel)
    params = {name: tensors[name] for name in POSES}
    return mgt.observe(self.sim, state, names, params, **{name: tensors[name] for name in MOCAP})


@cache
def scene() -> Scene:
  return Scene(harness.model())


@pytest.mark.parametrize("per_world", [True, False])
def test_value(per_world):
  s = scene()
  found = s.observe(NAMES, s.tensors(per_world))
  for world in range(NWORLD):
    truth = s.value(world, s.poses[world if per_world else 0])
    flat = np.concatenate([found[name][world].detach().numpy().ravel() for name in NAMES])
    np.testing.assert_allclose(flat, truth, rtol=0, atol=RTOL * max(1.0, np.abs(truth).max()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("per_world", [True, False])
def test_gradient(name, per_world):
  sizes = compare(scene(), name, per_world)
  assert {pose for pose, size in sizes.items() if size > 1e-2} == set(DEPENDS[name])


@pytest.mark.parametrize("seed", range(3))
def test_gradient_of_random_models(seed):
  s = Scene(random_model(seed), ("xmat", "xipos", "cvel"))
  sizes = [compare(s, name, per_world=True) for name in s.names]
  assert any(size["body_pos"] > 0.1 for size in sizes)


def compare(s: Scene, name: str, per_world: bool) -> dict[str, float]:
  """Checks the gradients of one quantity; returns the size of each."""
  tensors = s.tensors(per_world)
  observed = s.observe([name], tensors)[name]
  rng = np.random.default_rng(len(name))
  adj = rng.normal(size=(NWORLD, observed[0].numel())).astype(np.float32)
  cotangent = torch.tensor(adj).view(observed.shape)
  grads = torch.autograd.grad(observed, list(tensors.values()), cotangent)
  rows = s.rows[name]
  sizes = {}
  for (pose, tensor), grad in zip(tensors.items(), grads, strict=True):
    assert grad.shape == tensor.shape
    truth = np.stack(
      [adj[w] @ s.jacobians(w, w if per_world else 0)[pose][rows] for w in range(NWORLD)]
    )
    if pose in POSES and not per_world:
      truth = truth.sum(axis=0)
    if not truth.size:
      continue
    sizes[pose] = float(np.abs(truth).max())
    scale = max(sizes[pose], np.abs(adj).max())
    error = np.abs(grad.numpy().reshape(truth.shape) - truth).max() / scale
    assert error < RTOL, f"{name} in {pose}: error {error:.2e}"
  return sizes


def test_gradient_in_qpos_at_given_poses():
  """The state's own gradient follows the poses of the call: with qpos0 a hinge moves backwards."""
  s = scene()
  tensors = s.tensors(True)
  state = harness.state(s.sim, s.qpos, s.qvel)
  params = {name: tensors[name] for name in POSES}
  mocap = {name: tensors[name] for name in MOCAP}
  found = mgt.observe(s.sim, state, ["cvel"], params, **mocap)["cvel"].square().sum()
  in_qpos, in_qpos0 = torch.autograd.grad(found, [state.qpos, tensors["qpos0"]])
  single = s.mjm.jnt_qposadr[s.mjm.jnt_type >= 2]
  assert in_qpos[:, single].abs().max() > 0.1
  torch.testing.assert_close(in_qpos[:, single], -in_qpos0[:, single], rtol=1e-4, atol=1e-4)


def test_poses_that_are_not_given_are_the_models():
  """Also those of static geoms, which the engine places once."""
  s = scene()
  state = harness.state(s.sim, s.qpos, s.qvel)
  names = ["geom_xpos", "geom_xmat", "sensordata"]
  before = mgt.observe(s.sim, state, names)
  stepped = mgt.step(s.sim, state)
  moved = s.observe(names, s.tensors(True))
  static = s.mjm.geom("fixed").id
  assert (moved["geom_xpos"] - before["geom_xpos"])[:, static].abs().max() > 1e-2
  after = mgt.observe(s.sim, state, names)
  for name in names:
    assert torch.equal(before[name], after[name])
  s.observe(names, s.tensors(True))
  assert torch.equal(mgt.step(s.sim, state).qvel, stepped.qvel)


def test_gradients_of_earlier_calls():
  """Calls with other poses in between change nothing."""
  s = scene()
  tensors, others = s.tensors(True), s.tensors(False)
  leaves = [tensors[name] for name in ("body_quat", "geom_pos", "mocap_quat")]
  first = s.observe(["geom_xpos"], tensors)["geom_xpos"].square().sum()
  fresh = torch.autograd.grad(first, leaves, retain_graph=True)
  s.observe(["geom_xpos"], others)
  mgt.observe(s.sim, harness.state(s.sim, s.qpos, s.qvel), ["geom_xpos"])
  for one, other in zip(torch.autograd.grad(first, leaves), fresh, strict=True):
    assert torch.equal(one, other)


@pytest.mark.parametrize("name", MOCAP)
def test_wrong_shape(name):
  s = scene()
  value = s.tensors(True)[name]
  state = harness.state(s.sim, s.qpos, s.qvel)
  with pytest.raises(mjgrad.InvalidInput, match=rf"{name} has shape .*expected \(2, 1, "):
    mgt.observe(s.sim, state, ["xpos"], **{name: value[:1]})


@pytest.mark.parametrize("name", MOCAP)
def test_mocap_pose_alone(name):
  """A mocap pose without the other, and without parameters."""
  s = scene()
  value = s.tensors(True)[name]
  state = harness.state(s.sim, s.qpos, s.qvel).detach()
  observed = mgt.observe(s.sim, state, ["geom_xpos"], **{name: value})["geom_xpos"]
  observed.square().sum().backward()
  assert value.grad.abs().max() > 1e-2
  assert observed.shape == (NWORLD, s.mjm.ngeom, 3)


def test_nothing_that_a_step_takes_is_refused():
  s = scene()
  state = harness.state(s.sim, s.qpos, s.qvel).detach()
  known = mjgrad.parameters(s.sim)
  values = {
    name: torch.tensor(host_value(s.mjm, name), dtype=torch.float32, requires_grad=True)
    for name in known
  }
  mgt.step(s.sim, state, params=values).qvel.sum().backward()
  observed = mgt.observe(s.sim, state, ["sensordata"], values)["sensordata"]
  plain = mgt.observe(s.sim, state, ["sensordata"])["sensordata"]
  torch.testing.assert_close(observed, plain, rtol=RTOL, atol=RTOL)
  grads = torch.autograd.grad(observed.square().sum(), list(values.values()), allow_unused=True)
  followed = {name for name, grad in zip(values, grads, strict=True) if grad is not None}
  assert followed == set(RELEVANT)


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_gradient_on_a_gpu(name):
  s = scene()
  tensors = s.tensors(True)
  found = s.observe([name], tensors)[name]
  expected = torch.autograd.grad(found.square().sum(), list(tensors.values()))
  sim = mjgrad.Simulator(s.mjm, NWORLD, device="cuda:0")
  moved = {name: value.detach().cuda().requires_grad_() for name, value in tensors.items()}
  state = harness.state(sim, s.qpos, s.qvel)
  params = {name: moved[name] for name in POSES}
  found = mgt.observe(sim, state, [name], params, **{n: moved[n] for n in MOCAP})[name]
  grads = torch.autograd.grad(found.square().sum(), list(moved.values()))
  # All gradients are sums of the same wrenches and share their rounding.
  scale = max(1.0, *(float(truth.abs().max()) for truth in expected))
  for grad, truth in zip(grads, expected, strict=True):
    torch.testing.assert_close(grad.cpu(), truth, rtol=0, atol=10 * RTOL * scale)
