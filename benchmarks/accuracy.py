"""One-step gradients of cart-pole, ant and humanoid against float64 C MuJoCo, in one table.

Every model with both cones and three ways to integrate, on sampled states: settled, sliding, at
limits, in self-contact. Run from a clone with the test extra installed:

    python -m benchmarks.accuracy --states 32 --json accuracy.json
"""

import argparse
import itertools
import json
from pathlib import Path

import warp as wp

from mjgrad._src.check.runner import PARAMETERS
from mjgrad._src.check.runner import run_check
from mjgrad.bench.command import environment
from tests import models

MODELS = {"cartpole": models.cartpole, "ant": models.ant, "humanoid": models.humanoid}
STATE_CHANNELS = ("qpos", "qvel", "ctrl", "qfrc_applied", "xfrc_applied")


def main() -> int:
  """Prints the table; exit code 0 if every channel of every case passes."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--states", type=int, default=32)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
  parser.add_argument("--json", type=Path)
  args = parser.parse_args()
  wp.config.log_level = wp.LOG_WARNING

  report = {"environment": environment(wp.get_device("cpu")), "states": args.states, "cases": {}}
  print(f"{'case':<36}{'channel':<20}{'median':>9}{'worst':>9}{'compared':>9}{'switching':>10}")
  passed = True
  for name, cone, integrator in itertools.product(args.models, models.CONES, models.INTEGRATORS):
    mjm = models.distinct_friction(models.variant(MODELS[name](), cone=cone, integrator=integrator))
    result = run_check(
      mjm, nstates=args.states, seed=args.seed, params=PARAMETERS, device=wp.get_device("cpu")
    )
    case = f"{name} {cone} {integrator}"
    report["cases"][case] = result.to_dict()
    passed &= result.passed
    for channel in result.channels:
      print(
        f"{case:<36}{channel.channel:<20}{channel.median:>9.1e}{channel.worst:>9.1e}"
        f"{len(channel.compared):>9}{len(channel.switching):>10}  {channel.verdict}",
        flush=True,
      )
  if args.json:
    args.json.write_text(json.dumps(report, indent=2) + "\n")
  return 0 if passed else 1


if __name__ == "__main__":
  raise SystemExit(main())
