"""The derivative of the derived constants: from their cotangents to those of the parameters.

Source: derived/constants.py.
"""

import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.adjoint import multiplier
from mjgrad._src.derived.constants import ACTUATOR
from mjgrad._src.derived.constants import BODY
from mjgrad._src.derived.constants import DERIVED
from mjgrad._src.derived.constants import DOF
from mjgrad._src.derived.constants import LENGTH
from mjgrad._src.derived.constants import TENDON
from mjgrad._src.derived.constants import DerivedConstants
from mjgrad._src.integrators import coordinates
from mjgrad._src.terms import actuator
from mjgrad._src.terms import dof
from mjgrad._src.terms import inertia
from mjgrad._src.terms import inertial_parameters
from mjgrad._src.terms import tendon_armature
from mjgrad._src.terms import tendon_path
from mjgrad._src.terms import tendon_rates
from mjgrad._src.tree import axes
from mjgrad._src.tree import body_poses
from mjgrad._src.tree import frame_poses
from mjgrad._src.tree import sweep
from mjgrad._src.tree import twists
from mjgrad._src.tree.attach import FrameAdjoint
from mjgrad._src.tree.attach import add_frame
from mjgrad._src.tree.attach import frame_state
from mjgrad._src.tree.twists import LAM

wp.set_module_options({"enable_backward": False})


@wp.kernel
def _cotangent(
  # In:
  nworld: int,
  row_kind: wp.array[int],
  row_index: wp.array[int],
  row_axis: wp.array[int],
  row_first: wp.array[int],
  row_count: wp.array[int],
  # Adjoint in:
  adj_dof_invweight0_in: wp.array2d[float],
  adj_body_invweight0_in: wp.array2d[wp.vec2],
  adj_tendon_invweight0_in: wp.array2d[float],
  adj_actuator_acc0_in: wp.array2d[float],
  adj_tendon_length0_in: wp.array2d[float],
  # Out:
  adj_value_out: wp.array[float],
):
  worldid = wp.tid()
  row = worldid / nworld
  w = worldid % nworld
  kind = row_kind[row]
  index = row_index[row]
  adj = float(0.0)
  if kind == DOF:
    for k in range(row_count[row]):
      adj += adj_dof_invweight0_in[w, row_first[row] + k] / float(row_count[row])
  elif kind == BODY:
    adj = adj_body_invweight0_in[w, index][row_axis[row] / 3] / 3.0
  elif kind == TENDON:
    adj = adj_tendon_invweight0_in[w, index]
  elif kind == ACTUATOR:
    adj = adj_actuator_acc0_in[w, index]
  elif kind == LENGTH:
    adj = adj_tendon_length0_in[w, index]
  adj_value_out[worldid] = adj


@wp.kernel
def _directions(
  # In:
  nworld: int,
  row_kind: wp.array[int],
  z: wp.array2d[float],
  solution: wp.array3d[wp.float64],
  # Adjoint in:
  adj_value_in: wp.array[float],
  # Out:
  lam_out: wp.array2d[float],
  qacc_out: wp.array2d[float],
):
  worldid, dofid = wp.tid()
  if row_kind[worldid / nworld] == LENGTH:
    lam_out[worldid, dofid] = 0.0
    qacc_out[worldid, dofid] = 0.0
    return
  lam_out[worldid, dofid] = wp.float32(solution[worldid, dofid, 1])
  qacc_out[worldid, dofid] = -adj_value_in[worldid] * z[worldid, dofid]


@wp.kernel
def _rates_vjp(
  # Model:
  body_rootid: wp.array[int],
  # Data in:
  xipos_in: wp.array2d[wp.vec3],
  subtree_com_in: wp.array2d[wp.vec3],
  # In:
  nworld: int,
  row_kind: wp.array[int],
  row_index: wp.array[int],
  row_axis: wp.array[int],
  body_lastdof: wp.array[int],
  twist_in: wp.array4d[float],
  # Adjoint in:
  adj_value_in: wp.array[float],
  # Adjoint out (+=):
  wrench_out: wp.array4d[float],
  inertial_wrench_out: wp.array2d[wp.spatial_vector],
  adj_ten_length_out: wp.array2d[float],
  adj_ten_rate_out: wp.array3d[float],
  adj_actuator_rate_out: wp.array3d[float],
):
  """The cotangent of the rate of every row along lam."""
  worldid = wp.tid()
  row = worldid / nworld
  kind = row_kind[row]
  index = row_index[row]
  adj = adj_value_in[worldid]
  if kind == BODY:
    axis = row_axis[row]
    along = wp.vec3()
    along[axis % 3] = 2.0 * adj
    offset = xipos_in[worldid, index] - subtree_com_in[worldid, body_rootid[index]]
    frame = frame_state(twist_in, worldid, body_lastdof[index] + 1, offset)
    adj_frame = FrameAdjoint()
    if axis < 3:
      adj_frame.lam = along
    else:
      adj_frame.rot_lam = along
    own = add_frame(worldid, index, frame, adj_frame, wrench_out)
    if inertial_wrench_out.shape[0] > 0:
      wp.atomic_add(inertial_wrench_out, worldid, index, own)
  elif kind == TENDON:
    adj_ten_rate_out[worldid, index, LAM] += 2.0 * adj
  elif kind == ACTUATOR:
    adj_actuator_rate_out[worldid, index, LAM] += adj
  elif kind == LENGTH:
    adj_ten_length_out[worldid, index] += adj


@wp.kernel
def _mocap_vjp(
  # Model:
  body_mocapid: wp.array[int],
  # Adjoint in:
  adj_mocap_pos_in: wp.array2d[wp.vec3],
  adj_mocap_quat_in: wp.array2d[wp.quat],
  # Adjoint out (+=):
  adj_body_pos_out: wp.array2d[wp.vec3],
  adj_body_quat_out: wp.array2d[wp.quat],
):
  worldid, bodyid = wp.tid()
  mocapid = body_mocapid[bodyid]
  if mocapid >= 0:
    accumulate(adj_body_pos_out, worldid, bodyid, adj_mocap_pos_in[worldid, mocapid])
    accumulate(adj_body_quat_out, worldid, bodyid, adj_mocap_quat_in[worldid, mocapid])


@wp.kernel
def _qpos0_vjp(
  # Adjoint in:
  adj_qpos_in: wp.array2d[float],
  # Adjoint out (+=):
  adj_qpos0_out: wp.array2d[float],
):
  worldid, i = wp.tid()
  accumulate(adj_qpos0_out, worldid, i, adj_qpos_in[worldid, i])


def pull_back(constants: DerivedConstants, adj: dict[str, wp.array]) -> None:
  """Adds to `adj` of the parameters what `adj` of the constants contributes."""
  work = constants.work
  work.adj = adj
  m, d = work.model, work.data
  kind, index, axis = (constants.rows[name] for name in ("kind", "index", "axis"))
  constants.solve()
  multiplier.solve_hessian(work)
  wp.launch(
    _cotangent,
    dim=d.nworld,
    inputs=[constants.nworld, *constants.rows.values(), *(adj[name] for name in DERIVED)],
    outputs=[constants.adj_value],
  )
  wp.launch(
    _directions,
    dim=work.lam.shape,
    inputs=[constants.nworld, kind, constants.z, work.solution, constants.adj_value],
    outputs=[work.lam, work.qacc],
  )
  work.adj_qpos.zero_()
  twists.launch(work)
  tendon_rates.launch(work)
  axes.start(work)
  work.actuation.adj_length.zero_()
  work.actuation.adj_rate.zero_()
  frame_poses.start(work)
  inertia.vjp(work)
  inertial_parameters.vjp(work)
  dof.armature_vjp(work)
  wp.launch(
    _rates_vjp,
    dim=d.nworld,
    inputs=[
      m.body_rootid,
      d.xipos,
      d.subtree_com,
      constants.nworld,
      kind,
      index,
      axis,
      work.tree.body_lastdof,
      work.twist,
      constants.adj_value,
      work.wrench,
      work.inertial_wrench,
      work.adj_ten_length,
      work.adj_ten_rate,
      work.actuation.adj_rate,
    ],
  )
  actuator.transmissions_vjp(work)
  tendon_armature.vjp(work)
  tendon_path.vjp(work)
  sweep.launch(work)
  frame_poses.launch(work)
  _reference_pose_vjp(work, constants.adj_qpos0)


def _reference_pose_vjp(work, ambient: wp.array) -> None:
  """The cotangents of poses, at a configuration that is itself qpos0."""
  m, d = work.model, work.data
  work.adj_mocap_pos.zero_()
  work.adj_mocap_quat.zero_()
  body_poses.launch(work)
  if m.nmocap:
    wp.launch(
      _mocap_vjp,
      dim=(d.nworld, m.nbody),
      inputs=[
        m.body_mocapid,
        work.adj_mocap_pos,
        work.adj_mocap_quat,
        work.adj["body_pos"],
        work.adj["body_quat"],
      ],
    )
  if work.adj["qpos0"].shape[0] > 0:
    tape_qpos = d.qpos.reshape((1, *d.qpos.shape))
    coordinates.to_ambient(m, tape_qpos, 0, work.adj_qpos, ambient)
    wp.launch(_qpos0_vjp, dim=ambient.shape, inputs=[ambient, work.adj["qpos0"]])
