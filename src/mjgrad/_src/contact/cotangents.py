"""Where contacts hand the cotangent of their geometry to the files that know the geoms."""

import dataclasses

import warp as wp

wp.set_module_options({"enable_backward": False})


@dataclasses.dataclass
class ContactCotangents:
  """Cotangents of all contacts of solid geoms, see `terms/contact_solid.py`.

  Attributes:
    dist: cotangent of the distance, shape [naconmax], or empty where no solid geoms collide
    point: cotangent of the point, shape [naconmax]
    frame: cotangent of the frame, shape [naconmax]
  """

  dist: wp.array
  point: wp.array
  frame: wp.array

  @classmethod
  def empty(cls, size: int) -> "ContactCotangents":
    return cls(*(wp.zeros(size, dtype=dtype) for dtype in (float, wp.vec3, wp.mat33)))

  def zero_(self) -> None:
    for array in (self.dist, self.point, self.frame):
      array.zero_()
