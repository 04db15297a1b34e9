"""The scale of constraint rows under `discrete`.

The inverse weights behind D are those of the inertia matrix M; with the effective metric A = M + E
(adjoint/metric.py) a row J, the first of a contact for all of its rows, gets

    D <- D / s,     s = sum_c J_c^2 / A_cc  /  sum_c J_c^2 / M_cc.

phi is linear in the D of a row whose force depends on it, so that with z = J lam and
w = d phi / d log s = z f, and num, den the two sums,

    d phi = sum over rows  w (dnum / num - dden / den)
          = sum over rows  x . dJ  -  sum_c alpha_c dE_cc  +  sum_c (beta_c - alpha_c) dM_cc,

    x_c = 2 w J_c (1 / (num A_cc) - 1 / (den M_cc)),
    alpha_c = sum w J_c^2 / (num A_cc^2),    beta_c = sum w J_c^2 / (den M_cc^2).

x . J is a rate along a direction of the row's own. J is constant but for contacts, whose kernels
take it beside v, a and lam (terms/contact.py); what is left of the sweep for that direction is
here. The laws in E read alpha, `work.metric_dual`. The inertia of the bodies moved by c is

    M_cc = armature_c + sum_b S_c . I_b S_c,
    dM_cc / dq_j = -2 (S_j x S_c) . I_j S_c        for every dof j beyond c, I_j what it carries.

Held fixed: the zone of every row; which edge is the first of a contact.

Source: MuJoCo documentation, Computation, "Numerical integration" (discrete).
"""

import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.engine.adapter import ConstraintType
from mjgrad._src.engine.adapter import inert_vec
from mjgrad._src.engine.adapter import vec5
from mjgrad._src.engine.adapter import vec10
from mjgrad._src.spatial import cross_force
from mjgrad._src.spatial import cross_motion
from mjgrad._src.spatial import velocity_at
from mjgrad._src.spatial import wrench_at
from mjgrad._src.terms.contact import row_cotangent
from mjgrad._src.tree.twists import POSE

wp.set_module_options({"enable_backward": False})

CONTACT_ELLIPTIC = wp.constant(int(ConstraintType.CONTACT_ELLIPTIC))
CONTACT_FRICTIONLESS = wp.constant(int(ConstraintType.CONTACT_FRICTIONLESS))
CONTACT_PYRAMIDAL = wp.constant(int(ConstraintType.CONTACT_PYRAMIDAL))


@wp.func
def _sums(
  # Model:
  nv: int,
  M_elemid: wp.array2d[int],
  # Data in:
  M_in: wp.array2d[float],
  qH_in: wp.array2d[float],
  # In:
  J_in: wp.array3d[float],
  worldid: int,
  first: int,
) -> wp.vec2:
  """num and den of a row."""
  num = float(0.0)
  den = float(0.0)
  for c in range(nv):
    squared = J_in[worldid, first, c] * J_in[worldid, first, c]
    if squared > 0.0:
      num += squared / qH_in[worldid, M_elemid[c, c]]
      den += squared / M_in[worldid, M_elemid[c, c]]
  return wp.vec2(num, den)


@wp.kernel
def _dof_scale(
  # Model:
  M_elemid: wp.array2d[int],
  # Data in:
  M_in: wp.array2d[float],
  qH_in: wp.array2d[float],
  # Out:
  dof_scale_out: wp.array2d[float],
):
  worldid, dofid = wp.tid()
  elemid = M_elemid[dofid, dofid]
  dof_scale_out[worldid, dofid] = M_in[worldid, elemid] / qH_in[worldid, elemid]


@wp.kernel
def _duals(
  # Model:
  nv: int,
  M_elemid: wp.array2d[int],
  # Data in:
  nefc_in: wp.array[int],
  M_in: wp.array2d[float],
  qH_in: wp.array2d[float],
  contact_efc_address_in: wp.array2d[int],
  efc_type_in: wp.array2d[int],
  efc_id_in: wp.array2d[int],
  njmax_in: int,
  # In:
  J_in: wp.array3d[float],
  weight: wp.array2d[float],
  force: wp.array2d[float],
  lam_in: wp.array2d[float],
  # Out:
  row_scale_out: wp.array2d[float],
  row_dual_out: wp.array2d[float],
  metric_dual_out: wp.array2d[float],
  inertia_dual_out: wp.array2d[float],
):
  worldid, efcid = wp.tid()
  if efcid >= wp.min(nefc_in[worldid], njmax_in):
    return
  first = efcid
  kind = efc_type_in[worldid, efcid]
  if kind == CONTACT_FRICTIONLESS or kind == CONTACT_PYRAMIDAL or kind == CONTACT_ELLIPTIC:
    first = contact_efc_address_in[efc_id_in[worldid, efcid], 0]
  sums = _sums(nv, M_elemid, M_in, qH_in, J_in, worldid, first)
  row_scale_out[worldid, efcid] = sums[0] / sums[1]
  dual = float(0.0)
  if weight[worldid, efcid] != 0.0:
    for c in range(nv):
      dual += J_in[worldid, efcid, c] * lam_in[worldid, c]
    dual *= force[worldid, efcid]
  row_dual_out[worldid, efcid] = dual
  for c in range(nv):
    squared = dual * J_in[worldid, first, c] * J_in[worldid, first, c]
    if squared != 0.0:
      a = qH_in[worldid, M_elemid[c, c]]
      m = M_in[worldid, M_elemid[c, c]]
      alpha = squared / (sums[0] * a * a)
      beta = squared / (sums[1] * m * m)
      wp.atomic_add(metric_dual_out, worldid, c, alpha)
      wp.atomic_add(inertia_dual_out, worldid, c, beta - alpha)


@wp.func
def _direction(
  # Model:
  M_elemid: wp.array2d[int],
  # Data in:
  M_in: wp.array2d[float],
  qH_in: wp.array2d[float],
  # In:
  J_in: wp.array3d[float],
  sums: wp.vec2,
  dual: float,
  worldid: int,
  first: int,
  c: int,
) -> float:
  """x_c of a row."""
  a = qH_in[worldid, M_elemid[c, c]]
  m = M_in[worldid, M_elemid[c, c]]
  return 2.0 * dual * J_in[worldid, first, c] * (1.0 / (sums[0] * a) - 1.0 / (sums[1] * m))


@wp.func
def _twist(
  # Model:
  dof_parentid: wp.array[int],
  M_elemid: wp.array2d[int],
  # Data in:
  cdof_in: wp.array2d[wp.spatial_vector],
  M_in: wp.array2d[float],
  qH_in: wp.array2d[float],
  # In:
  J_in: wp.array3d[float],
  sums: wp.vec2,
  dual: float,
  worldid: int,
  first: int,
  last: int,
) -> wp.spatial_vector:
  """Twist along x after dof `last`."""
  twist = wp.spatial_vector()
  c = last
  while c >= 0:
    x = _direction(M_elemid, M_in, qH_in, J_in, sums, dual, worldid, first, c)
    twist += x * cdof_in[worldid, c]
    c = dof_parentid[c]
  return twist


@wp.kernel
def _contact_directions(
  # Model:
  nv: int,
  body_rootid: wp.array[int],
  dof_parentid: wp.array[int],
  geom_bodyid: wp.array[int],
  M_elemid: wp.array2d[int],
  # Data in:
  nacon_in: wp.array[int],
  subtree_com_in: wp.array2d[wp.vec3],
  cdof_in: wp.array2d[wp.spatial_vector],
  M_in: wp.array2d[float],
  qH_in: wp.array2d[float],
  contact_pos_in: wp.array[wp.vec3],
  contact_frame_in: wp.array[wp.mat33],
  contact_friction_in: wp.array[vec5],
  contact_dim_in: wp.array[int],
  contact_geom_in: wp.array[wp.vec2i],
  contact_efc_address_in: wp.array2d[int],
  contact_worldid_in: wp.array[int],
  # In:
  elliptic: bool,
  body_lastdof: wp.array[int],
  dof_before: wp.array[int],
  J_in: wp.array3d[float],
  row_dual: wp.array2d[float],
  # Adjoint out (+=):
  wrench_out: wp.array3d[wp.spatial_vector],
  adj_qpos_out: wp.array2d[float],
  # Out:
  scale_twist_out: wp.array2d[wp.spatial_vector],
):
  conid, side = wp.tid()
  if conid >= nacon_in[0] or contact_efc_address_in[conid, 0] < 0:
    return
  worldid = contact_worldid_in[conid]
  first = contact_efc_address_in[conid, 0]
  condim = contact_dim_in[conid]
  nrow = condim
  if not elliptic:
    nrow = wp.max(1, 2 * (condim - 1))
  dual = float(0.0)
  for k in range(nrow):
    dual += row_dual[worldid, contact_efc_address_in[conid, k]]
  sums = _sums(nv, M_elemid, M_in, qH_in, J_in, worldid, first)

  bodyid = geom_bodyid[contact_geom_in[conid][side]]
  last = body_lastdof[bodyid]
  twist = _twist(
    dof_parentid, M_elemid, cdof_in, M_in, qH_in, J_in, sums, dual, worldid, first, last
  )
  scale_twist_out[conid, side] = twist

  c = row_cotangent(elliptic, condim, contact_friction_in[conid])
  to_world = wp.transpose(contact_frame_in[conid])
  offset = contact_pos_in[conid] - subtree_com_in[worldid, body_rootid[bodyid]]
  sign = wp.where(side == 0, -1.0, 1.0)
  wrench = sign * wrench_at(to_world @ wp.vec3(c[0], c[1], c[2]), wp.vec3(), offset)
  wp.atomic_add(wrench_out, worldid, POSE, bodyid, cross_force(twist, wrench))
  dofid = last
  while dofid >= 0:
    before = _twist(
      dof_parentid,
      M_elemid,
      cdof_in,
      M_in,
      qH_in,
      J_in,
      sums,
      dual,
      worldid,
      first,
      dof_before[dofid],
    )
    grad = -wp.dot(cdof_in[worldid, dofid], cross_force(before, wrench))
    wp.atomic_add(adj_qpos_out, worldid, dofid, grad)
    dofid = dof_parentid[dofid]


@wp.kernel
def _inertia_vjp(
  # Model:
  dof_bodyid: wp.array[int],
  dof_parentid: wp.array[int],
  # Data in:
  cdof_in: wp.array2d[wp.spatial_vector],
  crb_in: wp.array2d[vec10],
  # In:
  dof_before: wp.array[int],
  inertia_dual: wp.array2d[float],
  # Adjoint out (+=):
  adj_qpos_out: wp.array2d[float],
  adj_dof_armature_out: wp.array2d[float],
):
  worldid, dofid = wp.tid()
  axis = cdof_in[worldid, dofid]
  inertia = crb_in[worldid, dof_bodyid[dofid]]
  grad = float(0.0)
  c = dof_before[dofid]
  while c >= 0:
    dual = inertia_dual[worldid, c]
    if dual != 0.0:
      other = cdof_in[worldid, c]
      grad -= 2.0 * dual * wp.dot(cross_motion(axis, other), inert_vec(inertia, other))
    c = dof_parentid[c]
  wp.atomic_add(adj_qpos_out, worldid, dofid, grad)
  accumulate(adj_dof_armature_out, worldid, dofid, inertia_dual[worldid, dofid])


@wp.kernel
def _mass_vjp(
  # Model:
  body_rootid: wp.array[int],
  dof_parentid: wp.array[int],
  # Data in:
  xipos_in: wp.array2d[wp.vec3],
  ximat_in: wp.array2d[wp.mat33],
  subtree_com_in: wp.array2d[wp.vec3],
  cdof_in: wp.array2d[wp.spatial_vector],
  # In:
  body_lastdof: wp.array[int],
  inertia_dual: wp.array2d[float],
  # Adjoint out (+=):
  adj_body_mass_out: wp.array2d[float],
  adj_body_inertia_out: wp.array2d[wp.vec3],
):
  worldid, bodyid = wp.tid()
  offset = xipos_in[worldid, bodyid] - subtree_com_in[worldid, body_rootid[bodyid]]
  to_body = wp.transpose(ximat_in[worldid, bodyid])
  mass = float(0.0)
  inertia = wp.vec3()
  c = body_lastdof[bodyid]
  while c >= 0:
    dual = inertia_dual[worldid, c]
    velocity = velocity_at(cdof_in[worldid, c], offset)
    rotation = to_body @ wp.spatial_top(cdof_in[worldid, c])
    mass += dual * wp.dot(velocity, velocity)
    inertia += dual * wp.cw_mul(rotation, rotation)
    c = dof_parentid[c]
  accumulate(adj_body_mass_out, worldid, bodyid, mass)
  accumulate(adj_body_inertia_out, worldid, bodyid, inertia)


def evaluate(work) -> None:
  """Fills the scales of rows and their duals, from lam and the forces of rows."""
  m, d = work.model, work.data
  if not work.discrete:
    return
  work.metric_dual.zero_()
  work.inertia_dual.zero_()
  wp.launch(
    _dof_scale,
    dim=(d.nworld, m.nv),
    inputs=[m.M_elemid, d.M, d.qH],
    outputs=[work.dof_scale],
  )
  wp.launch(
    _duals,
    dim=(d.nworld, d.njmax),
    inputs=[
      m.nv,
      m.M_elemid,
      d.nefc,
      d.M,
      d.qH,
      d.contact.efc_address,
      d.efc.type,
      d.efc.id,
      d.njmax,
      work.efc_J,
      work.efc_weight,
      work.efc_force,
      work.lam,
    ],
    outputs=[work.row_scale, work.row_dual, work.metric_dual, work.inertia_dual],
  )


def vjp(work) -> None:
  """Adds what M_cc and the rows of contacts contribute; before the contacts."""
  m, d = work.model, work.data
  if not work.discrete:
    return
  wp.launch(
    _inertia_vjp,
    dim=(d.nworld, m.nv),
    inputs=[
      m.dof_bodyid,
      m.dof_parentid,
      d.cdof,
      d.crb,
      work.tree.dof_before,
      work.inertia_dual,
      work.adj_qpos,
      work.adj["dof_armature"],
    ],
  )
  if work.adj["body_mass"].shape[0] > 0 or work.adj["body_inertia"].shape[0] > 0:
    wp.launch(
      _mass_vjp,
      dim=(d.nworld, m.nbody),
      inputs=[
        m.body_rootid,
        m.dof_parentid,
        d.xipos,
        d.ximat,
        d.subtree_com,
        d.cdof,
        work.tree.body_lastdof,
        work.inertia_dual,
        work.adj["body_mass"],
        work.adj["body_inertia"],
      ],
    )
  if not work.contact_enabled:
    return
  wp.launch(
    _contact_directions,
    dim=(d.naconmax, 2),
    inputs=[
      m.nv,
      m.body_rootid,
      m.dof_parentid,
      m.geom_bodyid,
      m.M_elemid,
      d.nacon,
      d.subtree_com,
      d.cdof,
      d.M,
      d.qH,
      d.contact.pos,
      d.contact.frame,
      d.contact.friction,
      d.contact.dim,
      d.contact.geom,
      d.contact.efc_address,
      d.contact.worldid,
      work.elliptic,
      work.tree.body_lastdof,
      work.tree.dof_before,
      work.efc_J,
      work.row_dual,
      work.wrench,
      work.adj_qpos,
    ],
    outputs=[work.scale_twist],
  )
