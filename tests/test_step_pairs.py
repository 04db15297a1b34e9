"""One step of two touching solid geoms in random poses, against C MuJoCo with refined contacts.

The bars are those of contacts: relative errors of 1e-3 at the median and 1e-2 at the 95th
percentile. The contacts of curved geoms come out of an iteration in float32; where the engine's
step differs from C MuJoCo's for that reason, gradients are not compared.
"""

import dataclasses
import functools

import mujoco
import numpy as np
import pytest

from mjgrad._src.check.states import CheckState
from tests import oracles
from tests.contact import pairs
from tests.contact.test_solid import PAIRS

STATES = 8
FACES = (
  ("cylinder", "cylinder"),
  ("cylinder", "box"),
  ("cylinder", "frustum"),
  ("box", "frustum"),
  ("frustum", "frustum"),
)
FAST_FACES = (("box", "frustum"), ("cylinder", "box"))
FACE_CASES = [pytest.param(p, marks=() if p in FAST_FACES else pytest.mark.slow) for p in FACES]
FAST = (("sphere", "box"), ("sphere", "mesh"), ("ellipsoid", "box"), ("capsule", "box"))
CASES = [pytest.param(p, marks=() if p in FAST else pytest.mark.slow) for p in PAIRS]
CURVED = ("ellipsoid", "cylinder")


@pytest.mark.parametrize("pair", CASES, ids="-".join)
def test_one_step(pair):
  mjm = pairs.scene(*pair, ccd_tolerance=1e-8, ccd_iterations=100)
  result = oracles.run_check(
    mjm,
    states=pairs.touching_states(mjm, STATES),
    params=("geom_size", "geom_friction"),
    device="cpu",
  )
  loose = any(kind in CURVED for kind in pair) and pair[0] != "plane"
  loose |= pair[0] == "hfield"  # whether the same contact with two prisms counts once is rounding
  assert len(result.differing) <= (0.5 * STATES if loose else 0), result.to_text()
  for channel in result.channels:
    assert len(channel.measured) >= (0.4 if loose else 0.7) * STATES, result.to_text()
    errors = [channel.errors[s] for s in channel.measured]
    assert np.median(errors) <= 1e-3, result.to_text()
    assert np.quantile(errors, 0.95) <= 1e-2, result.to_text()
    fixed = channel.channel in ("geom_friction", "geom_size")
    assert fixed or channel.zero < len(result.states), result.to_text()


def in_manifolds(result, most=0.4):
  """States with several contacts at once are right, whatever share of them is compared."""
  for channel in result.channels:
    assert len(channel.measured) >= (1 - most) * STATES, result.to_text()
    errors = [channel.errors[s] for s in channel.measured]
    assert np.median(errors) <= 1e-4 and max(errors) <= 1e-3, result.to_text()
  assert result.channel("qpos").zero == 0


@pytest.mark.parametrize("pair", FACE_CASES, ids="-".join)
def test_face_on_face(pair):
  """Faces a degree apart: up to four contacts, corners of the overlap."""
  mjm = pairs.scene(*pair)
  states = pairs.touching_states(mjm, STATES, pose=pairs.stacked)
  oracle = oracles.Oracle(mjm)
  counts = []
  for state in states:
    oracle.forward(state.point)
    counts.append(oracle.mjd.ncon)
  assert max(counts) == 4 and np.median(counts) >= 3
  in_manifolds(
    oracles.run_check(mjm, states=states, params=("geom_size", "geom_friction"), device="cpu")
  )


def test_face_around_the_deepest_point():
  """MuJoCo takes one of the steep faces, although the normal of the flat one is nearer."""
  mjm = pairs.scene("roof", "cuboid")
  level = functools.partial(pairs.stacked, tilt=0.001)
  states = pairs.touching_states(mjm, STATES, pose=level)
  in_manifolds(oracles.run_check(mjm, states=states, params=("geom_friction",), device="cpu"))


def test_vertex_on_a_face_next_to_another():
  """Next to the border of two faces a quarter of a degree apart the normal says on which one."""
  mjm = pairs.scene("roof", "mesh")
  mjd, rng, states = mujoco.MjData(mjm), np.random.default_rng(0), []
  for x in np.linspace(-0.08, -0.02, STATES):
    qpos, y = mjm.qpos0.copy(), rng.choice([-2e-4, 2e-4])
    qpos[10:] = pairs.random_quat(rng)
    pairs.collide(mjm, mjd, qpos)
    vertices = mjm.mesh_vert[slice(*mjm.mesh_vertadr[[0, 1]])]
    vertices = mjd.geom_xpos[1] + vertices @ mjd.geom_xmat[1].reshape(3, 3).T
    lowest = vertices[np.argmin(vertices[:, 2])]
    qpos[7:10] += (x, y, 0.07 + 0.075 * x - 0.002 * abs(y) - 0.002) - lowest
    point = oracles.point(mjm, qpos=qpos, qvel=0.5 * rng.normal(size=mjm.nv)).float32()
    states.append(CheckState(point, "vertex", ("contact",), 1, 3))
  in_manifolds(oracles.run_check(mjm, states=states, params=("geom_friction",), device="cpu"))


def test_box_on_capsule():
  """A capsule that lies under a box touches it twice."""
  mjm = pairs.scene("capsule", "box")
  half = float(np.sqrt(0.5))
  lying = functools.partial(pairs.stacked, tilt=0.004, first=(half, 0.0, half, 0.0))
  states = pairs.touching_states(mjm, STATES, pose=lying)
  oracle = oracles.Oracle(mjm)
  counts = []
  for state in states:
    oracle.forward(state.point)
    counts.append(oracle.mjd.ncon)
  assert np.median(counts) == 2
  in_manifolds(
    oracles.run_check(mjm, states=states, params=("geom_size", "geom_friction"), device="cpu")
  )


@pytest.mark.parametrize("pose", [pairs.stacked, pairs.touching])
def test_boxes(pose):
  """The engine collides boxes as it collides meshes, C MuJoCo by an algorithm of their own."""
  mjm = pairs.scene("box", "box")
  states = pairs.touching_states(mjm, STATES, pose=pose)
  result = oracles.run_check(
    mjm, states=states, params=("geom_size", "geom_friction"), device="cpu"
  )
  in_manifolds(result, most=0.5)


PLANAR = """
<mujoco>
  <option timestep="0.002"/>
  <default><joint damping="0.1"/><geom type="box" size="0.1 0.13 0.07" mass="1"/></default>
  <worldbody>
    <body>
      <joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 0 1"/><joint axis="0 1 0"/>
      <geom/>
    </body>
    <body pos="0 0 0.139">
      <joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 0 1"/><joint axis="0 1 0"/>
      <geom/>
    </body>
  </worldbody>
</mujoco>
"""


def test_boxes_in_line():
  """Boxes that only move in a plane have sides in common, which do not cross."""
  mjm = mujoco.MjModel.from_xml_string(PLANAR)

  def in_line(_mjm, rng):
    tilt, shift = rng.uniform(0.01, 0.04), rng.uniform(-0.1, 0.1)
    return np.array([0, 0, 0, shift, 0.1 * tilt, tilt])

  states = pairs.touching_states(mjm, STATES, pose=in_line)
  in_manifolds(oracles.run_check(mjm, states=states, params=("geom_friction",), device="cpu"))


KEEL = """
<mujoco>
  <option timestep="0.002"/>
  <asset>
    <mesh name="keel" vertex="-.1 0 0  .1 0 0  -.1 .1 .02  -.1 -.1 .02  .1 .1 .02  .1 -.1 .02
                              .3 .02 .006  .3 -.02 .006  0 0 .2"/>
    <mesh name="slab" vertex="-.15 -.15 -.1  .15 -.15 -.1  .15 .15 -.1  -.15 .15 -.1
                              -.15 -.15 0  .15 -.15 0  .15 .15 0  -.15 .15 0"/>
  </asset>
  <worldbody>
    <body pos="0 0 -.001"><freejoint/><geom type="mesh" mesh="keel" mass="1"/></body>
    <body pos="0 0 0"><geom type="mesh" mesh="slab"/></body>
  </worldbody>
</mujoco>
"""


def test_edge_next_to_a_level_face():
  """The keel is an edge between steep faces; the face at its end is within five degrees."""
  mjm = mujoco.MjModel.from_xml_string(KEEL)
  start = mjm.qpos0.copy()

  def afloat(_mjm, rng):
    qpos = start.copy()
    qpos[:2] += rng.uniform(-0.12, 0.12, size=2)
    mujoco.mj_integratePos(mjm, qpos, np.append(np.zeros(3), rng.normal(scale=0.01, size=3)), 1.0)
    return qpos

  states = pairs.touching_states(mjm, STATES, pose=afloat)
  in_manifolds(oracles.run_check(mjm, states=states, params=("geom_friction",), device="cpu"))


def test_far_from_the_origin():
  """Ten metres away positions are rounded to 1e-6, and features are still told apart."""
  mjm = pairs.scene("box", "mesh")
  states = []
  for state in pairs.touching_states(mjm, STATES):
    qpos = state.point.qpos.copy()
    qpos[:3] += 10.0
    qpos[7:10] += 10.0
    states.append(dataclasses.replace(state, point=dataclasses.replace(state.point, qpos=qpos)))
  in_manifolds(oracles.run_check(mjm, states=states, params=("geom_size",), device="cpu"))


def test_capsules_that_meet_at_a_joint():
  """Coinciding ends: a switching point by name, but the state cannot move them apart."""
  capsule = '<geom type="capsule" size="0.01" fromto="0 0 0 {}"/>'
  mjm = mujoco.MjModel.from_xml_string(f"""
    <mujoco>
      <option timestep="0.004"/>
      <worldbody>
        {capsule.format("0 0 0.1")}
        <body pos="0 0 0.1">
          <joint type="ball"/>
          {capsule.format("0 0.1 0.1")}
        </body>
        <body pos="0 0 1">
          <freejoint/>
          {capsule.format("0 0.1 0.1")}
          <body pos="0 0.1 0.1">
            {capsule.format("0 0.1 0.1")}
            <body pos="0 0.1 0.1">
              <joint type="ball"/>
              {capsule.format("0.1 0.1 0.1")}
            </body>
          </body>
        </body>
      </worldbody>
    </mujoco>""")
  result = oracles.run_check(mjm, nstates=STATES, params=("body_mass",), device="cpu")
  assert len(result.switching) == STATES
  assert any("centres coincide" in what for what in result.switches), result.to_text()
  for channel in result.channels:
    assert np.median(channel.errors) <= 1e-3 and max(channel.errors) <= 1e-2, result.to_text()
