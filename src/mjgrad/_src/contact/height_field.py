"""The surface of a height field at a witness point.

MuJoCo collides a height field as prisms, two for every cell of its grid: between a triangle of
neighbouring elevations and the bottom. With the size (x, y, top, bottom) of the field and
elevations d in [0, 1], the corners of a triangle are at

    (2 x c / (ncol - 1) - x,  2 y r / (nrow - 1) - y,  top d_rc),       bottom at z = -bottom

A prism is a polytope, so all radii of curvature are zero: a witness point is at a vertex, on an
edge along which it slides, or on a face, the vertical ones between two prisms included. Which of
these it is on follows from where it is and from the normal, as for a mesh (contact/surface.py).
Contacts of boxes and meshes: contact/facet.py.

The parameters of a field deform it: contact/deformation.py.

Held fixed: the prism and its feature; which of the contacts with all prisms are kept, four at most.

Source: MuJoCo documentation, XML reference, "hfield"; docs/contacts.md.
"""

import mujoco
import mujoco_warp as mjw
import warp as wp

from mjgrad._src.contact.surface import FACE
from mjgrad._src.contact.surface import LINE
from mjgrad._src.contact.surface import SAME_NORMAL
from mjgrad._src.contact.surface import SAME_POLYGON
from mjgrad._src.contact.surface import WIDENINGS
from mjgrad._src.contact.surface import Surface

wp.set_module_options({"enable_backward": False})

HFIELD = wp.constant(int(mujoco.mjtGeom.mjGEOM_HFIELD))


@wp.struct
class HeightFields:
  """Grids of all height fields, see the fields of the same names of MjModel."""

  size: wp.array[wp.vec4]
  nrow: wp.array[int]
  ncol: wp.array[int]
  adr: wp.array[int]
  data: wp.array[float]


def height_fields(model: mjw.Model) -> HeightFields:
  """The grids of a model's height fields."""
  out = HeightFields()
  for name in HeightFields.vars:
    setattr(out, name, getattr(model, "hfield_" + name))
  return out


@wp.struct
class Triangle:
  """The top of a prism, counter-clockwise seen from above.

  Attributes:
    a, b, c: its corners in the frame of the field [m]
    ids: their elevations in `HeightFields.data`
  """

  a: wp.vec3
  b: wp.vec3
  c: wp.vec3
  ids: wp.vec3i


@wp.struct
class Patch:
  """A height field around a witness point.

  Attributes:
    surface: its surface there, in the frame of the field
    triangle: the top of the prism that the point is on
    agrees: whether the normal is one of that feature's
  """

  surface: Surface
  triangle: Triangle
  agrees: bool


@wp.func
def _corner(fields: HeightFields, id: int, row: int, col: int) -> wp.vec3:
  size = fields.size[id]
  nrow = fields.nrow[id]
  ncol = fields.ncol[id]
  return wp.vec3(
    size[0] * (2.0 * float(col) / float(ncol - 1) - 1.0),
    size[1] * (2.0 * float(row) / float(nrow - 1) - 1.0),
    size[2] * fields.data[fields.adr[id] + row * ncol + col],
  )


@wp.func
def cell_of(fields: HeightFields, id: int, x: wp.vec3) -> wp.vec2i:
  """First row and column of the cell over or under a point, which may be beyond the grid."""
  size = fields.size[id]
  row = wp.floor(0.5 * (x[1] / size[1] + 1.0) * float(fields.nrow[id] - 1))
  col = wp.floor(0.5 * (x[0] / size[0] + 1.0) * float(fields.ncol[id] - 1))
  return wp.vec2i(int(row), int(col))


@wp.func
def triangle_of(fields: HeightFields, id: int, row: int, col: int, upper: bool) -> Triangle:
  """One of the two triangles of the cell with this first row and column."""
  first = fields.adr[id] + row * fields.ncol[id] + col
  above = first + fields.ncol[id]
  out = Triangle()
  out.a = _corner(fields, id, row, col)
  out.b = _corner(fields, id, row, col + 1)
  out.c = _corner(fields, id, row + 1, col + 1)
  out.ids = wp.vec3i(first, first + 1, above + 1)
  if upper:
    out.b = out.c
    out.c = _corner(fields, id, row + 1, col)
    out.ids = wp.vec3i(first, above + 1, above)
  return out


@wp.func
def _side(triangle: Triangle, bottom: float, k: int):
  """Outward normal of a face of the prism and a point on it; 0 top, 1 to 3 sides, 4 bottom."""
  normal = wp.vec3(0.0, 0.0, -1.0)
  start = wp.vec3(0.0, 0.0, -bottom)
  if k == 0:
    normal = wp.normalize(wp.cross(triangle.b - triangle.a, triangle.c - triangle.a))
    start = triangle.a
  elif k < 4:
    end = triangle.b
    start = triangle.a
    if k == 2:
      start = triangle.b
      end = triangle.c
    elif k == 3:
      start = triangle.c
      end = triangle.a
    normal = wp.normalize(wp.vec3(end[1] - start[1], start[0] - end[0], 0.0))
  return normal, start


@wp.func
def _on_prism(
  triangle: Triangle,
  bottom: float,
  x: wp.vec3,
  m: wp.vec3,
  slack: float,
  tilt: float,
  round_other: bool,
):
  """The feature of a prism that x is on, whether m agrees with it, and whether m is a face's."""
  surface = Surface()
  first = wp.vec3()
  line = wp.vec3()
  rank = int(0)
  inside = bool(True)
  flat = bool(False)
  faces = int(5)  # in a loop that Warp unrolls, `first` would lose its value
  for k in range(faces):
    normal, point = _side(triangle, bottom, k)
    height = wp.dot(normal, x - point)
    if height > slack:
      inside = False
    if wp.abs(height) <= slack:
      if wp.length(normal - m) < SAME_NORMAL and round_other:
        flat = True
      if rank == 0:
        first = normal
        rank = 1
      elif rank == 1:
        line = wp.cross(first, normal)
        if wp.length(line) > SAME_POLYGON:
          line = wp.normalize(line)
          rank = 2
      elif wp.abs(wp.dot(line, normal)) > SAME_POLYGON:
        rank = 3
  agrees = bool(True)
  if flat or rank <= 1:
    surface.free = FACE
    agrees = flat or wp.length(first - m) < tilt
  elif rank == 2:
    surface.free = LINE
    surface.line = line
    agrees = wp.abs(wp.dot(line, m)) < tilt
  touched = inside and rank > 0
  return surface, touched and agrees, touched and flat


@wp.func
def _patch_within(
  fields: HeightFields,
  id: int,
  x: wp.vec3,
  m: wp.vec3,
  slack: float,
  tilt: float,
  round_other: bool,
) -> Patch:
  """The prism next to x whose feature there agrees with the normal."""
  out = Patch()
  bottom = fields.size[id][3]
  cell = cell_of(fields, id, x)
  decided = bool(False)
  for r in range(wp.max(cell[0] - 1, 0), wp.min(cell[0] + 2, fields.nrow[id] - 1)):
    for c in range(wp.max(cell[1] - 1, 0), wp.min(cell[1] + 2, fields.ncol[id] - 1)):
      for upper in range(2):
        triangle = triangle_of(fields, id, r, c, upper == 1)
        surface, agrees, flat = _on_prism(triangle, bottom, x, m, slack, tilt, round_other)
        if (agrees and not out.agrees) or (flat and not decided):
          out.surface = surface
          out.triangle = triangle
          out.agrees = True
          decided = flat
  return out


@wp.func
def patch_at(
  fields: HeightFields,
  id: int,
  rot: wp.mat33,
  local: wp.vec3,
  normal: wp.vec3,
  slack: float,
  tilt: float,
  round_other: bool,
) -> Patch:
  """A height field around a witness point, its surface in the world.

  Args:
    fields: all height fields.
    id: which of them.
    rot: its rotation.
    local: the witness point in its frame [m].
    normal: its outward normal in the world.
    slack: see `contact.surface.witness_slack` [m].
    tilt: sine of the inclination that a direction of sliding may have against the normal.
    round_other: whether the geom that it touches has no flat faces.
  """
  m = wp.transpose(rot) @ normal
  out = _patch_within(fields, id, local, m, slack, tilt, round_other)
  wider = slack
  for _ in range(WIDENINGS):
    if not out.agrees:
      wider *= 10.0
      out = _patch_within(fields, id, local, m, wider, tilt, round_other)
  out.surface.line = rot @ out.surface.line
  return out
