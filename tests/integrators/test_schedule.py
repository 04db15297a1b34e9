"""The order in which steps are reversed: correct, within its slots, and optimal."""

import functools

import pytest

from mjgrad._src.integrators import schedule


def play(actions, start, slots):
  """Follows the actions; returns the reversed steps in order and the number of repeated ones."""
  kept, present, order, repeated = dict(start), None, [], 0
  for action in actions:
    match action:
      case schedule.Load(slot, step):
        assert kept[slot] == step
        present = step
      case schedule.Keep(slot):
        assert slot < slots
        kept[slot] = present
      case schedule.Advance(step):
        assert present == step
        present, repeated = step + 1, repeated + 1
      case schedule.Reverse(step):
        assert present == step
        order.append(step)
  return order, repeated


@functools.cache
def optimum(length, free):
  """The least number of repeated steps, by dynamic programming."""
  if length == 1:
    return 0
  if free == 0:
    return length * (length - 1) // 2
  return min(m + optimum(length - m, free - 1) + optimum(m, free) for m in range(1, length))


@pytest.mark.parametrize("free", range(5))
def test_no_schedule_repeats_fewer_steps(free):
  for length in range(1, 40):
    slots = tuple(range(1, free + 1))
    order, repeated = play(schedule.reverse(0, length, 0, slots), {0: 0}, free + 1)
    assert order == list(reversed(range(length)))
    assert repeated == optimum(length, free)


@pytest.mark.parametrize(
  "stride, slots, nstep", [(1, 8, 8), (4, 8, 16), (4, 8, 13), (64, 32, 1000)]
)
def test_reverse_all(stride, slots, nstep):
  start = {i: i * stride for i in range(-(-nstep // stride))}
  order, repeated = play(schedule.reverse_all(nstep, stride, slots), start, slots)
  assert order == list(reversed(range(nstep)))
  assert repeated == 0 if stride == 1 else repeated <= 2 * nstep
