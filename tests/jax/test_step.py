"""The JAX front end: gradients under jit, scan and vmap, types, errors."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="the JAX front end needs jax: pip install 'mjgrad[jax]'")

import jax.numpy as jnp  # noqa: E402
import torch  # noqa: E402

import mjgrad  # noqa: E402
import mjgrad.jax as mgj  # noqa: E402
import mjgrad.torch as mgt  # noqa: E402
from mjgrad._src.engine.parameters import host_value  # noqa: E402
from tests import models  # noqa: E402

# Both front ends replay the same graphs; only the sums over calls are taken in another order.
RTOL = 2e-6

NWORLD = 3
PARAMS = {"ant": ("body_mass", "opt.gravity"), "stateful": ("actuator_gainprm", "dof_damping")}


@pytest.fixture(scope="module")
def sims():
  return {
    "ant": mjgrad.Simulator(models.ant(), NWORLD, "cpu"),
    "stateful": mjgrad.Simulator(models.load(models.STATEFUL), NWORLD, "cpu"),
  }


@pytest.fixture(scope="module")
def cartpole():
  return mjgrad.Simulator(models.cartpole(), NWORLD, "cpu")


def random(*shape, seed=1):
  return 0.3 * np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def inputs(sim, names, fields=("qvel", "act")):
  """Fields of the state, controls for three calls and parameters, the second one per world."""
  state = mgj.initial_state(sim)
  leaves = {n: getattr(state, n) + random(*getattr(state, n).shape, seed=3) for n in fields}
  leaves["qpos"] = np.array(state.qpos)
  if sim.nq > sim.nv:
    leaves["qpos"][:, 2] = 0.24  # the torso on the ground
  leaves["ctrls"] = random(3, sim.nworld, sim.nu)
  shared, own = (host_value(sim.mjm, name).astype(np.float32) for name in names)
  leaves[names[0]] = shared
  leaves[names[1]] = np.array([own * (1 + 0.1 * k) for k in range(sim.nworld)])
  return {name: np.asarray(value, np.float32) for name, value in leaves.items()}


def loss(front, sim, names, x):
  """A loss of three calls of two steps, in either front end."""
  start = front.initial_state(sim)
  params = {name: x[name] for name in names}
  state = front.State(x["qpos"], x["qvel"], x["act"], start.qacc_warmstart, start.time)
  total = 0.0
  for k in range(3):
    state = front.step(sim, state, x["ctrls"][k], nstep=2, params=params)
    total = total + (state.qpos**2).sum() + (state.qvel**2).sum() + (state.act**2).sum()
  return total


def torch_gradient(function, x):
  leaves = {name: torch.tensor(value, requires_grad=True) for name, value in x.items()}
  value = function(leaves)
  value.backward()
  return value.detach().numpy(), {name: leaf.grad.numpy() for name, leaf in leaves.items()}


def assert_same(actual, expected, skip=()):
  for name, truth in expected.items():
    assert name in skip or np.abs(truth).max() > 0, name
    scale = np.abs(truth).max(initial=0.0)
    np.testing.assert_allclose(actual[name], truth, rtol=0, atol=RTOL * scale, err_msg=name)


@pytest.mark.parametrize("name", ["ant", "stateful"])
def test_gradient_is_that_of_the_torch_front_end(sims, name):
  sim, names = sims[name], PARAMS[name]
  x = inputs(sim, names)
  truth, expected = torch_gradient(lambda x: loss(mgt, sim, names, x), x)
  value, grads = jax.jit(jax.value_and_grad(lambda x: loss(mgj, sim, names, x)))(x)
  np.testing.assert_allclose(value, truth, rtol=RTOL)
  assert_same(grads, expected, skip=() if sim.na else ("act",))
  if name == "ant":
    assert sim.data.nacon.numpy()[0] >= NWORLD
  eager = jax.grad(lambda x: loss(mgj, sim, names, x))(x)
  assert_same(eager, expected, skip=() if sim.na else ("act",))


def test_gradient_through_a_rollout(sims):
  sim, names = sims["stateful"], PARAMS["stateful"]
  x = inputs(sim, names)

  def trajectory_loss(front, x):
    start = front.initial_state(sim)
    state = front.State(x["qpos"], x["qvel"], x["act"], start.qacc_warmstart, start.time)
    params = {name: x[name] for name in names}
    states = front.rollout(sim, state, x["ctrls"], nstep=2, params=params)
    assert states.qpos.shape == (3, NWORLD, sim.nq) and states.time.shape == (3, NWORLD)
    return (states.qpos**2).sum() + (states.qvel[-1] ** 2).sum()

  truth, expected = torch_gradient(lambda x: trajectory_loss(mgt, x), x)
  value, grads = jax.jit(jax.value_and_grad(lambda x: trajectory_loss(mgj, x)))(x)
  np.testing.assert_allclose(value, truth, rtol=RTOL)
  assert_same(grads, expected)
  assert_same(jax.grad(lambda x: trajectory_loss(mgj, x))(x), expected)


def test_applied_forces(cartpole):
  x = {
    "qfrc_applied": random(NWORLD, cartpole.nv, seed=4),
    "xfrc_applied": random(NWORLD, cartpole.nbody, 6, seed=5),
  }

  def forced(front, x):
    return (front.step(cartpole, front.initial_state(cartpole), nstep=2, **x).qvel ** 2).sum()

  _, expected = torch_gradient(lambda x: forced(mgt, x), x)
  assert_same(jax.jit(jax.grad(lambda x: forced(mgj, x)))(x), expected)


DELAYED = models.PENDULUM.replace("<motor ", '<motor delay="0.004" nsample="4" interp="linear" ')


def test_past_controls():
  """Gradients reach the entries of the buffer from which delayed actuators read."""
  sim = mjgrad.Simulator(models.load(DELAYED), NWORLD, "cpu")
  start = mgt.initial_state(sim)
  state = mgt.step(sim, start, torch.tensor(random(NWORLD, 1)), nstep=6)
  x = {"history": state.history.numpy(), "ctrls": random(4, NWORLD, 1, seed=2)}
  fields = {n: getattr(state, n).numpy() for n in ("qpos", "qvel", "act", "qacc_warmstart", "time")}

  def swung(front, x):
    as_array = torch.tensor if front is mgt else jnp.asarray
    given = {name: as_array(value) for name, value in fields.items()}
    state = front.State(**given, history=x["history"])
    return (front.rollout(sim, state, x["ctrls"]).qvel ** 2).sum()

  _, expected = torch_gradient(lambda x: swung(mgt, x), x)
  assert_same(jax.jit(jax.grad(lambda x: swung(mgj, x)))(x), expected)


MOCAP = """
<mujoco>
  <worldbody>
    <body name="hand" mocap="true" pos="0 0 1"><site name="palm" pos="0.1 0 0"/></body>
    <body name="ball" pos="0 0 0.9"><freejoint/><geom size="0.05"/></body>
  </worldbody>
  <equality><weld body1="hand" body2="ball"/></equality>
</mujoco>
"""


def test_mocap_poses_in_steps_and_observations():
  sim = mjgrad.Simulator(models.load(MOCAP), NWORLD, "cpu")
  x = {
    "mocap_pos": np.array([0, 0, 1]) + random(NWORLD, 1, 3, seed=4),
    "mocap_quat": np.array([1, 0, 0, 0]) + random(NWORLD, 1, 4, seed=5),
  }
  x = {name: value.astype(np.float32) for name, value in x.items()}

  def moved(front, x):
    state = front.step(sim, front.initial_state(sim), nstep=2, **x)
    palm = front.observe(sim, state, ["site_xpos"], **x)["site_xpos"]
    return (state.qvel**2).sum() + palm[..., 0].sum()

  _, expected = torch_gradient(lambda x: moved(mgt, x), x)
  assert_same(jax.jit(jax.grad(lambda x: moved(mgj, x)))(x), expected)


def test_observations(sims):
  sim = sims["ant"]
  x = inputs(sim, PARAMS["ant"], fields=("qvel",))
  x = {name: x[name] for name in ("qpos", "qvel", "body_mass")}
  names = ["xmat", "subtree_com", "cvel"]
  weights = {"xmat": random(3, 3), "subtree_com": random(3), "cvel": random(6)}

  def seen(front, x):
    start = front.initial_state(sim)
    state = front.State(x["qpos"], x["qvel"], start.act, start.qacc_warmstart, start.time)
    out = front.observe(sim, state, names, {"body_mass": x["body_mass"]})
    assert out["xmat"].shape == (NWORLD, sim.nbody, 3, 3)
    as_array = torch.tensor if front is mgt else jnp.asarray
    return sum((out[n] * as_array(weights[n])).sum() for n in names)

  truth, expected = torch_gradient(lambda x: seen(mgt, x), x)
  value, grads = jax.jit(jax.value_and_grad(lambda x: seen(mgj, x)))(x)
  np.testing.assert_allclose(value, truth, rtol=1e-5)
  assert_same(grads, expected)


def test_calls_in_between_do_not_disturb_a_gradient(cartpole):
  """The backward pass depends on the arguments of its call alone."""
  state = mgj.initial_state(cartpole)
  ctrl = jnp.asarray(random(NWORLD, 1))

  def velocity(ctrl):
    return (mgj.step(cartpole, state, ctrl).qvel ** 2).sum()

  expected = jax.grad(velocity)(ctrl)
  _, pull_back = jax.vjp(velocity, ctrl)
  other = mgj.State(state.qpos + 1.0, state.qvel + 2.0, state.act, state.qacc_warmstart, state.time)
  mass = host_value(cartpole.mjm, "body_mass")
  mgj.step(cartpole, other, 3.0 * ctrl, nstep=3, params={"body_mass": 2.0 * mass})
  jax.grad(lambda c: mgj.step(cartpole, other, c).qpos.sum())(ctrl)
  assert jnp.array_equal(pull_back(jnp.float32(1.0))[0], expected)
  assert jnp.abs(expected).min() > 0


def test_vmap_runs_call_after_call(cartpole):
  """Rows of a Jacobian are gradients, and a mapped call is a loop of calls."""
  state = mgj.initial_state(cartpole)
  ctrl = jnp.asarray(random(NWORLD, 1))

  def velocity(ctrl):
    return mgj.step(cartpole, state, ctrl).qvel

  jacobian = jax.jacrev(velocity)(ctrl)
  for w in range(NWORLD):
    for i in range(cartpole.nv):
      row = jax.grad(lambda c, w=w, i=i: velocity(c)[w, i])(ctrl)
      assert jnp.array_equal(jacobian[w, i], row) and jnp.abs(row).max() > 0
  mapped = jax.vmap(velocity)(jnp.stack([ctrl, 2 * ctrl]))
  assert jnp.array_equal(mapped, jnp.stack([velocity(ctrl), velocity(2 * ctrl)]))


def test_forward_mode_and_second_derivatives_are_refused(cartpole):
  state, ctrl = mgj.initial_state(cartpole), jnp.asarray(random(NWORLD, 1))

  def velocity(ctrl):
    return (mgj.step(cartpole, state, ctrl).qvel ** 2).sum()

  with pytest.raises(TypeError, match="custom_vjp"):
    jax.jvp(velocity, (ctrl,), (ctrl,))
  with pytest.raises(ValueError, match="JVP"):
    jax.grad(lambda c: jax.grad(velocity)(c).sum())(ctrl)


def test_state_is_a_pytree(cartpole):
  state = mgj.initial_state(cartpole)
  doubled = jax.tree.map(lambda field: 2 * field, state)
  assert isinstance(doubled, mgj.State) and doubled.history.shape == (NWORLD, 0)
  same = mgj.State(state.qpos, state.qvel, state.act, state.qacc_warmstart, state.time)
  assert jax.tree.structure(same) == jax.tree.structure(state)
  after = mgj.step(cartpole, same, nstep=5)
  np.testing.assert_allclose(after.time, 5 * cartpole.mjm.opt.timestep, rtol=1e-6)


def test_adaptive_steps_keep_the_type_of_the_state():
  sim = mjgrad.Simulator(models.cartpole(), NWORLD, "cpu", integrator=mjgrad.Tsit5())
  x = {"ctrl": random(NWORLD, 1)}

  def end(front, x):
    state = front.initial_state(sim)
    for _ in range(2):
      state = front.step(sim, state, x["ctrl"], nstep=4)
    return (state.qvel**2).sum()

  _, expected = torch_gradient(lambda x: end(mgt, x), x)
  assert_same(jax.jit(jax.grad(lambda x: end(mgj, x)))(x), expected)
  with jax.enable_x64(True):
    start = jax.tree.map(lambda field: jnp.asarray(field, jnp.float64), mgj.initial_state(sim))
    after = mgj.step(sim, start, x["ctrl"], nstep=4)
    assert after.qvel.dtype == jnp.float64
    assert not jnp.array_equal(after.qvel, after.qvel.astype(jnp.float32).astype(jnp.float64))


def test_wrong_shapes_are_named(cartpole):
  state = mgj.initial_state(cartpole)
  wrong = mgj.State(state.qpos[:, :1], state.qvel, state.act, state.qacc_warmstart, state.time)
  zeros = jnp.zeros
  step = jax.jit(lambda s, **kw: mgj.step(cartpole, s, **kw))
  cases = (
    (step, (state,), {"ctrl": zeros((NWORLD, 2))}, r"ctrl has shape \(3, 2\); expected \(3, 1\)"),
    (step, (wrong,), {}, r"state.qpos has shape \(3, 1\); expected \(3, 2\)"),
    (step, (state,), {"mocap_pos": zeros((3, 1, 3))}, r"mocap_pos .* expected \(3, 0, 3\)"),
    (step, (state,), {"params": {"body_mass": zeros(5)}}, r"'body_mass' .*\(5,\); expected \(3,\)"),
    (mgj.step, (cartpole, state), {"nstep": 0}, "nstep is 0"),
    (mgj.rollout, (cartpole, state, zeros((NWORLD, 1))), {}, r"ctrls has shape \(3, 1\)"),
    (mgj.rollout, (cartpole, state, zeros((2, NWORLD, 4))), {}, r"ctrl has shape \(3, 4\)"),
    (mgj.observe, (cartpole, wrong, ["xpos"]), {}, r"state.qpos has shape \(3, 1\)"),
    (mgj.observe, (cartpole, state, ["nose"]), {}, "cannot observe 'nose'"),
    (mgj.observe, (cartpole, state, "xpos"), {}, "expected a list"),
    (mgj.initial_state, (cartpole, "home"), {}, "no keyframe 'home'"),
  )
  for function, args, kwargs, message in cases:
    with pytest.raises(mjgrad.InvalidInput, match=message):
      function(*args, **kwargs)


def test_errors_of_a_step_reach_the_caller(cartpole):
  """With their type outside `jit`, with their text inside; the next call is unharmed."""
  state, ctrl = mgj.initial_state(cartpole), jnp.full((NWORLD, 1), jnp.nan)

  def step(ctrl):
    return mgj.step(cartpole, state, ctrl).qvel

  compiled = jax.jit(step)
  with pytest.raises(mjgrad.NonFiniteState, match=r"world 2: ctrl\[0\] \(push\)"):
    step(ctrl)
  with pytest.raises(jax.errors.JaxRuntimeError, match=r"NonFiniteState: world 2: ctrl\[0\]"):
    compiled(ctrl).block_until_ready()
  assert jnp.array_equal(compiled(0 * random(NWORLD, 1)), step(0 * random(NWORLD, 1)))
  crowded = mjgrad.Simulator(models.ant(), NWORLD, "cpu", njmax=2)
  start = mgj.initial_state(crowded)
  with pytest.raises(mjgrad.CapacityError, match="njmax="):
    mgj.step(crowded, start)
  with pytest.raises(jax.errors.JaxRuntimeError, match="CapacityError: .*njmax="):
    jax.jit(lambda s: mgj.step(crowded, s).qvel)(start).block_until_ready()
