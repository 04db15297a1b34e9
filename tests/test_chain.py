"""Gradients of many steps through `mjgrad.torch.step`, against chains of float64 Jacobians.

The oracle is linearised at the states that the engine visited, so a trajectory that leaves that of
C MuJoCo does not spoil the comparison, and an error that grows faster than the dynamics shows.
"""

import numpy as np
import pytest
import torch

import mjgrad
import mjgrad.torch as mgt
from mjgrad._src.linearize import step_gradient
from tests import models
from tests import oracles
from tests.terms.chain import chain as fast_chain
from tests.terms.harness import random_points

# The project's bar for sixteen steps at the median.
SIXTEEN_STEPS = 2e-4
# One-step errors near 1e-6 add up along the chain; a wrong term grows to order one.
WORST = 1e-2
NSTEP = 16


def ant(cone="pyramidal"):
  return models.variant(models.ant(), cone=cone)


def start(mjm, count, seed=0):
  """States of rollouts on the ground, one per world."""
  states = oracles.sample_states(mjm, 3 * count, seed)
  chosen = [s.point for s in states if "contact" in s.labels][:count]
  assert len(chosen) == count
  return chosen


def tensors(sim, points):
  state = mgt.initial_state(sim)

  def rows(name):
    return torch.tensor(np.stack([getattr(p, name) for p in points]), dtype=torch.float32)

  zeros = torch.zeros_like(state.qacc_warmstart)
  return mgt.State(rows("qpos"), rows("qvel"), state.act, zeros, torch.zeros(sim.nworld))


def run(sim, points, ctrls, seed=0):
  """A random linear function of the last state, its gradients, and the states visited.

  Args:
    sim: the simulator.
    points: where each world starts.
    ctrls: controls, shape [T, nworld, nu], each held for `NSTEP` steps.
    seed: of the cotangent.

  Returns:
    Gradients (qpos, qvel, ctrl), the cotangents (qpos, qvel), the states before every step and at
    the end as (qpos, qvel) of shape [T NSTEP + 1, nworld, n].
  """
  state = first = tensors(sim, points)
  first.qpos.requires_grad_()
  first.qvel.requires_grad_()
  ctrls = ctrls.clone().requires_grad_()
  for ctrl in ctrls:
    state = mgt.step(sim, state, ctrl, nstep=NSTEP)
  generator = torch.Generator().manual_seed(seed)
  adj_qpos = torch.randn(state.qpos.shape, generator=generator)
  adj_qvel = torch.randn(state.qvel.shape, generator=generator)
  loss = (state.qpos * adj_qpos).sum() + (state.qvel * adj_qvel).sum()
  grads = torch.autograd.grad(loss, (first.qpos, first.qvel, ctrls))

  visited = []
  with torch.no_grad():
    replay = tensors(sim, points)
    for ctrl in ctrls:
      for _ in range(NSTEP):
        visited.append((replay.qpos.numpy().copy(), replay.qvel.numpy().copy()))
        replay = mgt.step(sim, replay, ctrl)
    visited.append((replay.qpos.numpy().copy(), replay.qvel.numpy().copy()))
  np.testing.assert_array_equal(visited[-1][0], state.qpos.detach().numpy())
  np.testing.assert_array_equal(visited[-1][1], state.qvel.detach().numpy())
  return [g.numpy().astype(np.float64) for g in grads], (adj_qpos, adj_qvel), visited


def chain(oracle, visited, ctrls, adj, world):
  """The oracle's gradients along the visited states of one world, and the steps that switch."""
  mjm = oracle.mjm
  points = [
    oracles.point(mjm, qpos=qpos[world], qvel=qvel[world], ctrl=ctrls[k // NSTEP, world].numpy())
    for k, (qpos, qvel) in enumerate(visited[:-1])
  ]
  adj_qpos = adj[0][world].numpy().astype(np.float64)
  adj_qpos = oracles.to_tangent(mjm, visited[-1][0][world].astype(np.float64), adj_qpos)
  return oracles.chain_vjp(oracle, points, adj_qpos, adj[1][world].numpy().astype(np.float64))


def errors_of(mjm, sim, points, ctrls):
  """Relative errors of qpos, qvel and all controls in the worlds whose chain has no switch."""
  grads, adj, visited = run(sim, points, ctrls)
  oracle = oracles.Oracle(mjm, engine_frames=True)
  found = []
  for world, point in enumerate(points):
    truth = chain(oracle, visited, ctrls, adj, world)
    if truth.switching:
      continue
    qpos = oracles.to_tangent(mjm, point.qpos, grads[0][world])
    ctrl = truth.inputs["ctrl"].reshape(len(ctrls), NSTEP, -1).sum(axis=1)
    found.append(
      [
        oracles.relative_error(qpos, truth.qpos[0]),
        oracles.relative_error(grads[1][world], truth.qvel[0]),
        oracles.relative_error(grads[2][:, world], ctrl),
      ]
    )
  return np.array(found)


@pytest.mark.parametrize("cone", models.CONES)
def test_sixteen_steps(cone):
  """Sixteen steps of the ant on the ground, every world somewhere else."""
  mjm = ant(cone)
  points = start(mjm, 8)
  sim = mjgrad.Simulator(mjm, len(points), "cpu", nconmax=32, njmax=160)
  ctrls = 0.5 * torch.randn(1, len(points), mjm.nu, generator=torch.Generator().manual_seed(1))
  errors = errors_of(mjm, sim, points, ctrls)
  assert len(errors) >= 5
  assert np.all(np.median(errors, axis=0) < SIXTEEN_STEPS), errors
  assert errors.max() < WORST, errors


@pytest.mark.parametrize("integrator", ["implicit", "discrete"])
def test_fast_chain_in_a_fluid(integrator):
  """Every joint type, servos and dampers, with all that they take of the velocity."""
  mjm = fast_chain(
    hinge='damping="1"',
    actuator="""
      <position joint="hinge" kp="20" kv="2" gear="1.5"/>
      <velocity joint="slide" kv="9"/>
      <motor joint="ball" gear="0.4 -0.3 0.8"/>""",
    integrator=integrator,
  )
  mjm.opt.density, mjm.opt.viscosity = 100.0, 1.0
  points = random_points(mjm, 4, velocity=4.0)
  sim = mjgrad.Simulator(mjm, len(points), "cpu")
  ctrls = torch.randn(2, len(points), mjm.nu, generator=torch.Generator().manual_seed(0))
  errors = errors_of(mjm, sim, points, ctrls)
  assert len(errors) == len(points)
  assert errors.max() < SIXTEEN_STEPS, errors


def test_thirty_two_controls_of_sixteen_steps():
  """512 steps as one differentiable program; every control's gradient, the last and the first.

  The chain is checked from its end: the gradient of the last 4 controls (64 steps) against the
  oracle, and that nothing on the way to the first is lost or not finite.
  """
  mjm = ant()
  points = start(mjm, 1, seed=3)
  sim = mjgrad.Simulator(mjm, 1, "cpu", nconmax=32, njmax=160)
  ctrls = 0.3 * torch.randn(32, 1, mjm.nu, generator=torch.Generator().manual_seed(2))
  grads, adj, visited = run(sim, points, ctrls)
  assert np.all(np.isfinite(grads[2])) and np.all(np.abs(grads[2]).max(axis=(1, 2)) > 0)
  last = 4
  tail = visited[-last * NSTEP - 1 :]
  truth = chain(oracles.Oracle(mjm, engine_frames=True), tail, ctrls[-last:], adj, 0)
  ctrl = truth.inputs["ctrl"].reshape(last, NSTEP, -1).sum(axis=1)
  errors = [oracles.relative_error(grads[2][k - last, 0], ctrl[k]) for k in range(last)]
  assert max(errors) < WORST, (errors, truth.switching)


def long_chain(mjm, visited, ctrls, adj):
  """Gradients of the controls along 512 steps, and the steps at a switching point.

  There the two one-sided gradients differ and the engine may be on the other side of the oracle;
  its own gradient is taken for these steps, of which there are few.
  """
  oracle = oracles.Oracle(mjm, engine_frames=True)
  sim = mjgrad.Simulator(mjm, 1, "cpu", nconmax=32, njmax=160)
  adj_qpos = oracles.to_tangent(
    mjm, visited[-1][0][0].astype(np.float64), adj[0][0].numpy().astype(np.float64)
  )
  adj_qvel = adj[1][0].numpy().astype(np.float64)
  gradients, switching = np.zeros((len(ctrls), mjm.nu)), []
  for k in reversed(range(len(visited) - 1)):
    qpos, qvel = visited[k][0][0], visited[k][1][0]
    ctrl = ctrls[k // NSTEP, 0].numpy()
    point = oracles.point(mjm, qpos=qpos, qvel=qvel, ctrl=ctrl)
    local = oracles.linearise(oracle, point, ("qpos", "qvel", "ctrl"))
    if local.near_switch:
      switching.append(k)
      ambient = oracles.to_ambient(mjm, visited[k + 1][0][0].astype(np.float64), adj_qpos)
      scale = max(np.abs(ambient).max(), np.abs(adj_qvel).max())
      out = step_gradient(
        sim, qpos[None], qvel[None], ctrl[None], ambient[None] / scale, adj_qvel[None] / scale
      )
      back = {name: scale * out.grad[name][0].astype(np.float64) for name in ("qvel", "ctrl")}
      back["qpos"] = scale * out.grad["qpos_tangent"][0].astype(np.float64)
    else:
      back = {name: j.vjp(adj_qpos, adj_qvel) for name, j in local.jacobians.items()}
    adj_qpos, adj_qvel = back["qpos"], back["qvel"]
    gradients[k // NSTEP] += back["ctrl"]
  return gradients, switching


@pytest.mark.slow
@pytest.mark.parametrize("cone", models.CONES)
def test_five_hundred_and_twelve_steps(cone):
  """The error stays small although the dynamics amplifies the cotangent by six orders and more.

  One-step errors of 1e-6 are amplified as the cotangent is, so relative to it they add up like
  the number of steps; a wrong term would grow to order one within the first hundred steps.
  """
  mjm = ant(cone)
  points = start(mjm, 1, seed=3)
  sim = mjgrad.Simulator(mjm, 1, "cpu", nconmax=32, njmax=160)
  ctrls = 0.3 * torch.randn(32, 1, mjm.nu, generator=torch.Generator().manual_seed(2))
  grads, adj, visited = run(sim, points, ctrls)
  truth, switching = long_chain(mjm, visited, ctrls, adj)
  assert len(switching) <= 10
  size = np.linalg.norm(truth, axis=1)
  assert size[0] > 1e6 * size[-1]
  errors = np.array([oracles.relative_error(grads[2][k, 0], truth[k]) for k in range(32)])
  assert np.median(errors) < 2e-3, errors
  assert errors.max() < WORST, errors
  assert errors[-1] < 1e-5, errors
