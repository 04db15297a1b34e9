"""`discrete` with constraint rows, against C MuJoCo: the law of rows, and the scale of their D.

The scale depends on the inertia matrix, on the metric and on the Jacobian of every row.
"""

import mujoco
import numpy as np
import pytest

from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.errors import UnsupportedFeature
from mjgrad._src.terms import row_scale
from tests import models
from tests.oracles import sample_states
from tests.terms import harness
from tests.terms.chain import chain
from tests.terms.tendons import fixed
from tests.terms.tendons import spatial
from tests.terms.tendons import tendons

# The project's bars. Without contacts the model is good to a few 1e-6, the impedance to 3e-4.
RTOL = 1e-4
ROW_WORST = 1e-3
WORST = 1e-2

INERTIA = ("body_mass", "body_inertia", "dof_armature")
ROWS = {
  "hinge": 'frictionloss="1.5" damping="2" stiffness="30"',
  "slide": 'frictionloss="2" damping="1"',
  "ball": 'damping="0.2" stiffness="2"',
  "last": 'frictionloss="0.1" limited="true" range="-0.1 0.1" damping="0.5 0.1" stiffness="3"',
}


def row_points(mjm, count=8):
  points = harness.random_points(mjm, count, velocity=1.0)
  points = [harness.with_inputs(p, ctrl=np.full(mjm.nu, 0.4)) for p in points]
  return points + [harness.with_inputs(p, qvel=0.02 * p.qvel) for p in points]


@pytest.mark.parametrize("solref", [None, (0.004, 1.2), (-900.0, -70.0)])
def test_limits_and_friction_loss(solref):
  """At 0.004 s the spring of a limit is stiffer than the step can resolve."""
  mjm = chain(**ROWS, actuator='<position joint="slide" kp="30" kv="3"/>', integrator="discrete")
  if solref is not None:
    mjm.jnt_solref[:] = mjm.dof_solref[:] = solref
  params = ("dof_frictionloss", "dof_damping", "jnt_stiffness", "jnt_range", "jnt_solref")
  params += ("jnt_solimp", "dof_invweight0", "opt.timestep", "actuator_biasprm", *INERTIA)
  params += ("dof_solref", "dof_solimp") if solref is None else ()
  found, local = harness.compare(mjm, row_points(mjm), params)
  harness.assert_close(found, RTOL, worst=ROW_WORST)
  zones = np.array([here.branch.zones for here in local])
  assert zones[:, 3].any()
  if solref is None:
    assert {-1, 0, 1} <= set(zones[:, :3].ravel())


def test_the_scale_of_rows_matters(monkeypatch):
  """With the scale held fixed the gradients of parameters are wrong."""
  mjm = pile(3, "pyramidal", damping=50)
  points = [state.point for state in sample_states(mjm, 8, seed=1)]
  params = ("geom_friction", "dof_damping", "body_mass", "body_inertia", "dof_armature")
  exact, _ = harness.compare(mjm, points, params, differing=2)
  harness.assert_close(exact, RTOL, worst=ROW_WORST, skipped=4)
  evaluate = row_scale.evaluate

  def frozen(work):
    evaluate(work)
    for array in (work.metric_dual, work.inertia_dual, work.row_dual):
      array.zero_()

  monkeypatch.setattr(row_scale, "evaluate", frozen)
  wrong, _ = harness.compare(mjm, points, params, differing=2)
  for name in params:
    assert wrong[name].errors.max() > 10 * ROW_WORST, name
  assert np.median(wrong["qpos"].errors) > 5 * np.median(exact["qpos"].errors)


def test_fixed_tendons_beside_rows():
  mjm = tendons(fixed(stiffness="20 3 2", damping="3 0.4"), integrator="discrete")
  mjm.dof_frictionloss[:] = 0.3
  params = ("tendon_stiffness", "tendon_damping", "dof_frictionloss", "opt.timestep", *INERTIA)
  found, _ = harness.compare(mjm, harness.random_points(mjm, 8), params)
  harness.assert_close(found, RTOL, worst=ROW_WORST)


PILE = """
<mujoco>
  <option timestep="0.005"/>
  <default><geom condim="{condim}" friction="0.5 0.02 0.01"/></default>
  <worldbody>
    <geom type="plane" size="5 5 1" friction="0.8 0.05 0.03"/>
    <body pos="0 0 0.19">
      <joint type="slide" axis="0 0 1" damping="3"/>
      <joint type="slide" axis="1 0 0" damping="5"/>
      <joint axis="0 1 0.2" damping="0.4" stiffness="5"/>
      <geom type="capsule" fromto="-0.1 0 0 0.1 0.05 0.05" size="0.1"/>
      <body pos="0.2 0 0">
        <joint type="ball" damping="0.8" armature="0.01"/>
        <geom type="capsule" fromto="0 0 0 0.3 0.02 -0.1" size="0.06" mass="0.5"/>
        <body pos="0.3 0 -0.1">
          <joint name="k" axis="0 1 0" damping="0.3" range="-20 20" limited="true"/>
          <geom type="sphere" size="0.05" pos="0.1 0.02 -0.02" mass="0.2"/>
        </body>
      </body>
    </body>
    <body pos="0.5 0.5 0.09">
      <freejoint/>
      <geom type="{shape}" size="0.1 0.1 0.1" euler="80 0 0"/>
    </body>
  </worldbody>
  <actuator><position joint="k" kp="10" kv="1"/></actuator>
</mujoco>"""


def pile(condim, cone, shape="capsule", damping=10, **options):
  """The pile with its springs and dampers multiplied, and damping of the free body."""
  xml = PILE.format(condim=condim, shape=shape)
  mjm = models.variant(xml, integrator="discrete", cone=cone, **options)
  mjm.dof_damping[:] *= damping
  mjm.jnt_stiffness[:] *= damping
  mjm.dof_damping[-6:] = (5.0, 5.0, 5.0, 0.3, 0.3, 0.3)
  return mjm


def check_pile(mjm, params, count=12):
  points = [state.point for state in sample_states(mjm, count, seed=1)]
  channels = ("qpos", "qvel", "ctrl", "qfrc_applied")
  found, local = harness.compare(mjm, points, params, channels=channels, differing=count // 4)
  harness.assert_close(found, RTOL, worst=WORST, skipped=count // 2)
  assert sum(here.branch.zones.size > 1 for here in local) > count // 3


@pytest.mark.parametrize(
  ("condim", "cone"), [(1, "pyramidal"), (3, "pyramidal"), (3, "elliptic"), (6, "elliptic")]
)
def test_contacts(condim, cone):
  """Bodies of two trees on the ground and on each other, sliding and sticking."""
  params = ("geom_size", "geom_solref", "geom_solimp", "geom_margin", "body_invweight0")
  params += ("dof_damping", "jnt_stiffness", "actuator_biasprm", "opt.timestep", *INERTIA)
  params += ("geom_friction", "opt.impratio") if condim > 1 else ()
  check_pile(pile(condim, cone), params)


@pytest.mark.parametrize("options", [{"jacobian": "sparse"}, {"solver": "cg"}])
def test_other_solvers(options):
  check_pile(pile(3, "elliptic", **options), ("geom_friction", "dof_damping", *INERTIA))


def test_box_on_the_ground():
  mjm = pile(3, "pyramidal", "box")
  mjm.geom_contype[-1], mjm.geom_conaffinity[-1] = 0, 2
  mjm.geom_contype[0] |= 2
  check_pile(mjm, ("geom_size", "geom_friction", "dof_damping", *INERTIA))


REFUSED = {
  "ball_limit": (
    chain(ball='limited="true" range="0 0.3"', integrator="discrete"),
    "joint 'ball'",
  ),
  "tendon_limit": (
    tendons(fixed(name="x", limited="true", range="0 1"), integrator="discrete"),
    "tendon 'x'",
  ),
  "spatial_spring": (
    tendons(spatial("w", "a", name="x", stiffness="2"), integrator="discrete"),
    "tendon 'x'",
  ),
  "site_servo": (
    tendons(
      spatial("w", "a"),
      actuator='<position name="x" site="tip" refsite="a" gear="1 0 0 0 0 0" kp="2"/>',
      integrator="discrete",
    ),
    "actuator 'x'",
  ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case):
  mjm, element = REFUSED[case]
  mjm.jnt_limited[0] = True
  with pytest.raises(UnsupportedFeature) as caught:
    Simulator(mjm, 1, "cpu")
  assert element in str(caught.value)


def test_refused_with_a_fluid():
  mjm = chain(**ROWS, integrator="discrete")
  mjm.opt.viscosity = 1.0
  with pytest.raises(UnsupportedFeature, match="viscosity"):
    Simulator(mjm, 1, "cpu")


def test_refused_parameters():
  """Friction loss would make rows where the model has none, whose other laws were not checked."""
  mjm = chain(actuator='<position name="x" joint="hinge" kp="2"/>', integrator="discrete")
  points = harness.random_points(mjm, 1)
  with pytest.raises(UnsupportedFeature, match="dof_frictionloss"):
    harness.compare(mjm, points, ("dof_frictionloss",))
  mjm.jnt_limited[0] = True
  mjm.opt.integrator = mujoco.mjtIntegrator.mjINT_DISCRETE
  with pytest.raises(UnsupportedFeature, match="actuator 'x'"):
    harness.compare(mjm, points, ("actuator_gear",))
