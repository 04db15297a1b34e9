"""Adaptive steps, jumps and contacts from distance on a GPU give the gradients of the CPU.

Float32 sums run in another order on a GPU and the steps differ with them, so that gradients agree
as well as those of two tolerances do.
"""

import dataclasses

import numpy as np
import pytest
import torch

import mjgrad
import mjgrad.torch as mgt
from tests import models

pytestmark = pytest.mark.gpu
NWORLD = 32
RTOL = 5e-3
METHOD = mjgrad.Dopri5(rtol=1e-6, atol=1e-6, max_step=0.05, max_steps=5000)
BODIES = {
  "ball": '<geom size="0.05" density="100"/>',
  "cube": '<geom type="box" size="0.05 0.05 0.05" density="100" euler="60 20 0"/>',
}
DRIVEN = """
  <mujoco>
    <option timestep="0.02"/>
    <worldbody>
      <geom type="plane" size="5 5 0.1"/>
      <body pos="0 0 0.5">
        <joint name="a" axis="0 1 0" limited="true" range="-40 40" damping="0.1"/>
        <geom type="capsule" fromto="0 0 0 0.3 0 -0.1" size="0.03"/>
        <body pos="0.3 0 -0.1">
          <joint name="b" axis="0 1 0" damping="0.1"/>
          <geom type="capsule" fromto="0 0 0 0.3 0 -0.1" size="0.03"/>
        </body>
      </body>
    </worldbody>
    <actuator>
      <general joint="b" dyntype="filterexact" dynprm="0.05" gainprm="2"/>
    </actuator>
  </mujoco>"""


def scene(body: str, solimp: str):
  return models.variant(f"""
    <mujoco>
      <option timestep="0.01" gravity="0 0 -2"><flag refsafe="disable"/></option>
      <default><geom solref="0.02 1" solimp="{solimp}"/></default>
      <worldbody>
        <geom type="plane" size="5 5 0.1"/>
        <body pos="0 0 0.2"><freejoint/>{BODIES[body]}</body>
      </worldbody>
    </mujoco>""")


def gradient(mjm, device, adjoint, nstep, surrogate=None):
  """Derivative of a sum of the last velocities and positions in the first velocities, and stats."""
  sim = mjgrad.Simulator(
    mjm, NWORLD, device, integrator=METHOD, adjoint=adjoint, surrogate=surrogate
  )
  state = mgt.initial_state(sim).map(torch.Tensor.double)
  rng = np.random.default_rng(0)
  start = 0.3 * rng.standard_normal((NWORLD, mjm.nv))
  start[:, min(2, mjm.nv - 1)] -= 2.0
  qvel = torch.tensor(start, dtype=torch.float64, device=state.qvel.device, requires_grad=True)
  ctrl = torch.full((NWORLD, mjm.nu), 0.5, device=state.qvel.device, requires_grad=True)
  after = mgt.step(sim, dataclasses.replace(state, qvel=qvel), ctrl, nstep=nstep)
  adj = torch.tensor(rng.standard_normal((NWORLD, mjm.nv)), device=state.qvel.device)
  value = (adj * after.qvel).sum() + after.qpos[:, :3].sum()
  found = torch.autograd.grad(value, [qvel, ctrl])
  return torch.cat(found, dim=1).cpu().numpy(), sim.stats


def compare(mjm, adjoint, nstep, surrogate=None):
  expected, before = gradient(mjm, "cpu", adjoint, nstep, surrogate)
  found, stats = gradient(mjm, "cuda:0", adjoint, nstep, surrogate)
  scale = np.linalg.norm(expected, axis=1)
  error = np.linalg.norm(found - expected, axis=1) / scale
  assert scale.min() > 1e-3
  assert np.median(error) < RTOL, np.sort(error)
  assert np.median(stats.accepted / before.accepted) == pytest.approx(1.0, abs=0.2)
  return stats


@pytest.mark.parametrize("solimp", ["0.9 0.95 0.001", "0 0.95 0.001"])
@pytest.mark.parametrize("body", BODIES)
def test_throws(body, solimp):
  """With a jump at every impact, and without."""
  stats = compare(scene(body, solimp), mjgrad.Discretise(checkpoints=16), 11)
  assert np.all(stats.jumps > 0) or not solimp.startswith("0.9")
  # Whether a jump of a thousandth of the acceleration is explained is up to float32 noise.
  assert stats.jumps_left_out.sum() <= 1


def test_backsolve():
  stats = compare(scene("ball", "0.9 0.95 0.001"), mjgrad.Backsolve(), 11)
  assert np.all(stats.jumps > 0)
  assert not stats.jumps_left_out.any()


def test_driven():
  """Activations, limits and contacts of a chain, with checkpoints that have to be thinned."""
  compare(models.variant(DRIVEN), mjgrad.Discretise(checkpoints=8), 5)


@pytest.mark.parametrize("adjoint", [mjgrad.Discretise(), mjgrad.Backsolve()])
def test_contacts_from_distance(adjoint):
  """In flight, where only they act."""
  far = mjgrad.ContactsFromDistance(width=0.3)
  compare(scene("ball", "0 0.95 0.001"), adjoint, 2, far)
