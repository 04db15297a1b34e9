"""Ant: the layout of the observation, the reward, the reset distribution and termination."""

import math
import types

import mujoco
import numpy as np
import pytest
import torch

from mjgrad.envs import Ant
from mjgrad.envs import Env
from mjgrad.envs.ant import START_JOINTS


def random_state(n=5):
  generator = torch.Generator().manual_seed(0)
  qpos = torch.randn(n, 15, generator=generator)
  qpos[:, 3:7] /= qpos[:, 3:7].norm(dim=-1, keepdim=True)
  return types.SimpleNamespace(qpos=qpos, qvel=torch.randn(n, 14, generator=generator))


def test_model():
  mjm = Ant().load_model()
  assert (mjm.nq, mjm.nv, mjm.nu) == (15, 14, 8)
  assert mjm.opt.timestep * Ant.nstep == pytest.approx(1 / 60)
  assert mjm.opt.solver == mujoco.mjtSolver.mjSOL_NEWTON
  assert mjm.dof_armature.tolist() == [0.0] * 6 + [0.05] * 8
  assert mjm.dof_damping.tolist() == [0.0] * 6 + [1.0] * 8
  assert (mjm.actuator_gear[:, 0] == 200.0).all()
  driven = [mjm.joint(j).name for j in mjm.actuator_trnid[:, 0]]
  assert driven == [f"{joint}_{leg}" for leg in range(1, 5) for joint in ("hip", "ankle")]


def test_start_is_inside_the_joint_limits():
  mjm = Ant().load_model()
  low, high = mjm.jnt_range[1:].T
  assert (low < np.array(START_JOINTS)).all() and (np.array(START_JOINTS) < high).all()


def test_observation_has_37_entries_in_order():
  s = random_state()
  action = torch.arange(40.0).reshape(5, 8)
  obs = Ant().observe(s, action)
  assert obs.shape == (5, Ant.num_obs) == (5, 37)
  for n in range(5):
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, s.qpos[n, 3:7].double().numpy())
    rotation = rotation.reshape(3, 3)
    expected = np.concatenate(
      [
        s.qpos[n, 2:3],  # height
        s.qpos[n, 3:7],  # quaternion
        s.qvel[n, 0:3],  # linear velocity
        s.qvel[n, 3:6],  # angular velocity
        s.qpos[n, 7:15],  # joint angles
        0.1 * s.qvel[n, 6:14],  # joint velocities
        [rotation[2, 2]],  # up
        [rotation[0, 0]],  # heading
        action[n],
      ]
    )
    np.testing.assert_allclose(obs[n], expected, rtol=1e-5, atol=1e-6)


def test_reward():
  s = random_state()
  obs = Ant().observe(s, torch.zeros(5, 8))
  reward = Ant().reward(s, torch.zeros(5, 8))
  expected = obs[:, 5] + 0.1 * obs[:, 27] + obs[:, 28] + obs[:, 0] - 0.27
  torch.testing.assert_close(reward, expected)


def test_terminates_below_27_centimetres():
  s = random_state(2)
  s.qpos[:, 2] = torch.tensor([0.26, 0.28])
  assert Ant().terminated(s).tolist() == [True, False]


def test_reset_distribution():
  qpos, qvel = Ant().sample(20000, torch.Generator().manual_seed(0))
  assert qpos.shape == (20000, 15) and qvel.shape == (20000, 14)
  middle = torch.tensor([0.0, 0.0, 0.75])
  for value, centre, width in (
    (qpos[:, :3], middle, 0.1),
    (qpos[:, 7:], torch.tensor(START_JOINTS), 0.2),
    (qvel, torch.zeros(14), 0.25),
  ):
    assert float((value - centre).abs().max()) <= width * (1 + 1e-5)
    torch.testing.assert_close(value.mean(0), centre, rtol=0.0, atol=0.02 * width)
    torch.testing.assert_close(
      value.std(0), torch.full_like(centre, width / math.sqrt(3)), rtol=0.02, atol=0.0
    )
  angle = 2.0 * torch.rad2deg(torch.arccos(qpos[:, 3].double().clamp(max=1.0)))
  assert 7.4 < float(angle.max()) <= 7.51
  assert float(angle.mean()) == pytest.approx(3.75, rel=0.02)
  torch.testing.assert_close(qpos[:, 3:7].norm(dim=-1), torch.ones(20000))


def test_one_step_carries_a_gradient_in_contact():
  env = Env(Ant(), 3, seed=0, device="cpu")
  with torch.no_grad():
    for _ in range(30):  # falls to the ground
      env.step(torch.zeros(3, 8))
  env.detach()
  action = torch.zeros(3, 8, requires_grad=True)
  _, reward, terminated, _, info = env.step(action)
  assert not bool(terminated.any())
  height = info["final_obs"][:, 0]
  assert bool((height < 0.7).all())
  reward.sum().backward()
  assert bool(torch.isfinite(action.grad).all())
  assert bool((action.grad.abs().sum(-1) > 1e-3).all())
