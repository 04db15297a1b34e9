"""Poses of what is fixed in a body: inertial frames, geoms and sites.

Beside the wrenches on bodies, a term leaves the torque t and the force f, at its origin, that such
a frame alone receives while its body and all twists stay: `work.inertial_wrench`, `geom_wrench` and
`site_wrench`. With R_b and R the rotations of the body and of the frame,

    pos     R_b^T f
    quat    R^T t in the tangent of the quaternion, which counts as normalised

Source: docs/derivation.md, "Poses".
"""

from collections.abc import Container

import mujoco_warp as mjw
import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.engine.adapter import rot_vec_quat
from mjgrad._src.integrators.manifold import to_ambient
from mjgrad._src.rotation import conjugate

wp.set_module_options({"enable_backward": False})

INERTIAL = ("body_ipos", "body_iquat")
GEOM = ("geom_pos", "geom_quat")
SITE = ("site_pos", "site_quat")


@wp.kernel
def _frame_vjp(
  # Data in:
  xquat_in: wp.array2d[wp.quat],
  frame_xmat_in: wp.array2d[wp.mat33],
  # In:
  bodyid: wp.array[int],
  given_quat: wp.array2d[wp.quat],
  frame_wrench: wp.array2d[wp.spatial_vector],
  # Adjoint out (+=):
  adj_pos_out: wp.array2d[wp.vec3],
  adj_quat_out: wp.array2d[wp.quat],
):
  worldid, frameid = wp.tid()
  wrench = frame_wrench[worldid, frameid]
  to_body = conjugate(xquat_in[worldid, bodyid[frameid]])
  accumulate(adj_pos_out, worldid, frameid, rot_vec_quat(wp.spatial_bottom(wrench), to_body))
  torque = wp.transpose(frame_xmat_in[worldid, frameid]) @ wp.spatial_top(wrench)
  given = given_quat[worldid % given_quat.shape[0], frameid]
  accumulate(adj_quat_out, worldid, frameid, to_ambient(given, torque))


def empty_wrenches(
  m: mjw.Model, nworld: int, requested: Container[str]
) -> tuple[wp.array, wp.array, wp.array]:
  """Wrenches of inertial frames, geoms and sites, no rows for poses that are not requested."""

  def wrench(count: int, names: tuple[str, str]) -> wp.array:
    rows = nworld if any(name in requested for name in names) else 0
    return wp.zeros((rows, count), dtype=wp.spatial_vector, device=m.qpos0.device)

  return wrench(m.nbody, INERTIAL), wrench(m.ngeom, GEOM), wrench(m.nsite, SITE)


def start(work) -> None:
  """Clears the wrenches of the frames."""
  for wrench in (work.inertial_wrench, work.geom_wrench, work.site_wrench):
    wrench.zero_()


def launch(work) -> None:
  """Adds the gradients of the poses, after all terms."""
  m, d = work.model, work.data
  frames = (
    (work.inertial_wrench, d.ximat, work.tree.bodies, INERTIAL),
    (work.geom_wrench, d.geom_xmat, m.geom_bodyid, GEOM),
    (work.site_wrench, d.site_xmat, m.site_bodyid, SITE),
  )
  for wrench, xmat, bodyid, (pos, quat) in frames:
    if wrench.size:
      wp.launch(
        _frame_vjp,
        dim=wrench.shape,
        inputs=[
          d.xquat,
          xmat,
          bodyid,
          work.given[quat],
          wrench,
          work.adj[pos],
          work.adj[quat],
        ],
      )
