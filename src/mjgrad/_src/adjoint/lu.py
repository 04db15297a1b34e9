"""Dense solves with a matrix that is not symmetric, tree by tree.

    P A = L U,    A x = b:  L U x = P b,    A^T y = c:  U^T z = c,  L^T P y = z

by elimination with partial pivoting in float64. A has no entries between trees, so every tree is a
system of its own, one thread each.

Source: Golub and Van Loan, Matrix Computations (2013), section 3.4.
"""

import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.kernel
def _solve(
  # Model:
  tree_dofadr: wp.array[int],
  tree_dofnum: wp.array[int],
  # In:
  rhs: wp.array3d[wp.float64],
  # Out:
  matrix_out: wp.array3d[wp.float64],
  pivot_out: wp.array2d[int],
  solution_out: wp.array3d[wp.float64],
):
  worldid, treeid = wp.tid()
  first = tree_dofadr[treeid]
  last = first + tree_dofnum[treeid]
  a = matrix_out[worldid]
  x = solution_out[worldid]

  for k in range(first, last):
    row = int(k)
    for i in range(k + 1, last):
      if wp.abs(a[i, k]) > wp.abs(a[row, k]):
        row = i
    pivot_out[worldid, k] = row
    for j in range(first, last):
      entry = a[k, j]
      a[k, j] = a[row, j]
      a[row, j] = entry
    for i in range(k + 1, last):
      factor = a[i, k] / a[k, k]
      a[i, k] = factor
      for j in range(k + 1, last):
        a[i, j] = a[i, j] - factor * a[k, j]

  # A x = b, in column 0
  for i in range(first, last):
    x[i, 0] = rhs[worldid, i, 0]
  for k in range(first, last):
    row = pivot_out[worldid, k]
    entry = x[k, 0]
    x[k, 0] = x[row, 0]
    x[row, 0] = entry
  for i in range(first, last):
    for j in range(first, i):
      x[i, 0] = x[i, 0] - a[i, j] * x[j, 0]
  for n in range(last - first):
    i = last - 1 - n
    for j in range(i + 1, last):
      x[i, 0] = x[i, 0] - a[i, j] * x[j, 0]
    x[i, 0] = x[i, 0] / a[i, i]

  # A^T y = c, in column 1
  for i in range(first, last):
    x[i, 1] = rhs[worldid, i, 1]
    for j in range(first, i):
      x[i, 1] = x[i, 1] - a[j, i] * x[j, 1]
    x[i, 1] = x[i, 1] / a[i, i]
  for n in range(last - first):
    i = last - 1 - n
    for j in range(i + 1, last):
      x[i, 1] = x[i, 1] - a[j, i] * x[j, 1]
  for n in range(last - first):
    k = last - 1 - n
    row = pivot_out[worldid, k]
    entry = x[k, 1]
    x[k, 1] = x[row, 1]
    x[row, 1] = entry


def solve(work) -> None:
  """Solves A x = b and A^T y = c, columns of `work.rhs`; `work.matrix` is overwritten."""
  m = work.model
  wp.launch(
    _solve,
    dim=(work.data.nworld, m.tree_dofadr.size),
    inputs=[m.tree_dofadr, m.tree_dofnum, work.rhs],
    outputs=[work.matrix, work.pivot, work.solution],
  )
