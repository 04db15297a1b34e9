"""Elliptic cones that slide: what they add to H.

    s(y) = 1/2 D_m (N - mu T)^2,   N = mu y_0,   T = |friction_i y_i|,   H += J^T s'' J

All rows of a cone take part at once, so no row has a weight of its own.

Source: MuJoCo documentation, Computation, "Constraint solver" (the Hessian of the elliptic cone).
"""

import warp as wp

from mjgrad._src.adjoint.rows import CONE
from mjgrad._src.engine.adapter import vec5
from mjgrad._src.terms.contact_force import vec6
from mjgrad._src.tree.indices import BLOCK
from mjgrad._src.tree.indices import Block

wp.set_module_options({"enable_backward": False})


@wp.func
def _entry(
  # Data in:
  efc_D_in: wp.array2d[float],
  # In:
  J_in: wp.array3d[float],
  residual: wp.array2d[float],
  friction: vec5,
  mu: float,
  condim: int,
  worldid: int,
  efcid: int,
  i: int,
  j: int,
) -> wp.float64:
  """(J_i)^T s'' J_j for a contact whose rows start at efcid."""
  scaled = vec6()
  tt = float(0.0)
  for k in range(1, condim):
    scaled[k] = friction[k - 1] * residual[worldid, efcid + k]
    tt += scaled[k] * scaled[k]
  t = wp.sqrt(tt)
  gap = mu * (residual[worldid, efcid] - t)
  # radial: along u = scaled / T; cross: all tangents, scaled by their friction
  radial_i = wp.float64(0.0)
  radial_j = wp.float64(0.0)
  cross = wp.float64(0.0)
  for k in range(1, condim):
    entry_i = wp.float64(friction[k - 1] * J_in[worldid, efcid + k, i])
    entry_j = wp.float64(friction[k - 1] * J_in[worldid, efcid + k, j])
    radial_i += wp.float64(scaled[k] / t) * entry_i
    radial_j += wp.float64(scaled[k] / t) * entry_j
    cross += entry_i * entry_j
  slope_i = wp.float64(mu) * (wp.float64(J_in[worldid, efcid, i]) - radial_i)
  slope_j = wp.float64(mu) * (wp.float64(J_in[worldid, efcid, j]) - radial_j)
  curvature = wp.float64(-mu * gap / t) * (cross - radial_i * radial_j)
  dm = wp.float64(efc_D_in[worldid, efcid] / (mu * mu * (1.0 + mu * mu)))
  return dm * (slope_i * slope_j + curvature)


@wp.kernel
def _add(
  # Model:
  nv: int,
  opt_impratio_invsqrt: wp.array[float],
  # Data in:
  nefc_in: wp.array[int],
  contact_friction_in: wp.array[vec5],
  contact_dim_in: wp.array[int],
  efc_id_in: wp.array2d[int],
  efc_D_in: wp.array2d[float],
  # In:
  block_row: wp.array[int],
  block_col: wp.array[int],
  J_in: wp.array3d[float],
  residual: wp.array2d[float],
  weight: wp.array2d[float],
  # Out:
  matrix_out: wp.array3d[wp.float64],
):
  worldid, blockid = wp.tid()
  i = BLOCK * block_row[blockid]
  j = BLOCK * block_col[blockid]
  impratio_invsqrt = opt_impratio_invsqrt[worldid % opt_impratio_invsqrt.shape[0]]
  block = Block()
  nefc = wp.min(nefc_in[worldid], weight.shape[1])
  efcid = int(0)
  while efcid < nefc:
    if weight[worldid, efcid] == CONE:
      conid = efc_id_in[worldid, efcid]
      condim = contact_dim_in[conid]
      friction = contact_friction_in[conid]
      mu = friction[0] * impratio_invsqrt
      for a in range(wp.static(BLOCK)):
        for b in range(wp.static(BLOCK)):
          block[a, b] += _entry(
            efc_D_in, J_in, residual, friction, mu, condim, worldid, efcid, i + a, j + b
          )
      efcid += condim
    else:
      efcid += 1
  for a in range(wp.static(BLOCK)):
    for b in range(wp.static(BLOCK)):
      if i + a < nv and j + b <= i + a:
        matrix_out[worldid, i + a, j + b] += block[a, b]


def add(work) -> None:
  """Adds the cones of all contacts to `work.matrix`."""
  m, d = work.model, work.data
  wp.launch(
    _add,
    dim=(d.nworld, work.tree.block_row.size),
    inputs=[
      m.nv,
      m.opt.impratio_invsqrt,
      d.nefc,
      d.contact.friction,
      d.contact.dim,
      d.efc.id,
      d.efc.D,
      work.tree.block_row,
      work.tree.block_col,
      work.efc_J,
      work.efc_residual,
      work.efc_weight,
    ],
    outputs=[work.matrix],
  )
