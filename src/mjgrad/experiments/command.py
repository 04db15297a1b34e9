"""`mjgrad experiment NAME`: runs an experiment and writes its tables and its figure.

An experiment is a module with `run`, which computes its tables as columns of numbers or words,
`summary`, which says in some lines what they show, and `draw`, which makes the figure.
"""

import argparse
import csv
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import warp as wp

Columns = Mapping[str, np.ndarray]
Tables = Mapping[str, Columns]
"""Tables by name, and in each the columns, all of one length."""

EXPERIMENTS = {
  "toy": "a point mass bounces: the gradient of penalty and of ideal contacts against the step",
  "toss": "five bodies are thrown on the ground: fixed and adaptive steps against the truth",
  "pareto": "the cube: error of the gradient against run time, for every integrator",
  "parallel": "balls from different heights in one batch: every world has its own steps",
  "billiard": "two balls: the gradient of a shot that misses, with contacts from distance",
}


def main(arguments: list[str]) -> int:
  """`mjgrad experiment`: 0 when the tables and the figure are written."""
  listed = "\n".join(f"  {name:9} {summary}" for name, summary in EXPERIMENTS.items())
  parser = argparse.ArgumentParser(
    prog="mjgrad experiment",
    description="Run an experiment on gradients through contacts; write CSV files and a figure.",
    epilog=f"experiments:\n{listed}",
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("name", metavar="NAME", choices=tuple(EXPERIMENTS))
  parser.add_argument(
    "--out", type=Path, metavar="DIR", help="where to write (experiments/NAME in this directory)"
  )
  parser.add_argument(
    "--count",
    type=int,
    default=200,
    metavar="N",
    help="values on the horizontal axis (%(default)s)",
  )
  parser.add_argument(
    "--device", metavar="D", help="cpu or cuda:0, for example (a GPU if there is one)"
  )
  options = parser.parse_args(arguments)
  out = options.out or Path("experiments") / options.name
  wp.config.log_level = wp.LOG_ERROR
  experiment = importlib.import_module(f"mjgrad.experiments.{options.name}")
  tables = experiment.run(count=options.count, device=options.device)
  out.mkdir(parents=True, exist_ok=True)
  for name, columns in tables.items():
    write_csv(out / f"{name}.csv", columns)
  experiment.draw(tables, out / f"{options.name}.png")
  print("\n".join(experiment.summary(tables)))
  print(f"written to {out}")
  return 0


def write_csv(path: Path, columns: Columns) -> None:
  """Writes columns of one length under their names."""
  with path.open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))


def loss_and_gradient(
  figure,
  title: str,
  xlabel: str,
  x: np.ndarray,
  losses: Mapping[str, np.ndarray],
  gradients: Mapping[str, np.ndarray],
  linthresh: float | None = None,
):
  """Draws losses above gradients over one axis, as in the paper.

  Args:
    figure: a matplotlib figure, or a part of one.
    title: heading.
    xlabel: what x is.
    x: the horizontal axis.
    losses: curves of the upper axes by name.
    gradients: curves of the lower axes by name.
    linthresh: where the lower axes turn from linear to logarithmic; None keeps them linear.

  Returns:
    The two axes.
  """
  upper, lower = figure.subplots(2, 1, sharex=True)
  for axes, curves in ((upper, losses), (lower, gradients)):
    for name, curve in curves.items():
      axes.plot(x, curve, label=name, linewidth=1.2)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
  upper.set(title=title, ylabel="loss")
  lower.set(xlabel=xlabel, ylabel="gradient")
  if linthresh is not None:
    lower.set_yscale("symlog", linthresh=linthresh)
  return upper, lower


def lines(pairs: Sequence[tuple[str, str]]) -> list[str]:
  """Names and values, one to a line, aligned."""
  width = max(len(name) for name, _ in pairs)
  return [f"{name:{width}}  {value}" for name, value in pairs]
