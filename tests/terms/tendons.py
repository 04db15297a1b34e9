"""The chain of `tests/terms/chain.py` with sites and geoms along which a test lays its tendons.

Sites `w` and `far` belong to the world, `a`, `b`, `c` and `tip` to the four bodies in turn. The
sphere `ball_geom` and the cylinder `drum` belong to the third body, `post` is a cylinder of the
world. The sites `side*` lie beside and `inner*` inside the geom of that name. A second tree is a
slide with the site `rail`.
"""

import mujoco

from tests import models

HINGE, SLIDE, BALL, LAST, RAIL = 0, 1, slice(2, 5), 5, 6


def tendons(
  tendon: str, *, equality: str = "", actuator: str = "", integrator: str = "euler"
) -> mujoco.MjModel:
  """The model with tendons.

  Args:
    tendon: elements of the tendon section.
    equality: elements of the equality section.
    actuator: elements of the actuator section.
    integrator: see `tests.models.variant`.
  """
  return models.variant(
    f"""
<mujoco>
  <option timestep="0.005"><flag contact="disable"/></option>
  <default>
    <geom contype="0" conaffinity="0" mass="0"/>
  </default>
  <worldbody>
    <site name="w" pos="0.3 0.2 0.4"/>
    <site name="far" pos="0.9 -0.3 -0.1"/>
    <geom name="post" type="cylinder" size="0.08 0.3" pos="0.3 0.15 0.1" euler="20 30 0"/>
    <site name="side_post" pos="0.3 0.6 0.1"/>
    <body name="first">
      <joint name="hinge" type="hinge" axis="0 1 0.3"/>
      <inertial pos="0.1 0 0" mass="1" diaginertia="0.02 0.03 0.03"/>
      <site name="a" pos="0.1 0.05 0"/>
      <body name="second" pos="0.3 0 0">
        <joint name="slide" type="slide" axis="1 0.2 0"/>
        <inertial pos="0.1 0.05 0" mass="0.8" diaginertia="0.02 0.02 0.03"/>
        <site name="b" pos="0.05 0.02 0.05"/>
        <body name="third" pos="0.2 0 0.1">
          <joint name="ball" type="ball"/>
          <inertial pos="0.05 0 -0.1" mass="0.6" diaginertia="0.01 0.02 0.02"/>
          <site name="c" pos="0 0.1 0"/>
          <geom name="ball_geom" type="sphere" size="0.06" pos="0.03 0.02 -0.08"/>
          <site name="side_ball" pos="0.13 0.02 -0.08"/>
          <site name="inner_ball" pos="0.04 0.03 -0.08"/>
          <geom name="drum" type="cylinder" size="0.06 0.1" pos="0.03 0.02 -0.08" euler="70 0 20"/>
          <body name="fourth" pos="0 0 -0.2">
            <joint name="last" type="hinge" axis="1 0 0"/>
            <inertial pos="0 0.1 -0.1" mass="0.4" diaginertia="0.01 0.01 0.02"/>
            <site name="tip" pos="0.1 0 -0.1"/>
          </body>
        </body>
      </body>
    </body>
    <body name="trolley" pos="0.2 -0.4 0.3">
      <joint name="rail" type="slide" axis="0 1 0.5"/>
      <inertial pos="0 0 0" mass="0.7" diaginertia="0.01 0.01 0.01"/>
      <site name="rail" pos="0.05 0 0"/>
    </body>
  </worldbody>
  <tendon>{tendon}</tendon>
  <equality>{equality}</equality>
  <actuator>{actuator}</actuator>
</mujoco>
""",
    integrator=integrator,
  )


FIXED = (
  '<joint joint="hinge" coef="0.5"/><joint joint="slide" coef="2"/><joint joint="last" coef="-1"/>'
)
"""A path of a fixed tendon on one chain."""
BRANCHES = FIXED + '<joint joint="rail" coef="1.5"/>'
"""A path of a fixed tendon over two trees."""


def path(*names: str) -> str:
  """A spatial path over sites; "geom" or "geom:side" wraps, a number is a pulley's divisor."""
  out = []
  for name in names:
    geom, _, side = name.partition(":")
    if name.replace(".", "").isdigit():
      out.append(f'<pulley divisor="{name}"/>')
    elif geom in ("post", "ball_geom", "drum"):
      sidesite = f' sidesite="{side}"' if side else ""
      out.append(f'<geom geom="{geom}"{sidesite}/>')
    else:
      out.append(f'<site site="{name}"/>')
  return "".join(out)


def spatial(*names: str, **attributes) -> str:
  """A spatial tendon over a path, see `path`."""
  given = " ".join(f'{key}="{value}"' for key, value in attributes.items())
  return f"<spatial {given}>{path(*names)}</spatial>"


def fixed(joints: str = FIXED, **attributes) -> str:
  """A fixed tendon."""
  given = " ".join(f'{key}="{value}"' for key, value in attributes.items())
  return f"<fixed {given}>{joints}</fixed>"
