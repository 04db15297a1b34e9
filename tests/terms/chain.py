"""A chain with one joint of every kind, nv 6, to which a test adds the law that it is about."""

import mujoco

from tests import models

HINGE, SLIDE, BALL, LAST = 0, 1, slice(2, 5), 5
"""Dofs of the joints; the hinge, the slide and the last hinge are also these entries of qpos."""


def chain(
  hinge: str = "",
  slide: str = "",
  ball: str = "",
  last: str = "",
  actuator: str = "",
  integrator: str = "euler",
  equality: str = "",
  body: str = "",
) -> mujoco.MjModel:
  """The chain with further attributes on its joints, actuators and equality constraints.

  Args:
    hinge: attributes of the first joint, in MJCF; likewise slide, ball and last.
    slide: see hinge.
    ball: see hinge.
    last: see hinge.
    actuator: elements of the actuator section; the joints have these four names.
    integrator: see `tests.models.variant`.
    equality: elements of the equality section; the bodies have the names of their joints.
    body: attributes of the bodies of the slide and the ball.
  """
  return models.variant(
    f"""
<mujoco>
  <option timestep="0.005"><flag contact="disable"/></option>
  <worldbody>
    <body name="hinge">
      <joint name="hinge" type="hinge" axis="0 1 0.3" {hinge}/>
      <inertial pos="0.1 0 0" mass="1" diaginertia="0.02 0.03 0.03"/>
      <body name="slide" {body} pos="0.3 0 0">
        <joint name="slide" type="slide" axis="1 0.2 0" {slide}/>
        <inertial pos="0.1 0.05 0" mass="0.8" diaginertia="0.02 0.02 0.03"/>
        <body name="ball" {body} pos="0.2 0 0.1">
          <joint name="ball" type="ball" {ball}/>
          <inertial pos="0.05 0 -0.1" mass="0.6" diaginertia="0.01 0.02 0.02"/>
          <body name="last" pos="0 0 -0.2">
            <joint name="last" type="hinge" axis="1 0 0" {last}/>
            <inertial pos="0 0.1 -0.1" mass="0.4" diaginertia="0.01 0.01 0.02"/>
          </body>
        </body>
      </body>
    </body>
  </worldbody>
  <equality>{equality}</equality>
  <actuator>{actuator}</actuator>
</mujoco>
""",
    integrator=integrator,
  )


def free_body(
  joint: str = "", actuator: str = "", integrator: str = "euler", child: str = ""
) -> mujoco.MjModel:
  """One body on a free joint named "free", nv 6, and what it carries."""
  return models.variant(
    f"""
<mujoco>
  <option timestep="0.005"><flag contact="disable"/></option>
  <worldbody>
    <body pos="0 0 1">
      <joint name="free" type="free" {joint}/>
      <inertial pos="0.05 0 0.02" mass="0.5" diaginertia="0.02 0.03 0.01"/>
      {child}
    </body>
  </worldbody>
  <actuator>{actuator}</actuator>
</mujoco>
""",
    integrator=integrator,
  )
