"""Steps of several stages: the forward step is the engine's, the backward one is exact.

RK4 is MuJoCo's own; a second tableau with full rows stands for all others.
"""

import functools

import mujoco
import mujoco_warp as mjw
import numpy as np
import pytest
import torch

import mjgrad
import mjgrad.torch as mgt
from mjgrad._src.check import stages
from mjgrad._src.integrators.tableau import RK4
from mjgrad._src.integrators.tableau import Tableau
from mjgrad._src.linearize import step_gradient
from tests import models
from tests import oracles
from tests.terms import harness
from tests.terms import test_activation
from tests.terms import test_dcmotor
from tests.terms import test_equality
from tests.terms.chain import chain
from tests.terms.chain import free_body
from tests.test_chain import SIXTEEN_STEPS
from tests.test_chain import errors_of
from tests.test_step_models import assert_passed

# Kutta's 3/8 rule: order 4, and no row of it has a single entry.
THREE_EIGHTS = Tableau(
  a=((1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0)), b=(1 / 8, 3 / 8, 3 / 8, 1 / 8), order=4
)
TABLEAUS = {"rk4": RK4, "three_eighths": THREE_EIGHTS}
# Forces of these models are good to about 1e-6 in float32, as in the tests of the terms.
RTOL = 5e-5
STATE = ("qpos", "qvel", "act", "time", "qacc", "qacc_warmstart")


LIMB = """
  <body pos="0.2 0 0.1">
    <joint type="ball" damping="0.05" stiffness="0.4"/>
    <inertial pos="0.05 0 -0.1" mass="0.3" diaginertia="0.01 0.02 0.02"/>
    <body pos="0 0.1 -0.2">
      <joint type="hinge" axis="1 0 0.2" damping="0.02"/>
      <inertial pos="0 0.1 -0.1" mass="0.2" diaginertia="0.01 0.01 0.02"/>
    </body>
  </body>"""


def spinning():
  """A free body with limbs; its rotations turn by some 0.3 rad in a step of 0.04 s."""
  mjm = free_body(child=LIMB, integrator="rk4")
  mjm.opt.timestep = 0.04
  return mjm


def spinning_points(mjm, count=3):
  return harness.random_points(mjm, count, seed=2, position=0.3, velocity=4.0)


@pytest.mark.parametrize("tableau", TABLEAUS.values(), ids=TABLEAUS)
def test_order_conditions(tableau):
  """The eight conditions of order four (Hairer, Norsett and Wanner, table II.2.1)."""
  a, b, c = tableau.weights()[:-1], np.array(tableau.b), np.array(tableau.c)
  sums = [b.sum(), b @ c, b @ c**2, b @ a @ c, b @ c**3, b * c @ a @ c, b @ a @ c**2, b @ a @ a @ c]
  expected = [1, 1 / 2, 1 / 3, 1 / 6, 1 / 4, 1 / 8, 1 / 12, 1 / 24]
  np.testing.assert_allclose(sums, expected, rtol=1e-14)


def test_inconsistent_tableau():
  with pytest.raises(AssertionError):
    Tableau(a=((1 / 2,),), b=(1 / 2, 1 / 2), order=2)
  with pytest.raises(AssertionError):
    Tableau(a=((1 / 2,), (1.0,)), b=(0.0, 0.0, 1.0), order=2)


MODELS = {
  "joints": lambda: models.variant(models.JOINTS, integrator="rk4"),
  "stateful": lambda: models.variant(models.STATEFUL, integrator="rk4"),
  "ant": lambda: models.gym("ant"),
  "ant_elliptic": lambda: models.variant(models.gym("ant"), cone="elliptic"),
}


@pytest.mark.parametrize("name", MODELS)
def test_recorded_step_is_the_engines(name):
  """Bit for bit, over three steps: states, acceleration, warm start and time."""
  mjm = MODELS[name]()
  points = [state.point for state in oracles.sample_states(mjm, 6, seed=1)]
  sim = mjgrad.Simulator(mjm, len(points), "cpu")
  data = mjw.make_data(mjm, nworld=len(points))
  program = sim.program({}, 3)
  for field, value in harness.inputs(points).items():
    for d in (sim.data, data):
      target = getattr(d, field)
      target.assign(value.astype(np.float32).reshape(target.numpy().shape))
  program.forward(record=True)
  for _ in range(3):
    mjw.step(sim.model, data)
  for field in STATE:
    np.testing.assert_array_equal(getattr(sim.data, field).numpy(), getattr(data, field).numpy())
  if name != "stateful":
    assert data.nefc.numpy().max() > 0


@pytest.mark.parametrize("name", TABLEAUS)
def test_order_of_convergence(name):
  """Half the step, a sixteenth of the error, for a heavy top on a ball joint."""
  top = """
    <mujoco><worldbody><body>
      <joint type="ball"/>
      <inertial pos="0 0 0.3" mass="1" diaginertia="0.02 0.03 0.05"/>
    </body></worldbody></mujoco>"""
  duration, errors = 0.64, []
  start = dict(qpos=[0.9, 0.2, 0.1, 0.3], qvel=[2.0, -1.0, 4.0])

  def final(h, step):
    mjm = models.variant(top, integrator="rk4")
    mjm.opt.timestep = h
    return step(mjm, round(duration / h))

  def truth(mjm, count):
    mjd = mujoco.MjData(mjm)
    mjd.qpos[:], mjd.qvel[:] = start["qpos"], start["qvel"]
    mujoco.mj_step(mjm, mjd, count)
    return mjd.qpos.copy()

  def ours(mjm, count):
    sim = mjgrad.Simulator(mjm, 1, "cpu")
    sim.tableau = TABLEAUS[name]
    sim.data.qpos.assign(np.array([start["qpos"]], dtype=np.float32))
    sim.data.qvel.assign(np.array([start["qvel"]], dtype=np.float32))
    sim.program({}, count).forward(record=True)
    return sim.data.qpos.numpy()[0].astype(np.float64)

  reference = final(1e-3, truth)
  errors = [np.linalg.norm(final(h, ours) - reference) for h in (0.16, 0.08, 0.04)]
  assert errors[-1] > 1e-5  # far above rounding
  rates = np.log2(np.array(errors[:-1]) / errors[1:])
  assert np.all(np.abs(rates - 4) < 0.5), (rates, errors)


@pytest.mark.parametrize("name", TABLEAUS)
def test_spinning_joints(monkeypatch, name):
  """Every channel, where the rates of the rotation vectors are far from the angular velocities."""
  mjm, tableau = spinning(), TABLEAUS[name]
  monkeypatch.setattr("mjgrad._src.engine.simulator.TABLEAUS", {int(mjm.opt.integrator): tableau})
  step = functools.partial(stages.runge_kutta, evaluate=mujoco.mj_forward, tableau=tableau)
  monkeypatch.setattr(stages, "step", step)
  points = spinning_points(mjm)
  states = [oracles.CheckState(point, "posed", (), 0, 8) for point in points]
  params = ("body_mass", "dof_damping", "jnt_stiffness", "opt.timestep")
  result = oracles.run_check(mjm, states=states, params=params, device="cpu")
  assert_passed(result)


CONTACT = ("body_mass", "geom_size")
GYM = {
  "hopper": ({"contact"}, CONTACT),
  "half_cheetah": ({"contact"}, CONTACT),
  "swimmer": ({"joint_limit"}, ("body_mass", "opt.viscosity", "opt.timestep")),
}
SLOW_GYM = {"walker2d": {"contact"}, "ant": {"contact", "sliding"}}


def check_gym(name, happens, nstates, params):
  """One step of a model as gymnasium ships it, at the project's bars (test_step_models.py)."""
  mjm = models.gym(name)
  assert mjm.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4 or name == "half_cheetah"
  mjm.opt.integrator = mujoco.mjtIntegrator.mjINT_RK4
  result = oracles.run_check(mjm, nstates=nstates, seed=1, params=params, device="cpu")
  assert_passed(result, compared=0.6)
  assert happens <= {label for state in result.states for label in state.labels}


@pytest.mark.parametrize("name", GYM)
def test_gym(name):
  happens, params = GYM[name]
  check_gym(name, happens, 6, params)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW_GYM)
def test_more_of_gym(name):
  check_gym(name, SLOW_GYM[name], 16, ("body_mass", "geom_size", "geom_friction"))


def activated(early):
  """An actuator with each of the activation dynamics."""
  law = f'{test_activation.LAW} actearly="{early}"'
  joints = ("hinge", "slide", "last", "hinge", "last")
  actuators = zip(joints, test_activation.DYNAMICS.values(), strict=True)
  return chain(
    actuator="".join(f'<general joint="{j}" {law} {dynamics}/>' for j, dynamics in actuators),
    integrator="rk4",
  )


@pytest.mark.parametrize("early", ["false", "true"])
def test_activations_drive_the_stages(early):
  """Unlike in a step of one stage, the control acts on the velocity through later stages."""
  mjm = activated(early)
  points = test_activation.active_points(mjm, 3)
  params = ("actuator_dynprm", "opt.timestep")
  for on, more in (("qvel", test_activation.PARAMS), ("act", ())):
    channels = test_activation.CHANNELS if on == "qvel" else ("act", "ctrl")
    found, _ = harness.compare(mjm, points, (*params, *more), channels=channels, on=on)
    harness.assert_close(found, RTOL)
    assert np.all(found["act"].value != 0) and np.all(found["ctrl"].value != 0)


def test_activation_clamp():
  """`actrange` holds the result, not the stages: the control still acts on the velocity."""
  dynamics = test_activation.DYNAMICS["integrator"]
  mjm = test_activation.model(dynamics, "rk4", 'actrange="-0.5 0.5"')
  points = [
    harness.with_inputs(p, act=[0.499, -0.499, 0.1], ctrl=[2.0, -2.0, 1.0]).float32()
    for p in test_activation.active_points(mjm, 3)
  ]
  ranges = ("actuator_actrange",)
  found, _ = harness.compare(mjm, points, ranges, channels=("act", "ctrl"), on="act")
  harness.assert_close(found, RTOL)
  assert np.all(found["ctrl"].value[:, :2] == 0) and np.all(found["ctrl"].value[:, 2] != 0)
  found, _ = harness.compare(mjm, points, channels=("act", "ctrl"))
  harness.assert_close(found, RTOL)
  assert np.all(found["ctrl"].value != 0)


def test_control_clamp():
  """A clamped control drives the activations of all stages through its range."""
  dynamics = test_activation.DYNAMICS["filter"]
  mjm = test_activation.model(dynamics, "rk4", 'ctrlrange="-0.4 0.6"')
  points = [
    harness.with_inputs(p, ctrl=[0.9, -0.8, 0.1]).float32()
    for p in test_activation.active_points(mjm, 3)
  ]
  for on in ("qvel", "act"):
    found, _ = harness.compare(mjm, points, ("actuator_ctrlrange",), channels=("ctrl",), on=on)
    harness.assert_close(found, RTOL)
    assert np.all(found["ctrl"].value[:, :2] == 0) and np.all(found["ctrl"].value[:, 2] != 0)


@pytest.mark.parametrize("name", ["connect", "weld"])
def test_velocity_products_of_equalities(name):
  """Every stage builds its rows from its own velocities, in plain steps as in recorded ones."""
  source = test_equality.MODEL.format(test_equality.EQUALITIES[name])
  mjm = models.variant(source, integrator="rk4")
  points = harness.random_points(mjm, 4, seed=3, position=0.1, velocity=2.0)
  found, _ = harness.compare(mjm, points)
  harness.assert_close(found, test_equality.RTOL, worst=test_equality.WORST)
  sim = mjgrad.Simulator(mjm, 4, "cpu")
  results = []
  for record in (False, True):
    for field, value in harness.inputs(points).items():
      target = getattr(sim.data, field)
      target.assign(value.astype(np.float32).reshape(target.numpy().shape))
    sim.data.qacc_warmstart.zero_()
    sim.program({}, 2).forward(record)
    results.append(sim.data.qvel.numpy().copy())
  np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("solver, cone", [("cg", "elliptic"), ("newton", "elliptic")])
def test_early_stop(solver, cone):
  """Every stage is corrected to the root of its equation."""
  mjm = models.variant(models.scene("plane", "capsule"), integrator="rk4", cone=cone, solver=solver)
  states = [s for s in oracles.sample_states(mjm, 24, seed=3) if "contact" in s.labels][:6]
  result = oracles.run_check(mjm, states=states, params=("geom_friction",), device="cpu")
  assert_passed(result, ("ctrl",), compared=0.6)


def test_motors_without_activation():
  """The stages of stateful DC motors advance by laws of their own, which are refused."""
  mjm = test_dcmotor.model("servo", "rk4")
  found, _ = harness.compare(mjm, test_dcmotor.points(mjm, 3), channels=("qpos", "qvel", "ctrl"))
  harness.assert_close(found, RTOL)
  with pytest.raises(
    mjgrad.UnsupportedFeature, match="actuator 0: the engine takes whole steps of these dynamics"
  ):
    mjgrad.Simulator(test_dcmotor.model("inductance", "rk4"), 1, "cpu")


def test_sixteen_steps():
  mjm = models.gym("hopper")
  states = oracles.sample_states(mjm, 12, 0)
  points = [s.point for s in states if "contact" in s.labels][:2]
  sim = mjgrad.Simulator(mjm, len(points), "cpu")
  ctrls = 0.5 * torch.randn(1, len(points), mjm.nu, generator=torch.Generator().manual_seed(1))
  errors = errors_of(mjm, sim, points, ctrls)
  assert len(errors) == 2
  assert errors.max() < SIXTEEN_STEPS, errors


def test_shared_and_per_world_parameters():
  """The gradient of a shared parameter is the sum over worlds, and every world has its own."""
  mjm = spinning()
  points = spinning_points(mjm)
  rng = np.random.default_rng(0)
  adj_qvel = rng.normal(size=(3, mjm.nv))
  scale = 1 + 0.1 * rng.random((3, 1))
  sim = mjgrad.Simulator(mjm, 3, "cpu")
  inputs = {**harness.inputs(points), "adj_qpos": np.zeros((3, mjm.nq)), "nstep": 4}
  masses = mjm.body_mass * scale
  own = step_gradient(sim, adj_qvel=adj_qvel, params={"body_mass": masses}, **inputs)
  for world in range(3):
    alone = {"body_mass": masses[world]}
    only = adj_qvel * (np.arange(3) == world)[:, None]
    shared = step_gradient(sim, adj_qvel=only, params=alone, **inputs).grad["body_mass"][0]
    np.testing.assert_allclose(own.grad["body_mass"][world], shared, rtol=1e-4, atol=1e-6)
    assert np.all(shared[1:] != 0)


def test_a_call_is_a_function_of_its_tape():
  """Two calls before their backward passes, through PyTorch."""
  mjm = models.variant(models.STATEFUL, integrator="rk4")
  sim = mjgrad.Simulator(mjm, 2, "cpu")
  state = mgt.initial_state(sim)
  ctrl = torch.full((2, mjm.nu), 0.3, requires_grad=True)
  other = torch.full((2, mjm.nu), -0.2, requires_grad=True)
  first = mgt.step(sim, state, ctrl, nstep=3)
  alone = torch.autograd.grad(first.qvel.sum() + first.act.sum(), ctrl, retain_graph=True)[0]
  mgt.step(sim, state, other, nstep=3)
  after = torch.autograd.grad(first.qvel.sum() + first.act.sum(), ctrl)[0]
  np.testing.assert_array_equal(alone.numpy(), after.numpy())
  assert torch.all(alone != 0)


def test_branch_of_a_later_stage():
  """A ball that reaches the floor within the step is near a switch of a later stage."""
  mjm = models.variant(models.BALL_ON_PLANE, integrator="rk4")
  mjm.opt.timestep = 0.01
  oracle = oracles.Oracle(mjm)
  branches = []
  for height in (0.012, 0.007, 0.003):  # reached by no stage, by the last one, by all but the first
    point = oracles.point(mjm, qpos=[height + 0.002], qvel=[-1.0])
    branches.append(oracle.branch(point, oracle.step(point)))
  assert all(branch.zones.size == 0 for branch in branches)
  assert len({branch.signature for branch in branches}) == 3
