"""Balls fall from different heights in one batch: every world has step sizes of its own.

Twenty balls hit the ground at twenty times. Where one is in contact its steps are short, and those
of the others are what they would be without it: the sequence of steps of every world equals that of
the same world simulated alone.

Source: Paulus et al. (2026), figure 20.
"""

from pathlib import Path

import mujoco
import numpy as np

from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.integrators.methods import Tsit5
from mjgrad.experiments.command import Columns
from mjgrad.experiments.command import Tables
from mjgrad.experiments.command import lines
from mjgrad.experiments.toss import CONTROL
from mjgrad.experiments.toss import model

WORLDS = 20
HEIGHTS = (0.1, 0.3)
SPEED, DURATION = -1.0, 1.0
METHOD = Tsit5(rtol=1e-5, atol=1e-5, max_steps=100_000)


def step_sizes(mjm: mujoco.MjModel, heights: np.ndarray, device: str | None) -> list[np.ndarray]:
  """Sizes of the steps of every world [s]."""
  import dataclasses

  import torch

  import mjgrad.torch as mgt

  sim = Simulator(mjm, len(heights), device, integrator=METHOD)
  state = mgt.initial_state(sim)
  qpos, qvel = state.qpos.clone(), state.qvel.clone()
  qpos[:, 2] = torch.tensor(heights, dtype=qpos.dtype)
  qvel[:, 2] = SPEED
  state = dataclasses.replace(state, qpos=qpos, qvel=qvel)
  mgt.step(sim, state, nstep=round(DURATION / CONTROL))
  stats = sim.stats
  return [sizes[:n] for sizes, n in zip(stats.step_size.T, stats.accepted, strict=True)]


def run(count: int = WORLDS, device: str | None = None) -> Tables:
  """The steps of all worlds together, and how many each of them takes alone."""
  count = min(count, WORLDS)
  heights = np.linspace(*HEIGHTS, count).astype(np.float32)
  mjm = model("ball", CONTROL)
  together = step_sizes(mjm, heights, device)
  alone = [step_sizes(mjm, heights[i : i + 1], device)[0] for i in range(count)]
  steps = {
    "world": np.concatenate([np.full(len(h), i) for i, h in enumerate(together)]),
    "time": np.concatenate([np.cumsum(h) - h for h in together]),
    "step_size": np.concatenate(together),
  }
  worlds = {
    "world": np.arange(count),
    "height": heights,
    "steps": np.array([len(h) for h in together]),
    "steps_alone": np.array([len(h) for h in alone]),
    "largest_difference": np.array(
      [
        np.abs(a - b).max() if len(a) == len(b) else np.inf
        for a, b in zip(together, alone, strict=True)
      ]
    ),
  }
  return {"parallel": steps, "parallel_worlds": worlds}


def shared_steps(steps: Columns) -> int:
  """Steps that a batch would need in which all worlds take the shortest step of any."""
  ends = steps["time"] + steps["step_size"]
  time, taken = 0.0, 0
  while time < DURATION - 1e-9:
    current = (steps["time"] <= time + 1e-12) & (ends > time + 1e-12)
    time += steps["step_size"][current].min()
    taken += 1
  return taken


def summary(tables: Tables) -> list[str]:
  """What the experiment shows, with its numbers."""
  worlds = tables["parallel_worlds"]
  return lines(
    [
      ("steps of each world", f"{worlds['steps'].min()} to {worlds['steps'].max()}"),
      ("with the shortest step of all worlds", f"{shared_steps(tables['parallel'])}"),
      ("largest difference to steps alone", f"{worlds['largest_difference'].max():.1e} s"),
    ]
  )


def draw(tables: Tables, path: Path) -> None:
  """Step sizes of every world over time, one colour for each height."""
  import matplotlib
  from matplotlib.figure import Figure

  steps, worlds = tables["parallel"], tables["parallel_worlds"]
  figure = Figure(figsize=(8, 4), layout="constrained")
  axes = figure.subplots()
  colors = matplotlib.colormaps["viridis"](np.linspace(0.0, 1.0, len(worlds["world"])))
  for i in worlds["world"]:
    mine = steps["world"] == i
    axes.step(steps["time"][mine], steps["step_size"][mine], where="post", color=colors[i], lw=0.8)
  axes.set(yscale="log", xlabel="time [s]", ylabel="step [s]")
  axes.set(title=f"balls from {HEIGHTS[0]} m (dark) to {HEIGHTS[1]} m (bright)")
  axes.grid(alpha=0.3)
  figure.savefig(path, dpi=120)
