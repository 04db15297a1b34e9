"""Laws of tendons: springs, dampers, armature, limits, friction loss and equalities."""

import mujoco
import numpy as np
import pytest

from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.errors import UnsupportedFeature
from mjgrad._src.linearize import step_gradient
from tests import models
from tests.terms import harness
from tests.terms.tendons import BRANCHES
from tests.terms.tendons import fixed
from tests.terms.tendons import spatial
from tests.terms.tendons import tendons

# Accelerations of this model are good to about 1e-6 in float32.
RTOL = 2e-5
# A row multiplies the float32 rounding of a length by its stiffness; so does the gradient in the
# stiffness of a spring by the rounding of its small extension.
ROW_RTOL = 1e-4

PATH = ("w", "a", "tip")
SOLIMP = "0.5 0.95 0.1 0.4 2.5"


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("poly", ["20", "20 30 40"])
def test_spring(poly, integrator):
  """Longer than, inside and shorter than the dead band; on a path and on joints."""
  mjm = tendons(
    spatial(*PATH, stiffness=poly, springlength="0.75 0.85")
    + fixed(BRANCHES, stiffness=poly, springlength="-0.2 0.2"),
    integrator=integrator,
  )
  points = harness.random_points(mjm, 8, position=0.4)
  found, local = harness.compare(mjm, points, ("tendon_stiffness", "tendon_lengthspring"))
  harness.assert_close(found, ROW_RTOL)
  gradient = found["tendon_lengthspring"].value.reshape(-1, 2, 2)
  used = gradient != 0
  assert np.all(used.any(axis=0)), "a side of a dead band was not visited"
  assert np.all(~used.all(axis=2)) and np.any(~used.any(axis=2))


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("poly", ["2", "2 0.6 0.3", "0 1 0.5"])
def test_damper(poly, integrator):
  """Both signs of the velocity; under implicitfast, part of the mass matrix of the integrator."""
  mjm = tendons(spatial(*PATH, damping=poly) + fixed(damping=poly), integrator=integrator)
  points = harness.random_points(mjm, 4, velocity=2.0)
  points += [harness.with_inputs(p, qvel=-p.qvel) for p in points[:2]]
  found, _ = harness.compare(mjm, points, ("tendon_damping",))
  harness.assert_close(found, RTOL)
  assert np.all(found["tendon_damping"].value != 0)


def test_implicit_damping_matters():
  """Integrated explicitly, the same states give gradients that differ by far more than RTOL."""
  law = spatial(*PATH, damping="2 0.6 0.3") + fixed(damping="2")
  points = harness.random_points(tendons(law), 4, velocity=2.0)
  explicit, _ = harness.compare(tendons(law), points)
  implicit, _ = harness.compare(tendons(law, integrator="implicitfast"), points)
  change = explicit["qvel"].truth - implicit["qvel"].truth
  assert np.linalg.norm(change) > 1e3 * RTOL * np.linalg.norm(explicit["qvel"].truth)


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_fixed_tendon_between_branches(integrator):
  """The engine keeps of J J^T only the pairs of dofs on one chain."""
  mjm = tendons(fixed(BRANCHES, damping="2 0.6 0.3", armature="0.4"), integrator=integrator)
  points = harness.random_points(mjm, 4, velocity=2.0)
  found, _ = harness.compare(mjm, points, ("tendon_damping", "tendon_armature"))
  harness.assert_close(found, RTOL)


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_armature(integrator):
  """A spatial tendon's armature feels the velocity products of its path."""
  mjm = tendons(
    spatial(*PATH, armature="2")
    + spatial("w", "a", "2", "b", "tip", armature="0.7")
    + fixed(armature="0.3"),
    integrator=integrator,
  )
  mjm.dof_damping[:] = 0.3
  points = harness.random_points(mjm, 6, velocity=3.0)
  found, _ = harness.compare(mjm, points, ("tendon_armature",))
  harness.assert_close(found, RTOL)
  assert np.all(found["tendon_armature"].value != 0)


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_limits(integrator):
  """Both bounds of a path and of a combination of joints, pushing and leaving."""
  common = {"limited": "true", "solimplimit": SOLIMP}
  mjm = tendons(
    spatial(*PATH, range="0.95 1.1", margin="0.01", **common)
    + fixed(BRANCHES, range="-0.1 0.1", solreflimit="-800 -60", **common),
    integrator=integrator,
  )
  points = harness.random_points(mjm, 10, position=0.1, velocity=0.5)
  fast = [harness.with_inputs(p, qvel=6 * sign * p.qvel) for p in points[:4] for sign in (1, -1)]
  points += fast
  found, local = harness.compare(mjm, points, ("tendon_range",))
  harness.assert_close(found, ROW_RTOL)
  pushed = found["tendon_range"].value.reshape(-1, 4) != 0
  assert np.all(pushed.any(axis=0)), "a bound was not visited"
  assert {0, 1} <= set(np.concatenate([here.branch.zones for here in local]))


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_friction_loss(integrator):
  """Sliding forwards, sliding backwards, and creeping between the bounds."""
  mjm = tendons(
    spatial(*PATH, frictionloss="4") + fixed(BRANCHES, frictionloss="0.8"),
    integrator=integrator,
  )
  mjm.tendon_solimp_fri[1] = (0.8, 0.9, 0.01, 0.4, 3.0)
  points = harness.random_points(mjm, 6)
  points += [harness.with_inputs(p, qvel=0.02 * p.qvel) for p in points]
  found, local = harness.compare(mjm, points, ("tendon_frictionloss",))
  harness.assert_close(found, ROW_RTOL)
  zones = np.stack([here.branch.zones for here in local])
  assert zones.shape == (12, 2)
  assert all({-1, 0, 1} <= set(column) for column in zones.T)
  gradient = found["tendon_frictionloss"].value
  np.testing.assert_array_equal(gradient == 0, zones == 0)


@pytest.mark.parametrize("integrator", models.INTEGRATORS)
def test_equality(integrator):
  """A quartic between two tendons, a tendon alone, and one that is switched off."""
  mjm = tendons(
    spatial(*PATH, name="path") + fixed(BRANCHES, name="sum") + spatial("b", "rail", name="rail"),
    equality=f"""
      <tendon tendon1="path" tendon2="sum" polycoef="0.05 0.5 0.3 0.2 0.1" solimp="{SOLIMP}"/>
      <tendon tendon1="rail" polycoef="0.03 0 0 0 0" solref="0.05 0.7"/>
      <tendon tendon1="sum" tendon2="rail" active="false"/>""",
    integrator=integrator,
  )
  points = harness.random_points(mjm, 6, position=0.2)
  found, local = harness.compare(mjm, points)
  harness.assert_close(found, ROW_RTOL)
  assert all(here.branch.zones.tolist() == [1, 1] for here in local)
  free, _ = harness.compare(tendons(spatial(*PATH)), points)
  change = found["qpos"].truth - free["qpos"].truth
  assert np.linalg.norm(change) > np.linalg.norm(free["qpos"].truth)


@pytest.mark.parametrize("flag", ["SPRING", "DAMPER", "LIMIT", "FRICTIONLOSS", "EQUALITY"])
def test_switched_off(flag):
  mjm = tendons(
    spatial(
      *PATH,
      name="t",
      stiffness="20",
      springlength="0.1",
      damping="2",
      limited="true",
      range="0.5 0.6",
      frictionloss="0.5",
    ),
    equality='<tendon tendon1="t" polycoef="0.1 0 0 0 0"/>',
    integrator="implicitfast",
  )
  mjm.opt.disableflags |= mujoco.mjtDisableBit.__members__[f"mjDSBL_{flag}"]
  names = {
    "SPRING": "tendon_stiffness",
    "DAMPER": "tendon_damping",
    "LIMIT": "tendon_range",
    "FRICTIONLOSS": "tendon_frictionloss",
  }
  points = harness.random_points(mjm, 3)
  found, _ = harness.compare(mjm, points, tuple(names.values()))
  harness.assert_close(found, 5e-4, zero=(names[flag],) if flag in names else ())


def test_parameters_that_the_model_leaves_zero():
  """A value given for the call counts, although the compiled model has none of the law."""
  mjm = tendons(spatial(*PATH) + fixed(BRANCHES), integrator="implicitfast")
  points = harness.random_points(mjm, 3)
  values = {
    "tendon_stiffness": np.array([20.0, 5.0]),
    "tendon_damping": np.array([0.5, 2.0]),
    "tendon_armature": np.array([0.3, 0.1]),
    "tendon_frictionloss": np.array([0.4, 0.0]),
  }
  found, _ = harness.compare(mjm, points, tuple(values), values=values)
  harness.assert_close(found, ROW_RTOL)


@pytest.mark.parametrize("integrator", ["euler", "implicitfast", "discrete"])
def test_armature_between_branches(integrator):
  """The inertia matrix has no entry for pairs of dofs on different branches."""
  tendon = spatial("w", "tip", "rail", armature="0.4", damping="2", stiffness="20")
  mjm = tendons(tendon, integrator=integrator)
  mjm.dof_damping[:] = 0.5
  params = ("tendon_armature", "body_mass", "body_pos", "site_pos")
  found, _ = harness.compare(mjm, harness.random_points(mjm, 4, velocity=3.0), params)
  harness.assert_close(found, RTOL)


def test_parameters_that_would_switch_on_a_refused_law(names=("tendon_armature",)):
  mjm = tendons(spatial("w", "drum", "tip", "rail", name="across"), integrator="implicitfast")
  sim = Simulator(mjm, 1, "cpu")
  point = harness.inputs(harness.random_points(mjm, 1))
  with pytest.raises(UnsupportedFeature, match=f"parameter {names[0]}, tendon 'across'"):
    step_gradient(sim, **point, adj_qpos=point["qpos"], adj_qvel=point["qvel"], wrt_params=names)


def test_plastic_springs_are_refused():
  mjm = tendons(spatial(*PATH, name="t", stiffness="20"))
  mjm.tendon_springyield[0] = 1.0
  with pytest.raises(UnsupportedFeature, match="tendon 't': plastic"):
    Simulator(mjm, 1, "cpu")
