"""Body transmissions (adhesion): from the cotangents of the rates to the contacts of a body.

The force acts along the normals of all contacts of the body, those in their gap included, with
equal shares: with n the normal, p the point and u^w the velocity of body 2 minus that of body 1,

    l = 0,    rate^w = -1/N sum over the N contacts of n . u^w

so that each contact receives, with k^w = -c^w / N and o^w the relative angular velocity,

    F_2^w = -F_1^w = k^w n at p,    adj_n = sum_w k^w u^w,    adj_p = sum_w k^w n x o^w

and contact/geometry.py or, for solid geoms, terms/contact_solid.py carries (adj_p, adj_n) to the
poses and sizes of both geoms. The gear does not count. Held fixed: which contacts there are.

Source: MuJoCo documentation, XML reference, "actuator/adhesion".
"""

import mujoco
import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.contact.geometry import contact_geometry_vjp
from mjgrad._src.contact.geometry import is_round_pair
from mjgrad._src.spatial import spatial_at
from mjgrad._src.spatial import velocity_at
from mjgrad._src.spatial import wrench_at
from mjgrad._src.terms import contact_solid
from mjgrad._src.terms.contact import add_geom_wrench
from mjgrad._src.tree.attach import add_wrench

wp.set_module_options({"enable_backward": False})

BODY = wp.constant(int(mujoco.mjtTrn.mjTRN_BODY))
KINDS = frozenset((int(BODY),))


@wp.kernel
def _count(
  # Model:
  geom_bodyid: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_trntype_body_adr: wp.array[int],
  # Data in:
  nacon_in: wp.array[int],
  contact_geom_in: wp.array[wp.vec2i],
  contact_worldid_in: wp.array[int],
  # Out:
  count_out: wp.array2d[float],
):
  conid = wp.tid()
  if conid >= nacon_in[0]:
    return
  body1 = geom_bodyid[contact_geom_in[conid][0]]
  body2 = geom_bodyid[contact_geom_in[conid][1]]
  for k in range(actuator_trntype_body_adr.shape[0]):
    actid = actuator_trntype_body_adr[k]
    if actuator_trnid[actid][0] == body1 or actuator_trnid[actid][0] == body2:
      wp.atomic_add(count_out, contact_worldid_in[conid], actid, 1.0)


@wp.kernel
def _body_vjp(
  # Model:
  body_rootid: wp.array[int],
  geom_type: wp.array[int],
  geom_bodyid: wp.array[int],
  geom_size: wp.array2d[wp.vec3],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_trntype_body_adr: wp.array[int],
  # Data in:
  nacon_in: wp.array[int],
  geom_xpos_in: wp.array2d[wp.vec3],
  geom_xmat_in: wp.array2d[wp.mat33],
  subtree_com_in: wp.array2d[wp.vec3],
  contact_dist_in: wp.array[float],
  contact_pos_in: wp.array[wp.vec3],
  contact_frame_in: wp.array[wp.mat33],
  contact_geom_in: wp.array[wp.vec2i],
  contact_worldid_in: wp.array[int],
  contact_geomcollisionid_in: wp.array[int],
  # In:
  softness: float,
  nrate: int,
  count: wp.array2d[float],
  body_lastdof: wp.array[int],
  twist_in: wp.array4d[float],
  # Adjoint in:
  adj_rate_in: wp.array3d[float],
  # Adjoint out (+=):
  wrench_out: wp.array4d[float],
  geom_wrench_out: wp.array2d[wp.spatial_vector],
  adj_geom_size_out: wp.array2d[wp.vec3],
  # Out:
  adj_point_out: wp.array[wp.vec3],
  adj_frame_out: wp.array[wp.mat33],
):
  conid = wp.tid()
  if conid >= nacon_in[0]:
    return
  worldid = contact_worldid_in[conid]
  g1 = contact_geom_in[conid][0]
  g2 = contact_geom_in[conid][1]
  body1 = geom_bodyid[g1]
  body2 = geom_bodyid[g2]
  origin1 = subtree_com_in[worldid, body_rootid[body1]]
  origin2 = subtree_com_in[worldid, body_rootid[body2]]
  point = contact_pos_in[conid]
  normal = contact_frame_in[conid][0]
  offset1 = point - origin1
  offset2 = point - origin2
  touched = bool(False)
  adj_point = wp.vec3()
  adj_normal = wp.vec3()
  for w in range(nrate):
    share = float(0.0)
    for k in range(actuator_trntype_body_adr.shape[0]):
      actid = actuator_trntype_body_adr[k]
      if actuator_trnid[actid][0] == body1 or actuator_trnid[actid][0] == body2:
        share -= adj_rate_in[worldid, actid, w] / count[worldid, actid]
        touched = True
    twist1 = spatial_at(twist_in, worldid, w, body_lastdof[body1] + 1)
    twist2 = spatial_at(twist_in, worldid, w, body_lastdof[body2] + 1)
    force = share * normal
    wrench1 = -wrench_at(force, wp.vec3(0.0), offset1)
    wrench2 = wrench_at(force, wp.vec3(0.0), offset2)
    add_wrench(worldid, body1, w, twist1, wrench1, wrench_out)
    add_wrench(worldid, body2, w, twist2, wrench2, wrench_out)
    adj_normal += share * (velocity_at(twist2, offset2) - velocity_at(twist1, offset1))
    adj_point += wp.cross(force, wp.spatial_top(twist2) - wp.spatial_top(twist1))
  if not touched:
    return

  adj_frame = wp.matrix_from_rows(adj_normal, wp.vec3(0.0), wp.vec3(0.0))
  if not is_round_pair(geom_type[g1], geom_type[g2]):
    adj_point_out[conid] = adj_point
    adj_frame_out[conid] = adj_frame
    return
  pos1 = geom_xpos_in[worldid, g1]
  pos2 = geom_xpos_in[worldid, g2]
  row = worldid % geom_size.shape[0]
  geom1, geom2 = contact_geometry_vjp(
    geom_type[g1],
    pos1,
    geom_xmat_in[worldid, g1],
    geom_size[row, g1],
    geom_type[g2],
    pos2,
    geom_xmat_in[worldid, g2],
    geom_size[row, g2],
    contact_geomcollisionid_in[conid],
    softness,
    contact_dist_in[conid],
    point,
    normal,
    0.0,
    adj_point,
    adj_frame,
  )
  add_geom_wrench(worldid, body1, g1, pos1 - origin1, geom1, wrench_out, geom_wrench_out)
  add_geom_wrench(worldid, body2, g2, pos2 - origin2, geom2, wrench_out, geom_wrench_out)
  accumulate(adj_geom_size_out, worldid, g1, geom1.size)
  accumulate(adj_geom_size_out, worldid, g2, geom2.size)


def vjp(work) -> None:
  """Adds the wrenches of adhesive contacts and the gradients of the geoms' sizes."""
  m, d, act = work.model, work.data, work.actuation
  if not work.contact_enabled:
    return
  act.ncontact.zero_()
  act.adj_contact.zero_()
  wp.launch(
    _count,
    dim=d.naconmax,
    inputs=[
      m.geom_bodyid,
      m.actuator_trnid,
      m.actuator_trntype_body_adr,
      d.nacon,
      d.contact.geom,
      d.contact.worldid,
    ],
    outputs=[act.ncontact],
  )
  wp.launch(
    _body_vjp,
    dim=d.naconmax,
    inputs=[
      m.body_rootid,
      m.geom_type,
      m.geom_bodyid,
      m.geom_size,
      m.actuator_trnid,
      m.actuator_trntype_body_adr,
      d.nacon,
      d.geom_xpos,
      d.geom_xmat,
      d.subtree_com,
      d.contact.dist,
      d.contact.pos,
      d.contact.frame,
      d.contact.geom,
      d.contact.worldid,
      d.contact.geomcollisionid,
      work.softness,
      act.nrate,
      act.ncontact,
      work.tree.body_lastdof,
      work.twist,
      act.adj_rate,
      work.wrench,
      work.geom_wrench,
      work.adj["geom_size"],
    ],
    outputs=[act.adj_contact.point, act.adj_contact.frame],
  )
  contact_solid.pull_back(work, act.adj_contact, in_gap=True)
