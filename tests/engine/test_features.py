"""The allow-list: what has no gradient is refused when the simulator is built, all at once."""

import mujoco
import numpy as np
import pytest

import mjgrad
from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.errors import UnsupportedFeature
from mjgrad._src.linearize import step_gradient
from tests import models

BODY = """
  <body name="b">
    <joint name="j" axis="0 1 0" range="-90 90"/>
    <geom name="g" size="0.1" {geom}/>
  </body>"""
BALL = BODY.format(geom="")


def xml(option="", body=BALL, world="", extra="", actuator=""):
  return f"""
<mujoco>
  <option {option}/>
  <worldbody>{world}{body}</worldbody>
  {extra}
  <actuator>{actuator}</actuator>
</mujoco>
"""


TERRAIN = (
  '<geom name="floor" type="hfield" hfield="hills" margin="0.01"/>',
  '<asset><hfield name="hills" nrow="2" ncol="2" size="1 1 1 1"/></asset>',
)
SITE = '<site name="s"/>'
BALL_JOINT = '<body name="c"><joint name="ball" type="ball"/><geom size="0.1" contype="0"/></body>'
TENDON = '<tendon><fixed name="t"{}><joint joint="j" coef="1"/></fixed></tendon>'
CASES = {
  "pgs": (xml('solver="PGS"'), "solver mjSOL_PGS"),
  "noslip": (xml('noslip_iterations="3"'), "noslip_iterations"),
  "height_field": (xml(world=TERRAIN[0], extra=TERRAIN[1]), "geom 'g'"),
  "flex": (
    xml(
      extra='<deformable><flex name="f" dim="1" body="b b" vertex="0 0 0 1 0 0" element="0 1"/>'
      "</deformable>"
    ),
    "flex 'f'",
  ),
  "adhesive_pair": (
    xml(
      world='<geom name="floor" type="plane" size="1 1 1"/>',
      extra='<contact><pair name="p" geom1="floor" geom2="g" adhesion="1"/></contact>',
    ),
    "pair 'p'",
  ),
  "so3": (xml(world=BALL_JOINT, actuator='<orientation name="m" joint="ball"/>'), "actuator 'm'"),
  "delay": (
    xml('integrator="RK4"', actuator='<motor name="m" joint="j" delay="0.01" nsample="6"/>'),
    "actuator 'm'",
  ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_by_name(case):
  source, element = CASES[case]
  with pytest.raises(UnsupportedFeature) as caught:
    Simulator(models.load(source), 1, "cpu")
  assert element in str(caught.value)


def test_every_offending_element_at_once():
  """Pairs of geoms included, which are known where the engine itself accepts the model."""
  box = BODY.format(geom='type="box"').replace('size="0.1"', 'size="0.1 0.1 0.1"')
  mjm = models.load(
    xml(
      'noslip_iterations="3" integrator="RK4"',
      body=box,
      world=TERRAIN[0],
      extra=TERRAIN[1] + TENDON.format(' armature="0" springyield="1"'),
      actuator='<motor name="first" joint="j" delay="0.01" nsample="6"/>'
      '<motor name="second" joint="j" delay="0.02" nsample="6"/>',
    )
  )
  with pytest.raises(UnsupportedFeature) as caught:
    Simulator(mjm, 1, "cpu")
  message = str(caught.value)
  expected = ("noslip_iterations", "tendon 't'", "geom 'g'", "geom 'floor'")
  expected += ("actuator 'first'", "actuator 'second'")
  for element in expected:
    assert element in message, element
  assert len(message.splitlines()) >= len(expected) + 1


def test_what_the_engine_refuses_is_listed_with_the_rest():
  tendon = TENDON.format(' stiffness="1" springyield="1"')
  option = 'solver="PGS" noslip_iterations="2" integrator="discrete"'
  mjm = models.load(xml(option, extra=tendon))
  with pytest.raises(UnsupportedFeature) as caught:
    Simulator(mjm, 1, "cpu")
  for element in ("mjSOL_PGS", "noslip_iterations", "tendon 't'"):
    assert element in str(caught.value), element


def test_harmless_features_are_accepted():
  """Terrain that touches nothing, tendons and sites without force, cameras, lights, sensors."""
  mjm = models.load(
    xml(
      world=TERRAIN[0].replace("/>", ' contype="0" conaffinity="0"/>')
      + '<light pos="0 0 1"/><camera pos="0 0 1"/><site name="s"/>',
      extra=TERRAIN[1]
      + TENDON.format("")
      + '<sensor><framepos objtype="body" objname="b"/></sensor>',
      actuator='<motor joint="j"/>',
    )
  )
  Simulator(mjm, 1, "cpu")


def test_unnamed_elements_are_numbered():
  mjm = models.load(xml(body='<body><joint/><geom size="0.1"/></body>'))
  mjm.geom_surfacevel[0, 0] = 1.0
  with pytest.raises(UnsupportedFeature, match="geom 0"):
    Simulator(mjm, 1, "cpu")


def test_poses_that_would_couple_a_diagonal_inertia_are_refused():
  """MuJoCo has no room for the entries of M that appear when the centre of mass moves."""
  body = '<body name="ball" {}><freejoint/><geom size="0.1"/></body>'
  simple = Simulator(models.load(xml(body=body.format(""))), 1, "cpu")
  with pytest.raises(UnsupportedFeature, match="body_ipos, body 'ball'.*simple=\"false\""):
    step_gradient(simple, **zeros(simple), wrt_params=("body_ipos",))
  assert "body_ipos" not in mjgrad.parameters(simple)
  general = Simulator(models.load(xml(body=body.format('simple="false"'))), 1, "cpu")
  step_gradient(general, **zeros(general), wrt_params=("body_ipos",))
  assert "body_ipos" in mjgrad.parameters(general)


def zeros(sim):
  """Arguments of `step_gradient` at the reference, with zero cotangents."""
  return {
    "qpos": sim.mjm.qpos0[None],
    "qvel": np.zeros((1, sim.nv)),
    "ctrl": None,
    "adj_qpos": np.zeros((1, sim.nq)),
    "adj_qvel": np.zeros((1, sim.nv)),
  }


FIELDS = {
  "jnt_springyield": ("joint 'j'", 0.1),
  "geom_adhesion": ("geom 'g'", 1.0),
  "geom_surfacevel": ("geom 'g'", 1.0),
  "tendon_springyield": ("tendon 't'", 0.1),
}


@pytest.mark.parametrize("field", FIELDS)
def test_refused_by_a_field(field):
  """What the compiled model says counts, wherever it came from."""
  element, value = FIELDS[field]
  mjm = models.load(xml(extra=TENDON.format("")))
  Simulator(mjm, 1, "cpu")
  getattr(mjm, field)[:] = value
  with pytest.raises(UnsupportedFeature, match=element):
    Simulator(mjm, 1, "cpu")


@pytest.mark.parametrize("flag", ["SLEEP", "OVERRIDE"])
def test_refused_by_a_flag(flag):
  mjm = models.load(xml())
  mjm.opt.enableflags |= mujoco.mjtEnableBit.__members__[f"mjENBL_{flag}"]
  with pytest.raises(UnsupportedFeature, match=flag.lower()):
    Simulator(mjm, 1, "cpu")


@pytest.mark.parametrize(
  ("flag", "extra", "element"),
  [
    (
      "actuation",
      {"body": BODY.format(geom="").replace('name="j"', 'name="j" damping="1"')},
      "disable actuation",
    ),
    ("damper", {"actuator": '<velocity name="m" joint="j" kv="1"/>'}, "actuator 'm'"),
  ],
)
def test_flags_that_the_engine_treats_differently(flag, extra, element):
  """Under implicitfast the engine drops damping without actuation, and the reverse."""
  flagged = xml('integrator="implicitfast"', **extra).replace(
    "<worldbody>", f'<option><flag {flag}="disable"/></option><worldbody>'
  )
  with pytest.raises(UnsupportedFeature, match=element):
    Simulator(models.load(flagged), 1, "cpu")
