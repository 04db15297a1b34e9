"""Adding to the cotangent of a parameter that may be absent, shared, or per world."""

from typing import Any

import warp as wp

from mjgrad._src.engine.adapter import vec5

wp.set_module_options({"enable_backward": False})


@wp.func
def accumulate(adj: wp.array2d[Any], worldid: int, index: int, value: Any):
  """adj[worldid, index] += value, on the one row of a shared parameter, if it has a cotangent."""
  if adj.shape[0] > 0:
    wp.atomic_add(adj, worldid % adj.shape[0], index, value)


@wp.func
def accumulate_option(adj: wp.array[Any], worldid: int, value: Any):
  """As `accumulate`, for an option such as gravity, one entry a world."""
  if adj.shape[0] > 0:
    wp.atomic_add(adj, worldid % adj.shape[0], value)


@wp.struct
class RowAdjoint:
  """Cotangents of what every constraint row reads beside its own quantities.

  Attributes:
    solref: of the rows' `solref`, by element
    solimp: of the rows' `solimp`, by element
    timestep: of `opt.timestep`
    dof_invweight0, body_invweight0, tendon_invweight0: of the rows' inverse weights
  """

  solref: wp.array2d[wp.vec2]
  solimp: wp.array2d[vec5]
  timestep: wp.array[float]
  dof_invweight0: wp.array2d[float]
  body_invweight0: wp.array2d[wp.vec2]
  tendon_invweight0: wp.array2d[float]


@wp.func
def accumulate_row(
  adj: RowAdjoint, worldid: int, index: int, solref: wp.vec2, solimp: vec5, timestep: float
):
  """Adds the cotangents of one row of element `index`."""
  accumulate(adj.solref, worldid, index, solref)
  accumulate(adj.solimp, worldid, index, solimp)
  accumulate_option(adj.timestep, worldid, timestep)
