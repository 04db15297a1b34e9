"""The PyTorch front end: graph, types, devices, batches, memory."""

import gc

import numpy as np
import pytest
import torch

import mjgrad
import mjgrad.torch as mgt
from mjgrad._src.linearize import step_gradient
from tests import models

# Gradients of smooth float32 steps against central differences of the same float32 step would be
# noise; they are compared with the NumPy front end (equal) and with float64 C MuJoCo elsewhere.
ROUNDING = 1e-6

NWORLD = 3


@pytest.fixture(scope="module")
def cartpole():
  return mjgrad.Simulator(models.cartpole(), NWORLD, "cpu")


@pytest.fixture(scope="module")
def joints():
  return mjgrad.Simulator(models.load(models.JOINTS), NWORLD, "cpu")


def moved(sim, seed=0, dtype=torch.float32):
  """A state off the reference, different in every world."""
  generator = torch.Generator().manual_seed(seed)
  state = mgt.initial_state(sim)
  qvel = torch.randn(sim.nworld, sim.nv, generator=generator)
  with torch.no_grad():
    state = mgt.step(sim, mgt.State(state.qpos, qvel, *_rest(state)), nstep=3)
  return state.map(lambda x: x.to(dtype))


def _rest(state):
  return state.act, state.qacc_warmstart, state.time


def replace(state, **fields):
  values = {n: getattr(state, n) for n in ("qpos", "qvel", "act", "qacc_warmstart", "time")}
  return mgt.State(**(values | fields))


def leaf(x):
  return x.detach().clone().requires_grad_()


def random(*shape, seed=1):
  return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_agrees_with_the_numpy_front_end(joints):
  state = moved(joints)
  qpos, qvel = leaf(state.qpos), leaf(state.qvel)
  ctrl = leaf(random(NWORLD, joints.nu))
  qfrc, xfrc = leaf(random(NWORLD, joints.nv)), leaf(random(NWORLD, joints.nbody, 6))
  adj_qpos, adj_qvel = random(NWORLD, joints.nq, seed=2), random(NWORLD, joints.nv, seed=3)
  after = mgt.step(
    joints,
    replace(state, qpos=qpos, qvel=qvel),
    ctrl,
    nstep=2,
    qfrc_applied=qfrc,
    xfrc_applied=xfrc,
  )
  loss = (after.qpos * adj_qpos).sum() + (after.qvel * adj_qvel).sum()
  grads = torch.autograd.grad(loss, (qpos, qvel, ctrl, qfrc, xfrc))
  reference = step_gradient(
    joints,
    qpos.detach().numpy(),
    qvel.detach().numpy(),
    ctrl.detach().numpy(),
    adj_qpos.numpy(),
    adj_qvel.numpy(),
    qfrc_applied=qfrc.detach().numpy(),
    xfrc_applied=xfrc.detach().numpy(),
    qacc_warmstart=state.qacc_warmstart.numpy(),
    nstep=2,
  )
  np.testing.assert_array_equal(after.qpos.detach().numpy(), reference.qpos)
  for name, grad in zip(("qpos", "qvel", "ctrl", "qfrc_applied", "xfrc_applied"), grads):
    assert grad.abs().max() > 0
    scale = np.abs(reference.grad[name]).max()
    np.testing.assert_allclose(grad.numpy(), reference.grad[name], atol=ROUNDING * scale)


def test_no_grad(joints):
  """The same numbers, without a graph."""
  state, ctrl = moved(joints), leaf(random(NWORLD, joints.nu))
  recorded = mgt.step(joints, state, ctrl)
  with torch.no_grad():
    plain = mgt.step(joints, state, ctrl)
  assert recorded.qvel.requires_grad and not plain.qvel.requires_grad
  assert plain.qpos.grad_fn is None
  for a, b in zip(recorded.__dict__.values(), plain.__dict__.values()):
    assert torch.equal(a, b)


def test_what_carries_a_gradient(joints):
  after = mgt.step(joints, moved(joints), leaf(random(NWORLD, joints.nu)))
  assert after.qpos.requires_grad and after.qvel.requires_grad
  assert not after.qacc_warmstart.requires_grad and not after.time.requires_grad
  detached = after.detach()
  assert not any(x.requires_grad for x in detached.__dict__.values())


def test_time_advances(joints):
  after = mgt.step(joints, mgt.initial_state(joints), nstep=5)
  torch.testing.assert_close(after.time, torch.full((NWORLD,), 5 * joints.mjm.opt.timestep))


def test_only_what_needs_a_gradient_gets_one(cartpole):
  state = moved(cartpole)
  ctrl = leaf(random(NWORLD, 1))
  frozen = random(NWORLD, 2)
  after = mgt.step(cartpole, state, ctrl, qfrc_applied=frozen)
  after.qvel.sum().backward()
  assert ctrl.grad is not None and frozen.grad is None and state.qpos.grad is None


def test_unused_output(joints):
  """A loss of the velocity alone, or of the position alone."""
  for name in ("qpos", "qvel"):
    state = moved(joints)
    qvel = leaf(state.qvel)
    after = mgt.step(joints, replace(state, qvel=qvel))
    getattr(after, name)[:, :3].sum().backward()
    assert qvel.grad.abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_are_cast_at_the_boundary(joints, dtype):
  state = moved(joints, dtype=dtype)
  ctrl = leaf(random(NWORLD, joints.nu).to(dtype))
  after = mgt.step(joints, state, ctrl)
  assert after.qpos.dtype == dtype and after.qvel.dtype == dtype
  after.qvel.sum().backward()
  assert ctrl.grad.dtype == dtype
  single = leaf(ctrl.detach().float())
  reference = mgt.step(joints, state.map(torch.Tensor.float), single)
  reference.qvel.sum().backward()
  assert torch.equal(after.qvel, reference.qvel.to(dtype))
  assert torch.equal(ctrl.grad, single.grad.to(dtype))


def test_tensors_that_are_not_contiguous(joints):
  state = moved(joints)
  ctrl = random(joints.nu, NWORLD)
  a = mgt.step(joints, state, ctrl.T)
  b = mgt.step(joints, state, ctrl.T.contiguous())
  assert torch.equal(a.qvel, b.qvel)


def gradient_of_chain(sim, nstep, calls, ctrl):
  state = moved(sim)
  qvel = leaf(state.qvel)
  state = replace(state, qvel=qvel)
  for _ in range(calls):
    state = mgt.step(sim, state, ctrl, nstep=nstep)
  ((state.qpos**2).sum() + (state.qvel**2).sum()).backward()
  return state.qvel.detach(), qvel.grad


def test_four_steps_in_one_call_are_four_calls(joints):
  once_ctrl, four_ctrl = leaf(random(NWORLD, joints.nu)), leaf(random(NWORLD, joints.nu))
  once, grad_once = gradient_of_chain(joints, 4, 1, once_ctrl)
  four, grad_four = gradient_of_chain(joints, 1, 4, four_ctrl)
  assert torch.equal(once, four)
  torch.testing.assert_close(grad_once, grad_four, rtol=1e-4, atol=1e-5)
  torch.testing.assert_close(once_ctrl.grad, four_ctrl.grad, rtol=1e-4, atol=1e-5)


def test_rollout_is_repeated_steps(cartpole):
  state = moved(cartpole)
  ctrls = leaf(0.5 * random(4, NWORLD, 1))
  trajectory = mgt.rollout(cartpole, state, ctrls, nstep=2)
  assert trajectory.qpos.shape == (4, NWORLD, 2) and trajectory.time.shape == (4, NWORLD)
  (trajectory.qpos**2).sum().backward()
  by_hand = leaf(ctrls)
  loss, current = 0.0, state
  for k in range(4):
    current = mgt.step(cartpole, current, by_hand[k], nstep=2)
    assert torch.equal(current.qvel, trajectory.qvel[k])
    loss = loss + (current.qpos**2).sum()
  loss.backward()
  torch.testing.assert_close(ctrls.grad, by_hand.grad)


def test_gradients_accumulate(cartpole):
  """Two losses on one graph, and two backward passes into one leaf."""
  ctrl = leaf(random(NWORLD, 1) * 0.3)
  after = mgt.step(cartpole, moved(cartpole), ctrl)
  first = torch.autograd.grad(after.qpos.sum(), ctrl, retain_graph=True)[0]
  second = torch.autograd.grad(after.qvel.sum(), ctrl, retain_graph=True)[0]
  after.qpos.sum().backward(retain_graph=True)
  after.qvel.sum().backward()
  torch.testing.assert_close(ctrl.grad, first + second)


def test_second_derivatives_are_refused(cartpole):
  ctrl = leaf(random(NWORLD, 1) * 0.3)
  after = mgt.step(cartpole, moved(cartpole), ctrl)
  grad = torch.autograd.grad((after.qvel**2).sum(), ctrl, create_graph=True)[0]
  with pytest.raises(RuntimeError, match="once_differentiable"):
    grad.sum().backward()


def test_several_simulators_interleaved(cartpole, joints):
  """Two models, and two simulators of one model, with backward passes in another order."""
  twin = mjgrad.Simulator(models.cartpole(), NWORLD, "cpu")

  def loss(sim, ctrl, seed):
    state = moved(sim, seed)
    state = mgt.step(sim, state, ctrl, nstep=2)
    return (state.qvel**2).sum()

  sims = (cartpole, joints, twin, cartpole)
  ctrls = [leaf(0.3 * random(NWORLD, sim.nu, seed=k)) for k, sim in enumerate(sims)]
  losses = [loss(sim, ctrl, k) for k, (sim, ctrl) in enumerate(zip(sims, ctrls))]
  for k in (2, 0, 3, 1):
    losses[k].backward()
  for k, sim in enumerate(sims):
    alone = leaf(ctrls[k])
    loss(sim, alone, k).backward()
    torch.testing.assert_close(ctrls[k].grad, alone.grad)


def test_forward_calls_between_forward_and_backward(joints):
  """The tape of a call is its own: later calls of the same simulator do not disturb it."""
  ctrl, other = leaf(random(NWORLD, joints.nu)), leaf(random(NWORLD, joints.nu, seed=9))
  expected = torch.autograd.grad(mgt.step(joints, moved(joints), ctrl).qvel.sum(), ctrl)[0]
  after = mgt.step(joints, moved(joints), ctrl)
  mgt.step(joints, moved(joints, 5), other).qvel.sum().backward()
  with torch.no_grad():
    mgt.step(joints, moved(joints, 6), other, nstep=3)
  torch.testing.assert_close(torch.autograd.grad(after.qvel.sum(), ctrl)[0], expected)


def test_graph_capture_leaves_a_first_call_alone():
  """The first call of a program captures graphs by running them; its result is still its own."""
  first = mjgrad.Simulator(models.cartpole(), NWORLD, "cpu")
  ctrl = 0.3 * random(NWORLD, 1)
  state = mgt.initial_state(first)
  results = []
  for _ in range(2):
    ctrl = leaf(ctrl)
    after = mgt.step(first, state, ctrl, nstep=3)
    after.qvel.sum().backward()
    results.append((after.qpos.detach(), after.time, ctrl.grad))
  for a, b in zip(*results):
    assert torch.equal(a, b)


def directional(sim, state, ctrl, direction, eps):
  """Central difference of a loss along a direction of the controls, a smooth model in float32."""
  values = []
  for sign in (1, -1):
    with torch.no_grad():
      after = mgt.step(sim, state, ctrl + sign * eps * direction, nstep=8)
    values.append((after.qpos.double() ** 2).sum() + 0.1 * (after.qvel.double() ** 2).sum())
  return float(values[0] - values[1]) / (2 * eps)


def test_directional_derivative(cartpole):
  """As `torch.autograd.gradcheck`, along a direction: the step is float32, so eps is large.

  The loss is of order ten and rounded to 1e-6; with eps = 0.05 the quotient is good to 1e-4.
  """
  state, ctrl = moved(cartpole), leaf(0.3 * random(NWORLD, 1))
  after = mgt.step(cartpole, state, ctrl, nstep=8)
  loss = (after.qpos**2).sum() + 0.1 * (after.qvel**2).sum()
  grad = torch.autograd.grad(loss, ctrl)[0]
  direction = random(NWORLD, 1, seed=4)
  truth = directional(cartpole, state, ctrl.detach(), direction, 0.05)
  assert abs(truth) > 1e-2
  np.testing.assert_allclose(float((grad * direction).sum()), truth, rtol=2e-3)


def saved_bytes(sim, nstep):
  """Bytes of all tensors that the graph of a call keeps for its backward pass, shared once."""
  storages = {}

  def keep(tensor):
    storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return tensor

  with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
    after = mgt.step(sim, moved(sim), leaf(random(sim.nworld, sim.nu)), nstep=nstep)
  assert after.qvel.requires_grad
  return sum(storages.values())


def test_saved_memory_per_step(joints):
  """A further step of a call stores its input state, acceleration and forces, nothing else."""
  gc.collect()
  per_step = (saved_bytes(joints, 12) - saved_bytes(joints, 4)) / 8
  assert per_step == 4 * joints.nworld * (joints.nq + 3 * joints.nv)


def test_a_model_without_degrees_of_freedom():
  mjm = models.load("<mujoco><worldbody><geom size='.1'/></worldbody></mujoco>")
  sim = mjgrad.Simulator(mjm, 2, "cpu")
  gravity = torch.tensor(mjm.opt.gravity, dtype=torch.float32, requires_grad=True)
  state = mgt.step(sim, mgt.initial_state(sim), params={"opt.gravity": gravity})
  state.qpos.sum().backward()
  assert torch.equal(gravity.grad, torch.zeros(3))


def test_adaptive_calls_leave_nothing_behind():
  sim = mjgrad.Simulator(models.cartpole(), 2, "cpu", integrator=mjgrad.Tsit5())
  kept = []
  for _ in range(4):
    state = mgt.initial_state(sim)
    ctrl = torch.zeros(2, sim.nu, requires_grad=True)
    mgt.step(sim, state, ctrl).qpos.sum().backward()
    kept.append(len(sim.latest.views))
  assert kept[1:] == [kept[1]] * 3
