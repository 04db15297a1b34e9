"""Directions of actuators: what a moment contributes beyond products of its rates.

A scalar whose derivative in the moment m is d adds d . m at a fixed d, a rate along a direction of
the actuator's own, which its transmission carries on as it does the other rates.

The implicit integrators keep of m m^T the pairs of dofs that the inertia matrix has room for. Where
that is not all of them, between branches of the tree or inside a body whose inertia is diagonal,

    psi = w sum over kept pairs of  mu_i m_i m_j x_j,      w = -h F',  x = a_d = a + e,
    d_i = w (mu_i sum_j m_j x_j + x_i sum_j m_j mu_j)      over the j that i is kept with,

takes the place of the rates along mu, a and e. Under `discrete` the diagonal of the metric has
w m_c^2 (adjoint/metric.py), on which the scale of rows depends with -alpha_c (terms/row_scale.py):

    d_c = -2 alpha_c w m_c.

The derivative of w is in terms/actuator.py and terms/dcmotor.py. Tendons have directions of their
own instead of the first (terms/tendon_direction.py).

Source: MuJoCo documentation, Computation, "Numerical integration".
"""

import warp as wp

from mjgrad._src.tree.twists import ACC
from mjgrad._src.tree.twists import DELTA
from mjgrad._src.tree.twists import MU

wp.set_module_options({"enable_backward": False})


@wp.kernel
def _kept_pairs(
  # Model:
  opt_timestep: wp.array[float],
  M_elemid: wp.array2d[int],
  # Data in:
  qacc_in: wp.array2d[float],
  moment_rownnz_in: wp.array2d[int],
  moment_rowadr_in: wp.array2d[int],
  moment_colind_in: wp.array2d[int],
  actuator_moment_in: wp.array2d[float],
  # In:
  split: wp.array[bool],
  slope: wp.array2d[float],
  mu_in: wp.array2d[float],
  delta_in: wp.array2d[float],
  # Out:
  direction_out: wp.array3d[float],
  adj_rate_out: wp.array3d[float],
):
  worldid, actid = wp.tid()
  if not split[actid]:
    return
  weight = -opt_timestep[worldid % opt_timestep.shape[0]] * slope[worldid, actid]
  first = moment_rowadr_in[worldid, actid]
  last = first + moment_rownnz_in[worldid, actid]
  for n in range(first, last):
    i = moment_colind_in[worldid, n]
    rate_x = float(0.0)
    rate_mu = float(0.0)
    for k in range(first, last):
      j = moment_colind_in[worldid, k]
      if M_elemid[wp.max(i, j), wp.min(i, j)] >= 0:
        rate_x += actuator_moment_in[worldid, k] * (qacc_in[worldid, j] + delta_in[worldid, j])
        rate_mu += actuator_moment_in[worldid, k] * mu_in[worldid, j]
    x = qacc_in[worldid, i] + delta_in[worldid, i]
    direction_out[worldid, actid, i] = weight * (mu_in[worldid, i] * rate_x + x * rate_mu)
  adj_rate_out[worldid, actid, MU] = 0.0
  adj_rate_out[worldid, actid, ACC] = 0.0
  adj_rate_out[worldid, actid, DELTA] = 0.0


@wp.kernel
def _diagonal(
  # Data in:
  moment_rownnz_in: wp.array2d[int],
  moment_rowadr_in: wp.array2d[int],
  moment_colind_in: wp.array2d[int],
  actuator_moment_in: wp.array2d[float],
  efm_as_in: wp.array2d[float],
  # In:
  metric_dual: wp.array2d[float],
  # Out:
  direction_out: wp.array3d[float],
):
  worldid, actid = wp.tid()
  first = moment_rowadr_in[worldid, actid]
  for k in range(first, first + moment_rownnz_in[worldid, actid]):
    c = moment_colind_in[worldid, k]
    weight = -2.0 * efm_as_in[worldid, actid] * metric_dual[worldid, c]
    direction_out[worldid, actid, c] = weight * actuator_moment_in[worldid, k]


def evaluate(work) -> None:
  """Fills the directions of all actuators, after their laws."""
  m, d, act = work.model, work.data, work.actuation
  if act.direction.shape[0] == 0:
    return
  act.direction.zero_()
  moment = [d.moment_rownnz, d.moment_rowadr, d.moment_colind, d.actuator_moment]
  if work.discrete:
    wp.launch(
      _diagonal,
      dim=act.velocity.shape,
      inputs=[*moment, d.efm_as, work.metric_dual],
      outputs=[act.direction],
    )
  else:
    wp.launch(
      _kept_pairs,
      dim=act.velocity.shape,
      inputs=[
        m.opt.timestep,
        m.M_elemid,
        work.qacc,
        *moment,
        work.tree.actuator_split,
        act.slope,
        work.mu,
        work.delta,
      ],
      outputs=[act.direction, act.adj_rate],
    )
