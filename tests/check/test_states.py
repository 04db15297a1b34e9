import numpy as np
import pytest

from mjgrad._src.check.states import KINDS
from mjgrad._src.errors import InvalidInput
from tests import models
from tests import oracles
from tests.random_models import random_model


def labels(states):
  return {label for state in states for label in state.labels}


def test_same_seed_same_states():
  first, second, other = (oracles.sample_states(models.ant(), 6, seed) for seed in (3, 3, 4))
  for name in oracles.Point.__dataclass_fields__:
    np.testing.assert_array_equal(oracles.stack(first, name), oracles.stack(second, name))
  assert np.any(oracles.stack(first, "qpos") != oracles.stack(other, "qpos"))


def test_states_are_what_float32_can_hold():
  for state in oracles.sample_states(models.humanoid(), 6):
    for name in oracles.Point.__dataclass_fields__:
      value = getattr(state.point, name)
      np.testing.assert_array_equal(value, value.astype(np.float32))


@pytest.mark.parametrize("cone", models.CONES)
@pytest.mark.parametrize("build", [models.ant, models.gym_humanoid, models.humanoid])
def test_states_cover_what_breaks_gradients(build, cone):
  mjm = models.variant(build(), cone=cone)
  states = oracles.sample_states(mjm, 16)
  assert {state.kind for state in states} == set(KINDS)
  wanted = {"contact", "airborne", "sliding", "joint_limit", "ctrl_clamp"}
  assert wanted <= labels(states)
  if build is not models.ant:
    assert "self_contact" in labels(states)


def test_joint_states_cover_limits_slip_and_clamps():
  found = labels(oracles.sample_states(models.load(models.JOINTS), 16))
  assert {"joint_limit", "friction_loss_slip", "ctrl_clamp", "force_clamp"} <= found


def test_activations_stay_in_their_range():
  mjm = models.load(models.STATEFUL)
  states = oracles.sample_states(mjm, 24)
  assert {"act_clamp"} <= labels(states)
  act = oracles.stack(states, "act")
  assert np.all(act.std(axis=0) > 0.05)
  assert act[:, 1].min() >= np.float32(-0.2) and act[:, 1].max() <= np.float32(0.3)
  assert act[:, 3].min() >= 0 and act[:, 3].max() <= 1
  ctrl = oracles.stack(states, "ctrl")
  assert ctrl[:, 0].min() < 0 < ctrl[:, 3].mean()


def test_labels_of_a_settled_ball():
  mjm = models.load(models.scene("plane", "sphere"))
  states = [s for s in oracles.sample_states(mjm, 8) if s.kind == "settled"]
  assert states
  assert all("contact" in s.labels and s.ncon == 1 for s in states)


def test_no_states_is_refused():
  with pytest.raises(InvalidInput, match="at least 1"):
    oracles.sample_states(models.cartpole(), 0)


def test_exploding_model_is_refused():
  mjm = models.load(models.SPRING_MASS)
  mjm.jnt_stiffness[:] = 1e12
  with pytest.raises(InvalidInput, match="exploding"):
    oracles.sample_states(mjm, 4)


def test_random_models_compile_and_stay_in_bounds():
  for seed in range(8):
    mjm = random_model(seed)
    assert mjm.nv > 0
    assert len(oracles.sample_states(mjm, 4, seed)) == 4
