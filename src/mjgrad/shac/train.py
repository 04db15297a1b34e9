"""The training loop: update, log, save, and stop cleanly when asked to."""

import dataclasses
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mjgrad._src.errors import InvalidInput
from mjgrad.run_log import FORMAT
from mjgrad.run_log import RunLog

from .shac import DivergedError
from .shac import Shac


def train(
  learner: Shac,
  log: RunLog,
  *,
  elapsed: float = 0.0,
  save_every: int = 25,
  on_epoch: Callable[[dict[str, float]], None] = lambda metrics: None,
) -> bool:
  """Updates the learner until its last epoch, or until Ctrl-C or SIGTERM.

  The first such signal lets the running epoch finish and be saved; a second one interrupts at once,
  which loses no more than what came after the last checkpoint.

  Args:
    learner: the learner, new or restored.
    log: the run folder to write to.
    elapsed: seconds already spent on the run, from the checkpoint that it was restored from.
    save_every: epochs between checkpoints.
    on_epoch: called with the metrics of every epoch.

  Returns:
    True if all epochs are done, False if a signal ended training early; both are saved.
  """
  if save_every < 1:
    raise InvalidInput(f"checkpoints are written every {save_every} epochs; it must be at least 1")
  log.start(learner.epoch)
  start = time.perf_counter() - elapsed

  def save() -> None:
    log.save(_checkpoint(learner, log, time.perf_counter() - start), learner.epoch)

  try:
    if not log.checkpoints():
      save()
    with _stop_signals() as stop_requested:
      while learner.epoch < learner.config.epochs:
        began = time.perf_counter()
        metrics = learner.update()
        ended = time.perf_counter()
        steps = learner.config.horizon * learner.config.num_worlds
        metrics |= {"seconds": ended - start, "steps_per_second": steps / (ended - began)}
        log.write(metrics)
        stop = stop_requested()
        if stop or learner.epoch % save_every == 0 or learner.epoch == learner.config.epochs:
          save()
        on_epoch(metrics)
        if stop:
          break
  except DivergedError as error:
    arrays = {name: value.numpy() for name, value in error.record.items()}
    path = log.save_arrays(f"nonfinite_epoch_{learner.epoch + 1:06d}", arrays)
    raise DivergedError(f"{error} The horizon is saved in {path}.", error.record) from error
  finally:
    log.close()
  return learner.epoch == learner.config.epochs


def _checkpoint(learner: Shac, log: RunLog, elapsed: float) -> dict[str, Any]:
  return {
    "format": FORMAT,
    "task": learner.env.task.name,
    "seed": log.record["seed"],
    "config": dataclasses.asdict(learner.config),
    "elapsed": elapsed,
    "learner": learner.state_dict(),
  }


@contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
  """Turns the first SIGINT or SIGTERM into a flag; the handlers before it return afterwards."""
  received: list[int] = []
  previous: dict[int, Any] = {}

  def handle(number: int, frame: Any) -> None:
    received.append(number)
    restore()

  def restore() -> None:
    for number, handler in previous.items():
      signal.signal(number, handler)

  try:
    for number in (signal.SIGINT, signal.SIGTERM):
      previous[number] = signal.signal(number, handle)
  except ValueError:  # not in the main thread, where nobody can press Ctrl-C
    previous.clear()
  try:
    yield lambda: bool(received)
  finally:
    restore()
