"""One Newton step towards the root of r, before it is differentiated.

The engine's solver is stopped early, at a tolerance of 1e-3 instead of 1e-6, so that every state is
visibly away from the root. A Newton step squares the distance as long as no row changes its zone.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from mjgrad._src.adjoint import refine
from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.linearize import step_gradient
from tests import models
from tests import oracles
from tests.terms import harness

TOLERANCE = 1e-3
# Gradients of these scenes are good to 1e-5 at the median where the solver has converged.
RTOL = 3e-5
# What the early stop costs without the refinement; measured 2e-3 to 6e-2 at the worst state.
BROKEN = 1e-3

SOLVED_EARLY = [("elliptic", "newton"), ("elliptic", "cg"), ("pyramidal", "cg")]


@dataclass(frozen=True)
class Errors:
  """Relative errors at every state, shape [n]: of a, and of the gradients of the acceleration."""

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
  qacc = sim.program({}, 1).work.qacc.numpy().astype(np.float64)
  adj = adj.astype(np.float64)
  rows = []
  for s, here in enumerate(local):
    none = np.zeros(mjm.nv)
    qpos = here.jacobians["qpos"].vjp(none, adj[s])
    qvel = here.jacobians["qvel"].vjp(none, adj[s]) - adj[s]
    rows.append(
      (
        oracles.relative_error(qacc[s], here.base.qacc),
        oracles.relative_error(out.grad["qpos_tangent"][s], qpos),
        oracles.relative_error(out.grad["qvel"][s] - adj[s], qvel),
      )
    )
  return Errors(*np.array(rows).T), out


@pytest.mark.parametrize("cone, solver", SOLVED_EARLY)
def test_gradient_of_an_early_stop(monkeypatch, cone, solver):
  mjm, points, local = sliding(cone, solver)
  refined, first = errors(mjm, points, local)
  monkeypatch.setattr(refine, "launch", lambda work: None)
  raw, second = errors(mjm, points, local)

  np.testing.assert_array_equal(first.qvel, second.qvel)  # the forward step is not touched
  assert np.median(refined.qacc) < 0.1 * np.median(raw.qacc)
  assert np.median(refined.gradient) < RTOL, refined.gradient
  assert np.median(raw.gradient) > 3 * np.median(refined.gradient)
  assert raw.gradient.max() > BROKEN
  assert refined.gradient.max() < 0.1 * raw.gradient.max()


def test_converged_solution_stays():
  """At the root the step moves a by no more than float32 rounds its equation."""
  mjm, points, local = sliding("elliptic", "newton")
  mjm.opt.tolerance = 1e-10
  mjm.opt.iterations = 200
  found, out = errors(mjm, points, local)
  assert np.median(found.qacc) < 1e-6
  assert np.median(found.gradient) < RTOL


def test_only_where_it_is_needed():
  """Newton with a piecewise quadratic cost stops close to its solution."""
  needed = {}
  for cone in models.CONES:
    for solver in ("newton", "cg"):
      mjm = models.variant(models.scene("plane", "sphere"), cone=cone, solver=solver)
      needed[cone, solver] = Simulator(mjm, 1, "cpu").program({}, 1).work.refine
  expected = {pair: pair in SOLVED_EARLY for pair in needed}
  assert needed == expected
