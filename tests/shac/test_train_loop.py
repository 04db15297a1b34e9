"""The training loop on the toy task: checkpoints, stopping, and the record of a divergence."""

import signal

import numpy as np
import pytest

from mjgrad import run_log
from mjgrad._src.errors import InvalidInput
from mjgrad.shac import DivergedError
from mjgrad.shac.train import train
from tests.shac.toy import make_learner


@pytest.fixture
def log(tmp_path):
  return run_log.create_run(tmp_path / "run", {"task": "toy", "seed": 0})


def saved_epochs(log):
  return [run_log.load_checkpoint(path)["learner"]["epoch"] for path in log.checkpoints()]


def test_saves_now_and_then_and_at_the_end(log):
  seen = []
  learner = make_learner(epochs=7)
  assert train(learner, log, save_every=3, on_epoch=lambda m: seen.append(m["epoch"]))
  assert seen == [1, 2, 3, 4, 5, 6, 7]
  assert saved_epochs(log) == [6, 7]
  rows = log.read_metrics()
  assert [row["epoch"] for row in rows] == seen
  assert all(row["seconds"] > 0.0 and row["steps_per_second"] > 0.0 for row in rows)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_finishes_the_epoch_and_saves_it(log, number):
  before = signal.getsignal(number)

  def stop(metrics):
    if metrics["epoch"] == 2:
      signal.raise_signal(number)

  assert not train(make_learner(epochs=7), log, on_epoch=stop)
  assert saved_epochs(log)[-1] == 3
  assert signal.getsignal(number) is before


def test_second_signal_interrupts_at_once(log):
  def stop(metrics):
    for _ in range(2):  # Python handles a signal when a loop turns, not between two calls
      signal.raise_signal(signal.SIGINT)

  before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
  try:
    with pytest.raises(KeyboardInterrupt):
      train(make_learner(epochs=7), log, on_epoch=stop)
  finally:
    signal.signal(signal.SIGINT, before)
  assert saved_epochs(log) == [0]


def test_divergence_is_recorded_and_keeps_the_checkpoints(log):
  learner = make_learner(num_worlds=5, poison=(10, 2), horizon=4)  # in the third epoch
  with pytest.raises(DivergedError, match="epoch 3: .*world 2.*nonfinite_epoch_000003.npz"):
    train(learner, log, save_every=1)
  with np.load(log.folder / "nonfinite_epoch_000003.npz") as arrays:
    assert np.isfinite(arrays["start_qpos"]).all()
    assert arrays["adj_action"].shape == arrays["action"].shape == (4, 5, 1)
    assert np.isnan(arrays["next_obs"][:, 2]).any()
  assert saved_epochs(log) == [1, 2]
  assert [row["epoch"] for row in log.read_metrics()] == [1, 2]


def test_needs_a_positive_interval(log):
  with pytest.raises(InvalidInput, match="every 0 epochs"):
    train(make_learner(), log, save_every=0)
