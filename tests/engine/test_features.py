"""The allow-list: what has no gradient is refused when the simulator is built, all at once."""

import mujoco
import pytest

from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.errors import UnsupportedFeature
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


BOX = BODY.format(geom='type="box"').replace('size="0.1"', 'size="0.1 0.1 0.1"')
TENDON = '<tendon><fixed name="t" {0}><joint joint="j" coef="1"/></fixed></tendon>'
CASES = {
  "rk4": (xml('integrator="RK4"'), "integrator mjINT_RK4"),
  "implicit": (xml('integrator="implicit"'), "integrator mjINT_IMPLICIT"),
  "pgs": (xml('solver="PGS"'), "solver mjSOL_PGS"),
  "noslip": (xml('noslip_iterations="3"'), "noslip_iterations"),
  "fluid": (xml('density="1.2"'), "density"),
  "tendon": (xml(extra=TENDON.format('stiffness="1"')), "tendon 't'"),
  "tendon_limit": (xml(extra=TENDON.format('limited="true" range="0 1"')), "tendon 't'"),
  "gravcomp": (
    xml(body=BALL.replace('name="b"', 'name="b" gravcomp="1"')),
    "body 'b'",
  ),
  "mocap": (xml(world='<body name="hand" mocap="true"/>'), "body 'hand'"),
  "box": (xml(body=BOX), "geom 'g'"),
  "pair": (
    xml(
      world='<geom name="floor" type="plane" size="1 1 1"/>',
      extra='<contact><pair name="p" geom1="floor" geom2="g"/></contact>',
    ),
    "pair 'p'",
  ),
  "muscle": (xml(actuator='<muscle name="m" joint="j" lengthrange="-1 1"/>'), "actuator 'm'"),
  "activation": (xml(actuator='<intvelocity name="m" joint="j" actrange="-1 1"/>'), "actuator 'm'"),
  "cylinder": (xml(actuator='<cylinder name="m" joint="j"/>'), "actuator 'm'"),
  "tendon_transmission": (
    xml(extra=TENDON.format(""), actuator='<motor name="m" tendon="t"/>'),
    "actuator 'm'",
  ),
  "free_body_under_implicitfast": (
    xml(
      'integrator="implicitfast"',
      body='<body name="b"><freejoint/><geom size="0.1"/></body>',
    ),
    "body 'b'",
  ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_by_name(case):
  source, element = CASES[case]
  with pytest.raises(UnsupportedFeature) as caught:
    Simulator(models.load(source), 1, "cpu")
  assert element in str(caught.value)


def test_every_offending_element_at_once():
  mjm = models.load(
    xml(
      'integrator="RK4" solver="PGS" density="1" noslip_iterations="2"',
      body=BOX.replace('name="b"', 'name="b" gravcomp="1"'),
      extra=TENDON.format('stiffness="1"'),
      actuator='<muscle name="first" joint="j" lengthrange="-1 1"/>'
      '<cylinder name="second" joint="j"/>',
    )
  )
  with pytest.raises(UnsupportedFeature) as caught:
    Simulator(mjm, 1, "cpu")
  message = str(caught.value)
  expected = ("mjINT_RK4", "mjSOL_PGS", "density", "noslip_iterations", "body 'b'", "geom 'g'")
  expected += ("tendon 't'", "actuator 'first'", "actuator 'second'")
  for element in expected:
    assert element in message, element
  assert len(message.splitlines()) >= len(expected) + 1


def test_harmless_features_are_accepted():
  """Boxes that touch nothing, tendons and sites without force, cameras, lights, sensors."""
  mjm = models.load(
    xml(
      body=BOX.replace('type="box"', 'type="box" contype="0" conaffinity="0"'),
      world='<light pos="0 0 1"/><camera pos="0 0 1"/><site name="s"/>',
      extra=TENDON.format("") + '<sensor><framepos objtype="body" objname="b"/></sensor>',
      actuator='<motor joint="j"/>',
    )
  )
  Simulator(mjm, 1, "cpu")


def test_unnamed_elements_are_numbered():
  mjm = models.load(xml(body='<body gravcomp="1"><joint/><geom size="0.1"/></body>'))
  with pytest.raises(UnsupportedFeature, match="body 1"):
    Simulator(mjm, 1, "cpu")


def test_sleeping_is_refused():
  mjm = models.load(xml())
  mjm.opt.enableflags |= mujoco.mjtEnableBit.mjENBL_SLEEP
  with pytest.raises(UnsupportedFeature, match="sleep"):
    Simulator(mjm, 1, "cpu")
