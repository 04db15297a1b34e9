"""C MuJoCo's step and forward pass, optionally with the engine's contact frames.

For a plane and a capsule within 30 degrees of the plane's normal, mujoco-warp 4.0.0 takes a fixed
direction as first tangent where C MuJoCo takes the projected capsule axis (`plane_capsule` in its
`collision_primitive_core.py`). A pyramidal cone depends on the tangents, so the two simulate
different contacts there. The direction does not turn with the plane either, so that a plane that
tilts leaves it by an angle. C MuJoCo with the engine's tangents is the oracle for these states:
positions are computed, tangents exchanged, and the constraint rows built again from them. So it is
with contacts of curved geoms, which are refined first (`contacts.py`), those of height fields,
of which mujoco-warp keeps some (`height_fields.py`), and those of two boxes (`boxes.py`).
"""

from functools import partial

import mujoco
import numpy as np

from mjgrad._src.check import contacts
from mjgrad._src.check import height_fields
from mjgrad._src.check import stages
from mjgrad._src.check.boxes import Boxes

NEARLY_NORMAL = 0.5  # sine of the angle between capsule and normal, `b_norm < 0.5` in the engine


def forward(
  mjm: mujoco.MjModel,
  mjd: mujoco.MjData,
  engine_frames: bool = True,
  boxes: Boxes | None = None,
) -> None:
  """`mj_forward` without sensors, with the engine's choice of contacts, refined, and its frames.

  With `boxes` those of two boxes are the engine's as well.
  """
  mujoco.mj_fwdPosition(mjm, mjd)
  changed = boxes is not None and boxes.replace(mjm, mjd)
  changed |= contacts.refine(mjm, mjd)
  changed |= height_fields.select(mjm, mjd)
  changed |= engine_frames and _set_engine_frames(mjm, mjd)
  if changed:
    mujoco.mj_makeConstraint(mjm, mjd)
    mujoco.mj_projectConstraint(mjm, mjd)
  mujoco.mj_fwdVelocity(mjm, mjd)
  mujoco.mj_fwdActuation(mjm, mjd)
  mujoco.mj_fwdAcceleration(mjm, mjd)
  mujoco.mj_fwdConstraint(mjm, mjd)


def step(
  mjm: mujoco.MjModel,
  mjd: mujoco.MjData,
  engine_frames: bool = True,
  boxes: Boxes | None = None,
) -> None:
  """`mj_step` with the evaluations of `forward`."""
  if mjm.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4:
    evaluate = partial(forward, engine_frames=engine_frames, boxes=boxes)
    return stages.runge_kutta(mjm, mjd, evaluate)
  forward(mjm, mjd, engine_frames, boxes)
  if mjm.opt.integrator == mujoco.mjtIntegrator.mjINT_EULER:
    mujoco.mj_Euler(mjm, mjd)
  else:
    mujoco.mj_implicit(mjm, mjd)


def nearly_normal(mjm: mujoco.MjModel, mjd: mujoco.MjData) -> list[int]:
  """Contacts whose tangents differ in the engine."""
  contact = mjd.contact
  found = []
  for i in range(mjd.ncon):
    plane, capsule = contact.geom[i]
    kinds = (mjm.geom_type[plane], mjm.geom_type[capsule])
    if kinds != (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_CAPSULE):
      continue
    normal = contact.frame[i, :3]
    axis = mjd.geom_xmat[capsule].reshape(3, 3)[:, 2]
    if np.linalg.norm(axis - normal * (normal @ axis)) < NEARLY_NORMAL:
      found.append(i)
  return found


def _set_engine_frames(mjm: mujoco.MjModel, mjd: mujoco.MjData) -> bool:
  """Exchanges the tangents of nearly normal plane-capsule contacts; whether there were any."""
  exchanged = nearly_normal(mjm, mjd)
  for i in exchanged:
    normal = mjd.contact.frame[i, :3].copy()
    tangent = np.array([0.0, 1.0, 0.0] if -0.5 < normal[1] < 0.5 else [0.0, 0.0, 1.0])
    frame = np.concatenate((normal, tangent, np.cross(normal, tangent)))
    mjd.contact[i].frame[:] = frame
  return bool(exchanged)
