"""Delayed controls: one step from random buffers, and sequences in which a control acts later.

Sequences are held against float64 differences of C MuJoCo over all steps at once, so nothing of the
chain is the engine's. The models have no contacts and stay smooth.
"""

import mujoco
import numpy as np
import pytest
import torch

import mjgrad
import mjgrad.torch as mgt
from mjgrad import UnsupportedFeature
from mjgrad._src.engine import history
from mjgrad._src.linearize import step_gradient
from tests import models
from tests import oracles
from tests.terms.chain import chain
from tests.terms.harness import assert_close
from tests.terms.harness import compare
from tests.terms.harness import random_points
from tests.terms.harness import with_inputs

# The float32 residual is known to about 2e-7; times of samples to 1e-7 of their distance.
RTOL = 2e-5
# Sixteen of them, on a state that moves by its own size.
SEQUENCE = 1e-4
T = 20

# Clamped motor, filtered, servo with velocity feedback, three inputs at once; recorded or not.
ACTUATORS = """
  <motor joint="hinge" ctrlrange="-0.4 0.4" gear="3" delay="{delay}" nsample="6" interp="{interp}"/>
  <general joint="slide" gainprm="2" dyntype="filter" dynprm="0.03" delay="0.0113" nsample="5"
    interp="{interp}"/>
  <motor joint="last" gear="0.5"/>
  <position joint="last" kp="2" kv="0.1" delay="0.007" nsample="4" interp="{interp}"/>
  <motor joint="hinge" gear="0.5" nsample="3"/>
  {more}
"""
DCMOTOR = """
  <dcmotor joint="last" motorconst="0.05" resistance="2" controller="3 0 0.1" input="pos vel ff"
    delay="{delay}" nsample="6" interp="{interp}"/>
"""
INTERPOLATIONS = ("zoh", "linear", "cubic")


def model(interp, delay=0.0172, integrator="euler", more=""):
  actuators = ACTUATORS.format(interp=interp, delay=delay, more=more)
  return chain(hinge='damping="0.3"', actuator=actuators, integrator=integrator)


def random_buffers(mjm, rng):
  """Past controls at uneven times, with cursors anywhere."""
  buffers = history.initial(mjm)
  for i in np.flatnonzero(mjm.actuator_history[:, 0]).tolist():
    n, first = int(mjm.actuator_history[i, 0]), mjm.actuator_historyadr[i]
    cursor = int(rng.integers(n))
    order = (cursor + 1 + np.arange(n)) % n
    buffers[first + 1] = cursor
    times = -mjm.opt.timestep * (np.arange(n, 0, -1) + 0.3 * rng.uniform(-1, 1, size=n))
    buffers[first + 2 + order] = times
  values = history.entries(mjm, "value")
  buffers[values] = rng.uniform(-1, 1, size=values.sum()).astype(np.float32)
  return buffers


def points(mjm, count, seed=0):
  rng = np.random.default_rng(seed)
  return [
    with_inputs(
      point,
      history=random_buffers(mjm, rng),
      ctrl=rng.uniform(-1, 1, size=mjm.nu),
      act=0.5 * rng.normal(size=mjm.na),
    )
    for point in random_points(mjm, count, seed)
  ]


@pytest.mark.parametrize("interp", INTERPOLATIONS)
@pytest.mark.parametrize("integrator", ["euler", "implicitfast", "discrete"])
def test_one_step(interp, integrator):
  """The delays of 0.0172 s reach between samples, before the oldest one of some, and to its end."""
  mjm = model(interp, integrator=integrator)
  found, _ = compare(
    mjm,
    points(mjm, 6),
    ("actuator_gear", "actuator_ctrlrange"),
    channels=("qpos", "qvel", "act", "history", "ctrl"),
  )
  assert_close(found, RTOL)


def test_several_controls():
  """The buffer of a DC motor holds vectors; past inputs of every kind count."""
  mjm = model("cubic", more=DCMOTOR.format(delay=0.0172, interp="cubic"))
  assert mjm.actuator_ctrlnum[-1] == 3
  found, _ = compare(mjm, points(mjm, 6), channels=("qpos", "qvel", "history"))
  assert_close(found, RTOL)
  first = mjm.actuator_historyadr[-1] + 2 + mjm.actuator_history[-1, 0]
  values = found["history"].value[:, first:].reshape(len(points(mjm, 6)), -1, 3)
  assert np.all(np.abs(values).max(axis=(0, 1)) > 1e-3)


def test_activation():
  mjm = model("linear")
  found, _ = compare(mjm, points(mjm, 6), channels=("act", "history"), on="act")
  assert_close(found, RTOL)


def test_time_step_where_samples_are_held():
  mjm = model("zoh")
  found, _ = compare(mjm, points(mjm, 4), ("opt.timestep",))
  assert_close(found, RTOL)


@pytest.mark.parametrize("interp", ["linear", "cubic"])
def test_time_step_is_refused_where_samples_are_interpolated(interp):
  mjm = model(interp)
  here = points(mjm, 1)
  with pytest.raises(UnsupportedFeature, match=r"opt\.timestep"):
    compare(mjm, here, ("opt.timestep",))


def sequence(mjm, point, ctrls, adj):
  """<adj, states of C MuJoCo after every control>; qpos of the ball is left out."""
  mjd = mujoco.MjData(mjm)
  mjd.qpos[:], mjd.qvel[:], mjd.act[:] = point.qpos, point.qvel, point.act
  size = point.history.size
  mjd.history[:size] = point.history
  total = 0.0
  for k in range(len(adj["qvel"])):
    for _ in range(T // len(adj["qvel"])):
      mjd.ctrl[:] = ctrls[k]
      mujoco.mj_step(mjm, mjd)
    total += adj["qvel"][k] @ mjd.qvel + adj["act"][k] @ mjd.act
    total += adj["qpos"][k] @ mjd.qpos[:2] + adj["history"][k] @ mjd.history[:size]
  return total


def difference(evaluate, value, entries):
  """Central differences of `evaluate` at the entries of `value`, which must plateau."""
  found = []
  for step in (1e-3, 1e-4, 1e-5):
    out = np.zeros(value.shape)
    for entry in entries:
      delta = np.zeros(value.shape)
      delta[entry] = step
      out[entry] = (evaluate(value + delta) - evaluate(value - delta)) / (2 * step)
    found.append(out)
  assert oracles.relative_error(found[2], found[1]) < 1e-6
  return found[1]


def by_differences(mjm, point, ctrls, adj):
  """Gradients of `sequence` in the controls, the past controls and the first velocity."""
  values = np.flatnonzero(history.entries(mjm, "value"))
  return {
    "ctrl": difference(
      lambda u: sequence(mjm, point, u, adj), ctrls, list(np.ndindex(*ctrls.shape))
    ),
    "history": difference(
      lambda b: sequence(mjm, with_inputs(point, history=b), ctrls, adj), point.history, values
    ),
    "qvel": difference(
      lambda v: sequence(mjm, with_inputs(point, qvel=v), ctrls, adj), point.qvel, range(mjm.nv)
    ),
  }


@pytest.mark.parametrize("interp", INTERPOLATIONS)
@pytest.mark.parametrize(
  ("nstep", "delay", "integrator"), [(1, 0.0172, "implicitfast"), (4, 0.015, "euler")]
)
def test_sequence(interp, nstep, delay, integrator):
  """20 steps with three to four steps of delay, the loss on every state, buffers included."""
  more = DCMOTOR.format(delay=delay, interp=interp)
  mjm = model(interp, delay, integrator, more)
  starts = points(mjm, 2, seed=4)
  if nstep > 1:  # delays that are whole steps: the samples are where the engine put them
    starts = [with_inputs(p, history=history.initial(mjm)) for p in starts]
  rng = np.random.default_rng(1)
  count, nworld, size = T // nstep, len(starts), starts[0].history.size
  ctrls = rng.uniform(-1, 1, size=(count, nworld, mjm.nu)).astype(np.float32).astype(np.float64)
  value = history.entries(mjm, "value")
  adj = {
    name: rng.normal(size=(nworld, count, n)).astype(np.float32).astype(np.float64)
    for name, n in (("qpos", 2), ("qvel", mjm.nv), ("act", mjm.na), ("history", size))
  }
  adj["history"] *= 0.01 * value

  sim = mjgrad.Simulator(mjm, nworld, "cpu")

  def leaf(array):
    return torch.tensor(np.asarray(array), dtype=torch.float32, requires_grad=True)

  first = mgt.State(
    *(leaf(np.stack([getattr(p, name) for p in starts])) for name in ("qpos", "qvel", "act")),
    torch.zeros(nworld, mjm.nv),
    torch.zeros(nworld),
    leaf(np.stack([p.history for p in starts])),
  )
  given = leaf(ctrls)
  visited = mgt.rollout(sim, first, given, nstep=nstep)
  assert visited.history.shape == (count, nworld, size)
  loss = sum(
    (getattr(visited, name)[..., :n] * torch.tensor(adj[name].swapaxes(0, 1))).sum()
    for name, n in (("qpos", 2), ("qvel", mjm.nv), ("act", mjm.na), ("history", size))
  )
  grads = torch.autograd.grad(loss, (given, first.history, first.qvel))
  by_ctrl, by_history, by_qvel = (g.numpy().astype(np.float64) for g in grads)

  for w, point in enumerate(starts):
    own = {name: a[w] for name, a in adj.items()}
    truth = by_differences(mjm, point, ctrls[:, w], own)
    assert np.all(np.abs(truth["ctrl"][: count // 2]).max(axis=0) > 1e-3)
    assert np.linalg.norm(truth["history"]) > 1e-2
    assert oracles.relative_error(by_ctrl[:, w], truth["ctrl"]) < SEQUENCE
    assert oracles.relative_error(by_history[w], truth["history"]) < SEQUENCE
    assert oracles.relative_error(by_qvel[w], truth["qvel"]) < SEQUENCE


def test_a_control_acts_after_its_delay():
  """With four steps of delay: nothing for three more steps, then all of it."""
  mjm = chain(actuator='<motor joint="hinge" delay="0.02" nsample="5"/>')
  sim = mjgrad.Simulator(mjm, 1, "cpu")
  ctrls = torch.zeros(8, 1, 1, requires_grad=True)
  qvel = mgt.rollout(sim, mgt.initial_state(sim), ctrls).qvel[:, 0, 0]
  acts = torch.stack([torch.autograd.grad(v, ctrls, retain_graph=True)[0][:, 0, 0] for v in qvel])
  first = [int(np.flatnonzero(acts[:, k])[0]) for k in range(4)]
  assert first == [4, 5, 6, 7]
  assert not acts[:, 4:].any()


def test_buffers_of_a_call_without_them_are_those_of_a_reset():
  mjm = model("linear")
  sim = mjgrad.Simulator(mjm, 1, "cpu")
  start = points(mjm, 1)[0]
  zero = np.zeros((1, mjm.nq)), np.ones((1, mjm.nv))
  here = (start.qpos[None], start.qvel[None], start.ctrl[None], *zero)
  other = step_gradient(sim, *here, history=start.history[None])
  reset = step_gradient(sim, *here)
  given = step_gradient(sim, *here, history=history.initial(mjm)[None])
  np.testing.assert_array_equal(reset.qvel, given.qvel)
  assert np.abs(other.qvel - reset.qvel).max() > 1e-3
  expected = mgt.initial_state(sim).history.numpy()
  np.testing.assert_array_equal(expected[0], history.initial(mjm).astype(np.float32))


def test_a_state_without_buffers_is_an_error():
  sim = mjgrad.Simulator(model("linear"), 2, "cpu")
  state = mgt.initial_state(sim)
  bare = mgt.State(state.qpos, state.qvel, state.act, state.qacc_warmstart, state.time)
  with pytest.raises(mjgrad.InvalidInput, match=r"state\.history has shape \(2, 0\)"):
    mgt.step(sim, bare)


def test_no_delay_no_cost():
  """Recording controls is no delay, and delays of sensors are no dynamics."""
  source = chain(actuator='<motor joint="hinge" nsample="5"/>')
  assert source.nhistory > 0
  sim = mjgrad.Simulator(source, 2, "cpu")
  state = mgt.initial_state(sim)
  assert sim.nhistory == 0 and state.history.shape == (2, 0)
  program = sim.program({}, 1)
  assert program.tape.history.size == 0 and program.tape.time.size == 0
  assert program.work.delay is None and program.work.data is sim.data


def test_buffers_at_time_zero():
  """Buffers of rollouts are brought to time zero, and the newest sample is one step old."""
  mjm = model("cubic")
  oracle = oracles.Oracle(mjm)
  oracle.load(points(mjm, 1)[0], np.zeros(mjm.nv))
  mujoco.mj_step(oracle.mjm, oracle.mjd, 50)
  buffers = history.at_time_zero(mjm, oracle.mjd)
  times = buffers[history.entries(mjm, "time")]
  assert times.max() == pytest.approx(-mjm.opt.timestep)


@pytest.mark.parametrize("interp", INTERPOLATIONS)
def test_check(interp):
  """States of `mjgrad check` have buffers, and the channel passes."""
  mjm = model(interp, delay=0.015)
  result = oracles.run_check(mjm, nstates=4, device="cpu", params=())
  channel = next(c for c in result.channels if c.channel == "history")
  assert len(channel.compared) == 4 and channel.zero < 4
  assert channel.passed


def test_buffers_of_sensors_are_left_alone():
  """They follow those of actuators in `mjData.history` and are no part of the state."""
  mjm = models.load("""
<mujoco>
  <option timestep="0.005"/>
  <worldbody>
    <body>
      <joint name="j" axis="0 1 0"/>
      <geom size="0.1" pos="0.2 0 0"/>
    </body>
  </worldbody>
  <actuator><motor joint="j" delay="0.012" nsample="4" interp="linear"/></actuator>
  <sensor><jointpos joint="j" delay="0.01" nsample="5"/></sensor>
</mujoco>
""")
  sim = mjgrad.Simulator(mjm, 2, "cpu")
  state = mgt.initial_state(sim)
  assert 0 < state.history.shape[1] == sim.nhistory < mjm.nhistory
  here = points(mjm, 2)
  found, _ = compare(mjm, here, channels=("qpos", "history"))
  assert_close(found, RTOL)
  past = torch.tensor(np.stack([p.history for p in here]), dtype=torch.float32)
  past.requires_grad_()
  after = mgt.step(sim, mgt.State(*list(state.__dict__.values())[:5], past))
  after.qvel.sum().backward()
  acting = np.abs(past.grad.numpy()) > 0
  assert np.all(acting.sum(axis=1) == 2)
