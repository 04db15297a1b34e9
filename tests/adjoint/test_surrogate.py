"""Contacts from distance: the gradient is that of other dynamics, the forward pass is untouched."""

import dataclasses
import re

import mujoco
import numpy as np
import pytest

import mjgrad
from mjgrad import ContactsFromDistance
from mjgrad._src.linearize import step_gradient
from tests import models
from tests.contact import pairs
from tests.oracles import point
from tests.oracles import random_direction
from tests.surrogate import Surrogate

# Contacts are known to 1e-7 of lengths of 0.1, next to distances of 1e-2 and softplus of 2e-3.
RTOL = 2e-4
STEPS = (4e-6, 2e-6, 1e-6)
FAR = ContactsFromDistance(width=0.05, d_c=0.001, d_0=0.05, midpoint=0.55, power=3, softplus=2e-3)


def scene(cone="pyramidal", integrator="Euler", condim=3, solver="Newton", jacobian="dense"):
  """A ball over a plane, next to a damped bar with a limit."""
  return models.load(f"""
    <mujoco>
      <option timestep="0.004" cone="{cone}" integrator="{integrator}" impratio="2"
              solver="{solver}" jacobian="{jacobian}"/>
      <default>
        <geom friction="0.7 0.03 0.02" condim="{condim}" solref="0.02 0.8"
              solimp="0.4 0.9 0.02 0.4 2"/>
      </default>
      <worldbody>
        <geom name="floor" type="plane" size="2 2 1"/>
        <body pos="0 0 0.12">
          <freejoint/>
          <geom name="ball" type="sphere" size="0.1" mass="0.9"/>
        </body>
        <body pos="0.23 0 0.17">
          <joint type="slide" axis="0 0 1" damping="0.4"/>
          <joint type="hinge" axis="0.2 1 0.1" damping="0.03" limited="true" range="-1 0.3"/>
          <geom name="bar" type="capsule" size="0.06 0.1" mass="0.6" euler="0 80 0"/>
        </body>
      </worldbody>
    </mujoco>""")


def points(mjm, height=(0.0, 0.02, -0.021, 0.004), seed=0):
  """States at several heights: out of reach of each other, near, and in contact."""
  rng = np.random.default_rng(seed)
  found = []
  for z in height:
    start = point(mjm)
    qpos = start.qpos.copy()
    direction = 0.02 * rng.normal(size=mjm.nv)
    direction[2] = z
    mujoco.mj_integratePos(mjm, qpos, direction, 1.0)
    velocity = 0.3 * rng.normal(size=mjm.nv)
    found.append(point(mjm, qpos=qpos, qvel=velocity, qfrc_applied=rng.normal(size=mjm.nv)))
  return [p.float32() for p in found]


def gradient(mjm, far, states, params=(), **options):
  """The gradient of the next velocities along a random cotangent, and that cotangent."""
  sim = mjgrad.Simulator(mjm, len(states), "cpu", surrogate=far, **options)
  adj = random_direction(len(states) * mjm.nv).reshape(len(states), -1).astype(np.float32)
  out = step_gradient(
    sim,
    np.stack([p.qpos for p in states]),
    np.stack([p.qvel for p in states]),
    None,
    np.zeros((len(states), mjm.nq)),
    adj,
    qfrc_applied=np.stack([p.qfrc_applied for p in states]),
    wrt_params=params,
  )
  return out, adj.astype(np.float64)


def differences(value, size):
  """Central differences at several steps, which agree; shape [size, ...]."""
  found = []
  for h in STEPS:
    rows = [(value(h * e) - value(-h * e)) / (2 * h) for e in np.eye(size)]
    found.append(np.array(rows))
  scale = max(np.abs(found[-1]).max(), 1e-3)
  assert np.abs(found[0] - found[-1]).max() <= 1e-4 * scale, "the differences do not agree"
  return found[1]


def moved(mjm, p, name, delta):
  value = getattr(p, name).copy()
  if name == "qpos":
    mujoco.mj_integratePos(mjm, value, delta, 1.0)
  else:
    value += delta
  return point(
    mjm,
    **{n: value if n == name else getattr(p, n) for n in ("qpos", "qvel", "qfrc_applied")},
  )


def assert_close(value, truth):
  size = np.linalg.norm(truth)
  assert size > 0.0
  error = np.linalg.norm(value - truth) / size
  assert error <= RTOL, error


def assert_state_gradient(mjm, far, states):
  out, adj = gradient(mjm, far, states)
  reference, near = Surrogate(mjm, far), 0
  for i, p in enumerate(states):
    reference.acceleration(p)
    near += sum(r > 0.0 for r in reference.distance)
    for name, key in (("qpos", "qpos_tangent"), ("qvel", "qvel"), ("qfrc_applied",) * 2):

      def velocity(delta, p=p, name=name):
        return reference.velocity(moved(mjm, p, name, delta))

      truth, value = differences(velocity, mjm.nv) @ adj[i], out.grad[key][i]
      if name == "qvel":
        truth, value = truth - adj[i], value - adj[i]
      assert_close(value, truth)
  assert near > 0
  return near


@pytest.mark.parametrize(
  ("cone", "condim", "integrator", "solver", "jacobian"),
  [
    ("pyramidal", 3, "Euler", "Newton", "dense"),
    ("elliptic", 3, "implicitfast", "Newton", "sparse"),
    ("elliptic", 4, "Euler", "CG", "dense"),
    ("pyramidal", 1, "implicitfast", "CG", "sparse"),
  ],
)
def test_state(cone, condim, integrator, solver, jacobian):
  """Against differences of the surrogate's dynamics, solved densely in float64."""
  mjm = scene(cone, integrator, condim, solver, jacobian)
  assert assert_state_gradient(mjm, FAR, points(mjm)) >= 3


def test_without_a_softplus():
  """Then only what approaches is pushed."""
  mjm = scene()
  far = dataclasses.replace(FAR, softplus=0.0)
  assert_state_gradient(mjm, far, points(mjm, seed=3))


@pytest.mark.parametrize("cone", ["pyramidal", "elliptic"])
def test_parameters(cone):
  mjm = scene(cone, condim=4)
  states = points(mjm)
  names = {
    "geom_size": [(1, 0), (2, 0), (2, 1)],
    "geom_friction": [(1, 0), (2, 1)],
    "geom_solref": [(1, 0), (1, 1)],
    "geom_solimp": [(1, 0), (1, 1), (2, 2)],
    "geom_margin": [(1,), (2,)],
  }
  mjm.geom_friction[1, 0], mjm.geom_friction[2, 1] = 0.75, 0.04
  out, adj = gradient(mjm, FAR, states, tuple(names))
  reference = Surrogate(mjm, FAR)
  for name, entries in names.items():
    truth, value = [], []
    for i, p in enumerate(states):
      for entry in entries:
        field = getattr(reference.mjm, name)

        def velocity(delta, p=p, field=field, entry=entry):
          before = field[entry]
          field[entry] += delta[0]
          try:
            return reference.velocity(p)
          finally:
            field[entry] = before

        truth.append(differences(velocity, 1)[0] @ adj[i])
        value.append(out.grad[name][i][entry])
    assert_close(np.array(value), np.array(truth))


def slides():
  """Two balls on slides: the stages of a Runge-Kutta method without rotations."""
  joints = "".join(f'<joint type="slide" axis="{a}"/>' for a in ("1 0 0", "0 1 0", "0 0 1"))
  return models.load(f"""
    <mujoco>
      <option timestep="0.01" integrator="RK4"/>
      <default><geom solimp="0.4 0.9 0.02 0.4 2"/></default>
      <worldbody>
        <body>{joints}<geom name="one" size="0.1" mass="0.9"/></body>
        <body pos="0.21 0 0.02">{joints}<geom name="two" size="0.1" mass="0.6"/></body>
      </worldbody>
    </mujoco>""")


@pytest.mark.parametrize("integrator", [None, mjgrad.RK4()])
def test_runge_kutta(integrator):
  """Every stage, at its state of the forward pass, has the derivative of the surrogate."""
  mjm = slides()
  n, h = mjm.nv, mjm.opt.timestep
  start = point(mjm, qvel=[0.5, 0.1, 0.0, -0.3, 0.0, 0.2]).float32()
  out, adj = gradient(mjm, FAR, [start], integrator=integrator)
  exact = Surrogate(mjm, ContactsFromDistance(0.0, softplus=0.0))
  reference = Surrogate(mjm, FAR)
  dq, dv = np.eye(n, 2 * n), np.eye(n, 2 * n, n)
  total = dv.copy()
  stages = []
  for a, b in ((0.0, 1 / 6), (0.5, 1 / 3), (0.5, 1 / 3), (1.0, 1 / 6)):
    q, v, q_dot, v_dot = start.qpos, start.qvel, dq, dv
    if stages:
      v_before, a_before, dv_before, da_before = stages[-1]
      q, v = q + a * h * v_before, v + a * h * a_before
      q_dot, v_dot = q_dot + a * h * dv_before, v_dot + a * h * da_before
    p = point(mjm, qpos=q, qvel=v)
    slope = sum(
      differences(lambda d, m=m, p=p: reference.acceleration(moved(mjm, p, m, d)), n).T @ part
      for m, part in (("qpos", q_dot), ("qvel", v_dot))
    )
    stages.append((v, exact.acceleration(p), v_dot, slope))
    total += h * b * slope
  truth = adj[0] @ total
  assert_close(out.grad["qpos_tangent"][0], truth[:n])
  assert_close(out.grad["qvel"][0] - adj[0], truth[n:] - adj[0])


def test_adaptive_steps():
  """Discretise and Backsolve differentiate the surrogate along the same trajectory.

  A ball passes another one at 3 cm and at 4 mm; both adjoints integrate to 1e-6.
  """
  mjm = slides()
  mjm.opt.gravity[:] = 0.0
  far = ContactsFromDistance(0.1, pairs=[("one", "two")])
  start = np.zeros((2, mjm.nv))
  start[:, 3], start[:, 4] = 0.1, (0.23, 0.203)
  velocity = np.tile([1.0, 0.0, 0.0, 0.0, 0.0, 0.0], (2, 1))
  adj = np.tile([0.0, 0.0, 0.0, 1.0, 0.0, 0.0], (2, 1))
  found = {}
  for name, adjoint in (("all", mjgrad.Discretise(16)), ("back", mjgrad.Backsolve())):
    sim = mjgrad.Simulator(
      mjm, 2, "cpu", integrator=mjgrad.Tsit5(1e-6, 1e-6), adjoint=adjoint, surrogate=far
    )
    out = step_gradient(sim, start, velocity, None, adj, np.zeros_like(adj), nstep=30)
    found[name] = out.grad["qvel"]
    assert np.all(out.qvel == velocity)
  assert np.all(np.abs(found["all"][:, 0]) > 1e-4)
  np.testing.assert_allclose(found["all"], found["back"], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
  ("first", "second"),
  [
    ("plane", "box"),
    ("plane", "ellipsoid"),
    ("plane", "cylinder"),
    ("plane", "mesh"),
    ("sphere", "box"),
    ("capsule", "box"),
    ("capsule", "capsule"),
    ("ellipsoid", "ellipsoid"),
    ("cylinder", "mesh"),
    ("box", "box"),
    ("box", "mesh"),
  ],
)
def test_pairs_of_geoms(first, second):
  """A geom above another one is pushed up before they touch, the more the nearer it comes.

  C MuJoCo's distances of curved geoms are too coarse to be differenced, and boxes it collides with
  an algorithm of its own.
  """
  mjm = pairs.scene(first, second)
  rng = np.random.default_rng(5)
  states = []
  for _ in range(3):
    qpos = pairs.touching(mjm, rng)
    away = qpos[-7:-4] / np.linalg.norm(qpos[-7:-4])
    qpos[-7:-4] += 0.02 * away
    qvel = np.zeros(mjm.nv)
    qvel[-6:-3] = -0.2 * away
    states.append((point(mjm, qpos=qpos, qvel=qvel).float32(), away))
  sim = mjgrad.Simulator(mjm, len(states), "cpu", surrogate=FAR)
  adj = np.zeros((len(states), mjm.nv))
  for i, (_, away) in enumerate(states):
    adj[i, -6:-3] = away
  exact, far = (
    step_gradient(
      other,
      np.stack([p.qpos for p, _ in states]),
      np.stack([p.qvel for p, _ in states]),
      None,
      np.zeros((len(states), mjm.nq)),
      adj,
    )
    for other in (mjgrad.Simulator(mjm, len(states), "cpu"), sim)
  )
  np.testing.assert_array_equal(exact.qvel, far.qvel)
  for i, (_, away) in enumerate(states):
    assert np.abs(exact.grad["qpos_tangent"][i]).max() < 1e-9
    assert far.grad["qpos_tangent"][i, -6:-3] @ away < -1e-3
  if (first, second) not in (("ellipsoid", "ellipsoid"), ("cylinder", "mesh"), ("box", "box")):
    reference = Surrogate(mjm, FAR)
    for i, (p, _) in enumerate(states):

      def velocity(delta, p=p):
        return reference.velocity(moved(mjm, p, "qpos", delta))

      assert_close(far.grad["qpos_tangent"][i], differences(velocity, mjm.nv) @ adj[i])


@pytest.mark.parametrize("cone", ["pyramidal", "elliptic"])
def test_discrete(cone):
  """Rows count on what their spring and damper do in a step; the metric is the inertia here."""
  mjm = models.load(f"""
    <mujoco>
      <option timestep="0.004" cone="{cone}" integrator="discrete" impratio="2"/>
      <default><geom solref="0.03 0.8" solimp="0.4 0.9 0.02 0.4 2"/></default>
      <worldbody>
        <geom type="plane" size="2 2 1"/>
        <body pos="0 0 0.12"><freejoint/><geom name="ball" size="0.1" mass="0.9"/></body>
        <body pos="0.22 0 0.12"><freejoint/><geom name="other" size="0.1" mass="0.7"/></body>
      </worldbody>
    </mujoco>""")
  assert assert_state_gradient(mjm, FAR, points(mjm)) >= 3


def test_no_width_is_the_exact_gradient():
  mjm = scene()
  states = points(mjm)
  exact, _ = gradient(mjm, None, states)
  for width in (0.0, 1e-7):
    found, _ = gradient(mjm, ContactsFromDistance(width), states)
    for name in ("qpos_tangent", "qvel", "qfrc_applied"):
      np.testing.assert_allclose(found.grad[name], exact.grad[name], rtol=2e-4, atol=2e-5)


def test_the_forward_pass_is_untouched():
  mjm = scene()
  states = points(mjm)
  exact, _ = gradient(mjm, None, states)
  far, _ = gradient(mjm, FAR, states)
  for name in ("qpos", "qvel", "qacc"):
    np.testing.assert_array_equal(getattr(far, name), getattr(exact, name))
  assert np.abs(far.grad["qpos_tangent"] - exact.grad["qpos_tangent"]).max() > 1e-2


def test_selected_pairs():
  """Only the selected pair acts from a distance, and it is listed in any order."""
  mjm = scene()
  p = points(mjm, height=(0.02,))
  p[0].qpos[0] -= 0.3
  for selected, pushed in (([("ball", "floor")], True), ([(2, "ball")], False), ([], False)):
    far = dataclasses.replace(FAR, pairs=selected)
    reference = Surrogate(mjm, far)
    reference.acceleration(p[0])
    assert bool(reference.distance) == pushed
    out, _ = gradient(mjm, far, p)
    assert (abs(out.grad["qpos_tangent"][0, 2]) > 1e-3) == pushed


def test_explicit_pairs():
  """An explicit pair has its own margin and gap."""
  mjm = models.load("""
    <mujoco>
      <worldbody>
        <geom name="floor" type="plane" size="2 2 1" contype="0" conaffinity="0"/>
        <body pos="0 0 0.13">
          <freejoint/>
          <geom name="ball" size="0.1" mass="0.9" contype="0" conaffinity="0"/>
        </body>
      </worldbody>
      <contact>
        <pair geom1="floor" geom2="ball" margin="0.004" solimp="0.4 0.9 0.02 0.4 2"/>
      </contact>
    </mujoco>""")
  states = [point(mjm, qvel=[0.1, 0.2, -0.4, 0.0, 0.3, 0.1]).float32()]
  assert_state_gradient(mjm, FAR, states)


@pytest.mark.parametrize(("option", "small"), [("njmax", 8), ("nconmax", 1)])
def test_capacity(option, small):
  """The message names the option and a value, and with that value the backward pass works."""
  mjm = scene()
  states = points(mjm, height=(0.01, 0.012, 0.014))
  plenty = {"nconmax": 16, "njmax": 64}
  with pytest.raises(mjgrad.CapacityError, match="ContactsFromDistance") as caught:
    gradient(mjm, dataclasses.replace(FAR, **plenty | {option: small}), states)
  found = re.search(rf"{option}=(\d+)", str(caught.value))
  assert found, str(caught.value)
  gradient(mjm, dataclasses.replace(FAR, **plenty | {option: int(found.group(1))}), states)


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"width": -1.0}, "width is -1.0"),
    ({"width": 0.1, "d_0": 1.0}, "d_0 is 1.0"),
    ({"width": 0.1, "d_c": -0.1}, "d_c is -0.1"),
    ({"width": 0.1, "midpoint": 0.0}, "midpoint is 0.0"),
    ({"width": 0.1, "power": 0.5}, "power is 0.5"),
    ({"width": 0.1, "softplus": -1.0}, "softplus is -1.0"),
  ],
)
def test_numbers_out_of_range(arguments, message):
  with pytest.raises(mjgrad.InvalidInput, match=message):
    ContactsFromDistance(**arguments)


@pytest.mark.parametrize(
  ("pair", "message"),
  [(("ball", "cube"), "no geom 'cube'"), ((0, 7), "no geom 7"), ((1, 1), "never collide")],
)
def test_unknown_pairs(pair, message):
  with pytest.raises(mjgrad.InvalidInput, match=message):
    mjgrad.Simulator(scene(), 1, "cpu", surrogate=ContactsFromDistance(0.1, pairs=[pair]))


FIELD = """
  <mujoco>
    <asset>
      <hfield name="hills" nrow="3" ncol="3" size="2 2 0.2 0.1"
              elevation="0.1 0.9 0.2 0.5 0.3 0.8 0.4 0.7 0.2"/>
    </asset>
    <worldbody>
      <geom name="ground" type="hfield" hfield="hills"/>
      <body pos="0.3 0.2 {height}"><freejoint/><geom name="one" size="0.1"/></body>
      <body pos="{away} 0.2 {height}"><freejoint/><geom name="two" size="0.1"/></body>
    </worldbody>
  </mujoco>"""


def test_beside_a_height_field():
  """Contacts with it are those of the exact gradient; two balls on it act on each other."""
  resting = models.load(FIELD.format(height=0.17, away=0.9))
  far = ContactsFromDistance(0.1, pairs=[("one", "two")])
  states = [point(resting, qvel=np.linspace(-0.5, 0.5, resting.nv)).float32()]
  exact, _ = gradient(resting, None, states)
  beside, _ = gradient(resting, far, states)
  for name, value in exact.grad.items():
    if value.size == 0:
      continue
    np.testing.assert_allclose(beside.grad[name], value, rtol=1e-4, atol=1e-6)
  near = models.load(FIELD.format(height=0.17, away=0.53))
  states = [point(near, qvel=np.linspace(-0.5, 0.5, near.nv)).float32()]
  exact, _ = gradient(near, None, states)
  beside, _ = gradient(near, far, states)
  assert np.abs(beside.grad["qvel"] - exact.grad["qvel"]).max() > 1e-3
  with pytest.raises(mjgrad.UnsupportedFeature, match="ground"):
    mjgrad.Simulator(near, 1, "cpu", surrogate=ContactsFromDistance(0.1))


def test_refused():
  """Adhesion acts on what is near too."""
  far = ContactsFromDistance(0.1)
  sticky = models.load("""
    <mujoco>
      <worldbody>
        <geom type="plane" size="2 2 1"/>
        <body name="gecko" pos="0 0 0.1"><freejoint/><geom size="0.1"/></body>
      </worldbody>
      <actuator><adhesion name="pads" body="gecko" ctrlrange="0 1"/></actuator>
    </mujoco>""")
  with pytest.raises(mjgrad.UnsupportedFeature, match="pads"):
    mjgrad.Simulator(sticky, 1, "cpu", surrogate=far)
  with pytest.raises(mjgrad.UnsupportedFeature, match="opt.timestep"):
    gradient(scene(), far, points(scene()), params=("opt.timestep",))
