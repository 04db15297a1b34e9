"""One-step gradients of two touching geoms in random poses against C MuJoCo, pair by pair.

States at a switching point, those at which the engine's forward step differs from that of C MuJoCo
with refined contacts, and those at which the backward pass raises, are counted and not compared.
Writes docs/contact_pairs.json and the table in docs/contacts.md. Run from a clone with the test
extra:

    python -m benchmarks.contact_pairs
    python -m benchmarks.contact_pairs --pairs box-mesh sphere-box   # the others stay
    python -m benchmarks.contact_pairs --pairs box-mesh --json part.json
    python -m benchmarks.contact_pairs --merge part.json             # measures nothing
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import mujoco
import numpy as np
import warp as wp

from benchmarks import pages
from mjgrad._src.check.report import CheckResult
from mjgrad._src.check.runner import differentiable
from mjgrad._src.check.runner import run_check
from mjgrad._src.contact.geometry import ROUND_PAIRS
from mjgrad._src.contact.solid import SOLID_PAIRS
from mjgrad.bench.command import environment
from tests.contact import pairs

STATES = 320
SEED = 0
MEDIAN = 1e-3
HIGH = 1e-2
PARAMETERS = ("geom_size", "geom_pos", "geom_quat", "geom_friction", "geom_margin")
RESULTS = Path("docs/contact_pairs.json")
PAGE = Path("docs/contacts.md")

_NAMES = [mujoco.mjtGeom(t).name.removeprefix("mjGEOM_").lower() for t in range(8)]
PAIRS = tuple(f"{_NAMES[a]}-{_NAMES[b]}" for a, b in sorted(ROUND_PAIRS | SOLID_PAIRS))


def measure(pair: str, states: int, seed: int) -> dict:
  """The errors of one pair: plain types only."""
  kinds = pair.split("-")
  mjm = pairs.scene(*kinds, ccd_tolerance=1e-8, ccd_iterations=100)
  known = differentiable(mjm)
  drawn = pairs.touching_states(mjm, states, seed)
  raised = pairs.raising(mjm, drawn)
  result = run_check(
    mjm,
    states=[state for s, state in enumerate(drawn) if s not in raised],
    params=[name for name in PARAMETERS if name in known],
    device="cpu",
  )
  return summary(result, len(raised))


def summary(result: CheckResult, raised: int) -> dict:
  """What the table needs of a check; states are numbered without those that raised."""
  differing = sorted(set(result.differing) - set(result.reframed))
  channels = {}
  for c in result.channels:
    errors = [c.errors[s] for s in c.measured]
    if errors and c.zero < len(result.states):
      channels[c.channel] = {
        "median": _rounded(np.median(errors)),
        "high": _rounded(np.quantile(errors, 0.95)),
        "worst": _rounded(max(errors)),
        "worst_state": c.worst_state,
        "compared": len(errors),
        "entries_at_a_kink": c.kinks,
      }
  compared = set.intersection(*(set(c.measured) for c in result.channels[:2]))
  return {
    "states": len(result.states) + raised,
    "raising": raised,
    "compared": len(compared),
    "contacts": dict(sorted(Counter(str(s.ncon) for s in result.states).items())),
    "switching": list(result.switching),
    "switches": dict(result.switches),
    "differing": differing,
    "channels": channels,
  }


def _rounded(value: float) -> float:
  return float(f"{value:.2g}")


def passed(row: dict) -> bool:
  """Whether all channels of a pair are within the bars."""
  return all(c["median"] <= MEDIAN and c["high"] <= HIGH for c in row["channels"].values())


def page(report: dict) -> str:
  """The table of the page."""
  header = ("pair", *(f"`{name}`" for name in ("qpos", "qvel", *PARAMETERS)))
  rows = []
  for pair in PAIRS:
    row = report["pairs"].get(pair)
    if row is None:
      continue
    entries = [
      f"{row['channels'][name]['median']:.0e}, {row['channels'][name]['high']:.0e}"
      if name in row["channels"]
      else ""
      for name in ("qpos", "qvel", *PARAMETERS)
    ]
    counts = len(row["switching"]), len(row["differing"]), row["raising"]
    rows.append((pair, *entries, row["compared"], *counts))
  reasons: Counter[str] = Counter()
  for row in report["pairs"].values():
    for what, count in row["switches"].items():
      reasons["".join(ch for ch in what if not ch.isdigit()).replace("  ", " ").strip()] += count
  listed = "; ".join(f"{what}, {count}" for what, count in reasons.most_common())
  table = pages.table((*header, "compared", "switching", "differing", "raising"), rows)
  return f"{table}\n\nSwitching points: {listed or 'none'}."


def write(report: dict, path: Path) -> None:
  """Writes the results, one pair to a line."""
  report["pairs"] = {p: report["pairs"][p] for p in PAIRS if p in report["pairs"]}
  head = json.dumps({name: value for name, value in report.items() if name != "pairs"})
  rows = ",\n".join(f"  {json.dumps(p)}: {json.dumps(row)}" for p, row in report["pairs"].items())
  path.write_text(f'{head[:-1]}, "pairs": {{\n{rows}\n}}}}\n')


def main() -> int:
  """Measures and writes; exit code 1 if a pair that was measured is not within the bars."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--states", type=int, default=STATES)
  parser.add_argument("--seed", type=int, default=SEED)
  parser.add_argument("--pairs", nargs="+", default=PAIRS, metavar="PAIR", help="all by default")
  parser.add_argument(
    "--json", type=Path, default=RESULTS, help="the page is written for docs only"
  )
  parser.add_argument("--merge", type=Path, nargs="+", metavar="FILE", help="of earlier runs")
  parser.add_argument("--page", action="store_true", help="only write the table again")
  args = parser.parse_args()
  wp.config.log_level = wp.LOG_WARNING
  report = json.loads(args.json.read_text()) if args.json.exists() else {"pairs": {}}
  failed = False
  for path in args.merge or ():
    part = json.loads(path.read_text())
    report = part | {"pairs": report["pairs"] | part["pairs"]}
  for pair in () if args.page or args.merge else args.pairs:
    row = measure(pair, args.states, args.seed)
    report |= {"environment": environment(wp.get_device("cpu")), "seed": args.seed}
    report["pairs"][pair] = row
    failed |= not passed(row)
    counts = ", ".join(f"{len(row[name])} {name}" for name in ("switching", "differing"))
    counts += f", {row['raising']} raising"
    print(f"{pair:<22}{'pass' if passed(row) else 'FAIL'}  {row['compared']} compared, {counts}")
    for name, c in row["channels"].items():
      print(f"  {name:<20}{c['median']:>9.1e}{c['high']:>9.1e}{c['worst']:>9.1e}", flush=True)
    write(report, args.json)
  write(report, args.json)
  if args.json == RESULTS:
    pages.replace(PAGE, "contact pairs", page(report))
  return int(failed)


if __name__ == "__main__":
  raise SystemExit(main())
