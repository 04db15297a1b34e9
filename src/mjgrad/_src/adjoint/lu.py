"""Dense solves with a matrix that is not symmetric, tree by tree.

    P A = L U,    A x = b:  L U x = P b,    A^T y = c:  U^T z = c,  L^T P y = z

by elimination with partial pivoting in float64. A has no entries between trees, so every tree is a
system of its own, and one block of threads: its threads take every `lanes`-th column or row, and
wait for each other where one reads what another wrote. On a CPU there is one thread.

L is stored without its division by the pivot: L_ik = a_ik / a_kk.

Source: Golub and Van Loan, Matrix Computations (2013), section 3.4.
"""

import warp as wp

wp.set_module_options({"enable_backward": False})

LANES = 32
"""Threads per block on a GPU."""


@wp.func_native(
  """
#if defined(__CUDA_ARCH__)
  __syncthreads();
#endif
"""
)
def _wait(): ...


@wp.kernel
def _solve(
  # Model:
  tree_dofadr: wp.array[int],
  tree_dofnum: wp.array[int],
  # In:
  tree_solved: wp.array2d[bool],
  lanes: int,
  rhs: wp.array3d[wp.float64],
  # Out:
  matrix_out: wp.array3d[wp.float64],
  pivot_out: wp.array2d[int],
  solution_out: wp.array3d[wp.float64],
):
  worldid, treeid, lane = wp.tid()
  if not tree_solved[worldid % tree_solved.shape[0], treeid]:
    return
  first = tree_dofadr[treeid]
  size = tree_dofnum[treeid]
  last = first + size
  a = matrix_out[worldid]
  x = solution_out[worldid]
  for i in range(first + lane, last, lanes):
    x[i, 0] = rhs[worldid, i, 0]
    x[i, 1] = rhs[worldid, i, 1]
  _wait()

  # P A = L U, with b as a further column: L^-1 P b
  for k in range(first, last):
    row = int(k)
    for i in range(k + 1, last):
      if wp.abs(a[i, k]) > wp.abs(a[row, k]):
        row = i
    _wait()
    for j in range(first + lane, last, lanes):
      entry = a[k, j]
      a[k, j] = a[row, j]
      a[row, j] = entry
    if lane == 0:
      pivot_out[worldid, k] = row
      entry = x[k, 0]
      x[k, 0] = x[row, 0]
      x[row, 0] = entry
    _wait()
    for i in range(k + 1, last):
      factor = a[i, k] / a[k, k]
      for j in range(k + 1 + lane, last, lanes):
        a[i, j] = a[i, j] - factor * a[k, j]
    for i in range(k + 1 + lane, last, lanes):
      x[i, 0] = x[i, 0] - a[i, k] / a[k, k] * x[k, 0]
    _wait()

  # U x = L^-1 P b
  for n in range(size):
    k = last - 1 - n
    value = x[k, 0] / a[k, k]
    _wait()
    for i in range(first + lane, k, lanes):
      x[i, 0] = x[i, 0] - a[i, k] * value
    if lane == 0:
      x[k, 0] = value
    _wait()

  # U^T z = c
  for k in range(first, last):
    value = x[k, 1] / a[k, k]
    _wait()
    for i in range(k + 1 + lane, last, lanes):
      x[i, 1] = x[i, 1] - a[k, i] * value
    if lane == 0:
      x[k, 1] = value
    _wait()

  # L^T P y = z
  for n in range(size):
    i = last - 1 - n
    value = x[i, 1]
    for k in range(first + lane, i, lanes):
      x[k, 1] = x[k, 1] - a[i, k] / a[k, k] * value
    _wait()
  if lane == 0:
    for n in range(size):
      k = last - 1 - n
      row = pivot_out[worldid, k]
      entry = x[k, 1]
      x[k, 1] = x[row, 1]
      x[row, 1] = entry


def solve(work, trees: wp.array) -> None:
  """Solves A x = b and A^T y = c, columns of `work.rhs`; `work.matrix` is overwritten.

  Args:
    work: the workspace.
    trees: whether a tree is solved, shape [1 or nworld, ntree].
  """
  m = work.model
  lanes = LANES if work.rhs.device.is_cuda else 1
  wp.launch(
    _solve,
    dim=(work.data.nworld, m.tree_dofadr.size, lanes),
    inputs=[m.tree_dofadr, m.tree_dofnum, trees, lanes, work.rhs],
    outputs=[work.matrix, work.pivot, work.solution],
    block_dim=lanes if lanes > 1 else 256,
    device=work.rhs.device,
  )
