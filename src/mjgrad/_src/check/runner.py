"""Runs the gradient check of a model: sample states, ask oracle and engine, compare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np

from mjgrad._src.check import pipeline
from mjgrad._src.check.compare import Cotangents
from mjgrad._src.check.compare import acceleration_error
from mjgrad._src.check.compare import better
from mjgrad._src.check.compare import compare_channel
from mjgrad._src.check.compare import forward_error
from mjgrad._src.check.jacobian import Linearisation
from mjgrad._src.check.jacobian import linearise
from mjgrad._src.check.oracle import FLOAT32_FIELDS
from mjgrad._src.check.oracle import STATE_CHANNELS
from mjgrad._src.check.oracle import Oracle
from mjgrad._src.check.oracle import Point
from mjgrad._src.check.report import ChannelResult
from mjgrad._src.check.report import CheckResult
from mjgrad._src.check.report import StateResult
from mjgrad._src.check.resolution import ROUNDINGS
from mjgrad._src.check.resolution import error_of_rounding
from mjgrad._src.check.same_contacts import Contacts
from mjgrad._src.check.same_contacts import difference
from mjgrad._src.check.states import CheckState
from mjgrad._src.check.states import sample_states
from mjgrad._src.check.tangent import to_tangent
from mjgrad._src.engine import parameters
from mjgrad._src.engine.features import refused_parameters
from mjgrad._src.errors import CapacityError
from mjgrad._src.errors import NonFiniteGradient

if TYPE_CHECKING:
  from mjgrad._src.linearize import StepGradient

# Two oracles whose steps are closer than this, in units of the forward tolerance, are the same.
DISTINCT = 1e-3
# Channels that may tilt a plane.
TILTS = frozenset(("body_quat", "geom_quat", "mocap_quat"))

PARAMETERS = tuple(parameters.PARAMETERS)


def run_check(
  mjm: mujoco.MjModel,
  *,
  nstates: int = 32,
  seed: int = 0,
  params: Sequence[str] | None = None,
  device=None,
  states: Sequence[CheckState] | None = None,
  entries: int | None = None,
) -> CheckResult:
  """Checks every gradient channel of a model against float64 C MuJoCo.

  Args:
    mjm: the model, with the integrator, cone and options to check.
    nstates: number of states; ignored when `states` are given.
    seed: of states and cotangents.
    params: MuJoCo names of the parameters to check; None checks all that have a gradient in this
      model. Those without entries are left out.
    device: where the engine runs; None as in `Simulator`.
    states: use these states instead of sampled ones.
    entries: how many entries of every channel to compare, see `_choose`; None compares all.

  Raises:
    UnsupportedFeature: the model uses something without a gradient.
    InvalidInput: a parameter name or number of states makes no sense.
  """
  oracle = Oracle(mjm)
  params = differentiable(mjm) if params is None else params
  channels = [
    name for name in (*STATE_CHANNELS, *params) if np.prod(oracle.channel_shape(name), dtype=int)
  ]
  states = list(states) if states is not None else sample_states(mjm, nstates, seed)
  engine = _Engine(mjm, states, device)
  cotangents = Cotangents.random(mjm, len(states), seed)
  steps, gradients = engine.gradients(cotangents, channels)
  chosen = None if entries is None else _choose(oracle, gradients, entries, seed)
  anchors = [_Anchor(oracle, linearise(oracle, state.point, ())) for state in states]
  errors = [
    forward_error(mjm, anchor.own, steps.qpos[s], steps.qvel[s], steps.qacc[s], steps.act[s])
    for s, anchor in enumerate(anchors)
  ]
  for s in engine.singular:
    errors[s] = 0.0  # not looked at
  framed = Oracle(mjm, engine_frames=True)
  tilting = not TILTS.isdisjoint(channels)
  reframed = _reframe(mjm, framed, anchors, steps, errors, tilting)
  left_out = [s for s, error in enumerate(errors) if not error <= 1.0 and s not in reframed]
  local = [linearise(a.oracle, a.own.point, channels, chosen) for a in anchors]
  for s, why in engine.singular.items():
    local[s] = replace(local[s], branch=replace(local[s].branch, distance=0.0, nearest=why))

  def compared(channels: Sequence[str]) -> tuple[ChannelResult, ...]:
    return tuple(
      compare_channel(
        mjm, name, local, cotangents, gradients[name], left_out, oracle.channel_scale(name)
      )
      for name in channels
    )

  own = tuple(local)
  results = compared(channels)
  for accelerations in (steps.qacc_root, steps.qacc):
    wrong = {c.channel: c.beyond for c in results if c.beyond}
    for s in set().union(*wrong.values()):
      there = anchors[s].at(accelerations[s], tuple(wrong), chosen)
      local[s] = replace(there, jacobians=local[s].jacobians | there.jacobians)
    again = {c.channel: c for c in compared(tuple(wrong))}
    results = tuple(better(c, again.get(c.channel, c)) for c in results)
  wrong_at = {s for c in results for s in c.beyond}
  touching = {s: anchors[s].touching(engine.touching(s)) for s in wrong_at}
  touching = {s: why for s, why in touching.items() if why}
  results = tuple(
    replace(c, compared=tuple(s for s in c.compared if s not in touching)) for c in results
  )
  results = tuple(_resolve(c, anchors, own, chosen, cotangents, seed) for c in results)
  return CheckResult(
    model=model_name(mjm),
    seed=seed,
    device=engine.device,
    channels=results,
    states=tuple(
      _state_result(state, here, errors[s], touching.get(s, ""))
      for s, (state, here) in enumerate(zip(states, local, strict=True))
    ),
    differing=tuple(sorted({*left_out, *reframed, *touching})),
    reframed=tuple(s for s in reframed if s not in touching),
  )


def differentiable(mjm: mujoco.MjModel) -> tuple[str, ...]:
  """The parameters that have a gradient in this model and that C MuJoCo can vary."""
  left_out = {*refused_parameters(mjm), *FLOAT32_FIELDS}
  if not mjm.ngravcomp:
    left_out.add("body_gravcomp")  # C MuJoCo counts at compile time whether there is any
  return tuple(name for name in PARAMETERS if name not in left_out)


def _choose(
  oracle: Oracle, gradients: Mapping[str, np.ndarray], count: int, seed: int
) -> dict[str, np.ndarray]:
  """Entries of every channel to compare, at most `count`, the same at every state.

  Half are those where the engine's gradient is largest, in natural sizes of the entries: most
  entries of a large parameter, such as the ten gain parameters of a motor, do nothing. The other
  half is drawn from the rest, so that an effect that the engine misses is found as well.
  """
  rng = np.random.default_rng(seed)
  chosen = {}
  for name, value in gradients.items():
    size = np.linalg.norm(value, axis=(0, 1)) * oracle.channel_scale(name)
    size[~np.isfinite(size)] = np.inf
    order = np.argsort(-size, kind="stable")
    largest, rest = order[: count // 2], order[count // 2 :]
    drawn = rng.permutation(rest)[: count - largest.size]
    chosen[name] = np.sort(np.concatenate((largest, drawn)))
  return chosen


@dataclass(frozen=True)
class _Anchor:
  """A state, and the oracle that its gradients are held against.

  Attributes:
    oracle: C MuJoCo, with the engine's contact frames and contacts of boxes where these are others.
    own: its step.
  """

  oracle: Oracle
  own: Linearisation

  def at(
    self, qacc: np.ndarray, channels: Sequence[str], entries: Mapping[str, np.ndarray] | None
  ) -> Linearisation:
    """The oracle driven to an acceleration of the engine, see `compare.py`.

    The state is at a switching point if something switches between it and the oracle's own. What
    is further away than the forward step may be is no acceleration to drive to.
    """
    own = self.own
    near = acceleration_error(own.base, qacc) <= 1.0
    point = self.oracle.driven(own.point, qacc) if near else own.point
    here = linearise(self.oracle, point, channels, entries)
    if here.branch.signature == own.branch.signature:
      return here
    nearest = min(own.branch, here.branch, key=lambda branch: branch.distance)
    return replace(here, branch=replace(nearest, distance=0.0))

  def touching(self, others: Contacts) -> str:
    """Pairs of geoms that touch otherwise in the engine, whose contacts are `others`."""
    oracle = self.oracle
    oracle.step(self.own.point)
    contact = oracle.mjd.contact
    rows = contact.efc_address >= 0
    names = [oracle.mjm.geom(g).name or str(g) for g in range(oracle.mjm.ngeom)]
    mine = Contacts(
      contact.geom[rows], contact.frame[rows, :3], contact.dist[rows], contact.pos[rows]
    )
    return difference(mine, others, names)


def _reframe(
  mjm: mujoco.MjModel,
  oracle: Oracle,
  anchors: list[_Anchor],
  steps: "StepGradient",
  errors: Sequence[float],
  tilting: bool,
) -> tuple[int, ...]:
  """States where the engine agrees, and agrees better, with C MuJoCo on the engine's contacts.

  Their anchors are replaced by those on its tangents and contacts of boxes, see `pipeline.py`. A
  state may be among them although its forward error is below 1: a small difference of two
  accelerations may come with a large one of their derivatives, and a plane that tilts takes other
  tangents.
  """
  out = []
  for s, anchor in enumerate(anchors):
    framed = linearise(oracle, anchor.own.point, ())
    base = framed.base
    tilted = tilting and pipeline.nearly_normal(mjm, oracle.mjd)
    distance = forward_error(mjm, anchor.own, base.qpos, base.qvel, base.qacc, base.act)
    if distance < DISTINCT and not tilted:
      continue
    error = forward_error(mjm, framed, steps.qpos[s], steps.qvel[s], steps.qacc[s], steps.act[s])
    if error <= 1.0 and (tilted or error < errors[s]):
      anchors[s] = _Anchor(oracle, framed)
      out.append(s)
  return tuple(out)


def model_name(mjm: mujoco.MjModel) -> str:
  """The name in the model file."""
  return bytes(mjm.names).split(b"\0", 1)[0].decode() or "unnamed model"


def _resolve(
  result: ChannelResult,
  anchors: "Sequence[_Anchor]",
  own: Sequence[Linearisation],
  entries: Mapping[str, np.ndarray] | None,
  cotangents: Cotangents,
  seed: int,
) -> ChannelResult:
  """Without the failing states that float32 does not resolve, see `resolution.py`."""
  name = result.channel
  unresolved = []
  for s in result.failing:
    chosen = None if entries is None else entries[name]
    rng = np.random.default_rng(seed)
    here = cotangents.of_state(s)
    resolution = error_of_rounding(anchors[s].oracle, name, own[s], here, chosen, rng)
    if result.errors[s] <= ROUNDINGS * resolution:
      unresolved.append(s)
  return replace(
    result,
    compared=tuple(s for s in result.compared if s not in unresolved),
    unresolved=tuple(unresolved),
  )


def _state_result(
  state: CheckState, here: Linearisation, error: float, touching: str
) -> StateResult:
  return StateResult(
    kind=state.kind,
    labels=state.labels,
    ncon=state.ncon,
    nefc=state.nefc,
    forward_error=error,
    switch_distance=here.branch.distance,
    nearest_switch=here.branch.nearest,
    touching=touching,
  )


class _Engine:
  """The simulator under test, one world per state.

  Attributes:
    singular: states at which a contact has no finite gradient, and what the engine says of it.
  """

  def __init__(self, mjm: mujoco.MjModel, states: Sequence[CheckState], device):
    self._mjm, self._device = mjm, device
    self._points = [state.point for state in states]
    self.singular: dict[int, str] = {}
    # A little room: the engine may find a contact that C MuJoCo does not.
    self._build(
      {
        "nconmax": max(state.ncon for state in states) + 16,
        "njmax": max(state.nefc for state in states) + 64,
      }
    )

  def _build(self, room: dict[str, int]) -> None:
    from mjgrad._src.engine.simulator import Simulator

    self._room = room
    nconmax, njmax = room["nconmax"], room["njmax"]
    self._sim = Simulator(self._mjm, len(self._points), self._device, nconmax=nconmax, njmax=njmax)

  @property
  def device(self) -> str:
    return str(self._sim.device)

  def touching(self, world: int) -> Contacts:
    """The contacts with constraint rows of a world, after `gradients`."""
    data = self._sim.data
    count = int(data.nacon.numpy()[0])
    contact = data.contact
    here = contact.worldid.numpy()[:count] == world
    here &= contact.efc_address.numpy()[:count, 0] >= 0
    geom, frame, dist, pos = (
      array.numpy()[:count][here]
      for array in (contact.geom, contact.frame, contact.dist, contact.pos)
    )
    return Contacts(geom, frame[:, 0], dist, pos)

  def gradients(
    self, cotangents: Cotangents, channels: Sequence[str]
  ) -> tuple["StepGradient", dict[str, np.ndarray]]:
    """Next states, and gradients by channel, shape [cotangent, nstates, n]; qpos tangent.

    A state without a finite gradient makes way for one that has, and is among `singular`.

    Raises:
      NonFiniteGradient: no state has a finite gradient.
    """
    while True:
      try:
        return self._gradients(cotangents, channels)
      except CapacityError as error:
        if not error.room:
          raise
        self._build(self._room | error.room)
      except NonFiniteGradient as error:
        self.singular[error.world] = str(error).split(": ", 1)[-1]
        rest = [s for s in range(len(self._points)) if s not in self.singular]
        if not rest:
          raise
        self._points[error.world] = self._points[rest[0]]

  def _stack(self, name: str) -> np.ndarray:
    return np.stack([getattr(point, name) for point in self._points])

  def _gradients(
    self, cotangents: Cotangents, channels: Sequence[str]
  ) -> tuple["StepGradient", dict[str, np.ndarray]]:
    from mjgrad._src.linearize import step_gradient

    inputs: dict[str, Any] = {name: self._stack(name) for name in Point.__dataclass_fields__}
    wrt_params = tuple(name for name in channels if name not in STATE_CHANNELS)
    collected: dict[str, list[np.ndarray]] = {name: [] for name in channels}
    out = None
    for adj_qpos, adj_qvel, adj_act in zip(
      cotangents.qpos, cotangents.qvel, cotangents.act, strict=True
    ):
      out = step_gradient(
        self._sim,
        **inputs,
        adj_qpos=adj_qpos,
        adj_qvel=adj_qvel,
        adj_act=adj_act,
        wrt_params=wrt_params,
      )
      for name in channels:
        value = np.asarray(out.grad[name], dtype=np.float64).reshape(len(self._points), -1)
        if name == "qpos":
          value = np.stack(
            [to_tangent(self._mjm, q, g) for q, g in zip(inputs["qpos"], value, strict=True)]
          )
        collected[name].append(value)
    assert out is not None
    return out, {name: np.stack(values) for name, values in collected.items()}
