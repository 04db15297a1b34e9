"""CartPole swing-up: bring a hanging pole upright by pushing the cart, and hold it there.

The task of Xu et al. 2022, "Accelerated Policy Learning with Parallel Differentiable Simulation",
appendix, on our own MJCF (`assets/cartpole.xml`): a 1 kg cart on an endless rail, a 1 m pole of
0.2 kg hinged to it, one motor that pushes with at most 40 N.

    reward = -theta^2 - 0.1 thetadot^2 - 0.05 x^2 - 0.1 xdot^2

theta is measured from upright and wrapped into [-pi, pi]; its gradient is that of the unwrapped
angle, since wrapping only subtracts a constant.
"""

import math
from importlib import resources
from typing import Any

import mujoco
import numpy as np
import torch

from .base import Task

UPRIGHT = 0.25
"""A pole counts as upright below this angle [rad]."""


def wrap_angle(theta: torch.Tensor) -> torch.Tensor:
  """theta [rad] less the multiple of 2 pi that brings it into [-pi, pi]."""
  return theta - 2.0 * math.pi * torch.round(theta.detach() / (2.0 * math.pi))


class CartPole(Task):
  """Observation: x [m], xdot [m/s], sin theta, cos theta, thetadot [rad/s]."""

  name = "cartpole"
  num_obs = 5
  num_act = 1
  nstep = 4
  episode_length = 240

  noise_x = 0.5
  """Start position is uniform within this distance of the middle [m]."""
  noise_theta = 0.5
  """Start angle is uniform within this angle of hanging down [rad]."""
  noise_vel = 0.25
  """Start velocities are uniform within this [m/s, rad/s]."""

  def load_model(self) -> mujoco.MjModel:
    xml = resources.files("mjgrad.envs") / "assets" / "cartpole.xml"
    return mujoco.MjModel.from_xml_string(xml.read_text())

  def sample(self, n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    noise = 2.0 * torch.rand(n, 4, generator=generator) - 1.0
    qpos = torch.stack(
      [self.noise_x * noise[:, 0], math.pi + self.noise_theta * noise[:, 1]], dim=-1
    )
    return qpos, self.noise_vel * noise[:, 2:]

  def observe(self, state: Any, action: torch.Tensor) -> torch.Tensor:
    x, theta = state.qpos.unbind(-1)
    xdot, thetadot = state.qvel.unbind(-1)
    return torch.stack([x, xdot, torch.sin(theta), torch.cos(theta), thetadot], dim=-1)

  def reward(self, state: Any, action: torch.Tensor) -> torch.Tensor:
    x, theta = state.qpos.unbind(-1)
    xdot, thetadot = state.qvel.unbind(-1)
    return -(wrap_angle(theta) ** 2) - 0.1 * thetadot**2 - 0.05 * x**2 - 0.1 * xdot**2

  def terminated(self, state: Any) -> torch.Tensor:
    return torch.zeros(state.qpos.shape[0], dtype=torch.bool, device=state.qpos.device)

  def summarize(self, qpos: np.ndarray, qvel: np.ndarray, length: np.ndarray) -> dict[str, float]:
    """Share of episodes with |theta| < 0.25 rad throughout their last quarter."""
    theta = np.abs((qpos[..., 1] + np.pi) % (2.0 * np.pi) - np.pi)  # [T, n]
    last = theta[-(self.episode_length // 4) :]
    return {
      "success_rate": float((last < UPRIGHT).all(axis=0).mean()),
      "worst_angle_last_quarter": float(last.max()),
    }
