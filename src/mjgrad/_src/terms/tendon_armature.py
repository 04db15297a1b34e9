"""Armature of tendons: m, the inertia that resists the rate of the length.

    phi = m [lam, a] + m lam Jdot v,    psi = m [mu, e]

where [x, y] is the part of (J x) (J y) that the pattern of the inertia matrix has room for (see
terms/tendon.py), all of it for spatial tendons on one chain. J of a fixed tendon is constant: only
m has a gradient. For a spatial tendon, which then has no wrapping geoms, J a + Jdot v is the second
derivative of the length, to which each segment adds, with the true accelerations of its ends,

    n . (acc2 - acc1) + (|u|^2 - (n . u)^2) / l,    u = u2 - u1

A tendon between branches has m ([lam, a] - (J lam) (J a)) beside that, and like psi it adds its
derivative in J to the direction of the tendon (terms/tendon_direction.py).

Source: MuJoCo documentation, XML reference, "tendon/spatial" (armature).
"""

import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.engine.adapter import tendon_armature_total
from mjgrad._src.terms.tendon_path import FIXED
from mjgrad._src.terms.tendon_path import MINVAL
from mjgrad._src.terms.tendon_path import direction
from mjgrad._src.terms.tendon_rates import add_chain_direction
from mjgrad._src.terms.tendon_rates import chain_product
from mjgrad._src.tree.attach import FrameAdjoint
from mjgrad._src.tree.attach import FrameState
from mjgrad._src.tree.attach import add_frame
from mjgrad._src.tree.attach import frame_state
from mjgrad._src.tree.twists import ACC
from mjgrad._src.tree.twists import DELTA
from mjgrad._src.tree.twists import LAM
from mjgrad._src.tree.twists import MU

wp.set_module_options({"enable_backward": False})


@wp.func
def _site_state(
  body_rootid: wp.array[int],
  site_bodyid: wp.array[int],
  site_xpos_in: wp.array2d[wp.vec3],
  subtree_com_in: wp.array2d[wp.vec3],
  body_lastdof: wp.array[int],
  twist_in: wp.array4d[float],
  worldid: int,
  siteid: int,
) -> FrameState:
  bodyid = site_bodyid[siteid]
  offset = site_xpos_in[worldid, siteid] - subtree_com_in[worldid, body_rootid[bodyid]]
  return frame_state(twist_in, worldid, body_lastdof[bodyid] + 1, offset)


@wp.kernel
def _acceleration(
  # Model:
  body_rootid: wp.array[int],
  site_bodyid: wp.array[int],
  wrap_objid: wp.array[int],
  tendon_site_pair_adr: wp.array[int],
  wrap_site_pair_adr: wp.array[int],
  wrap_pulley_scale: wp.array[float],
  # Data in:
  site_xpos_in: wp.array2d[wp.vec3],
  subtree_com_in: wp.array2d[wp.vec3],
  # In:
  body_lastdof: wp.array[int],
  twist_in: wp.array4d[float],
  # Out:
  ten_acc_out: wp.array2d[float],
):
  worldid, pairid = wp.tid()
  adr = wrap_site_pair_adr[pairid]
  site1 = wrap_objid[adr]
  site2 = wrap_objid[adr + 1]
  if site_bodyid[site1] == site_bodyid[site2]:
    return
  end1 = _site_state(
    body_rootid,
    site_bodyid,
    site_xpos_in,
    subtree_com_in,
    body_lastdof,
    twist_in,
    worldid,
    site1,
  )
  end2 = _site_state(
    body_rootid,
    site_bodyid,
    site_xpos_in,
    subtree_com_in,
    body_lastdof,
    twist_in,
    worldid,
    site2,
  )
  p1 = site_xpos_in[worldid, site1]
  p2 = site_xpos_in[worldid, site2]
  n = direction(p1, p2)
  length = wp.length(p2 - p1)
  value = wp.dot(n, end2.acc - end1.acc)
  if length >= MINVAL:
    u = end2.vel - end1.vel
    across = u - wp.dot(n, u) * n
    value += wp.dot(across, across) / length
  wp.atomic_add(ten_acc_out, worldid, tendon_site_pair_adr[pairid], wrap_pulley_scale[adr] * value)


@wp.func
def armature_product(
  tendon_type: wp.array[int],
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  M_elemid: wp.array2d[int],
  ten_J_in: wp.array2d[float],
  lam_in: wp.array2d[float],
  qacc_in: wp.array2d[float],
  ten_rate: wp.array3d[float],
  ten_acc: wp.array2d[float],
  worldid: int,
  tenid: int,
) -> float:
  """phi for an armature of one, [lam, a] + lam Jdot v."""
  product = chain_product(
    ten_J_rownnz, ten_J_rowadr, ten_J_colind, M_elemid, ten_J_in, lam_in, qacc_in, worldid, tenid
  )
  if tendon_type[tenid] != FIXED:
    bias = ten_acc[worldid, tenid] - ten_rate[worldid, tenid, ACC]
    product += ten_rate[worldid, tenid, LAM] * bias
  return product


@wp.kernel
def _armature_vjp(
  # Model:
  tendon_type: wp.array[int],
  tendon_actuatorid: wp.array[int],
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  tendon_armature: wp.array2d[float],
  actuator_trntype: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_armature: wp.array2d[float],
  actuator_gear: wp.array2d[wp.spatial_vector],
  M_elemid: wp.array2d[int],
  # Data in:
  qacc_in: wp.array2d[float],
  ten_J_in: wp.array2d[float],
  # In:
  lam_in: wp.array2d[float],
  mu_in: wp.array2d[float],
  delta_in: wp.array2d[float],
  ten_rate: wp.array3d[float],
  ten_acc: wp.array2d[float],
  tendon_crossing: wp.array[bool],
  # Adjoint out (+=):
  adj_ten_rate_out: wp.array3d[float],
  ten_direction_out: wp.array3d[float],
  adj_tendon_armature_out: wp.array2d[float],
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
  if tendon_type[tenid] != FIXED:
    adj_ten_rate_out[worldid, tenid, LAM] += armature * ten_acc[worldid, tenid]
    if tendon_crossing[tenid]:
      adj_ten_rate_out[worldid, tenid, LAM] -= armature * ten_rate[worldid, tenid, ACC]
      adj_ten_rate_out[worldid, tenid, ACC] -= armature * ten_rate[worldid, tenid, LAM]
      add_chain_direction(
        ten_J_rownnz,
        ten_J_rowadr,
        ten_J_colind,
        M_elemid,
        ten_J_in,
        lam_in,
        qacc_in,
        armature,
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
        armature,
        worldid,
        tenid,
        ten_direction_out,
      )
    else:
      adj_ten_rate_out[worldid, tenid, MU] += armature * ten_rate[worldid, tenid, DELTA]
      adj_ten_rate_out[worldid, tenid, DELTA] += armature * ten_rate[worldid, tenid, MU]
  if adj_tendon_armature_out.shape[0] > 0:
    grad = armature_product(
      tendon_type,
      ten_J_rownnz,
      ten_J_rowadr,
      ten_J_colind,
      M_elemid,
      ten_J_in,
      lam_in,
      qacc_in,
      ten_rate,
      ten_acc,
      worldid,
      tenid,
    )
    grad += chain_product(
      ten_J_rownnz, ten_J_rowadr, ten_J_colind, M_elemid, ten_J_in, mu_in, delta_in, worldid, tenid
    )
    accumulate(adj_tendon_armature_out, worldid, tenid, grad)


@wp.kernel
def _acceleration_vjp(
  # Model:
  body_rootid: wp.array[int],
  site_bodyid: wp.array[int],
  tendon_actuatorid: wp.array[int],
  tendon_armature: wp.array2d[float],
  wrap_objid: wp.array[int],
  tendon_site_pair_adr: wp.array[int],
  wrap_site_pair_adr: wp.array[int],
  wrap_pulley_scale: wp.array[float],
  actuator_trntype: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_armature: wp.array2d[float],
  actuator_gear: wp.array2d[wp.spatial_vector],
  # Data in:
  site_xpos_in: wp.array2d[wp.vec3],
  subtree_com_in: wp.array2d[wp.vec3],
  # In:
  body_lastdof: wp.array[int],
  twist_in: wp.array4d[float],
  ten_rate: wp.array3d[float],
  # Adjoint out (+=):
  wrench_out: wp.array4d[float],
  site_wrench_out: wp.array2d[wp.spatial_vector],
):
  worldid, pairid = wp.tid()
  adr = wrap_site_pair_adr[pairid]
  tenid = tendon_site_pair_adr[pairid]
  site1 = wrap_objid[adr]
  site2 = wrap_objid[adr + 1]
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
  if armature == 0.0 or site_bodyid[site1] == site_bodyid[site2]:
    return
  end1 = _site_state(
    body_rootid,
    site_bodyid,
    site_xpos_in,
    subtree_com_in,
    body_lastdof,
    twist_in,
    worldid,
    site1,
  )
  end2 = _site_state(
    body_rootid,
    site_bodyid,
    site_xpos_in,
    subtree_com_in,
    body_lastdof,
    twist_in,
    worldid,
    site2,
  )
  p1 = site_xpos_in[worldid, site1]
  p2 = site_xpos_in[worldid, site2]
  n = direction(p1, p2)
  length = wp.length(p2 - p1)
  c = armature * ten_rate[worldid, tenid, LAM] * wrap_pulley_scale[adr]

  adj1 = FrameAdjoint()
  adj2 = FrameAdjoint()
  adj1.acc = -c * n
  adj2.acc = c * n
  if length >= MINVAL:
    u = end2.vel - end1.vel
    along = wp.dot(n, u)
    across = u - along * n
    adj_u = (2.0 * c / length) * across
    adj_n = c * (end2.acc - end1.acc) - along * adj_u
    adj_d = (adj_n - wp.dot(n, adj_n) * n) / length
    adj_d -= (c * wp.dot(across, across) / (length * length)) * n
    adj1.vel = -adj_u
    adj2.vel = adj_u
    adj1.pos = -adj_d
    adj2.pos = adj_d
  pose1 = add_frame(worldid, site_bodyid[site1], end1, adj1, wrench_out)
  pose2 = add_frame(worldid, site_bodyid[site2], end2, adj2, wrench_out)
  accumulate(site_wrench_out, worldid, site1, pose1)
  accumulate(site_wrench_out, worldid, site2, pose2)


def vjp(work) -> None:
  """Adds the wrenches and cotangents of the armature, and the gradient of the parameter."""
  m, d = work.model, work.data
  if not work.tendon_armature_enabled:
    return
  npair = m.wrap_site_pair_adr.size
  if npair:
    work.ten_acc.zero_()
    wp.launch(
      _acceleration,
      dim=(d.nworld, npair),
      inputs=[
        m.body_rootid,
        m.site_bodyid,
        m.wrap_objid,
        m.tendon_site_pair_adr,
        m.wrap_site_pair_adr,
        m.wrap_pulley_scale,
        d.site_xpos,
        d.subtree_com,
        work.tree.body_lastdof,
        work.twist,
      ],
      outputs=[work.ten_acc],
    )
  wp.launch(
    _armature_vjp,
    dim=(d.nworld, m.ntendon),
    inputs=[
      m.tendon_type,
      m.tendon_actuatorid,
      m.ten_J_rownnz,
      m.ten_J_rowadr,
      m.ten_J_colind,
      m.tendon_armature,
      m.actuator_trntype,
      m.actuator_trnid,
      m.actuator_armature,
      m.actuator_gear,
      m.M_elemid,
      work.qacc,
      d.ten_J,
      work.lam,
      work.mu,
      work.delta,
      work.ten_rate,
      work.ten_acc,
      work.tree.tendon_crossing,
      work.adj_ten_rate,
      work.ten_direction,
      work.adj["tendon_armature"],
    ],
  )
  if npair:
    wp.launch(
      _acceleration_vjp,
      dim=(d.nworld, npair),
      inputs=[
        m.body_rootid,
        m.site_bodyid,
        m.tendon_actuatorid,
        m.tendon_armature,
        m.wrap_objid,
        m.tendon_site_pair_adr,
        m.wrap_site_pair_adr,
        m.wrap_pulley_scale,
        m.actuator_trntype,
        m.actuator_trnid,
        m.actuator_armature,
        m.actuator_gear,
        d.site_xpos,
        d.subtree_com,
        work.tree.body_lastdof,
        work.twist,
        work.ten_rate,
        work.wrench,
        work.site_wrench,
      ],
    )
