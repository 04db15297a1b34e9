import mujoco
import numpy as np
import pytest

from mjgrad._src.check.jacobian import jacobian
from mjgrad._src.errors import InvalidInput
from tests import models
from tests import oracles
from tests.oracles import Oracle
from tests.oracles import linearise

# Differences of a float64 step are good to about 1e-8.
RTOL = 1e-7


def columns(mjm, point, channel):
  local = linearise(Oracle(mjm), point, (channel,))
  assert not local.switching(channel)
  return local.jacobians[channel].matrix


def test_pendulum():
  """(I + m l^2) a = gear u + tau - m g l sin q; v' = v + h a; q' = q + h v'."""
  mjm = models.load(models.PENDULUM)
  h, gravity, mass, length, inertia, gear = 0.002, 9.81, 2.0, 0.5, 0.1, 3.0
  q, total = 0.7, inertia + mass * length**2
  point = oracles.point(mjm, qpos=[q], qvel=[0.4], ctrl=[0.2])
  da_dq = -mass * gravity * length * np.cos(q) / total
  da_du = gear / total
  np.testing.assert_allclose(
    columns(mjm, point, "qpos"), [[1 + h * h * da_dq], [h * da_dq]], rtol=RTOL
  )
  np.testing.assert_allclose(columns(mjm, point, "qvel"), [[h], [1.0]], rtol=RTOL)
  np.testing.assert_allclose(columns(mjm, point, "ctrl"), [[h * h * da_du], [h * da_du]], rtol=RTOL)
  np.testing.assert_allclose(
    columns(mjm, point, "qfrc_applied"), [[h * h / total], [h / total]], rtol=RTOL
  )
  # d a / d m with fixed I: (-g l sin q (I + m l^2) + (m g l sin q - gear u) l^2) / total^2
  torque = gear * 0.2 - mass * gravity * length * np.sin(q)
  da_dm = -gravity * length * np.sin(q) / total - torque * length**2 / total**2
  found = columns(mjm, point, "body_mass")
  np.testing.assert_allclose(found[1, 1], h * da_dm, rtol=RTOL)
  # d a / d g_z with g_z = -9.81
  found = columns(mjm, point, "opt.gravity")
  da_dg = mass * length * np.sin(q) / total
  np.testing.assert_allclose(found[1, 2], h * da_dg, rtol=RTOL)


def test_spring_mass_with_implicit_damping():
  """(m + h b) (v' - v) / h = -k q - b v, MuJoCo documentation, "Integrators"."""
  mjm = models.load(models.SPRING_MASS)
  h, m, k, b, q, v = 0.002, 2.0, 8.0, 0.5, 0.3, -0.2
  point = oracles.point(mjm, qpos=[q], qvel=[v])
  total = m + h * b
  dv = np.array([-h * k / total, 1 - h * b / total])
  found = np.hstack([columns(mjm, point, name) for name in ("qpos", "qvel")])
  np.testing.assert_allclose(found[1], dv, rtol=RTOL)
  np.testing.assert_allclose(found[0], np.array([1.0, 0.0]) + h * dv, rtol=RTOL)
  # d v' / d b = h (-v (m + h b) - h (-k q - b v)) / (m + h b)^2
  force = -k * q - b * v
  np.testing.assert_allclose(
    columns(mjm, point, "dof_damping")[1, 0], h * (-v * total - h * force) / total**2, rtol=RTOL
  )
  np.testing.assert_allclose(columns(mjm, point, "jnt_stiffness")[1, 0], -h * q / total, rtol=RTOL)


def test_activation():
  """w' = w + h (u - w) / tau; I a = 3 w: every block of the (2 nv + na) rows."""
  mjm = models.load(models.STATEFUL)
  h, tau, total = 0.002, 0.05, 0.1 + 2.0 * 0.5**2
  point = oracles.point(mjm, qpos=[0.7], act=[0.2, 0.1, 0.3, 0.4], ctrl=[0.5, 0.1, 0.2, 0.6])
  act, ctrl = columns(mjm, point, "act"), columns(mjm, point, "ctrl")
  assert act.shape == ctrl.shape == (2 + 4, 4)
  np.testing.assert_allclose(act[:2, 0], [h * h * 3 / total, h * 3 / total], rtol=1e-6)
  np.testing.assert_allclose(act[2, 0], 1 - h / tau, rtol=RTOL)
  np.testing.assert_allclose(ctrl[2, 0], h / tau, rtol=RTOL)
  np.testing.assert_array_equal(ctrl[:2, 0], 0)
  early = np.exp(-h / 0.01)
  np.testing.assert_allclose(act[4, 2], early, rtol=RTOL)
  np.testing.assert_allclose(act[1, 2], h * 2 * early / total, rtol=RTOL)
  np.testing.assert_allclose(ctrl[1, 2], h * 2 * (1 - early) / total, rtol=RTOL)
  assert columns(mjm, point, "qpos").shape == (6, 1)
  assert np.all(columns(mjm, point, "qpos")[2:] == 0)


def test_chain_carries_activations():
  """Eight steps, differenced as one function of the first activation and of a control."""
  mjm = models.load(models.STATEFUL)
  oracle = oracles.Oracle(mjm)
  rng = np.random.default_rng(1)
  ctrl = rng.uniform(0.1, 0.9, size=(8, 4))
  adj = rng.normal(size=6)

  def run(first, controls):
    points, state = [], (np.array([0.7]), np.array([0.4]), first)
    for u in controls:
      points.append(oracles.point(mjm, qpos=state[0], qvel=state[1], act=state[2], ctrl=u))
      step = oracle.step(points[-1])
      state = (step.qpos, step.qvel, step.act)
    return points, adj @ np.concatenate(state)

  start = np.array([0.2, 0.1, 0.3, 0.4])
  points, _ = run(start, ctrl)
  chain = oracles.chain_vjp(oracle, points, adj[:1], adj[1:2], adj_act=adj[2:])
  assert chain.switching == [] and chain.act.shape == (9, 4)
  e = 1e-5
  for i in range(4):
    moved = e * np.eye(4)[i]
    truth = (run(start + moved, ctrl)[1] - run(start - moved, ctrl)[1]) / (2 * e)
    np.testing.assert_allclose(chain.act[0, i], truth, rtol=1e-6)
  for k, i in ((0, 3), (5, 0)):
    moved = np.zeros_like(ctrl)
    moved[k, i] = e
    truth = (run(start, ctrl + moved)[1] - run(start, ctrl - moved)[1]) / (2 * e)
    np.testing.assert_allclose(chain.inputs["ctrl"][k, i], truth, rtol=1e-6)


def ball_on_plane_acceleration(mjm, q, v):
  """One frictionless contact: a = (g + D aref / m) / (1 + D / m) with D = d / ((1 - d) A).

  aref = -b v - k d r, b = 2 / (dmax t), k = 1 / (dmax^2 t^2 zeta^2), d = impedance(r),
  A = 1 / m. MuJoCo documentation, "Solver parameters", with the defaults.
  """
  t, zeta = 0.02, 1.0
  d0, dmax, width = 0.9, 0.95, 0.001
  r = 0.098 + q - 0.1
  x = min(abs(r) / width, 1.0)
  y = 2 * x * x if x <= 0.5 else 1 - 2 * (1 - x) ** 2
  d = d0 + y * (dmax - d0)
  b, k = 2 / (dmax * t), 1 / (dmax * t * zeta) ** 2
  aref = -b * v - k * d * r
  stiffness = d / (1 - d)  # D / m
  return (-9.81 + stiffness * aref) / (1 + stiffness)


@pytest.mark.parametrize("q", [0.0013, 0.0016, -0.002])
def test_ball_on_plane(q):
  """Inside, at the steep part and past the end of the impedance ramp."""
  mjm = models.load(models.BALL_ON_PLANE)
  h, v = mjm.opt.timestep, -0.03
  point = oracles.point(mjm, qpos=[q], qvel=[v])
  local = linearise(Oracle(mjm), point, ("qpos", "qvel"))
  assert local.branch.zones.tolist() == [1]
  np.testing.assert_allclose(local.base.qacc, ball_on_plane_acceleration(mjm, q, v), rtol=1e-10)
  e = 1e-7
  slope = [
    ball_on_plane_acceleration(mjm, q + e, v) - ball_on_plane_acceleration(mjm, q - e, v),
    ball_on_plane_acceleration(mjm, q, v + e) - ball_on_plane_acceleration(mjm, q, v - e),
  ]
  slope = np.array(slope) / (2 * e)
  found = np.hstack([local.jacobians[name].matrix for name in ("qpos", "qvel")])
  np.testing.assert_allclose(found[1], [0.0, 1.0] + h * slope, rtol=1e-6)


def test_vanishing_contact_is_a_switching_point():
  """At the rebound velocity where y = a - aref changes sign, the contact force starts."""
  mjm = models.load(models.BALL_ON_PLANE)
  q = -0.002
  oracle = Oracle(mjm)

  def y(v):
    """Sign of a - aref without the contact force, positive when the contact is open."""
    t, dmax, d = 0.02, 0.95, 0.95
    return -9.81 + 2 / (dmax * t) * v + d * (0.098 + q - 0.1) / (dmax * t) ** 2

  low, high = 0.0, 1.0
  assert y(low) < 0 < y(high)
  while high - low > 1e-12:
    middle = 0.5 * (low + high)
    low, high = (middle, high) if y(middle) < 0 else (low, middle)
  at = linearise(oracle, oracles.point(mjm, qpos=[q], qvel=[low]), ("qpos", "qvel"))
  assert at.near_switch
  assert at.switching("qvel")
  assert at.jacobians["qvel"].switching.all()
  assert "CONTACT_FRICTIONLESS" in at.branch.nearest
  for v, active in ((low - 0.01, 1), (low + 0.01, 0)):
    away = linearise(oracle, oracles.point(mjm, qpos=[q], qvel=[v]), ("qpos", "qvel"))
    assert away.branch.zones.tolist() == [active]
    assert not away.switching("qvel")


def test_touching_contact_is_a_switching_point():
  mjm = models.load(models.BALL_ON_PLANE)
  local = linearise(Oracle(mjm), oracles.point(mjm, qpos=[0.002], qvel=[-1.0]), ("qpos",))
  assert local.switching("qpos")


def test_coinciding_centres_are_a_switching_point():
  """A ball joint at the end of a static capsule, where the capsule on it begins."""
  mjm = models.load("""
<mujoco>
  <worldbody>
    <geom type="capsule" size="0.01" fromto="0 0 0 0 0 0.1"/>
    <body pos="0 0 0.1">
      <joint type="ball"/>
      <geom type="capsule" size="0.01" fromto="0 0 0 0 0.1 0.1"/>
    </body>
  </worldbody>
</mujoco>""")
  local = oracles.linearise(Oracle(mjm), oracles.point(mjm), ("qpos",))
  assert local.near_switch
  assert "centres coincide" in local.branch.nearest
  apart = models.load(models.scene("sphere", "sphere"))
  mjd = mujoco.MjData(apart)
  mujoco.mj_forward(apart, mjd)
  assert "centres coincide" not in oracles.active_set(apart, mjd).nearest


@pytest.mark.parametrize("cone", ["pyramidal", "elliptic"])
@pytest.mark.parametrize("centre, bound", [(0.0, True), (0.1, False)])
def test_contact_of_bodies_without_inverse_weight_is_a_switching_point(cone, centre, bound):
  """A ball that is hinged at its centre rubs a plane with a weight of 1 / mjMINVAL."""
  mjm = models.load(f"""
<mujoco>
  <option cone="{cone}"/>
  <worldbody>
    <geom type="plane" size="1 1 1"/>
    <body pos="0 0 0.09">
      <joint type="hinge" axis="1 0 0"/>
      <geom size="0.1" pos="0 {centre} 0"/>
    </body>
  </worldbody>
</mujoco>""")
  local = linearise(Oracle(mjm), oracles.point(mjm), ())
  assert local.near_switch == bound
  assert ("regularization" in local.branch.nearest) == bound


def test_control_at_its_clamp_is_a_switching_point():
  mjm = models.cartpole()
  local = linearise(Oracle(mjm), oracles.point(mjm, ctrl=[1.0]), ("ctrl", "qpos"))
  assert local.near_switch
  assert local.jacobians["ctrl"].switching.all()
  assert not local.jacobians["qpos"].switching.any()
  beyond = linearise(Oracle(mjm), oracles.point(mjm, ctrl=[1.1]), ("ctrl",))
  assert not beyond.switching("ctrl")
  assert np.all(beyond.jacobians["ctrl"].matrix == 0)


def test_shared_friction_is_a_kink():
  """Contact friction is the larger of the two; where they are equal, raising one alone counts."""
  mjm = models.load(models.scene("plane", "sphere"))
  mjm.geom_friction[:] = (0.3, 0.03, 0.02)
  point = oracles.point(mjm, qvel=[1.0, 0.5, 0, 0, 0, 0])
  oracle = Oracle(mjm)
  base = oracle.step(point)
  found = jacobian(oracle, point, base, oracle.branch(point, base), "geom_friction")
  assert found.switching.tolist() == [True, False, False] * 2
  oracle.mjm.geom_friction[0, 0] = 0.4
  base = oracle.step(point)
  found = jacobian(oracle, point, base, oracle.branch(point, base), "geom_friction")
  assert not found.switching.any()
  assert np.linalg.norm(found.matrix[:, 0]) > 1e-3
  assert np.all(found.matrix[:, 3] == 0)


def test_parameter_at_its_lower_bound_is_differenced_upwards():
  """Implicit damping sets in at b > 0: d v' / d b = -h (v + h a) / m."""
  mjm = models.load(models.SPRING_MASS)
  mjm.dof_damping[:] = 0.0
  h, m, k, q, v = 0.002, 2.0, 8.0, 0.3, -0.2
  found = columns(mjm, oracles.point(mjm, qpos=[q], qvel=[v]), "dof_damping")
  np.testing.assert_allclose(found[1, 0], -h * (v - h * k * q / m) / m, rtol=1e-6)


@pytest.mark.parametrize("velocity", [40.0, -3.0])
def test_what_actuators_lend_counts_with_their_gear(velocity):
  """I a = -g^2 (b1 |v| v + b2 v^3) to first order; a unit of b2 at this gear would explode."""
  mjm = models.load(
    """
<mujoco>
  <option integrator="RK4" gravity="0 0 0"/>
  <worldbody><body><joint name="j" type="hinge"/><geom size="0.1" mass="250"/></body></worldbody>
  <actuator><motor joint="j" gear="200"/></actuator>
</mujoco>
"""
  )
  h, gear, inertia = mjm.opt.timestep, 200.0, float(mjm.dof_M0[0])
  found = columns(mjm, oracles.point(mjm, qvel=[velocity]), "actuator_dampingpoly")
  force = gear**2 * np.array([abs(velocity) * velocity, velocity**3])
  np.testing.assert_allclose(found[1], -h * force / inertia, rtol=1e-6)
  np.testing.assert_allclose(found[0], -0.5 * h * h * force / inertia, rtol=1e-6)


def test_mass_of_a_free_ball():
  """v' = v + h (g + f / m); MuJoCo keeps this body's inertia matrix in a compiled constant."""
  mjm = models.load(models.scene("plane", "sphere"))
  h, m, f = mjm.opt.timestep, 0.9, 3.0
  point = oracles.point(mjm, qpos=[0, 0, 1, 1, 0, 0, 0], qfrc_applied=[f, 0, 0, 0, 0, 2.0])
  found = columns(mjm, point, "body_mass")
  np.testing.assert_allclose(found[mjm.nv, 1], -h * f / m**2, rtol=RTOL)
  inertia = mjm.body_inertia[1, 2]
  found = columns(mjm, point, "body_inertia")
  np.testing.assert_allclose(found[mjm.nv + 5, 5], -h * 2.0 / inertia**2, rtol=1e-6)
  found = columns(mjm, point, "dof_armature")
  np.testing.assert_allclose(found[mjm.nv, 0], -h * (f / m) / m, rtol=1e-6)


def test_parameters_are_put_back():
  mjm = models.humanoid()
  oracle = Oracle(mjm)
  linearise(oracle, oracles.point(mjm), ("body_mass", "opt.gravity", "geom_size"))
  np.testing.assert_array_equal(oracle.mjm.body_mass, mjm.body_mass)
  np.testing.assert_array_equal(oracle.mjm.opt.gravity, mjm.opt.gravity)
  np.testing.assert_array_equal(oracle.mjm.geom_size, mjm.geom_size)
  np.testing.assert_array_equal(oracle.mjm.dof_M0, mjm.dof_M0)


def test_unknown_parameter_is_refused():
  with pytest.raises(InvalidInput, match="body_mas"):
    Oracle(models.cartpole()).parameter("body_mas")


SMOOTH_MODELS = {
  "cartpole": models.cartpole,
  "ant": models.ant,
  "humanoid": models.humanoid,
  "joints": lambda: models.load(models.JOINTS),
}


@pytest.mark.parametrize("cone", models.CONES)
@pytest.mark.parametrize("name", SMOOTH_MODELS)
def test_against_transition_fd(name, cone):
  """`mjd_transitionFD` differences the same step by other code, with one step size."""
  mjm = models.variant(SMOOTH_MODELS[name](), cone=cone)
  oracle = Oracle(mjm)
  compared = 0
  for state in oracles.sample_states(mjm, 6, seed=1):
    local = linearise(oracle, state.point, ("qpos", "qvel", "ctrl"))
    if any(local.switching(channel) for channel in local.jacobians):
      continue
    oracle.load(state.point, local.base.warmstart)
    mujoco.mj_forward(oracle.mjm, oracle.mjd)
    a = np.zeros((2 * mjm.nv, 2 * mjm.nv))
    b = np.zeros((2 * mjm.nv, mjm.nu))
    mujoco.mjd_transitionFD(oracle.mjm, oracle.mjd, 1e-6, True, a, b, None, None)
    found = np.hstack([local.jacobians[c].matrix for c in ("qpos", "qvel")])
    assert oracles.relative_error(found, a) < 1e-6
    free = np.flatnonzero(np.any(b != 0, axis=0))
    if free.size:
      assert oracles.relative_error(local.jacobians["ctrl"].matrix[:, free], b[:, free]) < 1e-6
    compared += 1
  assert compared >= 4


@pytest.mark.parametrize("cone", models.CONES)
@pytest.mark.parametrize("name", SMOOTH_MODELS)
def test_residual_oracle_agrees(name, cone):
  """-H^-1 dr/dx from inverse dynamics is the derivative of the solved acceleration.

  With explicit Euler, v' = v + h a, so the lower half of the step's Jacobian is h da/dx.
  """
  mjm = models.variant(SMOOTH_MODELS[name](), cone=cone, integrator="euler_explicit")
  oracle = Oracle(mjm)
  compared = 0
  for state in oracles.sample_states(mjm, 6, seed=2):
    local = linearise(oracle, state.point, ("qpos", "qvel", "ctrl"))
    if any(local.switching(channel) for channel in local.jacobians):
      continue
    found = oracles.linearise_residual(oracle, state.point)
    scale = np.linalg.norm(found.qacc @ local.base.qacc)
    assert np.linalg.norm(found.value) < 1e-9 * scale
    lower = {c: local.jacobians[c].matrix[mjm.nv :] / mjm.opt.timestep for c in local.jacobians}
    lower["qvel"] = lower["qvel"] - np.eye(mjm.nv) / mjm.opt.timestep
    for channel, truth in lower.items():
      if np.any(truth != 0):
        assert oracles.relative_error(found.acceleration(channel), truth) < 1e-5, channel
    compared += 1
  assert compared >= 4


def test_residual_jacobians_against_inverse_fd():
  """`mjd_inverseFD` stores transposed Jacobians and differences on one side."""
  mjm = models.variant(models.ant(), cone="elliptic")
  oracle = Oracle(mjm)
  state = oracles.sample_states(mjm, 4, seed=3)[1]
  point = oracles.point(mjm, qpos=state.point.qpos, qvel=state.point.qvel)
  found = oracles.linearise_residual(oracle, point)
  oracle.forward(point)
  outs = [np.zeros((mjm.nv, mjm.nv)) for _ in range(3)]
  mujoco.mjd_inverseFD(oracle.mjm, oracle.mjd, 1e-6, True, *outs, None, None, None, None)
  assert oracle.mjd.nefc > 0
  for mine, theirs in zip((found.qpos, found.qvel, found.qacc), outs):
    assert oracles.relative_error(mine, theirs.T) < 1e-4


def test_chain_is_the_derivative_of_a_trajectory():
  """Sixteen pendulum steps, differenced as one function of the first state."""
  mjm = models.load(models.PENDULUM)
  oracle = Oracle(mjm)
  ctrl = np.random.default_rng(0).normal(size=16)

  def run(q, v, disturbed=-1, delta=0.0):
    points = []
    for k in range(16):
      points.append(
        oracles.point(mjm, qpos=[q], qvel=[v], ctrl=[ctrl[k] + (delta if k == disturbed else 0)])
      )
      step = oracle.step(points[-1])
      q, v = step.qpos[0], step.qvel[0]
    return points, 2.0 * q - 3.0 * v

  points, _ = run(1.0, 0.5)
  chain = oracles.chain_vjp(oracle, points, np.array([2.0]), np.array([-3.0]))
  e = 1e-5
  assert chain.switching == []
  truth = (run(1.0 + e, 0.5)[1] - run(1.0 - e, 0.5)[1]) / (2 * e)
  np.testing.assert_allclose(chain.qpos[0, 0], truth, rtol=1e-6)
  truth = (run(1.0, 0.5 + e)[1] - run(1.0, 0.5 - e)[1]) / (2 * e)
  np.testing.assert_allclose(chain.qvel[0, 0], truth, rtol=1e-6)
  for k in (0, 7, 15):
    truth = (run(1.0, 0.5, k, e)[1] - run(1.0, 0.5, k, -e)[1]) / (2 * e)
    np.testing.assert_allclose(chain.inputs["ctrl"][k, 0], truth, rtol=1e-6)


def test_solve_does_not_depend_on_the_warm_start():
  for cone in models.CONES:
    mjm = models.variant(models.humanoid(), cone=cone)
    oracle = Oracle(mjm)
    for state in oracles.sample_states(mjm, 6, seed=4):
      qacc = oracle.forward(state.point)
      oracle.load(state.point, qacc + oracles.random_direction(mjm.nv))
      mujoco.mj_forward(oracle.mjm, oracle.mjd)
      np.testing.assert_allclose(oracle.mjd.qacc, qacc, atol=1e-10 * np.abs(qacc).max())


@pytest.mark.parametrize("cone", ["pyramidal", "elliptic"])
def test_driven(cone):
  """Under the force that is added, the acceleration is the one asked for, and the step follows."""
  mjm = models.variant(models.ant(), cone=cone)
  oracle = Oracle(mjm)
  state = oracles.sample_states(mjm, 4, 0)[1]
  own = oracle.step(state.point)
  assert oracle.mjd.nefc
  rng = np.random.default_rng(0)
  target = own.qacc + 1e-4 * np.linalg.norm(own.qacc) * rng.normal(size=mjm.nv)
  point = oracle.driven(state.point, target)
  found = oracle.step(point)
  np.testing.assert_allclose(found.qacc, target, atol=1e-9 * np.linalg.norm(target))
  assert not np.allclose(found.qvel, own.qvel, atol=1e-9)
  again = oracle.driven(state.point, own.qacc)
  np.testing.assert_allclose(again.qfrc_applied, state.point.qfrc_applied, atol=1e-8)
