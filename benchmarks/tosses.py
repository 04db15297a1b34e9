"""Gradients through tosses of one second against chains of C MuJoCo's one-step Jacobians.

Bodies of every shape tossed on a plane and on each other, see tests/contact/tosses.py. Writes
docs/tosses.json and the table in docs/contacts.md; takes minutes a scene. Run from a clone with the
test extra:

    python -m benchmarks.tosses
    python -m benchmarks.tosses --only "cube on mesh" --json part.json
    python -m benchmarks.tosses --merge part.json                # measures nothing
"""

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
import warp as wp

from benchmarks import pages
from mjgrad.bench.command import environment
from tests.contact import tosses

COUNT = 4
STEPS = round(1.0 / tosses.TIMESTEP)
MEDIAN = 1e-3
WORST = 1e-2
RESULTS = Path("docs/tosses.json")
PAGE = Path("docs/contacts.md")


def measure(name: str, count: int, steps: int) -> list[dict]:
  """Every toss of a scene: plain types only."""
  return [
    {key: _rounded(value) for key, value in dataclasses.asdict(toss).items()}
    for toss in tosses.compare(name, count, steps)
  ]


def _rounded(value: float) -> float:
  return value if isinstance(value, int) else float(f"{value:.2g}")


def passed(rows: list[dict]) -> bool:
  """Whether the tosses of a scene are within the bars."""
  errors = np.array([max(row["qpos"], row["qvel"]) for row in rows])
  return bool(np.median(errors) <= MEDIAN and errors.max() <= WORST)


def page(report: dict) -> str:
  """The table of the page."""
  header = ("scene", "tosses", "`qpos`", "`qvel`", "growth", "in contact", "switching", "differing")
  lines = []
  for name in tosses.TOSSES:
    rows = report["tosses"].get(name)
    if rows:
      errors = [
        f"{np.median([row[c] for row in rows]):.0e}, {max(row[c] for row in rows):.0e}"
        for c in ("qpos", "qvel")
      ]
      growth = max(row["growth"] for row in rows)
      counts = [sum(row[c] for row in rows) for c in ("touching", "switching", "differing")]
      lines.append((name, len(rows), *errors, f"{growth:.0e}", *counts))
  return pages.table(header, lines)


def write(report: dict, path: Path) -> None:
  """Writes the results, one scene to a line."""
  report["tosses"] = {n: report["tosses"][n] for n in tosses.TOSSES if n in report["tosses"]}
  head = json.dumps({name: value for name, value in report.items() if name != "tosses"})
  rows = ",\n".join(f"  {json.dumps(n)}: {json.dumps(r)}" for n, r in report["tosses"].items())
  path.write_text(f'{head[:-1]}, "tosses": {{\n{rows}\n}}}}\n')


def main() -> int:
  """Measures and writes; exit code 1 if a scene that was measured is not within the bars."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--count", type=int, default=COUNT, help="tosses of a scene")
  parser.add_argument("--steps", type=int, default=STEPS)
  parser.add_argument("--only", nargs="+", default=tosses.TOSSES, metavar="SCENE")
  parser.add_argument(
    "--json", type=Path, default=RESULTS, help="the page is written for docs only"
  )
  parser.add_argument("--merge", type=Path, nargs="+", metavar="FILE", help="of earlier runs")
  parser.add_argument("--page", action="store_true", help="only write the table again")
  args = parser.parse_args()
  wp.config.log_level = wp.LOG_WARNING
  torch.set_num_threads(1)
  report = json.loads(args.json.read_text()) if args.json.exists() else {"tosses": {}}
  failed = False
  for path in args.merge or ():
    part = json.loads(path.read_text())
    report = part | {"tosses": report["tosses"] | part["tosses"]}
  for name in () if args.page or args.merge else args.only:
    rows = measure(name, args.count, args.steps)
    report |= {"environment": environment(wp.get_device("cpu"))}
    report["tosses"][name] = rows
    failed |= not passed(rows)
    print(f"{name:<24}{'pass' if passed(rows) else 'FAIL'}")
    for row in rows:
      print("  " + ", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    write(report, args.json)
  write(report, args.json)
  if args.json == RESULTS:
    pages.replace(PAGE, "tosses", page(report))
  return int(failed)


if __name__ == "__main__":
  raise SystemExit(main())
