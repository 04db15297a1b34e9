"""One-step gradients of cartpole, ant and humanoid against float64 C MuJoCo, at the project's bars.

Relative error for states, controls and forces: 1e-4 at the median and 1e-2 at the worst state;
1e-3 and 1e-2 for parameters (`report.tolerance_of`). States at a switching point, and states at
which the engine's forward step differs from C MuJoCo's, are not compared; their number is bounded.
"""

from collections.abc import Sequence

import mujoco
import pytest

from tests import models
from tests import oracles

# A fifth of the states may be lost to switching points and differing steps; usually none is.
COMPARED = 0.8


def assert_passed(result, zero: Sequence[str] = ()):
  """Enough states are compared, every channel passes and none but `zero` vanishes everywhere."""
  count = len(result.states)
  for channel in result.channels:
    assert len(channel.compared) >= COMPARED * count, f"{channel.channel}\n{result.to_text()}"
    vanishes = channel.zero == count
    assert vanishes == (channel.channel in zero), f"{channel.channel}\n{result.to_text()}"
  assert result.passed, result.to_text()


def labels(result):
  return {label for state in result.states for label in state.labels}


def ant() -> mujoco.MjModel:
  """The ant on a floor of lower friction: equal coefficients would be a kink of the larger one."""
  mjm = models.ant()
  mjm.geom_friction[mjm.geom("floor").id] *= 0.9
  return mjm


CONTACT = {"contact", "sliding", "joint_limit"}
MODELS = {
  # name: (model, gradients that vanish everywhere, what occurs in 12 and more states)
  "cartpole": (
    models.cartpole,
    ("actuator_biasprm", "geom_friction", "geom_size"),
    {"ctrl_clamp"},
  ),
  "ant": (ant, ("actuator_biasprm",), CONTACT | {"ctrl_clamp"}),
  "humanoid": (models.humanoid, ("actuator_biasprm",), CONTACT | {"self_contact"}),
  "gym_humanoid": (models.gym_humanoid, ("actuator_biasprm",), CONTACT),
}
FAST = (
  ("cartpole", "pyramidal", "euler"),
  ("cartpole", "pyramidal", "implicitfast"),
  ("ant", "pyramidal", "euler"),
  ("ant", "elliptic", "implicitfast"),
  ("humanoid", "pyramidal", "euler_explicit"),
  ("humanoid", "elliptic", "implicitfast"),
)


def check(name, cone, integrator, nstates, seed):
  make, zero, happens = MODELS[name]
  mjm = models.variant(make(), cone=cone, integrator=integrator)
  result = oracles.run_check(mjm, nstates=nstates, seed=seed, device="cpu")
  assert_passed(result, zero)
  assert happens <= labels(result)


@pytest.mark.parametrize(("name", "cone", "integrator"), FAST)
def test_twelve_states(name, cone, integrator):
  check(name, cone, integrator, 12, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("cone", models.CONES)
@pytest.mark.parametrize("name", MODELS)
def test_thirty_two_states(name, cone, integrator):
  check(name, cone, integrator, 32, seed=7)
