"""Result of a gradient check, as a table for a terminal and as a dictionary for machines."""

from collections import Counter
from dataclasses import asdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from mjgrad._src.check.jacobian import SWITCH_RTOL
from mjgrad._src.check.oracle import STATE_CHANNELS


@dataclass(frozen=True)
class Tolerance:
  """Bars for the relative error of one channel over all compared states."""

  median: float
  worst: float


STATE_TOLERANCE = Tolerance(median=1e-4, worst=1e-2)
PARAMETER_TOLERANCE = Tolerance(median=1e-3, worst=1e-2)


def tolerance_of(channel: str) -> Tolerance:
  """The bars that a channel has to clear."""
  return STATE_TOLERANCE if channel in STATE_CHANNELS else PARAMETER_TOLERANCE


@dataclass(frozen=True)
class ChannelResult:
  """Comparison of one gradient channel with the oracle.

  Attributes:
    channel: "qpos", ... or the name of a model parameter.
    errors: relative error at every state (the worst cotangent), compared or not, shape [nstates].
    compared: indices of the states that count.
    switching: indices of the states at a switching point in this channel.
    kinks: entries of a parameter that sit on a kink at some state and are left out there.
    zero: states whose true gradient vanishes; their error is absolute (see `compare.py`).
    oracle_disagreement: worst relative error of the oracle's own differences.
    unresolved: states that do not count because rounding to float32 makes as large an error of the
      truth, see `resolution.py`.
  """

  channel: str
  errors: tuple[float, ...]
  compared: tuple[int, ...]
  switching: tuple[int, ...]
  kinks: int
  zero: int
  oracle_disagreement: float
  unresolved: tuple[int, ...] = ()

  @property
  def measured(self) -> tuple[int, ...]:
    """The compared states and those that float32 does not resolve, for bars of other sizes."""
    return tuple(sorted((*self.compared, *self.unresolved)))

  def _compared_errors(self) -> np.ndarray:
    return np.array([self.errors[i] for i in self.compared])

  @property
  def median(self) -> float:
    return float(np.median(self._compared_errors())) if self.compared else float("nan")

  @property
  def percentile95(self) -> float:
    if not self.compared:
      return float("nan")
    # "higher" does not interpolate, which infinite errors would turn into not-a-number.
    return float(np.percentile(self._compared_errors(), 95, method="higher"))

  @property
  def worst(self) -> float:
    return float(np.max(self._compared_errors())) if self.compared else float("nan")

  @property
  def worst_state(self) -> int:
    """Index of the compared state with the largest error; -1 without any."""
    return max(self.compared, key=lambda i: self.errors[i], default=-1)

  @property
  def passed(self) -> bool:
    bars = tolerance_of(self.channel)
    return self.median <= bars.median and self.worst <= bars.worst

  @property
  def beyond(self) -> tuple[int, ...]:
    """Compared states whose error is beyond the worst that is allowed."""
    return self._above(tolerance_of(self.channel).worst)

  @property
  def failing(self) -> tuple[int, ...]:
    """Those beyond the worst or, where the median is too large, all beyond the median's bar."""
    bars = tolerance_of(self.channel)
    return self.beyond if self.median <= bars.median else self._above(bars.median)

  def _above(self, bar: float) -> tuple[int, ...]:
    return tuple(s for s in self.compared if not self.errors[s] <= bar)

  @property
  def verdict(self) -> str:
    if not self.compared:
      return "NOTHING COMPARED"
    return "pass" if self.passed else "FAIL"


@dataclass(frozen=True)
class StateResult:
  """One state of the check: what it is, and how far the engine's forward step is from C MuJoCo's.

  Attributes:
    kind: how the state was made.
    labels: what is active in it.
    ncon: contacts.
    nefc: constraint rows.
    forward_error: error of the engine's step (see `compare.py`); above 1 it differs.
    switch_distance: relative distance to the nearest switch.
    nearest_switch: what would switch there.
    touching: geoms that touch otherwise in C MuJoCo than in the engine, looked for where a gradient
      is beyond the bar (see `same_contacts.py`); the state is a differing one then.
  """

  kind: str
  labels: tuple[str, ...]
  ncon: int
  nefc: int
  forward_error: float
  switch_distance: float
  nearest_switch: str
  touching: str = ""


@dataclass(frozen=True)
class CheckResult:
  """Everything that a gradient check found.

  Attributes:
    model: name of the model.
    seed: of the states and cotangents.
    device: where the engine ran.
    channels: one result per channel.
    states: one result per state.
    differing: indices of states where the engine's forward step differs from C MuJoCo's, or where
      gradients are beyond the bar and geoms touch otherwise.
    reframed: those of them that agree, or agree better, once C MuJoCo uses the engine's tangents of
      plane-capsule contacts and its contacts of two boxes; they are compared with that oracle, the
      others do not count.
  """

  model: str
  seed: int
  device: str
  channels: tuple[ChannelResult, ...]
  states: tuple[StateResult, ...]
  differing: tuple[int, ...]
  reframed: tuple[int, ...] = ()

  @property
  def passed(self) -> bool:
    return all(channel.passed for channel in self.channels)

  @property
  def switching(self) -> tuple[int, ...]:
    """States at a switching point in any channel."""
    return tuple(sorted(set().union(*(c.switching for c in self.channels))))

  @property
  def switches(self) -> dict[str, int]:
    """What switches at the switching points, and at how many of them, most frequent first."""
    states = [self.states[i] for i in self.switching]
    found = Counter(
      s.nearest_switch if s.switch_distance < SWITCH_RTOL else "differences without a limit"
      for s in states
    )
    return dict(found.most_common())

  def channel(self, name: str) -> ChannelResult:
    return next(c for c in self.channels if c.channel == name)

  def to_dict(self) -> dict:
    """Plain types only; non-finite numbers become None."""
    channels = [
      {
        "channel": c.channel,
        "verdict": c.verdict,
        "passed": c.passed,
        "median": c.median,
        "percentile95": c.percentile95,
        "worst": c.worst,
        "worst_state": c.worst_state,
        "tolerance": asdict(tolerance_of(c.channel)),
        "compared": len(c.compared),
        "switching": list(c.switching),
        "unresolved": list(c.unresolved),
        "kinks": c.kinks,
        "zero": c.zero,
        "oracle_disagreement": c.oracle_disagreement,
        "errors": list(c.errors),
      }
      for c in self.channels
    ]
    return _finite(
      {
        "model": self.model,
        "seed": self.seed,
        "device": self.device,
        "passed": self.passed,
        "nstates": len(self.states),
        "switching": list(self.switching),
        "switches": self.switches,
        "differing": list(self.differing),
        "reframed": list(self.reframed),
        "channels": channels,
        "states": [asdict(s) for s in self.states],
      }
    )

  def to_text(self) -> str:
    """Table for a terminal, at most 100 columns wide."""
    head = f"{'channel':<20} {'states':>6} {'median':>9} {'95 %':>9} {'worst':>9} {'at':>4}"
    lines = [
      f"Gradients of {self.model}, {len(self.states)} states, seed {self.seed}, {self.device}",
      "",
      f"{head}  verdict",
    ]
    for c in self.channels:
      numbers = f"{c.median:>9.1e} {c.percentile95:>9.1e} {c.worst:>9.1e}"
      lines.append(
        f"{c.channel:<20} {len(c.compared):>6} {numbers} {c.worst_state:>4}  {c.verdict}"
        + _notes(c)
      )
    lines.append("")
    lines.append(_listing("States at a switching point", self.switching))
    lines += [f"  {what}: {count}" for what, count in self.switches.items()]
    lines.append(_listing("States where the engine's step differs from C MuJoCo", self.differing))
    for i in self.differing:
      s = self.states[i]
      why = s.touching or f"{s.forward_error:.2g} x tolerance"
      lines.append(f"  {i}: {s.kind}, {', '.join(s.labels)}; {why}")
    for c in self.channels:
      if c.unresolved:
        lines.append(_listing(f"States where float32 does not resolve {c.channel}", c.unresolved))
    if self.reframed:
      title = "Of these, compared on the engine's contacts of boxes, of capsules on planes"
      lines.append(_listing(title, self.reframed))
    lines.append("PASS" if self.passed else "FAIL")
    return "\n".join(lines)


def _notes(c: ChannelResult) -> str:
  notes = []
  if c.kinks:
    notes.append(f"{c.kinks} entries at a kink")
  if c.zero:
    notes.append(f"{c.zero} states with zero gradient")
  if c.unresolved:
    notes.append(f"{len(c.unresolved)} states below float32")
  return f" ({', '.join(notes)})" if notes else ""


def _listing(title: str, indices: tuple[int, ...]) -> str:
  """The title with the number of states and their indices."""
  if indices:
    return f"{title} ({len(indices)}): {', '.join(map(str, indices))}"
  return f"{title}: none"


def _finite(value: Any) -> Any:
  if isinstance(value, dict):
    return {key: _finite(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [_finite(item) for item in value]
  if isinstance(value, float) and not np.isfinite(value):
    return None
  return value
