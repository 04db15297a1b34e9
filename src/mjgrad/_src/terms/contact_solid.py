"""Contacts of solid geoms: from the cotangent of their geometry to wrenches on the bodies.

The second half of terms/contact.py for all pairs that have a geom other than a plane, sphere or
capsule; the geometry is that of contact/solid.py. Launched only where such geoms may collide.

Source: DESIGN section 2; docs/contacts.md.
"""

import mujoco
import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.contact.cotangents import ContactCotangents
from mjgrad._src.contact.deformation import ShapeAdjoint
from mjgrad._src.contact.deformation import add_height_field
from mjgrad._src.contact.deformation import add_mesh_scale
from mjgrad._src.contact.dropped import CORNER
from mjgrad._src.contact.geometry import is_round_pair
from mjgrad._src.contact.height_field import HFIELD
from mjgrad._src.contact.height_field import HeightFields
from mjgrad._src.contact.solid import solid_geometry_vjp
from mjgrad._src.contact.surface import BOX
from mjgrad._src.contact.surface import MESH
from mjgrad._src.contact.surface import Meshes
from mjgrad._src.engine.status import CONTACT
from mjgrad._src.terms.contact import add_geom_wrench
from mjgrad._src.terms.contact_material import pair_of

wp.set_module_options({"enable_backward": False})

MULTICCD = wp.constant(int(mujoco.mjtDisableBit.mjDSBL_MULTICCD))


@wp.kernel
def _contact_solid_vjp(
  # Model:
  ngeom: int,
  opt_disableflags: int,
  opt_ccd_tolerance: wp.array[float],
  body_rootid: wp.array[int],
  geom_type: wp.array[int],
  geom_bodyid: wp.array[int],
  geom_dataid: wp.array2d[int],
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
  contact_includemargin_in: wp.array[float],
  contact_geom_in: wp.array[wp.vec2i],
  contact_efc_address_in: wp.array2d[int],
  contact_worldid_in: wp.array[int],
  contact_geomcollisionid_in: wp.array[int],
  # In:
  in_gap: bool,
  softness: float,
  meshes: Meshes,
  fields: HeightFields,
  # Adjoint in:
  adj_dist_in: wp.array[float],
  adj_point_in: wp.array[wp.vec3],
  adj_frame_in: wp.array[wp.mat33],
  # Adjoint out (+=):
  wrench_out: wp.array4d[float],
  geom_wrench_out: wp.array2d[wp.spatial_vector],
  adj_geom_size_out: wp.array2d[wp.vec3],
  adj_geom_margin_out: wp.array2d[float],
  adj_pair_margin_out: wp.array2d[float],
  adj_shape_out: ShapeAdjoint,
  # Out:
  word_out: wp.array[int],
):
  conid = wp.tid()
  if conid >= nacon_in[0] or (contact_efc_address_in[conid, 0] < 0 and not in_gap):
    return
  g1 = contact_geom_in[conid][0]
  g2 = contact_geom_in[conid][1]
  type1 = geom_type[g1]
  type2 = geom_type[g2]
  if is_round_pair(type1, type2):
    return
  worldid = contact_worldid_in[conid]
  pos1 = geom_xpos_in[worldid, g1]
  pos2 = geom_xpos_in[worldid, g2]
  boxes = type1 == BOX and type2 == BOX
  manifolds = boxes or (opt_disableflags & MULTICCD) == 0
  size_row = worldid % geom_size.shape[0]
  data_row = worldid % geom_dataid.shape[0]
  rot1 = geom_xmat_in[worldid, g1]
  rot2 = geom_xmat_in[worldid, g2]
  dataid1 = geom_dataid[data_row, g1]
  dataid2 = geom_dataid[data_row, g2]
  geom1, geom2, elevations = solid_geometry_vjp(
    type1,
    pos1,
    rot1,
    geom_size[size_row, g1],
    dataid1,
    type2,
    pos2,
    rot2,
    geom_size[size_row, g2],
    dataid2,
    meshes,
    fields,
    opt_ccd_tolerance[worldid % opt_ccd_tolerance.shape[0]],
    manifolds,
    softness,
    contact_geomcollisionid_in[conid],
    contact_dist_in[conid],
    contact_pos_in[conid],
    contact_frame_in[conid],
    contact_includemargin_in[conid],
    adj_dist_in[conid],
    adj_point_in[conid],
    adj_frame_in[conid],
  )
  if elevations.ids[0] == CORNER and adj_shape_out.hfield_data.shape[0] > 0:
    geom1.force = wp.vec3(wp.nan, wp.nan, wp.nan)
  given = wp.length_sq(adj_point_in[conid]) + wp.ddot(adj_frame_in[conid], adj_frame_in[conid])
  found = wp.dot(geom1.force, geom1.force) + wp.dot(geom1.torque, geom1.torque)
  if wp.isfinite(adj_dist_in[conid] + given) and not wp.isfinite(found):
    wp.atomic_max(word_out, wp.static(CONTACT), worldid * geom_type.shape[0] + g1 + 1)
  b1 = geom_bodyid[g1]
  b2 = geom_bodyid[g2]
  offset1 = pos1 - subtree_com_in[worldid, body_rootid[b1]]
  offset2 = pos2 - subtree_com_in[worldid, body_rootid[b2]]
  add_geom_wrench(worldid, b1, g1, offset1, geom1, wrench_out, geom_wrench_out)
  add_geom_wrench(worldid, b2, g2, offset2, geom2, wrench_out, geom_wrench_out)
  accumulate(adj_geom_size_out, worldid, g1, geom1.size)
  accumulate(adj_geom_size_out, worldid, g2, geom2.size)
  adj_margin = geom1.margin + geom2.margin
  pairid = pair_of(g1, g2, ngeom, nxn_pairid)
  if pairid >= 0:
    accumulate(adj_pair_margin_out, worldid, pairid, adj_margin)
  else:
    accumulate(adj_geom_margin_out, worldid, g1, adj_margin)
    accumulate(adj_geom_margin_out, worldid, g2, adj_margin)
  if type1 == HFIELD:
    add_height_field(worldid, dataid1, fields, rot1, geom1, elevations, adj_shape_out)
  if type1 == MESH:
    add_mesh_scale(worldid, dataid1, rot1, geom1, adj_shape_out)
  if type2 == MESH:
    add_mesh_scale(worldid, dataid2, rot2, geom2, adj_shape_out)


def vjp(work) -> None:
  """Adds the wrenches of the geometry of solid contacts, and the gradients of their sizes."""
  pull_back(work, work.adj_contact, in_gap=False)


def pull_back(work, adj: ContactCotangents, in_gap: bool) -> None:
  """Carries cotangents of solid contacts, also of those without rows if `in_gap`, to the bodies."""
  m, d = work.model, work.data
  if not work.solid_contacts:
    return
  wp.launch(
    _contact_solid_vjp,
    dim=d.naconmax,
    inputs=[
      m.ngeom,
      m.opt.disableflags,
      m.opt.ccd_tolerance,
      m.body_rootid,
      m.geom_type,
      m.geom_bodyid,
      m.geom_dataid,
      m.geom_size,
      m.nxn_pairid,
      d.nacon,
      d.geom_xpos,
      d.geom_xmat,
      d.subtree_com,
      d.contact.dist,
      d.contact.pos,
      d.contact.frame,
      d.contact.includemargin,
      d.contact.geom,
      d.contact.efc_address,
      d.contact.worldid,
      d.contact.geomcollisionid,
      in_gap,
      work.softness,
      work.meshes,
      work.height_fields,
      adj.dist,
      adj.point,
      adj.frame,
      work.wrench,
      work.geom_wrench,
      work.adj["geom_size"],
      work.adj["geom_margin"],
      work.adj["pair_margin"],
      work.adj_shape,
      work.status,
    ],
  )
