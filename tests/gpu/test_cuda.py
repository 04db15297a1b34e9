"""The same results on a GPU as on the CPU, from PyTorch's streams, with late errors raised.

Float32 sums run in another order on a GPU, so gradients agree to 1e-4 of their norm, the accuracy
that the project claims against its float64 oracle.
"""

import numpy as np
import pytest
import torch
import warp as wp

import mjgrad
import mjgrad.torch as mgt
from mjgrad._src.linearize import step_gradient
from mjgrad.bench.cases import load

pytestmark = pytest.mark.gpu
NWORLD = 32


def _states(mjm, nworld: int):
  """Worlds that fall, touch the ground and differ."""
  sim = mjgrad.Simulator(mjm, nworld, device="cpu", nconmax=64, njmax=256)
  generator = torch.Generator().manual_seed(0)
  state = mgt.initial_state(sim)
  with torch.no_grad():
    for _ in range(20):
      ctrl = 0.5 * torch.randn(nworld, mjm.nu, generator=generator)
      state = mgt.step(sim, state, ctrl, nstep=10)
  return state.qpos.numpy(), state.qvel.numpy(), ctrl.numpy()


@pytest.mark.parametrize("cone", [0, 1])
@pytest.mark.parametrize(
  ("case", "far"),
  [("ant", None), ("humanoid", None), ("ant", mjgrad.ContactsFromDistance(width=0.02))],
)
def test_gradient_equals_cpu(case, far, cone):
  _, mjm = load(case)
  mjm.opt.cone = cone
  qpos, qvel, ctrl = _states(mjm, NWORLD)
  rng = np.random.default_rng(0)
  adj_qpos = rng.standard_normal(qpos.shape)
  adj_qvel = rng.standard_normal(qvel.shape)
  results = [
    step_gradient(
      mjgrad.Simulator(mjm, NWORLD, device, nconmax=64, njmax=256, surrogate=far),
      qpos,
      qvel,
      ctrl,
      adj_qpos,
      adj_qvel,
      wrt_params=("body_mass", "geom_friction", "geom_size"),
    )
    for device in ("cpu", "cuda:0")
  ]
  absent = {name for name, expected in results[0].grad.items() if expected.size == 0}
  assert absent == {"act", "history", "mocap_pos", "mocap_quat"}
  for name, expected in results[0].grad.items():
    if name in absent:
      continue
    axes = tuple(range(1, expected.ndim))
    scale = np.sqrt((expected**2).sum(axes))
    error = np.sqrt(((results[1].grad[name] - expected) ** 2).sum(axes))
    assert (scale > 0).any()
    assert np.median(error / np.maximum(scale, 1e-12)) < 1e-4, name


def test_streams_and_shared_leaf():
  _, mjm = load("ant")
  sim = mjgrad.Simulator(mjm, NWORLD, "cuda:0", nconmax=64, njmax=256)
  gradients = []
  for stream in (torch.cuda.default_stream(), torch.cuda.Stream()):
    with torch.cuda.stream(stream):
      ctrl = torch.full((NWORLD, mjm.nu), 0.1, device="cuda:0", requires_grad=True)
      state = mgt.initial_state(sim)
      for _ in range(8):
        state = mgt.step(sim, state, ctrl, nstep=4)
      state.qpos[:, 0].sum().backward()
      stream.synchronize()
      gradients.append(ctrl.grad.clone())
  assert gradients[0].abs().max() > 0
  torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-5)


def test_overflow_never_reaches_a_gradient():
  _, mjm = load("ant")
  sim = mjgrad.Simulator(mjm, NWORLD, "cuda:0", nconmax=24, njmax=4)
  ctrl = torch.zeros((NWORLD, mjm.nu), device="cuda:0", requires_grad=True)
  state = mgt.initial_state(sim)
  with pytest.raises(mjgrad.CapacityError, match="njmax="):
    for _ in range(100):
      state = mgt.step(sim, state, ctrl, nstep=4)
    state.qpos.sum().backward()


def test_device_is_the_gpu_by_default():
  _, mjm = load("cartpole")
  assert mjgrad.Simulator(mjm, 2).device == wp.get_device("cuda:0")
