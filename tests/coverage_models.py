"""The models of the coverage page: a chain of joints, and two geoms that press on each other.

`tests/coverage_cases.py` says what each case adds to them.
"""

COMPILER = '<compiler autolimits="true"/>'

SOFT = {
  "hinge": 'stiffness="2" damping="0.1"',
  "slide": 'stiffness="60" damping="0.5"',
  "ball": 'stiffness="2" damping="0.1"',
  "last": 'stiffness="1" damping="0.05"',
}
"""What a joint has unless a case is about it: two seconds of free fall end far from the origin."""


def rig(
  *,
  hinge: str = "",
  slide: str = "",
  ball: str = "",
  last: str = "",
  bodies: str = "",
  world: str = "",
  inside: str = "",
  option: str = "",
  flags: str = 'contact="disable"',
  tendon: str = "",
  equality: str = "",
  actuator: str = "",
) -> str:
  """A chain of a hinge, a slide, a ball and a hinge, and a trolley on a rail, nv 7, with sites.

  Args:
    hinge: attributes of the first joint, a soft spring if empty; likewise slide, ball and last.
    slide: see hinge.
    ball: see hinge.
    last: see hinge.
    bodies: attributes of every body of the chain.
    world: further elements of the world.
    inside: further elements of the last body.
    option: attributes of the option element.
    flags: attributes of its flags.
    tendon: elements of the section of that name; likewise equality and actuator.
    equality: see tendon.
    actuator: see tendon.
  """
  return f"""
<mujoco>
  {COMPILER}
  <option timestep="0.004" {option}><flag {flags}/></option>
  <default>
    <geom contype="0" conaffinity="0" mass="0"/>
  </default>
  <worldbody>
    {world}
    <site name="w" pos="0.3 0.2 0.4"/>
    <site name="far" pos="0.9 -0.3 -0.1"/>
    <geom name="post" type="cylinder" size="0.08 0.3" pos="0.3 0.15 0.1" euler="20 30 0"/>
    <site name="side_post" pos="0.3 0.6 0.1"/>
    <body name="first" {bodies}>
      <joint name="hinge" type="hinge" axis="0 1 0.3" {hinge or SOFT["hinge"]}/>
      <inertial pos="0.1 0 0" mass="1" diaginertia="0.02 0.03 0.03"/>
      <site name="a" pos="0.1 0.05 0"/>
      <body name="second" pos="0.3 0 0" {bodies}>
        <joint name="slide" type="slide" axis="1 0.2 0" {slide or SOFT["slide"]}/>
        <inertial pos="0.1 0.05 0" mass="0.8" diaginertia="0.02 0.02 0.03"/>
        <site name="b" pos="0.05 0.02 0.05"/>
        <body name="third" pos="0.2 0 0.1" {bodies}>
          <joint name="ball" type="ball" {ball or SOFT["ball"]}/>
          <inertial pos="0.05 0 -0.1" mass="0.6" diaginertia="0.01 0.02 0.02"/>
          <site name="c" pos="0 0.1 0"/>
          <geom name="globe" type="sphere" size="0.06" pos="0.03 0.02 -0.08"/>
          <site name="side_globe" pos="0.13 0.02 -0.08"/>
          <site name="inner_globe" pos="0.04 0.03 -0.08"/>
          <body name="fourth" pos="0 0 -0.2" {bodies}>
            <joint name="last" type="hinge" axis="1 0 0" {last or SOFT["last"]}/>
            <inertial pos="0 0.1 -0.1" mass="0.4" diaginertia="0.01 0.01 0.02"/>
            <site name="tip" pos="0.1 0 -0.1" euler="20 40 10"/>
            {inside}
          </body>
        </body>
      </body>
    </body>
    <body name="trolley" pos="0.2 -0.4 0.3">
      <joint name="rail" type="slide" axis="0 1 0.5" {SOFT["slide"]}/>
      <inertial pos="0 0 0" mass="0.7" diaginertia="0.01 0.01 0.01"/>
      <site name="rail" pos="0.05 0 0"/>
    </body>
  </worldbody>
  <tendon>{tendon}</tendon>
  <equality>{equality}</equality>
  <actuator>{actuator}</actuator>
</mujoco>
"""


def path(*names: str) -> str:
  """A spatial path over sites; a number is a pulley, "geom" or "geom:side" wraps."""
  out = []
  for name in names:
    geom, _, side = name.partition(":")
    if name.isdigit():
      out.append(f'<pulley divisor="{name}"/>')
    elif geom in ("post", "globe"):
      out.append(f'<geom geom="{geom}"' + (f' sidesite="{side}"' if side else "") + "/>")
    else:
      out.append(f'<site site="{name}"/>')
  return "".join(out)


SHAPES = {
  "plane": 'type="plane" size="5 5 0.1"',
  "hfield": 'type="hfield" hfield="terrain"',
  "sphere": 'type="sphere" size="0.1"',
  "capsule": 'type="capsule" size="0.07 0.1"',
  "ellipsoid": 'type="ellipsoid" size="0.1 0.15 0.07"',
  "cylinder": 'type="cylinder" size="0.09 0.1"',
  "box": 'type="box" size="0.1 0.15 0.07"',
  "mesh": 'type="mesh" mesh="rock"',
  "sdf": 'type="sdf" mesh="torus"',
}
HEIGHT = dict(zip(SHAPES, (0.0, 0.05, 0.1, 0.17, 0.07, 0.1, 0.07, 0.08, 0.1)))
ASSETS = """
    <hfield name="terrain" nrow="4" ncol="4" size="1 1 0.1 0.1"
            elevation="0 0.2 0.1 0.4  0.3 0.5 0.2 0.1  0.1 0.3 0.6 0.2  0 0.1 0.2 0.3"/>
    <mesh name="rock" vertex="0 0 0.1  0.1 0 -0.05  -0.1 0.1 -0.05  -0.1 -0.1 -0.05
                              0.05 0.12 0.03"/>"""
SDF_ASSETS = '<mesh name="torus"><plugin instance="torus"/></mesh>'
SDF_PLUGIN = """
  <extension>
    <plugin plugin="mujoco.sdf.torus">
      <instance name="torus"><config key="radius1" value="0.15"/>
        <config key="radius2" value="0.07"/></instance>
    </plugin>
  </extension>"""


def _geom(shape: str, attributes: str) -> str:
  plugin = '<plugin instance="torus"/>' if shape == "sdf" else ""
  return f"<geom {attributes} {SHAPES[shape]}>{plugin}</geom>"


def contact(
  first: str,
  second: str,
  *,
  condim: int = 3,
  option: str = "",
  flags: str = "",
  geom: str = "",
  section: str = "",
  actuator: str = "",
  tumble: str = "0.1 0.05",
) -> str:
  """Two geoms that press on each other.

  A plane or a height field is fixed in the world, with a free body on it, nv 6. Otherwise one body
  turns on a ball joint, and springs draw another one, on slides and a ball joint, onto it, nv 9.

  Args:
    first: shape of the lower geom.
    second: shape of the upper geom.
    condim: of both.
    option: attributes of the option element.
    flags: attributes of its flags.
    geom: attributes of both geoms.
    section: further elements of the model.
    actuator: elements of the actuator section.
    tumble: slope of a plane, the first two components of its normal.
  """
  sdf = "sdf" in (first, second)
  mass = "" if second == "sdf" else 'mass="0.9"'
  common = f'condim="{condim}" {geom}'
  height = HEIGHT[first] + HEIGHT[second] - 0.003
  margin = 0.0 if first == "hfield" else 0.002
  upper = _geom(second, f'name="second" friction="0.6 0.02 0.01" margin="{margin}" {mass} {common}')
  lower = f'name="first" friction="0.8 0.03 0.02" {common}'
  if first in ("plane", "hfield"):
    axis = f'zaxis="{tumble} 1"' if first == "plane" else ""
    bodies = f"""
    {_geom(first, f"{lower} {axis}")}
    <body name="second" pos="0.05 0.02 {height + 0.05:.3f}" euler="20 10 5">
      <freejoint/>
      {upper}
    </body>"""
  else:
    weight = "" if first == "sdf" else 'mass="1.3"'
    bodies = f"""
    <body name="first" euler="10 -5 20">
      <joint type="ball" stiffness="2" damping="0.05"/>
      {_geom(first, f"{lower} {weight}")}
    </body>
    <body name="second" pos="0.01 0.02 {height:.3f}" euler="-6 8 50">
      <joint type="slide" axis="1 0 0" stiffness="60" damping="0.5"/>
      <joint type="slide" axis="0 1 0" stiffness="60" damping="0.5"/>
      <joint type="slide" axis="0 0 1" stiffness="200" damping="0.5" springref="-0.03"/>
      <joint type="ball" stiffness="2" damping="0.05"/>
      {upper}
    </body>"""
  return f"""
<mujoco>
  {COMPILER}
  <option timestep="0.004" ccd_tolerance="1e-8" {option}><flag {flags}/></option>
  {SDF_PLUGIN if sdf else ""}
  <asset>{ASSETS}{SDF_ASSETS if sdf else ""}</asset>
  <worldbody>{bodies}
  </worldbody>
  <actuator>{actuator}</actuator>
  {section}
</mujoco>
"""
