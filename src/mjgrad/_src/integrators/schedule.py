"""In which order steps are repeated and reversed when only some states are kept.

To reverse the steps lo ... hi - 1 with c slots, one of which keeps the state before lo, go to a
state in between, keep it, reverse what comes after with c - 1 slots, then what comes before with
c. Where the number of steps is at most beta(c, r) = (c + r)! / (c! r!), no step is repeated more
than r times, and no schedule repeats fewer steps in total.

Source: Griewank and Walther, Revolve (2000), equations 1 to 4.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple


class Load(NamedTuple):
  """Go to the state in a slot, which is that before step `step`."""

  slot: int
  step: int


class Keep(NamedTuple):
  """Keep the present state in a slot."""

  slot: int


class Advance(NamedTuple):
  """Repeat a step."""

  step: int


class Reverse(NamedTuple):
  """Pull the cotangents back through a step, at whose start the present state is."""

  step: int


Action = Load | Keep | Advance | Reverse


def _split(length: int, slots: int) -> int:
  """How many of `length` steps to go before the next state is kept, with `slots` in all."""
  r = 1
  while math.comb(slots + r, slots) < length:
    r += 1
  return min(math.comb(slots + r - 1, slots), length - math.comb(slots + r - 2, slots - 1))


def reverse(lo: int, hi: int, slot: int, free: tuple[int, ...]) -> Iterator[Action]:
  """Reverses the steps lo ... hi - 1.

  Args:
    lo: the first step.
    hi: one after the last step.
    slot: where the state before step lo is kept.
    free: slots that may be overwritten.
  """
  if hi - lo > 1 and free:
    middle = lo + _split(hi - lo, len(free) + 1)
    yield Load(slot, lo)
    for step in range(lo, middle):
      yield Advance(step)
    yield Keep(free[0])
    yield from reverse(middle, hi, free[0], free[1:])
    yield from reverse(lo, middle, slot, free)
    return
  for last in reversed(range(lo, hi)):
    yield Load(slot, lo)
    for step in range(lo, last):
      yield Advance(step)
    yield Reverse(last)


def reverse_all(nstep: int, stride: int, slots: int) -> Iterator[Action]:
  """Reverses the steps 0 ... nstep - 1, where slot i keeps the state before step i stride."""
  for used in reversed(range(math.ceil(nstep / stride))):
    free = tuple(range(used + 1, slots))
    yield from reverse(used * stride, min((used + 1) * stride, nstep), used, free)
