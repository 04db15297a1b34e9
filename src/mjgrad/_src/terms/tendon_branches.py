"""Spatial tendons between branches of the tree, integrated implicitly.

Of J J^T the implicit integrators keep the pairs of dofs on one chain, so with the weight c of a
tendon, h times the slopes of its dampers and actuators,

    psi = c sum over kept pairs of  mu_i J_i J_j x_j,      x = a_d = a + e,

which is no product of two rates. Its derivative in J is c d with

    d_i = mu_i sum_j J_j x_j + x_i sum_j J_j mu_j          over the j that i is kept with,

and d held constant c d . J is a rate along a direction of the tendon's own: twists along d, the
path (terms/tendon_path.py) and the sweep then run once for every such tendon, in a workspace of
their own.

The derivative of c itself is where c is made (terms/tendon.py, terms/actuator.py).

Source: docs/derivation.md, "Tendons".
"""

import warp as wp

from mjgrad._src.terms import force_limit
from mjgrad._src.tree.twists import LAM

wp.set_module_options({"enable_backward": False})


@wp.kernel
def _direction(
  # Model:
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  M_elemid: wp.array2d[int],
  # Data in:
  qacc_in: wp.array2d[float],
  ten_J_in: wp.array2d[float],
  # In:
  tenid: int,
  mu_in: wp.array2d[float],
  delta_in: wp.array2d[float],
  # Out:
  direction_out: wp.array2d[float],
):
  worldid, i = wp.tid()
  first = ten_J_rowadr[tenid]
  last = first + ten_J_rownnz[tenid]
  pulled = bool(False)
  rate_x = float(0.0)
  rate_mu = float(0.0)
  for k in range(first, last):
    j = ten_J_colind[k]
    pulled = pulled or i == j
    if M_elemid[wp.max(i, j), wp.min(i, j)] >= 0:
      rate_x += ten_J_in[worldid, k] * (qacc_in[worldid, j] + delta_in[worldid, j])
      rate_mu += ten_J_in[worldid, k] * mu_in[worldid, j]
  direction = float(0.0)
  if pulled:
    x = qacc_in[worldid, i] + delta_in[worldid, i]
    direction = mu_in[worldid, i] * rate_x + x * rate_mu
  direction_out[worldid, i] = direction


@wp.kernel
def _weigh(
  # In:
  tenid: int,
  weight: wp.array2d[float],
  # Out:
  adj_ten_rate_out: wp.array3d[float],
):
  worldid = wp.tid()
  adj_ten_rate_out[worldid, tenid, LAM] = weight[worldid, tenid]


def vjp(work) -> None:
  """Adds the gradients of the directions, after all that adds to `work.branch_weight`."""
  m, d, branch = work.model, work.data, work.branch
  for tenid in work.branching_tendons:
    wp.launch(
      _direction,
      dim=(d.nworld, m.nv),
      inputs=[
        m.ten_J_rownnz,
        m.ten_J_rowadr,
        m.ten_J_colind,
        m.M_elemid,
        work.qacc,
        d.ten_J,
        tenid,
        work.mu,
        work.delta,
      ],
      outputs=[branch.lam],
    )
    force_limit.begin(branch)
    wp.launch(
      _weigh, dim=d.nworld, inputs=[tenid, work.branch_weight], outputs=[branch.adj_ten_rate]
    )
    force_limit.finish(branch)
  work.branch_weight.zero_()
