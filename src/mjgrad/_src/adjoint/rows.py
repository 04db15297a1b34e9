"""Constraint rows: residual y = J a - aref, and the force f(y) and weight -f'(y) that it has.

The active set is taken from y itself, row by row: an inactive pyramid edge says nothing about the
other edges of its contact. An equality row is always active. A friction row is active between its
bounds. A row of an elliptic cone that slides has no weight of its own: `adjoint/cone.py` adds the
Hessian of its cone.

Source: MuJoCo documentation, Computation, "Constraint solver" (the convex costs).
"""

import warp as wp

from mjgrad._src.engine.adapter import ConstraintType
from mjgrad._src.engine.adapter import vec5
from mjgrad._src.terms.contact_force import SLIDING
from mjgrad._src.terms.contact_force import STICKING
from mjgrad._src.terms.contact_force import elliptic_zone
from mjgrad._src.terms.contact_force import vec6

wp.set_module_options({"enable_backward": False})

CONTACT_ELLIPTIC = wp.constant(int(ConstraintType.CONTACT_ELLIPTIC))
EQUALITY = wp.constant(int(ConstraintType.EQUALITY))
FRICTION_DOF = wp.constant(int(ConstraintType.FRICTION_DOF))
FRICTION_TENDON = wp.constant(int(ConstraintType.FRICTION_TENDON))
CONE = wp.constant(-1.0)
"""Stands for the weight of a row whose elliptic cone slides."""


@wp.kernel
def _densify(
  # Data in:
  nefc_in: wp.array[int],
  efc_J_rownnz_in: wp.array2d[int],
  efc_J_rowadr_in: wp.array2d[int],
  efc_J_colind_in: wp.array3d[int],
  efc_J_in: wp.array3d[float],
  # Out:
  J_out: wp.array3d[float],
):
  worldid, efcid = wp.tid()
  if efcid >= nefc_in[worldid]:
    return
  for dofid in range(J_out.shape[2]):
    J_out[worldid, efcid, dofid] = 0.0
  rowadr = efc_J_rowadr_in[worldid, efcid]
  for k in range(efc_J_rownnz_in[worldid, efcid]):
    dofid = efc_J_colind_in[worldid, 0, rowadr + k]
    J_out[worldid, efcid, dofid] = efc_J_in[worldid, 0, rowadr + k]


@wp.func
def _convex_law(efctype: int, y: float, d: float, frictionloss: float) -> wp.vec2:
  """Weight and force of a row with D = d whose cost is a function of its own residual alone."""
  weight = float(0.0)
  force = float(0.0)
  if efctype == FRICTION_DOF or efctype == FRICTION_TENDON:
    force = -wp.sign(y) * frictionloss
    if wp.abs(d * y) < frictionloss:
      weight = d
  elif efctype == EQUALITY or y < 0.0:
    weight = d
  if weight > 0.0:
    force = -weight * y
  return wp.vec2(weight, force)


@wp.kernel
def _rows(
  # Model:
  nv: int,
  # Data in:
  nefc_in: wp.array[int],
  qacc_in: wp.array2d[float],
  efc_type_in: wp.array2d[int],
  efc_D_in: wp.array2d[float],
  efc_aref_in: wp.array2d[float],
  efc_frictionloss_in: wp.array2d[float],
  # In:
  J_in: wp.array3d[float],
  # Out:
  residual_out: wp.array2d[float],
  weight_out: wp.array2d[float],
  force_out: wp.array2d[float],
):
  worldid, efcid = wp.tid()
  if efcid >= nefc_in[worldid]:
    return
  y = -wp.float64(efc_aref_in[worldid, efcid])
  for dofid in range(nv):
    y += wp.float64(J_in[worldid, efcid, dofid]) * wp.float64(qacc_in[worldid, dofid])
  residual = wp.float32(y)
  residual_out[worldid, efcid] = residual
  law = _convex_law(
    efc_type_in[worldid, efcid],
    residual,
    efc_D_in[worldid, efcid],
    efc_frictionloss_in[worldid, efcid],
  )
  weight_out[worldid, efcid] = law[0]
  force_out[worldid, efcid] = law[1]


@wp.func
def _sliding_force(
  residual: wp.array2d[float],
  friction: vec5,
  mu: float,
  condim: int,
  d: float,
  worldid: int,
  first: int,
  efcid: int,
) -> float:
  """Force of row efcid of a sliding elliptic cone whose first row is `first` and has D = d."""
  tt = float(0.0)
  for k in range(1, condim):
    u = friction[k - 1] * residual[worldid, first + k]
    tt += u * u
  t = wp.sqrt(tt)
  normal = -d / (1.0 + mu * mu) * (residual[worldid, first] - t)
  force = normal
  if efcid > first:
    scale = friction[efcid - first - 1]
    force = -normal * scale * scale * residual[worldid, efcid] / t
  return force


@wp.kernel
def _cones(
  # Model:
  opt_impratio_invsqrt: wp.array[float],
  # Data in:
  nefc_in: wp.array[int],
  contact_friction_in: wp.array[vec5],
  contact_dim_in: wp.array[int],
  contact_efc_address_in: wp.array2d[int],
  efc_type_in: wp.array2d[int],
  efc_id_in: wp.array2d[int],
  efc_D_in: wp.array2d[float],
  # In:
  residual: wp.array2d[float],
  # Out:
  weight_out: wp.array2d[float],
  force_out: wp.array2d[float],
):
  worldid, efcid = wp.tid()
  if efcid >= nefc_in[worldid] or efc_type_in[worldid, efcid] != CONTACT_ELLIPTIC:
    return
  conid = efc_id_in[worldid, efcid]
  condim = contact_dim_in[conid]
  friction = contact_friction_in[conid]
  cone = vec6()
  for i in range(condim):
    cone[i] = residual[worldid, contact_efc_address_in[conid, i]]
  mu = friction[0] * opt_impratio_invsqrt[worldid % opt_impratio_invsqrt.shape[0]]
  zone = elliptic_zone(cone, friction, mu, condim)
  weight = float(0.0)
  force = float(0.0)
  if zone == STICKING:
    weight = efc_D_in[worldid, efcid]
    force = -weight * residual[worldid, efcid]
  elif zone == SLIDING:
    weight = CONE
    first = contact_efc_address_in[conid, 0]
    force = _sliding_force(
      residual, friction, mu, condim, efc_D_in[worldid, first], worldid, first, efcid
    )
  weight_out[worldid, efcid] = weight
  force_out[worldid, efcid] = force


def launch(work) -> None:
  """Fills `work.efc_J` where the engine keeps J sparse, and residual, weight and force of rows."""
  m, d = work.model, work.data
  rows = (d.nworld, d.njmax)
  if m.is_sparse:
    wp.launch(
      _densify,
      dim=rows,
      inputs=[d.nefc, d.efc.J_rownnz, d.efc.J_rowadr, d.efc.J_colind, d.efc.J],
      outputs=[work.efc_J],
    )
  wp.launch(
    _rows,
    dim=rows,
    inputs=[
      m.nv,
      d.nefc,
      work.qacc,
      d.efc.type,
      d.efc.D,
      d.efc.aref,
      d.efc.frictionloss,
      work.efc_J,
    ],
    outputs=[work.efc_residual, work.efc_weight, work.efc_force],
  )
  if work.elliptic:
    wp.launch(
      _cones,
      dim=rows,
      inputs=[
        m.opt.impratio_invsqrt,
        d.nefc,
        d.contact.friction,
        d.contact.dim,
        d.contact.efc_address,
        d.efc.type,
        d.efc.id,
        d.efc.D,
        work.efc_residual,
      ],
      outputs=[work.efc_weight, work.efc_force],
    )
