"""Error of loss and gradient against run time, for every integrator, on one throw of the cube.

The throw with u0 = -2 of `toss`, forward and backward, in one world. The time is the least of
REPEATS runs of captured graphs: on a CPU, where one thread does the work, that of the processor,
which other processes do not disturb; on a GPU that of the clock. The time of the first run, in a
fresh process with an empty cache of kernels, is measured once. Errors are relative to the
converged trajectory and its central difference.

Source: Paulus et al. (2026), figures 5 and 17.
"""

import dataclasses
import multiprocessing
import tempfile
import time
from pathlib import Path

import mujoco
import numpy as np

from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.integrators import methods
from mjgrad._src.integrators.methods import Discretise
from mjgrad.experiments import toss
from mjgrad.experiments.command import Columns
from mjgrad.experiments.command import Tables
from mjgrad.experiments.command import lines

SHAPE, U0 = "cube", -2.0
ADAPTIVE = {
  methods.Tsit5: (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8),
  methods.Dopri5: (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8),
  methods.Bosh3: (1e-3, 1e-4, 1e-5, 1e-6, 1e-7),
  methods.Heun: (1e-2, 1e-3, 1e-4, 1e-5),
}
"""Methods with steps of their own, and their tolerances."""
FIXED = {methods.RK4: (1e-2, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4)}
"""Methods with steps of one size in float64, and those steps [s]."""
MUJOCO = {
  "Euler": (1e-2, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4),
  "implicitfast": (1e-2, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4),
  "RK4": (1e-2, 5e-3, 2e-3, 1e-3, 5e-4),
}
"""MuJoCo's integrators, in the engine's float32, and their steps [s]."""
REPEATS = 3
BUDGET = 100_000


@dataclasses.dataclass(frozen=True)
class Case:
  """An integrator at one tolerance or step."""

  name: str
  setting: float
  simulator: Simulator


def cases(device: str | None = None):
  """Every integrator at every setting, the coarsest of each first."""
  for method, tolerances in ADAPTIVE.items():
    for tolerance in tolerances:
      yield Case(method.__name__, tolerance, adaptive(method, tolerance, device))
  for method, steps in FIXED.items():
    for step in steps:
      integrator = method(step=step, max_steps=BUDGET)
      yield Case(f"{method.__name__}, float64", step, _simulator(integrator, device))
  for name, steps in MUJOCO.items():
    for step in steps:
      mjm = toss.model(SHAPE, step)
      mjm.opt.integrator = mujoco.mjtIntegrator.__members__["mjINT_" + name.upper()]
      yield Case(f"MuJoCo's {name}", step, Simulator(mjm, 1, device))


def adaptive(method, tolerance: float, device: str | None = None) -> Simulator:
  """The throw with a method at a tolerance."""
  settings = {"rtol": tolerance, "atol": tolerance, "max_step": toss.LONGEST, "max_steps": BUDGET}
  return _simulator(method(**settings), device)


def _simulator(integrator, device: str | None) -> Simulator:
  mjm = toss.model(SHAPE, toss.CONTROL)
  return Simulator(mjm, 1, device, integrator=integrator, adjoint=Discretise(checkpoints=512))


def differentiate(sim: Simulator) -> tuple[float, float]:
  """Loss and gradient."""
  import torch

  where = "cuda" if sim.device.is_cuda else "cpu"
  u0 = torch.tensor([U0], device=where, requires_grad=True)
  value = toss.loss(sim, u0)
  value.sum().backward()
  assert u0.grad is not None
  return value.item(), u0.grad.item()


def _timed(sim: Simulator) -> float:
  """Time of one run [s]."""
  clock = time.perf_counter if sim.device.is_cuda else time.process_time
  start = clock()
  differentiate(sim)
  return clock() - start


def measure(case: Case, truth: tuple[float, float]) -> dict[str, object]:
  """A row of the table."""
  loss, gradient = differentiate(case.simulator)
  return {
    "method": case.name,
    "setting": case.setting,
    "run_time": min(_timed(case.simulator) for _ in range(REPEATS)),
    "loss": loss,
    "gradient": gradient,
    "loss_error": abs(loss / truth[0] - 1.0),
    "grad_error": abs(gradient / truth[1] - 1.0),
  }


def _first_use(folder: str, device: str | None) -> tuple[float, float]:
  import warp as wp

  wp.config.kernel_cache_dir = folder
  wp.config.log_level = wp.LOG_ERROR
  wall, cpu = time.perf_counter(), time.process_time()
  differentiate(adaptive(methods.Tsit5, 1e-6, device))
  return time.perf_counter() - wall, time.process_time() - cpu


def first_use(device: str | None = None) -> Columns:
  """Time of the first run with `Tsit5` in a new process that has to compile every kernel [s]."""
  with tempfile.TemporaryDirectory() as folder:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
      wall, cpu = pool.apply(_first_use, (folder, device))
  return {"wall": np.array([wall]), "cpu": np.array([cpu])}


def run(count: int = 0, device: str | None = None) -> Tables:
  """Errors and times of every integrator; the number of values is that of the settings."""
  truth = toss.truth(SHAPE, np.array([U0]))
  target = float(truth["loss_true"][0]), float(truth["grad_true"][0])
  rows = [measure(case, target) for case in cases(device)]
  return {
    "pareto": {name: np.array([row[name] for row in rows]) for name in rows[0]},
    "pareto_first_use": first_use(device),
  }


def summary(tables: Tables) -> list[str]:
  """What the experiment shows, with its numbers."""
  table, first = tables["pareto"], tables["pareto_first_use"]
  compiled = f"{first['wall'][0]:.0f} s, {first['cpu'][0]:.0f} s of the processor"
  found = [("first run, all kernels compiled", compiled)]
  for name in dict.fromkeys(table["method"].tolist()):
    mine = np.flatnonzero(table["method"] == name)
    best = mine[np.argmin(table["grad_error"][mine])]
    found.append(
      (
        f"{name}, best at {table['setting'][best]:g}",
        f"gradient {table['grad_error'][best]:.1e}, loss {table['loss_error'][best]:.1e}, "
        f"{1e3 * table['run_time'][best]:.0f} ms",
      )
    )
  return lines(found)


def draw(tables: Tables, path: Path) -> None:
  """Errors of loss and gradient over run time, one curve for each integrator."""
  from matplotlib.figure import Figure

  table = tables["pareto"]
  figure = Figure(figsize=(11, 4.5), layout="constrained")
  for axes, name in zip(figure.subplots(1, 2), ("loss", "grad"), strict=True):
    for method in dict.fromkeys(table["method"].tolist()):
      mine = table["method"] == method
      style = "--" if "MuJoCo" in method else "-"
      axes.loglog(
        table["run_time"][mine], table[f"{name}_error"][mine], f"{style}o", ms=4, label=method
      )
    title = {"loss": "loss", "grad": "gradient"}[name]
    axes.set(xlabel="forward and backward pass [s]", ylabel=f"relative error of the {title}")
    axes.grid(alpha=0.3)
  axes.legend(fontsize=8)
  figure.savefig(path, dpi=120)
