"""A model with everything that can be observed, and its float64 values and Jacobians."""

import copy
import dataclasses
import itertools

import mujoco
import numpy as np
import torch

import mjgrad
import mjgrad.torch as mgt
from mjgrad._src.check.differences import derivative
from tests.models import load

FRAME_KINDS = (
  "framepos",
  "framequat",
  "framexaxis",
  "frameyaxis",
  "framezaxis",
  "framelinvel",
  "frameangvel",
)
OBJECTS = (("body", "fore"), ("xbody", "swing"), ("geom", "tip"), ("site", "welded_site"))
REFERENCES = (
  ("body", "rider"),
  ("xbody", "base"),
  ("geom", "pendulum"),
  ("site", "base_site"),
  ("site", "fixed_site"),
  ("geom", "finger"),
)

_OTHER = """
    <jointpos name="hinge_pos" joint="hinge"/>
    <jointpos name="slide_pos" joint="slide"/>
    <jointvel name="hinge_vel" joint="hinge"/>
    <jointvel name="slide_vel" joint="slide"/>
    <jointvel name="hinge_vel_again" joint="hinge"/>
    <ballquat name="ball_quat" joint="ball"/>
    <ballquat name="wire_quat" joint="wire"/>
    <ballangvel name="ball_angvel" joint="ball"/>
    <velocimeter name="tip_velocimeter" site="tip_site"/>
    <velocimeter name="welded_velocimeter" site="welded_site"/>
    <gyro name="tip_gyro" site="tip_site"/>
    <magnetometer name="tip_magnetometer" site="tip_site"/>
    <subtreecom name="base_com" body="base"/>
    <subtreecom name="fore_com" body="fore"/>
    <subtreecom name="world_com" body="world"/>
    <subtreelinvel name="swing_linvel" body="swing"/>
    <subtreelinvel name="world_linvel" body="world"/>
    <clock name="clock"/>"""


def _frame_sensors() -> str:
  lines = []
  for kind, (objtype, obj) in itertools.product(FRAME_KINDS, OBJECTS):
    attributes = f'objtype="{objtype}" objname="{obj}"'
    lines.append(f'<{kind} name="{kind}_{objtype}" {attributes}/>')
    for reftype, ref in REFERENCES:
      name = f"{kind}_{objtype}_in_{ref}_{reftype}"
      lines.append(f'<{kind} name="{name}" {attributes} reftype="{reftype}" refname="{ref}"/>')
  return "\n    ".join(lines)


def xml(sensors: str) -> str:
  """Trees on the world and on a mocap body, a fixed body, every joint type, massless bodies."""
  return f"""
<mujoco model="observed">
  <option timestep="0.004" magnetic="0.1 -0.4 0.3"/>
  <default>
    <geom contype="0" conaffinity="0" type="capsule" size="0.04" fromto="0 0 0 0.3 0 0"/>
  </default>
  <worldbody>
    <site name="world_site" pos="0.2 -0.1 0.3" euler="20 10 0"/>
    <body name="fixed" pos="0.5 0.5 0.2" euler="0 30 0">
      <geom name="fixed" mass="0.8"/>
      <site name="fixed_site" pos="0.1 0 0"/>
    </body>
    <body name="base" pos="0 0 1">
      <freejoint name="free"/>
      <geom name="base" mass="1.5"/>
      <site name="base_site" pos="-0.1 0.05 0.02" euler="5 15 25"/>
      <body name="massless" pos="0.1 0.2 0.3">
        <site name="massless_site"/>
      </body>
      <body name="swing" pos="0.3 0 0" euler="10 20 30">
        <joint name="ball" type="ball" pos="0.03 -0.02 0.01"/>
        <geom name="swing" mass="0.7"/>
        <body name="fore" pos="0.3 0 0">
          <joint name="hinge" type="hinge" axis="0 1 0.2" pos="0.02 0 0.01"/>
          <geom name="fore" mass="0.5" euler="0 0 20"/>
          <body name="tip" pos="0.3 0 0">
            <joint name="slide" type="slide" axis="1 0.3 0"/>
            <geom name="tip" fromto="0 0 0 0 0.2 0.1" mass="0.4"/>
            <site name="tip_site" pos="0.05 0.1 -0.02" euler="30 -20 50"/>
          </body>
          <body name="welded" pos="0 0.1 0.05" euler="0 40 10">
            <geom name="welded" mass="0.2"/>
            <site name="welded_site" pos="0 0.05 0.1" euler="-10 0 70"/>
          </body>
        </body>
      </body>
    </body>
    <body name="pendulum" pos="1 0 1">
      <joint name="wire" type="ball"/>
      <geom name="pendulum" mass="0.6"/>
      <body name="rider" pos="0.3 0 0">
        <joint name="twist" type="hinge" axis="1 0 0"/>
        <joint name="tilt" type="hinge" axis="0 0 1"/>
        <geom name="rider" fromto="0 0 0 0.1 0.2 0" mass="0.3"/>
      </body>
    </body>
    <body name="hand" mocap="true" pos="0.4 -0.6 0.8" euler="40 20 -30">
      <geom name="hand" mass="0.3"/>
      <site name="hand_site" pos="0.1 0.02 0.03" euler="0 20 0"/>
      <body name="palm" pos="0.1 0 0.1" euler="10 0 30">
        <geom name="palm" mass="0.1"/>
      </body>
      <body name="finger" pos="0.2 0.1 0" euler="0 30 0">
        <joint name="knuckle" type="hinge" axis="0.2 1 0.1" pos="0.01 0.02 0"/>
        <geom name="finger" fromto="0.05 0 0.02 0.2 0.1 0" mass="0.1"/>
      </body>
    </body>
  </worldbody>
  <sensor>
    {sensors}
  </sensor>
</mujoco>
"""


def model(sensors: str = _OTHER + "\n    " + _frame_sensors()) -> mujoco.MjModel:
  return load(xml(sensors))


def random_states(mjm: mujoco.MjModel, nworld: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
  """Generic positions and velocities that single precision represents, a different one per world.

  Quaternions are not quite normalised, as after a step.
  """
  rng = np.random.default_rng(seed)
  qpos = np.tile(mjm.qpos0, (nworld, 1))
  for row in qpos:
    mujoco.mj_integratePos(mjm, row, rng.normal(size=mjm.nv), 1.0)
  return qpos.astype(np.float32), rng.normal(size=(nworld, mjm.nv)).astype(np.float32)


def state(sim: mjgrad.Simulator, qpos, qvel, time: float = 0.0) -> mgt.State:
  """A leaf state that requires gradients."""
  start = mgt.initial_state(sim)
  device = start.qpos.device
  return dataclasses.replace(
    start,
    qpos=torch.tensor(qpos, device=device, requires_grad=True),
    qvel=torch.tensor(qvel, device=device, requires_grad=True),
    time=torch.full_like(start.time, time),
  )


class Oracle:
  """Observed quantities of one world of C MuJoCo, as one vector."""

  def __init__(self, mjm: mujoco.MjModel, names: tuple[str, ...]):
    self.mjm, self.names = copy.deepcopy(mjm), names
    mjm = self.mjm
    # What the compiler found to coincide with a body or inertial frame may move away from it.
    for sameframe in (mjm.body_sameframe, mjm.geom_sameframe, mjm.site_sameframe):
      sameframe[:] = mujoco.mjtSameFrame.mjSAMEFRAME_NONE
    self.data = mujoco.MjData(mjm)

  def values(self, qpos, qvel, time: float = 0.0) -> dict[str, np.ndarray]:
    d = self.data
    d.qpos[:], d.qvel[:], d.time = qpos, qvel, time
    mujoco.mj_forward(self.mjm, d)
    shapes = {"xmat": (-1, 3, 3), "geom_xmat": (-1, 3, 3), "site_xmat": (-1, 3, 3)}
    found = {name: np.array(getattr(d, name)) for name in self.names}
    return {name: v.reshape(shapes.get(name, v.shape)) for name, v in found.items()}

  def vector(self, qpos, qvel) -> np.ndarray:
    return np.concatenate([v.ravel() for v in self.values(qpos, qvel).values()])

  def jacobians(self, qpos, qvel) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives along every tangent direction of qpos and in qvel, shapes [noutput, nv]."""
    qpos, qvel = np.array(qpos, dtype=np.float64), np.array(qvel, dtype=np.float64)
    base = self.vector(qpos, qvel)

    def along_qpos(direction, amount):
      moved = qpos.copy()
      mujoco.mj_integratePos(self.mjm, moved, direction, amount)
      return self.vector(moved, qvel) - base

    def along_qvel(direction, amount):
      return self.vector(qpos, qvel + amount * direction) - base

    columns = []
    for along in (along_qpos, along_qvel):
      for direction in np.eye(self.mjm.nv):
        found = derivative(lambda e, d=direction, f=along: f(d, e), floor=1.0, noise=1e-13)
        assert found.plateau, f"no plateau in {along.__name__}, direction {direction.argmax()}"
        columns.append(found.value)
    nv = self.mjm.nv
    return np.stack(columns[:nv], axis=1), np.stack(columns[nv:], axis=1)

  def slices(self) -> dict[str, slice]:
    """Where each quantity stands in the vector."""
    sizes = [v.size for v in self.values(self.mjm.qpos0, np.zeros(self.mjm.nv)).values()]
    ends = np.cumsum(sizes)
    return {
      name: slice(int(end - size), int(end))
      for name, size, end in zip(self.names, sizes, ends, strict=True)
    }
