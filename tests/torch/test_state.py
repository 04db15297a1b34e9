"""States of tensors, and the messages of wrong inputs."""

import pytest
import torch

import mjgrad
import mjgrad.torch as mgt
from tests import models

NWORLD = 2


@pytest.fixture(scope="module")
def sim():
  return mjgrad.Simulator(models.cartpole(), NWORLD, "cpu")


@pytest.fixture(scope="module")
def humanoid():
  return mjgrad.Simulator(models.humanoid(), NWORLD, "cpu")


def test_initial_state(sim):
  state = mgt.initial_state(sim)
  assert state.qpos.shape == (NWORLD, 2) and state.act.shape == (NWORLD, 0)
  assert state.time.shape == (NWORLD,) and state.qacc_warmstart.shape == (NWORLD, 2)
  assert all(x.dtype == torch.float32 for x in state.__dict__.values())
  assert torch.equal(state.qpos[0], torch.tensor(sim.mjm.qpos0, dtype=torch.float32))
  state.qpos[0] += 1.0
  assert not torch.equal(state.qpos[0], state.qpos[1]), "worlds do not share memory"
  assert torch.equal(mgt.initial_state(sim).qpos[0], state.qpos[1])


@pytest.mark.parametrize("by_name", [True, False])
def test_keyframe(humanoid, by_name):
  mjm = humanoid.mjm
  state = mgt.initial_state(humanoid, mjm.key(1).name if by_name else 1)
  expected = torch.tensor(mjm.key_qpos[1], dtype=torch.float32)
  assert torch.equal(state.qpos, expected.expand(NWORLD, -1))


@pytest.mark.parametrize("key", ["no such key", 99])
def test_missing_keyframe(humanoid, key):
  with pytest.raises(mjgrad.InvalidInput, match=f"{key}.*{humanoid.mjm.key(0).name}"):
    mgt.initial_state(humanoid, key)


def test_map_over_two_states(sim):
  first = mgt.initial_state(sim)
  second = first.map(lambda x: x + 1)
  mask = torch.tensor([True, False])
  mixed = first.map(lambda a, b: torch.where(mask.view(-1, *[1] * (a.dim() - 1)), a, b), second)
  assert torch.equal(mixed.qpos[0], first.qpos[0]) and torch.equal(mixed.qpos[1], second.qpos[1])
  assert mixed.time.tolist() == [0.0, 1.0]


WRONG = {
  "ctrl": (dict(ctrl=torch.zeros(NWORLD, 2)), r"ctrl.*\(2, 2\).*\(2, 1\)"),
  "ctrl_without_worlds": (dict(ctrl=torch.zeros(1)), r"ctrl.*\(1,\).*\(2, 1\)"),
  "qfrc_applied": (dict(qfrc_applied=torch.zeros(NWORLD, 5)), r"qfrc_applied.*\(2, 5\).*\(2, 2\)"),
  "xfrc_applied": (dict(xfrc_applied=torch.zeros(NWORLD, 6)), r"xfrc_applied.*\(2, 3, 6\)"),
  "nstep": (dict(nstep=0), "nstep is 0"),
  "unknown": (dict(params={"mass": torch.zeros(3)}), "mass.*body_mass"),
  "shape": (dict(params={"body_mass": torch.zeros(4)}), r"body_mass.*\(4,\).*\(3,\).*\(2, 3\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_shapes(sim, case):
  arguments, message = WRONG[case]
  with pytest.raises(mjgrad.InvalidInput, match=message):
    mgt.step(sim, mgt.initial_state(sim), **arguments)


@pytest.mark.parametrize("field", ["qpos", "qvel", "qacc_warmstart", "time"])
def test_wrong_state(sim, field):
  state = mgt.initial_state(sim)
  values = dict(state.__dict__)
  values[field] = torch.zeros(NWORLD + 1, 7)
  with pytest.raises(mjgrad.InvalidInput, match=rf"state\.{field}.*\(3, 7\)"):
    mgt.step(sim, mgt.State(**values))


def test_wrong_device(sim):
  with pytest.raises(mjgrad.InvalidInput, match="ctrl is on meta.*cpu"):
    mgt.step(sim, mgt.initial_state(sim), torch.zeros(NWORLD, 1, device="meta"))
  mass = torch.zeros(3, device="meta")
  with pytest.raises(mjgrad.InvalidInput, match=r"params\['body_mass'\] is on meta"):
    mgt.step(sim, mgt.initial_state(sim), params={"body_mass": mass})


@pytest.mark.parametrize("shape", [(NWORLD, 1), (0, NWORLD, 1)])
def test_wrong_controls_of_a_rollout(sim, shape):
  with pytest.raises(mjgrad.InvalidInput, match="ctrls.*T"):
    mgt.rollout(sim, mgt.initial_state(sim), torch.zeros(shape))
