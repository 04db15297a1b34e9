"""Gradients of random mechanisms against float64 C MuJoCo: the search for silent wrong gradients.

Every channel of every model, all parameters included, has to be within 1e-2 of the oracle at every
state that is compared; or the model is refused with `UnsupportedFeature`; or the states are at a
switching point, which is named. Run from a clone with the test extra installed:

    python -m benchmarks.random_models --count 500 --json random_models.json
    python -m benchmarks.random_models --count 100 --json discrete.json --integrator discrete

An interrupted run continues with the JSON file that it left.
"""

import argparse
import json
import warnings
from collections import Counter
from pathlib import Path

import mujoco
import warp as wp

from mjgrad._src.check.runner import run_check
from mjgrad._src.errors import InvalidInput
from mjgrad._src.errors import NonFiniteState
from mjgrad._src.errors import UnsupportedFeature
from tests.random_mechanisms import random_mechanism

BAR = 1e-2
STATES = 4
ENTRIES = 12

PASS, REFUSED, WRONG = "pass", "refused", "WRONG"
SWITCHING, DIFFERS, UNSTABLE = "switching point", "engine differs", "unstable"
INVALID, NOT_FINITE = "not a model", "engine not finite"


def check(seed: int, integrator: str | None = None) -> dict:
  """What becomes of one seed, with its own integrator or another: plain types only."""
  try:
    mjm = random_mechanism(seed)
    if integrator:
      mjm.opt.integrator = getattr(mujoco.mjtIntegrator, f"mjINT_{integrator.upper()}")
  except ValueError as error:
    return {"verdict": INVALID, "because": [str(error).splitlines()[0]]}
  try:
    result = run_check(mjm, nstates=STATES, seed=seed, device="cpu", entries=ENTRIES)
  except UnsupportedFeature as error:
    lines = [line.strip() for line in str(error).splitlines()[1:]]
    return {"verdict": REFUSED, "because": sorted({line.split(": ", 1)[-1] for line in lines})}
  except NonFiniteState as error:
    return {"verdict": NOT_FINITE, "because": [str(error)]}
  except InvalidInput as error:  # MuJoCo itself does not stay finite
    return {"verdict": UNSTABLE, "because": [str(error)]}
  wrong = {
    c.channel: f"{c.worst:.1e} at state {c.worst_state}"
    for c in result.channels
    if c.compared and not c.worst <= BAR
  }
  compared = max(len(c.compared) for c in result.channels)
  left_out = len(set(result.differing) - set(result.reframed))
  unresolved = [c.channel for c in result.channels if c.unresolved]
  verdict = PASS
  if wrong:
    verdict = WRONG
  elif compared == 0:
    verdict = DIFFERS if left_out else SWITCHING
  return {
    "verdict": verdict,
    "because": [f"{name} {error}" for name, error in wrong.items()],
    "nv": mjm.nv,
    "compared": compared,
    "switching": len(result.switching),
    "switches": list(result.switches),
    "differing": left_out,
    "unresolved": unresolved,
    "worst": float(f"{max((c.worst for c in result.channels if c.compared), default=0.0):.2g}"),
  }


def main() -> int:
  """Prints every seed and the counts; exit code 1 if a gradient is wrong."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--count", type=int, default=500)
  parser.add_argument("--first", type=int, default=0)
  parser.add_argument("--integrator", help="in place of those of the models, such as discrete")
  parser.add_argument("--again", nargs="+", default=[], help="verdicts to compute anew")
  parser.add_argument("--json", type=Path, required=True, help="results, read and written")
  args = parser.parse_args()
  wp.config.log_level = wp.LOG_WARNING
  warnings.simplefilter("ignore")  # of states that MuJoCo explodes from

  rows = json.loads(args.json.read_text()) if args.json.exists() else {}
  for seed in range(args.first, args.first + args.count):
    if str(seed) in rows and rows[str(seed)]["verdict"] not in args.again:
      continue
    row = check(seed, args.integrator)
    rows[str(seed)] = row
    lines = ",\n".join(f"  {json.dumps(s)}: {json.dumps(r)}" for s, r in rows.items())
    args.json.write_text(f"{{\n{lines}\n}}\n")
    print(f"{seed:>6} {row['verdict']:<16} {'; '.join(row['because'])[:160]}", flush=True)
  chosen = [rows[str(seed)] for seed in range(args.first, args.first + args.count)]
  counts = Counter(row["verdict"] for row in chosen)
  print(", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))
  compared = sum(row.get("compared", 0) for row in chosen)
  print(
    f"{compared} states compared, {sum(row.get('switching', 0) for row in chosen)} at a switching "
    f"point, {sum(row.get('differing', 0) for row in chosen)} where the engine's step differs"
  )
  wrong = [seed for seed, row in rows.items() if row["verdict"] == WRONG]
  if wrong:
    print(f"wrong: {', '.join(wrong)}")
  return int(bool(wrong))


if __name__ == "__main__":
  raise SystemExit(main())
