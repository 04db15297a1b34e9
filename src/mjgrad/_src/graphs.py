"""Capture of launches as a graph that replays them without Python, on CPU and on CUDA."""

import contextlib
from collections.abc import Callable, Iterable
from typing import cast

import warp as wp


def head(array: wp.array, count: int) -> wp.array:
  """The first `count` entries along the leading axis; Warp does not slice what has no entries."""
  return cast(wp.array, array[:count]) if array.size else array


def capture(body: Callable[[], None], device: wp.Device, mutable: Iterable[wp.array]) -> wp.Graph:
  """Captures `body` after one eager run, which loads kernel modules.

  Args:
    body: launches kernels, copies and fills; allocates nothing that outlives it.
    device: where it runs.
    mutable: arrays whose present values the eager run must not change.

  Returns:
    A graph for `wp.capture_launch`.
  """
  saved = [(array, wp.clone(array)) for array in mutable]
  with wp.ScopedDevice(device), _capture_stream(device):
    body()
    with wp.ScopedCapture(device=device, force_module_load=False) as captured:
      body()
  for array, value in saved:
    wp.copy(array, value)
  assert captured.graph is not None
  return captured.graph


@contextlib.contextmanager
def _capture_stream(device: wp.Device):
  """A stream that can be captured; the caller's may be the default stream, which cannot."""
  wp.synchronize_device(device)
  with wp.ScopedStream(wp.Stream(device)) if device.is_cuda else contextlib.nullcontext():
    yield
  wp.synchronize_device(device)


class Beside:
  """Launches that may run at the same time as those after them.

      with beside:      # waits for everything launched so far
        ...             # on a stream of its own
      ...               # at the same time
      beside.join()     # waits for both

  A small kernel leaves most of a GPU idle; a captured graph keeps such branches. Without `enabled`,
  and on a CPU, everything runs in the order in which it is launched.
  """

  def __init__(self, device: wp.Device, enabled: bool):
    self._stream = wp.Stream(device) if enabled and device.is_cuda else None

  def __enter__(self) -> None:
    self._scope = wp.ScopedStream(self._stream)
    self._scope.__enter__()

  def __exit__(self, *exception) -> None:
    self._scope.__exit__(*exception)

  def join(self) -> None:
    """Lets what is launched from here on wait for the launches beside."""
    if self._stream is not None:
      self._stream.device.stream.wait_stream(self._stream)
