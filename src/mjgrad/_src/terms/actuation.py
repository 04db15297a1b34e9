"""Actuator quantities at the linearization point, and their cotangents."""

import dataclasses
from collections.abc import Container
from typing import Any

import mujoco
import numpy as np
import warp as wp

from mjgrad._src.contact.cotangents import ContactCotangents
from mjgrad._src.engine.discrete_rules import is_discrete
from mjgrad._src.terms import actuator_passive
from mjgrad._src.terms import force_limit
from mjgrad._src.terms import transmission_body
from mjgrad._src.terms import transmission_joint
from mjgrad._src.terms.tendon_rates import NRATE
from mjgrad._src.tree.indices import split_actuators


def _lends(mjm: mujoco.MjModel, requested: Container[str]) -> bool:
  """Whether a requested parameter scales the damping or armature that actuators lend."""
  values = [getattr(mjm, name) for name in actuator_passive.PARAMETERS]
  scaled = "actuator_gear" in requested and any(value.any() for value in values)
  return scaled or any(name in requested for name in actuator_passive.PARAMETERS)


def _has_muscles(mjm: mujoco.MjModel) -> bool:
  """Whether an actuator has the gain, the bias or the activation of a muscle."""
  return bool(
    (mjm.actuator_gaintype == int(mujoco.mjtGain.mjGAIN_MUSCLE)).any()
    or (mjm.actuator_biastype == int(mujoco.mjtBias.mjBIAS_MUSCLE)).any()
    or (mjm.actuator_dyntype == int(mujoco.mjtDyn.mjDYN_MUSCLE)).any()
  )


@dataclasses.dataclass
class Actuation:
  """Actuator quantities; arrays have the shape [nworld, nactuator] where nothing else is said.

  Attributes:
    kinds: types of the transmissions in the model
    muscles: whether an actuator is a muscle
    joint_limited: whether a joint limits its total actuator force
    tendon_limited: whether a tendon limits its total actuator force
    lends: whether the damping and the armature of actuators have gradients to compute
    nrate: number of directions whose rates matter, all five only for implicit integration
    gated: workspace for lam without the held dofs, see `terms/force_limit.py`, None for none
    compensated: likewise for the gravity compensation of joints with `jnt_actgravcomp`
    gravcomp_gate: 0 where gravity compensation is held or lost, else 1, shape [nworld, nv]
    velocity: transmission velocity [rad/s or m/s]
    ctrl: control after its clamp
    ctrl_free: 0 where the control clamp holds, else 1
    period: length of a full turn of the set point [rad or m], 0 where it has none
    turns: full turns taken off the control in front of a filter, off the next activation, and off
      the input, vec3
    input: what the gain multiplies, control or activation
    raw_force: actuator force before its clamp [N or N m]
    force: actuator force after its clamp [N or N m]
    force_free: derivative of `force` in `raw_force`, 0 where the clamp holds
    held: what clamps inside a DC motor hold, see `terms/dcmotor_law.py`
    slope: derivative of `force` in `velocity`, where it is integrated implicitly
    slope_free: 0 where a clamp takes the slope away, else 1
    slope_product: what the actuator contributes to psi
    ncontact: number of contacts of an adhesive body
    adj_contact: cotangents of adhesive contacts of solid geoms
    length_slope, length_slope_free: likewise for the length, under `discrete`
    qfrc: summed actuator force on each dof before its limit [N or N m], shape [nworld, nv]
    dof_free: 0 where the dof's total force is held, else 1, shape [nworld, nv]
    adj_force: cotangent of `raw_force` from the other actuators of a limited tendon
    direction: directions of the moments' own, see `terms/actuator_direction.py`, shape
      [nworld, nactuator, nv], empty where no actuator has one
    adj_length: cotangent of the length
    adj_rate: cotangents of the rates, shape [nworld, nactuator, 5]
    adj_period: cotangent of `period`
  """

  kinds: frozenset[int]
  muscles: bool
  joint_limited: bool
  tendon_limited: bool
  lends: bool
  nrate: int
  gated: Any
  compensated: Any
  gravcomp_gate: wp.array
  velocity: wp.array
  ctrl: wp.array
  ctrl_free: wp.array
  period: wp.array
  turns: wp.array
  input: wp.array
  raw_force: wp.array
  force: wp.array
  force_free: wp.array
  held: wp.array
  slope: wp.array
  slope_free: wp.array
  slope_product: wp.array
  ncontact: wp.array
  adj_contact: ContactCotangents
  length_slope: wp.array
  length_slope_free: wp.array
  qfrc: wp.array
  dof_free: wp.array
  adj_force: wp.array
  direction: wp.array
  adj_length: wp.array
  adj_rate: wp.array
  adj_period: wp.array

  @classmethod
  def empty(
    cls,
    mjm: mujoco.MjModel,
    nworld: int,
    requested: Container[str],
    implicit: bool,
    device: wp.Device,
  ) -> "Actuation":
    nactuator = mjm.actuator_trntype.shape[0]
    split = implicit and split_actuators(mjm).any()
    directed = nworld if is_discrete(mjm) or split else 0

    def floats(*shape: int) -> wp.array:
      return wp.zeros((nworld, *(shape or (nactuator,))), dtype=float, device=device)

    return cls(
      kinds=frozenset(np.unique(mjm.actuator_trntype).tolist()),
      muscles=_has_muscles(mjm),
      joint_limited=nactuator > 0 and bool(mjm.jnt_actfrclimited.any()),
      tendon_limited=nactuator > 0 and bool(mjm.tendon_actfrclimited.any()),
      lends=nactuator > 0 and _lends(mjm, requested),
      nrate=NRATE if implicit else 2,
      gated=None,
      compensated=None,
      gravcomp_gate=floats(mjm.nv),
      velocity=floats(),
      ctrl=floats(),
      ctrl_free=floats(),
      period=floats(),
      turns=wp.zeros((nworld, nactuator), dtype=wp.vec3, device=device),
      input=floats(),
      raw_force=floats(),
      force=floats(),
      force_free=floats(),
      held=wp.zeros((nworld, nactuator), dtype=int, device=device),
      slope=floats(),
      slope_free=floats(),
      slope_product=floats(),
      ncontact=floats(),
      adj_contact=ContactCotangents.empty(0),
      length_slope=floats(),
      length_slope_free=floats(),
      qfrc=floats(mjm.nv),
      dof_free=wp.ones((nworld, mjm.nv), dtype=float, device=device),
      adj_force=floats(),
      direction=wp.zeros((directed, nactuator, mjm.nv), dtype=float, device=device),
      adj_length=floats(),
      adj_rate=floats(nactuator, NRATE),
      adj_period=floats(),
    )

  def complete(self, work, mjm: mujoco.MjModel) -> None:
    """Adds what the rest of the workspace decides: the gated workspaces, room for contacts."""
    actgravcomp = mjm.jnt_actgravcomp.astype(bool)
    held = (
      actgravcomp & mjm.jnt_actfrclimited.astype(bool) if work.actuation_enabled else actgravcomp
    )
    if work.gravcomp_enabled and held.any():
      self.compensated = force_limit.gated_workspace(work)
    if self.kinds & transmission_body.KINDS and work.solid_contacts:
      self.adj_contact = ContactCotangents.empty(work.data.naconmax)
    if self.joint_limited and self.kinds - transmission_joint.KINDS:
      self.gated = force_limit.gated_workspace(work)
