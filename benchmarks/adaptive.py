"""Time of adaptive steps: thrown cubes, one for each world, forward and backward.

A second of the cube of `mjgrad experiment toss` with velocities from -3 to -1 m/s. The table on
docs/performance.md has one row for each number of worlds. Run from a clone:

    python -m benchmarks.adaptive --worlds 1 4096 --device cuda:0
"""

import argparse
import time

import numpy as np
import torch
import warp as wp

import mjgrad
from mjgrad.experiments import toss

REPEATS = 3
CHECKPOINTS = 512


def measure(nworld: int, tolerance: float, device: str) -> str:
  """A row of the table."""
  method = mjgrad.Dopri5(
    rtol=tolerance, atol=tolerance, max_step=toss.LONGEST, max_steps=toss.METHOD.max_steps
  )
  sim = mjgrad.Simulator(
    toss.model("cube", toss.CONTROL),
    nworld,
    device,
    integrator=method,
    adjoint=mjgrad.Discretise(checkpoints=CHECKPOINTS),
    njmax=64,
    nconmax=8,
  )
  u0 = torch.linspace(-2.0, -1.0, nworld, device=device)
  if nworld > 1:
    u0 = torch.linspace(*toss.RANGE, nworld, device=device)
  u0.requires_grad_()
  times = []
  for _ in range(REPEATS + 1):
    start = time.perf_counter()
    value = toss.loss(sim, u0)
    wp.synchronize()
    middle = time.perf_counter()
    torch.autograd.grad(value.sum(), u0)
    wp.synchronize()
    times.append((middle - start, time.perf_counter() - middle))
  forward, backward = np.min(times[1:], axis=0)
  stats = sim.stats
  attempts = (stats.accepted + stats.rejected).max()
  each = 1e6 * (forward + backward) / stats.accepted.sum()
  cells = [
    f"{nworld}",
    f"{tolerance:g}",
    f"{stats.accepted.mean():.0f} ({stats.accepted.max()})",
    f"{stats.rejected.mean():.0f}",
    f"{1e3 * forward:.0f}",
    f"{1e3 * backward:.0f}",
    f"{1e6 * forward / attempts:.0f}",
    f"{1e6 * backward / stats.accepted.max():.0f}",
    f"{each:.2f}",
  ]
  return "| " + " | ".join(cells) + " |"


def main() -> None:
  """Prints the rows."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--worlds", type=int, nargs="+", default=[1, 64])
  parser.add_argument("--tolerance", type=float, nargs="+", default=[1e-5])
  parser.add_argument("--device", default="cpu")
  options = parser.parse_args()
  wp.config.log_level = wp.LOG_ERROR
  for nworld in options.worlds:
    for tolerance in options.tolerance:
      print(measure(nworld, tolerance, options.device), flush=True)


if __name__ == "__main__":
  main()
