"""Cotangents of qpos between ambient coordinates [nq] and the tangent space [nv].

Quaternions are the only difference: see integrators/manifold.py for the two maps.
"""

import mujoco
import mujoco_warp as mjw
import warp as wp

from mjgrad._src.integrators import manifold

wp.set_module_options({"enable_backward": False})

FREE = wp.constant(int(mujoco.mjtJoint.mjJNT_FREE))
BALL = wp.constant(int(mujoco.mjtJoint.mjJNT_BALL))


@wp.func
def _quat(x: wp.array2d[float], row: int, adr: int) -> wp.quat:
  return wp.quat(x[row, adr], x[row, adr + 1], x[row, adr + 2], x[row, adr + 3])


@wp.kernel
def _to_tangent(
  # Model:
  jnt_type: wp.array[int],
  jnt_qposadr: wp.array[int],
  jnt_dofadr: wp.array[int],
  # In:
  slot: int,
  tape_qpos: wp.array3d[float],
  # Adjoint in:
  adj_ambient_in: wp.array2d[float],
  # Out:
  adj_tangent_out: wp.array2d[float],
):
  worldid, jntid = wp.tid()
  qposadr = jnt_qposadr[jntid]
  dofadr = jnt_dofadr[jntid]
  jnttype = jnt_type[jntid]
  if jnttype == FREE:
    for i in range(3):
      adj_tangent_out[worldid, dofadr + i] = adj_ambient_in[worldid, qposadr + i]
    qposadr += 3
    dofadr += 3
  if jnttype == FREE or jnttype == BALL:
    adj = manifold.to_tangent(
      _quat(tape_qpos[slot], worldid, qposadr), _quat(adj_ambient_in, worldid, qposadr)
    )
    for i in range(3):
      adj_tangent_out[worldid, dofadr + i] = adj[i]
  else:
    adj_tangent_out[worldid, dofadr] = adj_ambient_in[worldid, qposadr]


@wp.kernel
def _to_ambient(
  # Model:
  jnt_type: wp.array[int],
  jnt_qposadr: wp.array[int],
  jnt_dofadr: wp.array[int],
  # In:
  slot: int,
  tape_qpos: wp.array3d[float],
  # Adjoint in:
  adj_tangent_in: wp.array2d[float],
  # Out:
  adj_ambient_out: wp.array2d[float],
):
  worldid, jntid = wp.tid()
  qposadr = jnt_qposadr[jntid]
  dofadr = jnt_dofadr[jntid]
  jnttype = jnt_type[jntid]
  if jnttype == FREE:
    for i in range(3):
      adj_ambient_out[worldid, qposadr + i] = adj_tangent_in[worldid, dofadr + i]
    qposadr += 3
    dofadr += 3
  if jnttype == FREE or jnttype == BALL:
    tangent = wp.vec3(
      adj_tangent_in[worldid, dofadr],
      adj_tangent_in[worldid, dofadr + 1],
      adj_tangent_in[worldid, dofadr + 2],
    )
    adj = manifold.to_ambient(_quat(tape_qpos[slot], worldid, qposadr), tangent)
    for i in range(4):
      adj_ambient_out[worldid, qposadr + i] = adj[i]
  else:
    adj_ambient_out[worldid, qposadr] = adj_tangent_in[worldid, dofadr]


def _convert(kernel, m: mjw.Model, tape_qpos, slot: int, adj_in, adj_out) -> None:
  wp.launch(
    kernel,
    dim=(adj_in.shape[0], m.njnt),
    inputs=[m.jnt_type, m.jnt_qposadr, m.jnt_dofadr, slot, tape_qpos, adj_in],
    outputs=[adj_out],
    device=adj_in.device,
  )


def to_tangent(m: mjw.Model, tape_qpos, slot: int, adj_ambient, adj_tangent) -> None:
  """Writes the tangent cotangent at the qpos in `tape_qpos[slot]`."""
  _convert(_to_tangent, m, tape_qpos, slot, adj_ambient, adj_tangent)


def to_ambient(m: mjw.Model, tape_qpos, slot: int, adj_tangent, adj_ambient) -> None:
  """Writes the ambient cotangent at the qpos in `tape_qpos[slot]`."""
  _convert(_to_ambient, m, tape_qpos, slot, adj_tangent, adj_ambient)
