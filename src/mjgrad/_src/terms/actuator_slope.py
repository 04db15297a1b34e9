"""Slopes of actuator forces in the velocity, and their place in A under implicitfast.

    A -= h F' m m^T        m = moment, for a tendon gear J

F' = dF / d velocity is zero where a clamp holds the force. Of m m^T the engine keeps the pairs of
dofs that the inertia matrix has room for: all of one joint's, those on one chain of a tendon's. It
drops all of it where damping is disabled.

Like terms/actuator_state.py this module only evaluates; terms/actuator.py differentiates.

Source: MuJoCo documentation, Computation, "Numerical integration".
"""

import warp as wp

from mjgrad._src.engine.adapter import vec10
from mjgrad._src.terms.actuator_law import force_slope
from mjgrad._src.terms.actuator_law import slope_input
from mjgrad._src.terms.transmission import TENDON
from mjgrad._src.terms.transmission import joint_moment
from mjgrad._src.terms.transmission import joint_ndof

wp.set_module_options({"enable_backward": False})


@wp.kernel
def _velocity_slope(
  # Model:
  jnt_dofadr: wp.array[int],
  actuator_trntype: wp.array[int],
  actuator_dyntype: wp.array[int],
  actuator_gaintype: wp.array[int],
  actuator_biastype: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_gainprm: wp.array2d[vec10],
  actuator_biasprm: wp.array2d[vec10],
  actuator_acc0: wp.array2d[float],
  actuator_lengthrange: wp.array2d[wp.vec2],
  # Data in:
  ctrl_in: wp.array2d[float],
  # In:
  length: wp.array2d[float],
  velocity: wp.array2d[float],
  input: wp.array2d[float],
  force_free: wp.array2d[float],
  dof_free: wp.array2d[float],
  # Out:
  slope_out: wp.array2d[float],
):
  worldid, actid = wp.tid()
  free = force_free[worldid, actid]
  if actuator_trntype[actid] != TENDON:
    free *= dof_free[worldid, jnt_dofadr[actuator_trnid[actid][0]]]
  slope = force_slope(
    slope_input(ctrl_in[worldid, actid], input[worldid, actid], actuator_dyntype[actid]),
    length[worldid, actid],
    velocity[worldid, actid],
    actuator_gainprm[worldid % actuator_gainprm.shape[0], actid],
    actuator_biasprm[worldid % actuator_biasprm.shape[0], actid],
    actuator_lengthrange[worldid % actuator_lengthrange.shape[0], actid],
    actuator_acc0[worldid % actuator_acc0.shape[0], actid],
    actuator_gaintype[actid],
    actuator_biastype[actid],
  )
  slope_out[worldid, actid] = free * slope


@wp.kernel
def _slope_matrix(
  # Model:
  opt_timestep: wp.array[float],
  jnt_type: wp.array[int],
  jnt_qposadr: wp.array[int],
  jnt_dofadr: wp.array[int],
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  actuator_trntype: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_gear: wp.array2d[wp.spatial_vector],
  M_elemid: wp.array2d[int],
  # Data in:
  qpos_in: wp.array2d[float],
  ten_J_in: wp.array2d[float],
  # In:
  slope: wp.array2d[float],
  # Out:
  matrix_out: wp.array3d[wp.float64],
):
  worldid, actid = wp.tid()
  scale = -wp.float64(opt_timestep[worldid % opt_timestep.shape[0]])
  scale *= wp.float64(slope[worldid, actid])
  if scale == wp.float64(0.0):
    return
  target = actuator_trnid[actid][0]
  gear = actuator_gear[worldid % actuator_gear.shape[0], actid]
  trntype = actuator_trntype[actid]
  if trntype == TENDON:
    scale *= wp.float64(gear[0]) * wp.float64(gear[0])
    first = ten_J_rowadr[target]
    last = first + ten_J_rownnz[target]
    for k in range(first, last):
      i = ten_J_colind[k]
      for n in range(first, last):
        j = ten_J_colind[n]
        if j <= i and M_elemid[i, j] >= 0:
          product = wp.float64(ten_J_in[worldid, k]) * wp.float64(ten_J_in[worldid, n])
          wp.atomic_add(matrix_out, worldid, i, j, scale * product)
  else:
    jnttype = jnt_type[target]
    dofadr = jnt_dofadr[target]
    moment = joint_moment(qpos_in, worldid, jnttype, jnt_qposadr[target], trntype, gear)
    for i in range(joint_ndof(jnttype)):
      for j in range(i + 1):
        product = wp.float64(moment[i]) * wp.float64(moment[j])
        wp.atomic_add(matrix_out, worldid, dofadr + i, dofadr + j, scale * product)


def evaluate(work) -> None:
  """Fills `work.actuation.slope`, after the forces and clamps."""
  m, d, act = work.model, work.data, work.actuation
  if not work.implicit_actuation:
    return
  wp.launch(
    _velocity_slope,
    dim=(d.nworld, m.nactuator),
    inputs=[
      m.jnt_dofadr,
      m.actuator_trntype,
      m.actuator_dyntype,
      m.actuator_gaintype,
      m.actuator_biastype,
      m.actuator_trnid,
      m.actuator_gainprm,
      m.actuator_biasprm,
      m.actuator_acc0,
      m.actuator_lengthrange,
      d.ctrl,
      act.length,
      act.velocity,
      act.input,
      act.force_free,
      act.dof_free,
    ],
    outputs=[act.slope],
  )


def add_matrix(work) -> None:
  """Adds what the slopes contribute to A to `work.matrix`."""
  m, d = work.model, work.data
  if not work.implicit_actuation:
    return
  wp.launch(
    _slope_matrix,
    dim=(d.nworld, m.nactuator),
    inputs=[
      m.opt.timestep,
      m.jnt_type,
      m.jnt_qposadr,
      m.jnt_dofadr,
      m.ten_J_rownnz,
      m.ten_J_rowadr,
      m.ten_J_colind,
      m.actuator_trntype,
      m.actuator_trnid,
      m.actuator_gear,
      m.M_elemid,
      d.qpos,
      d.ten_J,
      work.actuation.slope,
    ],
    outputs=[work.matrix],
  )
