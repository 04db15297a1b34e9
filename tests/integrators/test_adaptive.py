"""Methods with steps of their own: orders, accuracy against converged references, independence.

The references are integrated in float64 with accelerations of C MuJoCo (tests/integrators/
reference.py); the engine's accelerations of these models are good to about 1e-6.
"""

import copy
import dataclasses

import mujoco
import numpy as np
import pytest
import torch

import mjgrad
import mjgrad.torch as mgt
from mjgrad._src.integrators import tableau
from mjgrad._src.linearize import step_gradient
from tests import models
from tests.integrators.reference import integrate
from tests.terms import harness

PAIRS = {
  "Tsit5": tableau.TSIT5,
  "Dopri5": tableau.DOPRI5,
  "Bosh3": tableau.BOSH3,
  "Heun": tableau.HEUN,
}
METHODS = {**PAIRS, "RK4": tableau.RK4, "Euler": tableau.EULER}
RTOL = 5e-5
TOP = """
  <mujoco><option timestep="0.64"/><worldbody><body>
    <joint type="ball"/>
    <inertial pos="0 0 0.3" mass="1" diaginertia="0.02 0.03 0.05"/>
  </body></worldbody></mujoco>"""
TOP_START = dict(qpos=[0.9, 0.2, 0.1, 0.3], qvel=[2.0, -1.0, 4.0])


def order_conditions(a, b):
  """What the conditions of orders one to five leave (Hairer, Norsett and Wanner, table II.2.2)."""
  c = a.sum(axis=1)
  return {
    1: [b.sum() - 1],
    2: [b @ c - 1 / 2],
    3: [b @ c**2 - 1 / 3, b @ a @ c - 1 / 6],
    4: [b @ c**3 - 1 / 4, b * c @ a @ c - 1 / 8, b @ a @ c**2 - 1 / 12, b @ a @ a @ c - 1 / 24],
    5: [
      b @ c**4 - 1 / 5,
      b * c**2 @ a @ c - 1 / 10,
      b @ (a @ c) ** 2 - 1 / 20,
      b * c @ a @ c**2 - 1 / 15,
      b @ a @ c**3 - 1 / 20,
      b * c @ a @ a @ c - 1 / 30,
      b @ a @ (c * (a @ c)) - 1 / 40,
      b @ a @ a @ c**2 - 1 / 60,
      b @ a @ a @ a @ c - 1 / 120,
    ],
  }


def satisfied(a, b):
  """The order whose conditions hold."""
  orders = [n for n, rest in order_conditions(a, b).items() if np.abs(rest).max() > 1e-13]
  return min(orders, default=6) - 1


@pytest.mark.parametrize("name", METHODS)
def test_order_conditions(name):
  """Of the result, and one order less of what the error estimate compares it with."""
  method = METHODS[name]
  weights = method.weights()
  assert satisfied(weights[:-1], weights[-1]) == method.order
  if method.error:
    square = np.hstack([weights, np.zeros((method.nstage + 1, 1))])
    other = square[-1] - np.array(method.error)
    assert satisfied(square, other) == method.order - 1


def fixed_steps(name, h, **settings):
  """The method with steps of size h."""
  method = getattr(mjgrad, name)
  if name in PAIRS:
    return method(rtol=1e6, atol=1e6, max_step=h, **settings)
  return method(step=h, **settings)


def single(sim, start):
  """A float64 state of one world."""
  state = mgt.initial_state(sim).map(torch.Tensor.double)
  given = {name: torch.tensor([value], dtype=torch.float64) for name, value in start.items()}
  return dataclasses.replace(state, **given)


@pytest.mark.parametrize("name", METHODS)
def test_order_of_convergence(name):
  """Of a heavy top and of the gradient of where it ends."""
  mjm = models.variant(TOP)
  order = METHODS[name].order
  steps = 0.64 / np.array([4, 8, 16] if order > 2 else [64, 128, 256])
  adj = torch.tensor([[1.0, -2.0, 0.5]])
  results = []
  for h in (*steps, 0.64 / 100):
    method = fixed_steps(name, h) if h in steps else mjgrad.RK4(step=h)
    sim = mjgrad.Simulator(mjm, 1, "cpu", integrator=method)
    state = single(sim, TOP_START)
    state.qvel.requires_grad_()
    after = mgt.step(sim, state)
    gradient = torch.autograd.grad((adj * after.qvel).sum(), state.qvel)[0]
    results.append([after.qpos.detach().numpy()[0], gradient.numpy()[0]])
    assert len(sim.stats.step_size) == round(0.64 / h)
  qpos = integrate(mjm, **TOP_START, duration=0.64)[0]
  np.testing.assert_allclose(results[-1][0], qpos, atol=1e-6)
  for i, exact in enumerate((qpos, results[-1][1])):
    errors = np.array([np.linalg.norm(result[i] - exact) for result in results[:-1]])
    rates = np.log2(errors[:-1] / errors[1:])
    assert order - 0.6 < rates[-1] < order + 0.9, (rates, errors)


DRIVEN = """
  <body pos="0 0 1">
    <joint name="a" axis="0 1 0" damping="0.1"/>
    <inertial pos="0.1 0 -0.3" mass="1" diaginertia="0.02 0.03 0.05"/>
    <body pos="0 0.1 -0.5">
      <joint name="b" type="ball" damping="0.05" stiffness="2"/>
      <inertial pos="0.05 0 -0.3" mass="0.5" diaginertia="0.01 0.02 0.02"/>
    </body>
  </body>"""
ACTUATORS = """
  <general joint="a" gainprm="2" dyntype="integrator" actlimited="false"/>
  <general joint="a" gainprm="3" dyntype="filterexact" dynprm="0.05"/>
  <muscle joint="a" lengthrange="-1 1" force="4"/>
  <general joint="b" gear="0.3 0.5 -0.2" gainprm="2" dyntype="filter" dynprm="0.1"/>
  <motor joint="b" gear="1 0.2 0.1"/>"""


@pytest.fixture(scope="module")
def driven():
  """A model with all activation dynamics, its simulator and three states."""
  mjm = models.variant(
    f"""<mujoco><option timestep="0.05"><flag contact="disable"/></option>
    <worldbody>{DRIVEN}<body pos="2 0 0"><freejoint/>
      <inertial pos="0.1 0.1 0" mass="1" diaginertia="0.02 0.03 0.05"/></body></worldbody>
    <actuator>{ACTUATORS}</actuator></mujoco>"""
  )
  points = harness.random_points(mjm, 3, seed=4, position=0.3, velocity=3.0)
  rng = np.random.default_rng(5)
  points = [
    harness.with_inputs(
      p, act=rng.uniform(0.2, 0.8, mjm.na), ctrl=rng.uniform(0.1, 0.9, mjm.nu)
    ).float32()
    for p in points
  ]
  sim = mjgrad.Simulator(mjm, 3, "cpu", integrator=mjgrad.Tsit5(rtol=1e-8, atol=1e-8))
  return mjm, sim, points


def difference(function, eps):
  return (function(eps) - function(-eps)) / (2 * eps)


def reference_gradient(mjm, point, duration, adj, params):
  """Float64 differences of converged trajectories in every input and parameter of a world."""
  start = {name: getattr(point, name).copy() for name in ("qpos", "qvel", "act", "ctrl")}

  def value(mjm=mjm, **changed):
    given = {**start, **changed}
    qpos, qvel, act, _ = integrate(mjm, **given, duration=duration, tol=1e-12)
    tangent = np.zeros(mjm.nv)
    mujoco.mj_differentiatePos(mjm, tangent, 1.0, end, qpos)
    return np.concatenate([tangent, qvel, act]) @ adj

  end = integrate(mjm, **start, duration=duration, tol=1e-12)[0]

  def moved(eps, i):
    qpos, unit = start["qpos"].copy(), np.zeros(mjm.nv)
    unit[i] = 1.0
    mujoco.mj_integratePos(mjm, qpos, unit, eps)
    return value(qpos=qpos)

  def shifted(eps, name, i):
    array = start[name].copy()
    array[i] += eps
    return value(**{name: array})

  def scaled(eps, name, i):
    other = copy.deepcopy(mjm)
    owner, field = (other.opt, name[4:]) if name.startswith("opt.") else (other, name)
    array = np.atleast_1d(np.array(getattr(owner, field), dtype=float))
    array.flat[i] += eps
    setattr(owner, field, array if np.ndim(getattr(owner, field)) else float(array[0]))
    if name == "opt.timestep":
      return value_over(other, duration / mjm.opt.timestep * other.opt.timestep)
    return value(mjm=other)

  def value_over(other, length):
    qpos, qvel, act, _ = integrate(other, **start, duration=length, tol=1e-12)
    tangent = np.zeros(mjm.nv)
    mujoco.mj_differentiatePos(mjm, tangent, 1.0, end, qpos)
    return np.concatenate([tangent, qvel, act]) @ adj

  truth = {"qpos_tangent": [difference(lambda e, i=i: moved(e, i), 1e-5) for i in range(mjm.nv)]}
  for name in ("qvel", "act", "ctrl"):
    n = range(start[name].size)
    truth[name] = [difference(lambda e, i=i, m=name: shifted(e, m, i), 1e-5) for i in n]
  for name, entries in params.items():
    truth[name] = [difference(lambda e, i=i, m=name: scaled(e, m, i), 1e-5) for i in entries]
  return {name: np.array(entries) for name, entries in truth.items()}


PARAMS = {"body_mass": (1, 2, 3), "dof_damping": (0, 2), "actuator_dynprm": (10, 20, 21, 30)}
PARAMS |= {"actuator_gainprm": (0, 10), "opt.timestep": (0,), "opt.gravity": (0, 2)}


def cotangents(mjm, points, seed=0):
  """Random cotangents of the tangent (qpos, qvel, act), shape [nworld, 2 nv + na]."""
  rng = np.random.default_rng(seed)
  return rng.normal(size=(len(points), 2 * mjm.nv + mjm.na))


def ambient(mjm, qpos, adj_tangent):
  """Tangent cotangents as ambient ones: those of mj_differentiatePos at zero."""
  adj = np.zeros(mjm.nq)
  for i in range(mjm.nq):

    def displaced(eps, i=i):
      moved, tangent = qpos.copy(), np.zeros(mjm.nv)
      moved[i] += eps
      mujoco.mj_normalizeQuat(mjm, moved)
      mujoco.mj_differentiatePos(mjm, tangent, 1.0, qpos, moved)
      return tangent

    adj[i] = difference(displaced, 1e-6) @ adj_tangent
  return adj


def gradients(mjm, sim, points, adj, nstep, **options):
  """The engine's gradients, with ambient cotangents at the ends of converged trajectories."""
  given = harness.inputs(points)
  ends = [
    integrate(mjm, p.qpos, p.qvel, nstep * mjm.opt.timestep, act=p.act, ctrl=p.ctrl, tol=1e-9)[0]
    for p in points
  ]
  nv = mjm.nv
  rows = zip(ends, adj, strict=True)
  return step_gradient(
    sim,
    **given,
    adj_qpos=np.stack([ambient(mjm, qpos, row[:nv]) for qpos, row in rows]),
    adj_qvel=adj[:, nv : 2 * nv],
    adj_act=adj[:, 2 * nv :],
    nstep=nstep,
    **options,
  )


def test_gradients_of_every_input(driven):
  """Against differences of converged trajectories."""
  mjm, sim, points = driven
  adj = cotangents(mjm, points)
  found = gradients(mjm, sim, points, adj, 2, wrt_params=tuple(PARAMS))
  for world, point in list(enumerate(points))[:1]:
    truth = reference_gradient(mjm, point, 0.1, adj[world], PARAMS)
    for name, exact in truth.items():
      value = found.grad[name][world].reshape(-1)[list(PARAMS.get(name, range(exact.size)))]
      assert np.linalg.norm(exact) > 1e-3, name
      error = np.linalg.norm(value - exact) / np.linalg.norm(exact)
      assert error < RTOL, (name, world, error, value, exact)


def test_worlds_do_not_see_each_other(driven):
  """A world has the same steps, results and gradients alone as beside others, bit for bit."""
  mjm, sim, points = driven
  adj = cotangents(mjm, points)
  together = gradients(mjm, sim, points, adj, 2)
  counts = sim.stats.accepted
  assert len(set(counts)) > 1
  alone = mjgrad.Simulator(mjm, 1, "cpu", integrator=sim.integrator)
  for world, point in enumerate(points):
    single_world = gradients(mjm, alone, [point], adj[[world]], 2)
    assert alone.stats.accepted[0] == counts[world]
    np.testing.assert_array_equal(single_world.qvel[0], together.qvel[world])
    for name in ("qpos", "qvel", "act", "ctrl"):
      np.testing.assert_array_equal(single_world.grad[name][0], together.grad[name][world])


def test_a_call_ends_on_time(driven):
  """Exactly, in every world; what the controller learned goes on to the next call."""
  mjm, sim, points = driven
  values = harness.inputs(points)
  given = {name: torch.tensor(values[name]) for name in ("qpos", "qvel", "act")}
  state = dataclasses.replace(mgt.initial_state(sim).map(torch.Tensor.double), **given)
  ctrl = torch.tensor(np.stack([p.ctrl for p in points]))
  once = mgt.step(sim, state, ctrl, nstep=2)
  stats = sim.stats
  assert np.all(once.time.numpy() == 2 * mjm.opt.timestep)
  np.testing.assert_allclose(stats.step_size.sum(axis=0), 2 * mjm.opt.timestep, rtol=1e-14)
  assert np.all(stats.step_size.max(axis=0) <= mjm.opt.timestep * 1.01)
  assert np.all(stats.accepted > 2) and np.all(stats.rejected >= 0)
  half = mgt.step(sim, state, ctrl)
  assert np.all(half.controller[:, 0].numpy() > 0)
  twice = mgt.step(sim, half, ctrl)
  np.testing.assert_allclose(twice.qpos.numpy(), once.qpos.numpy(), atol=1e-6)
  assert sim.stats.rejected.max() <= 1
  fresh = mgt.step(sim, dataclasses.replace(half, controller=None), ctrl)
  assert np.all(sim.stats.rejected >= 1)
  np.testing.assert_allclose(fresh.qpos.numpy(), once.qpos.numpy(), atol=1e-6)


def test_budget_of_steps(driven):
  """Names the world and the time, in place of a hang."""
  mjm, _, points = driven
  sim = mjgrad.Simulator(mjm, 1, "cpu", integrator=mjgrad.Heun(1e-8, 1e-8, max_steps=20))
  with pytest.raises(
    mjgrad.StepLimit, match=r"world 0, in a call, [0-9.e-]+ s into its 0.05 s: the budget of 20"
  ):
    mgt.step(sim, mgt.initial_state(sim), torch.ones(1, mjm.nu))
  assert sim.stats.accepted[0] + sim.stats.rejected[0] == 20
  sim = mjgrad.Simulator(mjm, 1, "cpu", integrator=mjgrad.Euler(step=1e-3))
  state = mgt.initial_state(sim)
  after = mgt.step(sim, state, nstep=1)
  assert sim.stats.accepted[0] == 50 and after.time[0] == np.float32(0.05)


def pendulum(**options):
  mjm = models.variant(
    """<mujoco><option timestep="4.096"/><worldbody><body>
      <joint type="hinge" axis="0 1 0" damping="0.05"/>
      <inertial pos="0 0 -0.3" mass="1" diaginertia="0.02 0.03 0.05"/>
    </body></worldbody></mujoco>"""
  )
  sim = mjgrad.Simulator(mjm, 1, "cpu", integrator=mjgrad.Euler(step=1e-3), **options)
  return sim, single(sim, dict(qpos=[1.0], qvel=[0.5]))


def test_memory_follows_the_checkpoints():
  """The gradient of 4096 steps is the same, bit for bit, whatever the number of kept states."""
  gradients, saved = [], {}
  for checkpoints in (8, 64, 5000):
    sim, state = pendulum(adjoint=mjgrad.Discretise(checkpoints=checkpoints))
    state.qvel.requires_grad_()
    sizes = []
    pack = lambda t, sizes=sizes: sizes.append(t.numel() * t.element_size()) or t  # noqa: E731
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
      after = mgt.step(sim, state)
    assert sim.stats.accepted[0] == 4096
    saved[checkpoints] = sum(sizes)
    gradients.append(torch.autograd.grad(after.qpos.sum(), state.qvel)[0].item())
  assert gradients[0] != 0 and len(set(gradients)) == 1
  state_bytes = 2 * 8 + 2 * 4  # qpos and qvel in float64, qacc and qfrc_smooth in float32
  step_sizes, rest = 4096 * 9, 64  # and what happened in each step
  assert saved[5000] >= 4096 * state_bytes
  for checkpoints in (8, 64):
    assert saved[checkpoints] <= checkpoints * state_bytes + step_sizes + rest
  assert saved[64] - saved[8] >= (64 / 4 - 8) * state_bytes


def test_backsolve_agrees_with_discretise(driven):
  """On smooth motion, in every input and parameter, at its own tolerances."""
  mjm, sim, points = driven
  adj = cotangents(mjm, points)
  names = tuple(PARAMS)
  exact = gradients(mjm, sim, points, adj, 2, wrt_params=names)
  errors = []
  for tol in (1e-4, 1e-7):
    adjoint = mjgrad.Backsolve(mjgrad.Dopri5(rtol=tol, atol=tol))
    back = mjgrad.Simulator(mjm, 3, "cpu", integrator=sim.integrator, adjoint=adjoint)
    found = gradients(mjm, back, points, adj, 2, wrt_params=names)
    errors.append(
      [
        np.linalg.norm(found.grad[name] - exact.grad[name]) / np.linalg.norm(exact.grad[name])
        for name in ("qpos", "qvel", "act", "ctrl", *names)
      ]
    )
  assert max(errors[1]) < RTOL, errors
  assert np.median(errors[1]) < np.median(errors[0])


def test_order_of_backsolve():
  """Of the gradient, with fixed steps back."""
  mjm = models.variant(TOP)
  adj = torch.tensor([[1.0, -2.0, 0.5]])
  results = []
  for adjoint in (
    *(mjgrad.Backsolve(mjgrad.RK4(step=0.64 / n)) for n in (8, 16, 32)),
    mjgrad.Discretise(),
  ):
    sim = mjgrad.Simulator(mjm, 1, "cpu", integrator=mjgrad.RK4(step=0.64 / 100), adjoint=adjoint)
    state = single(sim, TOP_START)
    state.qvel.requires_grad_()
    after = mgt.step(sim, state)
    results.append(torch.autograd.grad((adj * after.qvel).sum(), state.qvel)[0].numpy())
  errors = np.array([np.linalg.norm(result - results[-1]) for result in results[:-1]])
  rates = np.log2(errors[:-1] / errors[1:])
  assert 3.4 < rates[-1] < 4.9, (rates, errors)


def test_what_is_refused(driven):
  mjm = driven[0]
  with pytest.raises(mjgrad.InvalidInput, match="adjoint is for simulators with an integrator"):
    mjgrad.Simulator(mjm, 1, "cpu", adjoint=mjgrad.Discretise())
  with pytest.raises(mjgrad.InvalidInput, match="rtol is 0.0"):
    mjgrad.Tsit5(rtol=0.0)
  limited = copy.deepcopy(mjm)
  limited.actuator_actlimited[0] = 1
  limited.actuator_actrange[0] = 0, 1
  mjgrad.Simulator(limited, 1, "cpu", integrator=mjgrad.Tsit5())
  with pytest.raises(mjgrad.UnsupportedFeature, match="actuator 0: an activation that its range"):
    mjgrad.Simulator(limited, 1, "cpu", integrator=mjgrad.Tsit5(), adjoint=mjgrad.Backsolve())


TOSS = """
  <mujoco>
    <option gravity="0 0 -2" timestep="0.01"><flag eulerdamp="disable" refsafe="disable"/></option>
    <default><geom solref="0.005 1" solimp="0 0.95 0.001 0.5 2"/></default>
    <worldbody>
      <geom type="plane" size="5 5 .1"/>
      <body pos="0 0 0.2" euler="60 0 0">
        <freejoint/><geom type="box" size="0.05 0.05 0.05" density="100"/>
      </body>
    </worldbody>
  </mujoco>"""
# tests/integrators/reference.py at 1e-11, differences over 1e-4 and 1e-5: 0.575767 and 0.575773.
TOSS_LOSS, TOSS_GRADIENT = -0.2608961, 0.57577


def toss(method, adjoint=None):
  """Where a tossed cube is after a second, and its derivative in the speed that it falls with."""
  mjm = models.variant(TOSS)
  sim = mjgrad.Simulator(mjm, 1, "cpu", integrator=method, adjoint=adjoint)
  state = single(sim, dict(qvel=[0.0, -0.1, -2.0, 0.0, 0.0, 0.0]))
  state.qvel.requires_grad_()
  after = mgt.step(sim, state, nstep=100)
  gradient = torch.autograd.grad(after.qpos[0, 1], state.qvel)[0]
  return sim.stats, after.qpos[0, 1].item(), gradient[0, 2].item()


def test_toss():
  """Through tens of switches of contacts and friction; the bar is that of the best tolerance.

  Short steps across the switches are what makes the gradient right, with hardly more of them.
  """
  method = mjgrad.Dopri5(rtol=1e-6, atol=1e-6, max_step=0.2)
  stats, loss, gradient = toss(method)
  assert abs(loss - TOSS_LOSS) < 1e-5
  assert abs(gradient - TOSS_GRADIENT) < 1e-3 * TOSS_GRADIENT
  plain, loss, gradient = toss(dataclasses.replace(method, switching=1.0))
  assert abs(loss - TOSS_LOSS) < 1e-3
  assert abs(gradient - TOSS_GRADIENT) > 5e-3 * TOSS_GRADIENT
  assert stats.accepted[0] < 2 * plain.accepted[0]


def test_mocap_and_forces():
  """Inputs besides controls receive their share of every stage, from both adjoints."""
  mjm = models.variant(
    """<mujoco><option timestep="0.04" gravity="0 0 0"/><worldbody>
      <body name="guide" mocap="true" pos="0 0 1"/>
      <body name="ball" pos="0 0 1">
        <freejoint/><geom size="0.1" contype="0" conaffinity="0"/>
      </body>
    </worldbody>
    <equality><weld body1="guide" body2="ball" solref="0.1 0.5" solimp="0.2 0.2 1"/></equality>
    </mujoco>"""
  )
  adj = np.array([1.0, 2.0, -1.0, 0.5, 0.3, -0.7])
  given = {"mocap_pos": np.array([[0.05, -0.02, 1.03]]), "xfrc_applied": np.full((3, 6), 0.1)}

  def moved(eps, name, i):
    inputs = {key: value.copy() for key, value in given.items()}
    inputs[name].flat[i] += eps
    return integrate(mjm, mjm.qpos0, np.zeros(mjm.nv), 0.08, **inputs)[1] @ adj

  truth = {
    "mocap_pos": [difference(lambda e, i=i: moved(e, "mocap_pos", i), 1e-4) for i in range(3)],
    "xfrc_applied": [
      difference(lambda e, i=i: moved(e, "xfrc_applied", i), 1e-3) for i in (12, 17)
    ],
  }
  for adjoint in (mjgrad.Discretise(), mjgrad.Backsolve(mjgrad.Dopri5(1e-7, 1e-7))):
    method = mjgrad.Tsit5(rtol=1e-7, atol=1e-7)
    sim = mjgrad.Simulator(mjm, 1, "cpu", integrator=method, adjoint=adjoint)
    inputs = {
      name: torch.tensor(value[None], dtype=torch.float32, requires_grad=True)
      for name, value in given.items()
    }
    state = mgt.initial_state(sim).map(torch.Tensor.double)
    after = mgt.step(sim, state, nstep=2, **inputs)
    found = torch.autograd.grad((torch.tensor(adj) * after.qvel).sum(), list(inputs.values()))
    for (name, exact), value in zip(truth.items(), found, strict=True):
      assert np.linalg.norm(exact) > 1e-2
      value = value.numpy().reshape(-1)[[12, 17] if name == "xfrc_applied" else slice(None)]
      np.testing.assert_allclose(value, exact, rtol=1e-4, atol=1e-4 * np.linalg.norm(exact))


def test_contacts_from_distance():
  """The surrogate acts at the stages of every method: all are near the one that MuJoCo has."""
  mjm = models.variant(
    """<mujoco><option timestep="0.01" gravity="0 0 -1"/><worldbody>
      <geom type="plane" size="1 1 .1"/>
      <body pos="0 0 0.13"><freejoint/><geom size="0.1"/></body>
    </worldbody></mujoco>""",
    integrator="rk4",
  )
  found = []
  pair = mjgrad.Dopri5(rtol=1e-6, atol=1e-6)
  for method, adjoint in ((None, None), (pair, None), (pair, mjgrad.Backsolve())):
    sim = mjgrad.Simulator(
      mjm,
      1,
      "cpu",
      integrator=method,
      adjoint=adjoint,
      surrogate=mjgrad.ContactsFromDistance(width=0.05),
    )
    state = single(sim, dict(qvel=[0.3, 0.0, -0.5, 0.0, 0.0, 0.0]))
    state.qvel.requires_grad_()
    after = mgt.step(sim, state, nstep=3)
    loss = after.qvel.sum() + after.qpos[0, 2]
    found.append(torch.autograd.grad(loss, state.qvel)[0])
  assert (found[0] - 1).abs().max() > 0.1  # a ball that does not touch, and yet has a force
  for other in found[1:]:
    torch.testing.assert_close(other, found[0], rtol=1e-4, atol=1e-4)
