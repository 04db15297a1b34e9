"""`implicit`, and what `implicitfast` does beyond symmetric matrices, against C MuJoCo.

Second-order terms of A(q, v) included: the derivative of the bias forces (all trees under
`implicit`, lone free bodies under both), of the fluid, of dampers, tendons, actuators and muscles.
"""

import mujoco
import numpy as np
import pytest

from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.errors import UnsupportedFeature
from tests import models
from tests.oracles import sample_states
from tests.terms import harness
from tests.terms.chain import chain
from tests.terms.chain import free_body
from tests.terms.tendons import fixed
from tests.terms.tendons import spatial
from tests.terms.tendons import tendons

# Accelerations of these models are good to a few 1e-6 in float32; gradients of free flight nearly
# cancel and lose a digit.
RTOL = 1e-4
# The gradient in the time step is one number, in which the accelerations of all dofs may cancel.
NUMBER_WORST = 1e-3
# Stiff rows know their force only as well as J a - aref (docs/accuracy.md).
WORST = 1e-2

INERTIA = ("body_mass", "body_inertia")
OPTIONS = ("opt.timestep", "opt.wind", "opt.density", "opt.viscosity")
BOTH = ("implicitfast", "implicit")
WELDED = (
  '<body pos="0.1 0.2 0.1">'
  '<inertial pos="0 0 0.02" mass="0.3" diaginertia="0.004 0.004 0.006"/>{}</body>'
)
ELLIPSOID = (
  '<geom type="ellipsoid" size="0.05 0.09 0.16" fluidshape="ellipsoid"'
  ' fluidcoef="0.5 0.25 1.5 1 1" pos="0.02 0.03 -0.01" euler="20 -40 30"/>'
)


def in_fluid(mjm):
  mjm.opt.density, mjm.opt.viscosity = 120.0, 1.5
  mjm.opt.wind[:] = (1.0, -2.0, 0.5)
  return mjm


def compare(mjm, params=INERTIA, velocity=4.0, **kwargs):
  points = harness.random_points(mjm, 6, seed=2, position=0.4, velocity=velocity)
  found, _ = harness.compare(mjm, points, params, **kwargs)
  number = {name: found[name] for name in found if name == "opt.timestep"}
  harness.assert_close(number, RTOL, worst=NUMBER_WORST)
  harness.assert_close({name: found[name] for name in found if name not in number}, RTOL)
  return found


@pytest.mark.parametrize("integrator", BOTH)
@pytest.mark.parametrize("velocity", [4.0, 40.0])
def test_tumbling_body(velocity, integrator):
  """A lone free body with another welded to it; at 40 rad/s, h |w| is 0.4."""
  mjm = free_body('damping="0.1"', integrator=integrator, child=WELDED.format(""))
  found = compare(mjm, (*INERTIA, "dof_damping", "dof_armature", "opt.timestep"), velocity)
  mjm.opt.integrator = mujoco.mjtIntegrator.mjINT_EULER
  points = harness.random_points(mjm, 6, seed=2, position=0.4, velocity=velocity)
  euler, _ = harness.compare(mjm, points)
  change = np.linalg.norm(euler["qvel"].value - found["qvel"].value, axis=1)
  assert np.all(change > 10 * RTOL * found["qvel"].size), change


@pytest.mark.parametrize("integrator", BOTH)
@pytest.mark.parametrize("shape", ["box", "ellipsoid"])
def test_tumbling_body_in_a_fluid(shape, integrator):
  """The whole of the derivative of an ellipsoid's forces, which is not symmetric."""
  child = WELDED.format(ELLIPSOID if shape == "ellipsoid" else "")
  mjm = in_fluid(free_body(integrator=integrator, child=child))
  compare(mjm, (*INERTIA, *OPTIONS) + (("geom_size",) if shape == "ellipsoid" else ()))


def test_two_trees():
  """implicitfast: a lone free body beside a tree that keeps its symmetric matrix."""
  mjm = models.variant(
    """
<mujoco>
  <option timestep="0.005"><flag contact="disable"/></option>
  <worldbody>
    <body>
      <joint type="ball" damping="0.1"/>
      <inertial pos="0.1 0 0" mass="1" diaginertia="0.02 0.03 0.03"/>
      <body pos="0.2 0 0">
        <joint axis="0 1 0" damping="0.3"/>
        <inertial pos="0.1 0.05 0" mass="0.8" diaginertia="0.02 0.02 0.03"/>
      </body>
    </body>
    <body>
      <freejoint/>
      <inertial pos="0.05 0 0.02" mass="0.5" diaginertia="0.02 0.03 0.01"/>
    </body>
  </worldbody>
</mujoco>""",
    integrator="implicitfast",
  )
  compare(mjm, (*INERTIA, "dof_damping"))


ACTUATORS = """
  <position joint="hinge" kp="20" kv="2" gear="1.5"/>
  <velocity joint="slide" kv="9" forcelimited="true" forcerange="-20 20"/>
  <motor joint="ball" gear="0.4 -0.3 0.8"/>
  <general joint="last" gaintype="affine" biastype="affine" gainprm="1 0.5 -0.2"
           biasprm="0.2 -1 -0.1"/>
  <general joint="hinge" dyntype="filter" dynprm="0.03" gainprm="2"/>
  <muscle joint="last" lengthrange="-2 2" force="4"/>"""


@pytest.mark.parametrize("velocity", [1.0, 8.0])
def test_chain(velocity):
  """Every joint type, fast; with gravity, which has no part in the derivative."""
  compare(chain(integrator="implicit"), (*INERTIA, "opt.gravity", "opt.timestep"), velocity)


def test_chain_with_actuators_and_dampers():
  mjm = chain(
    hinge='damping="2 0.4 0.1"',
    slide='damping="5" armature="0.2"',
    ball='damping="0.5"',
    actuator=ACTUATORS,
    integrator="implicit",
  )
  rng = np.random.default_rng(3)
  points = [
    harness.with_inputs(
      point, act=rng.uniform(0.1, 0.9, mjm.na), ctrl=rng.uniform(0.1, 0.9, mjm.nu)
    )
    for point in harness.random_points(mjm, 6, seed=2, velocity=3.0)
  ]
  params = (
    "dof_damping",
    "dof_armature",
    "actuator_gainprm",
    "actuator_biasprm",
    "opt.timestep",
    *INERTIA,
  )
  channels = ("qpos", "qvel", "act", "ctrl", "qfrc_applied", "xfrc_applied")
  found, _ = harness.compare(mjm, points, params, channels=channels)
  harness.assert_close(found, RTOL, skipped=1)


@pytest.mark.parametrize(
  "tendon",
  [fixed(damping="3 0.4 0.2"), spatial("w", "a", "c", "tip", stiffness="40", damping="3")],
)
def test_tendons(tendon):
  compare(tendons(tendon, integrator="implicit"), ("tendon_damping", "opt.timestep", *INERTIA))


BRANCHES = """
<mujoco>
  <option timestep="0.005"><flag contact="disable"/></option>
  <default><joint axis="0 1 0.5"/></default>
  <worldbody>
    <body>
      <joint type="ball"/>
      <inertial pos="0.1 0 0.1" mass="0.5" diaginertia="0.01 0.01 0.02"/>
      <site name="trunk" pos="0.1 0.1 0.1"/>
      <body pos="0.2 0 0">
        <joint/>
        <inertial pos="0.1 0 0.1" mass="0.5" diaginertia="0.01 0.01 0.02"/>
        <site name="left" pos="0.1 0.1 0.1"/>
      </body>
      <body pos="-0.2 0 0">
        <joint/>
        <inertial pos="0.1 0 0.1" mass="0.5" diaginertia="0.01 0.01 0.02"/>
        <site name="right" pos="-0.1 0.1 0.1"/>
        <body pos="-0.2 0 0">
          <joint/>
          <inertial pos="0.1 0 0.1" mass="0.5" diaginertia="0.01 0.01 0.02"/>
          <site name="end" pos="-0.1 0.1 0.1"/>
        </body>
      </body>
    </body>
  </worldbody>
  <tendon>
    <spatial name="long" damping="15 2 1"><site site="left"/><site site="trunk"/><site site="end"/>
    </spatial>
    <spatial name="short" damping="4"><site site="left"/><site site="right"/></spatial>
    <spatial name="chain" damping="4"><site site="trunk"/><site site="end"/></spatial>
  </tendon>
  <actuator>
    <general tendon="short" gear="1.5" gaintype="affine" biastype="affine" gainprm="3 1 -0.5"
             biasprm="0 0 -3"/>
    <muscle tendon="long" lengthrange="0.1 1" force="20"/>
  </actuator>
</mujoco>
"""


@pytest.mark.parametrize("integrator", BOTH)
def test_tendons_between_branches(integrator):
  """Two tendons of which A keeps some pairs of dofs, one of them with both laws, and a third."""
  mjm = models.variant(BRANCHES, integrator=integrator)
  rng = np.random.default_rng(0)
  points = [
    harness.with_inputs(p, ctrl=rng.uniform(0.2, 0.8, mjm.nu), act=rng.uniform(0.2, 0.8, mjm.na))
    for p in harness.random_points(mjm, 5, position=0.4, velocity=3.0)
  ]
  params = ("tendon_damping", "actuator_gainprm", "actuator_biasprm", "actuator_gear", *INERTIA)
  found, _ = harness.compare(
    mjm, points, (*params, "opt.timestep"), channels=("qpos", "qvel", "act", "ctrl")
  )
  harness.assert_close(found, RTOL)


SWIMMER = """
<mujoco>
  <option timestep="0.005" density="900" viscosity="0.1" gravity="0 0 0">
    <flag contact="disable"/>
  </option>
  <default>
    <joint damping="0.01" armature="0.01"/>
    <geom type="capsule" size="0.05" density="900" {fluid}/>
  </default>
  <worldbody>
    <body>
      <joint type="slide" axis="1 0 0"/>
      <joint type="slide" axis="0 1 0"/>
      <joint axis="0 0 1"/>
      <geom fromto="0.1 0 0 0.4 0 0"/>
      <body pos="-0.1 0 0">
        <joint name="front" axis="0 0 1"/>
        <geom fromto="0 0 0 -0.3 0 0"/>
        <body pos="-0.3 0 0">
          <joint name="back" axis="0 0.2 1"/>
          <geom fromto="0 0 0 -0.3 0 0"/>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor joint="front" gear="3"/>
    <velocity joint="back" kv="0.4"/>
  </actuator>
</mujoco>
"""


@pytest.mark.parametrize(
  ("fluid", "integrator"),
  [
    ("", "implicitfast"),
    ("", "implicit"),
    ('fluidshape="ellipsoid" fluidcoef="0.5 0.25 1.5 1 1"', "implicitfast"),
  ],
)
def test_swimmer(fluid, integrator):
  mjm = models.variant(SWIMMER.format(fluid=fluid), integrator=integrator)
  params = (*INERTIA, *OPTIONS, "dof_damping", "dof_armature", "actuator_biasprm")
  params += ("geom_size",) if fluid else ()
  compare(mjm, params, channels=("qpos", "qvel", "ctrl"))


@pytest.mark.parametrize("cone", models.CONES)
@pytest.mark.parametrize("integrator", BOTH)
def test_spinning_on_a_plane(integrator, cone):
  """A capsule that slides and spins in contact; only compared states are in contact."""
  xml = models.scene("plane", "capsule", 4)
  mjm = models.variant(xml, integrator=integrator, cone=cone)
  assert mjm.nv == 6
  rng = np.random.default_rng(1)
  points = []
  for point in harness.random_points(mjm, 8, seed=4, position=2e-3, velocity=0.2):
    point.qpos[2] -= 0.003
    spin = np.array([0.5, 0.2, 0.05, 3.0, 1.0, 8.0]) * rng.normal(size=6)
    points.append(harness.with_inputs(point, qvel=spin))
  found, local = harness.compare(mjm, points, (*INERTIA, "geom_size", "geom_friction"))
  assert all(here.branch.zones.any() for here in local)
  harness.assert_close(found, RTOL, worst=WORST, skipped=2)


@pytest.mark.parametrize("name", ["ant", "joints"])
def test_whole_models(name):
  """Contacts, limits, actuators, springs: states of rollouts with random controls."""
  mjm = models.ant() if name == "ant" else models.load(models.JOINTS)
  models.variant(mjm, integrator="implicit", cone="elliptic")
  points = [state.point for state in sample_states(mjm, 12, seed=1)]
  channels = ("qpos", "qvel", "ctrl", "qfrc_applied", "xfrc_applied")
  found, _ = harness.compare(
    mjm, points, ("body_mass", "dof_damping", "dof_armature"), channels=channels, differing=1
  )
  harness.assert_close(found, RTOL, worst=WORST, skipped=3)


FEEDBACK = 'gainprm="0" biastype="affine" biasprm="0 0 -6"'
ACROSS = {
  "sites of two trees": f'<general site="tip" refsite="rail" gear="1 0.5 0 0.2 0.1 0" {FEEDBACK}/>',
  "slider-crank": f'<general cranksite="c" slidersite="rail" cranklength="0.9" {FEEDBACK}/>',
}


@pytest.mark.parametrize("integrator", BOTH)
@pytest.mark.parametrize("name", ACROSS)
def test_velocity_feedback_between_trees(name, integrator):
  """The integrators keep the pairs of dofs of one tree."""
  mjm = tendons(spatial("w", "a"), actuator=ACROSS[name], integrator=integrator)
  params = (*INERTIA, "actuator_gear", "actuator_biasprm", "body_pos", "site_pos", "opt.timestep")
  compare(mjm, params, velocity=2.0)


SIMPLE_BODIES = """
<mujoco>
  <worldbody>
    <site name="w" pos="0.3 0 0.5"/>
    <body>
      <joint name="ball" type="ball"/>
      <inertial pos="0 0 0" mass="1" diaginertia="0.012 0.02 0.017"/>
    </body>
    <body pos="1 0 0">
      <joint type="slide" axis="1 0 0"/>
      <joint type="slide" axis="0 0 1"/>
      <joint axis="0 1 0"/>
      <inertial pos="0 0 0" mass="1" diaginertia="0.012 0.02 0.017"/>
      <site name="s" pos="0.1 0 0.05"/>
    </body>
  </worldbody>
  <tendon><spatial name="t" damping="3"><site site="w"/><site site="s"/></spatial></tendon>
  <actuator>
    <velocity joint="ball" gear="1 2 3" kv="0.02"/>
    <velocity jointinparent="ball" gear="1 -2 0.5" kv="0.01"/>
    <general site="s" gear="1 0.5 0.3 0 0.2 0" gainprm="0" biastype="affine" biasprm="0 0 -4"/>
  </actuator>
</mujoco>"""


def test_velocity_feedback_inside_simple_bodies():
  """Whose inertia matrix is diagonal, and with it what `implicitfast` keeps."""
  mjm = models.variant(SIMPLE_BODIES, integrator="implicitfast")
  assert np.all(mjm.dof_simplenum > 0)
  params = ("body_mass", "actuator_gear", "actuator_biasprm", "body_pos", "site_pos")
  params += ("tendon_damping", "opt.timestep")
  compare(mjm, params, velocity=2.0)


FIN = '<geom type="ellipsoid" mass="0" size="0.05 0.09 0.16" fluidshape="ellipsoid" {} {}/>'


@pytest.mark.parametrize("integrator", ["implicitfast", "discrete"])
@pytest.mark.parametrize("shape", ["box", "ellipsoid"])
def test_simple_bodies_in_a_fluid(shape, integrator):
  """The integrators keep the diagonal of the slope of the fluid alone."""
  site = '<site name="s" pos="0.1 0 0.05"/>'
  fin = FIN.format('contype="0" conaffinity="0"', 'pos="0.02 0.03 -0.01" euler="20 -40 30"')
  xml = SIMPLE_BODIES.replace(site, site + (fin if shape == "ellipsoid" else ""))
  mjm = in_fluid(models.variant(xml, integrator=integrator))
  assert np.all(mjm.dof_simplenum > 0)
  params = ("body_mass", "body_inertia", "actuator_biasprm", "body_pos", *OPTIONS)
  params += ("geom_size", "geom_pos") if shape == "ellipsoid" else ()
  compare(mjm, params, velocity=2.0)


def test_simple_free_body_in_a_fluid():
  """`discrete` keeps the diagonal of the drag where it solves a lone body by itself."""
  xml = """<mujoco><worldbody><body pos="0 0 1"><freejoint/>
    <inertial pos="0 0 0" mass="1" diaginertia="0.012 0.02 0.017"/></body></worldbody></mujoco>"""
  mjm = in_fluid(models.variant(xml, integrator="discrete"))
  compare(mjm, ("body_mass", "body_inertia", *OPTIONS), velocity=2.0)


REFUSED = {
  "feedback_on_a_free_body": (
    free_body(actuator='<velocity name="x" joint="free" gear="1 2 3 0 0 0" kv="1"/>'),
    BOTH,
    "actuator 'x'",
  ),
  "feedback_on_a_free_ball": (
    models.load(
      """<mujoco><worldbody><body><joint name="b" type="ball"/>
      <inertial pos="0 0 0" mass="1" diaginertia="0.012 0.02 0.017"/></body></worldbody>
      <actuator><velocity name="x" joint="b" gear="1 2 3" kv="1"/></actuator></mujoco>"""
    ),
    ("implicit",),
    "actuator 'x'",
  ),
  "damping_to_a_free_body": (
    models.load(
      """<mujoco><worldbody><site name="w"/><body pos="0 0 1"><freejoint/><geom size="0.1"/>
      <site name="s" pos="0.1 0 0"/></body></worldbody>
      <tendon><spatial name="x" damping="1"><site site="w"/><site site="s"/></spatial></tendon>
      </mujoco>"""
    ),
    BOTH,
    "tendon 'x'",
  ),
  "one_body_in_a_fluid": (
    models.load(
      """<mujoco><option viscosity="1"/><worldbody><body name="x">
      <joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 0 1"/><joint axis="0 1 0"/>
      <inertial pos="0 0 0" mass="1" diaginertia="0.012 0.02 0.017"/></body></worldbody></mujoco>"""
    ),
    ("implicit",),
    "body 'x'",
  ),
  "ellipsoids_of_a_chain": (
    models.load(SWIMMER.format(fluid='fluidshape="ellipsoid"')),
    ("implicit",),
    "body 1",
  ),
}


@pytest.mark.parametrize(
  ("case", "integrator"), [(name, i) for name, case in REFUSED.items() for i in case[1]]
)
def test_refused_by_name(case, integrator):
  """Where the engine's A is not that of C MuJoCo, or not a derivative; see implicit_rules.py."""
  mjm, _, element = REFUSED[case]
  models.variant(mjm, integrator="euler")
  Simulator(mjm, 1, "cpu")
  models.variant(mjm, integrator=integrator)
  with pytest.raises(UnsupportedFeature, match=element):
    Simulator(mjm, 1, "cpu")


def test_fluid_without_passive_forces_is_refused():
  mjm = in_fluid(chain(integrator="implicitfast"))
  mjm.opt.disableflags |= int(
    mujoco.mjtDisableBit.mjDSBL_SPRING | mujoco.mjtDisableBit.mjDSBL_DAMPER
  )
  with pytest.raises(UnsupportedFeature, match="passive"):
    Simulator(mjm, 1, "cpu")
  mjm.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_ACTUATION)
  compare(mjm)


@pytest.mark.parametrize("name", ["tendon_damping", "actuator_biasprm", "dof_damping"])
def test_parameters_that_would_switch_on_what_is_refused(name):
  mjm = models.load(
    """<mujoco><worldbody><site name="w"/><body pos="0 0 1"><freejoint/><geom size="0.1"/>
    <site name="s" pos="0.1 0 0"/></body>
    <body><joint name="x"/><geom size="0.1" pos="1 0 0"/></body></worldbody>
    <tendon><spatial name="x"><site site="w"/><site site="s"/></spatial></tendon>
    <actuator><general name="x" tendon="x" biastype="affine"/></actuator></mujoco>"""
  )
  models.variant(mjm, integrator="implicitfast")
  if name == "dof_damping":
    mjm.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_ACTUATION)
  with pytest.raises(UnsupportedFeature, match=f"parameter {name}, .* 'x'"):
    harness.compare(mjm, harness.random_points(mjm, 1), (name,))
