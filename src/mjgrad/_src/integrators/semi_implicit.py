"""The update v' = v + h a_d, q' = q exp(h v') of the semi-implicit integrators, and its adjoint.

With R the rotation of exp(h w') and J_r the right Jacobian (integrators/manifold.py), in tangents:

    delta q' = R^T delta q + h J_r(h w') delta w'          rotations
    delta q' = delta q + h delta v'                        everything else

and a displacement delta h of the time step moves q' by delta h times the coefficients of h at v',
and v' by delta h a_d.

Source: MuJoCo documentation, Computation, "Numerical integration" (semi-implicit Euler).
"""

import mujoco
import warp as wp

from mjgrad._src.accumulate import accumulate_option
from mjgrad._src.integrators.manifold import exp_jacobian_transpose
from mjgrad._src.integrators.manifold import rotate_by_exp

wp.set_module_options({"enable_backward": False})

FREE = wp.constant(int(mujoco.mjtJoint.mjJNT_FREE))
BALL = wp.constant(int(mujoco.mjtJoint.mjJNT_BALL))


@wp.func
def product(a: float, b: float) -> wp.float64:
  return wp.float64(a) * wp.float64(b)


@wp.kernel
def _position_vjp(
  # Model:
  opt_timestep: wp.array[float],
  jnt_type: wp.array[int],
  jnt_dofadr: wp.array[int],
  # In:
  step: wp.array[int],
  tape_qvel: wp.array3d[float],
  # Adjoint out (+=):
  adj_qpos_out: wp.array2d[float],
  adj_qvel_out: wp.array2d[float],
  adj_timestep_out: wp.array[float],
  # Out:
  adj_qacc_out: wp.array2d[wp.float64],
):
  worldid, jntid = wp.tid()
  h = opt_timestep[worldid % opt_timestep.shape[0]]
  dofadr = jnt_dofadr[jntid]
  jnttype = jnt_type[jntid]
  adj_h = float(0.0)
  if jnttype == FREE:
    for i in range(3):
      adj_h += adj_qpos_out[worldid, dofadr + i] * tape_qvel[step[0] + 1, worldid, dofadr + i]
      adj_qvel_out[worldid, dofadr + i] += h * adj_qpos_out[worldid, dofadr + i]
      adj_qacc_out[worldid, dofadr + i] = product(h, adj_qvel_out[worldid, dofadr + i])
    dofadr += 3
  if jnttype == FREE or jnttype == BALL:
    rotation = wp.vec3()
    adj = wp.vec3()
    for i in range(3):
      rotation[i] = h * tape_qvel[step[0] + 1, worldid, dofadr + i]
      adj[i] = adj_qpos_out[worldid, dofadr + i]
    adj_rotation = rotate_by_exp(rotation, adj)
    adj_velocity = exp_jacobian_transpose(rotation, adj)
    for i in range(3):
      adj_qpos_out[worldid, dofadr + i] = adj_rotation[i]
      adj_qvel_out[worldid, dofadr + i] += h * adj_velocity[i]
      adj_qacc_out[worldid, dofadr + i] = product(h, adj_qvel_out[worldid, dofadr + i])
      adj_h += adj_velocity[i] * tape_qvel[step[0] + 1, worldid, dofadr + i]
  else:
    adj_qvel_out[worldid, dofadr] += h * adj_qpos_out[worldid, dofadr]
    adj_qacc_out[worldid, dofadr] = product(h, adj_qvel_out[worldid, dofadr])
    adj_h += adj_qpos_out[worldid, dofadr] * tape_qvel[step[0] + 1, worldid, dofadr]
  accumulate_option(adj_timestep_out, worldid, adj_h)


@wp.kernel
def _velocity_timestep_vjp(
  # Model:
  opt_timestep: wp.array[float],
  # Data in:
  qacc_in: wp.array2d[float],
  # In:
  delta: wp.array2d[float],
  # Adjoint in:
  adj_qacc_in: wp.array2d[wp.float64],
  # Adjoint out (+=):
  adj_timestep_out: wp.array[float],
):
  worldid, dofid = wp.tid()
  h = opt_timestep[worldid % opt_timestep.shape[0]]
  a_d = qacc_in[worldid, dofid] + delta[worldid, dofid]
  adj_qvel = wp.float32(adj_qacc_in[worldid, dofid]) / h
  accumulate_option(adj_timestep_out, worldid, adj_qvel * a_d)


def vjp(work) -> None:
  """Replaces the cotangents of (q', v') by those of (q, v, a_d), a_d into `work.adj_qacc`."""
  m = work.model
  wp.launch(
    _position_vjp,
    dim=(work.data.nworld, m.njnt),
    inputs=[
      m.opt.timestep,
      m.jnt_type,
      m.jnt_dofadr,
      work.tape.step,
      work.tape.qvel,
      work.adj_qpos,
      work.adj_qvel,
      work.adj["opt.timestep"],
    ],
    outputs=[work.adj_qacc],
  )


def timestep_vjp(work) -> None:
  """Adds what the time step does in v' = v + h a_d, when the dynamics have been pulled back."""
  adj_timestep = work.adj["opt.timestep"]
  if adj_timestep.shape[0] > 0:
    wp.launch(
      _velocity_timestep_vjp,
      dim=work.qacc.shape,
      inputs=[work.model.opt.timestep, work.qacc, work.delta, work.adj_qacc, adj_timestep],
    )
