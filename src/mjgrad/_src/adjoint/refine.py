"""One Newton step on the solved acceleration, in float64, before it is differentiated.

The adjoint is exact at the root of r. The engine stops its iterations at a tolerance of 1e-6, which
Newton on the piecewise quadratic cost of a pyramidal problem meets close to its solution (what is
left shows in gradients that nearly cancel, docs/accuracy.md), but which leaves sliding elliptic
contacts and CG solutions up to 1e-3 away from it. There the backward pass moves to

    a - H^-1 r(a),    r(a) = M a - qfrc_smooth - J^T f(J a - aref)

first. The forward step is not touched.

Source: DESIGN section 2; MuJoCo documentation, Computation, "Constraint solver".
"""

import warp as wp

from mjgrad._src.adjoint import multiplier
from mjgrad._src.adjoint import rows
from mjgrad._src.adjoint.multiplier import mass
from mjgrad._src.adjoint.rows import CONE
from mjgrad._src.adjoint.rows import FRICTION_DOF
from mjgrad._src.adjoint.rows import FRICTION_TENDON
from mjgrad._src.engine import adapter
from mjgrad._src.engine.adapter import vec5

wp.set_module_options({"enable_backward": False})


@wp.kernel
def _force(
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
  efc_frictionloss_in: wp.array2d[float],
  # In:
  residual: wp.array2d[float],
  weight: wp.array2d[float],
  # Out:
  force_out: wp.array2d[float],
):
  worldid, efcid = wp.tid()
  if efcid >= nefc_in[worldid]:
    return
  y = residual[worldid, efcid]
  w = weight[worldid, efcid]
  efctype = efc_type_in[worldid, efcid]
  force = float(0.0)
  if w > 0.0:
    force = -w * y
  elif efctype == FRICTION_DOF or efctype == FRICTION_TENDON:
    force = -wp.sign(y) * efc_frictionloss_in[worldid, efcid]
  elif w == CONE:
    conid = efc_id_in[worldid, efcid]
    first = contact_efc_address_in[conid, 0]
    friction = contact_friction_in[conid]
    mu = friction[0] * opt_impratio_invsqrt[worldid % opt_impratio_invsqrt.shape[0]]
    tt = float(0.0)
    for k in range(1, contact_dim_in[conid]):
      u = friction[k - 1] * residual[worldid, first + k]
      tt += u * u
    t = wp.sqrt(tt)
    dm = efc_D_in[worldid, first] / (mu * mu * (1.0 + mu * mu))
    normal = -dm * mu * mu * (residual[worldid, first] - t)
    force = normal
    if efcid > first:
      scale = friction[efcid - first - 1]
      force = -normal * scale * scale * y / t
  force_out[worldid, efcid] = force


@wp.kernel
def _dynamics_residual(
  # Model:
  nv: int,
  M_elemid: wp.array2d[int],
  # Data in:
  nefc_in: wp.array[int],
  M_in: wp.array2d[float],
  qfrc_smooth_in: wp.array2d[float],
  # In:
  qacc: wp.array2d[float],
  J_in: wp.array3d[float],
  force: wp.array2d[float],
  # Out:
  rhs_out: wp.array3d[wp.float64],
):
  worldid, dofid = wp.tid()
  r = -wp.float64(qfrc_smooth_in[worldid, dofid])
  for k in range(nv):
    r += wp.float64(mass(M_elemid, M_in, worldid, dofid, k)) * wp.float64(qacc[worldid, k])
  for efcid in range(nefc_in[worldid]):
    r -= wp.float64(J_in[worldid, efcid, dofid]) * wp.float64(force[worldid, efcid])
  rhs_out[worldid, dofid, 0] = r


@wp.kernel
def _correct(
  # In:
  solution: wp.array3d[wp.float64],
  # Out:
  qacc_out: wp.array2d[float],
):
  worldid, dofid = wp.tid()
  corrected = wp.float64(qacc_out[worldid, dofid]) - solution[worldid, dofid, 0]
  qacc_out[worldid, dofid] = wp.float32(corrected)


def launch(work) -> None:
  """Corrects `work.qacc` where the engine's solution is not converged."""
  if not work.refine:
    return
  m, d = work.model, work.data
  dofs = (d.nworld, m.nv)
  adapter.smooth_forces(m, d)
  rows.launch(work)
  wp.launch(
    _force,
    dim=(d.nworld, d.njmax),
    inputs=[
      m.opt.impratio_invsqrt,
      d.nefc,
      d.contact.friction,
      d.contact.dim,
      d.contact.efc_address,
      d.efc.type,
      d.efc.id,
      d.efc.D,
      d.efc.frictionloss,
      work.efc_residual,
      work.efc_weight,
    ],
    outputs=[work.efc_force],
  )
  wp.launch(
    _dynamics_residual,
    dim=dofs,
    inputs=[m.nv, m.M_elemid, d.nefc, d.M, d.qfrc_smooth, work.qacc, work.efc_J, work.efc_force],
    outputs=[work.rhs],
  )
  multiplier.solve_hessian(work)
  wp.launch(_correct, dim=dofs, inputs=[work.solution], outputs=[work.qacc])
