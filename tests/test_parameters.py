"""Every parameter against the oracle, in a model where the law that reads it is active."""

from dataclasses import dataclass

import mujoco
import numpy as np
import pytest

from mjgrad._src.engine.parameters import PARAMETERS
from mjgrad._src.terms import contact_material
from tests import models
from tests.terms import harness
from tests.terms.chain import chain
from tests.terms.chain import free_body
from tests.terms.tendons import fixed
from tests.terms.tendons import spatial
from tests.terms.tendons import tendons

# The bars for parameters: at the median and at the worst state.
MEDIAN, WORST = 1e-3, 1e-2
NSTATES = 6


@dataclass(frozen=True)
class Case:
  """A model, the parameters that it is about, and where to compare them.

  Attributes:
    mjm: the model.
    params: names.
    position: size of the displacements from the reference.
    velocity: size of the velocities.
    skipped: states that may be at a switching point.
    control: size of the controls and activations.
  """

  mjm: mujoco.MjModel
  params: tuple[str, ...]
  position: float = 0.3
  velocity: float = 1.0
  skipped: int = 1
  control: float = 1.0


def _fluid(mjm: mujoco.MjModel) -> mujoco.MjModel:
  mjm.opt.density, mjm.opt.viscosity = 200.0, 2.0
  mjm.opt.wind[:] = (0.5, -0.3, 0.2)
  return mjm


SOLID = 'solimplimit="0.5 0.95 0.1 0.4 2.5" solreflimit="0.03 0.8"'
DIRECT = 'solimplimit="0.6 0.6 0.1 0.4 2.5" solreflimit="-300 -20"'
FRICTION = 'solimpfriction="0.8 0.9 0.01" solreffriction="0.03 1.1"'
EQUALITY = 'solimp="0.6 0.9 0.2 0.4 2.5" solref="0.04 0.9"'
ROWS = ("eq_data", "eq_solref", "eq_solimp", "opt.timestep")
SPRINGS = ("jnt_stiffness", "jnt_stiffnesspoly", "qpos_spring")
DAMPING = ("dof_damping", "dof_dampingpoly", "dof_armature", "opt.timestep")
LIMITED = ("jnt_range", "jnt_margin", "jnt_solref", "jnt_solimp")

CASES = {
  "inertia": Case(chain(), ("body_mass", "body_inertia", "opt.gravity", "opt.timestep")),
  "gravcomp": Case(chain(body='gravcomp="0.7"'), ("body_gravcomp", "body_mass", "opt.gravity")),
  "dof": Case(
    chain(
      hinge=f'damping="2 0.4 0.1" frictionloss="9" {FRICTION}',
      slide=f'damping="5" armature="0.2" frictionloss="2" {FRICTION}',
      ball='damping="0.5 0.1 0.1" frictionloss="0.5"',
      last='damping="0"',
    ),
    (*DAMPING, "dof_frictionloss", "dof_solref", "dof_solimp", "dof_invweight0"),
    velocity=0.1,
    skipped=3,
  ),
  "dof_implicitfast": Case(
    chain(
      hinge='damping="2 0.4 0.1"',
      actuator='<velocity joint="slide" kv="9"/><position joint="last" kp="20" kv="2"/>',
      integrator="implicitfast",
    ),
    DAMPING,
  ),
  "springs": Case(
    chain(
      hinge='stiffness="20 2 1" springref="10"',
      slide='stiffness="90"',
      ball='stiffness="5 1 1" springref="20"',
    ),
    SPRINGS,
  ),
  "free_spring": Case(free_body('stiffness="20 2 1"'), SPRINGS),
  "limit": Case(
    chain(
      hinge=f'limited="true" {SOLID} range="-5 5" margin="0.02"',
      slide=f'limited="true" {DIRECT} range="-0.02 0.02"',
      ball=f'limited="true" {SOLID} range="0 10"',
      last=f'limited="true" {SOLID} range="-1 1"',
    ),
    (*LIMITED, "opt.timestep", "dof_invweight0"),
  ),
  "joint_equality": Case(
    chain(
      equality=f"""
        <joint joint1="hinge" joint2="last" polycoef="0.1 0.5 0.3 -0.2 0.4" {EQUALITY}/>
        <joint joint1="slide" polycoef="0.05 0 0 0 0" solref="-200 -15"/>"""
    ),
    (*ROWS, "dof_invweight0"),
    position=0.05,
  ),
  "body_equality": Case(
    chain(
      equality=f"""
        <connect body1="last" anchor="0.05 0 0.1" {EQUALITY}/>
        <weld body1="slide" body2="hinge" torquescale="0.7" relpose="0.3 0.02 0 1 0.1 0.2 0.1"/>"""
    ),
    (*ROWS, "body_invweight0"),
    position=0.03,
  ),
  "tendon": Case(
    tendons(
      fixed(stiffness="30 5 7", damping="2 0.5 0.3", springlength="0.1", armature="0.3")
      + spatial("w", "a", "c", "tip", stiffness="40 3 5", damping="3 0.4 0.2")
    ),
    (
      "tendon_stiffness",
      "tendon_stiffnesspoly",
      "tendon_damping",
      "tendon_dampingpoly",
      "tendon_lengthspring",
      "opt.timestep",
    ),
  ),
  "tendon_armature": Case(tendons(fixed(armature="0.3")), ("tendon_armature",)),
  "tendon_implicitfast": Case(
    tendons(fixed(damping="2 0.5 0.3"), integrator="implicitfast"),
    ("tendon_damping", "tendon_dampingpoly", "opt.timestep"),
  ),
  "tendon_rows": Case(
    tendons(
      fixed(limited="true", range="-0.01 0.01", margin="0.005", frictionloss="15").replace(
        "<fixed", f"<fixed {SOLID} {FRICTION}"
      )
    ),
    (
      "tendon_range",
      "tendon_margin",
      "tendon_frictionloss",
      "tendon_solref_lim",
      "tendon_solimp_lim",
      "tendon_solref_fri",
      "tendon_solimp_fri",
      "tendon_invweight0",
      "opt.timestep",
    ),
    velocity=0.3,
    skipped=2,
  ),
  "tendon_equality": Case(
    tendons(
      fixed(name="one") + spatial("w", "a", "c", "tip", name="two"),
      equality=f"""
        <tendon tendon1="one" tendon2="two" polycoef="0.1 0.5 0.3 -0.2 0.4" {EQUALITY}/>
        <tendon tendon1="two" polycoef="0.05 0 0 0 0"/>""",
    ),
    ("tendon_length0", "tendon_invweight0", *ROWS),
    position=0.1,
  ),
  "fluid_box": Case(
    _fluid(chain()), ("opt.wind", "opt.density", "opt.viscosity", "body_mass"), velocity=3.0
  ),
  "fluid_ellipsoid": Case(
    _fluid(
      free_body(
        child='<geom type="ellipsoid" size="0.1 0.2 0.15" fluidshape="ellipsoid" mass="0"/>'
      )
    ),
    ("opt.wind", "opt.density", "opt.viscosity", "geom_size"),
    velocity=3.0,
  ),
  "actuator": Case(
    chain(
      actuator="""
        <position joint="hinge" kp="20" kv="2" gear="1.5"/>
        <general joint="last" gaintype="affine" biastype="affine" gainprm="1 0.5 -0.2"
                 biasprm="0.2 -1 -0.1"/>
        <general joint="hinge" dyntype="filter" dynprm="0.03" gainprm="2" actearly="true"/>
        <general joint="slide" dyntype="filterexact" dynprm="0.03" gainprm="2" actearly="true"/>
        <muscle joint="last" lengthrange="-2 2" force="4"/>"""
    ),
    ("actuator_gainprm", "actuator_biasprm", "opt.timestep"),
  ),
  "contact": Case(
    models.load(models.scene("plane", "capsule", 4).replace('pos="0 0 0.069"', 'pos="0 0 0.064"')),
    ("geom_size", "geom_friction", "opt.timestep", "body_invweight0"),
    position=1e-3,
    velocity=0.1,
  ),
  "contact_elliptic": Case(
    models.variant(
      models.scene("plane", "capsule", 4)
      .replace('pos="0 0 0.069"', 'pos="0 0 0.064"')
      .replace("<option", '<option impratio="3"'),
      cone="elliptic",
    ),
    ("geom_friction", "opt.impratio", "body_invweight0"),
    position=1e-3,
    velocity=0.1,
  ),
}


ELSEWHERE = {
  "terms/test_contact_material.py": contact_material.PARAMETERS,
  "terms/test_actuator_parameters.py": (
    *(name for name in PARAMETERS if name.startswith("actuator_")),
    "jnt_actfrcrange",
  ),
  "terms/test_tendon_force_limit.py": ("tendon_actfrcrange",),
}
"""Parameters that are compared in the test files of their laws."""


def test_every_parameter_is_compared():
  compared = {name for case in CASES.values() for name in case.params}
  assert set(PARAMETERS) == compared.union(*ELSEWHERE.values())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_against_the_oracle(case):
  mjm = case.mjm
  rng = np.random.default_rng(3)
  points = [
    harness.with_inputs(
      point,
      act=rng.uniform(0.1, 0.9, size=mjm.na).astype(np.float32),
      ctrl=(case.control * rng.uniform(-1, 1, size=mjm.nu)).astype(np.float32),
    )
    for point in harness.random_points(
      mjm, NSTATES, seed=7, position=case.position, velocity=case.velocity
    )
  ]
  found, _ = harness.compare(mjm, points, case.params, channels=())
  harness.assert_close(found, MEDIAN, worst=WORST, skipped=case.skipped)
