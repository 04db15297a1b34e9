"""Distances of limits and contacts: from cotangents of r to positions and parameters.

With c_i the cotangent of the distance r_i of a row, beyond its margin,

    qbar += J_i^T c_i        joint limits
    adj_length +- c_i        tendon limits, then terms/tendon_path.py
    adj_dist_i = c_i         contacts, then contact/geometry.py or terms/contact_solid.py

and bounds and margins as they enter r_i. Unlike in the terms of the residual nothing is multiplied
with velocities: only poses move.

Source: MuJoCo documentation, Computation, "Constraint model"; docs/adaptive.md, "Jumps".
"""

import mujoco
import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.contact.geometry import contact_geometry_vjp
from mjgrad._src.contact.geometry import is_round_pair
from mjgrad._src.engine.adapter import ConstraintType
from mjgrad._src.terms import contact_solid
from mjgrad._src.terms import tendon_path
from mjgrad._src.terms.contact import add_geom_wrench
from mjgrad._src.terms.contact_material import pair_of
from mjgrad._src.tree import axes
from mjgrad._src.tree import body_poses
from mjgrad._src.tree import frame_poses
from mjgrad._src.tree import sweep

wp.set_module_options({"enable_backward": False})

BALL = wp.constant(int(mujoco.mjtJoint.mjJNT_BALL))
LIMIT_JOINT = wp.constant(int(ConstraintType.LIMIT_JOINT))
LIMIT_TENDON = wp.constant(int(ConstraintType.LIMIT_TENDON))


@wp.kernel
def _limit_vjp(
  # Model:
  nv: int,
  jnt_type: wp.array[int],
  jnt_range: wp.array2d[wp.vec2],
  tendon_range: wp.array2d[wp.vec2],
  # Data in:
  nefc_in: wp.array[int],
  ten_length_in: wp.array2d[float],
  efc_type_in: wp.array2d[int],
  efc_id_in: wp.array2d[int],
  # In:
  J_in: wp.array3d[float],
  # Adjoint in:
  adj_r_in: wp.array2d[float],
  # Adjoint out (+=):
  adj_qpos_out: wp.array2d[float],
  adj_ten_length_out: wp.array2d[float],
  adj_jnt_range_out: wp.array2d[wp.vec2],
  adj_jnt_margin_out: wp.array2d[float],
  adj_tendon_range_out: wp.array2d[wp.vec2],
  adj_tendon_margin_out: wp.array2d[float],
):
  worldid, efcid = wp.tid()
  if efcid >= nefc_in[worldid]:
    return
  adj_r = adj_r_in[worldid, efcid]
  efctype = efc_type_in[worldid, efcid]
  id = efc_id_in[worldid, efcid]
  if adj_r == 0.0:
    return
  if efctype == LIMIT_JOINT:
    direction = float(0.0)
    for dofid in range(nv):
      direction += J_in[worldid, efcid, dofid]
      wp.atomic_add(adj_qpos_out, worldid, dofid, adj_r * J_in[worldid, efcid, dofid])
    bounds = jnt_range[worldid % jnt_range.shape[0], id]
    adj_bounds = wp.vec2(0.0, adj_r)
    if jnt_type[id] == BALL:
      if bounds[0] >= bounds[1]:
        adj_bounds = wp.vec2(adj_r, 0.0)
    elif direction > 0.0:
      adj_bounds = wp.vec2(-adj_r, 0.0)
    accumulate(adj_jnt_range_out, worldid, id, adj_bounds)
    accumulate(adj_jnt_margin_out, worldid, id, -adj_r)
  elif efctype == LIMIT_TENDON:
    bounds = tendon_range[worldid % tendon_range.shape[0], id]
    length = ten_length_in[worldid, id]
    sign = float(1.0)
    adj_bounds = wp.vec2(-adj_r, 0.0)
    if bounds[1] - length < length - bounds[0]:
      sign = -1.0
      adj_bounds = wp.vec2(0.0, adj_r)
    wp.atomic_add(adj_ten_length_out, worldid, id, sign * adj_r)
    accumulate(adj_tendon_range_out, worldid, id, adj_bounds)
    accumulate(adj_tendon_margin_out, worldid, id, -adj_r)


@wp.kernel
def _contact_vjp(
  # Model:
  ngeom: int,
  body_rootid: wp.array[int],
  geom_type: wp.array[int],
  geom_bodyid: wp.array[int],
  geom_size: wp.array2d[wp.vec3],
  nxn_pairid: wp.array[wp.vec2i],
  # Data in:
  nacon_in: wp.array[int],
  geom_xpos_in: wp.array2d[wp.vec3],
  geom_xmat_in: wp.array2d[wp.mat33],
  subtree_com_in: wp.array2d[wp.vec3],
  contact_dist_in: wp.array[float],
  contact_pos_in: wp.array[wp.vec3],
  contact_frame_in: wp.array[wp.mat33],
  contact_geom_in: wp.array[wp.vec2i],
  contact_efc_address_in: wp.array2d[int],
  contact_worldid_in: wp.array[int],
  contact_geomcollisionid_in: wp.array[int],
  # In:
  softness: float,
  # Adjoint in:
  adj_r_in: wp.array2d[float],
  # Adjoint out (+=):
  wrench_out: wp.array4d[float],
  geom_wrench_out: wp.array2d[wp.spatial_vector],
  adj_geom_size_out: wp.array2d[wp.vec3],
  adj_geom_margin_out: wp.array2d[float],
  adj_pair_margin_out: wp.array2d[float],
  # Out:
  adj_dist_out: wp.array[float],
):
  conid = wp.tid()
  if conid >= nacon_in[0] or contact_efc_address_in[conid, 0] < 0:
    return
  worldid = contact_worldid_in[conid]
  adj_r = adj_r_in[worldid, contact_efc_address_in[conid, 0]]
  if adj_r == 0.0:
    return
  g1 = contact_geom_in[conid][0]
  g2 = contact_geom_in[conid][1]
  pairid = pair_of(g1, g2, ngeom, nxn_pairid)
  if pairid >= 0:
    accumulate(adj_pair_margin_out, worldid, pairid, -adj_r)
  else:
    accumulate(adj_geom_margin_out, worldid, g1, -adj_r)
    accumulate(adj_geom_margin_out, worldid, g2, -adj_r)
  type1 = geom_type[g1]
  type2 = geom_type[g2]
  if not is_round_pair(type1, type2):
    adj_dist_out[conid] = adj_r
    return
  pos1 = geom_xpos_in[worldid, g1]
  pos2 = geom_xpos_in[worldid, g2]
  size_row = worldid % geom_size.shape[0]
  frame = contact_frame_in[conid]
  geom1, geom2 = contact_geometry_vjp(
    type1,
    pos1,
    geom_xmat_in[worldid, g1],
    geom_size[size_row, g1],
    type2,
    pos2,
    geom_xmat_in[worldid, g2],
    geom_size[size_row, g2],
    contact_geomcollisionid_in[conid],
    softness,
    contact_dist_in[conid],
    contact_pos_in[conid],
    frame[0],
    adj_r,
    wp.vec3(),
    wp.mat33(),
  )
  b1 = geom_bodyid[g1]
  b2 = geom_bodyid[g2]
  offset1 = pos1 - subtree_com_in[worldid, body_rootid[b1]]
  offset2 = pos2 - subtree_com_in[worldid, body_rootid[b2]]
  add_geom_wrench(worldid, b1, g1, offset1, geom1, wrench_out, geom_wrench_out)
  add_geom_wrench(worldid, b2, g2, offset2, geom2, wrench_out, geom_wrench_out)
  accumulate(adj_geom_size_out, worldid, g1, geom1.size)
  accumulate(adj_geom_size_out, worldid, g2, geom2.size)


def vjp(work, adj_r: wp.array) -> None:
  """Adds what distances owe to `work.adj_qpos` and to the parameters.

  Args:
    work: the workspace, with the rows of the present state in `efc_J`.
    adj_r: cotangents, at the first row of each contact, shape [nworld, njmax].
  """
  m, d = work.model, work.data
  for array in (work.wrench, work.twist, work.product_wrench):
    array.zero_()
  for array in (work.adj_ten_length, work.adj_ten_rate):
    array.zero_()
  axes.start(work)
  frame_poses.start(work)
  wp.launch(
    _limit_vjp,
    dim=adj_r.shape,
    inputs=[
      m.nv,
      m.jnt_type,
      m.jnt_range,
      m.tendon_range,
      d.nefc,
      d.ten_length,
      d.efc.type,
      d.efc.id,
      work.efc_J,
      adj_r,
      work.adj_qpos,
      work.adj_ten_length,
      work.adj["jnt_range"],
      work.adj["jnt_margin"],
      work.adj["tendon_range"],
      work.adj["tendon_margin"],
    ],
  )
  if work.contact_enabled:
    if work.solid_contacts:
      work.adj_contact.zero_()
    wp.launch(
      _contact_vjp,
      dim=d.naconmax,
      inputs=[
        m.ngeom,
        m.body_rootid,
        m.geom_type,
        m.geom_bodyid,
        m.geom_size,
        m.nxn_pairid,
        d.nacon,
        d.geom_xpos,
        d.geom_xmat,
        d.subtree_com,
        d.contact.dist,
        d.contact.pos,
        d.contact.frame,
        d.contact.geom,
        d.contact.efc_address,
        d.contact.worldid,
        d.contact.geomcollisionid,
        work.softness,
        adj_r,
        work.wrench,
        work.geom_wrench,
        work.adj["geom_size"],
        work.adj["geom_margin"],
        work.adj["pair_margin"],
      ],
      outputs=[work.adj_contact.dist],
    )
    contact_solid.pull_back(work, work.adj_contact, in_gap=False)
  tendon_path.vjp(work)
  sweep.launch(work)
  body_poses.launch(work)
  frame_poses.launch(work)
