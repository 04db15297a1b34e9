"""The engine's arrays as NumPy arrays."""

import numpy as np
import warp as wp


def read(array: wp.array) -> np.ndarray:
  """A copy on the host; on the CPU `numpy()` alone would alias what the next launch writes."""
  return np.array(array.numpy())


def write(target: wp.array, value: np.ndarray) -> None:
  """Copies a value of the same size, converted to the type and shape of the target."""
  if target.size:
    host = target.numpy()
    target.assign(np.ascontiguousarray(value, dtype=host.dtype).reshape(host.shape))
