"""One-step gradients of two touching geoms in random poses against C MuJoCo, pair by pair.

States at a switching point, and those at which the engine's forward step differs from that of C
MuJoCo with refined contacts, are counted and not compared. Run from a clone with the test extra:

    python -m benchmarks.contact_pairs --states 200
"""

import argparse
import json
from pathlib import Path

import mujoco
import numpy as np
import warp as wp

from mjgrad._src.check.runner import run_check
from mjgrad._src.contact.geometry import ROUND_PAIRS
from mjgrad._src.contact.solid import SOLID_PAIRS
from mjgrad.bench.command import environment
from tests.contact import pairs

CHANNELS = ("qpos", "qvel", "geom_size", "geom_friction")


def main() -> int:
  """Prints the table; exit code 0 if every channel of every pair is within the bars."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--states", type=int, default=200)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--pairs", nargs="+", help="for example box-mesh; all by default")
  parser.add_argument("--ccd-tolerance", type=float, default=1e-8)
  parser.add_argument("--ccd-iterations", type=int, default=100)
  parser.add_argument("--json", type=Path)
  args = parser.parse_args()
  wp.config.log_level = wp.LOG_WARNING

  names = [mujoco.mjtGeom(t).name.removeprefix("mjGEOM_").lower() for t in range(8)]
  chosen = args.pairs or ["-".join(names[t] for t in p) for p in sorted(ROUND_PAIRS | SOLID_PAIRS)]
  device = wp.get_device("cpu")
  report = {"environment": environment(device), "states": args.states, "pairs": {}}
  header = ("pair", "channel", "median", "95 %", "compared", "switching", "differing")
  print("".join(f"{name:>11}" if i > 1 else f"{name:<22}" for i, name in enumerate(header)))
  passed = True
  for pair in chosen:
    mjm = pairs.scene(
      *pair.split("-"), ccd_tolerance=args.ccd_tolerance, ccd_iterations=args.ccd_iterations
    )
    states = pairs.touching_states(mjm, args.states, seed=args.seed)
    result = run_check(mjm, states=states, params=CHANNELS[2:], device=device)
    report["pairs"][pair] = result.to_dict()
    for name in CHANNELS:
      channel = result.channel(name)
      errors = [channel.errors[s] for s in channel.compared]
      median, high = (np.median(errors), np.quantile(errors, 0.95)) if errors else (np.nan,) * 2
      passed &= bool(median <= 1e-3 and high <= 1e-2)
      counts = (len(channel.compared), len(channel.switching), len(result.differing))
      print(
        f"{pair:<22}{name:<22}{median:>11.1e}{high:>11.1e}"
        + "".join(f"{count:>11}" for count in counts),
        flush=True,
      )
  if args.json:
    args.json.write_text(json.dumps(report, indent=2) + "\n")
  return 0 if passed else 1


if __name__ == "__main__":
  raise SystemExit(main())
