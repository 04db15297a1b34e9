"""`mjgrad check` on models that other packages ship; docs/models.md has all of them.

The packages that the test extra does not install are read from unpacked wheels, see
`tests/real_models.py`; without them their models are skipped.
"""

import pytest

from mjgrad._src.errors import UnsupportedFeature
from tests import oracles
from tests.real_models import PACKAGES
from tests.real_models import left_out
from tests.real_models import real_model
from tests.real_models import real_models

pytestmark = pytest.mark.slow

REPRESENTATIVE = (
  "mujoco_warp/actuation/actuators.xml",
  "mujoco_warp/actuation/muscle.xml",
  "mujoco_warp/constraints.xml",
  "mujoco_warp/humanoid/humanoid.xml",
  "mujoco_warp/tendon/pulley_site.xml",
  "gymnasium/half_cheetah.xml",
  "mjx/actuator/arm21.xml",
  "mjx/tendon/pulley_fixed_site_wrap.xml",
  "mjx/tendon/wrap_sidesite.xml",
  "dm_control/suite/ball_in_cup.xml",
  "dm_control/suite/cheetah.xml",
  "dm_control/suite/fish.xml",
  "dm_control/suite/humanoid.xml",
  "myo_sim/myoelbow_2dof",
)


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_model_passes(name):
  model = real_model(name)
  if model is None:
    pytest.skip("its package is not unpacked")
  mjm, note = model.load()
  assert note == ""
  result = oracles.run_check(mjm, nstates=8, device="cpu", entries=24)
  assert all(len(c.compared) >= 4 for c in result.channels), result.to_text()
  assert result.passed, result.to_text()


def test_models_are_found():
  names = [model.name for model in real_models()]
  assert len(names) == len(set(names))
  assert {"mujoco_warp/humanoid/humanoid.xml", "gymnasium/ant.xml"} <= set(names)
  assert left_out("mujoco_warp/flex/rope.xml") == "flexible bodies"
  shorts = {package.short for package in PACKAGES} | {"myo_sim"}
  assert all(name.split("/")[0] in shorts for name in names)


def test_unsupported_model_is_refused_by_name():
  """Contact override is an option that no gradient has yet."""
  mjm, _ = real_model("gymnasium/half_cheetah.xml").load()
  mjm.opt.enableflags |= 1  # mjENBL_OVERRIDE
  with pytest.raises(UnsupportedFeature, match="override"):
    oracles.run_check(mjm, nstates=2, device="cpu")
