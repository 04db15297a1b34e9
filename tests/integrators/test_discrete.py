"""`discrete` without constraint rows, against C MuJoCo.

The effective metric holds springs, dampers, actuators and the drag of fluids, with all pairs of
dofs, and only slopes that resist; lone free bodies take the derivative of their bias forces.
"""

import mujoco
import numpy as np
import pytest

from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.linearize import step_gradient
from tests import models
from tests.integrators.test_implicit import BRANCHES
from tests.integrators.test_implicit import ELLIPSOID
from tests.integrators.test_implicit import SWIMMER
from tests.integrators.test_implicit import WELDED
from tests.integrators.test_implicit import in_fluid
from tests.terms import harness
from tests.terms.chain import chain
from tests.terms.chain import free_body
from tests.terms.tendons import BRANCHES as TREES
from tests.terms.tendons import fixed
from tests.terms.tendons import spatial
from tests.terms.tendons import tendons

# Accelerations of these models are good to a few 1e-6 in float32; gradients of free flight nearly
# cancel and lose a digit.
RTOL = 1e-4
WORST = 2e-4
# The gradient in the time step is one number, in which the accelerations of all dofs may cancel.
NUMBER_WORST = 1e-3

INERTIA = ("body_mass", "body_inertia")
OPTIONS = ("opt.timestep", "opt.wind", "opt.density", "opt.viscosity")


def check(mjm, points, params=INERTIA, **kwargs):
  found, _ = harness.compare(mjm, points, params, **kwargs)
  number = {name: found[name] for name in found if name == "opt.timestep"}
  harness.assert_close(number, RTOL, worst=NUMBER_WORST)
  rest = {name: found[name] for name in found if name not in number}
  harness.assert_close(rest, RTOL, worst=WORST)
  return found


def compare(mjm, params=INERTIA, velocity=4.0, **kwargs):
  points = harness.random_points(mjm, 6, seed=2, position=0.4, velocity=velocity)
  return check(mjm, points, params, **kwargs)


SPRINGS = {
  "hinge": 'stiffness="20 3 2" damping="1 0.2 0.1"',
  "slide": 'stiffness="100" springref="0.1" damping="2"',
  "ball": 'stiffness="5 2 3" damping="0.3"',
  "last": 'damping="0.4" armature="0.02"',
}


def test_springs_and_dampers_of_joints():
  params = ("dof_damping", "dof_dampingpoly", "dof_armature", "jnt_stiffness", "qpos_spring")
  params += ("jnt_stiffnesspoly", "opt.timestep", *INERTIA)
  params += ("body_pos", "body_ipos", "jnt_pos", "jnt_axis", "qpos0")
  mjm = chain(**SPRINGS, integrator="discrete")
  found = compare(mjm, params, 3.0)
  mjm.opt.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
  points = harness.random_points(mjm, 6, seed=2, position=0.4, velocity=3.0)
  other, _ = harness.compare(mjm, points)
  change = np.linalg.norm(other["qvel"].value - found["qvel"].value, axis=1)
  assert np.all(change > 10 * RTOL * found["qvel"].size), change


def test_springs_and_dampers_that_push():
  """Negative slopes stay out of the metric; on the slide both signs of the slope appear."""
  mjm = chain(
    hinge='stiffness="20 -40 -10" damping="2 -0.8 0"',
    slide='stiffness="-30" damping="-1"',
    ball='stiffness="4 -9 0"',
    integrator="discrete",
  )
  points = harness.random_points(mjm, 8, seed=2, position=0.6, velocity=3.0)
  check(mjm, points, ("dof_damping", "jnt_stiffness", "opt.timestep"))
  slope = [20 - 80 * p.qpos[0] - 30 * p.qpos[0] ** 2 for p in points]
  assert min(slope) < 0 < max(slope)


@pytest.mark.parametrize("flag", ["SPRING", "DAMPER"])
def test_springs_or_dampers_switched_off(flag):
  mjm = chain(**SPRINGS, integrator="discrete")
  mjm.opt.disableflags |= mujoco.mjtDisableBit.__members__["mjDSBL_" + flag]
  compare(mjm, ("opt.timestep", *INERTIA), 3.0)


def test_springs_of_a_free_joint():
  mjm = free_body('stiffness="3 0.5 0.2" damping="0.1"', integrator="discrete")
  compare(mjm, ("jnt_stiffness", "dof_damping", "qpos_spring", "opt.timestep", *INERTIA))


@pytest.mark.parametrize("velocity", [4.0, 40.0])
def test_tumbling_body(velocity):
  """A lone free body with another welded to it; at 40 rad/s, h |w| is 0.4."""
  mjm = free_body('damping="0.1"', integrator="discrete", child=WELDED.format(""))
  compare(mjm, (*INERTIA, "dof_damping", "dof_armature", "opt.timestep"), velocity)


@pytest.mark.parametrize("shape", ["box", "ellipsoid"])
def test_tumbling_body_in_a_fluid(shape):
  """The drag alone, and the bias forces."""
  child = WELDED.format(ELLIPSOID if shape == "ellipsoid" else "")
  mjm = in_fluid(free_body(integrator="discrete", child=child))
  compare(mjm, (*INERTIA, *OPTIONS) + (("geom_size",) if shape == "ellipsoid" else ()))


@pytest.mark.parametrize("fluid", ["", 'fluidshape="ellipsoid" fluidcoef="0.5 0.25 1.5 1 1"'])
def test_swimmer(fluid):
  mjm = models.variant(SWIMMER.format(fluid=fluid), integrator="discrete")
  params = (*INERTIA, *OPTIONS, "dof_damping", "dof_armature", "actuator_biasprm")
  params += ("geom_size",) if fluid else ()
  compare(mjm, params, channels=("qpos", "qvel", "ctrl"))


@pytest.mark.parametrize(
  "tendon",
  [
    fixed(TREES, stiffness="20 3 2", damping="3 0.4 0.2"),
    spatial("w", "a", "c", "tip", stiffness="40 5 3", damping="3"),
    spatial("rail", "c", stiffness="40", damping="3 0.4", springlength="0.1 0.3"),
  ],
)
def test_tendons(tendon):
  params = ("tendon_stiffness", "tendon_stiffnesspoly", "tendon_damping", "tendon_dampingpoly")
  params += ("tendon_lengthspring", "opt.timestep", *INERTIA)
  compare(tendons(tendon, integrator="discrete"), params)


def test_tendons_that_the_model_leaves_slack():
  """Values for the call count, although the compiled model has no spring and no damper."""
  mjm = tendons(spatial("w", "a", "c", "tip"), integrator="discrete")
  values = {"tendon_stiffness": np.array([30.0]), "tendon_damping": np.array([2.0])}
  compare(mjm, tuple(values), values=values)


ACTUATORS = """
  <position joint="hinge" kp="20" kv="2" gear="1.5"/>
  <velocity joint="slide" kv="9" forcelimited="true" forcerange="-20 20"/>
  <position joint="ball" kp="6" kv="0.3" gear="0.4 -0.3 0.8"/>
  <general joint="last" gaintype="affine" biastype="affine" gainprm="1 -0.5 -0.2"
           biasprm="0.2 -1 -0.1" ctrllimited="true" ctrlrange="0 0.4"/>
  <general joint="hinge" dyntype="filter" dynprm="0.03" gaintype="affine" gainprm="2 -3 -1"
           actearly="true"/>
  <general joint="slide" biastype="affine" biasprm="0 8 2"/>
  <muscle joint="last" lengthrange="-2 2" force="4"/>"""
ACTUATOR_PARAMS = ("actuator_gainprm", "actuator_biasprm", "actuator_gear")


def driven(mjm, velocity=3.0, count=6):
  rng = np.random.default_rng(3)
  return [
    harness.with_inputs(p, act=rng.uniform(0.1, 0.9, mjm.na), ctrl=rng.uniform(0.1, 0.9, mjm.nu))
    for p in harness.random_points(mjm, count, seed=2, position=0.4, velocity=velocity)
  ]


def test_actuators():
  """Slopes in length and velocity, through controls and activations; some push, some are held."""
  mjm = chain(actuator=ACTUATORS, integrator="discrete")
  params = (*ACTUATOR_PARAMS, "actuator_dynprm", "actuator_ctrlrange", "actuator_lengthrange")
  channels = ("qpos", "qvel", "act", "ctrl", "qfrc_applied", "xfrc_applied")
  check(mjm, driven(mjm), (*params, "opt.timestep", *INERTIA), channels=channels)


def test_actuators_of_held_joints():
  mjm = chain(
    hinge='actuatorfrclimited="true" actuatorfrcrange="-6 9"',
    last='actuatorfrclimited="true" actuatorfrcrange="-0.3 0.4"',
    actuator=ACTUATORS,
    integrator="discrete",
  )
  check(mjm, driven(mjm), (*ACTUATOR_PARAMS, "opt.timestep"), channels=("qpos", "qvel", "ctrl"))


def test_actuators_of_tendons_between_branches():
  mjm = models.variant(BRANCHES, integrator="discrete")
  params = ("tendon_damping", *ACTUATOR_PARAMS, "opt.timestep", *INERTIA)
  check(mjm, driven(mjm, count=5), params, channels=("qpos", "qvel", "act", "ctrl"))


SITES = """
  <position name="s" site="tip" refsite="a" gear="1 -2 0.5 0.1 0.3 0.2" kp="20" kv="2"/>
  <position name="c" cranksite="b" slidersite="c" cranklength="0.3" kp="20" kv="2"/>
"""


def test_actuators_of_sites():
  mjm = tendons(spatial("w", "a"), actuator=SITES, integrator="discrete")
  params = (*ACTUATOR_PARAMS, "actuator_cranklength", "opt.timestep", *INERTIA)
  check(mjm, driven(mjm, count=5), params, channels=("qpos", "qvel", "ctrl"))


def test_parameters_per_world():
  """Every world has its own stiffness and time step."""
  mjm = chain(**SPRINGS, integrator="discrete")
  points = [p.float32() for p in driven(mjm, count=2)]
  adj = np.ones((2, mjm.nv), dtype=np.float32)

  def gradient(worlds, values):
    return step_gradient(
      Simulator(mjm, len(worlds), "cpu"),
      **harness.inputs([points[w] for w in worlds]),
      adj_qpos=np.zeros((len(worlds), mjm.nq)),
      adj_qvel=adj[worlds],
      adj_act=np.zeros((len(worlds), mjm.na)),
      params={name: value[worlds] for name, value in values.items()},
      wrt_params=tuple(values),
    ).grad

  values = {
    "jnt_stiffness": mjm.jnt_stiffness * np.array([[0.6], [1.7]]),
    "opt.timestep": np.array([0.004, 0.007]),
  }
  both = gradient([0, 1], values)
  for w in range(2):
    alone = gradient([w], values)
    for name in ("qpos", "qvel", *values):
      assert np.any(both[name][w] != 0)
      np.testing.assert_array_equal(both[name][w], alone[name][0])


MIXED = """
<mujoco>
  <option timestep="0.005"><flag contact="disable"/></option>
  <worldbody>
    <site name="w"/>
    <body name="held" pos="0 0 1">
      <freejoint/><inertial pos="0.05 0 0.02" mass="0.5" diaginertia="0.02 0.03 0.01"/>
      <site name="s" pos="0.1 0 0"/>
    </body>
    <body pos="0 2 1">
      <freejoint/><inertial pos="0.05 0 0.02" mass="0.5" diaginertia="0.02 0.03 0.01"/>
    </body>
    <body pos="0 4 1">
      <freejoint/><inertial pos="0 0 0" mass="0.5" diaginertia="0.02 0.03 0.01"/>
    </body>
    <body pos="0 6 1">
      <joint stiffness="4"/><inertial pos="0.1 0 0" mass="0.5" diaginertia="0.02 0.03 0.01"/>
    </body>
  </worldbody>
  <tendon>
    <spatial stiffness="30" springlength="0 0.9"><site site="w"/><site site="s"/></spatial>
  </tendon>
</mujoco>"""


def test_free_bodies_of_both_kinds():
  """A tendon holds the first body only where it is longer than its rest length."""
  mjm = models.variant(MIXED, integrator="discrete")
  points = harness.random_points(mjm, 8, seed=2, position=0.2, velocity=6.0)
  found = check(mjm, points, ("tendon_stiffness", "opt.timestep", *INERTIA))
  pulled = found["tendon_stiffness"].size > 0
  assert pulled.any() and not pulled.all()
