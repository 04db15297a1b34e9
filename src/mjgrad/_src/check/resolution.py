"""What float32 can know of a gradient: how far the truth moves when its input is rounded.

An engine in float32 rounds the state, the terms of the generalised force and the multiplier. It
solves, at best,

    (q, v) + eps (|x|, |v|) u,    M a + c = tau + J^T f + eps (|c| + |tau| + |J|^T |f|) u,
    H lam = abar + H eps |lam| u

with u within [-1, 1] in every entry, eps the spacing of float32 and |x| one radian or, where a
joint slides, the distance of its body from the origin; and geoms and sites are where they are to
within eps times their distance from the origin. Some gradients change by percents between
such problems: that in the impedance of a contact whose depth is nearly the width of its impedance,
those of a body that is held by contacts whose forces all but cancel, or of a gram that touches
something hard. There an engine in float32 cannot be told right from wrong. An error that is at most
`ROUNDINGS` times what such draws make of the truth, in the units of `compare.py`, says nothing
against the gradient.

Source: Higham, Accuracy and Stability of Numerical Algorithms, 2002, sections 1.5 and 1.6.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import mujoco
import numpy as np

from mjgrad._src.check.compare import Cotangents
from mjgrad._src.check.compare import compare_channel
from mjgrad._src.check.compare import pulled_back
from mjgrad._src.check.jacobian import Linearisation
from mjgrad._src.check.jacobian import linearise
from mjgrad._src.check.oracle import Oracle
from mjgrad._src.check.oracle import Point

EPS = 2.0**-23
DRAWS = 8
ROUNDINGS = 8.0  # every joint of a kinematic chain and every term of a sum rounds anew


def error_of_rounding(
  oracle: Oracle,
  channel: str,
  here: Linearisation,
  cotangents: Cotangents,
  entries: np.ndarray | None,
  rng: np.random.Generator,
) -> float:
  """The largest error of some draws of the truth on its branch, rounded, against itself.

  Args:
    oracle: the model.
    channel: the channel, of which `here` has the Jacobian.
    here: the truth at the state.
    cotangents: of this state alone.
    entries: of the channel, those to difference; None for all.
    rng: of the draws.
  """
  chosen = None if entries is None else {channel: entries}
  force = linearise(oracle, here.point, ("qfrc_applied",))
  scale = oracle.channel_scale(channel)
  errors = []
  for _ in range(DRAWS):
    point = rounded(oracle, here.point, rng)
    with _rounded_places(oracle, rng):
      near = linearise(oracle, point, (channel,), chosen)
    if near.branch.signature != here.branch.signature:
      continue  # another gradient, not the same one rounded
    pulled = pulled_back(
      oracle.mjm, channel, [near], _rounded_multiplier(oracle, force, cotangents, rng)
    )
    found = compare_channel(oracle.mjm, channel, [here], cotangents, pulled, (), scale)
    errors.append(found.errors[0])
  return max(errors, default=0.0)


def _rounded_multiplier(
  oracle: Oracle, force: Linearisation, cotangents: Cotangents, rng: np.random.Generator
) -> Cotangents:
  """The cotangents whose multiplier, the gradient in a generalised force, is the rounded one."""
  gradient = pulled_back(oracle.mjm, "qfrc_applied", [force], cotangents)
  change = EPS * np.abs(gradient) * rng.uniform(-1.0, 1.0, size=gradient.shape)
  nv = oracle.nv
  velocity = force.jacobians["qfrc_applied"].matrix[nv : 2 * nv]
  adj = np.linalg.lstsq(velocity.T, change.reshape(-1, nv).T, rcond=None)[0].T
  return replace(cotangents, qvel=cotangents.qvel + adj.reshape(cotangents.qvel.shape))


def rounded(oracle: Oracle, point: Point, rng: np.random.Generator) -> Point:
  """The point as rounding in float32 may leave it, that of its forces in `qfrc_applied`."""
  mjm, mjd = oracle.mjm, oracle.mjd
  oracle.forward(point)
  forces = (mjd.qfrc_bias, mjd.qfrc_passive, mjd.qfrc_actuator, mjd.qfrc_applied)
  size = np.sum(np.abs(forces), axis=0)
  if mjd.nefc:
    jac = mjd.efc_J[: mjd.nefc * mjm.nv].reshape(mjd.nefc, mjm.nv)
    size += np.abs(jac).T @ np.abs(mjd.efc_force)

  def draw() -> np.ndarray:
    return EPS * rng.uniform(-1.0, 1.0, size=mjm.nv)

  qpos = point.qpos.copy()
  mujoco.mj_integratePos(mjm, qpos, _reach(mjm, mjd) * draw(), 1.0)
  return replace(
    point,
    qpos=qpos,
    qvel=point.qvel + np.abs(point.qvel) * draw(),
    qfrc_applied=point.qfrc_applied + size * draw(),
  )


@contextlib.contextmanager
def _rounded_places(oracle: Oracle, rng: np.random.Generator) -> Iterator[None]:
  """Moves geoms and sites on their bodies by the rounding of where they were last."""
  mjm, mjd = oracle.mjm, oracle.mjd
  places = ((mjm.geom_pos, mjd.geom_xpos), (mjm.site_pos, mjd.site_xpos))
  kept = [local.copy() for local, _ in places]
  for local, world in places:
    distance = np.linalg.norm(world, axis=1, keepdims=True)
    local += EPS * distance * rng.uniform(-1.0, 1.0, size=local.shape)
  try:
    yield
  finally:
    for (local, _), before in zip(places, kept, strict=True):
      local[:] = before


def _reach(mjm: mujoco.MjModel, mjd: mujoco.MjData) -> np.ndarray:
  """What the rounding of every coordinate is relative to, shape [nv]."""
  reach = np.ones(mjm.nv)
  for jntid in range(mjm.njnt):
    dof = mjm.jnt_dofadr[jntid]
    distance = np.linalg.norm(mjd.xpos[mjm.jnt_bodyid[jntid]])
    if mjm.jnt_type[jntid] == mujoco.mjtJoint.mjJNT_FREE:
      reach[dof : dof + 3] = distance
    elif mjm.jnt_type[jntid] == mujoco.mjtJoint.mjJNT_SLIDE:
      reach[dof] = distance
  return reach
