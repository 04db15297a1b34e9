"""Room for what a backward pass needs, asked for before it is taken."""

from pathlib import Path

import warp as wp

from mjgrad._src.errors import CapacityError

_MEMINFO = Path("/proc/meminfo")


def free_bytes(device: wp.Device) -> int | None:
  """Memory that a device still has; None where the system does not say."""
  if device.is_cuda:
    return device.free_memory
  if not _MEMINFO.exists():
    return None
  fields = dict(line.split(":") for line in _MEMINFO.read_text().splitlines())
  return 1024 * int(fields["MemAvailable"].split()[0])


def check_room(
  device: wp.Device, nworld: int, count: int, nbyte: int, what: str, remedy: str, spare: int = 0
):
  """Raises `CapacityError` where `count` records of `nbyte` bytes a world do not fit.

  Args:
    device: where they are kept.
    nworld: number of worlds.
    count: number of records.
    nbyte: bytes of a record, for one world.
    what: what is recorded, in the plural.
    remedy: what to do about it, beside fewer worlds.
    spare: bytes that are taken already and may be used for it.
  """
  free = free_bytes(device)
  if free is None:
    return
  free += spare
  needed = nworld * count * nbyte
  if needed <= free:
    return
  raise CapacityError(
    f"{count} {what} of {nworld} worlds take {needed / 1e9:.1f} GB; {device.name} has "
    f"{free / 1e9:.1f} GB left. {free // (nworld * nbyte)} {what} fit, or "
    f"{free // (count * nbyte)} worlds: {remedy}."
  )
