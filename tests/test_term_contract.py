"""What every term of the residual must satisfy, whatever its law.

For each term in `adjoint/step_vjp.TERMS` a model of nv 6 in which it is the law that matters: its
gradients are the oracle's, linear in the cotangent, exactly zero for a zero cotangent, and the same
for a world alone as within a batch of different ones.
"""

from dataclasses import dataclass

import mujoco
import numpy as np
import pytest

from mjgrad._src.adjoint.step_vjp import TERMS
from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.linearize import step_gradient
from tests import models
from tests.terms import harness
from tests.terms.chain import chain
from tests.terms.tendons import fixed
from tests.terms.tendons import spatial
from tests.terms.tendons import tendons

# Rows with a stiff reference magnify float32 rounding of positions to a few 1e-5.
RTOL = 2e-4
# Sums over the same terms in another order.
ROUNDING = 2e-5

NWORLD = 4


@dataclass(frozen=True)
class Case:
  """A model for one term.

  Attributes:
    mjm: the model.
    params: parameters of the term.
    channels: inputs of the step whose gradient the term decides.
    scale: size of the displacements from the reference.
    velocity: size of the velocities.
    constrained: whether the term is a constraint, with rows in every world.
  """

  mjm: mujoco.MjModel
  params: tuple[str, ...] = ()
  channels: tuple[str, ...] = ("qpos", "qvel")
  scale: float = 0.3
  velocity: float = 1.0
  constrained: bool = False


def _fluid(integrator: str = "euler") -> mujoco.MjModel:
  mjm = chain(integrator=integrator)
  mjm.opt.density, mjm.opt.viscosity = 200.0, 2.0
  mjm.opt.wind[:] = (0.5, -0.3, 0.2)
  return mjm


LIMIT = 'limited="true" solimplimit="0.5 0.95 0.1 0.4 2.5"'
CASES = {
  "inertia": Case(chain(), ("body_mass", "body_inertia", "opt.gravity")),
  "inertial_parameters": Case(
    chain(), ("body_mass", "body_inertia", "body_ipos", "body_iquat", "body_pos", "jnt_axis")
  ),
  "applied": Case(chain(), (), ("qpos", "qvel", "qfrc_applied", "xfrc_applied")),
  "dof": Case(
    chain(
      hinge='damping="2 0.4 0.1" frictionloss="1"',
      slide='damping="5" armature="0.2"',
      ball='damping="0.5" frictionloss="0.1"',
    ),
    ("dof_damping", "dof_armature", "dof_frictionloss"),
  ),
  "joint_spring": Case(
    chain(hinge='stiffness="20 2 1"', slide='stiffness="90"', ball='stiffness="5 1 1"'),
    ("jnt_stiffness",),
  ),
  "limit": Case(
    chain(
      hinge=f'{LIMIT} range="-1 1"',
      slide=f'{LIMIT} range="-0.02 0.02"',
      ball=f'{LIMIT} range="0 10"',
      last=f'{LIMIT} range="-1 1"',
    ),
    constrained=True,
  ),
  "row_scale": Case(
    chain(
      hinge='damping="2" stiffness="20"',
      slide=f'damping="5" {LIMIT} range="-0.02 0.02"',
      ball='damping="0.4" frictionloss="0.1"',
      last=f'damping="0.5" {LIMIT} range="-0.02 0.02"',
      integrator="discrete",
    ),
    ("body_mass", "dof_damping", "dof_armature"),
    constrained=True,
  ),
  "actuator": Case(
    chain(
      actuator="""
        <position joint="hinge" kp="20" kv="2" gear="1.5"/>
        <velocity joint="slide" kv="9"/>
        <motor joint="ball" gear="0.4 -0.3 0.8"/>
        <general joint="last" gaintype="affine" biastype="affine" gainprm="1 0.5 -0.2"
                 biasprm="0.2 -1 -0.1" ctrllimited="true" ctrlrange="-0.5 0.5"/>
        <general joint="hinge" dyntype="filter" dynprm="0.03" gainprm="2"/>
        <general joint="slide" dyntype="integrator" actearly="true" gainprm="3"/>
        <muscle joint="last" lengthrange="-2 2" force="4"/>""",
      integrator="implicitfast",
    ),
    ("actuator_gainprm", "actuator_biasprm"),
    ("qpos", "qvel", "act", "ctrl"),
  ),
  "actuator_passive": Case(
    chain(
      actuator='<motor joint="hinge" gear="2" damping="0.4 0.1" armature="0.03"/>'
      '<motor joint="last" gear="0.5" damping="0.2" armature="0.1"/>'
    ),
    ("actuator_damping", "actuator_dampingpoly", "actuator_armature", "actuator_gear"),
  ),
  "contact": Case(
    models.load(models.scene("plane", "capsule", 4).replace('pos="0 0 0.069"', 'pos="0 0 0.064"')),
    ("geom_size",),
    scale=1e-3,
    velocity=0.1,
    constrained=True,
  ),
  "contact_direction": Case(
    models.variant(
      models.scene("plane", "capsule", 4)
      .replace('pos="0 0 0.069"', 'pos="0 0 0.064"')
      .replace("<freejoint/>", '<joint type="free" damping="9"/>'),
      integrator="discrete",
    ),
    ("geom_size", "dof_damping"),
    scale=1e-3,
    velocity=0.1,
    constrained=True,
  ),
  "contact_solid": Case(
    models.load(
      models.scene("sphere", "capsule", 4).replace(
        'type="capsule" size="0.07 0.15"', 'type="box" size="0.15 0.1 0.075"'
      )
    ),
    ("geom_size",),
    scale=1e-3,
    velocity=0.1,
    constrained=True,
  ),
  "contact_material": Case(
    models.load(models.scene("plane", "capsule", 4).replace('pos="0 0 0.069"', 'pos="0 0 0.064"')),
    ("geom_friction", "geom_solref", "geom_solimp", "geom_margin"),
    scale=1e-3,
    velocity=0.1,
    constrained=True,
  ),
  "joint_equality": Case(
    chain(
      equality="""
        <joint joint1="hinge" joint2="last" polycoef="0.1 0.5 0.3 -0.2 0.4"/>
        <joint joint1="slide" polycoef="0.05 0 0 0 0"/>"""
    ),
    scale=0.05,
    constrained=True,
  ),
  "body_equality": Case(
    chain(
      equality="""
        <connect body1="last" anchor="0.05 0 0.1"/>
        <weld body1="slide" body2="hinge" torquescale="0.7"/>"""
    ),
    scale=0.03,
    constrained=True,
  ),
  "gravcomp": Case(chain(body='gravcomp="0.7"'), ("body_mass", "opt.gravity")),
  "fluid": Case(_fluid(), velocity=3.0),
  "fluid_slope": Case(_fluid("implicitfast"), ("body_mass", "body_inertia"), velocity=3.0),
  "gyroscopic": Case(chain(integrator="implicit"), ("body_mass", "body_inertia"), velocity=5.0),
  "tendon": Case(
    tendons(fixed(stiffness="30", damping="2", springlength="0.1")),
    ("tendon_stiffness", "tendon_damping"),
  ),
  "tendon_rows": Case(
    tendons(fixed(limited="true", range="-0.01 0.01", frictionloss="0.5")),
    ("tendon_frictionloss",),
    constrained=True,
  ),
  "tendon_armature": Case(tendons(fixed(armature="0.3")), ("tendon_armature",)),
  "tendon_direction": Case(
    tendons(spatial("tip", "rail", damping="3"), integrator="implicitfast"), ("tendon_damping",)
  ),
  "tendon_path": Case(
    tendons(spatial("w", "a", "c", "tip", stiffness="40", damping="3")), ("tendon_stiffness",)
  ),
}
INPUTS = ("qpos_tangent", "qvel", "act", "ctrl", "qfrc_applied", "xfrc_applied")


def test_every_term_has_a_case():
  assert {term.__name__.rsplit(".", 1)[1] for term in TERMS} == set(CASES)


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def setting(request):
  """Different states, forces and controls in every world."""
  case = request.param
  mjm = case.mjm
  rng = np.random.default_rng(5)
  points = [
    harness.with_inputs(
      point,
      act=rng.uniform(0.1, 0.9, size=mjm.na).astype(np.float32),
      ctrl=rng.uniform(-1, 1, size=mjm.nu).astype(np.float32),
      qfrc_applied=rng.normal(size=mjm.nv).astype(np.float32),
      xfrc_applied=rng.normal(size=(mjm.nbody, 6)).astype(np.float32),
    )
    for point in harness.random_points(
      mjm, NWORLD, seed=5, position=case.scale, velocity=case.velocity
    )
  ]
  return case, points, Simulator(mjm, NWORLD, "cpu")


def pull(case, points, sim, adj_qpos, adj_qvel, adj_act):
  out = step_gradient(
    sim,
    **harness.inputs(points),
    adj_qpos=adj_qpos,
    adj_qvel=adj_qvel,
    adj_act=adj_act,
    wrt_params=case.params,
  )
  return {name: out.grad[name].astype(np.float64) for name in (*INPUTS, *case.params)}


def cotangents(mjm, seed):
  """On the next qpos (ambient), qvel and act of every world."""
  rng = np.random.default_rng(seed)
  return [rng.normal(size=(NWORLD, n)).astype(np.float32) for n in (mjm.nq, mjm.nv, mjm.na)]


def assert_same(first, second, rtol=ROUNDING):
  for name, value in first.items():
    scale = max(np.abs(value).max(initial=0), np.abs(second[name]).max(initial=0))
    np.testing.assert_allclose(value, second[name], atol=rtol * scale, rtol=0, err_msg=name)


def test_against_the_oracle(setting):
  case, points, _ = setting
  found, local = harness.compare(case.mjm, points, case.params, channels=case.channels)
  harness.assert_close(found, RTOL, worst=5e-3, skipped=1)
  rows = [here.branch.zones for here in local]
  assert all(zones.any() for zones in rows if zones.size)
  assert all(zones.size for zones in rows) or not case.constrained


def test_linear_in_the_cotangent(setting):
  """The gradient of 2 f - 3 g is twice that of f less three times that of g."""
  case, points, sim = setting
  f, g = cotangents(case.mjm, 1), cotangents(case.mjm, 2)
  both = pull(case, points, sim, *(2 * of_f - 3 * of_g for of_f, of_g in zip(f, g)))
  of_f, of_g = pull(case, points, sim, *f), pull(case, points, sim, *g)
  assert_same(both, {name: 2 * of_f[name] - 3 * of_g[name] for name in both})


def test_zero_cotangent_gives_exactly_zero(setting):
  case, points, sim = setting
  adj = cotangents(case.mjm, 1)
  pull(case, points, sim, *adj)  # leaves something behind that must not leak
  found = pull(case, points, sim, *map(np.zeros_like, adj))
  for name, value in found.items():
    np.testing.assert_array_equal(value, 0, err_msg=name)


def test_one_world_with_a_cotangent(setting):
  """The other worlds get exactly nothing."""
  case, points, sim = setting
  adj = cotangents(case.mjm, 1)
  of_one = (np.arange(NWORLD) == 2)[:, None]
  found = pull(case, points, sim, *(a * of_one for a in adj))
  everyone = pull(case, points, sim, *adj)
  for name, value in found.items():
    np.testing.assert_array_equal(np.delete(value, 2, axis=0), 0, err_msg=name)
    np.testing.assert_array_equal(value[2], everyone[name][2], err_msg=name)


def test_batch_of_different_worlds_is_the_worlds_one_at_a_time(setting):
  case, points, sim = setting
  adj = cotangents(case.mjm, 1)
  batch = pull(case, points, sim, *adj)
  single = Simulator(case.mjm, 1, "cpu")
  rows = [
    pull(case, points[s : s + 1], single, *(a[s : s + 1] for a in adj)) for s in range(NWORLD)
  ]
  assert_same(batch, {name: np.concatenate([row[name] for row in rows]) for name in batch})


def test_repeated_calls_agree(setting):
  """A call leaves nothing behind that the next one picks up."""
  case, points, sim = setting
  adj = cotangents(case.mjm, 1)
  first = pull(case, points, sim, *adj)
  pull(case, points[::-1], sim, *cotangents(case.mjm, 3))
  assert_same(first, pull(case, points, sim, *adj))


def test_shared_gradient_is_the_sum_of_those_per_world(setting):
  case, points, sim = setting
  if not case.params:
    return
  adj = cotangents(case.mjm, 1)
  per_world = pull(case, points, sim, *adj)
  values = {name: harness.Oracle(case.mjm).parameter(name) for name in case.params}
  names = ("adj_qpos", "adj_qvel", "adj_act")
  out = step_gradient(sim, **harness.inputs(points), **dict(zip(names, adj)), params=values)
  assert_same(
    {name: out.grad[name][0] for name in case.params},
    {name: per_world[name].sum(axis=0) for name in case.params},
  )
