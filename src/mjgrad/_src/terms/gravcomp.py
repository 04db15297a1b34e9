"""Gravity compensation: a force -gravcomp mass g at the centre of mass of a body.

    phi = gravcomp mass g . u        u the velocity of the centre of mass along lam

Source: MuJoCo documentation, XML reference, "body/gravcomp"; Computation, "Passive forces".
"""

import warp as wp

from mjgrad._src.tree.attach import FrameAdjoint
from mjgrad._src.tree.attach import add_frame
from mjgrad._src.tree.attach import frame_state

wp.set_module_options({"enable_backward": False})


@wp.kernel
def _gravcomp_vjp(
  # Model:
  opt_gravity: wp.array[wp.vec3],
  body_rootid: wp.array[int],
  body_mass: wp.array2d[float],
  body_gravcomp: wp.array2d[float],
  # Data in:
  xipos_in: wp.array2d[wp.vec3],
  subtree_com_in: wp.array2d[wp.vec3],
  # In:
  body_lastdof: wp.array[int],
  twist_in: wp.array3d[wp.spatial_vector],
  # Adjoint out (+=):
  wrench_out: wp.array3d[wp.spatial_vector],
  adj_gravity_out: wp.array[wp.vec3],
  adj_body_mass_out: wp.array2d[float],
):
  worldid, bodyid = wp.tid()
  gravcomp = body_gravcomp[worldid % body_gravcomp.shape[0], bodyid]
  if gravcomp == 0.0:
    return
  gravity = opt_gravity[worldid % opt_gravity.shape[0]]
  mass = body_mass[worldid % body_mass.shape[0], bodyid]
  offset = xipos_in[worldid, bodyid] - subtree_com_in[worldid, body_rootid[bodyid]]
  frame = frame_state(twist_in, worldid, body_lastdof[bodyid] + 1, offset)
  adj = FrameAdjoint()
  adj.lam = gravcomp * mass * gravity
  add_frame(worldid, bodyid, frame, adj, wrench_out)
  if adj_gravity_out.shape[0] > 0:
    row = worldid % adj_gravity_out.shape[0]
    wp.atomic_add(adj_gravity_out, row, gravcomp * mass * frame.lam)
  if adj_body_mass_out.shape[0] > 0:
    row = worldid % adj_body_mass_out.shape[0]
    wp.atomic_add(adj_body_mass_out, row, bodyid, gravcomp * wp.dot(gravity, frame.lam))


def vjp(work) -> None:
  """Adds the wrenches of gravity compensation and the gradients of its parameters."""
  m, d = work.model, work.data
  if not work.gravcomp_enabled:
    return
  wp.launch(
    _gravcomp_vjp,
    dim=(d.nworld, m.nbody),
    inputs=[
      m.opt.gravity,
      m.body_rootid,
      m.body_mass,
      m.body_gravcomp,
      d.xipos,
      d.subtree_com,
      work.tree.body_lastdof,
      work.twist,
      work.wrench,
      work.adj["opt.gravity"],
      work.adj["body_mass"],
    ],
  )
