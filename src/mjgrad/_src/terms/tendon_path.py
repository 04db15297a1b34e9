"""Tendon paths: from the cotangents of lengths and rates to the coordinates and the bodies.

The laws leave c_L = `adj_ten_length` and c^w = `adj_ten_rate`. A fixed tendon has a constant J:

    qbar += c_L J,    vbar += c^v J

A spatial tendon is a chain of straight segments, and of arcs that turn with the geom they lie on. A
segment from p1 on body 1 to p2 on body 2, with n = (p2 - p1) / l, u^w the velocity of p2 minus that
of p1 along w, and o^w the angular velocities, contributes c^w n . u^w (divided by the pulley), so

    F_2^w = -F_1^w = c^w n at p2 and p1,    adj_n = sum_w c^w u^w
    adj_p2 = c_L n + (1 - n n^T) adj_n / l + sum_w c^w n x o_2^w,    adj_p1 likewise with a minus

and likewise with c = 1 along the direction d of the tendon's own (terms/tendon_direction.py).
A site moves with its body. The ends of segments at a wrapped geom have the velocity of that geom's
material, which is how MuJoCo forms J, but slide along it as the sites move: what they receive
beyond c_L n goes on to the sites, and the geom takes the balance (terms/wrapping.py). That c_L n
stays is the envelope theorem: the length of the shortest path does not depend on where it touches.

Source: DESIGN section 2; MuJoCo documentation, Computation, "Tendons".
"""

import mujoco
import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.engine.adapter import wrap
from mjgrad._src.spatial import add_spatial
from mjgrad._src.spatial import cross_force
from mjgrad._src.spatial import spatial_at
from mjgrad._src.spatial import velocity_at
from mjgrad._src.spatial import wrench_at
from mjgrad._src.terms.tendon_rates import NRATE
from mjgrad._src.terms.wrapping import touching_vjp
from mjgrad._src.terms.wrapping import turning
from mjgrad._src.tree.axes import Directions
from mjgrad._src.tree.axes import add_along
from mjgrad._src.tree.axes import directions
from mjgrad._src.tree.axes import twist_along
from mjgrad._src.tree.twists import POSE
from mjgrad._src.tree.twists import V

wp.set_module_options({"enable_backward": False})

FIXED = wp.constant(int(mujoco.mjtTendon.mjTENDON_FIXED))
CYLINDER = wp.constant(int(mujoco.mjtWrap.mjWRAP_CYLINDER))
MINVAL = wp.constant(mujoco.mjMINVAL)
FAR = wp.constant(mujoco.mjMAXVAL)
"""Coordinate of the side site that the engine takes for none."""

vecr = wp.types.vector(length=NRATE, dtype=wp.float32)
"""Cotangents of the rates of one tendon."""


@wp.struct
class Anchor:
  """A point of a path.

  Attributes:
    pos: position [m]
    offset: position relative to the reference point of the tree [m]
    bodyid: the body whose material it is
    row: last dof of the body's chain, plus one
  """

  pos: wp.vec3
  offset: wp.vec3
  bodyid: int
  row: int


@wp.struct
class SegmentAdjoint:
  """What the ends of a segment receive because they move, c_L n left out."""

  p1: wp.vec3
  p2: wp.vec3


@wp.func
def _anchor(
  body_rootid: wp.array[int],
  subtree_com_in: wp.array2d[wp.vec3],
  body_lastdof: wp.array[int],
  worldid: int,
  bodyid: int,
  pos: wp.vec3,
) -> Anchor:
  anchor = Anchor()
  anchor.pos = pos
  anchor.offset = pos - subtree_com_in[worldid, body_rootid[bodyid]]
  anchor.bodyid = bodyid
  anchor.row = body_lastdof[bodyid] + 1
  return anchor


@wp.func
def _add_pose(worldid: int, anchor: Anchor, force: wp.vec3, wrench_out: wp.array4d[float]):
  """Adds the cotangent of a point that moves with the anchor's body."""
  wrench = wrench_at(force, wp.vec3(0.0), anchor.offset)
  add_spatial(wrench_out, worldid, POSE, anchor.bodyid, wrench)


@wp.func
def _add_point(
  worldid: int, siteid: int, force: wp.vec3, site_wrench_out: wp.array2d[wp.spatial_vector]
):
  """Adds the cotangent of the position of a site alone, its body left where it is."""
  accumulate(site_wrench_out, worldid, siteid, wp.spatial_vector(wp.vec3(0.0), force))


@wp.func
def direction(p1: wp.vec3, p2: wp.vec3) -> wp.vec3:
  """Unit vector from p1 to p2; along x where they coincide, as in the engine."""
  d = p2 - p1
  length = wp.length(d)
  n = wp.vec3(1.0, 0.0, 0.0)
  if length >= MINVAL:
    n = d / length
  return n


@wp.func
def _segment_vjp(
  worldid: int,
  tenid: int,
  scale: float,
  end1: Anchor,
  end2: Anchor,
  adj_rate: vecr,
  adj_length: float,
  twist_in: wp.array4d[float],
  own: Directions,
  wrench_out: wp.array4d[float],
) -> SegmentAdjoint:
  """Adds the wrenches of a segment's rates and length; returns what its ends receive."""
  adj = SegmentAdjoint()
  if end1.bodyid == end2.bodyid:
    return adj
  n = direction(end1.pos, end2.pos)
  adj_n = wp.vec3(0.0)
  pose1 = wp.spatial_vector()
  pose2 = wp.spatial_vector()
  for w in range(wp.static(NRATE)):
    if adj_rate[w] != 0.0:
      twist1 = spatial_at(twist_in, worldid, w, end1.row)
      twist2 = spatial_at(twist_in, worldid, w, end2.row)
      force = adj_rate[w] * n
      wrench1 = -wrench_at(force, wp.vec3(0.0), end1.offset)
      wrench2 = wrench_at(force, wp.vec3(0.0), end2.offset)
      add_spatial(wrench_out, worldid, w, end1.bodyid, wrench1)
      add_spatial(wrench_out, worldid, w, end2.bodyid, wrench2)
      pose1 += cross_force(twist1, wrench1)
      pose2 += cross_force(twist2, wrench2)
      adj.p1 -= wp.cross(force, wp.spatial_top(twist1))
      adj.p2 += wp.cross(force, wp.spatial_top(twist2))
      adj_n += adj_rate[w] * (velocity_at(twist2, end2.offset) - velocity_at(twist1, end1.offset))
  if own.direction.shape[0] > 0:
    twist1 = twist_along(worldid, tenid, end1.row - 1, own)
    twist2 = twist_along(worldid, tenid, end2.row - 1, own)
    force = scale * n
    wrench1 = -wrench_at(force, wp.vec3(0.0), end1.offset)
    wrench2 = wrench_at(force, wp.vec3(0.0), end2.offset)
    add_along(worldid, tenid, end1.bodyid, end1.row - 1, twist1, wrench1, own, wrench_out)
    add_along(worldid, tenid, end2.bodyid, end2.row - 1, twist2, wrench2, own, wrench_out)
    adj.p1 -= wp.cross(force, wp.spatial_top(twist1))
    adj.p2 += wp.cross(force, wp.spatial_top(twist2))
    adj_n += scale * (velocity_at(twist2, end2.offset) - velocity_at(twist1, end1.offset))
  length = wp.length(end2.pos - end1.pos)
  if length >= MINVAL:
    adj_d = (adj_n - wp.dot(n, adj_n) * n) / length
    adj.p1 -= adj_d
    adj.p2 += adj_d
  pose1 -= wrench_at(adj_length * n, wp.vec3(0.0), end1.offset)
  pose2 += wrench_at(adj_length * n, wp.vec3(0.0), end2.offset)
  add_spatial(wrench_out, worldid, POSE, end1.bodyid, pose1)
  add_spatial(wrench_out, worldid, POSE, end2.bodyid, pose2)
  return adj


@wp.func
def _cotangents(adj_ten_rate_in: wp.array3d[float], worldid: int, tenid: int, scale: float) -> vecr:
  """Cotangents of the rates of a segment whose length counts `scale` times."""
  c = vecr()
  for w in range(wp.static(NRATE)):
    c[w] = scale * adj_ten_rate_in[worldid, tenid, w]
  return c


@wp.kernel
def _fixed_vjp(
  # Model:
  tendon_type: wp.array[int],
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  # Data in:
  ten_J_in: wp.array2d[float],
  # Adjoint in:
  adj_ten_length_in: wp.array2d[float],
  adj_ten_rate_in: wp.array3d[float],
  # Adjoint out (+=):
  adj_qpos_out: wp.array2d[float],
  adj_qvel_out: wp.array2d[float],
):
  worldid, tenid = wp.tid()
  if tendon_type[tenid] != FIXED:
    return
  rowadr = ten_J_rowadr[tenid]
  for k in range(rowadr, rowadr + ten_J_rownnz[tenid]):
    dofid = ten_J_colind[k]
    J = ten_J_in[worldid, k]
    wp.atomic_add(adj_qpos_out, worldid, dofid, J * adj_ten_length_in[worldid, tenid])
    wp.atomic_add(adj_qvel_out, worldid, dofid, J * adj_ten_rate_in[worldid, tenid, V])


@wp.kernel
def _site_segment_vjp(
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
  own: Directions,
  # Adjoint in:
  adj_ten_length_in: wp.array2d[float],
  adj_ten_rate_in: wp.array3d[float],
  # Adjoint out (+=):
  wrench_out: wp.array4d[float],
  site_wrench_out: wp.array2d[wp.spatial_vector],
):
  worldid, pairid = wp.tid()
  adr = wrap_site_pair_adr[pairid]
  tenid = tendon_site_pair_adr[pairid]
  scale = wrap_pulley_scale[adr]
  site1 = wrap_objid[adr]
  site2 = wrap_objid[adr + 1]
  end1 = _anchor(
    body_rootid,
    subtree_com_in,
    body_lastdof,
    worldid,
    site_bodyid[site1],
    site_xpos_in[worldid, site1],
  )
  end2 = _anchor(
    body_rootid,
    subtree_com_in,
    body_lastdof,
    worldid,
    site_bodyid[site2],
    site_xpos_in[worldid, site2],
  )
  adj = _segment_vjp(
    worldid,
    tenid,
    scale,
    end1,
    end2,
    _cotangents(adj_ten_rate_in, worldid, tenid, scale),
    scale * adj_ten_length_in[worldid, tenid],
    twist_in,
    own,
    wrench_out,
  )
  _add_pose(worldid, end1, adj.p1, wrench_out)
  _add_pose(worldid, end2, adj.p2, wrench_out)
  pull = scale * adj_ten_length_in[worldid, tenid] * direction(end1.pos, end2.pos)
  _add_point(worldid, site1, adj.p1 - pull, site_wrench_out)
  _add_point(worldid, site2, adj.p2 + pull, site_wrench_out)


@wp.kernel
def _wrapped_segment_vjp(
  # Model:
  body_rootid: wp.array[int],
  geom_bodyid: wp.array[int],
  geom_size: wp.array2d[wp.vec3],
  site_bodyid: wp.array[int],
  wrap_type: wp.array[int],
  wrap_objid: wp.array[int],
  wrap_prm: wp.array[float],
  tendon_geom_adr: wp.array[int],
  wrap_geom_adr: wp.array[int],
  wrap_pulley_scale: wp.array[float],
  # Data in:
  geom_xpos_in: wp.array2d[wp.vec3],
  geom_xmat_in: wp.array2d[wp.mat33],
  site_xpos_in: wp.array2d[wp.vec3],
  subtree_com_in: wp.array2d[wp.vec3],
  # In:
  body_lastdof: wp.array[int],
  twist_in: wp.array4d[float],
  own: Directions,
  # Adjoint in:
  adj_ten_length_in: wp.array2d[float],
  adj_ten_rate_in: wp.array3d[float],
  # Adjoint out (+=):
  wrench_out: wp.array4d[float],
  geom_wrench_out: wp.array2d[wp.spatial_vector],
  site_wrench_out: wp.array2d[wp.spatial_vector],
  adj_geom_size_out: wp.array2d[wp.vec3],
):
  worldid, elementid = wp.tid()
  adr = wrap_geom_adr[elementid]
  tenid = tendon_geom_adr[elementid]
  scale = wrap_pulley_scale[adr]
  adj_rate = _cotangents(adj_ten_rate_in, worldid, tenid, scale)
  adj_length = scale * adj_ten_length_in[worldid, tenid]

  site0 = wrap_objid[adr - 1]
  geomid = wrap_objid[adr]
  site1 = wrap_objid[adr + 1]
  x0 = site_xpos_in[worldid, site0]
  x1 = site_xpos_in[worldid, site1]
  body0 = site_bodyid[site0]
  body1 = site_bodyid[site1]
  geom_body = geom_bodyid[geomid]
  pos = geom_xpos_in[worldid, geomid]
  mat = geom_xmat_in[worldid, geomid]
  radius = geom_size[worldid % geom_size.shape[0], geomid][0]
  cylinder = wrap_type[adr] == CYLINDER
  sideid = int(wp.round(wrap_prm[adr]))
  side = wp.vec3(FAR)
  inside = bool(False)
  if sideid >= 0:
    side = site_xpos_in[worldid, sideid]
    inside = wp.length(side - pos) < radius
  arc, t0, t1 = wrap(x0, x1, pos, mat, radius, wrap_type[adr], side)

  end0 = _anchor(body_rootid, subtree_com_in, body_lastdof, worldid, body0, x0)
  end1 = _anchor(body_rootid, subtree_com_in, body_lastdof, worldid, body1, x1)
  if arc < 0.0:
    adj = _segment_vjp(
      worldid, tenid, scale, end0, end1, adj_rate, adj_length, twist_in, own, wrench_out
    )
    _add_pose(worldid, end0, adj.p1, wrench_out)
    _add_pose(worldid, end1, adj.p2, wrench_out)
    pull = adj_length * direction(x0, x1)
    _add_point(worldid, site0, adj.p1 - pull, site_wrench_out)
    _add_point(worldid, site1, adj.p2 + pull, site_wrench_out)
    return

  touch0 = _anchor(body_rootid, subtree_com_in, body_lastdof, worldid, geom_body, t0)
  touch1 = _anchor(body_rootid, subtree_com_in, body_lastdof, worldid, geom_body, t1)
  adj0 = _segment_vjp(
    worldid, tenid, scale, end0, touch0, adj_rate, adj_length, twist_in, own, wrench_out
  )
  adj1 = _segment_vjp(
    worldid, tenid, scale, touch1, end1, adj_rate, adj_length, twist_in, own, wrench_out
  )
  _add_pose(worldid, end0, adj0.p1, wrench_out)
  _add_pose(worldid, end1, adj1.p2, wrench_out)
  _add_pose(worldid, touch0, adj0.p2, wrench_out)
  _add_pose(worldid, touch1, adj1.p1, wrench_out)

  slide = touching_vjp(
    x0,
    x1,
    pos,
    mat,
    radius,
    cylinder,
    inside,
    t0,
    t1,
    adj0.p2,
    adj1.p1,
    adj_length,
  )
  _add_pose(worldid, end0, slide.x0, wrench_out)
  _add_pose(worldid, end1, slide.x1, wrench_out)
  at0 = _anchor(body_rootid, subtree_com_in, body_lastdof, worldid, geom_body, x0)
  at1 = _anchor(body_rootid, subtree_com_in, body_lastdof, worldid, geom_body, x1)
  _add_pose(worldid, at0, -slide.x0, wrench_out)
  _add_pose(worldid, at1, -slide.x1, wrench_out)
  pull0 = adj_length * direction(x0, t0)
  pull1 = adj_length * direction(t1, x1)
  _add_point(worldid, site0, adj0.p1 - pull0 + slide.x0, site_wrench_out)
  _add_point(worldid, site1, adj1.p2 + pull1 + slide.x1, site_wrench_out)
  force0 = adj0.p2 + pull0
  force1 = adj1.p1 - pull1
  torque = wp.cross(t0 - pos, force0) + wp.cross(t1 - pos, force1)
  torque -= wp.cross(x0 - pos, slide.x0) + wp.cross(x1 - pos, slide.x1)
  force = force0 + force1 - slide.x0 - slide.x1
  on_geom = wp.spatial_vector(turning(torque, mat, cylinder), force)
  accumulate(geom_wrench_out, worldid, geomid, on_geom)
  accumulate(adj_geom_size_out, worldid, geomid, wp.vec3(slide.radius, 0.0, 0.0))


def vjp(work) -> None:
  """Carries what all laws left in `adj_ten_length` and `adj_ten_rate` to joints and bodies."""
  m, d = work.model, work.data
  if m.ntendon == 0:
    return
  wp.launch(
    _fixed_vjp,
    dim=(d.nworld, m.ntendon),
    inputs=[
      m.tendon_type,
      m.ten_J_rownnz,
      m.ten_J_rowadr,
      m.ten_J_colind,
      d.ten_J,
      work.adj_ten_length,
      work.adj_ten_rate,
      work.adj_qpos,
      work.adj_qvel,
    ],
  )
  own = directions(work, work.ten_direction)
  if m.wrap_site_pair_adr.size:
    wp.launch(
      _site_segment_vjp,
      dim=(d.nworld, m.wrap_site_pair_adr.size),
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
        own,
        work.adj_ten_length,
        work.adj_ten_rate,
        work.wrench,
        work.site_wrench,
      ],
    )
  if m.wrap_geom_adr.size:
    wp.launch(
      _wrapped_segment_vjp,
      dim=(d.nworld, m.wrap_geom_adr.size),
      inputs=[
        m.body_rootid,
        m.geom_bodyid,
        m.geom_size,
        m.site_bodyid,
        m.wrap_type,
        m.wrap_objid,
        m.wrap_prm,
        m.tendon_geom_adr,
        m.wrap_geom_adr,
        m.wrap_pulley_scale,
        d.geom_xpos,
        d.geom_xmat,
        d.site_xpos,
        d.subtree_com,
        work.tree.body_lastdof,
        work.twist,
        own,
        work.adj_ten_length,
        work.adj_ten_rate,
        work.wrench,
        work.geom_wrench,
        work.site_wrench,
        work.adj["geom_size"],
      ],
    )
