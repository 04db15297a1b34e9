"""Gradients through jumps of the forces: where the impedance of contacts and limits starts high.

Against differences of converged float64 trajectories, which themselves agree to some 1e-4 over
tenfold spacings; what a step across a jump leaves is of its order, some 1e-4 at this tolerance.
"""

import copy
import dataclasses

import mujoco
import numpy as np
import pytest
import torch

import mjgrad
import mjgrad.torch as mgt
from tests import models
from tests.integrators.reference import integrate

METHOD = mjgrad.Dopri5(rtol=1e-6, atol=1e-6, max_steps=10_000)
RTOL = 3e-3
SPACING = 1e-6


def scene(body: str, rest: str = "", option: str = "") -> mujoco.MjModel:
  return models.variant(f"""
    <mujoco>
      <option timestep="0.01" {option}/>
      <default>
        <default class="ghost"><geom size="0.03" contype="0" conaffinity="0"/></default>
      </default>
      <worldbody><geom type="plane" size="5 5 0.1"/>{body}</worldbody>{rest}
    </mujoco>""")


BALL = '<body pos="0 0 0.2"><freejoint/><geom size="0.1"/></body>'
CUBE = """
  <body pos="0 0 0.2" euler="30 20 0">
    <freejoint/><geom type="box" size="0.05 0.05 0.05"/>
  </body>"""
ARM = """
  <body pos="0 0 1">
    <joint axis="0 1 0" {range} damping="0.01"/>
    <geom class="ghost" type="capsule" fromto="0 0 0 0.3 0 0"/>
    <body pos="0.3 0 0">
      <joint axis="0 1 0" frictionloss="0.02"/>
      <geom class="ghost" type="capsule" fromto="0 0 0 0.3 0 0"/>
      <site name="hand" pos="0.3 0 0"/>
    </body>
  </body>
  <site name="hook" pos="0 0 1.5"/>"""
SWING = """
  <body pos="0 0 1">
    <joint type="ball" limited="true" range="0 40"/>
    <geom class="ghost" type="capsule" fromto="0 0 0 0.3 0 0"/>
  </body>"""
ROPE = """
  <tendon>
    <spatial limited="true" range="0 0.9"><site site="hook"/><site site="hand"/></spatial>
  </tendon>"""


@dataclasses.dataclass(frozen=True)
class Case:
  """A motion with one jump or more.

  Attributes:
    mjm: the model.
    qvel: where it starts, from qpos0.
    duration: how long it lasts [s].
    params: entries of parameters whose gradient is compared.
    jumps: how many there are.
  """

  mjm: mujoco.MjModel
  qvel: list[float]
  duration: float
  params: dict[str, tuple[int, ...]]
  jumps: int = 1


THROWN = [0.5, 0.0, -2.0, 0.0, 3.0, 0.0]
CASES = {
  "ball": lambda: Case(scene(BALL), THROWN, 0.1, {"geom_size": (1, 0), "geom_margin": (1,)}),
  "hinge": lambda: Case(
    scene(ARM.format(range='limited="true" range="-30 20"')),
    [3.0, -1.0],
    0.25,
    {"jnt_range": (0, 1), "jnt_margin": (0,)},
  ),
}
SLOW = {
  "elliptic": lambda: Case(scene(BALL, option='cone="elliptic"'), THROWN, 0.1, {}),
  "two balls": lambda: Case(
    scene(BALL + BALL.replace("0 0 0.2", "1 0 0.2")), 2 * THROWN, 0.1, {"geom_margin": (0,)}
  ),
  "cube": lambda: Case(
    scene(CUBE), [0.3, 0.0, -2.0, 0.0, 0.0, 0.0], 0.08, {"geom_size": (1, 2)}, 2
  ),
  "swing": lambda: Case(scene(SWING), [1.0, 4.0, -1.0], 0.3, {"jnt_range": (0, 1)}),
  "rope": lambda: Case(
    scene(ARM.format(range=""), ROPE),
    [3.0, -1.0],
    0.15,
    {"tendon_range": (0, 1), "site_pos": (0, 2)},
  ),
}


def loss(case: Case, adj, velocity=(0, 0.0), parameter=("", (0,), 0.0)) -> float:
  mjm, qvel = copy.copy(case.mjm), np.array(case.qvel)
  name, entry, change = parameter
  if name:
    getattr(mjm, name)[entry] += change
  if name == "geom_size" and mjm.geom_type[entry[0]] == mujoco.mjtGeom.mjGEOM_SPHERE:
    mjm.geom_rbound[entry[0]] += change
  qvel[velocity[0]] += velocity[1]
  return integrate(mjm, mjm.qpos0, qvel, case.duration)[1] @ adj


def difference(value) -> float:
  return (value(SPACING) - value(-SPACING)) / (2 * SPACING)


def gradients(case: Case, adj, adjoint=None, calls=1, **options):
  """The simulator, and the derivatives in the velocity and the parameters."""
  sim = mjgrad.Simulator(case.mjm, 1, "cpu", integrator=METHOD, adjoint=adjoint, **options)
  state = mgt.initial_state(sim).map(torch.Tensor.double)
  qvel = torch.tensor([case.qvel], dtype=torch.float64, requires_grad=True)
  params = {
    name: torch.tensor(getattr(case.mjm, name), dtype=torch.float32, requires_grad=True)
    for name in case.params
  }
  nstep = round(case.duration / case.mjm.opt.timestep)
  after = dataclasses.replace(state, qvel=qvel)
  for _ in range(calls):
    after = mgt.step(sim, after, nstep=nstep // calls, params=params)
  value = (after.qvel[0] * torch.tensor(adj)).sum()
  found = torch.autograd.grad(value, [qvel, *params.values()])
  return sim, found[0][0].numpy(), dict(zip(params, (g.numpy() for g in found[1:]), strict=True))


@pytest.mark.parametrize(
  "name", [*CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_against_differences(name):
  """In every velocity and in the parameters that move the event, by both adjoints."""
  case = (CASES | SLOW)[name]()
  adj = np.random.default_rng(0).standard_normal(case.mjm.nv)
  truth = np.array(
    [difference(lambda e, i=i: loss(case, adj, velocity=(i, e))) for i in range(case.mjm.nv)]
  )
  of_parameters = {
    name: difference(lambda e, name=name: loss(case, adj, parameter=(name, case.params[name], e)))
    for name in case.params
  }
  for adjoint in (mjgrad.Discretise(), mjgrad.Backsolve()):
    sim, found, params = gradients(case, adj, adjoint)
    assert sim.stats.jumps[0] == case.jumps
    assert sim.stats.jumps_left_out[0] == 0
    assert np.linalg.norm(found - truth) < RTOL * np.linalg.norm(truth), (adjoint, found, truth)
    for parameter, exact in of_parameters.items():
      value = params[parameter][case.params[parameter]]
      assert abs(exact) > 0.1
      assert abs(value - exact) < RTOL * abs(exact), (adjoint, parameter, value, exact)


def test_in_a_chain_of_calls():
  """A jump in a call before the last, whose steps are taken up again from what was recorded."""
  case = CASES["ball"]()
  adj = np.random.default_rng(0).standard_normal(case.mjm.nv)
  _, once, of_once = gradients(case, adj)
  _, chain, of_chain = gradients(case, adj, calls=2)
  assert np.linalg.norm(once) > 1.0
  assert np.linalg.norm(chain - once) < RTOL * np.linalg.norm(once)
  for name, value in of_once.items():
    assert np.linalg.norm(of_chain[name] - value) < RTOL * np.linalg.norm(value)


def test_without_a_jump():
  """Where the impedance starts at zero and where only friction sets in, there is none."""
  mjm = scene(ARM.format(range="") + BALL)
  mjm.geom_solimp[:, 0] = 0.0
  case = Case(mjm, [3.0, -1.0, *THROWN], 0.1, {})
  sim, found, _ = gradients(case, np.ones(mjm.nv))
  assert sim.stats.jumps[0] == 0 and sim.stats.jumps_left_out[0] == 0
  assert np.linalg.norm(found) > 0.1


@pytest.mark.slow
def test_other_jumps_are_counted():
  """The centre of a ball inside a box comes nearer to another face, and the normal jumps."""
  mjm = models.variant("""
    <mujoco>
      <option timestep="0.01" gravity="0 0 0"/>
      <default><geom solref="0.5 1" condim="1"/></default>
      <worldbody>
        <geom type="box" size="1 1 1"/>
        <body pos="0.5 0.1 0.6"><freejoint/><geom size="0.1"/></body>
      </worldbody>
    </mujoco>""")
  sim, _, _ = gradients(Case(mjm, [3.0, 0.0, 0.0, 0.0, 0.0, 0.0], 0.06, {}), np.ones(6))
  assert sim.stats.jumps[0] == 1
  assert sim.stats.jumps_left_out[0] == 1
  far = mjgrad.ContactsFromDistance(width=0.05)
  sim, _, _ = gradients(CASES["ball"](), np.ones(6), surrogate=far)
  assert sim.stats.jumps_left_out[0] == sim.stats.jumps[0] == 1
