"""The constants that MuJoCo's compiler derives at qpos0, as functions of the parameters.

Every one of them is made of rows J of a Jacobian and the solution z of M z = J^T, at qpos0:

    dof_invweight0      J z                     J = e_i, averaged over the dofs of a ball or a
                                                free joint's translations or rotations
    body_invweight0     J z                     translations and rotations of the body's centre of
                                                mass, averaged over the three axes
    tendon_invweight0   J z                     J = d length / dq
    actuator_acc0       |z|                     J = moment
    tendon_length0      length

With g the cotangent of one row's value, the derivative is that of terms which exist already:

    d(J z) = 2 dJ z - z^T dM z,     d|z| = dJ y - y^T dM z,   M y = z / |z|

The first is a cotangent 2 g or g of the row's rate along lam = z or y, the second phi = lam . M a
at a = -g z. All rows are handled at once as worlds of their own: world r n + w of the workspace is
row r in world w of n. derived/pullback.py carries the derivative out.

Source: MuJoCo documentation, API reference, `mj_setConst`; Computation, "Constraint model"
(diagonal of the inverse inertia).
"""

import dataclasses

import mujoco
import numpy as np
import warp as wp

from mjgrad._src.adjoint import multiplier
from mjgrad._src.adjoint.workspace import Workspace
from mjgrad._src.engine import adapter
from mjgrad._src.engine import static_geoms
from mjgrad._src.errors import InvalidInput
from mjgrad._src.spatial import velocity_at

wp.set_module_options({"enable_backward": False})

_SEVERAL = (int(mujoco.mjtJoint.mjJNT_FREE), int(mujoco.mjtJoint.mjJNT_BALL))

DOF = wp.constant(0)
BODY = wp.constant(1)
TENDON = wp.constant(2)
ACTUATOR = wp.constant(3)
LENGTH = wp.constant(4)

DERIVED = (
  "dof_invweight0",
  "body_invweight0",
  "tendon_invweight0",
  "actuator_acc0",
  "tendon_length0",
)
"""Fields that follow."""

SOURCES = (
  "qpos0",
  "body_mass",
  "body_inertia",
  "body_pos",
  "body_quat",
  "body_ipos",
  "body_iquat",
  "jnt_pos",
  "jnt_axis",
  "dof_armature",
  "geom_pos",
  "geom_quat",
  "geom_size",
  "site_pos",
  "site_quat",
  "tendon_armature",
  "actuator_gear",
  "actuator_armature",
  "actuator_cranklength",
)
"""Parameters that they follow."""


def followers(requested: dict[str, bool]) -> dict[str, bool]:
  """Derived constants that follow the requested parameters, and whether they are per world.

  Raises:
    InvalidInput: a constant that follows is given itself.
  """
  sources = [name for name in requested if name in SOURCES]
  given = [name for name in requested if name in DERIVED]
  if sources and given:
    raise InvalidInput(
      f"{', '.join(given)} given beside {', '.join(sources)}, which it follows; "
      'leave it out, or build the simulator with derived="fixed".'
    )
  return dict.fromkeys(DERIVED, any(requested[name] for name in sources)) if sources else {}


@dataclasses.dataclass(frozen=True)
class Rows:
  """One entry a row.

  Attributes:
    kind: which constant, DOF, BODY, TENDON, ACTUATOR or LENGTH
    index: dof, body, tendon or actuator
    axis: of a body: 0 to 2 a translation, 3 to 5 a rotation
    first, count: the rows that are averaged with this one
  """

  kind: np.ndarray
  index: np.ndarray
  axis: np.ndarray
  first: np.ndarray
  count: np.ndarray

  @classmethod
  def of(cls, mjm: mujoco.MjModel) -> "Rows":
    rows: list[tuple[int, int, int, int, int]] = []
    for dofid in range(mjm.nv):
      jntid = mjm.dof_jntid[dofid]
      several = int(mjm.jnt_type[jntid]) in _SEVERAL
      within = dofid - mjm.jnt_dofadr[jntid]
      first = dofid - within % 3 if several else dofid
      rows.append((int(DOF), dofid, 0, first, 3 if several else 1))
    for bodyid in np.nonzero(mjm.body_weldid)[0]:
      for axis in range(6):
        rows.append((int(BODY), bodyid, axis, len(rows) - axis % 3, 3))
    for kind, number in (
      (TENDON, mjm.ntendon),
      (ACTUATOR, mjm.actuator_trntype.size),
      (LENGTH, mjm.ntendon),
    ):
      for i in range(number):
        rows.append((int(kind), i, 0, len(rows), 1))
    return cls(*np.array(rows, dtype=np.int32).T)


@wp.kernel
def _reference_pose(
  # Model:
  body_mocapid: wp.array[int],
  qpos0: wp.array2d[float],
  body_pos: wp.array2d[wp.vec3],
  body_quat: wp.array2d[wp.quat],
  # Data out:
  qpos_out: wp.array2d[float],
  mocap_pos_out: wp.array2d[wp.vec3],
  mocap_quat_out: wp.array2d[wp.quat],
):
  worldid, i = wp.tid()
  if i < qpos_out.shape[1]:
    qpos_out[worldid, i] = qpos0[worldid % qpos0.shape[0], i]
  if i < body_mocapid.shape[0] and body_mocapid[i] >= 0:
    mocap_pos_out[worldid, body_mocapid[i]] = body_pos[worldid % body_pos.shape[0], i]
    mocap_quat_out[worldid, body_mocapid[i]] = body_quat[worldid % body_quat.shape[0], i]


@wp.kernel
def _jacobian(
  # Model:
  nv: int,
  body_rootid: wp.array[int],
  dof_parentid: wp.array[int],
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  # Data in:
  xipos_in: wp.array2d[wp.vec3],
  subtree_com_in: wp.array2d[wp.vec3],
  cdof_in: wp.array2d[wp.spatial_vector],
  ten_J_in: wp.array2d[float],
  moment_rownnz_in: wp.array2d[int],
  moment_rowadr_in: wp.array2d[int],
  moment_colind_in: wp.array2d[int],
  actuator_moment_in: wp.array2d[float],
  # In:
  nworld: int,
  row_kind: wp.array[int],
  row_index: wp.array[int],
  row_axis: wp.array[int],
  body_lastdof: wp.array[int],
  # Out:
  rhs_out: wp.array3d[wp.float64],
):
  worldid = wp.tid()
  row = worldid / nworld
  kind = row_kind[row]
  index = row_index[row]
  for dofid in range(nv):
    rhs_out[worldid, dofid, 1] = wp.float64(0.0)
  if kind == DOF:
    rhs_out[worldid, index, 1] = wp.float64(1.0)
  elif kind == BODY:
    axis = row_axis[row]
    offset = xipos_in[worldid, index] - subtree_com_in[worldid, body_rootid[index]]
    dofid = body_lastdof[index]
    while dofid >= 0:
      twist = cdof_in[worldid, dofid]
      if axis < 3:
        rhs_out[worldid, dofid, 1] = wp.float64(velocity_at(twist, offset)[axis])
      else:
        rhs_out[worldid, dofid, 1] = wp.float64(wp.spatial_top(twist)[axis - 3])
      dofid = dof_parentid[dofid]
  elif kind == TENDON:
    first = ten_J_rowadr[index]
    for k in range(first, first + ten_J_rownnz[index]):
      rhs_out[worldid, ten_J_colind[k], 1] = wp.float64(ten_J_in[worldid, k])
  elif kind == ACTUATOR:
    first = moment_rowadr_in[worldid, index]
    for k in range(first, first + moment_rownnz_in[worldid, index]):
      rhs_out[worldid, moment_colind_in[worldid, k], 1] = wp.float64(actuator_moment_in[worldid, k])


@wp.kernel
def _value(
  # Model:
  nv: int,
  # Data in:
  ten_length_in: wp.array2d[float],
  # In:
  nworld: int,
  row_kind: wp.array[int],
  row_index: wp.array[int],
  solution: wp.array3d[wp.float64],
  # Out:
  rhs_out: wp.array3d[wp.float64],
  z_out: wp.array2d[float],
  value_out: wp.array[float],
):
  """The value of every row, z, and the right-hand side of y in the place of that of z."""
  worldid = wp.tid()
  row = worldid / nworld
  kind = row_kind[row]
  total = wp.float64(0.0)
  for dofid in range(nv):
    z = solution[worldid, dofid, 1]
    z_out[worldid, dofid] = wp.float32(z)
    total += z * wp.where(kind == ACTUATOR, z, rhs_out[worldid, dofid, 1])
  if kind == ACTUATOR:
    total = wp.sqrt(total)
    if total > wp.float64(0.0):
      for dofid in range(nv):
        rhs_out[worldid, dofid, 1] = solution[worldid, dofid, 1] / total
  value_out[worldid] = wp.float32(total)
  if kind == LENGTH:
    value_out[worldid] = ten_length_in[worldid, row_index[row]]


@wp.func
def _mean(
  value: wp.array[float],
  row_first: wp.array[int],
  row_count: wp.array[int],
  nworld: int,
  w: int,
  r: int,
) -> float:
  """Average of the rows that are averaged with row r, in world w."""
  total = float(0.0)
  for k in range(row_count[r]):
    total += value[(row_first[r] + k) * nworld + w]
  return total / float(row_count[r])


@wp.kernel
def _write(
  # In:
  nworld: int,
  row_kind: wp.array[int],
  row_index: wp.array[int],
  row_axis: wp.array[int],
  row_first: wp.array[int],
  row_count: wp.array[int],
  value: wp.array[float],
  # Out:
  dof_invweight0_out: wp.array2d[float],
  body_invweight0_out: wp.array2d[wp.vec2],
  tendon_invweight0_out: wp.array2d[float],
  actuator_acc0_out: wp.array2d[float],
  tendon_length0_out: wp.array2d[float],
):
  worldid, row = wp.tid()
  kind = row_kind[row]
  index = row_index[row]
  mean = _mean(value, row_first, row_count, nworld, worldid, row)
  if kind == DOF:
    dof_invweight0_out[worldid, index] = mean
  elif kind == BODY and row_axis[row] == 0:
    rotation = _mean(value, row_first, row_count, nworld, worldid, row + 3)
    body_invweight0_out[worldid, index] = wp.vec2(mean, rotation)
  elif kind == TENDON:
    tendon_invweight0_out[worldid, index] = mean
  elif kind == ACTUATOR:
    actuator_acc0_out[worldid, index] = mean
  elif kind == LENGTH:
    tendon_length0_out[worldid, index] = mean


class DerivedConstants:
  """Keeps a program's derived constants in step with its parameters.

  Args:
    program: the program; its buffers hold the parameters and the derived constants.

  Attributes:
    nworld: number of worlds with values of their own, 1 where all parameters are shared
    rows: the fields of `Rows`
    work: workspace with a world for every row and world
    z: M^-1 J^T, shape [nrow * nworld, nv]
    value: J z, |z| or length, shape [nrow * nworld]
    adj_value: cotangent of `value`
    adj_qpos0: cotangent of qpos0 where it is the configuration
  """

  def __init__(self, program):
    sim = program.sim
    rows = Rows.of(sim.mjm)
    self.buffers = program.buffers
    self.nworld = self.buffers["dof_invweight0"].shape[0]
    self.rows = {
      f.name: wp.array(getattr(rows, f.name), dtype=int, device=sim.device)
      for f in dataclasses.fields(rows)
    }
    count = rows.kind.size * self.nworld
    data = adapter.make_data(sim.mjm, nworld=count, nconmax=1, njmax=1)
    self.work = Workspace(
      sim.mjm, program.model, data, sim.tree, program.tape, program.fields, program.buffers
    )
    self.work.gravity_enabled = False
    self.work.discrete = False
    self.z = wp.zeros((count, sim.nv), dtype=float, device=sim.device)
    self.value = wp.zeros(count, dtype=float, device=sim.device)
    self.adj_value = wp.zeros(count, dtype=float, device=sim.device)
    self.adj_qpos0 = wp.zeros((count, sim.nq), dtype=float, device=sim.device)

  def solve(self) -> None:
    """Fills `z`, `value` and, in `work.rhs`, the right-hand side of y, of z where there is none."""
    work = self.work
    m, d = work.model, work.data
    wp.launch(
      _reference_pose,
      dim=(d.nworld, max(m.nq, m.nbody)),
      inputs=[m.body_mocapid, m.qpos0, m.body_pos, m.body_quat],
      outputs=[d.qpos, d.mocap_pos, d.mocap_quat],
    )
    static_geoms.place(m, d)
    adapter.reference_point(m, d)
    wp.launch(
      _jacobian,
      dim=d.nworld,
      inputs=[
        m.nv,
        m.body_rootid,
        m.dof_parentid,
        m.ten_J_rownnz,
        m.ten_J_rowadr,
        m.ten_J_colind,
        d.xipos,
        d.subtree_com,
        d.cdof,
        d.ten_J,
        d.moment_rownnz,
        d.moment_rowadr,
        d.moment_colind,
        d.actuator_moment,
        self.nworld,
        self.rows["kind"],
        self.rows["index"],
        self.rows["axis"],
        work.tree.body_lastdof,
      ],
      outputs=[work.rhs],
    )
    multiplier.solve_hessian(work)
    wp.launch(
      _value,
      dim=d.nworld,
      inputs=[
        m.nv,
        d.ten_length,
        self.nworld,
        self.rows["kind"],
        self.rows["index"],
        work.solution,
      ],
      outputs=[work.rhs, self.z, self.value],
    )

  def update(self) -> None:
    """Computes the constants."""
    self.solve()
    wp.launch(
      _write,
      dim=(self.nworld, self.rows["kind"].size),
      inputs=[self.nworld, *self.rows.values(), self.value],
      outputs=[self.buffers[name] for name in DERIVED],
    )
