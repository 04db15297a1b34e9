"""Overflows and states that are not finite are errors that name the remedy."""

import re

import numpy as np
import pytest

from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.errors import CapacityError
from mjgrad._src.errors import NonFiniteState
from mjgrad._src.linearize import step_gradient
from tests import models

NWORLD = 3
BALLS = 5


@pytest.fixture(scope="module")
def balls():
  """Five balls on a plane: five contacts and, pyramidal with condim 3, twenty rows."""
  bodies = "".join(
    f'<body pos="{i} 0 0.099"><freejoint name="root{i}"/><geom size="0.1"/></body>'
    for i in range(BALLS)
  )
  return models.load(
    f'<mujoco><worldbody><geom type="plane" size="9 9 1"/>{bodies}</worldbody></mujoco>'
  )


def step(mjm, qpos=None, qvel=None, **capacity):
  sim = Simulator(mjm, NWORLD, "cpu", **capacity)
  qpos = np.tile(mjm.qpos0, (NWORLD, 1)) if qpos is None else qpos
  qvel = np.zeros((NWORLD, mjm.nv)) if qvel is None else qvel
  adj = np.ones((NWORLD, mjm.nv))
  return sim, step_gradient(sim, qpos, qvel, None, np.zeros((NWORLD, mjm.nq)), adj)


@pytest.mark.parametrize(
  ("option", "small", "plenty"), [("njmax", 8, {"nconmax": 20}), ("nconmax", 2, {"njmax": 64})]
)
def test_capacity(balls, option, small, plenty):
  """The message names the option and a value, and with that value the step works."""
  with pytest.raises(CapacityError) as caught:
    step(balls, **plenty, **{option: small})
  found = re.search(rf"{option}=(\d+)", str(caught.value))
  assert found, str(caught.value)
  _, out = step(balls, **plenty, **{option: int(found.group(1))})
  assert np.all(np.isfinite(out.qvel))


def test_capacity_of_sparse_rows(balls):
  mjm = models.variant(balls.__copy__(), jacobian="sparse")
  with pytest.raises(CapacityError) as caught:
    step(mjm, nconmax=20, njmax=8)
  found = re.search(r"njmax=(\d+)", str(caught.value))
  assert found, str(caught.value)
  step(mjm, nconmax=20, njmax=int(found.group(1)))


def test_the_simulator_can_be_used_after_an_error(balls):
  """An overflow is reported once; a call that fits then succeeds."""
  sim = Simulator(balls, NWORLD, "cpu", njmax=8, nconmax=20)
  adj_qpos, adj_qvel = np.zeros((NWORLD, balls.nq)), np.ones((NWORLD, balls.nv))
  low = np.tile(balls.qpos0, (NWORLD, 1))
  high = low.copy()
  high[:, 2::7] += 1.0
  with pytest.raises(CapacityError):
    step_gradient(sim, low, np.zeros_like(adj_qvel), None, adj_qpos, adj_qvel)
  out = step_gradient(sim, high, np.zeros_like(adj_qvel), None, adj_qpos, adj_qvel)
  np.testing.assert_allclose(out.qacc[:, 2::6], -9.81, rtol=1e-5)


@pytest.mark.parametrize(("world", "value"), [(0, np.nan), (2, np.inf)])
def test_velocity_that_is_not_finite(balls, world, value):
  """The solver spreads it over the world, so the joint named is one of those that it reached."""
  qvel = np.zeros((NWORLD, balls.nv))
  qvel[world, 6 * 3 + 1] = value
  with pytest.raises(NonFiniteState, match=rf"world {world}: q.*root\d"):
    step(balls, qvel=qvel)


def test_position_that_is_not_finite(balls):
  qpos = np.tile(balls.qpos0, (NWORLD, 1))
  qpos[1, 7 * 2 + 2] = np.nan
  with pytest.raises(NonFiniteState, match=r"world 1: q.*root\d"):
    step(balls, qpos)


def test_control_that_is_not_finite():
  mjm = models.cartpole()
  mjm.actuator_ctrllimited[:] = False
  sim = Simulator(mjm, 2, "cpu")
  zeros = np.zeros((2, 2))
  with pytest.raises(NonFiniteState, match="world 1"):
    step_gradient(sim, zeros, zeros, np.array([[0.0], [np.nan]]), zeros, zeros + 1)


def test_contact_without_gradient():
  """Two cylinders side by side touch along a line; in the other worlds they cross."""
  geom = '<geom name="{}" type="cylinder" size="0.1 0.2" mass="1"/>'
  mjm = models.load(f"""
    <mujoco><worldbody>
      <body><freejoint/>{geom.format("left")}</body>
      <body pos="0.198 0 0"><freejoint/>{geom.format("right")}</body>
    </worldbody></mujoco>""")
  qpos = np.tile(mjm.qpos0, (NWORLD, 1))
  qpos[:, 10:] = [np.cos(0.2), np.sin(0.2), 0.0, 0.0]
  sim, _ = step(mjm, qpos)
  assert sim.data.nacon.numpy()[0] >= NWORLD
  qpos[1, 10:] = [1.0, 0.0, 0.0, 0.0]
  with pytest.raises(NonFiniteState, match="world 1: a contact of left has no finite gradient"):
    step(mjm, qpos)
