"""The dense solve of matrices that are not symmetric, against numpy."""

from types import SimpleNamespace

import numpy as np
import warp as wp

from mjgrad._src.adjoint import lu

# Condition numbers of these matrices are below 1e4.
RTOL = 1e-11


def test_both_systems_of_every_tree():
  """Trees of several sizes; zeros on the diagonal ask for the pivoting."""
  rng = np.random.default_rng(0)
  nworld, sizes = 5, (6, 1, 13)
  nv, starts = sum(sizes), np.cumsum((0, *sizes[:-1]))
  matrix = np.full((nworld, nv, nv), 7.0)  # entries between trees are not read
  rhs = rng.normal(size=(nworld, nv, 2))
  truth = np.zeros_like(rhs)
  for world in range(nworld):
    for start, size in zip(starts, sizes):
      block = slice(start, start + size)
      a = rng.normal(size=(size, size))
      if size > 1:
        np.fill_diagonal(a, 0.0)
      matrix[world, block, block] = a
      truth[world, block, 0] = np.linalg.solve(a, rhs[world, block, 0])
      truth[world, block, 1] = np.linalg.solve(a.T, rhs[world, block, 1])
  with wp.ScopedDevice("cpu"):
    work = SimpleNamespace(
      model=SimpleNamespace(
        tree_dofadr=wp.array(starts, dtype=int), tree_dofnum=wp.array(sizes, dtype=int)
      ),
      data=SimpleNamespace(nworld=nworld),
      matrix=wp.array(matrix, dtype=wp.float64),
      rhs=wp.array(rhs, dtype=wp.float64),
      solution=wp.zeros((nworld, nv, 2), dtype=wp.float64),
      pivot=wp.zeros((nworld, nv), dtype=int),
    )
    lu.solve(work, wp.ones((1, len(sizes)), dtype=bool))
    np.testing.assert_allclose(work.solution.numpy(), truth, rtol=0, atol=RTOL * abs(truth).max())
