"""Slopes of actuator forces, and the place of those in the velocity in A under implicitfast.

    A -= h F' m m^T        m the moment of the transmission

F' = dF / d velocity is zero where a clamp holds the force. Of m m^T the engine keeps the pairs of
dofs that the inertia matrix has room for. It drops all of it where damping is disabled. `discrete`
takes the slopes in the length as well, keeps all pairs, and leaves out slopes that are positive
(adjoint/metric.py).

Like terms/actuator_state.py this module only evaluates; terms/actuator.py differentiates.

Source: MuJoCo documentation, Computation, "Numerical integration".
"""

import warp as wp

from mjgrad._src.engine.adapter import vec10
from mjgrad._src.terms.actuator_law import force_length_slope
from mjgrad._src.terms.actuator_law import force_slope
from mjgrad._src.terms.actuator_law import slope_input
from mjgrad._src.terms.dcmotor_law import DCMOTOR
from mjgrad._src.terms.transmission_joint import IN_PARENT
from mjgrad._src.terms.transmission_joint import JOINT
from mjgrad._src.terms.transmission_tendon import TENDON

wp.set_module_options({"enable_backward": False})

HELD_RTOL = wp.constant(1e-5)
"""Tolerance of the engine's test for a held tendon, relative to the bound."""


@wp.func
def _tendon_held(
  tendon_actfrclimited: wp.array[bool],
  tendon_actfrcrange: wp.array2d[wp.vec2],
  actuator_trntype: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  force: wp.array2d[float],
  worldid: int,
  tenid: int,
) -> bool:
  """Whether the total force on a tendon is at its limit, to the engine's tolerance."""
  held = bool(False)
  if tendon_actfrclimited[tenid]:
    total = float(0.0)
    for j in range(actuator_trntype.shape[0]):
      if actuator_trntype[j] == TENDON and actuator_trnid[j][0] == tenid:
        total += force[worldid, j]
    bounds = tendon_actfrcrange[worldid % tendon_actfrcrange.shape[0], tenid]
    held = total <= bounds[0] + HELD_RTOL * wp.abs(bounds[0]) or total >= bounds[
      1
    ] - HELD_RTOL * wp.abs(bounds[1])
  return held


@wp.kernel
def _velocity_slope(
  # Model:
  jnt_dofadr: wp.array[int],
  tendon_actfrclimited: wp.array[bool],
  tendon_actfrcrange: wp.array2d[wp.vec2],
  actuator_trntype: wp.array[int],
  actuator_dyntype: wp.array[int],
  actuator_gaintype: wp.array[int],
  actuator_biastype: wp.array[int],
  actuator_ctrladr: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_gainprm: wp.array2d[vec10],
  actuator_biasprm: wp.array2d[vec10],
  actuator_acc0: wp.array2d[float],
  actuator_lengthrange: wp.array2d[wp.vec2],
  # Data in:
  ctrl_in: wp.array2d[float],
  actuator_length_in: wp.array2d[float],
  # In:
  discrete: bool,
  velocity: wp.array2d[float],
  input: wp.array2d[float],
  force: wp.array2d[float],
  force_free: wp.array2d[float],
  dof_free: wp.array2d[float],
  # Out:
  slope_out: wp.array2d[float],
  slope_free_out: wp.array2d[float],
  length_slope_out: wp.array2d[float],
  length_slope_free_out: wp.array2d[float],
):
  worldid, actid = wp.tid()
  if actuator_gaintype[actid] == DCMOTOR:
    return
  trntype = actuator_trntype[actid]
  free = wp.where(force_free[worldid, actid] != 0.0, 1.0, 0.0)
  if trntype == JOINT or trntype == IN_PARENT:
    free *= dof_free[worldid, jnt_dofadr[actuator_trnid[actid][0]]]
  elif trntype == TENDON:
    if _tendon_held(
      tendon_actfrclimited,
      tendon_actfrcrange,
      actuator_trntype,
      actuator_trnid,
      force,
      worldid,
      actuator_trnid[actid][0],
    ):
      free = 0.0
  x = input[worldid, actid]
  if not discrete:
    x = slope_input(ctrl_in, worldid, actuator_ctrladr[actid], x, actuator_dyntype[actid])
  length = actuator_length_in[worldid, actid]
  rate_v = velocity[worldid, actid]
  gainprm = actuator_gainprm[worldid % actuator_gainprm.shape[0], actid]
  biasprm = actuator_biasprm[worldid % actuator_biasprm.shape[0], actid]
  lengthrange = actuator_lengthrange[worldid % actuator_lengthrange.shape[0], actid]
  acc0 = actuator_acc0[worldid % actuator_acc0.shape[0], actid]
  gaintype = actuator_gaintype[actid]
  biastype = actuator_biastype[actid]
  slope = force_slope(x, length, rate_v, gainprm, biasprm, lengthrange, acc0, gaintype, biastype)
  if discrete:
    length_slope = force_length_slope(
      x, length, rate_v, gainprm, biasprm, lengthrange, acc0, gaintype, biastype
    )
    length_free = wp.where(length_slope < 0.0, free, 0.0)
    length_slope_out[worldid, actid] = length_free * length_slope
    length_slope_free_out[worldid, actid] = length_free
    free = wp.where(slope < 0.0, free, 0.0)
  slope_out[worldid, actid] = free * slope
  slope_free_out[worldid, actid] = free


@wp.kernel
def _slope_matrix(
  # Model:
  opt_timestep: wp.array[float],
  M_elemid: wp.array2d[int],
  # Data in:
  moment_rownnz_in: wp.array2d[int],
  moment_rowadr_in: wp.array2d[int],
  moment_colind_in: wp.array2d[int],
  actuator_moment_in: wp.array2d[float],
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
  first = moment_rowadr_in[worldid, actid]
  last = first + moment_rownnz_in[worldid, actid]
  for k in range(first, last):
    i = moment_colind_in[worldid, k]
    scaled = scale * wp.float64(actuator_moment_in[worldid, k])
    for n in range(first, last):
      j = moment_colind_in[worldid, n]
      if j <= i and M_elemid[i, j] >= 0:
        wp.atomic_add(
          matrix_out, worldid, i, j, scaled * wp.float64(actuator_moment_in[worldid, n])
        )


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
      m.tendon_actfrclimited,
      m.tendon_actfrcrange,
      m.actuator_trntype,
      m.actuator_dyntype,
      m.actuator_gaintype,
      m.actuator_biastype,
      m.actuator_ctrladr,
      m.actuator_trnid,
      m.actuator_gainprm,
      m.actuator_biasprm,
      m.actuator_acc0,
      m.actuator_lengthrange,
      d.ctrl,
      d.actuator_length,
      work.discrete,
      act.velocity,
      act.input,
      act.force,
      act.force_free,
      act.dof_free,
    ],
    outputs=[act.slope, act.slope_free, act.length_slope, act.length_slope_free],
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
      m.M_elemid,
      d.moment_rownnz,
      d.moment_rowadr,
      d.moment_colind,
      d.actuator_moment,
      work.actuation.slope,
    ],
    outputs=[work.matrix],
  )
