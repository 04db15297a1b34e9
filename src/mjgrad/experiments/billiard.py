"""A ball is pushed at another one, which is to come to rest at the origin.

A force (4, u0) acts on the first ball for the first of 300 control intervals of 0.01 s; the loss is
the squared position of the second ball after the last. Where the shot misses, the loss is flat and
its gradient zero. With contacts from distance between the balls the gradient points to where they
meet. Contacts this stiff (time constant 0.01 s, damping ratio 0.2) need steps shorter than the
control interval; STEPS of them are taken.

In the layout `line` both balls lie on the x axis, as in the paper. By symmetry u0 = 0 is then the
best shot already, at a loss of 1e-3: the second ball stops 3 cm before the origin. In the layout
`aside` u0 = 0 misses by 4 mm and the best shot, near 1.5, stops at the origin; from there u0 is
optimised.

Without gravity and table the balls of `aside` fly free, in steps as long as the call where nothing
touches. The derivative of these few steps sees contacts from distance at their stages alone, and
those that it sees act over a whole step. `Backsolve` goes back through the same motion with steps
that follow the adjoint. Short steps forward are the reference for both.

Source: Paulus et al. (2026), figures 8 and 19 and appendix; the balls, forces and contacts are
theirs.
"""

from pathlib import Path

import mujoco
import numpy as np

from mjgrad._src.contact.from_distance import ContactsFromDistance
from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.integrators.methods import Backsolve
from mjgrad._src.integrators.methods import Discretise
from mjgrad._src.integrators.methods import Dopri5
from mjgrad.experiments.command import Columns
from mjgrad.experiments.command import Tables
from mjgrad.experiments.command import lines
from mjgrad.experiments.command import loss_and_gradient

INTERVAL, NINTERVAL, STEPS = 0.01, 300, 10
PUSH = 4.0
RANGE = (-5.0, 5.0)
LAYOUTS = {
  "line": ((-0.375, 0.0), (-0.2, 0.0)),
  "aside": ((-0.267, -0.191), (-0.117, -0.103)),
}
"""Where the two balls start [m]."""
FAR = ContactsFromDistance(
  width=0.1, d_c=0.0, d_0=0.01, midpoint=1.0, power=2.0, pairs=[("first", "second")]
)
LEARNING_RATE, ITERATIONS = 0.1, 30
FREE_COUNT = 40
"""Values of u0 in free flight, at most: going back in short steps takes its time."""
TOLERANCE, SHORT, BACK = 1e-6, 0.002, 0.05
"""Of the free flight: tolerance, longest step of the reference, and of what goes back [s]."""


def model(layout: str, interval: float = INTERVAL / STEPS, free: bool = False) -> mujoco.MjModel:
  """Two balls at rest on a table, or without gravity."""
  balls = "".join(
    f"""
    <body pos="{x} {y} 0">
      <joint type="free" damping="0.0001"/>
      <geom name="{name}" type="sphere" size="0.042" mass="0.17" friction="0.2 0.01 0.01"/>
    </body>"""
    for name, (x, y) in zip(("first", "second"), LAYOUTS[layout], strict=True)
  )
  table = '<geom name="table" type="plane" pos="0 0 -0.042" size="1.2 0.6 0.02"/>'
  return mujoco.MjModel.from_xml_string(f"""
    <mujoco>
      <option timestep="{interval}" impratio="10" gravity="0 0 {0.0 if free else -9.81}">
        <flag refsafe="disable" eulerdamp="disable"/>
      </option>
      <default><geom solref="0.01 0.2" solimp="0.9 0.95 0.01 0.5 2" condim="3"/></default>
      <worldbody>{"" if free else table}{balls}
      </worldbody>
    </mujoco>""")


def loss(sim: Simulator, u0):
  """The loss in every world, shape [nworld], of the forces u0 [N], a tensor of that shape."""
  import torch

  import mjgrad.torch as mgt

  push = torch.full_like(u0, PUSH)
  rest = torch.zeros((sim.nworld, sim.nv - 2), dtype=u0.dtype, device=u0.device)
  force = torch.cat([push[:, None], u0[:, None], rest], dim=1)
  interval = round(INTERVAL / sim.mjm.opt.timestep)
  state = mgt.initial_state(sim).map(lambda x: x.to(u0.dtype))
  state = mgt.step(sim, state, nstep=interval, qfrc_applied=force)
  state = mgt.step(sim, state, nstep=interval * (NINTERVAL - 1))
  return (state.qpos[:, 7:10] ** 2).sum(dim=1)


def _device(sim: Simulator) -> str:
  return "cuda" if sim.device.is_cuda else "cpu"


def sweep(layout: str, count: int, device: str | None = None) -> Columns:
  """Loss and gradient over u0, without and with contacts from distance."""
  import torch

  columns: dict[str, np.ndarray] = {"layout": np.full(count, layout)}
  for name, far in (("exact", None), ("far", FAR)):
    sim = Simulator(model(layout), count, device, surrogate=far)
    u0 = torch.linspace(*RANGE, count, device=_device(sim), requires_grad=True)
    value = loss(sim, u0)
    value.sum().backward()
    assert u0.grad is not None
    columns |= {"u0": u0.detach().cpu().numpy(), "loss": value.detach().cpu().numpy()}
    columns[f"grad_{name}"] = u0.grad.cpu().numpy()
  return columns


def fly(count: int, device: str | None = None) -> Columns:
  """Loss and gradient with contacts from distance in free flight, by both adjoints."""
  import torch

  def method(longest: float) -> Dopri5:
    return Dopri5(rtol=TOLERANCE, atol=TOLERANCE, max_step=longest, max_steps=20_000)

  columns: dict[str, np.ndarray] = {}
  end = INTERVAL * NINTERVAL
  for name, integrator, adjoint in (
    ("short", method(SHORT), Discretise(checkpoints=512)),
    ("discretise", method(end), Discretise(checkpoints=512)),
    ("backsolve", method(end), Backsolve(method(BACK))),
  ):
    sim = Simulator(
      model("aside", INTERVAL, free=True),
      count,
      device,
      integrator=integrator,
      adjoint=adjoint,
      surrogate=FAR,
    )
    u0 = torch.linspace(*RANGE, count, dtype=torch.float64, device=_device(sim)).requires_grad_()
    value = loss(sim, u0)
    steps = sim.stats.accepted
    value.sum().backward()
    assert u0.grad is not None
    columns |= {"u0": u0.detach().cpu().numpy(), f"loss_{name}": value.detach().cpu().numpy()}
    columns |= {f"steps_{name}": steps, f"grad_{name}": u0.grad.cpu().numpy()}
  return columns


def optimise(far: ContactsFromDistance | None, device: str | None = None) -> Columns:
  """Adam on u0 from 0 in the layout `aside`, one row for each iterate, the last without a step."""
  import torch

  sim = Simulator(model("aside"), 1, device, surrogate=far)
  u0 = torch.zeros(1, device=_device(sim), requires_grad=True)
  adam = torch.optim.Adam([u0], lr=LEARNING_RATE)
  rows = []
  for iteration in range(ITERATIONS + 1):
    adam.zero_grad()
    value = loss(sim, u0)
    rows.append((iteration, u0.item(), value.item()))
    if iteration < ITERATIONS:
      value.sum().backward()
      adam.step()
  return dict(zip(("iteration", "u0", "loss"), np.array(rows).T, strict=True))


def run(count: int = 200, device: str | None = None) -> Tables:
  """The sweep over u0 in both layouts, and the optimisation without and with the surrogate."""
  sweeps = [sweep(layout, count, device) for layout in LAYOUTS]
  exact, far = optimise(None, device), optimise(FAR, device)
  return {
    "billiard_free": fly(min(count, FREE_COUNT), device),
    "billiard": {name: np.concatenate([s[name] for s in sweeps]) for name in sweeps[0]},
    "billiard_adam": {
      "iteration": exact["iteration"],
      **{f"{name}_exact": exact[name] for name in ("u0", "loss")},
      **{f"{name}_far": far[name] for name in ("u0", "loss")},
    },
  }


def of_layout(table: Columns, layout: str) -> Columns:
  """The rows of one layout, without the column of layouts."""
  rows = table["layout"] == layout
  return {name: column[rows] for name, column in table.items() if name != "layout"}


def downhill(columns: Columns, name: str) -> float:
  """Share of all u0 from which a small step against the gradient comes nearer to the best one."""
  best = columns["u0"][np.argmin(columns["loss"])]
  away = columns["u0"] - best
  return float(np.mean((columns[name] * away > 0.0) | (away == 0.0)))


def summary(tables: Tables) -> list[str]:
  """What the experiment shows, with its numbers."""
  found = []
  for layout in LAYOUTS:
    columns = of_layout(tables["billiard"], layout)
    best = np.argmin(columns["loss"])
    found.append(
      (f"{layout}: best u0, loss", f"{columns['u0'][best]:.3f}, {columns['loss'][best]:.2e}")
    )
    for name, label in (("grad_exact", "exact gradient"), ("grad_far", "contacts from distance")):
      nonzero = np.mean(columns[name] != 0.0)
      found.append(
        (
          f"{layout}: {label}",
          f"non-zero for {nonzero:.1%}, downhill for {downhill(columns, name):.1%} of u0",
        )
      )
  free = tables["billiard_free"]
  for name in ("discretise", "backsolve"):
    error = np.abs(free[f"grad_{name}"] - free["grad_short"]) / np.abs(free["grad_short"]).max()
    worst = f"error {np.median(error):.1e} (median), {np.quantile(error, 0.9):.1e} (90 %)"
    found.append((f"free: {name}", f"{worst}, {np.median(free[f'steps_{name}']):.0f} steps"))
  adam = tables["billiard_adam"]
  for name, label in (("exact", "exact gradient"), ("far", "contacts from distance")):
    solved = np.flatnonzero(adam[f"loss_{name}"] < 1e-3)
    when = f"below 1e-3 after {solved[0]} iterations" if solved.size else "never below 1e-3"
    last = f"u0 = {adam[f'u0_{name}'][-1]:.3f}, loss {adam[f'loss_{name}'][-1]:.2e}"
    found.append((f"Adam from 0, {label}", f"{when}; last {last}"))
  return lines(found)


def draw(tables: Tables, path: Path) -> None:
  """Loss and gradient over u0 in both layouts and in free flight, and the iterates of Adam."""
  from matplotlib.figure import Figure

  figure = Figure(figsize=(17, 5), layout="constrained")
  parts = figure.subfigures(1, 4, squeeze=False)[0]
  for part, layout in zip(parts, LAYOUTS, strict=False):
    columns = of_layout(tables["billiard"], layout)
    loss_and_gradient(
      part,
      {"line": "balls in line", "aside": "the first ball aside"}[layout],
      "force $u_0$ [N]",
      columns["u0"],
      {"squared distance": columns["loss"]},
      {"exact": columns["grad_exact"], "contacts from distance": columns["grad_far"]},
      linthresh=1e-2,
    )
  free = tables["billiard_free"]
  _, gradients = loss_and_gradient(
    parts[2],
    "aside, free flight",
    "force $u_0$ [N]",
    free["u0"],
    {"squared distance": free["loss_discretise"]},
    {
      "Discretise, long steps": free["grad_discretise"],
      "Discretise, short steps": free["grad_short"],
      "Backsolve, long steps": free["grad_backsolve"],
    },
    linthresh=1e-2,
  )
  gradients.set(ylim=(-1e4, 1e4))
  upper, lower = parts[3].subplots(2, 1, sharex=True)
  adam = tables["billiard_adam"]
  for name, label in (("exact", "exact gradient"), ("far", "contacts from distance")):
    upper.semilogy(adam["iteration"], adam[f"loss_{name}"], label=label)
    lower.plot(adam["iteration"], adam[f"u0_{name}"], label=label)
  upper.axhline(1e-3, color="0.5", linestyle="--", linewidth=1.0)
  upper.set(title="the first ball aside, Adam from $u_0$ = 0", ylabel="loss")
  lower.set(xlabel="iteration", ylabel="force $u_0$ [N]")
  for axes in (upper, lower):
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
  figure.savefig(path, dpi=120)
