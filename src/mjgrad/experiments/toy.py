"""A point mass falls on the ground and bounces; why reverse mode is wrong at contacts.

Without gravity, from the height q with the speed -1, for two seconds, with the semi-implicit step

    ideal      v <- -v        where q < 0
    penalty    v <- v + h (-v - 50 q)   where q < 0
    both       q <- q + h v

and the loss |q_N - 1|. The derivative of the last position in the first is carried along. At an
ideal bounce the derivative ignores that the time of impact moves: dq_N/dq_0 stays +1 at any step,
where it is -1. A penalty force makes the time of impact part of a smooth equation, so that the
derivative converges with the step, as the trajectory does, to

    dq_N/dq_0 = -exp(-pi / 2 omega),   omega = sqrt(50 - 1/4)

the speed at which the mass leaves again.

Source: Paulus et al. (2026), figure 4 (right) and section 3.
"""

from pathlib import Path

import numpy as np

from mjgrad.experiments.command import Columns
from mjgrad.experiments.command import Tables
from mjgrad.experiments.command import lines
from mjgrad.experiments.command import loss_and_gradient

DURATION = 2.0
TARGET = 1.0
STIFFNESS = 50.0
COARSE, FINE = 0.1, 1e-4
STEPS = (DURATION / np.unique(np.round(np.geomspace(10, 20000, 40)))).tolist()
START = 0.53
"""Height whose gradient is shown against the step."""
MODELS = ("ideal", "penalty")


def rollout(model: str, q0: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray]:
  """The loss and its derivative in the first height, each of the shape of `q0`."""
  q, v = np.array(q0, dtype=float), np.full_like(q0, -1.0)
  dq, dv = np.ones_like(q), np.zeros_like(q)
  for _ in range(round(DURATION / h)):
    below = q < 0.0
    if model == "ideal":
      sign = np.where(below, -1.0, 1.0)
      v, dv = sign * v, sign * dv
    else:
      v, dv = v + below * h * (-v - STIFFNESS * q), dv + below * h * (-dv - STIFFNESS * dq)
    q, dq = q + h * v, dq + h * dv
  return np.abs(q - TARGET), np.sign(q - TARGET) * dq


def truth(model: str, q0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Loss and derivative in continuous time, in closed form."""
  omega = np.sqrt(STIFFNESS - 0.25)
  speed, below = (1.0, 0.0) if model == "ideal" else (np.exp(-0.5 * np.pi / omega), np.pi / omega)
  last = DURATION - q0 - below
  depth = np.clip(DURATION - q0, 0.0, below)
  under = -np.exp(-0.5 * depth) * np.sin(omega * depth) / omega
  slope = np.exp(-0.5 * depth) * (np.cos(omega * depth) - 0.5 * np.sin(omega * depth) / omega)
  q = np.where(q0 > DURATION, q0 - DURATION, np.where(last > 0.0, speed * last, under))
  dq = np.where(q0 > DURATION, 1.0, np.where(last > 0.0, -speed, slope))
  return np.abs(q - TARGET), np.sign(q - TARGET) * dq


def run(count: int = 200, device: str | None = None) -> Tables:
  """Loss and gradient over the first height, and the gradient at one height over the step."""
  q0 = np.linspace(0.0, 3.0, count)
  sweep: dict[str, np.ndarray] = {"q0": q0}
  for model in MODELS:
    for name, h in (("coarse", COARSE), ("fine", FINE)):
      sweep[f"loss_{model}_{name}"], sweep[f"grad_{model}_{name}"] = rollout(model, q0, h)
    sweep[f"loss_{model}_true"], sweep[f"grad_{model}_true"] = truth(model, q0)
  steps: dict[str, np.ndarray] = {"h": np.array(STEPS)}
  for model in MODELS:
    start = np.array([START])
    steps[f"grad_{model}"] = np.array([rollout(model, start, h)[1][0] for h in STEPS])
    steps[f"grad_{model}_true"] = np.full(len(STEPS), truth(model, start)[1][0])
  return {"toy": sweep, "toy_steps": steps}


def error(steps: Columns, model: str) -> np.ndarray:
  """Error of the gradient relative to the true one, for every step."""
  return np.abs(steps[f"grad_{model}"] / steps[f"grad_{model}_true"] - 1.0)


def summary(tables: Tables) -> list[str]:
  """What the experiment shows, with its numbers."""
  steps = tables["toy_steps"]
  return lines(
    [
      (
        f"{model}, gradient at q0 = {START}",
        f"true {steps[f'grad_{model}_true'][0]:+.4f}; h = {steps['h'][0]:.3g}: "
        f"{steps[f'grad_{model}'][0]:+.4f}; h = {steps['h'][-1]:.3g}: "
        f"{steps[f'grad_{model}'][-1]:+.4f}",
      )
      for model in MODELS
    ]
  )


def draw(tables: Tables, path: Path) -> None:
  """Two columns, ideal and penalty contact, and the error of the gradient against the step."""
  from matplotlib.figure import Figure

  sweep, steps = tables["toy"], tables["toy_steps"]
  figure = Figure(figsize=(12, 5), layout="constrained")
  parts = figure.subfigures(1, 3, squeeze=False)[0]
  for part, model in zip(parts, MODELS, strict=False):
    names = {f"h = {COARSE:g}": "coarse", f"h = {FINE:g}": "fine", "continuous time": "true"}
    loss_and_gradient(
      part,
      f"{model} contact",
      "first height $q_0$",
      sweep["q0"],
      {label: sweep[f"loss_{model}_{name}"] for label, name in names.items()},
      {label: sweep[f"grad_{model}_{name}"] for label, name in names.items()},
    )
  axes = parts[2].subplots()
  for model in MODELS:
    axes.loglog(steps["h"], error(steps, model), ".-", label=f"{model} contact")
  axes.set(xlabel="step h [s]", ylabel="relative error of the gradient")
  axes.set(title=f"gradient at $q_0$ = {START}")
  axes.grid(alpha=0.3)
  axes.legend()
  figure.savefig(path, dpi=120)
