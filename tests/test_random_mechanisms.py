"""Random mechanisms over all features: right, refused by name, or at a named switching point."""

import mujoco
import pytest

from benchmarks import random_models
from tests.random_mechanisms import SIZES
from tests.random_mechanisms import Mechanism
from tests.random_mechanisms import random_mechanism


def test_same_seed_same_model():
  assert Mechanism(3).xml() == Mechanism(3).xml() != Mechanism(4).xml()


def test_mechanisms_cover_the_features():
  sizes, seen = set(), set()
  for seed in range(60):
    try:
      mjm = random_mechanism(seed)
    except ValueError:
      continue
    sizes.add(mjm.nv)
    seen |= {mujoco.mjtIntegrator(mjm.opt.integrator).name, mujoco.mjtCone(mjm.opt.cone).name}
    for kind, values in (
      (mujoco.mjtJoint, mjm.jnt_type),
      (mujoco.mjtGeom, mjm.geom_type),
      (mujoco.mjtTrn, mjm.actuator_trntype),
      (mujoco.mjtDyn, mjm.actuator_dyntype),
      (mujoco.mjtEq, mjm.eq_type),
      (mujoco.mjtWrap, mjm.wrap_type),
    ):
      seen |= {kind(int(value)).name for value in values}
  assert sizes == set(SIZES)
  wanted = (
    "JNT_FREE JNT_BALL JNT_SLIDE JNT_HINGE GEOM_SPHERE GEOM_CAPSULE GEOM_ELLIPSOID GEOM_CYLINDER"
    " GEOM_BOX GEOM_MESH TRN_JOINT TRN_JOINTINPARENT TRN_TENDON TRN_SITE TRN_SLIDERCRANK TRN_BODY"
    " DYN_NONE DYN_INTEGRATOR DYN_FILTER DYN_FILTEREXACT DYN_MUSCLE DYN_DCMOTOR EQ_CONNECT EQ_WELD"
    " EQ_JOINT WRAP_JOINT WRAP_PULLEY WRAP_SITE WRAP_SPHERE WRAP_CYLINDER INT_EULER INT_RK4"
    " INT_IMPLICIT INT_IMPLICITFAST CONE_PYRAMIDAL CONE_ELLIPTIC"
  )
  assert not {f"mj{name}" for name in wanted.split()} - seen


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1040))
def test_no_silent_wrong_gradient(seed):
  """Seeds other than those of the published run."""
  row = random_models.check(seed)
  assert row["verdict"] != random_models.WRONG, row
