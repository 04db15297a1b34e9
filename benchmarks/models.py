"""`mjgrad check` over the models that other packages ship, and the page that reports it.

Run from a clone with the test extra installed and the wheels that `tests/real_models.py` names
unpacked; takes an hour or two on two cores, most of it compiling kernels for every number of
degrees of freedom. Results are kept model by model, so that an interrupted run continues:

    python -m benchmarks.models --wheels wheels/unpacked --json docs/models.json
    python -m benchmarks.models --json docs/models.json --page docs/models.md
"""

import argparse
import importlib.metadata
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import mujoco
import warp as wp

from mjgrad._src.check.oracle import STATE_CHANNELS
from mjgrad._src.check.report import CheckResult
from mjgrad._src.check.runner import run_check
from mjgrad._src.errors import MjgradError
from mjgrad._src.errors import UnsupportedFeature
from tests.real_models import LEFT_OUT
from tests.real_models import MAX_NV
from tests.real_models import WHEELS
from tests.real_models import RealModel
from tests.real_models import real_models

STATES = 12
ENTRIES = 24
ITERATIONS, LS_ITERATIONS = 100, 50  # MuJoCo's defaults

HEAD = """# Models

`mjgrad check` over the models that mujoco-warp, gymnasium, mujoco-mjx, dm_control and myo-sim ship,
as they ship them: {tally}.
This page is generated:

```
python -m benchmarks.models --wheels wheels/unpacked --json docs/models.json
python -m benchmarks.models --json docs/models.json --page docs/models.md
```

{states} states of every model, seed {seed}; of every channel the {entries} entries that matter
most or that the seed draws. *State* is the worst of qpos, qvel, act, ctrl, qfrc_applied and
xfrc_applied, *parameters* the worst of all model parameters with a gradient. *Switching* counts
states that are not compared because they are at a switching point, *differing* those whose forward
step in the engine is not that of C MuJoCo. A verdict is

- **pass**: every channel is within its bars (median 1e-4 for states and 1e-3 for parameters, worst
  1e-2) at half of the states or more;
- **switching point**: fewer than half are compared, because the others are at the switching points
  that the remarks name;
- **engine differs**: likewise, because the forward steps differ;
- **unresolved**: likewise, because rounding to float32 makes as large an error of the truth
  (`check/resolution.py`);
- **refused**: `UnsupportedFeature` names elements without a gradient.
"""

PASS, SWITCHING, DIFFERS, FAIL = "pass", "switching point", "engine differs", "FAIL"
UNRESOLVED = "unresolved"
REFUSED, TOO_LARGE, STATIC, ERROR = "refused", "too large", "static", "not run"


def check(model: RealModel, nstates: int, entries: int, seed: int) -> dict:
  """One row of the table: plain types only."""
  row: dict = {"model": model.name, "note": "", "seconds": 0.0}
  start = time.perf_counter()
  try:
    mjm, row["note"] = model.load()
  except ValueError as error:
    return row | {"verdict": ERROR, "reasons": [str(error).splitlines()[0]]}
  row |= {"nv": mjm.nv, "nu": mjm.nu, "ntendon": mjm.ntendon, "neq": mjm.neq}
  row["integrator"] = mujoco.mjtIntegrator(mjm.opt.integrator).name.removeprefix("mjINT_").lower()
  row["cone"] = mujoco.mjtCone(mjm.opt.cone).name.removeprefix("mjCONE_").lower()
  if mjm.nv == 0:
    return row | {"verdict": STATIC, "reasons": []}
  if mjm.nv > MAX_NV:
    return row | {"verdict": TOO_LARGE, "reasons": [f"nv {mjm.nv} is above {MAX_NV}"]}
  try:
    result = run_check(mjm, nstates=nstates, seed=seed, device="cpu", entries=entries)
    if mjm.opt.iterations < ITERATIONS and summary(result)["verdict"] != PASS:
      row["note"] = f"{ITERATIONS} solver iterations; {mjm.opt.iterations} do not solve it"
      mjm.opt.iterations, mjm.opt.ls_iterations = ITERATIONS, LS_ITERATIONS
      result = run_check(mjm, nstates=nstates, seed=seed, device="cpu", entries=entries)
  except UnsupportedFeature as error:
    return row | {"verdict": REFUSED, "reasons": reasons_of(error)}
  except (MjgradError, NotImplementedError, ValueError, RuntimeError) as error:
    return row | {"verdict": ERROR, "reasons": [f"{type(error).__name__}: {error}"]}
  row["seconds"] = round(time.perf_counter() - start, 1)
  return row | summary(result)


def reasons_of(error: UnsupportedFeature) -> list[str]:
  """The distinct reasons, without the names of elements."""
  lines = [line.strip() for line in str(error).splitlines()[1:]]
  return sorted({line.split(": ", 1)[-1].split(";")[0] for line in lines})


def summary(result: CheckResult) -> dict:
  """Verdict and errors of one check."""
  failed = [c for c in result.channels if c.compared and not c.passed]
  few = [c for c in result.channels if 2 * len(c.compared) < len(result.states)]
  verdict = FAIL if failed else PASS
  if few and not failed:
    left_out = set(result.differing) - set(result.reframed)
    because = {
      SWITCHING: len(result.switching),
      DIFFERS: len(left_out),
      UNRESOLVED: max(len(c.unresolved) for c in result.channels),
    }
    verdict = max(because, key=lambda name: because[name])
  channels = {
    c.channel: {
      "median": float(f"{c.median:.2g}") if c.compared else None,
      "worst": float(f"{c.worst:.2g}") if c.compared else None,
      "compared": len(c.compared),
      "zero": c.zero,
      "unresolved": len(c.unresolved),
      "verdict": c.verdict,
    }
    for c in result.channels
  }
  reasons = [f"{c.channel} median {c.median:.1e}, worst {c.worst:.1e}" for c in failed]
  return {
    "verdict": verdict,
    "reasons": reasons,
    "states": len(result.states),
    "switching": len(result.switching),
    "switches": list(result.switches),
    "differing": len(result.differing) - len(result.reframed),
    "labels": sorted({label for state in result.states for label in state.labels}),
    "channels": channels,
  }


def main() -> int:
  """Runs the check and writes the results or the page; exit code 1 if a model fails."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--wheels", type=Path, default=WHEELS)
  parser.add_argument("--states", type=int, default=STATES)
  parser.add_argument("--entries", type=int, default=ENTRIES)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--only", nargs="+", default=[""], help="parts of names of models")
  parser.add_argument("--again", nargs="+", default=[], help="verdicts to compute anew")
  parser.add_argument("--json", type=Path, required=True, help="results, read and written")
  parser.add_argument("--page", type=Path, help="write the page and check nothing")
  args = parser.parse_args()
  wp.config.log_level = wp.LOG_WARNING

  report = json.loads(args.json.read_text()) if args.json.exists() else {"models": {}}
  rows = report["models"]
  if args.page:
    args.page.write_text(page(report))
    return 0
  report |= {"states": args.states, "entries": args.entries, "seed": args.seed}
  report["versions"] = {
    name: importlib.metadata.version(name) for name in ("mujoco", "mujoco-warp", "warp-lang")
  }
  for model in real_models(args.wheels):
    if not any(part in model.name for part in args.only):
      continue
    if model.name in rows and rows[model.name]["verdict"] not in args.again:
      continue
    row = check(model, args.states, args.entries, args.seed)
    rows[model.name] = row
    write(report, args.json)
    print(
      f"{model.name:<66} {row['verdict']:<16} {row['seconds']:>6} s  {row['reasons']}", flush=True
    )
  print(tally(report))
  return int(any(row["verdict"] == FAIL for row in rows.values()))


def write(report: dict, path: Path) -> None:
  """Writes the results as JSON, one model to a line."""
  head = json.dumps({name: value for name, value in report.items() if name != "models"})
  rows = ",\n".join(f"  {json.dumps(n)}: {json.dumps(row)}" for n, row in report["models"].items())
  path.write_text(f'{head[:-1]}, "models": {{\n{rows}\n}}}}\n')


def tally(report: dict) -> str:
  """How many models have each verdict."""
  counts = Counter(row["verdict"] for row in report["models"].values())
  return ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())


def _worst(channels: dict, names: Callable[[str], bool]) -> str:
  """Largest error of the named channels, the worst of medians and the worst of all."""
  found = [c for name, c in channels.items() if names(name) and c["compared"]]
  if not found:
    return " | "
  return f"{max(c['median'] for c in found):.0e} | {max(c['worst'] for c in found):.0e}"


def page(report: dict) -> str:
  """The results as a page of the documentation."""
  rows = report["models"].values()
  checked = [row for row in rows if "channels" in row]
  others = [row for row in rows if "channels" not in row]
  versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
  lines = [
    HEAD.format(
      tally=tally(report), states=report["states"], entries=report["entries"], seed=report["seed"]
    ),
    "| model | nv, nu, tendons, equalities | integrator, cone | verdict | state median | worst "
    "| parameters median | worst | switching | differing | remarks |",
    "| --- " * 11 + "|",
  ]
  for row in checked:
    size = f"{row['nv']}, {row['nu']}, {row['ntendon']}, {row['neq']}"
    remarks = [row["note"]] if row["note"] else []
    if row["verdict"] != PASS:
      remarks += row["switches"] if row["verdict"] == SWITCHING else row["reasons"]
    lines.append(
      f"| {row['model']} | {size} | {row['integrator']}, {row['cone']} | {row['verdict']} "
      f"| {_worst(row['channels'], lambda name: name in STATE_CHANNELS)} "
      f"| {_worst(row['channels'], lambda name: name not in STATE_CHANNELS)} "
      f"| {row['switching']} | {row['differing']} | {'; '.join(remarks)} |"
    )
  lines += ["", "## Not compared", "", "| model | verdict | because |", "| --- | --- | --- |"]
  lines += [f"| {r['model']} | {r['verdict']} | {'; '.join(r['reasons'])} |" for r in others]
  lines += [f"| {pattern} | left out | {why} |" for pattern, why in LEFT_OUT.items()]
  return "\n".join(lines) + f"\n\n{versions}, CPU.\n"


if __name__ == "__main__":
  raise SystemExit(main())
