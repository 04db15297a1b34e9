"""Parameters that deform a polytope: the scale of a mesh, sizes and elevations of a height field.

Let the surface around the witness point p of a geom move with u(x) = u(p) + E (x - p). The point
gets the velocity u(p). A face turns, and so does an edge: the normal n is bound as if the body
turned it by -(E^T n). With f and t the cotangents of the velocity and of the turn of the normal,

    adj_u(p) = f,        adj_E = -n t^T

| parameter | u(p) | E |
| --- | --- | --- |
| size k of a height field: x, y, top, bottom | p_k e_k / size_k | e_k e_k^T / size_k |
| elevation of a corner, beta its barycentric coordinate | top beta e_z | top e_z grad(beta)^T |
| scale s_k of a mesh, a_k its axes, q = p from its origin | (a_k . q) a_k / s_k | a_k a_k^T / s_k |

The axes and the origin are those of the mesh's asset, from which the compiler turns and shifts the
vertices to the principal axes of inertia (`mesh_quat`, `mesh_pos`).

Held fixed: what the compiler derives from a mesh (mass, inertia, the geom's pose).

Source: docs/contacts.md.
"""

import mujoco_warp as mjw
import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.contact.facet import BOTTOM
from mjgrad._src.contact.facet import Elevations
from mjgrad._src.contact.geometry import GeomAdjoint
from mjgrad._src.contact.height_field import HeightFields
from mjgrad._src.contact.height_field import Patch
from mjgrad._src.engine.adapter import quat_to_mat

wp.set_module_options({"enable_backward": False})


@wp.struct
class ShapeAdjoint:
  """Cotangents of the parameters that deform geoms, and what these parameters are.

  Attributes:
    mesh_scale: cotangent of the scale of meshes
    hfield_size: cotangent of the sizes of height fields
    hfield_data: cotangent of their elevations
    scale: scale of meshes
    mesh_pos: origin of their inertial frame in their asset's [m]
    mesh_quat: its orientation there
  """

  mesh_scale: wp.array2d[wp.vec3]
  hfield_size: wp.array2d[wp.vec4]
  hfield_data: wp.array2d[float]
  scale: wp.array2d[wp.vec3]
  mesh_pos: wp.array[wp.vec3]
  mesh_quat: wp.array[wp.quat]


def shape_adjoint(
  model: mjw.Model, adj: dict[str, wp.array], buffers: dict[str, wp.array]
) -> ShapeAdjoint:
  """Where the cotangents are added, given those of all parameters and the parameters' values."""
  out = ShapeAdjoint()
  for name in ("mesh_scale", "hfield_size", "hfield_data"):
    setattr(out, name, adj[name])
  out.scale = buffers.get("mesh_scale", adj["mesh_scale"])
  out.mesh_pos, out.mesh_quat = model.mesh_pos, model.mesh_quat
  return out


@wp.func
def stretch(adj_u: wp.vec3, adj_o: wp.vec3, arm: wp.vec3, n: wp.vec3) -> wp.mat33:
  """Cotangent of E for a motion u(x) = E x, x from the geom's centre.

  Args:
    adj_u: cotangent of the velocity of the witness point.
    adj_o: cotangent of the angular velocity, through the turn of the normal alone.
    arm: the witness point from the geom's centre [m].
    n: the normal that turns.
  """
  return wp.outer(adj_u, arm) - wp.outer(n, wp.cross(adj_o, n))


@wp.func
def add_mesh_scale(worldid: int, meshid: int, rot: wp.mat33, geom: GeomAdjoint, adj: ShapeAdjoint):
  """Adds the cotangent of the scale of a geom's mesh."""
  if adj.mesh_scale.shape[0] == 0:
    return
  axes = rot @ wp.transpose(quat_to_mat(adj.mesh_quat[meshid]))
  f = wp.transpose(axes) @ geom.force
  grown = wp.transpose(axes) @ geom.stretch @ axes
  pos = adj.mesh_pos[meshid]
  scale = adj.scale[0, meshid]
  value = wp.vec3()
  for k in range(3):
    value[k] = (grown[k, k] + f[k] * pos[k]) / scale[k]
  accumulate(adj.mesh_scale, worldid, meshid, value)


@wp.func
def _share(start: wp.vec3, end: wp.vec3, area: float, p: wp.vec3, f: wp.vec3, t: wp.vec3) -> float:
  """Cotangent of the height of the corner opposite to an edge of a triangle."""
  slope = wp.vec3(start[1] - end[1], end[0] - start[0], 0.0) / area
  return wp.dot(slope, p - start) * f[2] + wp.dot(slope, t)


@wp.func
def elevations_of(
  patch: Patch,
  bottom: float,
  p: wp.vec3,
  rot: wp.mat33,
  adj_u: wp.vec3,
  adj_o: wp.vec3,
  n: wp.vec3,
) -> Elevations:
  """Cotangents of the heights of a triangle around a witness point p, in the field's frame."""
  out = Elevations()
  f = wp.transpose(rot) @ adj_u
  m = wp.transpose(rot) @ n
  t = -m[2] * (wp.transpose(rot) @ wp.cross(adj_o, n))
  a = patch.triangle.a
  b = patch.triangle.b
  c = patch.triangle.c
  area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
  out.value = wp.vec3(
    _share(b, c, area, p, f, t), _share(c, a, area, p, f, t), _share(a, b, area, p, f, t)
  )
  out.ids = patch.triangle.ids
  if p[2] < -0.5 * bottom:
    out.ids = wp.vec3i(BOTTOM, BOTTOM, BOTTOM)
  return out


@wp.func
def add_height_field(
  worldid: int,
  id: int,
  fields: HeightFields,
  rot: wp.mat33,
  geom: GeomAdjoint,
  elevations: Elevations,
  adj: ShapeAdjoint,
):
  """Adds the cotangents of the sizes of a height field and of the elevations of a triangle."""
  size = fields.size[id]
  grown = wp.transpose(rot) @ geom.stretch @ rot
  value = wp.vec4(grown[0, 0] / size[0], grown[1, 1] / size[1], grown[2, 2] / size[2], 0.0)
  if elevations.ids[0] == BOTTOM:
    value[2] = 0.0
    value[3] = grown[2, 2] / size[3]
  accumulate(adj.hfield_size, worldid, id, value)
  if elevations.ids[0] >= 0:
    for k in range(3):
      height = elevations.value[k]
      accumulate(adj.hfield_data, worldid, elevations.ids[k], size[2] * height)
