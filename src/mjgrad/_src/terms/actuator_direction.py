"""Directions of actuators: what the scale of rows adds where a moment turns, under `discrete`.

The diagonal of the metric has w m_c^2 from an actuator of moment m (adjoint/metric.py), on which
the scale of rows depends with -alpha_c (terms/row_scale.py). Its derivative in m at a fixed w is

    d_c = -2 alpha_c w m_c,

so that d . m at a fixed d is a rate along a direction of the actuator's own, which its transmission
carries on as it does the other rates. The derivative of w is in terms/actuator.py.

Source: MuJoCo documentation, Computation, "Numerical integration" (discrete).
"""

import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.kernel
def _direction(
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
  """Fills the directions of all actuators, after the duals of the rows."""
  d, act = work.data, work.actuation
  if not work.discrete:
    return
  act.direction.zero_()
  wp.launch(
    _direction,
    dim=act.velocity.shape,
    inputs=[
      d.moment_rownnz,
      d.moment_rowadr,
      d.moment_colind,
      d.actuator_moment,
      d.efm_as,
      work.metric_dual,
    ],
    outputs=[act.direction],
  )
