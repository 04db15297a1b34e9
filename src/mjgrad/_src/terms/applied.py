"""Forces that the user applies: `qfrc_applied` and `xfrc_applied`.

    phi = -lam . qfrc_applied - sum_b (force_b . u_b + torque_b . w_b)

with u_b and w_b the linear velocity of the centre of mass and the angular velocity of body b along
lam. The force acts at the centre of mass and keeps its direction when the body moves.

Source: MuJoCo documentation, Simulation, "User inputs" (`xfrc_applied`: force, then torque).
"""

import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.spatial import add_spatial
from mjgrad._src.spatial import cross_force
from mjgrad._src.spatial import spatial_at
from mjgrad._src.spatial import velocity_at
from mjgrad._src.spatial import wrench_at
from mjgrad._src.tree.twists import LAM
from mjgrad._src.tree.twists import POSE

wp.set_module_options({"enable_backward": False})

APPLIED = ("qfrc_applied", "xfrc_applied")
"""Inputs of a step that are zero, and get no gradient, where a call does not give them."""


@wp.kernel
def _xfrc_applied_vjp(
  # Model:
  body_rootid: wp.array[int],
  # Data in:
  xfrc_applied_in: wp.array2d[wp.spatial_vector],
  xipos_in: wp.array2d[wp.vec3],
  subtree_com_in: wp.array2d[wp.vec3],
  # In:
  body_lastdof: wp.array[int],
  twist_in: wp.array4d[float],
  # Adjoint out (+=):
  wrench_out: wp.array4d[float],
  inertial_wrench_out: wp.array2d[wp.spatial_vector],
  adj_xfrc_applied_out: wp.array2d[wp.spatial_vector],
):
  worldid, bodyid = wp.tid()
  lam = spatial_at(twist_in, worldid, LAM, body_lastdof[bodyid] + 1)
  offset = xipos_in[worldid, bodyid] - subtree_com_in[worldid, body_rootid[bodyid]]
  adj_xfrc_applied_out[worldid, bodyid] -= wp.spatial_vector(
    velocity_at(lam, offset), wp.spatial_top(lam)
  )

  applied = xfrc_applied_in[worldid, bodyid]
  force = wp.spatial_top(applied)
  wrench = -wrench_at(force, wp.spatial_bottom(applied), offset)
  adj_point = -wp.cross(force, wp.spatial_top(lam))
  add_spatial(wrench_out, worldid, LAM, bodyid, wrench)
  add_spatial(wrench_out, worldid, POSE, bodyid, wrench_at(adj_point, wp.vec3(0.0), offset))
  add_spatial(wrench_out, worldid, POSE, bodyid, cross_force(lam, wrench))
  accumulate(inertial_wrench_out, worldid, bodyid, wp.spatial_vector(wp.vec3(0.0), adj_point))


@wp.kernel
def _qfrc_applied_vjp(
  # In:
  lam_in: wp.array2d[float],
  # Adjoint out (+=):
  adj_qfrc_applied_out: wp.array2d[float],
):
  worldid, dofid = wp.tid()
  adj_qfrc_applied_out[worldid, dofid] -= lam_in[worldid, dofid]


def vjp(work) -> None:
  """Adds the gradients of the applied forces that are given, and of the poses they depend on."""
  m, d = work.model, work.data
  if "xfrc_applied" in work.applied:
    wp.launch(
      _xfrc_applied_vjp,
      dim=(d.nworld, m.nbody),
      inputs=[
        m.body_rootid,
        d.xfrc_applied,
        d.xipos,
        d.subtree_com,
        work.tree.body_lastdof,
        work.twist,
        work.wrench,
        work.inertial_wrench,
        work.adj_xfrc_applied,
      ],
    )
  if "qfrc_applied" in work.applied:
    wp.launch(
      _qfrc_applied_vjp,
      dim=(d.nworld, m.nv),
      inputs=[work.lam, work.adj_qfrc_applied],
    )
