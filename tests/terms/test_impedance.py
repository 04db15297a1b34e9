"""Impedance, stiffness, damping and regularisation of a row, against C MuJoCo's own rows."""

import mujoco
import numpy as np
import pytest
import warp as wp

from mjgrad._src.engine.adapter import vec5
from mjgrad._src.terms import impedance as law
from tests import models
from tests.terms.impedance_slope import differentiate

wp.set_module_options({"enable_backward": False})

# One formula of a few operations in float32; a power of a difference loses another digit.
RTOL = 3e-6

SOLIMPS = {
  "default": (0.9, 0.95, 0.001, 0.5, 2.0),
  "wide": (0.3, 0.95, 0.1, 0.5, 2.0),
  "linear": (0.3, 0.95, 0.1, 0.5, 1.0),
  "cubic_early_middle": (0.3, 0.95, 0.1, 0.2, 3.0),
  "odd_power": (0.3, 0.95, 0.1, 0.7, 1.7),
  "constant": (0.8, 0.8, 0.1, 0.5, 2.0),
  "falling": (0.9, 0.3, 0.1, 0.5, 2.0),
  "no_width": (0.3, 0.95, 0.0, 0.5, 2.0),
  "beyond_the_bounds": (0.0, 1.0, 0.1, 0.5, 2.0),
  "power_below_one": (0.3, 0.95, 0.1, 0.5, 0.5),
}
SOLREFS = {
  "default": (0.02, 1.0),
  "slow": (0.3, 0.4),
  "below_the_time_step": (0.003, 1.0),
  "direct": (-900.0, -50.0),
}
VIOLATIONS = np.array([0.0, 1e-4, 0.004, 0.02, 0.035, 0.06, 0.0999, 0.15])
TIMESTEP = 0.005


@wp.kernel
def _evaluate(
  # In:
  solref: wp.array[wp.vec2],
  solimp: wp.array[vec5],
  r: wp.array[float],
  invweight: wp.array[float],
  timestep: float,
  disableflags: int,
  # Out:
  value_out: wp.array2d[float],
):
  i = wp.tid()
  imp = law.impedance(solimp[i], r[i])
  value_out[i, 0] = law.stiffness(solref[i], solimp[i], timestep, disableflags)
  value_out[i, 1] = law.damping(solref[i], solimp[i], timestep, disableflags)
  value_out[i, 2] = imp
  value_out[i, 3] = law.inverse_regularizer(invweight[i], imp)


def rows(solref, solimp, refsafe):
  """C MuJoCo's limit rows, one slide per violation, each past its lower bound by that much."""
  slides = "".join(
    '<body><joint type="slide" limited="true" range="0 1"/>'
    '<inertial pos="0 0 0" mass="2" diaginertia="1 1 1"/></body>'
    for _ in VIOLATIONS
  )
  mjm = models.load(
    f'<mujoco><option timestep="{TIMESTEP}" jacobian="dense"/>'
    f"<worldbody>{slides}</worldbody></mujoco>"
  )
  mjm.jnt_solref[:], mjm.jnt_solimp[:] = solref, solimp
  mjm.jnt_margin[:] = 1e-9
  if not refsafe:
    mjm.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_REFSAFE
  mjd = mujoco.MjData(mjm)
  mjd.qpos[:] = -VIOLATIONS
  mjd.qvel[:] = np.linspace(-1.0, 1.0, mjm.nv)
  mujoco.mj_forward(mjm, mjd)
  assert mjd.nefc == VIOLATIONS.size
  return mjm, mjd


def violations(mjd):
  return wp.array((mjd.efc_pos - mjd.efc_margin).astype(np.float32), dtype=float, device="cpu")


def impedances(mjm):
  return wp.array(mjm.jnt_solimp.astype(np.float32), dtype=vec5, device="cpu")


def slopes(mjm, mjd):
  out = wp.zeros(mjd.nefc, dtype=float, device="cpu")
  wp.launch(
    differentiate,
    dim=mjd.nefc,
    inputs=[impedances(mjm), violations(mjd)],
    outputs=[out],
    device="cpu",
  )
  return out.numpy().astype(np.float64)


def evaluate(mjm, mjd):
  count = mjd.nefc
  out = wp.zeros((count, 4), dtype=float, device="cpu")
  wp.launch(
    _evaluate,
    dim=count,
    inputs=[
      wp.array(mjm.jnt_solref.astype(np.float32), dtype=wp.vec2, device="cpu"),
      impedances(mjm),
      violations(mjd),
      wp.array(mjm.dof_invweight0.astype(np.float32), dtype=float, device="cpu"),
      TIMESTEP,
      int(mjm.opt.disableflags),
    ],
    outputs=[out],
    device="cpu",
  )
  return out.numpy().astype(np.float64)


@pytest.mark.parametrize("refsafe", [True, False])
@pytest.mark.parametrize("solref", SOLREFS)
@pytest.mark.parametrize("solimp", SOLIMPS)
def test_against_the_rows_of_c_mujoco(solimp, solref, refsafe):
  """K, B, I, the slope of I, D, and aref = -B v - K I r."""
  mjm, mjd = rows(SOLREFS[solref], SOLIMPS[solimp], refsafe)
  value = evaluate(mjm, mjd)
  kbip = mjd.efc_KBIP.reshape(-1, 4)
  np.testing.assert_allclose(value[:, 0], kbip[:, 0], rtol=RTOL, err_msg="stiffness")
  np.testing.assert_allclose(value[:, 1], kbip[:, 1], rtol=RTOL, err_msg="damping")
  np.testing.assert_allclose(value[:, 2], kbip[:, 2], rtol=RTOL, err_msg="impedance")
  # The row loses the digits of 1 - d.
  np.testing.assert_allclose(value[:, 3], mjd.efc_D, rtol=RTOL / (1 - kbip[:, 2].max()))
  aref = -value[:, 1] * mjd.efc_vel - value[:, 0] * value[:, 2] * (mjd.efc_pos - mjd.efc_margin)
  np.testing.assert_allclose(aref, mjd.efc_aref, rtol=1e-5, atol=1e-5 * np.abs(aref).max())


@pytest.mark.parametrize("solimp", SOLIMPS)
def test_slope_of_the_impedance(solimp):
  """Warp's derivative of d(r) against central differences of C MuJoCo's d, in float64."""
  mjm, mjd = rows(SOLREFS["default"], SOLIMPS[solimp], True)
  slope = slopes(mjm, mjd)
  away = VIOLATIONS > 0  # at r = 0 the slope jumps
  e = 1e-7
  sides = []
  for shift in (e, -e):
    mjd.qpos[:] = -np.where(away, VIOLATIONS, 1.0) + shift
    mujoco.mj_forward(mjm, mjd)
    sides.append(mjd.efc_KBIP.reshape(-1, 4)[:, 2].copy())
  truth = (sides[0] - sides[1]) / (2 * e)
  np.testing.assert_allclose(slope[away], truth[away], rtol=1e-4, atol=1e-5)
  if solimp not in ("constant", "no_width"):
    assert np.abs(truth[away]).max() > 1
