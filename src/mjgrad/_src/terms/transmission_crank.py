"""Slider-crank transmissions: from the cotangents of length and rates to the two bodies.

A rod of length r joins the pin, the crank's site, to a slider on the z axis of another site. With
v the vector from the slider's site to the pin and n its axis,

    l = gear (n . v - s),    s = sqrt(d),    d = (n . v)^2 + r^2 - v . v
    rate^w = gear (l_v . (u_pin^w - u_slider^w) + l_n . (o_slider^w x n))
    l_v = (1 - n . v / s) n + v / s,    l_n = (1 - n . v / s) v

and where the rod is too short to reach, d <= 0, the slider is at the foot of the pin: s = 0,
l_v = n, l_n = v. Which of the two holds, is held fixed.

Source: MuJoCo documentation, Computation, "Actuation model" (slider-crank).
"""

import mujoco
import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.spatial import velocity_at
from mjgrad._src.spatial import wrench_at
from mjgrad._src.terms.transmission import rate_cotangent
from mjgrad._src.tree.attach import add_pose
from mjgrad._src.tree.axes import Directions
from mjgrad._src.tree.axes import add_twist
from mjgrad._src.tree.axes import directions
from mjgrad._src.tree.axes import twist_of

wp.set_module_options({"enable_backward": False})

SLIDERCRANK = wp.constant(int(mujoco.mjtTrn.mjTRN_SLIDERCRANK))
KINDS = frozenset((int(SLIDERCRANK),))


@wp.func
def crank_length(v: wp.vec3, n: wp.vec3, rod: float) -> wp.float32:
  """Length for a gear of one."""
  along = wp.dot(v, n)
  det = along * along + rod * rod - wp.dot(v, v)
  length = along
  if det > 0.0:
    length = along - wp.sqrt(det)
  return length


@wp.func
def crank_rate(v: wp.vec3, n: wp.vec3, rod: float, dv: wp.vec3, dn: wp.vec3) -> wp.float32:
  """Rate of the length for a gear of one, from the rates of v and n."""
  along = wp.dot(v, n)
  det = along * along + rod * rod - wp.dot(v, v)
  rate = wp.dot(n, dv) + wp.dot(v, dn)
  if det > 0.0:
    rate = rate - (along * rate - wp.dot(v, dv)) / wp.sqrt(det)
  return rate


@wp.kernel
def _crank_vjp(
  # Model:
  body_rootid: wp.array[int],
  site_bodyid: wp.array[int],
  actuator_trntype: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_cranklength: wp.array2d[float],
  actuator_gear: wp.array2d[wp.spatial_vector],
  # Data in:
  site_xpos_in: wp.array2d[wp.vec3],
  site_xmat_in: wp.array2d[wp.mat33],
  subtree_com_in: wp.array2d[wp.vec3],
  actuator_length_in: wp.array2d[float],
  # In:
  nrate: int,
  body_lastdof: wp.array[int],
  own: Directions,
  twist_in: wp.array4d[float],
  # Adjoint in:
  adj_length_in: wp.array2d[float],
  adj_rate_in: wp.array3d[float],
  # Adjoint out (+=):
  wrench_out: wp.array4d[float],
  site_wrench_out: wp.array2d[wp.spatial_vector],
  adj_actuator_cranklength_out: wp.array2d[float],
  adj_actuator_gear_out: wp.array2d[wp.spatial_vector],
):
  worldid, actid = wp.tid()
  if actuator_trntype[actid] != SLIDERCRANK:
    return
  gear = actuator_gear[worldid % actuator_gear.shape[0], actid][0]
  rod = actuator_cranklength[worldid % actuator_cranklength.shape[0], actid]
  pinid = actuator_trnid[actid][0]
  sliderid = actuator_trnid[actid][1]
  body1 = site_bodyid[pinid]
  body2 = site_bodyid[sliderid]
  last1 = body_lastdof[body1]
  last2 = body_lastdof[body2]
  pos1 = site_xpos_in[worldid, pinid]
  pos2 = site_xpos_in[worldid, sliderid]
  offset1 = pos1 - subtree_com_in[worldid, body_rootid[body1]]
  offset2 = pos2 - subtree_com_in[worldid, body_rootid[body2]]
  xmat = site_xmat_in[worldid, sliderid]
  n = wp.vec3(xmat[0, 2], xmat[1, 2], xmat[2, 2])
  v = pos1 - pos2

  adj_length = adj_length_in[worldid, actid]
  length_v, length_n, length_rod = wp.grad(crank_length)(v, n, rod)
  adj_v = gear * adj_length * length_v
  adj_n = gear * adj_length * length_n
  adj_rod = gear * adj_length * length_rod
  adj_gear = float(0.0)
  if gear != 0.0:
    adj_gear = adj_length * actuator_length_in[worldid, actid] / gear
  adj_pos1 = wp.vec3()
  adj_pos2 = wp.vec3()
  nown = wp.where(own.direction.shape[0] > 0, 1, 0)
  for w in range(nrate + nown):
    c = rate_cotangent(worldid, actid, w, nrate, adj_rate_in)
    twist1 = twist_of(worldid, w, nrate, actid, last1, twist_in, own)
    twist2 = twist_of(worldid, w, nrate, actid, last2, twist_in, own)
    o1 = wp.spatial_top(twist1)
    o2 = wp.spatial_top(twist2)
    dv = velocity_at(twist1, offset1) - velocity_at(twist2, offset2)
    dn = wp.cross(o2, n)
    rate_v, rate_n, rate_rod, rate_dv, rate_dn = wp.grad(crank_rate)(v, n, rod, dv, dn)
    adj_gear += c * (wp.dot(rate_dv, dv) + wp.dot(rate_dn, dn))
    c *= gear
    force = c * rate_dv
    wrench1 = wrench_at(force, wp.vec3(0.0), offset1)
    wrench2 = wrench_at(-force, c * wp.cross(n, rate_dn), offset2)
    add_twist(worldid, w, nrate, actid, body1, last1, twist1, wrench1, own, wrench_out)
    add_twist(worldid, w, nrate, actid, body2, last2, twist2, wrench2, own, wrench_out)
    adj_pos1 += wp.cross(force, o1)
    adj_pos2 -= wp.cross(force, o2)
    adj_v += c * rate_v
    adj_n += c * (rate_n + wp.cross(rate_dn, o2))
    adj_rod += c * rate_rod
  add_pose(worldid, body1, adj_pos1 + adj_v, wp.vec3(0.0), offset1, wrench_out)
  add_pose(worldid, body2, adj_pos2 - adj_v, wp.cross(n, adj_n), offset2, wrench_out)
  accumulate(site_wrench_out, worldid, pinid, wp.spatial_vector(wp.vec3(0.0), adj_pos1 + adj_v))
  turning = wp.cross(n, adj_n)
  accumulate(site_wrench_out, worldid, sliderid, wp.spatial_vector(turning, adj_pos2 - adj_v))
  accumulate(adj_actuator_cranklength_out, worldid, actid, adj_rod)
  accumulate(
    adj_actuator_gear_out, worldid, actid, wp.spatial_vector(adj_gear, 0.0, 0.0, 0.0, 0.0, 0.0)
  )


def vjp(work) -> None:
  """Adds the wrenches of slider-cranks and the gradients of their rods and gears."""
  m, d, act = work.model, work.data, work.actuation
  wp.launch(
    _crank_vjp,
    dim=(d.nworld, m.nactuator),
    inputs=[
      m.body_rootid,
      m.site_bodyid,
      m.actuator_trntype,
      m.actuator_trnid,
      m.actuator_cranklength,
      m.actuator_gear,
      d.site_xpos,
      d.site_xmat,
      d.subtree_com,
      d.actuator_length,
      act.nrate,
      work.tree.body_lastdof,
      directions(work, act.direction),
      work.twist,
      act.adj_length,
      act.adj_rate,
      work.wrench,
      work.site_wrench,
      work.adj["actuator_cranklength"],
      work.adj["actuator_gear"],
    ],
  )
