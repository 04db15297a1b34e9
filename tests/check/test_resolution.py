"""Errors that rounding to float32 explains, and errors that it does not."""

import mujoco
import numpy as np
import pytest

from mjgrad._src.check import resolution
from mjgrad._src.check.compare import Cotangents
from mjgrad._src.check.jacobian import linearise
from mjgrad._src.check.oracle import Oracle
from tests import oracles

BALL = """
<mujoco>
  <option timestep="0.002"/>
  <worldbody>
    <geom type="plane" size="1 1 1"/>
    <body pos="0 0 0.0995">
      <freejoint/>
      <geom type="sphere" size="0.1" mass="1"/>
    </body>
  </worldbody>
</mujoco>
"""
# The ball turns about the normal of the plane, which pushes it and does not move it.
HELD = """
<mujoco>
  <option timestep="0.002"/>
  <worldbody>
    <geom type="plane" size="1 1 1"/>
    <body pos="0 0 0.03">
      <joint axis="0 0 1"/>
      <geom type="sphere" pos="1e-4 0 0" size="0.1" mass="0.01"/>
    </body>
  </worldbody>
</mujoco>
"""


def _error(xml: str, channel: str) -> float:
  mjm = mujoco.MjModel.from_xml_string(xml)
  oracle = Oracle(mjm)
  point = oracles.point(mjm, qvel=np.linspace(0.5, 0.2, mjm.nv))
  here = linearise(oracle, point, (channel,))
  rng = np.random.default_rng(0)
  return resolution.error_of_rounding(
    oracle, channel, here, Cotangents.random(mjm, 1, 0), None, rng
  )


def test_ordinary_gradients_are_resolved():
  assert _error(BALL, "qpos") < 1e-5
  assert _error(BALL, "geom_solimp") < 1e-4


def test_forces_that_cancel_are_not():
  assert _error(HELD, "geom_solimp") > 1e-3


@pytest.mark.parametrize("channel", ["qpos", "qvel", "body_mass"])
def test_rounding_moves_every_channel(channel):
  assert 0.0 < _error(BALL, channel)
