"""Tendon transmissions: from the cotangents of an actuator to those of its tendon.

    l = gear L,    rate^w = gear L^w

The implicit integrator keeps of m m^T the pairs of dofs that the inertia matrix has room for; what
that part contributes to psi, `slope_product`, is quadratic in the gear. Between branches that is
not a product of rates (terms/tendon_direction.py).

Source: MuJoCo documentation, Computation, "Actuation model" (transmission).
"""

import mujoco
import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.tree.twists import ACC
from mjgrad._src.tree.twists import DELTA
from mjgrad._src.tree.twists import LAM
from mjgrad._src.tree.twists import V

wp.set_module_options({"enable_backward": False})

TENDON = wp.constant(int(mujoco.mjtTrn.mjTRN_TENDON))
KINDS = frozenset((int(TENDON),))


@wp.kernel
def _tendon_vjp(
  # Model:
  opt_timestep: wp.array[float],
  actuator_trntype: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_gear: wp.array2d[wp.spatial_vector],
  # Data in:
  ten_length_in: wp.array2d[float],
  # In:
  implicit: bool,
  ten_rate: wp.array3d[float],
  slope: wp.array2d[float],
  slope_product: wp.array2d[float],
  tendon_branching: wp.array[bool],
  # Adjoint in:
  adj_length_in: wp.array2d[float],
  adj_rate_in: wp.array3d[float],
  # Adjoint out (+=):
  adj_ten_length_out: wp.array2d[float],
  adj_ten_rate_out: wp.array3d[float],
  branch_weight_out: wp.array2d[float],
  adj_actuator_gear_out: wp.array2d[wp.spatial_vector],
):
  worldid, actid = wp.tid()
  if actuator_trntype[actid] != TENDON:
    return
  tenid = actuator_trnid[actid][0]
  gear = actuator_gear[worldid % actuator_gear.shape[0], actid][0]
  adj_length = adj_length_in[worldid, actid]
  adj_velocity = adj_rate_in[worldid, actid, V]
  adj_lam = adj_rate_in[worldid, actid, LAM]
  wp.atomic_add(adj_ten_length_out, worldid, tenid, gear * adj_length)
  wp.atomic_add(adj_ten_rate_out, worldid, tenid, V, gear * adj_velocity)
  wp.atomic_add(adj_ten_rate_out, worldid, tenid, LAM, gear * adj_lam)
  if implicit and tendon_branching[tenid]:
    h = opt_timestep[worldid % opt_timestep.shape[0]]
    weight = -h * slope[worldid, actid] * gear * gear
    wp.atomic_add(branch_weight_out, worldid, tenid, weight)
  elif implicit:
    for w in range(wp.static(int(ACC)), wp.static(int(DELTA) + 1)):
      wp.atomic_add(adj_ten_rate_out, worldid, tenid, w, gear * adj_rate_in[worldid, actid, w])
  if adj_actuator_gear_out.shape[0] > 0:
    grad = adj_length * ten_length_in[worldid, tenid]
    grad += adj_velocity * ten_rate[worldid, tenid, V]
    grad += adj_lam * ten_rate[worldid, tenid, LAM]
    if implicit and gear != 0.0:
      grad += 2.0 * slope_product[worldid, actid] / gear
    accumulate(
      adj_actuator_gear_out, worldid, actid, wp.spatial_vector(grad, 0.0, 0.0, 0.0, 0.0, 0.0)
    )


def vjp(work) -> None:
  """Adds to `adj_ten_length`, `adj_ten_rate` and the gears; tendon paths carry them further."""
  m, d, act = work.model, work.data, work.actuation
  wp.launch(
    _tendon_vjp,
    dim=(d.nworld, m.nactuator),
    inputs=[
      m.opt.timestep,
      m.actuator_trntype,
      m.actuator_trnid,
      m.actuator_gear,
      d.ten_length,
      work.implicit_actuation,
      work.ten_rate,
      act.slope,
      act.slope_product,
      work.tree.tendon_branching,
      act.adj_length,
      act.adj_rate,
      work.adj_ten_length,
      work.adj_ten_rate,
      work.branch_weight,
      work.adj["actuator_gear"],
    ],
  )
