"""Activation dynamics: what the next activation and the force owe to the control and activation.

w' = clamp(w + h wdot(u, w)),    F = gain(l, l') w + bias,    or w' in place of w (actearly)
"""

import mujoco
import numpy as np
import pytest
import torch

import mjgrad
import mjgrad.torch as mgt
from tests import models
from tests import oracles
from tests.terms import harness
from tests.terms.chain import chain

# As in test_actuator.py: accelerations of these models are good to about 1e-6 in float32.
RTOL = 5e-5
# Activations are a few operations on numbers of order one.
ACT_RTOL = 5e-6

# The slope of the gain in the velocity brings the activation into the matrix of implicitfast.
LAW = 'gaintype="affine" biastype="affine" gainprm="3 0.5 -0.8" biasprm="0.2 -4 -0.6" gear="1.5"'
DYNAMICS = {
  "integrator": 'dyntype="integrator"',
  "filter": 'dyntype="filter" dynprm="0.03"',
  "filterexact": 'dyntype="filterexact" dynprm="0.007"',
  "muscle": 'dyntype="muscle" dynprm="0.02 0.05 0"',
  "muscle_smooth": 'dyntype="muscle" dynprm="0.02 0.05 0.6"',
}
JOINTS = ("hinge", "slide", "last")
CHANNELS = ("qpos", "qvel", "act", "ctrl")
PARAMS = ("actuator_gainprm", "actuator_biasprm")


def model(dynamics, integrator="euler", extra=""):
  actuators = "".join(f'<general joint="{j}" {LAW} {dynamics} {extra}/>' for j in JOINTS)
  return chain(actuator=actuators, integrator=integrator)


def active_points(mjm, count=6, seed=0):
  """Activations and controls in [0.05, 0.95], so that muscles are in the middle of their range."""
  rng = np.random.default_rng(seed)
  points = harness.random_points(mjm, count, seed, position=0.4, velocity=2.0)
  return [
    harness.with_inputs(
      p,
      act=rng.uniform(0.05, 0.95, size=mjm.na).astype(np.float32),
      ctrl=rng.uniform(0.05, 0.95, size=mjm.nu).astype(np.float32),
    )
    for p in points
  ]


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("early", ["false", "true"])
@pytest.mark.parametrize("name", DYNAMICS)
def test_force(name, early, integrator):
  """The control acts on this step's velocity only through an early activation."""
  mjm = model(DYNAMICS[name], integrator, f'actearly="{early}"')
  found, _ = harness.compare(mjm, active_points(mjm), PARAMS, channels=CHANNELS)
  harness.assert_close(found, RTOL, zero=() if early == "true" else ("ctrl",))
  assert np.all(found["act"].value != 0)


@pytest.mark.parametrize("early", ["false", "true"])
@pytest.mark.parametrize("name", DYNAMICS)
def test_next_activation(name, early):
  mjm = model(DYNAMICS[name], extra=f'actearly="{early}"')
  found, _ = harness.compare(mjm, active_points(mjm), PARAMS, channels=CHANNELS, on="act")
  harness.assert_close(found, ACT_RTOL, zero=("qpos", "qvel", *PARAMS))
  assert np.all(found["act"].value != 0) and np.all(found["ctrl"].value != 0)


def test_filter_closed_form():
  """w' = w + h (u - w) / tau, and exactly w' = u + (w - u) exp(-h / tau)."""
  h, tau = 0.005, 0.03
  factors = {"filter": 1 - h / tau, "filterexact": np.exp(-h / tau)}
  for kind, factor in factors.items():
    mjm = model(f'dyntype="{kind}" dynprm="{tau}"')
    points = active_points(mjm, 3)
    found, _ = harness.compare(mjm, points, channels=("act", "ctrl"), on="act")
    sum_of_both = found["act"].value + found["ctrl"].value
    np.testing.assert_allclose(found["act"].value, factor * sum_of_both, rtol=ACT_RTOL)


@pytest.mark.parametrize("smooth", ["0", "0.6"])
def test_muscle_outside_its_range(smooth):
  """Activation and excitation count as clamped to [0, 1] inside the muscle's dynamics."""
  mjm = model(f'dyntype="muscle" dynprm="0.02 0.05 {smooth}"')
  outside = [
    harness.with_inputs(p, act=act, ctrl=ctrl)
    for p, (act, ctrl) in zip(
      active_points(mjm, 2),
      [([-0.3, 1.2, 0.5], [0.4, 0.8, 1.3]), ([0.3, 0.6, 1.4], [-0.2, 1.5, -0.1])],
    )
  ]
  points = [p.float32() for p in outside]
  found, _ = harness.compare(mjm, points, channels=("act", "ctrl"), on="act")
  harness.assert_close(found, ACT_RTOL)
  excitation = np.stack([p.ctrl for p in points])
  np.testing.assert_array_equal(
    found["ctrl"].value == 0, (excitation < 0) | (excitation > 1), strict=False
  )


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("early", ["false", "true"])
def test_activation_clamp(early, integrator):
  """Where `actrange` holds the next activation, neither control nor activation moves it."""
  mjm = model(DYNAMICS["integrator"], integrator, f'actrange="-0.5 0.5" actearly="{early}"')
  cases = [
    ([0.5, -0.5, 0.2], [0.7, -0.7, 0.3]),  # on the clamp and pushed against it; free
    ([0.5, -0.5, -0.1], [-0.7, 0.7, -0.2]),  # on the clamp and pulled off it; free
    ([0.499, -0.499, 0.4999], [2.0, -2.0, -1.0]),  # arrives within the step; leaves
    ([0.7, -0.8, 0.6], [0.3, 0.2, -0.4]),  # starts outside
  ]
  points = [
    harness.with_inputs(p, act=act, ctrl=ctrl).float32()
    for p, (act, ctrl) in zip(active_points(mjm, len(cases)), cases)
  ]
  held = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 0], [1, 1, 1]], dtype=bool)

  found, _ = harness.compare(mjm, points, channels=CHANNELS, on="act")
  harness.assert_close(found, ACT_RTOL, zero=("qpos", "qvel"))
  np.testing.assert_array_equal(found["act"].value == 0, held)
  np.testing.assert_array_equal(found["ctrl"].value == 0, held)

  found, _ = harness.compare(mjm, points, PARAMS, channels=CHANNELS)
  harness.assert_close(found, RTOL, zero=() if early == "true" else ("ctrl",))
  if early == "true":
    np.testing.assert_array_equal(found["act"].value == 0, held)
  else:
    assert np.all(found["act"].value != 0)


def test_activation_at_its_clamp_is_a_switching_point():
  mjm = model(DYNAMICS["integrator"], extra='actrange="-0.5 0.5"')
  at = harness.with_inputs(active_points(mjm, 1)[0], act=[0.5, 0.1, 0.2], ctrl=np.zeros(3))
  local = oracles.linearise(oracles.Oracle(mjm), at, ("act", "ctrl", "qpos"))
  assert local.near_switch
  assert "activation clamp of actuator 0" in local.branch.nearest
  np.testing.assert_array_equal(local.jacobians["act"].switching, [True, False, False])
  np.testing.assert_array_equal(local.jacobians["ctrl"].switching, [True, False, False])


def test_control_clamp_comes_first():
  """A control beyond its range does not move the activation."""
  mjm = model(DYNAMICS["filter"], extra='ctrlrange="0.2 0.7"')
  points = active_points(mjm, 8)
  found, _ = harness.compare(mjm, points, channels=("act", "ctrl"), on="act")
  harness.assert_close(found, ACT_RTOL)
  ctrl = np.stack([p.ctrl for p in points])
  clamped = (ctrl < 0.2) | (ctrl > 0.7)
  assert clamped.any() and not clamped.all()
  np.testing.assert_array_equal(found["ctrl"].value == 0, clamped)


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_actuators_with_and_without_activation(integrator):
  """Activations are numbered apart from controls; every world differs."""
  mjm = chain(
    actuator=f"""
      <motor joint="hinge" gear="2"/>
      <general joint="slide" {LAW} {DYNAMICS["filter"]}/>
      <position joint="last" kp="3"/>
      <intvelocity joint="hinge" kp="20" kv="1" actrange="-1 1"/>
      <cylinder joint="slide" timeconst="0.02" area="3" bias="0.1 -2 -0.5"/>
      <general joint="last" {LAW} {DYNAMICS["muscle"]} actearly="true"/>""",
    integrator=integrator,
  )
  assert (mjm.nu, mjm.na) == (6, 4)
  points = active_points(mjm)
  found, _ = harness.compare(mjm, points, PARAMS, channels=CHANNELS)
  harness.assert_close(found, RTOL)
  late = [1, 3, 4]
  assert np.all(found["ctrl"].value[:, late] == 0)
  assert np.all(np.delete(found["ctrl"].value, late, axis=1) != 0)
  found, _ = harness.compare(mjm, points, channels=("act", "ctrl"), on="act")
  harness.assert_close(found, ACT_RTOL)
  assert np.all(found["ctrl"].value[:, [0, 2]] == 0)


def test_actuation_switched_off():
  """The activations stand still; their cotangents pass through unchanged."""
  mjm = model(DYNAMICS["filter"])
  mjm.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_ACTUATION
  found, _ = harness.compare(mjm, active_points(mjm, 2), channels=CHANNELS, on="act")
  harness.assert_close(found, ACT_RTOL, zero=("qpos", "qvel", "ctrl"))
  found, _ = harness.compare(mjm, active_points(mjm, 2), channels=CHANNELS)
  harness.assert_close(found, RTOL, zero=("act", "ctrl"))


@pytest.mark.parametrize("early", ["false", "true"])
@pytest.mark.parametrize("name", DYNAMICS)
def test_chain_of_eight_steps(name, early):
  """Gradients in the first activation and in every control, through `mjgrad.torch.step`."""
  nstep = 8
  mjm = model(DYNAMICS[name], extra=f'actearly="{early}"')
  points = active_points(mjm, 3)
  sim = mjgrad.Simulator(mjm, len(points), "cpu")

  def tensor(field):
    value = np.stack([getattr(p, field) for p in points]).astype(np.float32)
    return torch.tensor(value, requires_grad=True)

  first = mgt.State(
    tensor("qpos"), tensor("qvel"), tensor("act"), torch.zeros(3, mjm.nv), torch.zeros(3)
  )
  generator = torch.Generator().manual_seed(0)
  ctrls = torch.rand(nstep, len(points), mjm.nu, generator=generator).requires_grad_()
  state, visited = first, []
  for ctrl in ctrls:
    visited.append((state, ctrl))
    state = mgt.step(sim, state, ctrl)
  adj = [torch.randn(x.shape, generator=generator) for x in (state.qpos, state.qvel, state.act)]
  loss = sum((x * g).sum() for x, g in zip((state.qpos, state.qvel, state.act), adj))
  grads = torch.autograd.grad(loss, (first.qvel, first.act, ctrls))
  d_qvel, d_act, d_ctrl = (g.numpy().astype(np.float64) for g in grads)

  oracle = oracles.Oracle(mjm)
  for world in range(len(points)):
    path = [
      oracles.point(
        mjm,
        ctrl=u[world].detach().numpy(),
        **{n: getattr(s, n)[world].detach().numpy() for n in ("qpos", "qvel", "act")},
      )
      for s, u in visited
    ]
    adj_qpos, adj_qvel, adj_act = (g[world].numpy().astype(np.float64) for g in adj)
    end = state.qpos[world].detach().numpy().astype(np.float64)
    adj_qpos = oracles.to_tangent(mjm, end, adj_qpos)
    truth = oracles.chain_vjp(oracle, path, adj_qpos, adj_qvel, adj_act=adj_act)
    assert truth.switching == []
    assert oracles.relative_error(d_qvel[world], truth.qvel[0]) < RTOL
    assert oracles.relative_error(d_act[world], truth.act[0]) < RTOL
    assert oracles.relative_error(d_ctrl[:, world], truth.inputs["ctrl"]) < RTOL


def test_several_steps_in_one_call():
  """Eight steps with constant inputs are eight calls of one step."""
  mjm = model(DYNAMICS["muscle_smooth"])
  point = active_points(mjm, 1)[0]
  sim = mjgrad.Simulator(mjm, 1, "cpu")

  def run(calls, nstep):
    act = torch.tensor(point.act[None].astype(np.float32), requires_grad=True)
    ctrl = torch.tensor(point.ctrl[None].astype(np.float32), requires_grad=True)
    start = mgt.initial_state(sim)
    state = mgt.State(start.qpos, start.qvel, act, start.qacc_warmstart, start.time)
    for _ in range(calls):
      state = mgt.step(sim, state, ctrl, nstep=nstep)
    loss = state.qvel.sum() + state.act.square().sum()
    return torch.autograd.grad(loss, (act, ctrl))

  for one, many in zip(run(1, 8), run(8, 1)):
    assert torch.any(one != 0)
    torch.testing.assert_close(one, many, rtol=1e-5, atol=0)
