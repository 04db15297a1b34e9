"""Five bodies are thrown on the ground: gradients of hard contacts over a range of throws.

With the vertical velocity u0 and -0.1 m/s along y, from 0.2 m, under a gravity of 2 m/s^2; the loss
is y after a second. The contacts are stiff (solref 0.005 1, solimp 0 0.95 0.001 0.5 2), so that
steps of 2 ms miss most of what happens at an impact, and the gradient through them is of that
error. Steps chosen by the error of each give the gradient of the motion in continuous time, which
is here the central difference of a converged reference.

Where the reference's differences over two distances disagree, u0 lies next to a switch, for example
of the corner that hits first, and is left out of the statistics; such points are counted.

Source: Paulus et al. (2026), figures 3, 4 and 21; bodies and settings are theirs, but the ball's,
of which the paper gives no size, and the contacts, which are MuJoCo's own.
"""

import dataclasses
from pathlib import Path

import mujoco
import numpy as np

from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.integrators.methods import Discretise
from mjgrad._src.integrators.methods import Dopri5
from mjgrad.experiments.command import Columns
from mjgrad.experiments.command import Tables
from mjgrad.experiments.command import lines
from mjgrad.experiments.reference import FreeBody

SHAPES = {
  "ball": ('type="sphere" size="0.05" density="100"', "0 0"),
  "cube": ('type="box" size="0.05 0.05 0.05" density="100" euler="60 0 0"', "0 0"),
  "capsule": ('type="capsule" size="0.05 0.07" density="50" euler="60 0 0"', "0 -0.04"),
  "cylinder": ('type="cylinder" size="0.04 0.05" density="100" euler="70 10 0"', "0 0"),
  "ellipsoid": ('type="ellipsoid" size="0.05 0.05 0.1" density="200" euler="80 0 0"', "0 -0.03"),
}
"""Geom and horizontal position of each body."""
RANGE = (-3.0, -1.0)
HEIGHT, SIDEWAYS, DURATION = 0.2, -0.1, 1.0
FIXED, CONTROL = 0.002, 0.01
"""Step of the fixed-step runs, and the control interval of the adaptive ones [s]."""
LONGEST = 0.1
"""Longest of the adaptive steps [s]; the bodies are thicker than what they fall in it."""
METHOD = Dopri5(rtol=1e-6, atol=1e-6, max_step=LONGEST, max_steps=10_000)
TOLERANCE = 1e-11
SPACING = (1e-4, 5e-5)
"""Half the distance of the two sides of the reference's differences [m/s]."""
AGREE = 0.02
"""Two differences agree if they differ by less than this part of the largest gradient."""


def model(shape: str, timestep: float) -> mujoco.MjModel:
  """A body above the ground."""
  geom, place = SHAPES[shape]
  return mujoco.MjModel.from_xml_string(f"""
    <mujoco>
      <option gravity="0 0 -2" timestep="{timestep}" solver="Newton" cone="pyramidal"
              iterations="50" tolerance="1e-8">
        <flag refsafe="disable" eulerdamp="disable"/>
      </option>
      <default><geom solref="0.005 1" solimp="0 0.95 0.001 0.5 2"/></default>
      <worldbody>
        <geom type="plane" size="20 20 0.125"/>
        <body pos="{place} {HEIGHT}"><freejoint/><geom {geom}/></body>
      </worldbody>
    </mujoco>""")


def loss(sim: Simulator, u0):
  """The last y in every world, shape [nworld], of the velocities u0 [m/s] of that shape."""
  import torch

  import mjgrad.torch as mgt

  state = mgt.initial_state(sim)
  sideways = torch.full_like(u0, SIDEWAYS)
  velocity = torch.stack([torch.zeros_like(u0), sideways, u0], dim=1)
  velocity = torch.nn.functional.pad(velocity, (0, sim.nv - 3))
  interval = sim.mjm.opt.timestep
  state = mgt.step(sim, dataclasses.replace(state, qvel=velocity), nstep=round(DURATION / interval))
  return state.qpos[:, 1]


def reference(shape: str, u0: float, tolerance: float = TOLERANCE) -> float:
  """The last y of the converged trajectory."""
  body = FreeBody(model(shape, FIXED), tolerance)
  velocity = np.array([0.0, SIDEWAYS, u0, 0.0, 0.0, 0.0])
  return float(body.run(body.mjm.qpos0, velocity, DURATION)[1])


def truth(shape: str, u0: np.ndarray) -> Columns:
  """The converged loss, its central difference, and whether differences at two distances agree."""
  value = np.array([reference(shape, u) for u in u0])
  slopes = [
    np.array([(reference(shape, u + e) - reference(shape, u - e)) / (2 * e) for u in u0])
    for e in SPACING
  ]
  agree = np.abs(slopes[0] - slopes[1]) <= AGREE * np.abs(slopes[0]).max()
  return {"loss_true": value, "grad_true": slopes[0], "smooth": agree}


def differentiate(
  shape: str, u0: np.ndarray, adaptive: bool, device: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
  """Loss and gradient with fixed or with adaptive steps, each of the shape of `u0`."""
  import torch

  sim = Simulator(
    model(shape, CONTROL if adaptive else FIXED),
    len(u0),
    device,
    integrator=METHOD if adaptive else None,
    adjoint=Discretise(checkpoints=64) if adaptive else None,
  )
  where = "cuda" if sim.device.is_cuda else "cpu"
  velocity = torch.tensor(u0, dtype=torch.float32, device=where, requires_grad=True)
  value = loss(sim, velocity)
  value.sum().backward()
  assert velocity.grad is not None
  return value.detach().cpu().numpy(), velocity.grad.cpu().numpy()


def run(count: int = 200, device: str | None = None) -> Tables:
  """The sweep over u0 for every body."""
  u0 = np.linspace(*RANGE, count).astype(np.float32).astype(np.float64)
  tables = []
  for shape in SHAPES:
    columns: dict[str, np.ndarray] = {"shape": np.full(count, shape), "u0": u0}
    for name, adaptive in (("fixed", False), ("adaptive", True)):
      columns[f"loss_{name}"], columns[f"grad_{name}"] = differentiate(shape, u0, adaptive, device)
    tables.append(columns | dict(truth(shape, u0)))
  return {"toss": {name: np.concatenate([t[name] for t in tables]) for name in tables[0]}}


def of_shape(table: Columns, shape: str) -> Columns:
  """The rows of one body, without the column of shapes."""
  rows = table["shape"] == shape
  return {name: column[rows] for name, column in table.items() if name != "shape"}


def errors(columns: Columns, name: str) -> np.ndarray:
  """Errors of the gradient where it is smooth, relative to the largest true one there."""
  smooth = columns["smooth"].astype(bool)
  truth = columns["grad_true"][smooth]
  return np.abs(columns[f"grad_{name}"][smooth] - truth) / np.abs(truth).max()


def summary(tables: Tables) -> list[str]:
  """What the experiment shows, with its numbers."""
  found = []
  for shape in SHAPES:
    columns = of_shape(tables["toss"], shape)
    for name in ("fixed", "adaptive"):
      error = errors(columns, name)
      found.append(
        (
          f"{shape}, {name} steps",
          f"error of the gradient {np.median(error):.1e} (median), "
          f"{np.quantile(error, 0.95):.1e} (95 %), {error.max():.1e} (largest); "
          f"{np.sum(columns['smooth'] == 0)} of {len(columns['u0'])} u0 at a switch",
        )
      )
  return lines(found)


def draw(tables: Tables, path: Path) -> None:
  """Loss and gradient over u0, one column for each body."""
  from matplotlib.figure import Figure

  figure = Figure(figsize=(3.4 * len(SHAPES), 5.5), layout="constrained")
  rows = figure.subplots(2, len(SHAPES), sharex=True, squeeze=False)
  for column, shape in enumerate(SHAPES):
    columns = of_shape(tables["toss"], shape)
    upper, lower = rows[:, column]
    for name, label in (("fixed", f"steps of {FIXED:g} s"), ("adaptive", "adaptive steps")):
      upper.plot(columns["u0"], columns[f"loss_{name}"], label=label, linewidth=1.2)
      lower.plot(columns["u0"], columns[f"grad_{name}"], label=label, linewidth=1.0)
    upper.plot(columns["u0"], columns["loss_true"], "k:", label="converged", linewidth=1.2)
    lower.plot(columns["u0"], columns["grad_true"], "k:", label="central difference", linewidth=1.2)
    limit = 3.0 * np.quantile(np.abs(columns["grad_true"][columns["smooth"].astype(bool)]), 0.9)
    lower.set(ylim=(-limit, limit), xlabel="vertical velocity $u_0$ [m/s]")
    upper.set(title=shape)
    for axes in (upper, lower):
      axes.grid(alpha=0.3)
  rows[0, 0].set(ylabel="loss: last y [m]")
  rows[1, 0].set(ylabel="gradient [s]")
  rows[0, 0].legend(fontsize=8)
  rows[1, 0].legend(fontsize=8)
  figure.savefig(path, dpi=120)
