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

PARAMETERS = (
  "body_mass",
  "body_inertia",
  "dof_damping",
  "dof_armature",
  "dof_frictionloss",
  "jnt_stiffness",
  "actuator_gainprm",
  "actuator_biasprm",
  "actuator_dynprm",
  "actuator_gear",
  "actuator_ctrlrange",
  "actuator_forcerange",
  "actuator_actrange",
  "actuator_lengthrange",
  "actuator_acc0",
  "jnt_actfrcrange",
  "geom_friction",
  "geom_size",
  "geom_solref",
  "geom_solimp",
  "geom_solmix",
  "geom_margin",
  "pair_friction",
  "pair_solref",
  "pair_solreffriction",
  "pair_solimp",
  "pair_margin",
  "tendon_stiffness",
  "tendon_damping",
  "tendon_armature",
  "tendon_frictionloss",
  "tendon_lengthspring",
  "tendon_range",
  "opt.gravity",
)
"""Parameters that matter in these models; tests/test_parameters.py compares every one."""

# A fifth of the states may be lost to switching points and differing steps; usually none is.
COMPARED = 0.8


def assert_passed(result, zero: Sequence[str] = (), compared: float = COMPARED):
  """Enough states are compared, every channel passes and none but `zero` vanishes everywhere."""
  count = len(result.states)
  for channel in result.channels:
    assert len(channel.compared) >= compared * count, f"{channel.channel}\n{result.to_text()}"
    vanishes = channel.zero == count
    assert vanishes == (channel.channel in zero), f"{channel.channel}\n{result.to_text()}"
  assert result.passed, result.to_text()


def labels(result):
  return {label for state in result.states for label in state.labels}


def slippery(mjm: mujoco.MjModel) -> mujoco.MjModel:
  """The floor with less friction than the geoms: equal ones are a kink of the larger one."""
  mjm.geom_friction[mjm.geom("floor").id] *= 0.9
  return mjm


# Motors on joints without activation or limits of their force.
MOTORS = (
  "actuator_biasprm",
  "actuator_dynprm",
  "actuator_forcerange",
  "actuator_actrange",
  "actuator_lengthrange",
  "actuator_acc0",
  "actuator_cranklength",
  "actuator_damping",
  "actuator_dampingpoly",
  "actuator_armature",
  "jnt_actfrcrange",
  "tendon_actfrcrange",
)
FREE = (*MOTORS, "dof_frictionloss")
UNIFORM = (*FREE, "geom_solmix")
SPRINGS = (*UNIFORM, "tendon_frictionloss", "tendon_lengthspring", "tendon_range")
CONTACT = {"contact", "sliding", "joint_limit"}
MODELS = {
  # name: (model, gradients that vanish everywhere, what occurs in 12 and more states)
  "cartpole": (
    models.cartpole,
    (*UNIFORM, "geom_friction", "geom_size", "geom_solref", "geom_solimp", "geom_margin"),
    {"ctrl_clamp"},
  ),
  "ant": (lambda: slippery(models.ant()), UNIFORM, CONTACT | {"ctrl_clamp"}),
  "humanoid": (models.humanoid, FREE, CONTACT | {"self_contact"}),
  "gym_humanoid": (lambda: slippery(models.gym_humanoid()), SPRINGS, CONTACT),
}
CONTACT_PARAMETERS = ("body_mass", "dof_damping", "geom_friction", "geom_size")
FAST = (
  ("cartpole", "pyramidal", "euler", PARAMETERS),
  ("cartpole", "pyramidal", "implicitfast", PARAMETERS),
  ("ant", "pyramidal", "euler", CONTACT_PARAMETERS),
  ("ant", "elliptic", "implicitfast", PARAMETERS),
  ("humanoid", "pyramidal", "euler_explicit", PARAMETERS),
  ("humanoid", "elliptic", "implicitfast", CONTACT_PARAMETERS),
)


def check(name, cone, integrator, nstates, seed, params=PARAMETERS):
  make, zero, happens = MODELS[name]
  mjm = models.variant(make(), cone=cone, integrator=integrator)
  result = oracles.run_check(mjm, nstates=nstates, seed=seed, params=params, device="cpu")
  assert_passed(result, [channel for channel in zero if channel in params])
  assert happens <= labels(result)


@pytest.mark.parametrize(("name", "cone", "integrator", "params"), FAST)
def test_twelve_states(name, cone, integrator, params):
  check(name, cone, integrator, 12, seed=0, params=params)


@pytest.mark.slow
@pytest.mark.parametrize("integrator", models.INTEGRATORS)
@pytest.mark.parametrize("cone", models.CONES)
@pytest.mark.parametrize("name", MODELS)
def test_thirty_two_states(name, cone, integrator):
  check(name, cone, integrator, 32, seed=7)
