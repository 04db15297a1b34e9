"""Fields of the engine that follow sizes of geoms, sizes of height fields and scales of meshes.

The compiler shifts and turns the vertices of a mesh to its principal axes of inertia: with the
position c and the rotation R that it applies, v is the vertex s a of the asset in the geom's frame,

    s a = c + R v          v(s') = R^T (diag(s'/s) (c + R v) - c)

so that a mesh grows from the origin of its asset, as if it were compiled again. The normals of its
polygons go with the inverse of the scale. Bounding volumes enclose what they bound, as the
compiler's do; a height field's elevations are in [0, 1].

Source: MuJoCo documentation, XML reference, "mesh" and "hfield".
"""

import mujoco
import mujoco_warp as mjw
import numpy as np
import warp as wp

from mjgrad._src.engine.adapter import quat_to_mat

wp.set_module_options({"enable_backward": False})

SHARED = ("mesh_vert", "mesh_polynormal")
"""Fields that follow the scale of meshes, without a world axis."""
BOUNDS = ("geom_rbound", "geom_aabb")
"""Bounding volumes of the collision broad phase."""

_GEOM = mujoco.mjtGeom


@wp.kernel
def _bounds(
  # Model:
  geom_type: wp.array[int],
  # In:
  geom_size: wp.array2d[wp.vec3],
  # Out:
  geom_rbound_out: wp.array2d[float],
  geom_aabb_out: wp.array3d[wp.vec3],
):
  row, geomid = wp.tid()
  size = geom_size[row, geomid]
  if geom_type[geomid] == wp.static(int(_GEOM.mjGEOM_SPHERE)):
    geom_rbound_out[row, geomid] = size[0]
    geom_aabb_out[row, geomid, 1] = wp.vec3(size[0], size[0], size[0])
  elif geom_type[geomid] == wp.static(int(_GEOM.mjGEOM_CAPSULE)):
    geom_rbound_out[row, geomid] = size[0] + size[1]
    geom_aabb_out[row, geomid, 1] = wp.vec3(size[0], size[0], size[0] + size[1])
  elif geom_type[geomid] == wp.static(int(_GEOM.mjGEOM_ELLIPSOID)):
    geom_rbound_out[row, geomid] = wp.max(size)
    geom_aabb_out[row, geomid, 1] = size
  elif geom_type[geomid] == wp.static(int(_GEOM.mjGEOM_BOX)):
    geom_rbound_out[row, geomid] = wp.length(size)
    geom_aabb_out[row, geomid, 1] = size


@wp.kernel
def _height_field_bounds(
  # Model:
  geom_type: wp.array[int],
  geom_dataid: wp.array2d[int],
  hfield_size: wp.array[wp.vec4],
  # Out:
  geom_rbound_out: wp.array2d[float],
  geom_aabb_out: wp.array3d[wp.vec3],
):
  row, geomid = wp.tid()
  if geom_type[geomid] != wp.static(int(_GEOM.mjGEOM_HFIELD)):
    return
  size = hfield_size[geom_dataid[row % geom_dataid.shape[0], geomid]]
  furthest = wp.vec3(size[0], size[1], wp.max(size[2], size[3]))
  geom_rbound_out[row, geomid] = wp.length(furthest)
  geom_aabb_out[row, geomid, 0] = wp.vec3(0.0, 0.0, 0.5 * (size[2] - size[3]))
  geom_aabb_out[row, geomid, 1] = wp.vec3(size[0], size[1], 0.5 * (size[2] + size[3]))


@wp.kernel
def _scale_vertices(
  # Model:
  mesh_vert: wp.array[wp.vec3],
  mesh_pos: wp.array[wp.vec3],
  mesh_quat: wp.array[wp.quat],
  # In:
  vert_mesh: wp.array[int],
  scale: wp.array[wp.vec3],
  new_scale: wp.array2d[wp.vec3],
  # Out:
  mesh_vert_out: wp.array[wp.vec3],
):
  i = wp.tid()
  mesh = vert_mesh[i]
  pos = mesh_pos[mesh]
  growth = wp.cw_div(new_scale[0, mesh], scale[mesh]) - wp.vec3(1.0, 1.0, 1.0)
  turn = quat_to_mat(mesh_quat[mesh])
  moved = wp.transpose(turn) @ wp.cw_mul(growth, pos + turn @ mesh_vert[i])
  mesh_vert_out[i] = mesh_vert[i] + moved


@wp.kernel
def _turn_normals(
  # Model:
  mesh_polynormal: wp.array[wp.vec3],
  mesh_quat: wp.array[wp.quat],
  # In:
  polygon_mesh: wp.array[int],
  scale: wp.array[wp.vec3],
  new_scale: wp.array2d[wp.vec3],
  # Out:
  mesh_polynormal_out: wp.array[wp.vec3],
):
  i = wp.tid()
  mesh = polygon_mesh[i]
  shrink = wp.cw_div(scale[mesh], new_scale[0, mesh]) - wp.vec3(1.0, 1.0, 1.0)
  turn = quat_to_mat(mesh_quat[mesh])
  moved = wp.transpose(turn) @ wp.cw_mul(shrink, turn @ mesh_polynormal[i])
  normal = mesh_polynormal[i] + moved
  if wp.length_sq(moved) > 0.0:
    normal = wp.normalize(normal)
  mesh_polynormal_out[i] = normal


@wp.kernel
def _mesh_bounds(
  # Model:
  geom_type: wp.array[int],
  geom_dataid: wp.array2d[int],
  mesh_vertadr: wp.array[int],
  mesh_vertnum: wp.array[int],
  mesh_vert: wp.array[wp.vec3],
  # Out:
  geom_rbound_out: wp.array2d[float],
  geom_aabb_out: wp.array3d[wp.vec3],
):
  row, geomid = wp.tid()
  mesh = geom_dataid[row % geom_dataid.shape[0], geomid]
  if geom_type[geomid] != wp.static(int(_GEOM.mjGEOM_MESH)) or mesh < 0:
    return
  start = mesh_vertadr[mesh]
  low = mesh_vert[start]
  high = mesh_vert[start]
  for i in range(start + 1, start + mesh_vertnum[mesh]):
    low = wp.min(low, mesh_vert[i])
    high = wp.max(high, mesh_vert[i])
  geom_rbound_out[row, geomid] = wp.length(wp.max(wp.abs(low), wp.abs(high)))
  geom_aabb_out[row, geomid, 0] = 0.5 * (low + high)
  geom_aabb_out[row, geomid, 1] = 0.5 * (high - low)


def update_bounds(model: mjw.Model, buffers: dict[str, wp.array]) -> None:
  """Bounding volumes of geoms whose size, or the size of whose height field, is in `buffers`."""
  bounds = [model.geom_rbound, model.geom_aabb]
  if "geom_size" in buffers:
    size = buffers["geom_size"]
    wp.launch(_bounds, dim=size.shape, inputs=[model.geom_type, size], outputs=bounds)
  if "hfield_size" in buffers:
    wp.launch(
      _height_field_bounds,
      dim=model.geom_rbound.shape,
      inputs=[model.geom_type, model.geom_dataid, model.hfield_size],
      outputs=bounds,
    )


class ScaledMeshes:
  """The meshes as compiled, and what they become with another scale.

  Args:
    mjm: the model.
    model: the engine's model of it.
  """

  def __init__(self, mjm: mujoco.MjModel, model: mjw.Model):
    self._vert, self._normal = model.mesh_vert, model.mesh_polynormal
    self._scale = wp.array(mjm.mesh_scale, dtype=wp.vec3)
    mesh = np.arange(mjm.nmesh)
    self._vert_mesh = wp.array(np.repeat(mesh, mjm.mesh_vertnum), dtype=int)
    self._polygon_mesh = wp.array(np.repeat(mesh, mjm.mesh_polynum), dtype=int)

  def update(self, model: mjw.Model, buffers: dict[str, wp.array]) -> None:
    """Vertices, normals and bounding volumes of `model` for the scale in `buffers`, if any."""
    if "mesh_scale" not in buffers:
      return
    scales = [self._scale, buffers["mesh_scale"]]
    wp.launch(
      _scale_vertices,
      dim=self._vert.shape,
      inputs=[self._vert, model.mesh_pos, model.mesh_quat, self._vert_mesh, *scales],
      outputs=[model.mesh_vert],
    )
    wp.launch(
      _turn_normals,
      dim=self._normal.shape,
      inputs=[self._normal, model.mesh_quat, self._polygon_mesh, *scales],
      outputs=[model.mesh_polynormal],
    )
    wp.launch(
      _mesh_bounds,
      dim=model.geom_rbound.shape,
      inputs=[
        model.geom_type,
        model.geom_dataid,
        model.mesh_vertadr,
        model.mesh_vertnum,
        model.mesh_vert,
      ],
      outputs=[model.geom_rbound, model.geom_aabb],
    )
