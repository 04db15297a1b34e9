"""The simulator: a MuJoCo model on a device, for a batch of worlds, ready to differentiate."""

import copy
from typing import Literal

import mujoco
import mujoco_warp as mjw
import warp as wp

from mjgrad._src.adaptive import AdaptiveProgram
from mjgrad._src.adaptive import Stats
from mjgrad._src.contact.from_distance import ContactsFromDistance
from mjgrad._src.contact.smooth import SmoothCollision
from mjgrad._src.engine import adapter
from mjgrad._src.engine import features
from mjgrad._src.engine import history
from mjgrad._src.engine.disabled import without_disabled
from mjgrad._src.engine.shapes import ScaledMeshes
from mjgrad._src.engine.static_geoms import StaticGeoms
from mjgrad._src.engine.status import Status
from mjgrad._src.errors import InvalidInput
from mjgrad._src.integrators.controller import NPACE
from mjgrad._src.integrators.methods import Adaptive
from mjgrad._src.integrators.methods import Backsolve
from mjgrad._src.integrators.methods import Discretise
from mjgrad._src.integrators.methods import Fixed
from mjgrad._src.integrators.tableau import RK4
from mjgrad._src.rollout import Program
from mjgrad._src.terms.applied import APPLIED
from mjgrad._src.tree.indices import Tree

TABLEAUS = {int(mujoco.mjtIntegrator.mjINT_RK4): RK4}
"""The explicit Runge-Kutta methods among MuJoCo's integrators."""


def _with_explicit_dynamics(mjm: mujoco.MjModel) -> mujoco.MjModel:
  """A copy of a model that integrates nothing implicitly."""
  mjm = copy.copy(mjm)
  mjm.opt.integrator = mujoco.mjtIntegrator.mjINT_RK4
  return mjm


def _put_model(mjm: mujoco.MjModel) -> mjw.Model:
  """The engine's model, if the engine and every gradient support it."""
  found = features.unsupported(mjm)
  try:
    model = adapter.put_model(mjm)
  except NotImplementedError as error:
    features.raise_unsupported([*found, f"mujoco_warp: {error}"])
    raise
  features.raise_unsupported(found + features.unsupported_pairs(mjm, model))
  return model


class Simulator:
  """A batch of worlds of one model, stepped by the unmodified `mujoco_warp`.

  Args:
    mjm: the model; a copy is not taken, later changes to it have no effect.
    nworld: number of worlds.
    device: Warp device or its name, for example "cuda:0" or "cpu"; None takes the GPU if there is
      one.
    nconmax: room for contacts per world, on average over worlds; None takes the engine's default.
    njmax: room for constraint rows in each world; None takes the engine's default.
    derived: whether the constants that MuJoCo's compiler derives at qpos0 (`dof_invweight0`,
      `body_invweight0`, `tendon_invweight0`, `tendon_length0`, `actuator_acc0`) keep the values of
      `mjm` ("fixed") or are functions of the parameters, as after compiling again ("follow").
    integrator: `Tsit5`, `Dopri5`, `Bosh3`, `Heun`, `RK4` or `Euler`, which integrate the continuous
      dynamics with steps of their own and keep the state in float64; None takes the model's option.
    adjoint: how an integrator that is given here is differentiated; `Discretise` or `Backsolve`;
      None takes `Discretise()`.
    surrogate: other dynamics for the backward pass alone, `ContactsFromDistance`; None
      differentiates what the forward pass computes.
    smooth_collision: blends the choices of the collision detector in the backward pass alone,
      `SmoothCollision`; None holds them fixed.

  Attributes:
    mjm: the MuJoCo model.
    nworld: number of worlds.
    device: the Warp device.
    model: the engine's model.
    data: the engine's data, scratch space of every call.
    nhistory: size of the buffers of past controls, 0 where no actuator has a delay.
    defaults: the model's poses of mocap bodies and the buffers of a reset, for calls to which none
      are given.
    static_geoms: places the geoms that never move.
    scaled_meshes: scales the meshes.
    status: overflows and non-finite states since the last check.
    integrator: the method with steps of its own; None where the model's option is used.
    adjoint: how it is differentiated.
    ncontroller: number of entries that its controller remembers per world.
    latest: what took the last call's steps.
    tableau: the explicit Runge-Kutta method of the model's integrator; None for integrators of one
      stage.

  Raises:
    UnsupportedFeature: the model uses something without a gradient; lists every element.
    InvalidInput: nworld is not positive, mjm is not an MjModel, an unknown `derived`, an adjoint
      without an integrator, or a surrogate for geoms that never collide.
  """

  def __init__(
    self,
    mjm: mujoco.MjModel,
    nworld: int,
    device: wp.DeviceLike = None,
    *,
    nconmax: int | None = None,
    njmax: int | None = None,
    derived: Literal["fixed", "follow"] = "fixed",
    integrator: Adaptive | Fixed | None = None,
    adjoint: Discretise | Backsolve | None = None,
    surrogate: ContactsFromDistance | None = None,
    smooth_collision: SmoothCollision | None = None,
  ):
    if not isinstance(mjm, mujoco.MjModel):
      raise InvalidInput(
        f"mjm is a {type(mjm).__name__}; expected a mujoco.MjModel, for example from "
        "mujoco.MjModel.from_xml_path."
      )
    if nworld < 1:
      raise InvalidInput(f"nworld is {nworld}; expected at least 1.")
    if derived not in ("fixed", "follow"):
      raise InvalidInput(f"derived is {derived!r}; expected 'fixed' or 'follow'.")
    mjm = without_disabled(mjm)
    if integrator is not None:
      mjm = _with_explicit_dynamics(mjm)
    elif adjoint is not None:
      raise InvalidInput(
        "adjoint is for simulators with an integrator, for example mjgrad.Tsit5()."
      )
    self.mjm, self.nworld, self.derived, self.surrogate = mjm, nworld, derived, surrogate
    self.integrator, self.adjoint = integrator, adjoint or Discretise()
    self.device = wp.get_device(device) if device is not None else wp.get_preferred_device()
    self.smooth_collision = smooth_collision
    self.nq, self.nv, self.nu, self.na = mjm.nq, mjm.nv, mjm.nu, mjm.na
    self.nbody, self.nhistory = mjm.nbody, history.size(mjm)
    self.ncontroller = NPACE if isinstance(integrator, Adaptive) else 0
    with wp.ScopedDevice(self.device):
      self.model = _put_model(mjm)
      if surrogate is not None:
        selected = surrogate.selected(mjm, self.model)
        features.raise_unsupported(features.without_surrogate(mjm, self.model, selected))
      if isinstance(adjoint, Backsolve):
        features.raise_unsupported(features.without_backsolve(mjm))
      adapter.silence_overflow(self.model)
      self.data = adapter.make_data(mjm, nworld=nworld, nconmax=nconmax, njmax=njmax)
      self.defaults = {
        name: wp.clone(getattr(self.data, name)) for name in ("mocap_pos", "mocap_quat", "history")
      }
      self.static_geoms = StaticGeoms(self.data)
      self.scaled_meshes = ScaledMeshes(mjm, self.model)
      self.tree = Tree.from_model(mjm, self.device)
      self.status = Status(mjm, self.data)
    self.tableau = None if integrator else TABLEAUS.get(mjm.opt.integrator)
    self.latest: AdaptiveProgram | None = None
    self._programs: dict = {}

  def program(
    self, requested: dict[str, bool], nstep: int, applied: tuple[str, ...] = APPLIED
  ) -> Program:
    """The captured graphs of a call.

    Args:
      requested: parameters that are given, and whether each is per world.
      nstep: steps per call.
      applied: which of `APPLIED` are given; the others are zero and get no gradient.
    """
    key = (tuple(sorted(requested.items())), nstep, applied)
    if key not in self._programs:
      with wp.ScopedDevice(self.device):
        kind = AdaptiveProgram if self.integrator else Program
        self._programs[key] = kind(self, requested, nstep, applied)
    return self._programs[key]

  @property
  def stats(self) -> Stats:
    """Accepted and rejected steps of every world in the last call, and their sizes.

    Raises:
      InvalidInput: there was no call yet, or the simulator has no integrator of its own.
    """
    if self.latest is None:
      raise InvalidInput("there are no stats before the first step with an integrator, e.g. Tsit5.")
    return self.latest.stats()

  def check(self) -> None:
    """Waits for the device and raises for overflows and non-finite states since the last check.

    Raises:
      CapacityError: names the option to raise and its value.
      NonFiniteState: names the world and the joint.
    """
    self.status.raise_for_errors()
