"""Two geoms of every type that touch in random poses."""

from collections.abc import Callable

import mujoco
import numpy as np

from mjgrad._src.check.states import CheckState
from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.errors import NonFiniteState
from mjgrad._src.linearize import step_gradient
from tests import oracles

GEOMS = {
  "plane": 'type="plane" size="1 1 1"',
  "hfield": 'type="hfield" hfield="hills"',
  "sphere": 'type="sphere" size="0.1"',
  "capsule": 'type="capsule" size="0.07 0.12"',
  "ellipsoid": 'type="ellipsoid" size="0.1 0.15 0.07"',
  "cylinder": 'type="cylinder" size="0.1 0.08"',
  "box": 'type="box" size="0.1 0.13 0.07"',
  "mesh": 'type="mesh" mesh="rock"',
  "frustum": 'type="mesh" mesh="frustum"',
  "cuboid": 'type="mesh" mesh="cuboid"',
  "roof": 'type="mesh" mesh="roof"',
}
"""The cuboid is the box as a mesh. Four faces of the roof, four degrees steep, meet at (0, 0); a
fifth one, half a degree steep, begins at (0, 0.04)."""
STEEP = 0.7
"""Height of the normal of a contact on a side between two prisms of the hills, and not on them."""
ELEVATIONS = np.random.default_rng(2).integers(0, 17, size=30) / 16.0


def scene(
  first: str,
  second: str,
  condim: int = 3,
  cone: str = "elliptic",
  ccd_tolerance: float = 1e-6,
  ccd_iterations: int = 50,
  scale: float = 1.0,
  mesh_scale: tuple[float, ...] = (1.0, 1.0, 1.0),
  far: float = 0.0,
) -> mujoco.MjModel:
  """A free geom and another one, free too, a plane or a height field, all `scale` times as large.

  Contacts of curved geoms are as good as the tolerance of their detector; its default is 1e-6.
  `mesh_scale` is that of the meshes' own. A plane or a height field is `far` from the origin [m].
  """
  body = """<body><freejoint/><geom {} mass="{}" friction="{} 0.03 0.02" condim="{}"/></body>"""
  lower = f'<geom {GEOMS[first]} condim="{condim}" pos="{far} {far} 0"/>'
  if first not in ("plane", "hfield"):
    lower = body.format(GEOMS[first], 1.3, 0.8, condim)
  spec = mujoco.MjSpec.from_string(f"""
    <mujoco>
      <default><mesh scale="{" ".join(map(str, mesh_scale))}"/></default>
      <option timestep="0.004" cone="{cone}" ccd_tolerance="{ccd_tolerance}"
              ccd_iterations="{ccd_iterations}"/>
      <asset>
        <hfield name="hills" nrow="5" ncol="6" size="0.5 0.4 0.05 0.2"
                elevation="{" ".join(map(str, ELEVATIONS))}"/>
        <mesh name="rock" vertex="0 0 0.1  0.1 0 -0.05  -0.1 0.1 -0.05  -0.1 -0.1 -0.05
                                  0.05 0.12 0.03"/>
        <mesh name="frustum" vertex="-.1 -.08 -.07  .11 -.09 -.07  .1 .1 -.07  -.09 .1 -.07
                                     -.07 -.06 .07  .08 -.06 .07  .06 .07 .07  -.06 .05 .07"/>
        <mesh name="cuboid" vertex="-.1 -.13 -.07  .1 -.13 -.07  .1 .13 -.07  -.1 .13 -.07
                                    -.1 -.13 .07  .1 -.13 .07  .1 .13 .07  -.1 .13 .07"/>
        <mesh name="roof" vertex="-.1 -.13 -.07  .1 -.13 -.07  .1 .13 -.07  -.1 .13 -.07
                                  -.1 -.13 .06224  .1 -.13 .06224  .1 .13 .06224  -.1 .13 .06224
                                  -.1 0 .0625  .1 0 .0625  0 -.13 .06974  0 0 .07  0 .04 .06992
                                  -.0072 .13 .0692  .0072 .13 .0692"/>
      </asset>
      <worldbody>
        {lower}
        {body.format(GEOMS[second], 0.9, 0.6, condim)}
      </worldbody>
    </mujoco>""")
  for geom in spec.geoms:
    geom.size *= scale
  for mesh in spec.meshes:
    mesh.scale *= scale
  for field in spec.hfields:
    field.size *= scale
  return spec.compile()


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
  mjm: mujoco.MjModel,
  rng: np.random.Generator,
  depth: tuple[float, float] = (5e-4, 5e-3),
  reach: float = 0.6,
) -> np.ndarray:
  """A configuration with random orientations whose deepest contact is this deep [m].

  `reach` is a distance at which the geoms do not touch [m]. A height field is touched from above:
  contacts on the sides of its prisms are others in mujoco-warp.
  """
  mjd = mujoco.MjData(mjm)
  while True:
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    qpos, place = np.concatenate([np.zeros(3), random_quat(rng)]), np.zeros(3)
    if mjm.nq == 7:
      direction = np.array([0.0, 0.0, 1.0])
      if mujoco.mjtGeom.mjGEOM_HFIELD in mjm.geom_type:
        place[:2] = mjm.hfield_size[0, 0] * rng.uniform(-0.5, 0.5, size=2)
    else:
      qpos = np.concatenate([np.zeros(3), random_quat(rng), qpos])
    target = -rng.uniform(*depth)
    low, high = 0.0, reach
    for _ in range(30):
      middle = 0.5 * (low + high)
      qpos[-7:-4] = place + middle * direction
      collide(mjm, mjd, qpos)
      apart = mjd.contact.dist.min() if mjd.ncon else 1.0
      low, high = (low, middle) if apart > target else (middle, high)
    steep = mjd.ncon and mjd.contact.frame[:, 2].min() < STEEP
    if mjd.ncon and not (steep and mujoco.mjtGeom.mjGEOM_HFIELD in mjm.geom_type):
      return qpos.astype(np.float32).astype(np.float64)


def stacked(
  mjm: mujoco.MjModel,
  rng: np.random.Generator,
  tilt: float = 0.02,
  first: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0),
) -> np.ndarray:
  """The second geom on top of the first, turned at will and tilted a little [rad].

  `first` is the orientation of the first geom, a quaternion.
  """
  mjd = mujoco.MjData(mjm)
  turn, lean, quat = np.empty(4), np.empty(4), np.empty(4)
  mujoco.mju_axisAngle2Quat(turn, np.array([0.0, 0.0, 1.0]), rng.uniform(0, 2 * np.pi))
  axis = rng.normal(size=3)
  mujoco.mju_axisAngle2Quat(lean, axis / np.linalg.norm(axis), tilt * rng.normal())
  mujoco.mju_mulQuat(quat, lean, turn)
  place = np.append(rng.uniform(-0.06, 0.06, size=2), 0.0)
  qpos = np.concatenate([np.zeros(3), first, place, quat])
  low, high = 0.0, 0.6
  for _ in range(30):
    qpos[9] = 0.5 * (low + high)
    collide(mjm, mjd, qpos)
    deep = mjd.ncon and mjd.contact.dist.min() < -2e-3
    low, high = (qpos[9], high) if deep else (low, qpos[9])
  return qpos.astype(np.float32).astype(np.float64)


def touching_states(
  mjm: mujoco.MjModel,
  count: int,
  seed: int = 0,
  pose: Callable[[mujoco.MjModel, np.random.Generator], np.ndarray] = touching,
) -> list[CheckState]:
  """States of touching configurations with random velocities at which the geoms push."""
  rng = np.random.default_rng(seed)
  mjd = mujoco.MjData(mjm)
  states = []
  for _ in range(count):
    mjd.qpos[:] = pose(mjm, rng)
    mjd.efc_force[:] = 0.0
    while not mjd.efc_force.any():
      mjd.qvel[:] = 0.5 * rng.normal(size=mjm.nv)
      mujoco.mj_forward(mjm, mjd)
    point = oracles.point(mjm, qpos=mjd.qpos, qvel=mjd.qvel).float32()
    states.append(CheckState(point, "random", ("contact",), mjd.ncon, mjd.nefc))
  return states


def raising(mjm: mujoco.MjModel, states: list[CheckState]) -> set[int]:
  """States at which the backward pass raises because a contact has no gradient."""
  sim = Simulator(mjm, 1, "cpu", nconmax=64, njmax=256)
  adj_qpos, adj_qvel = np.ones((1, mjm.nq)), np.ones((1, mjm.nv))
  found = set()
  for s, state in enumerate(states):
    qpos, qvel = state.point.qpos[None], state.point.qvel[None]
    try:
      step_gradient(sim, qpos, qvel, None, adj_qpos, adj_qvel)
      sim.check()
    except NonFiniteState:
      found.add(s)
  return found
