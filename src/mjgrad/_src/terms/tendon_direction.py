"""Directions of spatial tendons: what J contributes beyond products of its rates.

J of a spatial tendon turns with its bodies. A scalar whose derivative in J is d adds d . J at a
fixed d, a rate along a direction of the tendon's own, whose twists terms/tendon_path.py finds and
whose cotangents go to the axes of the bodies (tree/axes.py).

Between branches of the tree the implicit integrators keep of J J^T the pairs of dofs on one chain,
so with the weight c of a tendon, h times the slopes of its dampers and actuators,

    psi = c sum over kept pairs of  mu_i J_i J_j x_j,      x = a_d = a + e,
    d_i = c (mu_i sum_j J_j x_j + x_i sum_j J_j mu_j)      over the j that i is kept with,

and so does the inertia matrix with the armature of tendons (terms/tendon_armature.py).

Under `discrete` the scale of rows (terms/row_scale.py) reads the diagonals of the metric and of the
inertia matrix, to which a tendon adds w J_c^2 and m J_c^2 with w from its springs and dampers, and
m its armature:

    d_c = -2 alpha_c w J_c + 2 (beta_c - alpha_c) m J_c

to which come the directions of its actuators times their gears (terms/actuator_direction.py) and
those of its rows (terms/tendon_rows.py). The derivatives of c, w and m are where these are made.

Source: docs/derivation.md, "Tendons".
"""

import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.engine.adapter import tendon_armature_total
from mjgrad._src.terms.tendon_rates import add_chain_direction
from mjgrad._src.terms.tendon_rates import squared_row
from mjgrad._src.terms.transmission_tendon import TENDON

wp.set_module_options({"enable_backward": False})


@wp.kernel
def _branches(
  # Model:
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  M_elemid: wp.array2d[int],
  # Data in:
  qacc_in: wp.array2d[float],
  ten_J_in: wp.array2d[float],
  # In:
  mu_in: wp.array2d[float],
  delta_in: wp.array2d[float],
  branch_weight: wp.array2d[float],
  # Out:
  ten_direction_out: wp.array3d[float],
):
  worldid, tenid = wp.tid()
  weight = branch_weight[worldid, tenid]
  if weight == 0.0:
    return
  add_chain_direction(
    ten_J_rownnz,
    ten_J_rowadr,
    ten_J_colind,
    M_elemid,
    ten_J_in,
    mu_in,
    qacc_in,
    weight,
    worldid,
    tenid,
    ten_direction_out,
  )
  add_chain_direction(
    ten_J_rownnz,
    ten_J_rowadr,
    ten_J_colind,
    M_elemid,
    ten_J_in,
    mu_in,
    delta_in,
    weight,
    worldid,
    tenid,
    ten_direction_out,
  )


@wp.kernel
def _diagonals(
  # Model:
  tendon_actuatorid: wp.array[int],
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  tendon_armature: wp.array2d[float],
  actuator_trntype: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_armature: wp.array2d[float],
  actuator_gear: wp.array2d[wp.spatial_vector],
  # Data in:
  ten_J_in: wp.array2d[float],
  efm_ts_in: wp.array2d[float],
  # In:
  metric_dual: wp.array2d[float],
  inertia_dual: wp.array2d[float],
  # Adjoint out (+=):
  adj_tendon_armature_out: wp.array2d[float],
  # Out:
  ten_direction_out: wp.array3d[float],
):
  worldid, tenid = wp.tid()
  armature = tendon_armature_total(
    tendon_actuatorid,
    tendon_armature,
    actuator_trntype,
    actuator_trnid,
    actuator_armature,
    actuator_gear,
    worldid,
    tenid,
  )
  weight = efm_ts_in[worldid, tenid]
  first = ten_J_rowadr[tenid]
  for k in range(first, first + ten_J_rownnz[tenid]):
    c = ten_J_colind[k]
    dual = armature * inertia_dual[worldid, c] - weight * metric_dual[worldid, c]
    ten_direction_out[worldid, tenid, c] += 2.0 * dual * ten_J_in[worldid, k]
  diagonal = squared_row(
    ten_J_rownnz, ten_J_rowadr, ten_J_colind, ten_J_in, inertia_dual, worldid, tenid
  )
  accumulate(adj_tendon_armature_out, worldid, tenid, diagonal)


@wp.kernel
def _actuators(
  # Model:
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  actuator_trntype: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_gear: wp.array2d[wp.spatial_vector],
  # In:
  direction: wp.array3d[float],
  # Out:
  ten_direction_out: wp.array3d[float],
):
  worldid, actid = wp.tid()
  if actuator_trntype[actid] != TENDON:
    return
  tenid = actuator_trnid[actid][0]
  gear = actuator_gear[worldid % actuator_gear.shape[0], actid][0]
  first = ten_J_rowadr[tenid]
  for k in range(first, first + ten_J_rownnz[tenid]):
    c = ten_J_colind[k]
    wp.atomic_add(ten_direction_out, worldid, tenid, c, gear * direction[worldid, actid, c])


def vjp(work) -> None:
  """Adds to `work.ten_direction`, after all that adds to `work.branch_weight`."""
  m, d = work.model, work.data
  if m.ntendon == 0 or work.ten_direction.shape[0] == 0:
    return
  if not work.discrete:
    wp.launch(
      _branches,
      dim=(d.nworld, m.ntendon),
      inputs=[
        m.ten_J_rownnz,
        m.ten_J_rowadr,
        m.ten_J_colind,
        m.M_elemid,
        work.qacc,
        d.ten_J,
        work.mu,
        work.delta,
        work.branch_weight,
      ],
      outputs=[work.ten_direction],
    )
    work.branch_weight.zero_()
    return
  wp.launch(
    _diagonals,
    dim=(d.nworld, m.ntendon),
    inputs=[
      m.tendon_actuatorid,
      m.ten_J_rownnz,
      m.ten_J_rowadr,
      m.ten_J_colind,
      m.tendon_armature,
      m.actuator_trntype,
      m.actuator_trnid,
      m.actuator_armature,
      m.actuator_gear,
      d.ten_J,
      d.efm_ts,
      work.metric_dual,
      work.inertia_dual,
      work.adj["tendon_armature"],
    ],
    outputs=[work.ten_direction],
  )
  if work.actuation_enabled:
    wp.launch(
      _actuators,
      dim=(d.nworld, m.nactuator),
      inputs=[
        m.ten_J_rownnz,
        m.ten_J_rowadr,
        m.ten_J_colind,
        m.actuator_trntype,
        m.actuator_trnid,
        m.actuator_gear,
        work.actuation.direction,
      ],
      outputs=[work.ten_direction],
    )
