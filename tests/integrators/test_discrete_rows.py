"""`discrete` with constraint rows, against C MuJoCo: the law of rows, and the scale of their D.

The scale depends on the inertia matrix, on the metric and on the Jacobian of every row.
"""

import numpy as np
import pytest

from mjgrad._src.terms import row_scale
from tests import models
from tests.integrators.test_implicit import SWIMMER
from tests.oracles import sample_states
from tests.terms import harness
from tests.terms.chain import chain
from tests.terms.tendons import fixed
from tests.terms.tendons import spatial
from tests.terms.tendons import tendons
from tests.terms.test_equality import EQUALITIES
from tests.terms.test_equality import MODEL as EQUALITY_MODEL

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
    for array in (work.metric_dual, work.inertia_dual, work.row_scales.direction):
      array.zero_()

  monkeypatch.setattr(row_scale, "evaluate", frozen)
  wrong, _ = harness.compare(mjm, points, params, differing=2)
  for name in params:
    assert wrong[name].errors.max() > 10 * ROW_WORST, name
  assert np.median(wrong["qpos"].errors) > 5 * np.median(exact["qpos"].errors)


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
  params += ("body_pos", "body_quat", "geom_pos")
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


POSES = ("body_pos", "body_quat", "body_ipos", "body_iquat", "jnt_pos", "jnt_axis")
ELASTIC = {"stiffness": "20", "damping": "1 0.2"}
DRIVE = '<position joint="hinge" gear="2" kp="10" kv="1" damping="0.4 0.1" armature="0.03"/>'


def equality(name):
  return models.variant(EQUALITY_MODEL.format(EQUALITIES[name]), integrator="discrete")


def pulled(tendon, **sections):
  return tendons(tendon, integrator="discrete", **sections)


def servo(target):
  return pulled(spatial("w", "a", "c", "tip", name="t"), actuator=f'<position {target} kp="30"/>')


def swimmer(fluid):
  mjm = models.variant(SWIMMER.format(fluid=fluid), integrator="discrete")
  mjm.opt.density, mjm.opt.viscosity, mjm.opt.wind[:] = 1000.0, 2.0, (0.4, 0.2, -0.3)
  return mjm


FLUID = ("opt.density", "opt.viscosity", "opt.wind")
GEAR = ("actuator_gear", "actuator_biasprm")
SITES = ("site_pos", "site_quat")
BESIDE_ROWS = {
  "joint equality": (equality("joint"), ("eq_data", "eq_solref")),
  "connect": (equality("connect"), ("eq_data", "eq_solref", "body_invweight0")),
  "weld": (equality("weld"), ("eq_data", "eq_solref", "body_invweight0")),
  "weld of sites": (equality("weld sites"), ("eq_data", *SITES)),
  "ball limit": (
    chain(ball='limited="true" range="0 0.1"', integrator="discrete"),
    ("jnt_range", "jnt_solref", "qpos0"),
  ),
  "wrapped tendon with a limit": (
    pulled(spatial("w", "a", "drum", "far", limited="true", range="0 0.5", **ELASTIC)),
    ("tendon_range", "tendon_stiffness", "geom_size", "geom_pos", "site_pos"),
  ),
  "friction loss of a tendon": (
    pulled(spatial("w", "a", "2", "c", "rail", frictionloss="60")),
    ("tendon_solref_fri", "tendon_invweight0", "site_pos"),
  ),
  "tendon equality": (
    pulled(
      spatial("w", "a", "c", "tip", name="x", **ELASTIC) + fixed(name="y", armature="0.3"),
      equality='<tendon tendon1="y" tendon2="x" polycoef="0.1 0.5 0.3 -0.2 0.4"/>',
    ),
    ("eq_data", "tendon_armature", "tendon_damping", "tendon_length0", "site_pos"),
  ),
  "armature of a tendon": (
    pulled(spatial("w", "a", "c", "tip", armature="0.3", **ELASTIC)),
    ("tendon_armature", "site_pos"),
  ),
  "servo on a tendon": (servo('tendon="t" kv="3" gear="1.3"'), (*GEAR, "site_pos")),
  "servo between sites": (
    servo('site="tip" refsite="a" kv="3" gear="1 0.5 0 0.2 0.1 0"'),
    (*GEAR, *SITES),
  ),
  "slider-crank": (
    servo('cranksite="c" slidersite="rail" cranklength="0.9" gear="1.5"'),
    (*GEAR, *SITES, "actuator_cranklength"),
  ),
  "servo in the parent": (servo('jointinparent="ball" gear="1 0.5 0.3"'), GEAR),
  "lent damping and armature": (
    pulled(
      fixed(name="t"),
      actuator=DRIVE + '<motor tendon="t" gear="0.5" damping="2 0.3" armature="0.1"/>',
    ),
    (*GEAR, "actuator_damping", "actuator_dampingpoly", "actuator_armature"),
  ),
  "box in a fluid": (swimmer(""), FLUID),
  "ellipsoid in a fluid": (
    swimmer('fluidshape="ellipsoid" fluidcoef="0.5 0.25 1.5 1 1"'),
    (*FLUID, "geom_size", "geom_pos"),
  ),
}
"""What turns with the joints, in the rows or in the metric, beside friction loss of the joints."""


@pytest.mark.parametrize("name", BESIDE_ROWS)
def test_what_turns_beside_rows(name):
  mjm, params = BESIDE_ROWS[name]
  mjm.dof_damping[:] = np.linspace(0.3, 2.0, mjm.nv)
  mjm.dof_frictionloss[:] = 0.2
  points = harness.random_points(mjm, 4, seed=3, position=0.1)
  points = [harness.with_inputs(p, ctrl=np.full(mjm.nu, 0.3)) for p in points]
  params += ("opt.timestep", "dof_damping", *INERTIA, *POSES)
  found, _ = harness.compare(mjm, points, params)
  harness.assert_close(found, RTOL, worst=ROW_WORST)
