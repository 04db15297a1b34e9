"""Contacts: from the bodies' twists to the force law and back to wrenches on the bodies.

The relative velocity of body 2 with respect to body 1 at the contact point p, along each direction
w in {v, lam, a}, projected on the contact frame, is what the force law sees
(terms/contact_force.py). With c^w its cotangent, f^w and t^w the force and the torque that c^w
makes in the world, u^w and o^w the relative linear and angular velocity:

    F^w        = +- wrench of (f^w, t^w) at p, on body 2 and body 1
    adj_p      = sum_w f^w x o^w              the point also moves, with the geoms
    adj_frame  = rows sum_w (c^w_i u^w + c^w_{3+i} o^w)
    adj_dist   = adj_r

Under `discrete` the scale of the rows' D adds a rate along one more direction, which each contact
has for itself (terms/contact_direction.py).

contact/geometry.py carries (adj_dist, adj_p, adj_frame) to the poses and sizes of both geoms.
They are handed over to terms/contact_solid.py where a geom is neither plane, sphere nor capsule.

Source: DESIGN section 2; docs/derivation.md, "Contacts".
"""

import functools

import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.contact.geometry import GeomAdjoint
from mjgrad._src.contact.geometry import contact_geometry_vjp
from mjgrad._src.contact.geometry import is_round_pair
from mjgrad._src.engine.adapter import vec5
from mjgrad._src.spatial import add_spatial
from mjgrad._src.spatial import cross_force
from mjgrad._src.spatial import spatial_at
from mjgrad._src.spatial import velocity_at
from mjgrad._src.spatial import wrench_at
from mjgrad._src.terms.contact_force import ContactAdjoint
from mjgrad._src.terms.contact_force import contact_force_vjp
from mjgrad._src.terms.contact_force import elliptic_zone
from mjgrad._src.terms.contact_force import vec6
from mjgrad._src.terms.impedance import DISCRETE
from mjgrad._src.terms.impedance import ROW_FLAGS
from mjgrad._src.tree.twists import ACC
from mjgrad._src.tree.twists import LAM
from mjgrad._src.tree.twists import POSE
from mjgrad._src.tree.twists import V

wp.set_module_options({"enable_backward": False})

BLOCK_DIM = 64
"""Threads per block; contacts are few, and smaller blocks spread them over a GPU."""


@wp.struct
class RelativeTwist:
  """Relative linear and angular velocity of two bodies at the contact point."""

  linear: wp.vec3
  angular: wp.vec3


@wp.func
def relative_twist(
  twist1: wp.spatial_vector, offset1: wp.vec3, twist2: wp.spatial_vector, offset2: wp.vec3
) -> RelativeTwist:
  relative = RelativeTwist()
  relative.linear = velocity_at(twist2, offset2) - velocity_at(twist1, offset1)
  relative.angular = wp.spatial_top(twist2) - wp.spatial_top(twist1)
  return relative


@wp.func
def in_frame(frame: wp.mat33, relative: RelativeTwist) -> vec6:
  u = frame @ relative.linear
  o = frame @ relative.angular
  return vec6(u[0], u[1], u[2], o[0], o[1], o[2])


@wp.func
def _linear_part(c: vec6) -> wp.vec3:
  return wp.vec3(c[0], c[1], c[2])


@wp.func
def _angular_part(c: vec6) -> wp.vec3:
  return wp.vec3(c[3], c[4], c[5])


@wp.func
def _frame_cotangent(c: vec6, relative: RelativeTwist) -> wp.mat33:
  return wp.outer(_linear_part(c), relative.linear) + wp.outer(_angular_part(c), relative.angular)


@wp.func
def _add_body_wrenches(
  worldid: int,
  bodyid: int,
  row: int,
  sign: float,
  offset: wp.vec3,
  frame: wp.mat33,
  adj: ContactAdjoint,
  twist_in: wp.array4d[float],
  wrench_out: wp.array4d[float],
):
  """Adds what the velocities along all directions leave on a body; nothing where it is static."""
  if row == 0:
    return
  to_world = wp.transpose(frame)
  pose = wp.spatial_vector()
  for k in range(3):
    direction = V
    c = adj.v
    if k == 1:
      direction = LAM
      c = adj.lam
    elif k == 2:
      direction = ACC
      c = adj.a
    wrench = sign * wrench_at(to_world @ _linear_part(c), to_world @ _angular_part(c), offset)
    add_spatial(wrench_out, worldid, direction, bodyid, wrench)
    pose += cross_force(spatial_at(twist_in, worldid, direction, row), wrench)
  add_spatial(wrench_out, worldid, POSE, bodyid, pose)


@wp.func
def add_geom_wrench(
  worldid: int,
  bodyid: int,
  geomid: int,
  offset: wp.vec3,
  adj: GeomAdjoint,
  wrench_out: wp.array4d[float],
  geom_wrench_out: wp.array2d[wp.spatial_vector],
):
  """Adds the cotangent of a geom's pose to its body, and to the geom itself."""
  add_spatial(wrench_out, worldid, POSE, bodyid, wrench_at(adj.force, adj.torque, offset))
  accumulate(geom_wrench_out, worldid, geomid, wp.spatial_vector(adj.torque, adj.force))


@wp.func
def contact_mode(
  elliptic: bool,
  condim: int,
  friction: vec5,
  impratio_invsqrt: float,
  worldid: int,
  efc_address: wp.array[int],
  efc_residual: wp.array2d[float],
) -> int:
  """Zone of an elliptic cone, or the set of active edges of a pyramid, one bit each."""
  mode = int(0)
  if elliptic and condim > 1:
    y = vec6()
    for i in range(condim):
      y[i] = efc_residual[worldid, efc_address[i]]
    mode = elliptic_zone(y, friction, friction[0] * impratio_invsqrt, condim)
  else:
    nedge = wp.max(1, 2 * (condim - 1))
    for edge in range(nedge):
      if efc_residual[worldid, efc_address[edge]] < 0.0:
        mode |= 1 << edge
  return mode


@wp.func
def law_of(contact_law: wp.array[vec6], conid: int) -> vec6:
  """How a contact acts from a distance, where contacts do (terms/impedance.py)."""
  law = vec6()
  if contact_law.shape[0] > 0:
    law = contact_law[conid]
  return law


@wp.func
def row_cotangent(elliptic: bool, condim: int, friction: vec5) -> vec6:
  """The first row of a contact, as a cotangent of a velocity in its frame."""
  c = vec6()
  c[0] = 1.0
  if not elliptic and condim > 1:
    c[1] = friction[0]
  return c


@functools.cache
def _contact_vjp(elliptic: bool, smooth: bool, distant: bool, flags: int) -> wp.Kernel:
  """The kernel for a kind of cone, with or without blended collisions and contacts from distance.

  Args:
    elliptic: contacts have elliptic cones.
    smooth: see `SmoothCollision`.
    distant: see `ContactsFromDistance`.
    flags: those that rows depend on.
  """
  discrete = bool(flags & int(DISCRETE))

  @wp.kernel(module="unique", enable_backward=False)
  def contact_vjp(
    # Model:
    opt_timestep: wp.array[float],
    opt_impratio_invsqrt: wp.array[float],
    body_rootid: wp.array[int],
    body_invweight0: wp.array2d[wp.vec2],
    geom_type: wp.array[int],
    geom_bodyid: wp.array[int],
    geom_size: wp.array2d[wp.vec3],
    # Data in:
    nacon_in: wp.array[int],
    geom_xpos_in: wp.array2d[wp.vec3],
    geom_xmat_in: wp.array2d[wp.mat33],
    subtree_com_in: wp.array2d[wp.vec3],
    contact_dist_in: wp.array[float],
    contact_pos_in: wp.array[wp.vec3],
    contact_frame_in: wp.array[wp.mat33],
    contact_includemargin_in: wp.array[float],
    contact_friction_in: wp.array[vec5],
    contact_solref_in: wp.array[wp.vec2],
    contact_solreffriction_in: wp.array[wp.vec2],
    contact_solimp_in: wp.array[vec5],
    contact_dim_in: wp.array[int],
    contact_geom_in: wp.array[wp.vec2i],
    contact_efc_address_in: wp.array2d[int],
    contact_worldid_in: wp.array[int],
    contact_geomcollisionid_in: wp.array[int],
    # In:
    softness: float,
    body_lastdof: wp.array[int],
    efc_residual: wp.array2d[float],
    row_scale: wp.array2d[float],
    scale_twist: wp.array2d[wp.spatial_vector],
    contact_law: wp.array[vec6],
    twist_in: wp.array4d[float],
    # Adjoint out (+=):
    wrench_out: wp.array4d[float],
    geom_wrench_out: wp.array2d[wp.spatial_vector],
    adj_geom_size_out: wp.array2d[wp.vec3],
    # Out:
    adj_dist_out: wp.array[float],
    adj_point_out: wp.array[wp.vec3],
    adj_frame_out: wp.array[wp.mat33],
  ):
    conid = wp.tid()
    if conid >= nacon_in[0] or contact_efc_address_in[conid, 0] < 0:
      return
    worldid = contact_worldid_in[conid]
    g1 = contact_geom_in[conid][0]
    g2 = contact_geom_in[conid][1]
    b1 = geom_bodyid[g1]
    b2 = geom_bodyid[g2]
    row1 = body_lastdof[b1] + 1
    row2 = body_lastdof[b2] + 1
    point = contact_pos_in[conid]
    frame = contact_frame_in[conid]
    condim = contact_dim_in[conid]
    friction = contact_friction_in[conid]
    r = contact_dist_in[conid] - contact_includemargin_in[conid]
    origin1 = subtree_com_in[worldid, body_rootid[b1]]
    origin2 = subtree_com_in[worldid, body_rootid[b2]]
    offset1 = point - origin1
    offset2 = point - origin2

    v1 = spatial_at(twist_in, worldid, V, row1)
    v2 = spatial_at(twist_in, worldid, V, row2)
    a1 = spatial_at(twist_in, worldid, ACC, row1)
    a2 = spatial_at(twist_in, worldid, ACC, row2)
    lam1 = spatial_at(twist_in, worldid, LAM, row1)
    lam2 = spatial_at(twist_in, worldid, LAM, row2)
    v = relative_twist(v1, offset1, v2, offset2)
    a = relative_twist(a1, offset1, a2, offset2)
    lam = relative_twist(lam1, offset1, lam2, offset2)

    invweight_row = worldid % body_invweight0.shape[0]
    invweight = body_invweight0[invweight_row, b1][0] + body_invweight0[invweight_row, b2][0]
    if wp.static(discrete):
      invweight *= row_scale[worldid, contact_efc_address_in[conid, 0]]
    impratio_invsqrt = opt_impratio_invsqrt[worldid % opt_impratio_invsqrt.shape[0]]

    mode = contact_mode(
      wp.static(elliptic),
      condim,
      friction,
      impratio_invsqrt,
      worldid,
      contact_efc_address_in[conid],
      efc_residual,
    )
    if mode == 0:
      return

    law = vec6()
    if wp.static(distant):
      law = contact_law[conid]
    adj = contact_force_vjp(
      wp.static(elliptic),
      r,
      in_frame(frame, v),
      in_frame(frame, a),
      in_frame(frame, lam),
      friction,
      contact_solref_in[conid],
      contact_solreffriction_in[conid],
      contact_solimp_in[conid],
      law,
      invweight,
      impratio_invsqrt,
      opt_timestep[worldid % opt_timestep.shape[0]],
      wp.static(flags),
      condim,
      mode,
    )

    _add_body_wrenches(worldid, b1, row1, -1.0, offset1, frame, adj, twist_in, wrench_out)
    _add_body_wrenches(worldid, b2, row2, 1.0, offset2, frame, adj, twist_in, wrench_out)

    to_world = wp.transpose(frame)
    adj_point = wp.cross(to_world @ _linear_part(adj.v), v.angular)
    adj_point += wp.cross(to_world @ _linear_part(adj.a), a.angular)
    adj_point += wp.cross(to_world @ _linear_part(adj.lam), lam.angular)
    adj_frame = _frame_cotangent(adj.v, v)
    adj_frame += _frame_cotangent(adj.a, a)
    adj_frame += _frame_cotangent(adj.lam, lam)
    if wp.static(discrete):
      x = relative_twist(scale_twist[conid, 0], offset1, scale_twist[conid, 1], offset2)
      c = row_cotangent(wp.static(elliptic), condim, friction)
      adj_point += wp.cross(to_world @ _linear_part(c), x.angular)
      adj_frame += _frame_cotangent(c, x)

    type1 = geom_type[g1]
    type2 = geom_type[g2]
    if not is_round_pair(type1, type2):
      adj_dist_out[conid] = adj.r
      adj_point_out[conid] = adj_point
      adj_frame_out[conid] = adj_frame
      return

    xmat1 = geom_xmat_in[worldid, g1]
    xmat2 = geom_xmat_in[worldid, g2]
    pos1 = geom_xpos_in[worldid, g1]
    pos2 = geom_xpos_in[worldid, g2]
    size_row = worldid % geom_size.shape[0]
    geom1, geom2 = contact_geometry_vjp(
      type1,
      pos1,
      xmat1,
      geom_size[size_row, g1],
      type2,
      pos2,
      xmat2,
      geom_size[size_row, g2],
      contact_geomcollisionid_in[conid],
      wp.where(wp.static(smooth), softness, 0.0),
      contact_dist_in[conid],
      point,
      frame[0],
      adj.r,
      adj_point,
      adj_frame,
    )
    add_geom_wrench(worldid, b1, g1, pos1 - origin1, geom1, wrench_out, geom_wrench_out)
    add_geom_wrench(worldid, b2, g2, pos2 - origin2, geom2, wrench_out, geom_wrench_out)

    accumulate(adj_geom_size_out, worldid, g1, geom1.size)
    accumulate(adj_geom_size_out, worldid, g2, geom2.size)

  return contact_vjp


def vjp(work) -> None:
  """Adds the wrenches of all contacts and the gradients of the sizes."""
  m, d = work.model, work.data
  if not work.contact_enabled:
    return
  if work.solid_contacts:
    work.adj_contact.zero_()
  wp.launch(
    _contact_vjp(
      work.elliptic,
      work.softness > 0.0,
      work.surrogate is not None,
      work.row_flags & ROW_FLAGS,
    ),
    dim=d.naconmax,
    block_dim=BLOCK_DIM,
    inputs=[
      m.opt.timestep,
      m.opt.impratio_invsqrt,
      m.body_rootid,
      m.body_invweight0,
      m.geom_type,
      m.geom_bodyid,
      m.geom_size,
      d.nacon,
      d.geom_xpos,
      d.geom_xmat,
      d.subtree_com,
      d.contact.dist,
      d.contact.pos,
      d.contact.frame,
      d.contact.includemargin,
      d.contact.friction,
      d.contact.solref,
      d.contact.solreffriction,
      d.contact.solimp,
      d.contact.dim,
      d.contact.geom,
      d.contact.efc_address,
      d.contact.worldid,
      d.contact.geomcollisionid,
      work.softness,
      work.tree.body_lastdof,
      work.efc_residual,
      work.row_scales.scale,
      work.scale_twist,
      work.contact_law,
      work.twist,
      work.wrench,
      work.geom_wrench,
      work.adj["geom_size"],
      work.adj_contact.dist,
      work.adj_contact.point,
      work.adj_contact.frame,
    ],
  )
