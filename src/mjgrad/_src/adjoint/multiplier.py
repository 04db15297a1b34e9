"""The two multipliers: mu of the integrator and lam of the equations of motion.

With abar the cotangent of the acceleration that the integrator used:

    A a_d = M a                  the acceleration that the implicit integrator used
    A^T mu = -abar               A = M + h B (Euler) or M - h D (implicit, implicitfast)
    H lam = M mu                 H = M + J^T W J, W the Hessian of the constraint cost at J a - aref
    H lam = -abar                where nothing is integrated implicitly: a_d = a, mu = 0
    H lam = -abar, mu = lam      discrete: H and r have the effective metric (adjoint/metric.py)

Where A - M is a diagonal C, the damping of dofs, the right-hand sides need no product with M:

    A (a_d - a) = -C a           H lam = M mu = -abar - C mu

The minus sign of the adjoint rule is absorbed here, so every term adds its gradient.

The adjoint is exact at the root of r, from which the engine stops a little away: its tolerance is
1e-6 at best, and gradients that nearly cancel magnify what is left. The factor of H takes the last
Newton step as well,

    a <- a - H^-1 r(a),    r(a) = M a - qfrc_smooth - J^T f(J a - aref)

as a second column of the same solve. On the piecewise quadratic cost of pyramidal contacts the H of
the solution is that of the engine's last iterate; where it changes (elliptic cones) or the engine
is further away (CG), another step goes before (adjoint/step_vjp.py). The forward step is not
touched.

A is symmetric but for the velocity derivative of bias forces (terms/gyroscopic.py). A and H are
assembled and factored in float64: with stiff contacts their entries differ by many
orders of magnitude, and rounding them to float32 would disturb the soft directions by more than the
error of the solution itself. H is assembled in blocks, so that every entry of J that is read serves
`BLOCK` entries of H, or, where a warp solves the system of a world, row by row in its lanes
(adjoint/cholesky.py).

Source: DESIGN section 2; MuJoCo documentation, Computation, "Numerical integration" and
"Constraint solver" (Newton's Hessian).
"""

import functools

import warp as wp

from mjgrad._src.adjoint import cholesky
from mjgrad._src.adjoint import cone
from mjgrad._src.adjoint import lu
from mjgrad._src.adjoint import metric
from mjgrad._src.adjoint import rows
from mjgrad._src.engine.adapter import dof_damping_total
from mjgrad._src.terms import actuator_slope
from mjgrad._src.terms import body_slope
from mjgrad._src.terms.tendon import add_damping_matrix
from mjgrad._src.tree.indices import BLOCK
from mjgrad._src.tree.indices import Block
from mjgrad._src.tree.indices import Column

wp.set_module_options({"enable_backward": False})

HESSIAN_BLOCK_DIM = 64
"""Threads per block of the kernel that assembles H, few enough to load a GPU evenly."""


@wp.func
def mass(M_elemid: wp.array2d[int], M_in: wp.array2d[float], worldid: int, i: int, j: int) -> float:
  """Entry (i, j) of the symmetric inertia matrix, stored as its sparse lower triangle."""
  entry = float(0.0)
  elemid = M_elemid[wp.max(i, j), wp.min(i, j)]
  if elemid >= 0:
    entry = M_in[worldid, elemid]
  return entry


@wp.func
def mass_times(
  M_mulm_rowadr: wp.array[int],
  M_mulm_col: wp.array[int],
  M_mulm_madr: wp.array[int],
  M_in: wp.array2d[float],
  x: wp.array2d[float],
  worldid: int,
  i: int,
) -> wp.float64:
  """Row i of M x."""
  product = wp.float64(0.0)
  for k in range(M_mulm_rowadr[i], M_mulm_rowadr[i + 1]):
    entry = M_in[worldid, M_mulm_madr[k]]
    product += wp.float64(entry) * wp.float64(x[worldid, M_mulm_col[k]])
  return product


@wp.kernel
def _integration_matrix(
  # Model:
  opt_timestep: wp.array[float],
  jnt_actuatorid: wp.array[int],
  dof_jntid: wp.array[int],
  dof_damping: wp.array2d[float],
  dof_dampingpoly: wp.array2d[wp.vec2],
  dof_tri_row: wp.array[int],
  dof_tri_col: wp.array[int],
  actuator_trntype: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_damping: wp.array2d[float],
  actuator_dampingpoly: wp.array2d[wp.vec2],
  actuator_gear: wp.array2d[wp.spatial_vector],
  M_elemid: wp.array2d[int],
  # Data in:
  qvel_in: wp.array2d[float],
  qacc_in: wp.array2d[float],
  M_in: wp.array2d[float],
  # In:
  damper_enabled: bool,
  # Adjoint in:
  adj_qacc_in: wp.array2d[wp.float64],
  # Out:
  matrix_out: wp.array3d[wp.float64],
  rhs_out: wp.array3d[wp.float64],
  damping_out: wp.array2d[wp.float64],
):
  worldid, pairid = wp.tid()
  i = dof_tri_col[pairid]
  j = dof_tri_row[pairid]
  entry = wp.float64(mass(M_elemid, M_in, worldid, i, j))
  if i == j:
    h = wp.float64(opt_timestep[worldid % opt_timestep.shape[0]])
    c = wp.float64(0.0)
    if damper_enabled:
      damping, poly = dof_damping_total(
        jnt_actuatorid,
        dof_jntid,
        dof_damping,
        dof_dampingpoly,
        actuator_trntype,
        actuator_trnid,
        actuator_damping,
        actuator_dampingpoly,
        actuator_gear,
        worldid,
        i,
      )
      v = wp.abs(qvel_in[worldid, i])
      c = h * wp.float64(damping + 2.0 * poly[0] * v + 3.0 * poly[1] * v * v)
    entry += c
    damping_out[worldid, i] = c
    rhs_out[worldid, i, 0] = -c * wp.float64(qacc_in[worldid, i])
    rhs_out[worldid, i, 1] = -adj_qacc_in[worldid, i]
  matrix_out[worldid, i, j] = entry


@wp.kernel
def _integration_rhs(
  # Model:
  M_mulm_rowadr: wp.array[int],
  M_mulm_col: wp.array[int],
  M_mulm_madr: wp.array[int],
  # Data in:
  qacc_in: wp.array2d[float],
  M_in: wp.array2d[float],
  # Out:
  rhs_out: wp.array3d[wp.float64],
):
  worldid, dofid = wp.tid()
  rhs_out[worldid, dofid, 0] = mass_times(
    M_mulm_rowadr, M_mulm_col, M_mulm_madr, M_in, qacc_in, worldid, dofid
  )


@wp.kernel
def _integration_solution(
  # Model:
  M_mulm_rowadr: wp.array[int],
  M_mulm_col: wp.array[int],
  M_mulm_madr: wp.array[int],
  # Data in:
  qacc_in: wp.array2d[float],
  M_in: wp.array2d[float],
  # In:
  solution: wp.array3d[wp.float64],
  # Out:
  delta_out: wp.array2d[float],
  mu_out: wp.array2d[float],
  rhs_out: wp.array3d[wp.float64],
):
  worldid, dofid = wp.tid()
  rhs = wp.float64(0.0)
  for k in range(M_mulm_rowadr[dofid], M_mulm_rowadr[dofid + 1]):
    rhs += wp.float64(M_in[worldid, M_mulm_madr[k]]) * solution[worldid, M_mulm_col[k], 1]
  delta_out[worldid, dofid] = wp.float32(
    solution[worldid, dofid, 0] - wp.float64(qacc_in[worldid, dofid])
  )
  mu_out[worldid, dofid] = wp.float32(solution[worldid, dofid, 1])
  rhs_out[worldid, dofid, 1] = rhs


@wp.kernel
def _damping_solution(
  # In:
  damping: wp.array2d[wp.float64],
  solution: wp.array3d[wp.float64],
  # Out:
  delta_out: wp.array2d[float],
  mu_out: wp.array2d[float],
  rhs_out: wp.array3d[wp.float64],
):
  worldid, dofid = wp.tid()
  mu = solution[worldid, dofid, 1]
  delta_out[worldid, dofid] = wp.float32(solution[worldid, dofid, 0])
  mu_out[worldid, dofid] = wp.float32(mu)
  rhs_out[worldid, dofid, 1] -= damping[worldid, dofid] * mu


@wp.kernel
def _hessian(
  # Model:
  nv: int,
  M_elemid: wp.array2d[int],
  # Data in:
  nefc_in: wp.array[int],
  M_in: wp.array2d[float],
  # In:
  block_row: wp.array[int],
  block_col: wp.array[int],
  J_in: wp.array3d[float],
  weight: wp.array2d[float],
  force: wp.array2d[float],
  # Out:
  matrix_out: wp.array3d[wp.float64],
  rhs_out: wp.array3d[wp.float64],
):
  """H = M + J^T W J, and r -= J^T f where the blocks of the diagonal read J."""
  worldid, blockid = wp.tid()
  i = BLOCK * block_row[blockid]
  j = BLOCK * block_col[blockid]
  block = Block()
  constraint = Column()
  for efcid in range(wp.min(nefc_in[worldid], weight.shape[1])):
    w = weight[worldid, efcid]
    if i == j:
      f = wp.float64(force[worldid, efcid])
      for a in range(wp.static(BLOCK)):
        constraint[a] += f * wp.float64(J_in[worldid, efcid, i + a])
    if w > 0.0:
      rows_i = Column()
      rows_j = Column()
      for a in range(wp.static(BLOCK)):
        rows_i[a] = wp.float64(w) * wp.float64(J_in[worldid, efcid, i + a])
        rows_j[a] = wp.float64(J_in[worldid, efcid, j + a])
      block += wp.outer(rows_i, rows_j)
  for a in range(wp.static(BLOCK)):
    for b in range(wp.static(BLOCK)):
      if i + a < nv and j + b <= i + a:
        entry = wp.float64(mass(M_elemid, M_in, worldid, i + a, j + b))
        matrix_out[worldid, i + a, j + b] = entry + block[a, b]
    if i == j and i + a < nv:
      rhs_out[worldid, i + a, 0] = rhs_out[worldid, i + a, 0] - constraint[a]


@functools.cache
def _hessian_solution(nv: int) -> wp.Kernel:
  row, rows = cholesky.solve_rows(nv)

  @wp.kernel(module="unique", enable_backward=False, module_options={"max_unroll": cholesky.LANES})
  def hessian_solution(
    # Model:
    M_elemid: wp.array2d[int],
    # Data in:
    nefc_in: wp.array[int],
    M_in: wp.array2d[float],
    # In:
    J_in: wp.array3d[float],
    weight: wp.array2d[float],
    force: wp.array2d[float],
    rhs: wp.array3d[wp.float64],
    # Out:
    solution_out: wp.array3d[wp.float64],
  ):
    """`_hessian` and `cholesky.solve` in one: lane i of a warp assembles row i of H."""
    worldid, lane = wp.tid()
    i = wp.min(lane, wp.static(nv - 1))
    h = row()
    for j in range(wp.static(nv)):
      h[j] = wp.float64(mass(M_elemid, M_in, worldid, i, j))
    x = rhs[worldid, i, 0]
    for efcid in range(wp.min(nefc_in[worldid], weight.shape[1])):
      entry = wp.float64(J_in[worldid, efcid, i])
      x -= entry * wp.float64(force[worldid, efcid])
      w = wp.float64(weight[worldid, efcid])
      if w > wp.float64(0.0):
        row_e = cholesky.exchange(entry, lane, True)
        for j in range(wp.static(nv)):
          h[j] = h[j] + w * entry * cholesky.exchange(row_e, j, False)
    x, y = rows(h, x, rhs[worldid, i, 1], lane)
    if lane < wp.static(nv):
      solution_out[worldid, lane, 0] = x
      solution_out[worldid, lane, 1] = y

  return hessian_solution


@wp.kernel
def _smooth_residual(
  # Model:
  M_mulm_rowadr: wp.array[int],
  M_mulm_col: wp.array[int],
  M_mulm_madr: wp.array[int],
  # Data in:
  M_in: wp.array2d[float],
  qfrc_smooth_in: wp.array2d[float],
  # In:
  implicit: bool,
  qacc: wp.array2d[float],
  # Adjoint in:
  adj_qacc_in: wp.array2d[wp.float64],
  # Out:
  rhs_out: wp.array3d[wp.float64],
):
  worldid, dofid = wp.tid()
  r = mass_times(M_mulm_rowadr, M_mulm_col, M_mulm_madr, M_in, qacc, worldid, dofid)
  r -= wp.float64(qfrc_smooth_in[worldid, dofid])
  rhs_out[worldid, dofid, 0] = r
  if not implicit:
    rhs_out[worldid, dofid, 1] = -adj_qacc_in[worldid, dofid]


@wp.kernel
def _dynamics_solution(
  # In:
  solution: wp.array3d[wp.float64],
  # Out:
  qacc_out: wp.array2d[float],
  lam_out: wp.array2d[float],
):
  worldid, dofid = wp.tid()
  corrected = wp.float64(qacc_out[worldid, dofid]) - solution[worldid, dofid, 0]
  qacc_out[worldid, dofid] = wp.float32(corrected)
  lam_out[worldid, dofid] = wp.float32(solution[worldid, dofid, 1])


def integrator_multiplier(work) -> None:
  """Fills `work.mu`, `work.delta` = a_d - a and the right-hand side of H lam."""
  m, d = work.model, work.data
  dofs = (d.nworld, m.nv)
  if not work.implicit:
    return
  mass_rows = (m.M_mulm_rowadr, m.M_mulm_col, m.M_mulm_madr)
  wp.launch(
    _integration_matrix,
    dim=(d.nworld, m.dof_tri_row.shape[0]),
    inputs=[
      m.opt.timestep,
      m.jnt_actuatorid,
      m.dof_jntid,
      m.dof_damping,
      m.dof_dampingpoly,
      m.dof_tri_row,
      m.dof_tri_col,
      m.actuator_trntype,
      m.actuator_trnid,
      m.actuator_damping,
      m.actuator_dampingpoly,
      m.actuator_gear,
      m.M_elemid,
      d.qvel,
      work.qacc,
      d.M,
      work.damper_enabled,
      work.adj_qacc,
    ],
    outputs=[work.matrix, work.rhs, work.damping],
  )
  if work.damping_only:
    cholesky.solve(work.matrix, work.rhs, work.solution)
    wp.launch(
      _damping_solution,
      dim=dofs,
      inputs=[work.damping, work.solution],
      outputs=[work.delta, work.mu, work.rhs],
    )
    return
  add_damping_matrix(work)
  actuator_slope.add_matrix(work)
  body_slope.add_matrix(work)
  wp.launch(
    _integration_rhs,
    dim=dofs,
    inputs=[*mass_rows, work.qacc, d.M],
    outputs=[work.rhs],
  )
  if work.gyroscopic:
    lu.solve(work, work.every_tree)
  else:
    cholesky.solve(work.matrix, work.rhs, work.solution)
  wp.launch(
    _integration_solution,
    dim=dofs,
    inputs=[*mass_rows, work.qacc, d.M, work.solution],
    outputs=[work.delta, work.mu, work.rhs],
  )


def solve_hessian(work) -> None:
  """Assembles H at the rows in `work` and solves it for both columns of `work.rhs`.

  The first column is M a - qfrc_smooth on entry; the forces of the rows complete r.
  """
  m, d = work.model, work.data
  if cholesky.by_warp(work.matrix) and not (work.elliptic or work.discrete):
    wp.launch(
      _hessian_solution(m.nv),
      dim=(d.nworld, cholesky.LANES),
      inputs=[
        m.M_elemid,
        d.nefc,
        d.M,
        work.efc_J,
        work.efc_weight,
        work.efc_force,
        work.rhs,
      ],
      outputs=[work.solution],
      block_dim=cholesky.LANES,
    )
    return
  wp.launch(
    _hessian,
    dim=(d.nworld, work.tree.block_row.size),
    inputs=[
      m.nv,
      m.M_elemid,
      d.nefc,
      d.M,
      work.tree.block_row,
      work.tree.block_col,
      work.efc_J,
      work.efc_weight,
      work.efc_force,
    ],
    outputs=[work.matrix, work.rhs],
    block_dim=HESSIAN_BLOCK_DIM,
  )
  if work.elliptic:
    cone.add(work)
  if work.discrete:
    metric.add(work)
  cholesky.solve(work.matrix, work.rhs, work.solution)
  if work.gyroscopic and work.discrete:
    metric.solve_free_bodies(work)


def dynamics_multiplier(work) -> None:
  """Fills `work.lam` from the integrator's right-hand side, and corrects `work.qacc`."""
  m, d = work.model, work.data
  dofs = (d.nworld, m.nv)
  with work.beside:
    wp.launch(
      _smooth_residual,
      dim=dofs,
      inputs=[
        m.M_mulm_rowadr,
        m.M_mulm_col,
        m.M_mulm_madr,
        d.M,
        d.qfrc_smooth,
        work.implicit,
        work.qacc,
        work.adj_qacc,
      ],
      outputs=[work.rhs],
    )
  rows.launch(work)
  if work.discrete:
    metric.evaluate(work)
  work.beside.join()
  solve_hessian(work)
  wp.launch(_dynamics_solution, dim=dofs, inputs=[work.solution], outputs=[work.qacc, work.lam])
  if work.discrete:
    wp.copy(work.mu, work.lam)
    rows.launch(work)
