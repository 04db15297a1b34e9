"""Gravity compensation: a force -gravcomp mass g at the centre of mass of a body.

    phi = gravcomp mass g . u        u the velocity of the centre of mass along lam

At a joint with `jnt_actgravcomp` it is an actuator force and may be held by a limit
(terms/force_limit.py).

Source: MuJoCo documentation, XML reference, "body/gravcomp"; Computation, "Passive forces".
"""

import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.accumulate import accumulate_option
from mjgrad._src.terms import force_limit
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
  twist_in: wp.array4d[float],
  # Adjoint out (+=):
  wrench_out: wp.array4d[float],
  inertial_wrench_out: wp.array2d[wp.spatial_vector],
  adj_gravity_out: wp.array[wp.vec3],
  adj_body_mass_out: wp.array2d[float],
  adj_body_gravcomp_out: wp.array2d[float],
):
  worldid, bodyid = wp.tid()
  gravcomp = body_gravcomp[worldid % body_gravcomp.shape[0], bodyid]
  if gravcomp == 0.0 and adj_body_gravcomp_out.shape[0] == 0:
    return
  gravity = opt_gravity[worldid % opt_gravity.shape[0]]
  mass = body_mass[worldid % body_mass.shape[0], bodyid]
  offset = xipos_in[worldid, bodyid] - subtree_com_in[worldid, body_rootid[bodyid]]
  frame = frame_state(twist_in, worldid, body_lastdof[bodyid] + 1, offset)
  adj = FrameAdjoint()
  adj.lam = gravcomp * mass * gravity
  pose = add_frame(worldid, bodyid, frame, adj, wrench_out)
  accumulate(inertial_wrench_out, worldid, bodyid, pose)
  accumulate_option(adj_gravity_out, worldid, gravcomp * mass * frame.lam)
  force = wp.dot(gravity, frame.lam)
  accumulate(adj_body_mass_out, worldid, bodyid, gravcomp * force)
  accumulate(adj_body_gravcomp_out, worldid, bodyid, mass * force)


def vjp(work) -> None:
  """Adds the wrenches of gravity compensation and the gradients of its parameters."""
  m, d = work.model, work.data
  if not work.gravcomp_enabled:
    return
  seen = force_limit.start_gravcomp(work)
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
      seen.twist,
      seen.wrench,
      work.inertial_wrench,
      work.adj["opt.gravity"],
      work.adj["body_mass"],
      work.adj["body_gravcomp"],
    ],
  )
  if seen is not work:
    force_limit.finish(seen)
