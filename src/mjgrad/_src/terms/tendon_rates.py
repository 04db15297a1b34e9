"""Lengths and rates of tendons: all that the laws of `terms/tendon.py` and of actuators read.

Along each generalised direction w in {v, lam, a, mu, e} a tendon of length L has the rate

    rate^w = J x_w,    J = dL/dq

with J the engine's sparse row `ten_J`. A law is a function of L and of its rates; it adds their
cotangents to `adj_ten_length` and `adj_ten_rate`, which `terms/tendon_path.py` carries to the
bodies after all laws have had their turn. Rates are indexed like twists (tree/twists.py).

Source: DESIGN section 2; MuJoCo documentation, Computation, "Tendons".
"""

import warp as wp

from mjgrad._src.tree.twists import ACC
from mjgrad._src.tree.twists import DELTA
from mjgrad._src.tree.twists import LAM
from mjgrad._src.tree.twists import MU
from mjgrad._src.tree.twists import V

wp.set_module_options({"enable_backward": False})

NRATE = 5
"""Number of directions: v, lam, a, mu, e."""


@wp.func
def row_dot(
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  ten_J_in: wp.array2d[float],
  x: wp.array2d[float],
  worldid: int,
  tenid: int,
) -> float:
  """J x of one tendon."""
  rate = float(0.0)
  rowadr = ten_J_rowadr[tenid]
  for k in range(rowadr, rowadr + ten_J_rownnz[tenid]):
    rate += ten_J_in[worldid, k] * x[worldid, ten_J_colind[k]]
  return rate


@wp.func
def squared_row(
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  ten_J_in: wp.array2d[float],
  weight: wp.array2d[float],
  worldid: int,
  tenid: int,
) -> float:
  """sum_c weight_c J_c^2 of one tendon."""
  total = float(0.0)
  first = ten_J_rowadr[tenid]
  for k in range(first, first + ten_J_rownnz[tenid]):
    total += weight[worldid, ten_J_colind[k]] * ten_J_in[worldid, k] * ten_J_in[worldid, k]
  return total


@wp.func
def chain_product(
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  M_elemid: wp.array2d[int],
  ten_J_in: wp.array2d[float],
  x: wp.array2d[float],
  y: wp.array2d[float],
  worldid: int,
  tenid: int,
) -> float:
  """x^T (J J^T) y of one tendon, restricted to the pattern of the inertia matrix."""
  total = float(0.0)
  first = ten_J_rowadr[tenid]
  last = first + ten_J_rownnz[tenid]
  for k in range(first, last):
    i = ten_J_colind[k]
    rate = float(0.0)
    for n in range(first, last):
      j = ten_J_colind[n]
      if M_elemid[wp.max(i, j), wp.min(i, j)] >= 0:
        rate += ten_J_in[worldid, n] * y[worldid, j]
    total += ten_J_in[worldid, k] * x[worldid, i] * rate
  return total


@wp.func
def add_chain_direction(
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  M_elemid: wp.array2d[int],
  ten_J_in: wp.array2d[float],
  x: wp.array2d[float],
  y: wp.array2d[float],
  weight: float,
  worldid: int,
  tenid: int,
  ten_direction_out: wp.array3d[float],
):
  """Adds the derivative of weight times `chain_product` in J."""
  first = ten_J_rowadr[tenid]
  last = first + ten_J_rownnz[tenid]
  for k in range(first, last):
    i = ten_J_colind[k]
    rate_x = float(0.0)
    rate_y = float(0.0)
    for n in range(first, last):
      j = ten_J_colind[n]
      if M_elemid[wp.max(i, j), wp.min(i, j)] >= 0:
        rate_x += ten_J_in[worldid, n] * x[worldid, j]
        rate_y += ten_J_in[worldid, n] * y[worldid, j]
    along = weight * (x[worldid, i] * rate_y + y[worldid, i] * rate_x)
    wp.atomic_add(ten_direction_out, worldid, tenid, i, along)


@wp.kernel
def _velocity(
  # Model:
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  # Data in:
  qvel_in: wp.array2d[float],
  ten_J_in: wp.array2d[float],
  # Out:
  ten_rate_out: wp.array3d[float],
):
  worldid, tenid = wp.tid()
  ten_rate_out[worldid, tenid, V] = row_dot(
    ten_J_rownnz, ten_J_rowadr, ten_J_colind, ten_J_in, qvel_in, worldid, tenid
  )


@wp.kernel
def _rates(
  # Model:
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  # Data in:
  qacc_in: wp.array2d[float],
  ten_J_in: wp.array2d[float],
  # In:
  lam_in: wp.array2d[float],
  mu_in: wp.array2d[float],
  delta_in: wp.array2d[float],
  # Out:
  ten_rate_out: wp.array3d[float],
):
  worldid, tenid = wp.tid()
  ten_rate_out[worldid, tenid, LAM] = row_dot(
    ten_J_rownnz, ten_J_rowadr, ten_J_colind, ten_J_in, lam_in, worldid, tenid
  )
  ten_rate_out[worldid, tenid, ACC] = row_dot(
    ten_J_rownnz, ten_J_rowadr, ten_J_colind, ten_J_in, qacc_in, worldid, tenid
  )
  ten_rate_out[worldid, tenid, MU] = row_dot(
    ten_J_rownnz, ten_J_rowadr, ten_J_colind, ten_J_in, mu_in, worldid, tenid
  )
  ten_rate_out[worldid, tenid, DELTA] = row_dot(
    ten_J_rownnz, ten_J_rowadr, ten_J_colind, ten_J_in, delta_in, worldid, tenid
  )


def evaluate(work) -> None:
  """Fills the rate along v, which is known before the multipliers are."""
  m, d = work.model, work.data
  if m.ntendon == 0:
    return
  wp.launch(
    _velocity,
    dim=(d.nworld, m.ntendon),
    inputs=[m.ten_J_rownnz, m.ten_J_rowadr, m.ten_J_colind, d.qvel, d.ten_J],
    outputs=[work.ten_rate],
  )


def launch(work) -> None:
  """Fills the other rates and clears the cotangents that the laws add to."""
  m, d = work.model, work.data
  if m.ntendon == 0:
    return
  work.adj_ten_length.zero_()
  work.adj_ten_rate.zero_()
  work.ten_direction.zero_()
  wp.launch(
    _rates,
    dim=(d.nworld, m.ntendon),
    inputs=[
      m.ten_J_rownnz,
      m.ten_J_rowadr,
      m.ten_J_colind,
      work.qacc,
      d.ten_J,
      work.lam,
      work.mu,
      work.delta,
    ],
    outputs=[work.ten_rate],
  )
