"""Adding to the cotangent of a parameter that may be absent, shared, or per world."""

from typing import Any

import warp as wp

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
