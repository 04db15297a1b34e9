"""The learning curve of a run as a picture."""

from pathlib import Path

import numpy as np


def plot_learning_curve(
  rows: list[dict[str, float]], title: str, path: Path, evaluation: float | None = None
) -> None:
  """Draws return and gradient norm over epochs.

  Args:
    rows: metrics, one dictionary per epoch.
    title: heading.
    path: PNG file to write.
    evaluation: mean return of the final deterministic policy, drawn as a line.
  """
  from matplotlib.figure import Figure

  epoch = np.array([row["epoch"] for row in rows])
  figure = Figure(figsize=(7, 6), layout="constrained")
  upper, lower = figure.subplots(2, 1, sharex=True)
  upper.plot(epoch, [row["return"] for row in rows], label="training, mean of recent episodes")
  if evaluation is not None:
    upper.axhline(evaluation, color="C1", linestyle="--", label="evaluation, deterministic policy")
  upper.set(title=title, ylabel="episode return")
  upper.legend()
  lower.semilogy(epoch, [row["actor_grad_norm"] for row in rows], label="before clipping")
  lower.semilogy(epoch, [row["actor_grad_norm_clipped"] for row in rows], label="after clipping")
  lower.set(xlabel="epoch", ylabel="norm of the policy gradient")
  lower.legend()
  for axes in (upper, lower):
    axes.grid(alpha=0.3)
  figure.savefig(path, dpi=120)
