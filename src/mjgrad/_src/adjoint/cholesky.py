"""Dense symmetric solves, one small system a world: A = L D L^T, for two right-hand sides.

On a GPU one warp solves the system of a world. Lane i holds row i of A in registers and takes what
it needs of the other rows from their lanes, so nothing waits for memory or for a barrier:

    for each k     L_ik = a_ik / a_kk,   a_ij -= L_ik a_jk,   x_i -= L_ik x_k     in lanes i > k

After step k lane k keeps a_kj = D_k L_jk for j > k, row k of D L^T, which the way back needs:

    x_i /= D_i,    for each k, last first    x_i -= L_ki x_k                      in lanes i < k

Systems with more rows than a warp has lanes, and those on a CPU, are solved by Warp's tiles.

Source: Golub and Van Loan, Matrix Computations (2013), section 4.1 (L D L^T).
"""

import functools

import warp as wp

wp.set_module_options({"enable_backward": False})

LANES = 32
"""Lanes of a warp."""


@wp.func_native(
  """
#if defined(__CUDA_ARCH__)
  return __shfl_sync(0xffffffff, value, lane);
#else
  return value;
#endif
"""
)
def of_lane(value: wp.float64, lane: int) -> wp.float64:
  """The value in another lane of a block of one warp."""
  ...


@wp.func_native(
  """
#if defined(__CUDA_ARCH__)
  __shared__ double values[32];
  if (give) {
    __syncwarp();
    values[threadIdx.x] = value;
    __syncwarp();
  }
  return values[lane];
#else
  return value;
#endif
"""
)
def exchange(value: wp.float64, lane: int, give: bool) -> wp.float64:
  """The value that another lane of a block of one warp gave last; all lanes give at once.

  As `of_lane`, for values that are wanted from every lane in turn.
  """
  ...


@functools.cache
def solve_rows(nv: int) -> tuple[type, wp.Function]:
  """The type of a row, and the function that solves A x = b of a warp for two right-hand sides.

  The function takes row i of A and of both columns b in lane i, and returns row i of both x. Lanes
  beyond the last row repeat it.
  """
  row = wp.types.vector(length=nv, dtype=wp.float64)

  @wp.func
  def solve_rows(a: row, x: wp.float64, y: wp.float64, lane: int):
    d = wp.float64(1.0)
    for k in range(wp.static(nv)):
      pivot = of_lane(a[k], k)
      d = wp.where(lane == k, pivot, d)
      factor = wp.where(lane > k, a[k] / pivot, wp.float64(0.0))
      x -= factor * of_lane(x, k)
      y -= factor * of_lane(y, k)
      column = exchange(a[k], lane, True)
      for j in range(k + 1, wp.static(nv)):
        a[j] = a[j] - factor * exchange(column, j, False)
    x /= d
    y /= d
    for n in range(wp.static(nv)):
      k = wp.static(nv - 1) - n
      factor = wp.where(lane < k, a[k] / d, wp.float64(0.0))
      x -= factor * of_lane(x, k)
      y -= factor * of_lane(y, k)
    return x, y

  return row, solve_rows


@functools.cache
def _solve_by_warp(nv: int) -> wp.Kernel:
  row, rows = solve_rows(nv)

  @wp.kernel(module="unique", enable_backward=False, module_options={"max_unroll": LANES})
  def solve_by_warp(
    # In:
    matrix: wp.array3d[wp.float64],
    rhs: wp.array3d[wp.float64],
    # Out:
    solution_out: wp.array3d[wp.float64],
  ):
    worldid, lane = wp.tid()
    i = wp.min(lane, wp.static(nv - 1))
    a = row()
    for j in range(wp.static(nv)):
      a[j] = matrix[worldid, wp.max(i, j), wp.min(i, j)]
    x, y = rows(a, rhs[worldid, i, 0], rhs[worldid, i, 1], lane)
    if lane < wp.static(nv):
      solution_out[worldid, lane, 0] = x
      solution_out[worldid, lane, 1] = y

  return solve_by_warp


@functools.cache
def _solve_by_tile(nv: int) -> wp.Kernel:
  @wp.kernel(module="unique", enable_backward=False)
  def solve_by_tile(
    # In:
    matrix: wp.array3d[wp.float64],
    rhs: wp.array3d[wp.float64],
    # Out:
    solution_out: wp.array3d[wp.float64],
  ):
    worldid = wp.tid()
    factor = wp.tile_cholesky(wp.tile_load(matrix[worldid], shape=(nv, nv)))
    solution = wp.tile_cholesky_solve(factor, wp.tile_load(rhs[worldid], shape=(nv, 2)))
    wp.tile_store(solution_out[worldid], solution)

  return solve_by_tile


def by_warp(matrix: wp.array) -> bool:
  """Whether systems as large as `matrix` are solved by one warp each."""
  return matrix.device.is_cuda and 0 < matrix.shape[1] <= LANES


def solve(matrix: wp.array, rhs: wp.array, solution: wp.array) -> None:
  """Solves A x = b for symmetric positive definite A.

  Args:
    matrix: A, of which the lower triangle is read, shape [nworld, nv, nv].
    rhs: two columns b, shape [nworld, nv, 2].
    solution: the columns x, shape [nworld, nv, 2].
  """
  nworld, nv, _ = matrix.shape
  if nv == 0:
    return
  if by_warp(matrix):
    wp.launch(
      _solve_by_warp(nv),
      dim=(nworld, LANES),
      inputs=[matrix, rhs],
      outputs=[solution],
      block_dim=LANES,
    )
    return
  wp.launch_tiled(
    _solve_by_tile(nv), dim=nworld, inputs=[matrix, rhs], outputs=[solution], block_dim=LANES
  )
