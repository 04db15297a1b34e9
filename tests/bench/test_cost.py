"""What a gradient may cost: launches, and time beside a step's.

The launches of the backward pass are counted, not timed; a new one has to be worth its place.
"""

import mujoco_warp as mjw
import pytest
import warp as wp

import mjgrad
from mjgrad._src.adjoint.step_vjp import step_vjp
from mjgrad.bench.cases import load
from mjgrad.bench.measure import measure
from tests import models

NWORLD = 2


def count_launches(monkeypatch, body) -> int:
  """Launches with threads that `body` makes."""
  launch, tiled = wp.launch, wp.launch_tiled
  found = []

  def counted(kernel, dim=(), *args, **kwargs):
    found.extend([kernel] * (0 not in (dim if isinstance(dim, (tuple, list)) else (dim,))))
    return launch(kernel, dim, *args, **kwargs)

  def counted_tiled(*args, **kwargs):
    with monkeypatch.context() as context:
      context.setattr(wp, "launch", launch)
      found.append(args[0])
      return tiled(*args, **kwargs)

  with monkeypatch.context() as context:
    context.setattr(wp, "launch", counted)
    context.setattr(wp, "launch_tiled", counted_tiled)
    body()
  return len(found)


@pytest.mark.parametrize(("name", "most"), [("ant", 40), ("humanoid", 38)])
def test_launches(name, most, monkeypatch):
  """The backward pass launches fewer kernels than the step that it belongs to."""
  sim = mjgrad.Simulator(getattr(models, name)(), NWORLD, "cpu", nconmax=24, njmax=64)
  program = sim.program({}, 1, applied=())
  program.forward(record=True)
  work = program.work
  with wp.ScopedDevice("cpu"):
    program.tape.step.fill_(1)
    step_vjp(work)
    program.tape.step.fill_(1)
    backward = count_launches(monkeypatch, lambda: step_vjp(work))
    forward = count_launches(monkeypatch, lambda: mjw.step(program.model, program.data))
  assert 20 < backward <= most
  assert backward < forward


@pytest.mark.slow
@pytest.mark.parametrize(("name", "bar"), [("ant", 0.8), ("humanoid", 0.8)])
def test_ratio_on_cpu(name, bar):
  """At 64 worlds a gradient takes at most 0.8 of a step, in the least disturbed of three runs."""
  case, mjm = load(name)
  device = wp.get_device("cpu")
  runs = [measure(name, case, mjm, 64, device, repeat=10, seed=0) for _ in range(3)]
  assert min(run.backward_ratio for run in runs) <= bar


@pytest.mark.gpu
@pytest.mark.parametrize("nworld", [4096, 8192])
@pytest.mark.parametrize("name", ["ant", "humanoid"])
def test_ratio_on_gpu(name, nworld):
  """A gradient takes at most half of a step."""
  case, mjm = load(name)
  found = measure(name, case, mjm, nworld, wp.get_device("cuda:0"), repeat=20, seed=0)
  assert found.backward_ratio <= 0.5
