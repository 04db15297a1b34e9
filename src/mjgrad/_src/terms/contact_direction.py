"""What the scale of rows adds for contacts under `discrete`.

    x . J,    x the direction of a contact's first row, held fixed (terms/row_scale.py)

is that row's rate along x: with u the relative velocity at the point, in the contact frame, u_0, or
u_0 + mu u_1 for an edge of a pyramid. It is linear in the twists of the two bodies along x, whose
cotangents go to the axes of the bodies (tree/axes.py). What the point, the frame and mu receive is
added where the contact's other directions are, from `work.scale_twist` (terms/contact.py,
terms/contact_material.py).

Source: MuJoCo documentation, Computation, "Constraint model", "Numerical integration" (discrete).
"""

import warp as wp

from mjgrad._src.engine.adapter import vec5
from mjgrad._src.spatial import wrench_at
from mjgrad._src.terms.contact import row_cotangent
from mjgrad._src.tree.axes import Directions
from mjgrad._src.tree.axes import add_along
from mjgrad._src.tree.axes import directions
from mjgrad._src.tree.axes import twist_along

wp.set_module_options({"enable_backward": False})


@wp.kernel
def _direction_vjp(
  # Model:
  body_rootid: wp.array[int],
  geom_bodyid: wp.array[int],
  # Data in:
  nacon_in: wp.array[int],
  subtree_com_in: wp.array2d[wp.vec3],
  contact_pos_in: wp.array[wp.vec3],
  contact_frame_in: wp.array[wp.mat33],
  contact_friction_in: wp.array[vec5],
  contact_dim_in: wp.array[int],
  contact_geom_in: wp.array[wp.vec2i],
  contact_efc_address_in: wp.array2d[int],
  contact_worldid_in: wp.array[int],
  # In:
  elliptic: bool,
  body_lastdof: wp.array[int],
  own: Directions,
  # Adjoint out (+=):
  wrench_out: wp.array4d[float],
  # Out:
  scale_twist_out: wp.array2d[wp.spatial_vector],
):
  conid, side = wp.tid()
  if conid >= nacon_in[0] or contact_efc_address_in[conid, 0] < 0:
    return
  worldid = contact_worldid_in[conid]
  first = contact_efc_address_in[conid, 0]
  bodyid = geom_bodyid[contact_geom_in[conid][side]]
  last = body_lastdof[bodyid]
  twist = twist_along(worldid, first, last, own)
  scale_twist_out[conid, side] = twist

  c = row_cotangent(elliptic, contact_dim_in[conid], contact_friction_in[conid])
  to_world = wp.transpose(contact_frame_in[conid])
  offset = contact_pos_in[conid] - subtree_com_in[worldid, body_rootid[bodyid]]
  sign = wp.where(side == 0, -1.0, 1.0)
  wrench = sign * wrench_at(to_world @ wp.vec3(c[0], c[1], c[2]), wp.vec3(), offset)
  add_along(worldid, first, bodyid, last, twist, wrench, own, wrench_out)


def vjp(work) -> None:
  """Adds the cotangents of bodies and axes; fills `work.scale_twist` for the contacts."""
  m, d = work.model, work.data
  if not (work.discrete and work.contact_enabled):
    return
  wp.launch(
    _direction_vjp,
    dim=(d.naconmax, 2),
    inputs=[
      m.body_rootid,
      m.geom_bodyid,
      d.nacon,
      d.subtree_com,
      d.contact.pos,
      d.contact.frame,
      d.contact.friction,
      d.contact.dim,
      d.contact.geom,
      d.contact.efc_address,
      d.contact.worldid,
      work.elliptic,
      work.tree.body_lastdof,
      directions(work, work.row_scales.direction),
      work.wrench,
    ],
    outputs=[work.scale_twist],
  )
