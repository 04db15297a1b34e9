"""The effective metric of `discrete`: what it adds to the inertia matrix and to the forces.

    (M + E) a = tau - c_bias + s + J^T f,    v' = v + h a

    E = diag(h b + h^2 k)  +  sum over tendons (h b + h^2 k) J J^T
      + sum over actuators (h g_v + h^2 g_p) m m^T  +  h (drag of the fluid)
    s = -h k v per dof,  -h k (J v) J per tendon,  -h g_p (m . v) m per actuator

with b and k the slopes of dampers and springs, g_v and g_p those of actuator forces, negated, in
the velocity and in the length, all of them where they are positive and not clamped. The engine
computes the coefficients, and the terms of each law differentiate them.

A lone free body that no row, no tendon and no actuator of E acts on is solved by itself, with the
velocity derivative of its bias forces in the matrix (terms/gyroscopic.py), which then is not
symmetric. Held fixed: which bodies these are.

Source: MuJoCo documentation, Computation, "Numerical integration" (discrete).
"""

import warp as wp

from mjgrad._src.adjoint import lu
from mjgrad._src.terms import body_slope

wp.set_module_options({"enable_backward": False})


@wp.kernel
def _dofs(
  # Model:
  dof_tri_row: wp.array[int],
  dof_tri_col: wp.array[int],
  M_elemid: wp.array2d[int],
  # Data in:
  efm_diag_in: wp.array2d[float],
  efm_fluid_in: wp.array2d[float],
  # In:
  fluid: bool,
  # Out:
  metric_out: wp.array3d[wp.float64],
):
  worldid, pairid = wp.tid()
  i = dof_tri_col[pairid]
  j = dof_tri_row[pairid]
  entry = wp.float64(0.0)
  if i == j:
    entry += wp.float64(efm_diag_in[worldid, i])
  elemid = M_elemid[i, j]
  if fluid and elemid >= 0:
    entry += wp.float64(efm_fluid_in[worldid, elemid])
  metric_out[worldid, i, j] = entry
  metric_out[worldid, j, i] = entry


@wp.kernel
def _tendons(
  # Model:
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  # Data in:
  ten_J_in: wp.array2d[float],
  efm_ts_in: wp.array2d[float],
  # Out:
  metric_out: wp.array3d[wp.float64],
):
  worldid, tenid = wp.tid()
  scale = wp.float64(efm_ts_in[worldid, tenid])
  if scale == wp.float64(0.0):
    return
  first = ten_J_rowadr[tenid]
  last = first + ten_J_rownnz[tenid]
  for k in range(first, last):
    scaled = scale * wp.float64(ten_J_in[worldid, k])
    for n in range(first, last):
      entry = scaled * wp.float64(ten_J_in[worldid, n])
      wp.atomic_add(metric_out, worldid, ten_J_colind[k], ten_J_colind[n], entry)


@wp.kernel
def _actuators(
  # Data in:
  moment_rownnz_in: wp.array2d[int],
  moment_rowadr_in: wp.array2d[int],
  moment_colind_in: wp.array2d[int],
  actuator_moment_in: wp.array2d[float],
  efm_as_in: wp.array2d[float],
  # Out:
  metric_out: wp.array3d[wp.float64],
):
  worldid, actid = wp.tid()
  scale = wp.float64(efm_as_in[worldid, actid])
  if scale == wp.float64(0.0):
    return
  first = moment_rowadr_in[worldid, actid]
  last = first + moment_rownnz_in[worldid, actid]
  for k in range(first, last):
    scaled = scale * wp.float64(actuator_moment_in[worldid, k])
    i = moment_colind_in[worldid, k]
    for n in range(first, last):
      entry = scaled * wp.float64(actuator_moment_in[worldid, n])
      wp.atomic_add(metric_out, worldid, i, moment_colind_in[worldid, n], entry)


@wp.kernel
def _add(
  # Model:
  nv: int,
  # Data in:
  efm_c_in: wp.array2d[float],
  efm_ca_in: wp.array2d[float],
  # In:
  qacc: wp.array2d[float],
  metric: wp.array3d[wp.float64],
  # Out:
  matrix_out: wp.array3d[wp.float64],
  rhs_out: wp.array3d[wp.float64],
):
  worldid, i = wp.tid()
  r = -wp.float64(efm_c_in[worldid, i]) - wp.float64(efm_ca_in[worldid, i])
  for j in range(nv):
    entry = metric[worldid, i, j]
    r += entry * wp.float64(qacc[worldid, j])
    if j <= i:
      matrix_out[worldid, i, j] += entry
  rhs_out[worldid, i, 0] += r


@wp.kernel
def _find_free_bodies(
  # Model:
  nactuator: int,
  ntendon: int,
  tree_dofadr: wp.array[int],
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  # Data in:
  nefc_in: wp.array[int],
  moment_rownnz_in: wp.array2d[int],
  moment_rowadr_in: wp.array2d[int],
  moment_colind_in: wp.array2d[int],
  efm_ts_in: wp.array2d[float],
  efm_as_in: wp.array2d[float],
  njmax_in: int,
  # In:
  tree_lone: wp.array[bool],
  J_in: wp.array3d[float],
  # Out:
  tree_gyroscopic_out: wp.array2d[bool],
):
  worldid, treeid = wp.tid()
  free = tree_lone[treeid]
  if free:
    first = tree_dofadr[treeid]
    last = first + 6
    for efcid in range(wp.min(nefc_in[worldid], njmax_in)):
      for i in range(first, last):
        free = free and J_in[worldid, efcid, i] == 0.0
    for t in range(ntendon):
      if efm_ts_in[worldid, t] != 0.0:
        for k in range(ten_J_rowadr[t], ten_J_rowadr[t] + ten_J_rownnz[t]):
          free = free and (ten_J_colind[k] < first or ten_J_colind[k] >= last)
    for a in range(nactuator):
      if efm_as_in[worldid, a] != 0.0:
        adr = moment_rowadr_in[worldid, a]
        for k in range(adr, adr + moment_rownnz_in[worldid, a]):
          i = moment_colind_in[worldid, k]
          free = free and (i < first or i >= last)
  tree_gyroscopic_out[worldid, treeid] = free


@wp.kernel
def _free_residual(
  # Model:
  dof_treeid: wp.array[int],
  tree_dofadr: wp.array[int],
  # Data in:
  qfrc_smooth_in: wp.array2d[float],
  efm_c_in: wp.array2d[float],
  efm_ca_in: wp.array2d[float],
  # In:
  tree_gyroscopic: wp.array2d[bool],
  qacc: wp.array2d[float],
  matrix: wp.array3d[wp.float64],
  # Out:
  rhs_out: wp.array3d[wp.float64],
):
  worldid, i = wp.tid()
  treeid = dof_treeid[i]
  if not tree_gyroscopic[worldid, treeid]:
    return
  r = -wp.float64(qfrc_smooth_in[worldid, i])
  r -= wp.float64(efm_c_in[worldid, i]) + wp.float64(efm_ca_in[worldid, i])
  first = tree_dofadr[treeid]
  for j in range(first, first + 6):
    r += matrix[worldid, i, j] * wp.float64(qacc[worldid, j])
  rhs_out[worldid, i, 0] = r


def evaluate(work) -> None:
  """Fills `work.metric` with E and finds the free bodies; after `work.efc_J`."""
  m, d = work.model, work.data
  wp.launch(
    _dofs,
    dim=(d.nworld, m.dof_tri_row.shape[0]),
    inputs=[
      m.dof_tri_row,
      m.dof_tri_col,
      m.M_elemid,
      d.efm_diag,
      d.efm_fluid,
      work.implicit_fluid,
    ],
    outputs=[work.metric],
  )
  wp.launch(
    _tendons,
    dim=(d.nworld, m.ntendon),
    inputs=[m.ten_J_rownnz, m.ten_J_rowadr, m.ten_J_colind, d.ten_J, d.efm_ts],
    outputs=[work.metric],
  )
  wp.launch(
    _actuators,
    dim=(d.nworld, m.nactuator),
    inputs=[d.moment_rownnz, d.moment_rowadr, d.moment_colind, d.actuator_moment, d.efm_as],
    outputs=[work.metric],
  )
  if work.gyroscopic:
    wp.launch(
      _find_free_bodies,
      dim=work.tree_gyroscopic.shape,
      inputs=[
        m.nactuator,
        m.ntendon,
        m.tree_dofadr,
        m.ten_J_rownnz,
        m.ten_J_rowadr,
        m.ten_J_colind,
        d.nefc,
        d.moment_rownnz,
        d.moment_rowadr,
        d.moment_colind,
        d.efm_ts,
        d.efm_as,
        d.njmax,
        work.tree.tree_gyroscopic,
        work.efc_J,
      ],
      outputs=[work.tree_gyroscopic],
    )


def add(work) -> None:
  """Adds E to H, and E a - s to the residual."""
  m, d = work.model, work.data
  wp.launch(
    _add,
    dim=(d.nworld, m.nv),
    inputs=[m.nv, d.efm_c, d.efm_ca, work.qacc, work.metric],
    outputs=[work.matrix, work.rhs],
  )


def solve_free_bodies(work) -> None:
  """Replaces the solution of the free bodies by that with the derivative of bias forces."""
  m, d = work.model, work.data
  body_slope.add_matrix(work)
  wp.launch(
    _free_residual,
    dim=(d.nworld, m.nv),
    inputs=[
      m.dof_treeid,
      m.tree_dofadr,
      d.qfrc_smooth,
      d.efm_c,
      d.efm_ca,
      work.tree_gyroscopic,
      work.qacc,
      work.matrix,
    ],
    outputs=[work.rhs],
  )
  lu.solve(work, work.tree_gyroscopic)
