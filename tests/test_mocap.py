"""Mocap bodies: contacts with them, welds and tendons to them, bodies on them, and their poses."""

import mujoco
import numpy as np
import pytest
import torch

import mjgrad
import mjgrad.torch as mgt
from mjgrad._src.linearize import step_gradient
from tests import models
from tests.terms import harness

# States and inputs at the project's bars, 1e-4 at the median and 1e-2 at the worst state.
MEDIAN, WORST = 1e-4, 1e-2

MOCAP = """
<mujoco>
  <option timestep="0.004"/>
  <default><geom solref="0.03 0.8" friction="0.6 0.02 0.01"/></default>
  <worldbody>
    <site name="w" pos="0.2 0.3 0.9"/>
    <body name="paddle" mocap="true" pos="0 0 0.2" euler="5 88 10">
      <geom type="capsule" size="0.06 0.3" friction="0.5 0.03 0.02"/>
      <site name="grip" pos="0.05 0.02 0.1"/>
      <body name="wheel" pos="0.08 0.1 -0.2" euler="10 20 30" simple="false">
        <joint name="axle" type="hinge" axis="0.2 0.1 1" pos="0.02 0 0.01" damping="0.05"/>
        <geom type="sphere" size="0.05" pos="0.06 0.02 0" mass="0.2"/>
      </body>
    </body>
    <body name="ball" pos="0.05 0.02 0.34" simple="false">
      <freejoint/>
      <geom type="sphere" size="0.08" mass="0.4"/>
    </body>
    <body name="arm" pos="0.4 0.3 0.5" simple="false">
      <joint name="shoulder" type="ball" damping="0.1"/>
      <geom type="capsule" size="0.04" fromto="0 0 0 0.3 0.1 0" mass="0.5"/>
      <site name="hand" pos="0.3 0.1 0"/>
    </body>
    <body name="hook" mocap="true" pos="0.62 0.4 0.55" euler="20 30 40"/>
  </worldbody>
  <equality>
    <weld body1="arm" body2="hook" torquescale="0.4" solref="0.1 1" solimp="0.5 0.9 0.2"/>
    <connect body1="hook" body2="ball" anchor="0.02 0.03 0" solref="0.5 1" solimp="0.1 0.5 0.4"/>
  </equality>
  <tendon>
    <spatial stiffness="30" damping="2">
      <site site="hand"/><site site="grip"/><site site="w"/>
    </spatial>
  </tendon>
</mujoco>
"""
POSES = ("mocap_pos", "mocap_quat")
PARAMETERS = ("body_pos", "body_quat", "geom_pos", "geom_quat", "site_pos", "jnt_pos", "jnt_axis")


def moved(mjm, count, seed=0):
  """States near the reference with the mocap bodies displaced and turned."""
  rng = np.random.default_rng(seed)
  points = []
  for point in harness.random_points(mjm, count, seed, position=0.02, velocity=0.5):
    quat = point.mocap_quat + 0.05 * rng.normal(size=point.mocap_quat.shape)
    points.append(
      harness.with_inputs(
        point,
        mocap_pos=point.mocap_pos + 0.01 * rng.normal(size=point.mocap_pos.shape),
        mocap_quat=quat / np.linalg.norm(quat, axis=1, keepdims=True),
        xfrc_applied=rng.normal(size=(mjm.nbody, 6)),
      )
    )
  return points


@pytest.mark.parametrize("integrator", ["euler", "implicitfast"])
@pytest.mark.parametrize("cone", models.CONES)
def test_against_the_oracle(cone, integrator):
  mjm = models.variant(MOCAP, cone=cone)
  if integrator == "implicitfast":
    # a lone free body is integrated by a rule of its own there
    source = MOCAP.replace("<freejoint/>", '<joint type="slide" axis="0 0.1 1" damping="1"/>')
    mjm = models.variant(source, cone=cone, integrator=integrator)
  points = moved(mjm, 8)
  found, local = harness.compare(
    mjm, points, PARAMETERS, channels=(*harness.STATE, "xfrc_applied", *POSES)
  )
  harness.assert_close(found, MEDIAN, worst=WORST, skipped=1)
  contact = int(mujoco.mjtGeom.mjGEOM_CAPSULE)
  assert contact in mjm.geom_type
  assert any(here.branch.zones.size > 9 and here.branch.zones[9:].any() for here in local)


@pytest.fixture(scope="module")
def sim():
  return mjgrad.Simulator(models.load(MOCAP), 2, "cpu")


def test_poses_that_are_not_given_are_the_models(sim):
  state = mgt.initial_state(sim)
  defaults = (sim.defaults[name] for name in ("mocap_pos", "mocap_quat"))
  pos, quat = (torch.from_numpy(a.numpy().copy()) for a in defaults)
  given = mgt.step(sim, state, nstep=3, mocap_pos=pos + 0.01, mocap_quat=quat)
  assert (given.qvel - mgt.step(sim, state, nstep=3).qvel).abs().max() > 1e-3
  given = mgt.step(sim, state, nstep=3, mocap_pos=pos, mocap_quat=quat)
  torch.testing.assert_close(given.qvel, mgt.step(sim, state, nstep=3).qvel, rtol=0, atol=0)


def test_gradients_through_torch(sim):
  """The same numbers as `step_gradient`; quaternions of another length, the same next state."""
  mjm = sim.mjm
  points = moved(mjm, 2, seed=4)
  inputs = harness.inputs(points)
  rng = np.random.default_rng(1)
  adj = rng.normal(size=(2, mjm.nv))
  out = step_gradient(sim, **inputs, adj_qpos=np.zeros((2, mjm.nq)), adj_qvel=adj)
  tensors = {k: torch.tensor(v, dtype=torch.float32) for k, v in inputs.items()}
  leaves = {name: tensors[name].requires_grad_() for name in POSES}
  state = mgt.initial_state(sim)
  state = mgt.State(tensors["qpos"], tensors["qvel"], state.act, state.qacc_warmstart, state.time)
  given = {"xfrc_applied": tensors["xfrc_applied"], **leaves}
  result = mgt.step(sim, state, **given)
  (result.qvel * torch.tensor(adj, dtype=torch.float32)).sum().backward()
  for name in POSES:
    np.testing.assert_allclose(leaves[name].grad, out.grad[name], rtol=1e-5, atol=1e-7)
  assert (leaves["mocap_quat"].grad * leaves["mocap_quat"]).sum(-1).abs().max() < 1e-5

  longer = (2.0 * leaves["mocap_quat"].detach()).requires_grad_()
  result2 = mgt.step(sim, state, **(given | {"mocap_quat": longer}))
  torch.testing.assert_close(result2.qvel, result.qvel, rtol=1e-5, atol=1e-5)
  (result2.qvel * torch.tensor(adj, dtype=torch.float32)).sum().backward()
  torch.testing.assert_close(2.0 * longer.grad, leaves["mocap_quat"].grad, rtol=1e-3, atol=1e-5)


def test_wrong_shape_is_refused(sim):
  with pytest.raises(mjgrad.InvalidInput, match="mocap_pos has shape"):
    mgt.step(sim, mgt.initial_state(sim), mocap_pos=torch.zeros(2, 1, 3))
