"""Timing of one case at one number of worlds: captured graphs, medians of repeated batches.

All worlds start from the same settled state with small random controls. The three graphs are the
ones that users run: `mujoco_warp.step` alone, the recorded step, and the backward step.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable

import mujoco
import numpy as np
import warp as wp

from mjgrad._src import graphs
from mjgrad._src.engine import adapter
from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.rollout import INPUTS
from mjgrad.bench.cases import Case

NSTEP = 16
"""Steps per timed batch."""


@dataclasses.dataclass(frozen=True)
class Measurement:
  """Cost of one batched step, medians over repetitions.

  Attributes:
    case: name of the case
    nworld: number of worlds
    nv: degrees of freedom
    nefc: constraint rows per world, mean at the measured states
    mujoco_warp_us: `mujoco_warp.step` alone [us]
    forward_us: a step that records its tape [us]
    backward_us: the gradient of a step [us]
    differences_us: the steps of centred differences in the state and the controls: the time of
      `mujoco_warp.step` times the number of perturbed copies [us]
    transition_fd_us: `mujoco.mjd_transitionFD`, centred, of one world on one CPU core [us]
    bytes_per_step: tape memory per world and step [byte]
    first_use_s: time from building the simulator to the first gradient [s]
  """

  case: str
  nworld: int
  nv: int
  nefc: float
  mujoco_warp_us: float
  forward_us: float
  backward_us: float
  differences_us: float
  transition_fd_us: float
  bytes_per_step: float
  first_use_s: float

  @property
  def backward_ratio(self) -> float:
    """Backward over `mujoco_warp.step`."""
    return self.backward_us / self.mujoco_warp_us

  @property
  def total_ratio(self) -> float:
    """Recorded forward and backward over `mujoco_warp.step`."""
    return (self.forward_us + self.backward_us) / self.mujoco_warp_us


def _time_us(run: Callable[[], None], prepare: Callable[[], None], device, repeat: int) -> float:
  times = []
  for _ in range(repeat + 2):
    prepare()
    wp.synchronize_device(device)
    start = time.perf_counter()
    run()
    wp.synchronize_device(device)
    times.append((time.perf_counter() - start) * 1e6 / NSTEP)
  return statistics.median(times[2:])


def _transition_fd_us(mjm: mujoco.MjModel, qpos: np.ndarray, qvel: np.ndarray) -> float:
  """The Jacobians of C MuJoCo's step at some states, per state."""
  mjd, n = mujoco.MjData(mjm), 2 * mjm.nv + mjm.na
  a, b = np.zeros((n, n)), np.zeros((n, mjm.nu))
  times = []
  for state in zip(qpos, qvel):
    mjd.qpos[:], mjd.qvel[:] = state
    mujoco.mj_forward(mjm, mjd)
    start = time.perf_counter()
    mujoco.mjd_transitionFD(mjm, mjd, 1e-6, True, a, b, None, None)
    times.append((time.perf_counter() - start) * 1e6)
  return statistics.median(times)


def measure(
  name: str, case: Case, mjm: mujoco.MjModel, nworld: int, device, repeat: int, seed: int
) -> Measurement:
  """Measures one case.

  Args:
    name: name of the case.
    case: the case.
    mjm: its model.
    nworld: number of worlds.
    device: Warp device.
    repeat: batches of `NSTEP` steps to time; the median counts.
    seed: seed of the controls.

  Raises:
    CapacityError, NonFiniteState: the case does not fit or diverges.
  """
  start = time.perf_counter()
  sim = Simulator(mjm, nworld, device, nconmax=case.nconmax, njmax=case.njmax)
  program = sim.program({}, NSTEP, applied=())
  data = program.data
  rng = np.random.default_rng(seed)
  ones_q = wp.ones((nworld, sim.nq), dtype=float, device=sim.device)
  ones_v = wp.ones((nworld, sim.nv), dtype=float, device=sim.device)
  ones_a = wp.ones((nworld, sim.na), dtype=float, device=sim.device)
  program.forward(record=True)
  program.backward(ones_q, ones_v, ones_a)
  wp.synchronize_device(sim.device)
  first_use = time.perf_counter() - start

  for _ in range(case.settle // NSTEP + 1):
    program.forward(record=False)
  data.ctrl.assign((0.1 * rng.standard_normal((nworld, sim.nu))).astype(np.float32))
  sim.check()
  saved = {field: wp.clone(getattr(data, field)) for field in INPUTS}
  nefc = float(data.nefc.numpy().mean())
  some = [array.numpy()[:NSTEP].astype(np.float64) for array in (data.qpos, data.qvel)]

  def restore() -> None:
    for field, value in saved.items():
      wp.copy(getattr(data, field), value)

  graph = graphs.capture(
    lambda: adapter.step(program.model, data), sim.device, [getattr(data, name) for name in INPUTS]
  )

  def engine() -> None:
    for _ in range(NSTEP):
      wp.capture_launch(graph)

  def record() -> None:
    restore()
    program.forward(record=True)

  engine_us = _time_us(engine, restore, sim.device, repeat)
  forward_us = _time_us(lambda: program.forward(record=True), restore, sim.device, repeat)

  def backward() -> None:
    program.backward(ones_q, ones_v, ones_a)

  backward_us = _time_us(backward, record, sim.device, repeat)
  sim.check()
  return Measurement(
    case=name,
    nworld=nworld,
    nv=sim.nv,
    nefc=nefc,
    mujoco_warp_us=engine_us,
    forward_us=forward_us,
    backward_us=backward_us,
    differences_us=engine_us * 2 * (2 * sim.nv + sim.na + sim.nu),
    transition_fd_us=_transition_fd_us(mjm, *some),
    bytes_per_step=4.0 * (sim.nq + 3 * sim.nv + sim.na),
    first_use_s=first_use,
  )
