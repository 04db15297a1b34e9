"""Bodies tossed on a plane and on each other, and their gradients against chains in float64.

The chain multiplies one-step Jacobians of C MuJoCo at the states that the engine visited. Where a
step is at a switching point, its Jacobian has two sides, and where the engine's step is not that of
C MuJoCo, it has another one: these steps are counted, and the chain takes the engine's own gradient
across them.
"""

from dataclasses import dataclass

import mujoco
import numpy as np
import torch

import mjgrad
import mjgrad.torch as mgt
from mjgrad._src.check.compare import forward_error
from mjgrad._src.linearize import step_gradient
from tests import oracles

TIMESTEP = 0.004
GEOMS = {
  "cube": 'type="box" size="0.05 0.05 0.05"',
  "cylinder": 'type="cylinder" size="0.05 0.06"',
  "ellipsoid": 'type="ellipsoid" size="0.06 0.045 0.07"',
  "capsule": 'type="capsule" size="0.04 0.06"',
  "mesh": 'type="mesh" mesh="rock"',
  "brick": 'type="box" size="0.08 0.06 0.03"',
}
TOSSES = {
  "cube": ("cube",),
  "cylinder": ("cylinder",),
  "ellipsoid": ("ellipsoid",),
  "capsule": ("capsule",),
  "mesh": ("mesh",),
  "stack of boxes": ("brick", "brick", "brick"),
  "cube on mesh": ("mesh", "cube"),
  "mesh on capsule": ("capsule", "mesh"),
  "capsule on cube": ("cube", "capsule"),
  "ellipsoid on cube": ("cube", "ellipsoid"),
  "cylinder on ellipsoid": ("ellipsoid", "cylinder"),
}
"""The bodies of a scene, from the lowest up."""
CCD_TOLERANCE = {"ellipsoid on cube": 1e-9}
"""Of the collision detector [m], where that of the other scenes stops it too early too often."""


def model(name: str) -> mujoco.MjModel:
  """The scene of a toss."""
  bodies = "".join(_body(f'<geom {GEOMS[kind]} mass="0.5"/>') for kind in TOSSES[name])
  return _scene(bodies, CCD_TOLERANCE.get(name, 1e-8))


def oracle(name: str) -> oracles.Oracle:
  """C MuJoCo on the scene, with the engine's contacts of two boxes."""
  return oracles.Oracle(model(name), engine_frames=True)


def _body(geoms: str) -> str:
  return f"<body><freejoint/>{geoms}</body>"


def _scene(bodies: str, tolerance: float) -> mujoco.MjModel:
  return mujoco.MjModel.from_xml_string(f"""
    <mujoco>
      <option timestep="{TIMESTEP}" cone="elliptic"
              ccd_tolerance="{tolerance}" ccd_iterations="100"/>
      <asset>
        <mesh name="rock" vertex="0 0 0.06  0.07 0 -0.03  -0.06 0.06 -0.04  -0.06 -0.07 -0.03
                                  0.03 0.08 0.02"/>
      </asset>
      <worldbody>
        <geom type="plane" size="2 2 1"/>
        {bodies}
      </worldbody>
    </mujoco>""")


def starts(name: str, count: int, seed: int = 0) -> list[oracles.Point]:
  """Random orientations, velocities and spins; a stack is upright and slides."""
  rng = np.random.default_rng(seed)
  mjm = model(name)
  stack = name.startswith("stack")
  points = []
  for _ in range(count):
    qpos, qvel = np.zeros(mjm.nq), np.zeros(mjm.nv)
    for k, _kind in enumerate(TOSSES[name]):
      quat = rng.normal(size=4)
      place = [*rng.uniform(-0.02, 0.02, size=2), 0.12 + 0.16 * k]
      linear = [*rng.uniform(-0.5, 0.5, size=2), -2.0 + 0.5 * k]
      angular = rng.normal(size=3) * 3.0
      if stack:
        turn = rng.uniform(-0.3, 0.3)
        quat = np.array([np.cos(turn / 2), *(0.01 * rng.normal(size=2)), np.sin(turn / 2)])
        place[2] = 0.04 + 0.062 * k
        linear, angular = [0.3 * (k + 1), 0.1, -0.5], 0.3 * angular
      qpos[7 * k : 7 * k + 7] = [*place, *(quat / np.linalg.norm(quat))]
      qvel[6 * k : 6 * k + 6] = [*linear, *angular]
    points.append(oracles.point(mjm, qpos=qpos, qvel=qvel).float32())
  return points


@dataclass(frozen=True)
class Toss:
  """One toss compared with its chain.

  Attributes:
    qpos: relative error of the gradient in the first position.
    qvel: the same in the first velocity.
    steps: how many steps were taken.
    touching: how many of them have contacts.
    switching: how many are at a switching point.
    differing: at how many the engine's step is not that of C MuJoCo.
    growth: norm of the gradient in the first velocity over that of the cotangent.
  """

  qpos: float
  qvel: float
  steps: int
  touching: int
  switching: int
  differing: int
  growth: float


def compare(name: str, count: int, steps: int, seed: int = 0) -> list[Toss]:
  """Gradients of a random function of the state after `steps` steps, in `count` tosses."""
  mjm = model(name)
  points = starts(name, count, seed)
  sim = mjgrad.Simulator(mjm, count, "cpu", nconmax=32, njmax=128)
  state = mgt.initial_state(sim)

  def rows(field):
    return torch.tensor(np.stack([getattr(p, field) for p in points]), dtype=torch.float32)

  state = mgt.State(
    rows("qpos").requires_grad_(),
    rows("qvel").requires_grad_(),
    state.act,
    torch.zeros_like(state.qacc_warmstart),
    torch.zeros(count),
  )
  ctrl = torch.zeros(count, 0)
  last = mgt.step(sim, state, ctrl, nstep=steps)
  generator = torch.Generator().manual_seed(seed)
  adj_qpos = torch.randn(last.qpos.shape, generator=generator)
  adj_qvel = torch.randn(last.qvel.shape, generator=generator)
  loss = (last.qpos * adj_qpos).sum() + (last.qvel * adj_qvel).sum()
  grads = [g.numpy().astype(float) for g in torch.autograd.grad(loss, (state.qpos, state.qvel))]
  with torch.no_grad():
    visited = mgt.rollout(sim, state, ctrl.expand(steps, count, 0))
  qpos = np.concatenate([state.qpos.detach().numpy()[None], visited.qpos.numpy()])
  qvel = np.concatenate([state.qvel.detach().numpy()[None], visited.qvel.numpy()])
  np.testing.assert_array_equal(qpos[-1], last.qpos.detach().numpy())

  chain = _Chain(mjm, oracle(name))
  found = []
  for world in range(count):
    adj = (adj_qpos[world].numpy().astype(float), adj_qvel[world].numpy().astype(float))
    truth, counts = chain.vjp(qpos[:, world], qvel[:, world], *adj)
    tangent = oracles.to_tangent(mjm, points[world].qpos, grads[0][world])
    found.append(
      Toss(
        oracles.relative_error(tangent, truth[0]),
        oracles.relative_error(grads[1][world], truth[1]),
        steps,
        **counts,
        growth=float(np.linalg.norm(truth[1]) / np.linalg.norm(np.concatenate(adj))),
      )
    )
  return found


class _Chain:
  """Transposed one-step Jacobians along given states."""

  def __init__(self, mjm: mujoco.MjModel, oracle: oracles.Oracle):
    self.mjm, self.oracle = mjm, oracle
    self.sim = mjgrad.Simulator(mjm, 1, "cpu", nconmax=32, njmax=128)

  def vjp(self, qpos: np.ndarray, qvel: np.ndarray, adj_qpos: np.ndarray, adj_qvel: np.ndarray):
    """Cotangents of the first state in tangent spaces, and the counts of `Toss`."""
    counts = dict.fromkeys(("touching", "switching", "differing"), 0)
    adj_qpos = oracles.to_tangent(self.mjm, qpos[-1].astype(float), adj_qpos)
    for k in reversed(range(len(qpos) - 1)):
      point = oracles.point(self.mjm, qpos=qpos[k], qvel=qvel[k])
      local = oracles.linearise(self.oracle, point, ("qpos", "qvel"))
      qacc = (qvel[k + 1].astype(float) - qvel[k]) / self.mjm.opt.timestep
      error = forward_error(self.mjm, local, qpos[k + 1], qvel[k + 1], qacc)
      differing = error > 1.0
      switching = not differing and any(local.switching(name) for name in ("qpos", "qvel"))
      counts["touching"] += bool(local.branch.zones.size)
      counts["switching"] += switching
      counts["differing"] += differing
      if switching or differing:
        adj_qpos, adj_qvel = self._engine(qpos[k : k + 2], qvel[k], adj_qpos, adj_qvel)
      else:
        adj_qpos, adj_qvel = (
          local.jacobians[name].vjp(adj_qpos, adj_qvel) for name in ("qpos", "qvel")
        )
    return (adj_qpos, adj_qvel), counts

  def _engine(self, qpos: np.ndarray, qvel: np.ndarray, adj_qpos: np.ndarray, adj_qvel: np.ndarray):
    ambient = oracles.to_ambient(self.mjm, qpos[1].astype(float), adj_qpos)
    scale = max(np.abs(ambient).max(), np.abs(adj_qvel).max())
    out = step_gradient(
      self.sim, qpos[:1], qvel[None], None, ambient[None] / scale, adj_qvel[None] / scale
    )
    return (scale * out.grad[name][0].astype(float) for name in ("qpos_tangent", "qvel"))
