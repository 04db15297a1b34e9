"""Two geoms of every type that touch in random poses."""

import mujoco
import numpy as np

from mjgrad._src.check.states import CheckState
from tests import oracles

GEOMS = {
  "plane": 'type="plane" size="1 1 1"',
  "sphere": 'type="sphere" size="0.1"',
  "capsule": 'type="capsule" size="0.07 0.12"',
  "ellipsoid": 'type="ellipsoid" size="0.1 0.15 0.07"',
  "cylinder": 'type="cylinder" size="0.1 0.08"',
  "box": 'type="box" size="0.1 0.13 0.07"',
  "mesh": 'type="mesh" mesh="rock"',
}


def scene(
  first: str,
  second: str,
  condim: int = 3,
  cone: str = "elliptic",
  ccd_tolerance: float = 1e-6,
  ccd_iterations: int = 50,
) -> mujoco.MjModel:
  """A free geom, and another one that is free too, or a plane.

  Contacts of curved geoms are as good as the tolerance of their detector; its default is 1e-6.
  """
  body = """<body><freejoint/><geom {} mass="{}" friction="{} 0.03 0.02" condim="{}"/></body>"""
  lower = f'<geom {GEOMS["plane"]} condim="{condim}"/>'
  if first != "plane":
    lower = body.format(GEOMS[first], 1.3, 0.8, condim)
  return mujoco.MjModel.from_xml_string(f"""
    <mujoco>
      <option timestep="0.004" cone="{cone}" ccd_tolerance="{ccd_tolerance}"
              ccd_iterations="{ccd_iterations}"/>
      <asset>
        <mesh name="rock" vertex="0 0 0.1  0.1 0 -0.05  -0.1 0.1 -0.05  -0.1 -0.1 -0.05
                                  0.05 0.12 0.03"/>
      </asset>
      <worldbody>
        {lower}
        {body.format(GEOMS[second], 0.9, 0.6, condim)}
      </worldbody>
    </mujoco>""")


def collide(mjm: mujoco.MjModel, mjd: mujoco.MjData, qpos: np.ndarray) -> None:
  """Finds the contacts of a configuration."""
  mjd.qpos[:] = qpos
  mujoco.mj_kinematics(mjm, mjd)
  mujoco.mj_comPos(mjm, mjd)
  mujoco.mj_collision(mjm, mjd)


def random_quat(rng: np.random.Generator) -> np.ndarray:
  quat = rng.normal(size=4)
  return quat / np.linalg.norm(quat)


def touching(
  mjm: mujoco.MjModel, rng: np.random.Generator, depth: tuple[float, float] = (5e-4, 5e-3)
) -> np.ndarray:
  """A configuration with random orientations whose deepest contact is this deep [m]."""
  mjd = mujoco.MjData(mjm)
  while True:
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    qpos = np.concatenate([np.zeros(3), random_quat(rng)])
    if mjm.nq == 7:
      direction = np.array([0.0, 0.0, 1.0])
    else:
      qpos = np.concatenate([np.zeros(3), random_quat(rng), qpos])
    target = -rng.uniform(*depth)
    low, high = 0.0, 0.6
    for _ in range(30):
      middle = 0.5 * (low + high)
      qpos[-7:-4] = middle * direction
      collide(mjm, mjd, qpos)
      apart = mjd.contact.dist.min() if mjd.ncon else 1.0
      low, high = (low, middle) if apart > target else (middle, high)
    if mjd.ncon:
      return qpos.astype(np.float32).astype(np.float64)


def touching_states(mjm: mujoco.MjModel, count: int, seed: int = 0) -> list[CheckState]:
  """States of `touching` configurations with random velocities."""
  rng = np.random.default_rng(seed)
  states = []
  for _ in range(count):
    qpos = touching(mjm, rng)
    point = oracles.point(mjm, qpos=qpos, qvel=0.5 * rng.normal(size=mjm.nv)).float32()
    states.append(CheckState(point, "random", ("contact",), 1, 3))
  return states
