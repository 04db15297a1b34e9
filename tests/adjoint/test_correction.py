"""One Newton step towards the root of r, before it is differentiated.

The engine's solver is stopped early, at a tolerance of 1e-3 instead of 1e-6, so that every state is
visibly away from the root. A Newton step squares the distance as long as no row changes its zone.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.linearize import step_gradient
from tests import models
from tests import oracles
from tests.terms import harness

TOLERANCE = 1e-3
# Gradients of these scenes are good to 1e-5 at the median where the solver has converged.
RTOL = 3e-5
# Without the correction the worst state measured 2e-3 (pyramidal) to 6e-2 (elliptic).
WORST = 3e-3
SOLVED_EARLY = [("elliptic", "newton"), ("elliptic", "cg"), ("pyramidal", "cg")]
# How far the engine stops from the root at the worst state, at least.
EARLY = 1e-4


@dataclass(frozen=True)
class Errors:
  """Relative errors at every state, shape [n].

  Attributes:
    solved: of the acceleration where the engine stopped.
    qacc: of the corrected acceleration.
    qpos, qvel: of the gradients of the acceleration.
  """

  solved: np.ndarray
  qacc: np.ndarray
  qpos: np.ndarray
  qvel: np.ndarray

  @property
  def gradient(self) -> np.ndarray:
    return np.maximum(self.qpos, self.qvel)


def sliding(cone, solver):
  """A sphere that slides, rolls and spins on a plane, and the oracle at each of its states."""
  mjm = models.variant(models.scene("plane", "sphere", 6), cone=cone, solver=solver)
  mjm.opt.tolerance = TOLERANCE
  states = oracles.sample_states(mjm, 24, seed=1)
  points = [s.point for s in states if "sliding" in s.labels]
  oracle = oracles.Oracle(mjm)
  local = [oracles.linearise(oracle, p, ("qpos", "qvel")) for p in points]
  kept = [
    s for s, here in enumerate(local) if not here.switching("qpos") and not here.switching("qvel")
  ]
  assert len(kept) >= 8
  return mjm, [points[s] for s in kept], [local[s] for s in kept]


def errors(mjm, points, local):
  sim = Simulator(mjm, len(points), "cpu")
  adj = np.random.default_rng(0).normal(size=(len(points), mjm.nv)).astype(np.float32)
  out = step_gradient(
    sim, **harness.inputs(points), adj_qpos=np.zeros((len(points), mjm.nq)), adj_qvel=adj
  )
  program = sim.program({}, 1)
  qacc = program.work.qacc.numpy().astype(np.float64)
  adj = adj.astype(np.float64)
  rows = []
  for s, here in enumerate(local):
    none = np.zeros(mjm.nv)
    qpos = here.jacobians["qpos"].vjp(none, adj[s])
    qvel = here.jacobians["qvel"].vjp(none, adj[s]) - adj[s]
    rows.append(
      (
        oracles.relative_error(out.qacc[s], here.base.qacc),
        oracles.relative_error(qacc[s], here.base.qacc),
        oracles.relative_error(out.grad["qpos_tangent"][s], qpos),
        oracles.relative_error(out.grad["qvel"][s] - adj[s], qvel),
      )
    )
  return Errors(*np.array(rows).T)


@pytest.mark.parametrize("cone, solver", SOLVED_EARLY)
def test_gradient_of_an_early_stop(cone, solver):
  mjm, points, local = sliding(cone, solver)
  found = errors(mjm, points, local)
  assert np.median(found.qacc) < 0.1 * np.median(found.solved)
  assert found.solved.max() > EARLY
  assert np.median(found.gradient) < RTOL, found.gradient
  assert found.gradient.max() < WORST, found.gradient


def test_converged_solution_stays():
  """At the root the step moves a by no more than float32 rounds its equation."""
  mjm, points, local = sliding("elliptic", "newton")
  mjm.opt.tolerance = 1e-10
  mjm.opt.iterations = 200
  found = errors(mjm, points, local)
  assert np.median(found.qacc) < 1e-6
  assert np.median(found.gradient) < RTOL
