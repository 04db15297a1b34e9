import mujoco_warp as mjw
import numpy as np
import pytest

from tests import models
from tests import oracles
from tests.oracles import Oracle

UPRIGHT_CAPSULE = """
<mujoco>
  <option timestep="0.004"/>
  <worldbody>
    <geom type="plane" size="5 5 0.1"/>
    <body pos="0 0 0.215" euler="{tilt} 10 0">
      <freejoint/>
      <geom type="capsule" size="0.07 0.15" mass="1"/>
    </body>
  </worldbody>
</mujoco>
"""


def capsule_point(mjm):
  return oracles.point(mjm, qvel=[1.0, 0.7, -0.2, 0.1, 0.2, 0.3])


@pytest.mark.parametrize("integrator", (*models.INTEGRATORS, "rk4"))
@pytest.mark.parametrize("build", [models.ant, models.humanoid])
def test_same_step_as_mujoco_where_frames_agree(build, integrator):
  """Elliptic cones do not depend on the tangents, so both oracles take the same step."""
  mjm = models.variant(build(), integrator=integrator, cone="elliptic")
  for state in oracles.sample_states(mjm, 6):
    plain = Oracle(mjm).step(state.point)
    framed = Oracle(mjm, engine_frames=True).step(state.point)
    scale = np.abs(plain.qacc).max()
    np.testing.assert_allclose(framed.qacc, plain.qacc, atol=1e-9 * scale)
    np.testing.assert_allclose(framed.qvel, plain.qvel, atol=1e-11 * scale)
    np.testing.assert_allclose(framed.qpos, plain.qpos, atol=1e-12 * scale)


@pytest.mark.parametrize("tilt, nearly_normal", [(15, True), (50, False)])
def test_engine_takes_other_tangents_for_a_nearly_normal_capsule(tilt, nearly_normal):
  """The reason for `engine_frames`; when mujoco-warp changes it, this fails and it can go."""
  mjm = models.load(UPRIGHT_CAPSULE.format(tilt=tilt))
  mjm.qpos0[2] = 0.066 + 0.15 * np.cos(np.radians(tilt))
  point = capsule_point(mjm)
  plain, framed = Oracle(mjm), Oracle(mjm, engine_frames=True)
  truth, exchanged = plain.forward(point), framed.forward(point)
  assert plain.mjd.ncon == 1

  m = mjw.put_model(mjm)
  d = mjw.make_data(mjm)
  d.qpos.assign(point.qpos[None].astype(np.float32))
  d.qvel.assign(point.qvel[None].astype(np.float32))
  mjw.forward(m, d)
  engine = d.qacc.numpy()[0]
  assert oracles.relative_error(engine, exchanged) < 1e-4
  assert (oracles.relative_error(engine, truth) > 1e-2) == nearly_normal
