"""Seeded random mechanisms for property tests."""

import mujoco
import numpy as np

from tests.models import CONDIMS
from tests.models import CONES
from tests.models import INTEGRATORS
from tests.models import variant


def random_model(seed: int) -> mujoco.MjModel:
  """A random mechanism over a floor; the same seed gives the same model.

  One to three trees, each with a free, slide or ball root and one to four more bodies hinged,
  slid or swung on a random parent; sphere and capsule geoms with random condim; motors, position
  and velocity actuators with random clamps; random integrator, cone and damping option.
  """
  rng = np.random.default_rng(seed)
  actuators: list[str] = []
  trees = [_random_tree(rng, index, actuators) for index in range(rng.integers(1, 4))]
  friction = _numbers(rng.uniform((0.5, 0.005, 0.001), (1.2, 0.05, 0.02)))
  xml = f"""
<mujoco model="random_{seed}">
  <option timestep="{rng.choice((0.002, 0.004))}"/>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 0.1" friction="{friction}"/>
    {"".join(trees)}
  </worldbody>
  <actuator>{"".join(actuators)}</actuator>
</mujoco>
"""
  return variant(xml, integrator=str(rng.choice(INTEGRATORS)), cone=str(rng.choice(CONES)))


def _numbers(values: np.ndarray) -> str:
  return " ".join(f"{v:.6g}" for v in np.atleast_1d(values))


def _random_tree(rng: np.random.Generator, tree: int, actuators: list[str]) -> str:
  size = int(rng.integers(2, 6))
  parents = [-1] + [int(rng.integers(0, i)) for i in range(1, size)]

  def body(index: int) -> str:
    name = f"t{tree}b{index}"
    root = parents[index] < 0
    kinds = ("free", "ball", "slide") if root else ("hinge", "slide", "ball")
    kind = str(rng.choice(kinds, p=(0.7, 0.15, 0.15) if root else (0.6, 0.2, 0.2)))
    if root:
      pos = np.array([0.8 * tree, rng.uniform(-0.2, 0.2), rng.uniform(0.15, 0.4)])
    else:
      pos = rng.uniform(0.1, 0.2, size=3) * rng.choice((-1.0, 1.0), size=3)
    children = "".join(body(i) for i in range(size) if parents[i] == index)
    return f"""
    <body name="{name}" pos="{_numbers(pos)}" euler="{_numbers(rng.uniform(-60, 60, size=3))}">
      {_random_joint(rng, name, kind, actuators)}
      {_random_geom(rng, name)}
      {children}
    </body>"""

  return body(0)


def _random_joint(rng: np.random.Generator, name: str, kind: str, actuators: list[str]) -> str:
  if kind == "free":
    return f'<freejoint name="{name}"/>'
  attributes = {
    "armature": rng.choice((0.0, 0.02)),
    "damping": rng.choice((0.0, 0.1, 0.5)),
    "stiffness": rng.choice((0.0, 2.0)),
    "frictionloss": rng.choice((0.0, 0.0, 0.1)),
  }
  text = " ".join(f'{key}="{value:.6g}"' for key, value in attributes.items())
  if kind != "ball":
    text += f' axis="{_numbers(rng.normal(size=3))}" pos="{_numbers(rng.uniform(-0.05, 0.05, 3))}"'
  if rng.random() < 0.5:
    ranges = {"hinge": (-40, 50), "slide": (-0.1, 0.1), "ball": (0, 50)}
    text += f' limited="true" range="{_numbers(np.array(ranges[kind]))}"'
  if rng.random() < 0.7:
    actuators.append(_random_actuator(rng, name, kind))
  return f'<joint name="{name}" type="{kind}" {text}/>'


def _random_actuator(rng: np.random.Generator, joint: str, kind: str) -> str:
  actuator = "motor" if kind == "ball" else str(rng.choice(("motor", "position", "velocity")))
  gear = _numbers(rng.uniform(0.3, 1.5, size=3 if kind == "ball" else 1))
  gain = {"motor": "", "position": 'kp="5" kv="0.2"', "velocity": 'kv="0.3"'}[actuator]
  clamps = ""
  if rng.random() < 0.5:
    clamps += ' ctrllimited="true" ctrlrange="-1 0.8"'
  if rng.random() < 0.5:
    clamps += ' forcelimited="true" forcerange="-0.6 0.7"'
  return f'<{actuator} name="{joint}" joint="{joint}" gear="{gear}" {gain}{clamps}/>'


def _random_geom(rng: np.random.Generator, name: str) -> str:
  condim = rng.choice(CONDIMS)
  friction = _numbers(rng.uniform((0.3, 0.005, 0.001), (1.2, 0.05, 0.02)))
  common = f'name="{name}" condim="{condim}" friction="{friction}" mass="{rng.uniform(0.2, 1):.4g}"'
  if rng.random() < 0.4:
    return f'<geom type="sphere" size="{rng.uniform(0.06, 0.12):.4g}" {common}/>'
  size = rng.uniform(0.03, 0.07)
  end = _numbers(rng.uniform(-0.2, 0.2, size=3) + 0.05)
  return f'<geom type="capsule" size="{size:.4g}" fromto="0 0 0 {end}" {common}/>'
