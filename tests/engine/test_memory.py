"""What does not fit into memory is refused by name before it is computed."""

import re

import pytest
import torch
import warp as wp

import mjgrad
import mjgrad.torch as mgt
from mjgrad._src.adjoint.tape import COPIES
from mjgrad._src.engine import memory
from tests import models

NWORLD = 4


@pytest.fixture
def little_memory(monkeypatch):
  """A device with a megabyte left."""
  monkeypatch.setattr(memory, "free_bytes", lambda device: 1_000_000)


def numbers(error) -> list[int]:
  """The records and the worlds that would fit, as the message has them."""
  return [int(n) for n in re.search(r"(\d+) \w+ fit, or (\d+) worlds", str(error.value)).groups()]


def test_a_call_of_too_many_steps(little_memory):
  mjm = models.ant()
  sim = mjgrad.Simulator(mjm, NWORLD, "cpu")
  nbyte = 4 * (mjm.nq + 3 * mjm.nv + mjm.na)
  nstep = 1_000_000 // (COPIES * NWORLD * nbyte)
  assert sim.program({}, nstep).tape.qpos.shape[0] == nstep + 1
  with pytest.raises(mjgrad.CapacityError, match="take fewer steps") as error:
    _ = sim.program({}, 2 * nstep).tape
  assert numbers(error) == [nstep, NWORLD // 2]


def test_too_many_checkpoints(little_memory):
  mjm = models.ant()
  sim = mjgrad.Simulator(
    mjm, NWORLD, "cpu", integrator=mjgrad.Tsit5(), adjoint=mjgrad.Discretise(checkpoints=10_000)
  )
  with pytest.raises(mjgrad.CapacityError, match="take fewer checkpoints"):
    _ = sim.program({}, 1).adjoint


def test_a_rollout_of_too_many_controls(little_memory):
  sim = mjgrad.Simulator(models.ant(), NWORLD, "cpu")
  state = mgt.initial_state(sim)
  ctrls = torch.zeros(2000, NWORLD, sim.nu, requires_grad=True)
  with pytest.raises(mjgrad.CapacityError, match="fewer controls at a time") as error:
    mgt.rollout(sim, state, ctrls)
  fit, _ = numbers(error)
  assert mgt.rollout(sim, state, ctrls[:3]).qpos.shape[0] == 3
  assert 1_000_000 / NWORLD / 1000 < fit < 2000


def test_a_real_device_says_what_is_left():
  assert (memory.free_bytes(wp.get_device("cpu")) or 1) > 0
