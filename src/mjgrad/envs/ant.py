"""Ant: run along +x on four legs.

The task of Xu et al. 2022, "Accelerated Policy Learning with Parallel Differentiable Simulation",
appendix, on our own MJCF (`assets/ant.xml`) of MuJoCo's four-legged ant: a free root, eight hinges
with armature 0.05 and damping 1, motors of gear 200, bodies of the density of water (about 180 kg,
which is what motors of 200 N m are made for). The control rate is 60 Hz, the timestep 1/960 s.

    reward = forward velocity + 0.1 up_z + heading + (height - 0.27)

The episode ends when the torso sinks below 0.27 m. Velocities are MuJoCo's own: the root's linear
velocity is that of the torso centre in the world frame, its angular velocity is in the torso frame.
Up is the z component of the torso's z axis, heading the cosine of the angle between the torso's
x axis and the world's.
"""

import math
from importlib import resources
from typing import Any

import mujoco
import numpy as np
import torch

from .base import Task

START_HEIGHT = 0.75
"""Height of the torso centre at a reset [m]."""
START_JOINTS = (0.0, 1.0, 0.0, -1.0, 0.0, -1.0, 0.0, 1.0)
"""Hip and ankle angles at a reset, leg by leg [rad]."""


def up_and_heading(quat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
  """R[2, 2] and R[0, 0] of the rotation of a quaternion (w, x, y, z), shape [n, 4]; each [n]."""
  w, x, y, z = (quat / quat.norm(dim=-1, keepdim=True)).unbind(-1)
  return w * w - x * x - y * y + z * z, w * w + x * x - y * y - z * z


class Ant(Task):
  """Observation, 37 numbers.

  | index | content |
  | --- | --- |
  | 0 | height of the torso [m] |
  | 1:5 | root quaternion, w first |
  | 5:8 | root linear velocity, world frame [m/s] |
  | 8:11 | root angular velocity, torso frame [rad/s] |
  | 11:19 | joint angles, hip and ankle leg by leg [rad] |
  | 19:27 | 0.1 times the joint velocities [rad/s] |
  | 27 | z component of the torso's up axis |
  | 28 | heading cosine |
  | 29:37 | previous action |
  """

  name = "ant"
  num_obs = 37
  num_act = 8
  nstep = 16
  episode_length = 1000

  termination_height = 0.27
  """The episode ends below this height of the torso [m]."""
  noise_pos = 0.1
  """Start position is uniform within this distance along every axis [m]."""
  noise_angle = math.radians(7.5)
  """Start orientation is turned by at most this angle about a random axis [rad]."""
  noise_joint = 0.2
  """Start joint angles are uniform within this angle [rad]."""
  noise_vel = 0.25
  """Start velocities are uniform within this [m/s, rad/s]."""

  def load_model(self) -> mujoco.MjModel:
    xml = resources.files("mjgrad.envs") / "assets" / "ant.xml"
    return mujoco.MjModel.from_xml_string(xml.read_text())

  def sample(self, n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    def uniform(width: int) -> torch.Tensor:
      return 2.0 * torch.rand(n, width, generator=generator) - 1.0

    pos = torch.tensor([0.0, 0.0, START_HEIGHT]) + self.noise_pos * uniform(3)
    half = 0.5 * self.noise_angle * uniform(1)
    axis = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=-1)
    quat = torch.cat([torch.cos(half), torch.sin(half) * axis], dim=-1)
    joints = torch.tensor(START_JOINTS) + self.noise_joint * uniform(8)
    return torch.cat([pos, quat, joints], dim=-1), self.noise_vel * uniform(14)

  def observe(self, state: Any, action: torch.Tensor) -> torch.Tensor:
    qpos, qvel = state.qpos, state.qvel
    up, heading = up_and_heading(qpos[:, 3:7])
    return torch.cat(
      [
        qpos[:, 2:7],
        qvel[:, 0:6],
        qpos[:, 7:15],
        0.1 * qvel[:, 6:14],
        up[:, None],
        heading[:, None],
        action,
      ],
      dim=-1,
    )

  def reward(self, state: Any, action: torch.Tensor) -> torch.Tensor:
    up, heading = up_and_heading(state.qpos[:, 3:7])
    height = state.qpos[:, 2] - self.termination_height
    return state.qvel[:, 0] + 0.1 * up + heading + height

  def terminated(self, state: Any) -> torch.Tensor:
    return state.qpos[:, 2] < self.termination_height

  def summarize(self, qpos: np.ndarray, qvel: np.ndarray, length: np.ndarray) -> dict[str, float]:
    """Share of episodes that last to the time limit, and their mean forward speed [m/s]."""
    alive = np.arange(qpos.shape[0])[:, None] < length[None, :]  # [T, n]
    return {
      "survival_rate": float((length >= self.episode_length).mean()),
      "forward_velocity": float(qvel[..., 0][alive].mean()),
    }
