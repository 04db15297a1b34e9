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

x . J at a fixed x is a rate along a direction of the row's own, which the law of each row
differentiates (terms/row_directions.py for contacts, connect and weld). The laws in E read alpha,
`work.metric_dual`. The inertia of the bodies moved by c,

    M_cc = armature_c + sum_b S_c . I_b S_c,

is a function of the axes of c (tree/axes.py) and of I_b (terms/inertial_parameters.py).

Held fixed: the zone of every row; which edge is the first of a contact.

Source: MuJoCo documentation, Computation, "Numerical integration" (discrete).
"""

import mujoco_warp as mjw
import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.engine.adapter import ConstraintType
from mjgrad._src.engine.adapter import inert_vec
from mjgrad._src.engine.adapter import vec10
from mjgrad._src.terms.impedance import MINVAL

wp.set_module_options({"enable_backward": False})

CONTACT_ELLIPTIC = wp.constant(int(ConstraintType.CONTACT_ELLIPTIC))
CONTACT_FRICTIONLESS = wp.constant(int(ConstraintType.CONTACT_FRICTIONLESS))
CONTACT_PYRAMIDAL = wp.constant(int(ConstraintType.CONTACT_PYRAMIDAL))
EQUALITY = wp.constant(int(ConstraintType.EQUALITY))
FRICTION_DOF = wp.constant(int(ConstraintType.FRICTION_DOF))
FRICTION_TENDON = wp.constant(int(ConstraintType.FRICTION_TENDON))
LIMIT_JOINT = wp.constant(int(ConstraintType.LIMIT_JOINT))
LIMIT_TENDON = wp.constant(int(ConstraintType.LIMIT_TENDON))


@wp.struct
class RowScales:
  """Scales of the rows, and the rows of each element; all empty but under `discrete`.

  Attributes:
    scale: s of every row, shape [nworld, njmax]
    direction: x of every row, summed over the rows of a contact at its first, shape
      [nworld, njmax, nv]
    equality: first row of an equality, shape [nworld, neq]
    joint_limit, tendon_limit: row of a limit, shapes [nworld, njnt] and [nworld, ntendon]
    dof_friction, tendon_friction: row of friction loss, shapes [nworld, nv] and [nworld, ntendon]
  """

  scale: wp.array2d[float]
  direction: wp.array3d[float]
  equality: wp.array2d[int]
  joint_limit: wp.array2d[int]
  tendon_limit: wp.array2d[int]
  dof_friction: wp.array2d[int]
  tendon_friction: wp.array2d[int]


@wp.func
def scale_of(rows: RowScales, row_of: wp.array2d[int], worldid: int, element: int) -> float:
  """s of the row of an element, 1 but under `discrete`."""
  scale = float(1.0)
  if rows.scale.shape[0] > 0:
    scale = rows.scale[worldid, row_of[worldid, element]]
  return scale


def empty(m: mjw.Model, nworld: int, njmax: int) -> RowScales:
  """Arrays for `nworld` worlds, none but under `discrete`."""
  device = m.qpos0.device
  rows = RowScales()
  rows.scale = wp.zeros((nworld, njmax), dtype=float, device=device)
  rows.direction = wp.zeros((nworld, njmax, m.nv), dtype=float, device=device)
  rows.equality = wp.zeros((nworld, m.neq), dtype=int, device=device)
  rows.joint_limit = wp.zeros((nworld, m.njnt), dtype=int, device=device)
  rows.tendon_limit = wp.zeros((nworld, m.ntendon), dtype=int, device=device)
  rows.dof_friction = wp.zeros((nworld, m.nv), dtype=int, device=device)
  rows.tendon_friction = wp.zeros((nworld, m.ntendon), dtype=int, device=device)
  return rows


@wp.func
def _is_contact(kind: int) -> bool:
  return kind == CONTACT_FRICTIONLESS or kind == CONTACT_PYRAMIDAL or kind == CONTACT_ELLIPTIC


@wp.kernel
def _find_rows(
  # Data in:
  nefc_in: wp.array[int],
  efc_type_in: wp.array2d[int],
  efc_id_in: wp.array2d[int],
  njmax_in: int,
  # Out:
  rows_out: RowScales,
):
  worldid, efcid = wp.tid()
  if efcid >= wp.min(nefc_in[worldid], njmax_in):
    return
  kind = efc_type_in[worldid, efcid]
  element = efc_id_in[worldid, efcid]
  if kind == EQUALITY:
    first = bool(True)
    if efcid > 0:
      first = efc_type_in[worldid, efcid - 1] != EQUALITY
      first = first or efc_id_in[worldid, efcid - 1] != element
    if first:
      rows_out.equality[worldid, element] = efcid
  elif kind == LIMIT_JOINT:
    rows_out.joint_limit[worldid, element] = efcid
  elif kind == LIMIT_TENDON:
    rows_out.tendon_limit[worldid, element] = efcid
  elif kind == FRICTION_DOF:
    rows_out.dof_friction[worldid, element] = efcid
  elif kind == FRICTION_TENDON:
    rows_out.tendon_friction[worldid, element] = efcid


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
  rows_out: RowScales,
  metric_dual_out: wp.array2d[float],
  inertia_dual_out: wp.array2d[float],
):
  worldid, efcid = wp.tid()
  if efcid >= wp.min(nefc_in[worldid], njmax_in):
    return
  first = efcid
  if _is_contact(efc_type_in[worldid, efcid]):
    first = contact_efc_address_in[efc_id_in[worldid, efcid], 0]
  num = float(0.0)
  den = float(0.0)
  for c in range(nv):
    squared = J_in[worldid, first, c] * J_in[worldid, first, c]
    if squared > 0.0:
      num += squared / qH_in[worldid, M_elemid[c, c]]
      den += squared / M_in[worldid, M_elemid[c, c]]
  rows_out.scale[worldid, efcid] = wp.where(den > MINVAL, num / den, 1.0)
  if weight[worldid, efcid] == 0.0 or den <= MINVAL:
    return
  dual = float(0.0)
  for c in range(nv):
    dual += J_in[worldid, efcid, c] * lam_in[worldid, c]
  dual *= force[worldid, efcid]
  for c in range(nv):
    J = J_in[worldid, first, c]
    scaled = dual * J
    if scaled != 0.0:
      a = qH_in[worldid, M_elemid[c, c]]
      m = M_in[worldid, M_elemid[c, c]]
      along = 2.0 * scaled * (1.0 / (num * a) - 1.0 / (den * m))
      alpha = scaled * J / (num * a * a)
      beta = scaled * J / (den * m * m)
      wp.atomic_add(rows_out.direction, worldid, first, c, along)
      wp.atomic_add(metric_dual_out, worldid, c, alpha)
      wp.atomic_add(inertia_dual_out, worldid, c, beta - alpha)


@wp.kernel
def _inertia_vjp(
  # Model:
  dof_parentid: wp.array[int],
  # Data in:
  cdof_in: wp.array2d[wp.spatial_vector],
  cinert_in: wp.array2d[vec10],
  # In:
  body_lastdof: wp.array[int],
  inertia_dual: wp.array2d[float],
  # Adjoint out (+=):
  axis_wrench_out: wp.array3d[wp.spatial_vector],
):
  worldid, bodyid = wp.tid()
  inertia = cinert_in[worldid, bodyid]
  dofid = body_lastdof[bodyid]
  while dofid >= 0:
    wrench = 2.0 * inertia_dual[worldid, dofid] * inert_vec(inertia, cdof_in[worldid, dofid])
    wp.atomic_add(axis_wrench_out, worldid, bodyid, dofid, wrench)
    dofid = dof_parentid[dofid]


@wp.kernel
def _armature_vjp(
  # In:
  inertia_dual: wp.array2d[float],
  # Adjoint out (+=):
  adj_dof_armature_out: wp.array2d[float],
):
  worldid, dofid = wp.tid()
  accumulate(adj_dof_armature_out, worldid, dofid, inertia_dual[worldid, dofid])


def evaluate(work) -> None:
  """Fills the scales of rows and their duals, from lam and the forces of rows."""
  m, d = work.model, work.data
  if not work.discrete:
    return
  for array in (work.metric_dual, work.inertia_dual, work.row_scales.direction):
    array.zero_()
  wp.launch(
    _find_rows,
    dim=(d.nworld, d.njmax),
    inputs=[d.nefc, d.efc.type, d.efc.id, d.njmax],
    outputs=[work.row_scales],
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
    outputs=[work.row_scales, work.metric_dual, work.inertia_dual],
  )


def vjp(work) -> None:
  """Adds what M_cc contributes."""
  m, d = work.model, work.data
  if not work.discrete:
    return
  wp.launch(
    _inertia_vjp,
    dim=(d.nworld, m.nbody),
    inputs=[
      m.dof_parentid,
      d.cdof,
      d.cinert,
      work.tree.body_lastdof,
      work.inertia_dual,
      work.axis_wrench,
    ],
  )
  if work.adj["dof_armature"].shape[0] > 0:
    wp.launch(
      _armature_vjp,
      dim=(d.nworld, m.nv),
      inputs=[work.inertia_dual, work.adj["dof_armature"]],
    )
