"""Sixteen-step gradients of ant and humanoid against chains of float64 Jacobians, in one table.

The oracle is linearised at the states that the engine visited; worlds whose chain meets a switching
point are left out and counted. Run from a clone with the test extra installed:

    python -m benchmarks.chains --worlds 12
"""

import argparse

import numpy as np
import torch
import warp as wp

import mjgrad
from tests import models
from tests import test_chain

MODELS = {"cartpole": models.cartpole, "ant": models.ant, "humanoid": models.humanoid}
BAR = test_chain.SIXTEEN_STEPS


def main() -> int:
  """Prints the table; exit code 0 if every median is within the bar."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--worlds", type=int, default=12)
  args = parser.parse_args()
  wp.config.log_level = wp.LOG_WARNING
  torch.set_num_threads(1)

  print(f"{'case':<34}{'qpos':>9}{'qvel':>9}{'ctrl':>9}{'worst':>9}{'compared':>9}")
  passed = True
  for name, make in MODELS.items():
    for cone in models.CONES:
      mjm = models.variant(make(), cone=cone, integrator="euler")
      if name == "cartpole":
        points = [s.point for s in test_chain.oracles.sample_states(mjm, args.worlds)]
      else:
        points = test_chain.start(mjm, args.worlds)
      sim = mjgrad.Simulator(mjm, args.worlds, "cpu", nconmax=64, njmax=256)
      generator = torch.Generator().manual_seed(1)
      ctrls = 0.5 * torch.randn(1, args.worlds, mjm.nu, generator=generator)
      errors = test_chain.errors_of(mjm, sim, points, ctrls)
      median = np.median(errors, axis=0)
      passed &= bool((median <= BAR).all())
      case = f"{name} {cone}"
      print(
        f"{case:<34}{median[0]:>9.1e}{median[1]:>9.1e}{median[2]:>9.1e}{errors.max():>9.1e}"
        f"{len(errors):>9}",
        flush=True,
      )
  return 0 if passed else 1


if __name__ == "__main__":
  raise SystemExit(main())
