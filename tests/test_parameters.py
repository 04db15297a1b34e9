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

BODY = ("body_pos", "body_quat")
JOINT = ("jnt_pos", "jnt_axis", "qpos0")
INERTIAL = ("body_ipos", "body_iquat")
SITE = ("site_pos", "site_quat")
GEOM = ("geom_pos", "geom_quat")

# Several joints on a body, static bodies below and above them, a free body, contacts on all.
POSES = """
<mujoco>
  <option timestep="0.004"/>
  <default><geom solref="0.03 0.8" friction="0.6 0.02 0.01"/></default>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 0.1" friction="0.8 0.03 0.02" condim="4"/>
    <body name="post" pos="0.1 0.05 0.02" euler="5 10 20">
      <geom type="capsule" size="0.05" fromto="-0.2 -0.1 0.0 0.3 0.1 0.02" mass="1"/>
      <body name="arm" pos="0.05 0.02 0.4" euler="10 -20 30" simple="false">
        <joint name="a" type="hinge" axis="0.2 1 0.3" pos="0.02 0.03 -0.01" damping="0.3"/>
        <joint name="b" type="slide" axis="1 0.3 0.1" pos="0.01 0.02 0.03" stiffness="50"/>
        <joint name="c" type="ball" pos="-0.03 0.01 0.02" damping="0.1"/>
        <inertial pos="0.03 0.02 -0.1" quat="0.9 0.1 0.2 0.1" mass="0.8"
                  diaginertia="0.01 0.02 0.015"/>
        <body name="mount" pos="0.02 0.01 -0.12" euler="20 0 10">
          <geom type="capsule" size="0.04" fromto="0 0 0 0.02 0.05 -0.15" mass="0.3"/>
          <body name="tip" pos="0.02 0.05 -0.15" euler="-10 15 0" simple="false">
            <joint name="d" type="hinge" axis="1 0.2 0" pos="0.01 0.01 0.02"/>
            <geom type="sphere" size="0.05" pos="0.02 0.03 -0.03" mass="0.2"/>
          </body>
        </body>
      </body>
    </body>
    <body name="free" pos="0.3 0.2 0.06" euler="90 10 0" simple="false">
      <freejoint/>
      <geom type="capsule" size="0.065" fromto="0.02 0.01 -0.1 0.0 0.03 0.1" mass="0.5"/>
      <body name="rider" pos="0.02 0.1 0.1" euler="30 10 0">
        <joint name="e" type="hinge" axis="0 0.3 1" pos="0.02 0 0.03"/>
        <geom type="sphere" size="0.04" pos="0.02 0.01 0" mass="0.1"/>
      </body>
    </body>
  </worldbody>
  <contact><exclude body1="free" body2="rider"/></contact>
</mujoco>
"""

CASES = {
  "poses": Case(
    models.load(POSES), (*BODY, *JOINT, *INERTIAL, *GEOM), position=0.02, velocity=0.5, skipped=2
  ),
  "poses_elliptic": Case(
    models.variant(POSES, cone="elliptic"),
    (*BODY, *JOINT, *INERTIAL, *GEOM),
    position=0.02,
    velocity=0.5,
    skipped=2,
  ),
  "inertia": Case(chain(), ("body_mass", "body_inertia", "opt.gravity", "opt.timestep")),
  "poses_implicit": Case(
    models.variant(POSES, integrator="implicit"),
    (*BODY, *JOINT, *INERTIAL, *GEOM, "body_mass", "opt.timestep"),
    position=0.02,
    velocity=2.0,
    skipped=2,
  ),
  "poses_rk4": Case(
    models.variant(POSES, integrator="rk4"),
    (*BODY, *JOINT, *INERTIAL, *GEOM, "opt.timestep"),
    position=0.02,
    velocity=0.5,
    skipped=3,
  ),
  "fluid_implicit": Case(
    _fluid(chain(integrator="implicit")), (*BODY, *JOINT, *INERTIAL, "body_mass"), velocity=3.0
  ),
  "fluid_implicitfast": Case(
    _fluid(
      free_body(
        child='<geom type="ellipsoid" size="0.1 0.2 0.15" fluidshape="ellipsoid" mass="0"/>',
        integrator="implicitfast",
      )
    ),
    (*INERTIAL, *GEOM, "body_mass", "body_inertia"),
    velocity=3.0,
  ),
  "gravcomp": Case(
    chain(body='gravcomp="0.7"'),
    ("body_gravcomp", "body_mass", "opt.gravity", *INERTIAL, *BODY, *JOINT),
  ),
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
    (*ROWS, "dof_invweight0", "qpos0", "body_pos"),
    position=0.05,
  ),
  "body_equality": Case(
    chain(
      equality=f"""
        <connect body1="last" anchor="0.05 0 0.1" {EQUALITY}/>
        <weld body1="slide" body2="hinge" torquescale="0.7" relpose="0.3 0.02 0 1 0.1 0.2 0.1"/>"""
    ),
    (*ROWS, "body_invweight0", *BODY, *JOINT),
    position=0.03,
  ),
  "site_equality": Case(
    tendons(
      "",
      equality=f"""
        <connect site1="b" site2="a" {EQUALITY}/>
        <weld site1="tip" site2="c" torquescale="0.7"/>""",
    ),
    (*ROWS, *BODY, *JOINT, *SITE),
    position=0.1,
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
  "tendon_sites": Case(
    tendons(spatial("w", "a", "b", "c", "tip", stiffness="40", damping="3", armature="0.4")),
    ("site_pos", "tendon_armature", *BODY, *JOINT, *INERTIAL),
  ),
  "tendon_sites_of_one_body": Case(
    tendons(spatial("c", "side_ball", "2", "w", "tip", stiffness="40", damping="3")), ("site_pos",)
  ),
  "tendon_wraps": Case(
    tendons(
      spatial("w", "post", "a", stiffness="40", damping="3")
      + spatial("b", "ball_geom:side_ball", "tip", stiffness="40", damping="3")
      + spatial("c", "drum", "tip", stiffness="30", damping="2")
    ),
    ("site_pos", *GEOM, "geom_size", *BODY),
  ),
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
    ("tendon_length0", "tendon_invweight0", *ROWS, "site_pos"),
    position=0.1,
  ),
  "fluid_box": Case(
    _fluid(chain()),
    ("opt.wind", "opt.density", "opt.viscosity", "body_mass", *INERTIAL, *BODY),
    velocity=3.0,
  ),
  "fluid_ellipsoid": Case(
    _fluid(
      free_body(
        child='<geom type="ellipsoid" size="0.1 0.2 0.15" fluidshape="ellipsoid" mass="0"/>'
      )
    ),
    ("opt.wind", "opt.density", "opt.viscosity", "geom_size", *GEOM, *INERTIAL),
    velocity=3.0,
  ),
  "site_transmissions": Case(
    tendons(
      "",
      actuator="""
        <general site="tip" gear="1 0.5 -0.3 0.2 0.1 0.4" biastype="affine" biasprm="0 0 -1"/>
        <general site="tip" refsite="b" gear="1 0.5 -0.3 0.2 0.1 0.4" biastype="affine"
                 biasprm="0.1 -3 -1"/>
        <general cranksite="a" slidersite="far" cranklength="1.5" biastype="affine"
                 biasprm="0.3 -4 -1"/>""",
    ),
    (*SITE, *BODY, *JOINT),
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
  "contact/test_height_field.py": ("hfield_size", "hfield_data"),
  "contact/test_solid.py": ("mesh_scale",),
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
