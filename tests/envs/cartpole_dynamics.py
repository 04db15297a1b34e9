"""The cart-pole's equations of motion in float64 torch, as an independent oracle.

With cart and pole mass m, first moment s and moment of inertia J of the pole about the hinge:

    m x'' + s cos(theta) theta'' = u + s sin(theta) theta'^2 - d_x x'
    s cos(theta) x'' + J theta'' = g s sin(theta) - d_theta theta'

integrated by semi-implicit Euler with implicit damping: the damping d adds h d to the diagonal of
the mass matrix, and positions move with the new velocities.
"""

import mujoco
import numpy as np
import torch


def simulate(mjm, qpos, qvel, ctrl, nstep):
  """State after nstep steps with constant ctrl [n, 1]; qpos and qvel have shape [n, 2]."""
  h, gravity = mjm.opt.timestep, -mjm.opt.gravity[2]
  pole = mjm.body("pole")
  mass = mjm.body_mass.sum()
  moment = pole.mass[0] * pole.ipos[2]
  axes = np.zeros(9)
  mujoco.mju_quat2Mat(axes, pole.iquat)
  inertia = axes[3:6] ** 2 @ pole.inertia + pole.mass[0] * pole.ipos[2] ** 2  # about the hinge's y
  damping_x, damping_theta = mjm.dof_damping
  force = mjm.actuator_gear[0, 0] * ctrl[:, 0]
  x, theta = qpos.unbind(-1)
  xdot, thetadot = qvel.unbind(-1)
  for _ in range(nstep):
    coupling = moment * torch.cos(theta)
    b0 = force + moment * torch.sin(theta) * thetadot**2 - damping_x * xdot
    b1 = gravity * moment * torch.sin(theta) - damping_theta * thetadot
    a00, a11 = mass + h * damping_x, inertia + h * damping_theta
    determinant = a00 * a11 - coupling**2
    xdot = xdot + h * (a11 * b0 - coupling * b1) / determinant
    thetadot = thetadot + h * (a00 * b1 - coupling * b0) / determinant
    x, theta = x + h * xdot, theta + h * thetadot
  return torch.stack([x, theta], -1), torch.stack([xdot, thetadot], -1)
