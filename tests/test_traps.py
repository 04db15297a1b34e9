"""One test for each mistake that broke gradients of MuJoCo elsewhere (design, section 6)."""

import copy
import re

import mujoco_warp as mjw
import numpy as np
import pytest
import torch
import warp as wp

import mjgrad
import mjgrad.torch as mgt
from mjgrad._src.linearize import step_gradient
from tests import models
from tests import oracles
from tests.adjoint.test_multiplier import euler_matrix
from tests.adjoint.test_multiplier import implicit_matrix
from tests.adjoint.test_multiplier import mass_matrix
from tests.terms import harness

# The project's bars for one step.
MEDIAN, WORST = 1e-4, 1e-2
# Two solvers or two storage formats of one problem agree to their float32 residual, amplified by
# the stiffness of the contacts.
SAME_PROBLEM = 1e-3


def states_with(mjm, labels, count, seed=0):
  """Sampled states that have all of the labels."""
  states = oracles.sample_states(mjm, 8 * count, seed)
  chosen = [s for s in states if set(labels) <= set(s.labels)][:count]
  assert len(chosen) == count
  return chosen


def assert_right(mjm, states, params=()):
  result = oracles.run_check(mjm, states=states, params=params, device="cpu")
  for channel in result.channels:
    assert len(channel.compared) >= len(states) - 1, result.to_text()
    assert channel.median <= MEDIAN and channel.worst <= WORST, result.to_text()
  return result


def partly_active_contacts(oracle, point):
  """Contacts of which some pyramid edges push and others do not."""
  zones = oracle.branch(point, oracle.step(point)).zones
  mjd, count = oracle.mjd, 0
  for i in range(mjd.ncon):
    address, dim = mjd.contact.efc_address[i], mjd.contact.dim[i]
    edges = zones[address : address + 2 * (dim - 1)]
    count += bool(address >= 0 and dim > 1 and edges.any() and not edges.all())
  return count


def test_sliding_pyramidal_contacts():
  """Every active edge counts on its own; the first one need not be among them."""
  mjm = models.humanoid()
  oracle = oracles.Oracle(mjm, engine_frames=True)
  states = states_with(mjm, ("sliding",), 8)
  assert sum(partly_active_contacts(oracle, s.point) for s in states) >= len(states)
  first_is_off = 0
  for s in states:
    zones = oracle.branch(s.point, oracle.step(s.point)).zones
    for i in range(oracle.mjd.ncon):
      address, dim = oracle.mjd.contact.efc_address[i], oracle.mjd.contact.dim[i]
      edges = zones[address : address + 2 * (dim - 1)] if dim > 1 and address >= 0 else zones[:0]
      first_is_off += bool(edges.any() and not edges[0])
  assert first_is_off > 0
  assert_right(mjm, states)


def test_rows_that_are_not_contacts():
  """Friction loss, limits with their impedance slope, clamps, and applied forces, all at once."""
  mjm = models.load(models.JOINTS)
  states = states_with(mjm, ("joint_limit", "friction_loss_slip", "ctrl_clamp"), 8)
  result = assert_right(mjm, states, ("dof_damping", "dof_armature", "jnt_stiffness"))
  for channel in ("qpos", "qvel", "ctrl", "qfrc_applied", "xfrc_applied"):
    assert result.channel(channel).zero == 0


@pytest.mark.parametrize("integrator", ["euler", "implicitfast"])
def test_implicit_damping_depends_on_everything(integrator):
  """psi = mu . (A a_d - M a) matters: M's dependence on q and A's on v and the parameters.

  Without it the gradient would be that of v' = v + h A^-1 M a with A and M held fixed, which is off
  by far more than the bar.
  """
  mjm = models.variant(models.load(models.JOINTS), integrator=integrator)
  mjm.dof_damping[6:] *= 20
  states = oracles.sample_states(mjm, 8, seed=1)
  assert_right(mjm, states, ("dof_damping", "body_mass", "dof_armature"))
  oracle = oracles.Oracle(mjm)
  off = []
  for s in states:
    local = oracles.linearise(oracle, s.point, ("qpos",))
    matrix = {"euler": euler_matrix, "implicitfast": implicit_matrix}[integrator]
    slope = oracles.linearise_residual(oracle, s.point).acceleration("qpos")
    frozen = np.linalg.solve(matrix(oracle, s.point), mass_matrix(oracle, s.point) @ slope)
    truth = local.jacobians["qpos"].matrix[mjm.nv :]
    off.append(oracles.relative_error(mjm.opt.timestep * frozen, truth))
  assert np.median(off) > 10 * MEDIAN, off


def test_chain_and_single_steps_agree():
  """A call of sixteen steps is the product of sixteen calls: no step overwrites another's data."""
  mjm = models.humanoid()
  states = states_with(mjm, ("contact",), 2, seed=1)
  sim = mjgrad.Simulator(mjm, 2, "cpu", nconmax=64, njmax=256)
  first = mgt.initial_state(sim)
  qpos = torch.tensor(oracles.stack(states, "qpos"), dtype=torch.float32)
  qvel = torch.tensor(oracles.stack(states, "qvel"), dtype=torch.float32)

  def run(calls, nstep):
    q, v = qpos.clone().requires_grad_(), qvel.clone().requires_grad_()
    ctrl = torch.full((2, mjm.nu), 0.1, requires_grad=True)
    state = mgt.State(q, v, first.act, first.qacc_warmstart, first.time)
    for _ in range(calls):
      state = mgt.step(sim, state, ctrl, nstep=nstep)
    loss = (state.qpos[:, 2]).sum() + (state.qvel[:, 6:] ** 2).sum()
    return torch.autograd.grad(loss, (q, v, ctrl)), state.qpos.detach()

  together, qpos_together = run(1, 16)
  apart, qpos_apart = run(16, 1)
  assert torch.equal(qpos_together, qpos_apart)
  for a, b in zip(together, apart):
    assert a.abs().max() > 0
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(a.abs().max()))


@pytest.mark.parametrize("cone", models.CONES)
@pytest.mark.parametrize("name", ["ant", "humanoid"])
def test_plain_and_taped_forward_are_mujoco_warp(name, cone):
  """100 steps with changing controls, warm start included, bit for bit on CPU."""
  mjm = models.variant(getattr(models, name)(), cone=cone)
  nworld, capacity = 2, {"nconmax": 64, "njmax": 256}
  rng = np.random.default_rng(0)
  ctrl = rng.uniform(-0.5, 0.5, size=(100, nworld, mjm.nu)).astype(np.float32)
  qvel = 0.5 * rng.normal(size=(nworld, mjm.nv)).astype(np.float32)
  with wp.ScopedDevice("cpu"):
    m, d = mjw.put_model(mjm), mjw.make_data(mjm, nworld=nworld, **capacity)
    d.qvel.assign(qvel)
    contacts = 0
    for u in ctrl:
      d.ctrl.assign(u)
      mjw.step(m, d)
      contacts += int(d.nacon.numpy()[0])
  assert contacts > 20

  sim = mjgrad.Simulator(mjm, nworld, "cpu", **capacity)
  for taped in (False, True):
    state = mgt.initial_state(sim)
    start = torch.tensor(qvel, requires_grad=taped)
    state = mgt.State(state.qpos, start, state.act, state.qacc_warmstart, state.time)
    for u in torch.tensor(ctrl):
      state = mgt.step(sim, state, u)
    assert state.qvel.requires_grad == taped
    for field in ("qpos", "qvel", "qacc_warmstart", "time"):
      value = getattr(state, field).detach().numpy()
      np.testing.assert_array_equal(value, getattr(d, field).numpy(), err_msg=field)


def gradients(mjm, points, seed=0):
  rng = np.random.default_rng(seed)
  adj_qpos = rng.normal(size=(len(points), mjm.nq)).astype(np.float32)
  adj_qvel = rng.normal(size=(len(points), mjm.nv)).astype(np.float32)
  sim = mjgrad.Simulator(mjm, len(points), "cpu", nconmax=64, njmax=256)
  out = step_gradient(sim, **harness.inputs(points), adj_qpos=adj_qpos, adj_qvel=adj_qvel)
  return sim, out


def assert_same_gradients(first, second):
  """At the median over the worlds; a world whose solve stops early may be a little further."""
  for name in ("qpos", "qvel", "ctrl", "qfrc_applied", "xfrc_applied"):
    errors = [oracles.relative_error(b, a) for a, b in zip(first.grad[name], second.grad[name])]
    assert np.median(errors) < SAME_PROBLEM and max(errors) < 10 * SAME_PROBLEM, (name, errors)


@pytest.mark.parametrize("cone", models.CONES)
def test_cg_and_newton(cone):
  """The gradient is that of the solution, whichever solver found it."""
  mjm = models.variant(models.ant(), cone=cone)
  points = [s.point for s in states_with(mjm, ("contact",), 6)]
  other = models.variant(copy.deepcopy(mjm), solver="cg")
  other.opt.iterations = 200
  assert_same_gradients(gradients(mjm, points)[1], gradients(other, points)[1])
  assert_right(other, states_with(mjm, ("contact",), 6))


@pytest.mark.parametrize("cone", models.CONES)
@pytest.mark.parametrize("name", ["ant", "humanoid"])
def test_dense_and_sparse_jacobian(name, cone):
  """nv below 16 and above; the rows' storage does not show."""
  mjm = models.variant(getattr(models, name)(), cone=cone, jacobian="dense")
  points = [s.point for s in states_with(mjm, ("contact",), 4)]
  dense_sim, dense = gradients(mjm, points)
  sparse_sim, sparse = gradients(models.variant(mjm, jacobian="sparse"), points)
  assert not dense_sim.model.is_sparse and sparse_sim.model.is_sparse
  assert_same_gradients(dense, sparse)


@pytest.mark.parametrize("jacobian", ["dense", "sparse"])
def test_more_than_thirty_two_dofs(jacobian):
  """Six free bodies and a chain, nv 42, some on the ground and on each other."""
  balls = "".join(
    f'<body pos="{0.19 * i} 0.01 {0.097 + 0.01 * i}"><freejoint/>'
    f'<geom pos="0.001 0 0" size="0.1" condim="{(3, 4, 6)[i % 3]}" mass="1"/></body>'
    for i in range(6)
  )
  mjm = models.load(f"""
<mujoco>
  <option timestep="0.004" jacobian="{jacobian}"/>
  <worldbody>
    <geom type="plane" size="9 9 1"/>
    {balls}
    <body pos="0 1 0.5"><joint name="a" axis="0 1 0" damping="0.1"/>
      <geom type="capsule" size="0.04" fromto="0 0 0 0.3 0 0"/>
      <body pos="0.3 0 0"><joint type="ball" damping="0.1"/>
        <geom type="capsule" size="0.04" fromto="0 0 0 0.2 0 0"/>
        <body pos="0.2 0 0"><joint axis="0 0 1"/><joint axis="0 1 0" armature="0.01"/>
          <geom type="capsule" size="0.04" fromto="0 0 0 0.2 0 0"/></body>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="a"/></actuator>
</mujoco>
""")
  assert mjm.nv == 42
  states = states_with(mjm, ("contact",), 4)
  result = assert_right(mjm, states, ("geom_size", "body_mass"))
  assert max(s.nefc for s in result.states) > 16


def test_engine_that_differs_from_c_mujoco_is_detected():
  """A nearly upright capsule on a plane: another friction frame, hence another pyramid.

  These states are listed and not compared with plain C MuJoCo; with the engine's frames, or an
  elliptic cone, which has no preferred tangent, the steps agree.
  """
  xml = models.scene("plane", "capsule", 3)
  xml = re.sub(r'pos="0 0 0.069" euler="[^"]*"', 'pos="0 0 0.214" euler="10 8 0"', xml)
  mjm = models.load(xml)
  points = []
  for k in range(6):
    point = harness.Point.initial(mjm)
    point.qvel[:3] = (0.4 * np.cos(k), 0.4 * np.sin(k), -0.05)
    points.append(point.float32())
  states = [oracles.CheckState(p, "posed", ("contact",), 1, 4) for p in points]
  result = oracles.run_check(mjm, states=states, params=(), device="cpu")
  assert len(result.differing) >= 3
  assert set(result.reframed) == set(result.differing)
  assert result.passed, result.to_text()
  elliptic = oracles.run_check(
    models.variant(mjm, cone="elliptic"), states=states, params=(), device="cpu"
  )
  assert elliptic.differing == () and elliptic.passed, elliptic.to_text()


def test_elliptic_cones_of_every_zone_on_the_humanoid():
  mjm = models.variant(models.humanoid(), cone="elliptic")
  states = states_with(mjm, ("contact",), 10, seed=2)
  oracle = oracles.Oracle(mjm)
  zones = [oracle.branch(s.point, oracle.step(s.point)).zones for s in states]
  assert {0, 1, 2} <= set(np.concatenate(zones).tolist())
  assert_right(mjm, states)


def test_step_is_a_function_of_its_arguments():
  """What another call left in the engine's data does not show in forward or backward."""
  mjm = models.humanoid()
  states = states_with(mjm, ("contact",), 4, seed=3)
  rng = np.random.default_rng(0)
  adj = {"adj_qpos": np.zeros((2, mjm.nq)), "adj_qvel": rng.normal(size=(2, mjm.nv))}
  sim = mjgrad.Simulator(mjm, 2, "cpu", nconmax=64, njmax=256)
  first = [s.point for s in states[:2]]
  fresh = step_gradient(sim, **harness.inputs(first), **adj)
  step_gradient(sim, **harness.inputs([s.point for s in states[2:]]), **adj)
  again = step_gradient(sim, **harness.inputs(first), **adj)
  np.testing.assert_array_equal(fresh.qvel, again.qvel)
  for name, value in fresh.grad.items():
    scale = np.abs(value).max(initial=0)
    np.testing.assert_allclose(again.grad[name], value, atol=1e-5 * scale, err_msg=name)


def test_memory_of_a_stored_step():
  """State and acceleration: 0.17 kB (ant) and 0.33 kB (humanoid) per world and step."""
  for make, bound in ((models.ant, 200), (models.humanoid, 400)):
    mjm = make()
    sim = mjgrad.Simulator(mjm, 1, "cpu")
    sizes = []
    for nstep in (1, 9):
      tape = sim.program({}, nstep).tape
      sizes.append(sum(a.size * 4 for a in (tape.qpos, tape.qvel, tape.qacc)))
    assert (sizes[1] - sizes[0]) / 8 <= bound
