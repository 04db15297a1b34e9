"""Smooth collision: continuous where features switch, exact without softness, forward untouched."""

import mujoco
import numpy as np
import pytest

import mjgrad
from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.errors import InvalidInput
from mjgrad._src.linearize import step_gradient

SOFTNESS = 1e-3
SIDE = 3e-6  # distance of two states from a switch between them [m or rad]
# What is left of a jump: the weights change by SIDE / SOFTNESS, and contacts are 1e-3 m deep. A
# corner of four turns boxes a little only.
JUMP = 0.02
JUMP_OF_CORNER = 5e-4

HALF = np.sqrt(0.5)


def scene(first, second):
  return mujoco.MjModel.from_xml_string(f"""
    <mujoco>
      <option timestep="0.004" cone="elliptic"/>
      <worldbody>
        <body><freejoint/><geom {first} mass="1.3"/></body>
        <body><freejoint/><geom {second} mass="0.9"/></body>
      </worldbody>
    </mujoco>""")


def beyond_the_end(along):
  """A sphere next to the end of a capsule along z, which is 0.1 from its centre."""
  return [0.1, 0.0, 0.1 + along, 1, 0, 0, 0, 0.0, 0.0, 0.0, 1, 0, 0, 0]


def crossing_the_end(along):
  """A capsule along x across the end of a capsule along z."""
  return [0.03, 0.1, 0.1 + along, HALF, 0, HALF, 0, 0.0, 0.0, 0.0, 1, 0, 0, 0]


def over_the_border(along):
  """A box on a larger one, a vertex of it beyond the border at x = 0.1."""
  quat = turned(0.3, 0.004)
  matrix = np.empty(9)
  mujoco.mju_quat2Mat(matrix, quat)
  vertex = matrix.reshape(3, 3) @ [0.06, -0.07, -0.05]
  return [0, 0, 0, 1, 0, 0, 0, 0.1 - vertex[0] + along, 0.0, 0.099, *quat]


def turned(yaw, roll):
  """Quaternion of a turn about z after one about x."""
  return np.array(
    [
      np.cos(yaw / 2) * np.cos(roll / 2),
      np.cos(yaw / 2) * np.sin(roll / 2),
      np.sin(yaw / 2) * np.sin(roll / 2),
      np.sin(yaw / 2) * np.cos(roll / 2),
    ]
  )


ROUND = 'type="capsule" size="0.05 0.1"'
BOXES = ('type="box" size="0.1 0.12 0.05"', 'type="box" size="0.06 0.07 0.05"')
CASES = {
  "sphere and capsule": (('type="sphere" size="0.052"', ROUND), beyond_the_end, JUMP),
  "capsules": ((ROUND.replace("0.05 ", "0.052 "), ROUND), crossing_the_end, JUMP),
  "boxes": (BOXES, over_the_border, JUMP_OF_CORNER),
}


def gradients(mjm, qpos, smooth):
  """Next velocity and the gradient in qpos of a function of it, for each state."""
  rng = np.random.default_rng(0)
  sim = Simulator(mjm, len(qpos), "cpu", smooth_collision=smooth)
  adjoint = np.tile(rng.normal(size=mjm.nv), (len(qpos), 1))
  out = step_gradient(
    sim,
    qpos=np.array(qpos, dtype=np.float64),
    qvel=np.tile(0.1 * rng.normal(size=mjm.nv), (len(qpos), 1)),
    ctrl=None,
    adj_qpos=np.zeros((len(qpos), mjm.nq)),
    adj_qvel=adjoint,
    wrt_params=("geom_size",),
  )
  of_size = out.grad["geom_size"].reshape(len(qpos), -1)
  return out.qvel, np.hstack([out.grad["qpos_tangent"], of_size])


def jump(grad):
  """Relative difference of the first two gradients."""
  return np.linalg.norm(grad[0] - grad[1]) / np.linalg.norm(grad[0])


@pytest.mark.parametrize("case", CASES)
def test_continuous_through_a_switch(case):
  geoms, pose, left = CASES[case]
  mjm, states = scene(*geoms), [pose(-SIDE), pose(SIDE), pose(-0.02), pose(0.02)]
  qvel, exact = gradients(mjm, states, None)
  soft_qvel, soft = gradients(mjm, states, mjgrad.SmoothCollision(SOFTNESS))
  np.testing.assert_array_equal(qvel, soft_qvel)
  assert jump(exact) > 3 * left and jump(soft) < left, (jump(exact), jump(soft))
  scale = np.abs(exact).max(axis=1, keepdims=True)
  np.testing.assert_allclose(soft[2:] / scale[2:], exact[2:] / scale[2:], atol=1e-4)
  between = 0.5 * (exact[0] + exact[1])
  assert np.linalg.norm(soft[0] - between) < 0.5 * np.linalg.norm(exact[0] - exact[1])


@pytest.mark.parametrize("case", CASES)
def test_exact_without_softness(case):
  geoms, pose, _ = CASES[case]
  mjm, states = scene(*geoms), [pose(-1e-3), pose(1e-3)]
  _, exact = gradients(mjm, states, None)
  _, none = gradients(mjm, states, mjgrad.SmoothCollision(0.0))
  _, little = gradients(mjm, states, mjgrad.SmoothCollision(1e-5))
  np.testing.assert_array_equal(none, exact)
  np.testing.assert_allclose(little, exact, atol=1e-4 * np.abs(exact).max())


def test_standing_cylinder():
  """Its points turn with the direction of a tilt, by the more, the smaller the tilt is."""
  mjm = mujoco.MjModel.from_xml_string("""
    <mujoco>
      <option timestep="0.004" cone="elliptic"/>
      <worldbody>
        <geom type="plane" size="1 1 1" priority="1"/>
        <body><freejoint/><geom type="cylinder" size="0.1 0.2" mass="1"/></body>
      </worldbody>
    </mujoco>""")
  tilts = np.array([0.0, 1e-5, 1e-4, 0.1])
  states = [[0, 0, 0.199, np.cos(t / 2), 0, np.sin(t / 2), 0] for t in tilts]
  states[3][2] += 0.1 * np.sin(0.1) - 0.2 * (1 - np.cos(0.1))
  qvel, exact = gradients(mjm, states, None)
  soft_qvel, soft = gradients(mjm, states, mjgrad.SmoothCollision(SOFTNESS))
  np.testing.assert_array_equal(qvel, soft_qvel)
  size = np.linalg.norm(exact[0])
  np.testing.assert_array_equal(soft[0], exact[0])
  assert np.linalg.norm(exact[1] - exact[0]) > size
  assert np.linalg.norm(soft[1] - soft[0]) < JUMP * size
  error = np.linalg.norm(soft[3] - exact[3]) / np.linalg.norm(exact[3])
  assert 0 < error < (SOFTNESS / 0.1 / tilts[3]) ** 2


def test_softness_is_a_length():
  with pytest.raises(InvalidInput, match="softness is -1"):
    mjgrad.SmoothCollision(-1.0)
