"""Test models: MJCF strings of our own, and the ant and humanoids that two wheels ship.

`variant` changes what a test is about (integrator, cone, condim, ...) and leaves the rest alone.
"""

import importlib.util
import itertools
from pathlib import Path

import mujoco
import numpy as np

INTEGRATORS = ("euler", "euler_explicit", "implicitfast")
CONES = ("pyramidal", "elliptic")
CONDIMS = (1, 3, 4, 6)
ROUND_PAIRS = tuple(
  (a, b)
  for a, b in itertools.combinations_with_replacement(("plane", "sphere", "capsule"), 2)
  if (a, b) != ("plane", "plane")
)

CARTPOLE = """
<mujoco model="cartpole">
  <option timestep="0.004166666666666667"/>
  <default>
    <geom contype="0" conaffinity="0"/>
  </default>
  <worldbody>
    <body name="cart">
      <joint name="slider" type="slide" axis="1 0 0" damping="0.1"/>
      <geom name="cart" type="box" size="0.2 0.1 0.05" mass="1"/>
      <body name="pole">
        <joint name="hinge" type="hinge" axis="0 1 0" damping="0.01" armature="0.001"/>
        <geom name="pole" type="capsule" size="0.03" fromto="0 0 0 0 0 1" mass="0.2"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor name="push" joint="slider" gear="20" ctrllimited="true" ctrlrange="-1 1"/>
  </actuator>
</mujoco>
"""

# Every joint type on one tree, with every passive force and every kind of limit.
JOINTS = """
<mujoco model="joints">
  <option timestep="0.004"/>
  <default>
    <geom contype="0" conaffinity="0" type="capsule" size="0.04" fromto="0 0 0 0.3 0 0"/>
  </default>
  <worldbody>
    <body name="base" pos="0 0 1">
      <freejoint name="free"/>
      <geom name="base" mass="1.5"/>
      <body name="swing" pos="0.3 0 0" euler="10 20 30">
        <joint name="ball" type="ball" limited="true" range="0 50" armature="0.02"
               damping="0.3 0.1 0.05" stiffness="2 0.4 0.2" springref="10"/>
        <geom name="swing" mass="0.7"/>
        <body name="fore" pos="0.3 0 0">
          <joint name="hinge" type="hinge" axis="0 1 0.2" pos="0.02 0 0.01" limited="true"
                 range="-40 60" armature="0.01" damping="0.2 0.05 0.02" stiffness="3 0.5 0.3"
                 springref="15" frictionloss="0.3"/>
          <geom name="fore" mass="0.5"/>
          <body name="tip" pos="0.3 0 0">
            <joint name="slide" type="slide" axis="1 0.3 0" limited="true" range="-0.1 0.15"
                   armature="0.05" damping="1 0.2 0.1" stiffness="20 5 4" springref="0.03"
                   frictionloss="0.5"/>
            <geom name="tip" fromto="0 0 0 0 0.2 0.1" mass="0.4"/>
          </body>
        </body>
      </body>
    </body>
    <body name="pendulum" pos="1 0 1">
      <joint name="wire" type="ball" frictionloss="0.1" damping="0.05"/>
      <geom name="pendulum" mass="0.6"/>
      <body name="rider" pos="0.3 0 0">
        <joint name="twist" type="hinge" axis="1 0 0" damping="0.02"/>
        <joint name="tilt" type="hinge" axis="0 0 1" limited="true" range="-30 30" margin="0.05"/>
        <geom name="rider" fromto="0 0 0 0.1 0.2 0" mass="0.3"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor name="hinge_motor" joint="hinge" gear="4" ctrllimited="true" ctrlrange="-1 1"/>
    <position name="slide_position" joint="slide" kp="60" kv="4" forcelimited="true"
              forcerange="-5 5" ctrllimited="true" ctrlrange="-0.1 0.1"/>
    <velocity name="tilt_velocity" joint="tilt" kv="0.6"/>
    <motor name="free_motor" joint="free" gear="1 0 2 0 0.1 0"/>
    <motor name="ball_motor" joint="ball" gear="0.5 0.2 1" forcelimited="true"
           forcerange="-0.5 0.5"/>
  </actuator>
</mujoco>
"""

PENDULUM = """
<mujoco model="pendulum">
  <option timestep="0.002"/>
  <worldbody>
    <body name="rod">
      <joint name="hinge" type="hinge" axis="0 1 0"/>
      <inertial pos="0 0 -0.5" mass="2" diaginertia="0.1 0.1 0.1"/>
    </body>
  </worldbody>
  <actuator>
    <motor joint="hinge" gear="3"/>
  </actuator>
</mujoco>
"""

# A pendulum with one actuator of every kind of activation, one of them clamped.
STATEFUL = PENDULUM.replace('model="pendulum"', 'model="stateful"').replace(
  '<motor joint="hinge" gear="3"/>',
  """
    <general joint="hinge" dyntype="filter" dynprm="0.05" gainprm="3"/>
    <general joint="hinge" dyntype="integrator" gainprm="2" actrange="-0.2 0.3"/>
    <general joint="hinge" dyntype="filterexact" dynprm="0.01" gainprm="2" actearly="true"/>
    <muscle joint="hinge" lengthrange="-2 2" force="5"/>""",
)

SPRING_MASS = """
<mujoco model="spring_mass">
  <option timestep="0.002" gravity="0 0 0"/>
  <worldbody>
    <body name="mass">
      <joint name="slide" type="slide" axis="1 0 0" stiffness="8" damping="0.5"/>
      <inertial pos="0 0 0" mass="2" diaginertia="0.1 0.1 0.1"/>
    </body>
  </worldbody>
</mujoco>
"""

_FLOOR = '<geom name="floor" type="plane" size="5 5 0.1"/>'
_SHAPES = {
  "sphere": 'type="sphere" size="0.1"',
  "capsule": 'type="capsule" size="0.07 0.15"',
}


def scene(first: str, second: str, condim: int = 3) -> str:
  """MJCF of two round geoms pressed together, or of one free geom on a plane.

  Args:
    first: "plane", "sphere" or "capsule". A plane is fixed in the world. The others turn on a ball
      joint, and the second geom is drawn onto them by springs, so that the contact persists while
      it slides, rolls and spins.
    second: "sphere" or "capsule".
    condim: contact dimensionality.
  """
  common = f'condim="{condim}" solref="0.02 1" solimp="0.9 0.95 0.01"'
  upper = f'<geom name="second" {_SHAPES[second]} mass="0.9" friction="0.6 0.02 0.01" {common}/>'
  if first == "plane":
    height = {"sphere": 0.098, "capsule": 0.069}[second]
    turn = {"sphere": "0 3 0", "capsule": "90 3 0"}[second]
    bodies = f"""
    <geom name="first" type="plane" size="5 5 0.1" friction="0.8 0.03 0.02" {common}/>
    <body name="upper" pos="0 0 {height}" euler="{turn}">
      <freejoint/>
      {upper}
    </body>"""
  else:
    # Capsules cross, so that the closest points lie inside both segments.
    turn = {"sphere": "0 0 0", "capsule": "90 0 0"}
    cross = {"sphere": "0 0 0", "capsule": "4 87 0"}
    reach = {"sphere": 0.1, "capsule": 0.07}
    height = reach[first] + reach[second] - 0.003
    bodies = f"""
    <body name="lower" euler="{turn[first]}">
      <joint type="ball" stiffness="0.5" damping="0.01"/>
      <geom name="first" {_SHAPES[first]} mass="1.3" friction="0.8 0.03 0.02" {common}/>
    </body>
    <body name="upper" pos="0.01 0.02 {height:.3f}" euler="{cross[second]}">
      <joint type="slide" axis="1 0 0" stiffness="60" damping="0.5"/>
      <joint type="slide" axis="0 1 0" stiffness="60" damping="0.5"/>
      <joint type="slide" axis="0 0 1" stiffness="200" damping="0.5" springref="-0.02"/>
      <joint type="ball" stiffness="0.5" damping="0.01"/>
      {upper}
    </body>"""
  return f"""
<mujoco model="{first}_{second}_{condim}">
  <option timestep="0.004"/>
  <worldbody>{bodies}
  </worldbody>
</mujoco>
"""


SOLIDS = {
  "box": 'type="box" size="0.1 0.15 0.07"',
  "ellipsoid": 'type="ellipsoid" size="0.1 0.15 0.07"',
  "mesh": 'type="mesh" mesh="rock"',
}


def tumbling(shape: str, condim: int = 3) -> str:
  """MJCF of a box, an ellipsoid or a mesh that tumbles down a slope.

  Args:
    shape: a key of `SOLIDS`.
    condim: contact dimensionality.
  """
  return f"""
<mujoco model="tumbling_{shape}_{condim}">
  <option timestep="0.004"/>
  <asset>
    <mesh name="rock" vertex="0 0 0.1  0.1 0 -0.05  -0.1 0.1 -0.05  -0.1 -0.1 -0.05
                              0.05 0.12 0.03"/>
  </asset>
  <worldbody>
    <geom name="slope" type="plane" size="5 5 0.1" zaxis="0.1 0.05 1" condim="{condim}"
          friction="0.5 0.03 0.02"/>
    <body name="solid" pos="0 0 0.1" euler="20 10 0">
      <freejoint/>
      <geom name="solid" {SOLIDS[shape]} condim="{condim}" friction="0.6 0.02 0.01"/>
    </body>
  </worldbody>
</mujoco>
"""


BALL_ON_PLANE = f"""
<mujoco model="ball_on_plane">
  <option timestep="0.002"/>
  <worldbody>
    {_FLOOR.replace("/>", ' condim="1"/>')}
    <body name="ball" pos="0 0 0.098">
      <joint name="up" type="slide" axis="0 0 1"/>
      <geom name="ball" type="sphere" size="0.1" mass="0.5" condim="1"/>
    </body>
  </worldbody>
</mujoco>
"""


def load(source: str | Path) -> mujoco.MjModel:
  """A model from an MJCF string or a file."""
  if isinstance(source, Path):
    return mujoco.MjModel.from_xml_path(str(source))
  return mujoco.MjModel.from_xml_string(source)


def _package_file(package: str, *parts: str) -> Path:
  spec = importlib.util.find_spec(package)
  if spec is None or spec.origin is None:
    raise FileNotFoundError(f"The package '{package}' is not installed.")
  return Path(spec.origin).parent.joinpath(*parts)


def ant() -> mujoco.MjModel:
  """gymnasium's Ant (nv 14), semi-implicit Euler instead of RK4."""
  mjm = load(_package_file("gymnasium", "envs", "mujoco", "assets", "ant.xml"))
  return variant(mjm, integrator="euler")


def gym_humanoid() -> mujoco.MjModel:
  """gymnasium's Humanoid (nv 23), semi-implicit Euler and Newton instead of RK4 and PGS."""
  mjm = load(_package_file("gymnasium", "envs", "mujoco", "assets", "humanoid.xml"))
  return variant(mjm, integrator="euler", solver="newton")


def gym(name: str) -> mujoco.MjModel:
  """A model of gymnasium as it is, but for friction, see `distinct_friction`."""
  path = _package_file("gymnasium", "envs", "mujoco", "assets", f"{name}.xml")
  return distinct_friction(load(path))


def humanoid() -> mujoco.MjModel:
  """mujoco-warp's Humanoid (nv 27): condim 1 and 3, explicit damping, three keyframes."""
  return load(_package_file("mujoco_warp", "test_data", "humanoid", "humanoid.xml"))


def cartpole() -> mujoco.MjModel:
  """A cart on a rail and a pole; the hinge is zero when the pole is upright."""
  return load(CARTPOLE)


def variant(
  source: mujoco.MjModel | str,
  *,
  integrator: str | None = None,
  cone: str | None = None,
  disable_eulerdamp: bool | None = None,
  solver: str | None = None,
  condim: int | None = None,
  jacobian: str | None = None,
) -> mujoco.MjModel:
  """Changes options of a model in place and returns it.

  Args:
    source: a compiled model or an MJCF string.
    integrator: "euler", "euler_explicit" (Euler with the implicit damping disabled),
      "implicit", "implicitfast", "discrete" or "rk4".
    cone: "pyramidal" or "elliptic".
    disable_eulerdamp: explicit joint damping under Euler.
    solver: "newton" or "cg".
    condim: contact dimensionality of every geom.
    jacobian: "dense", "sparse" or "auto".
  """
  mjm = load(source) if isinstance(source, str) else source
  opt = mjm.opt
  if integrator is not None:
    opt.integrator = {
      "euler": mujoco.mjtIntegrator.mjINT_EULER,
      "euler_explicit": mujoco.mjtIntegrator.mjINT_EULER,
      "implicit": mujoco.mjtIntegrator.mjINT_IMPLICIT,
      "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
      "discrete": mujoco.mjtIntegrator.mjINT_DISCRETE,
      "rk4": mujoco.mjtIntegrator.mjINT_RK4,
    }[integrator]
    if disable_eulerdamp is None and integrator != "rk4":
      disable_eulerdamp = integrator == "euler_explicit"
  if disable_eulerdamp is not None:
    flag = int(mujoco.mjtDisableBit.mjDSBL_EULERDAMP)
    opt.disableflags = opt.disableflags | flag if disable_eulerdamp else opt.disableflags & ~flag
  if cone is not None:
    opt.cone = {
      "pyramidal": mujoco.mjtCone.mjCONE_PYRAMIDAL,
      "elliptic": mujoco.mjtCone.mjCONE_ELLIPTIC,
    }[cone]
  if solver is not None:
    opt.solver = {
      "newton": mujoco.mjtSolver.mjSOL_NEWTON,
      "cg": mujoco.mjtSolver.mjSOL_CG,
    }[solver]
  if condim is not None:
    mjm.geom_condim[:] = condim
  if jacobian is not None:
    opt.jacobian = {
      "dense": mujoco.mjtJacobian.mjJAC_DENSE,
      "sparse": mujoco.mjtJacobian.mjJAC_SPARSE,
      "auto": mujoco.mjtJacobian.mjJAC_AUTO,
    }[jacobian]
  return mjm


def distinct_friction(mjm: mujoco.MjModel) -> mujoco.MjModel:
  """Makes the friction of every geom its own, in place.

  A contact takes the larger friction of its two geoms. Where they are equal, as in gymnasium's
  models, the gradient in either of them is at a kink and cannot be compared.
  """
  mjm.geom_friction *= 1 + 0.01 * np.arange(mjm.ngeom)[:, None]
  return mjm
