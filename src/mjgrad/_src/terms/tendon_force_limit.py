"""Limits of the total actuator force on a tendon, `tendon_actfrcrange`.

Beyond its range b the sum S = sum_j F_j of the actuators of a tendon scales all of them,

    F_a' = clamp(F_a s),    s = b / S      (1 inside the range)

and then each has its own limit. With W = sum_a rate_a^lam F_a over those that are not held,

    d phi / d F_a = -rate_a^lam s + W b / S^2,    d phi / d b = -W / S

so that for equal gears, and without limits of their own, the total is b and its parts do not
matter. Each actuator adds its part F_a / S of the bound's gradient.

Held fixed: which bound is passed. Source: MuJoCo documentation, XML reference, "tendon"
(actuatorfrcrange).
"""

import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.terms.actuator_law import held_by_range
from mjgrad._src.terms.transmission import moment_dot_free
from mjgrad._src.terms.transmission_tendon import TENDON

wp.set_module_options({"enable_backward": False})


@wp.func
def _total(
  actuator_trntype: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  force: wp.array2d[float],
  worldid: int,
  tenid: int,
) -> float:
  """Sum of the forces of a tendon's actuators."""
  total = float(0.0)
  for j in range(actuator_trntype.shape[0]):
    if actuator_trntype[j] == TENDON and actuator_trnid[j][0] == tenid:
      total += force[worldid, j]
  return total


@wp.kernel
def _scale(
  # Model:
  tendon_actfrclimited: wp.array[bool],
  tendon_actfrcrange: wp.array2d[wp.vec2],
  actuator_trntype: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_forcelimited: wp.array[bool],
  actuator_forcerange: wp.array2d[wp.vec2],
  # In:
  raw_force: wp.array2d[float],
  # Out:
  force_out: wp.array2d[float],
  force_free_out: wp.array2d[float],
):
  worldid, actid = wp.tid()
  tenid = actuator_trnid[actid][0]
  if actuator_trntype[actid] != TENDON or not tendon_actfrclimited[tenid]:
    return
  total = _total(actuator_trntype, actuator_trnid, raw_force, worldid, tenid)
  bounds = tendon_actfrcrange[worldid % tendon_actfrcrange.shape[0], tenid]
  free = float(1.0)
  if total != 0.0 and total < bounds[0]:
    free = bounds[0] / total
  elif total != 0.0 and total > bounds[1]:
    free = bounds[1] / total
  force = raw_force[worldid, actid] * free
  limits = actuator_forcerange[worldid % actuator_forcerange.shape[0], actid]
  if held_by_range(actuator_forcelimited[actid], force, limits) != 0:
    free = 0.0
    force = wp.clamp(force, limits[0], limits[1])
  force_out[worldid, actid] = force
  force_free_out[worldid, actid] = free


@wp.kernel
def _scale_vjp(
  # Model:
  tendon_actfrclimited: wp.array[bool],
  tendon_actfrcrange: wp.array2d[wp.vec2],
  actuator_trntype: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_forcelimited: wp.array[bool],
  actuator_forcerange: wp.array2d[wp.vec2],
  # Data in:
  moment_rownnz_in: wp.array2d[int],
  moment_rowadr_in: wp.array2d[int],
  moment_colind_in: wp.array2d[int],
  actuator_moment_in: wp.array2d[float],
  # In:
  raw_force: wp.array2d[float],
  force: wp.array2d[float],
  dof_free: wp.array2d[float],
  lam_in: wp.array2d[float],
  # Adjoint out (+=):
  adj_tendon_actfrcrange_out: wp.array2d[wp.vec2],
  # Out:
  adj_force_out: wp.array2d[float],
):
  worldid, actid = wp.tid()
  tenid = actuator_trnid[actid][0]
  if actuator_trntype[actid] != TENDON or not tendon_actfrclimited[tenid]:
    return
  adj_force_out[worldid, actid] = 0.0
  total = _total(actuator_trntype, actuator_trnid, raw_force, worldid, tenid)
  bounds = tendon_actfrcrange[worldid % tendon_actfrcrange.shape[0], tenid]
  if total == 0.0 or (total >= bounds[0] and total <= bounds[1]):
    return
  bound = wp.where(total < bounds[0], bounds[0], bounds[1])
  work = float(0.0)
  for j in range(actuator_trntype.shape[0]):
    if actuator_trntype[j] == TENDON and actuator_trnid[j][0] == tenid:
      limits = actuator_forcerange[worldid % actuator_forcerange.shape[0], j]
      if held_by_range(actuator_forcelimited[j], force[worldid, j], limits) == 0:
        rate = moment_dot_free(
          moment_rownnz_in,
          moment_rowadr_in,
          moment_colind_in,
          actuator_moment_in,
          lam_in,
          dof_free,
          worldid,
          j,
        )
        work += rate * raw_force[worldid, j]
  adj_force_out[worldid, actid] = work * bound / (total * total)
  if adj_tendon_actfrcrange_out.shape[0] > 0:
    share = -raw_force[worldid, actid] / total * work / total
    side = wp.where(total < bounds[0], wp.vec2(share, 0.0), wp.vec2(0.0, share))
    accumulate(adj_tendon_actfrcrange_out, worldid, tenid, side)


def evaluate(work) -> None:
  """Scales the forces of tendons that are limited."""
  m, d, act = work.model, work.data, work.actuation
  if not act.tendon_limited:
    return
  wp.launch(
    _scale,
    dim=(d.nworld, m.nactuator),
    inputs=[
      m.tendon_actfrclimited,
      m.tendon_actfrcrange,
      m.actuator_trntype,
      m.actuator_trnid,
      m.actuator_forcelimited,
      m.actuator_forcerange,
      act.raw_force,
    ],
    outputs=[act.force, act.force_free],
  )


def vjp(work) -> None:
  """Fills what each force owes to the others' scale; adds the gradient of the bounds."""
  m, d, act = work.model, work.data, work.actuation
  if not act.tendon_limited:
    return
  wp.launch(
    _scale_vjp,
    dim=(d.nworld, m.nactuator),
    inputs=[
      m.tendon_actfrclimited,
      m.tendon_actfrcrange,
      m.actuator_trntype,
      m.actuator_trnid,
      m.actuator_forcelimited,
      m.actuator_forcerange,
      d.moment_rownnz,
      d.moment_rowadr,
      d.moment_colind,
      d.actuator_moment,
      act.raw_force,
      act.force,
      act.dof_free,
      work.lam,
      work.adj["tendon_actfrcrange"],
    ],
    outputs=[act.adj_force],
  )
