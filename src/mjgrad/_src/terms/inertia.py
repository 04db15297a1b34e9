"""Rigid-body inertia, Coriolis and centrifugal forces, and gravity.

The term of one body b, with every twist about the reference point of its tree:

    phi_b = Lam . (I A + V x* I V)  +  M . I E

where Lam, V, M, E are the twists along lam, v, mu and e = a_d - a, A is the full spatial
acceleration (a, velocity products, minus gravity), and I the spatial inertia. Carried along with
the body, I does not change, so the term has no pose wrench of its own; what a rotation of a joint
changes is the part of each twist that the joint does not carry, and `tree/sweep.py` accounts
for it. With x . (u x* f) = -(u x x) . f the derivatives in the twists are

    F^LAM  = I A + V x* I V         F^ACC = F^BIAS = I Lam
    F^MU   = I E                    F^DELTA = I M
    F^V    = -Lam x* I V - I (V x Lam) + V x* I Lam

The last term of F^V is what A inherits from V through the velocity products of all joints further
out. Mass and principal inertia enter linearly; in the body's inertial frame, with angular parts
w (of V), l, m (of Lam, M), al, e (of A, E) and linear parts at the centre of mass:

    dphi/dmass      = Lam_c . A_c - (w x Lam_c) . V_c + M_c . E_c
    dphi/dinertia_k = l_k al_k - (w x l)_k w_k + m_k e_k

Held fixed: `invweight0` and the other constants that the compiler derives.

Source: Featherstone, Rigid Body Dynamics Algorithms (2008), table 5.1 (recursive Newton-Euler);
DESIGN section 2; docs/derivation.md, "Inertia".
"""

import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.accumulate import accumulate_option
from mjgrad._src.engine.adapter import inert_vec
from mjgrad._src.engine.adapter import vec10
from mjgrad._src.spatial import cross_force
from mjgrad._src.spatial import cross_motion
from mjgrad._src.spatial import velocity_at
from mjgrad._src.tree.twists import ACC
from mjgrad._src.tree.twists import BIAS
from mjgrad._src.tree.twists import DELTA
from mjgrad._src.tree.twists import LAM
from mjgrad._src.tree.twists import MU
from mjgrad._src.tree.twists import POSE
from mjgrad._src.tree.twists import V

wp.set_module_options({"enable_backward": False})


@wp.kernel
def _inertia_vjp(
  # Model:
  body_rootid: wp.array[int],
  # Data in:
  xipos_in: wp.array2d[wp.vec3],
  ximat_in: wp.array2d[wp.mat33],
  subtree_com_in: wp.array2d[wp.vec3],
  cinert_in: wp.array2d[vec10],
  # In:
  body_lastdof: wp.array[int],
  twist_in: wp.array3d[wp.spatial_vector],
  gravity_enabled: bool,
  # Adjoint out (+=):
  adj_gravity_out: wp.array[wp.vec3],
  adj_body_mass_out: wp.array2d[float],
  adj_body_inertia_out: wp.array2d[wp.vec3],
  # Out:
  wrench_out: wp.array3d[wp.spatial_vector],
):
  worldid, bodyid = wp.tid()
  row = body_lastdof[bodyid] + 1
  inertia = cinert_in[worldid, bodyid]

  v = twist_in[worldid, V, row]
  lam = twist_in[worldid, LAM, row]
  acc = twist_in[worldid, ACC, row] + twist_in[worldid, BIAS, row]
  mu = twist_in[worldid, MU, row]
  delta = twist_in[worldid, DELTA, row]

  momentum = inert_vec(inertia, v)
  inertia_lam = inert_vec(inertia, lam)

  wrench_out[worldid, LAM, bodyid] = inert_vec(inertia, acc) + cross_force(v, momentum)
  wrench_out[worldid, ACC, bodyid] = inertia_lam
  wrench_out[worldid, BIAS, bodyid] = inertia_lam
  wrench_out[worldid, MU, bodyid] = inert_vec(inertia, delta)
  wrench_out[worldid, DELTA, bodyid] = inert_vec(inertia, mu)
  wrench_out[worldid, V, bodyid] = (
    cross_force(v, inertia_lam)
    - cross_force(lam, momentum)
    - inert_vec(inertia, cross_motion(v, lam))
  )
  wrench_out[worldid, POSE, bodyid] = wp.spatial_vector()

  if gravity_enabled:
    accumulate_option(adj_gravity_out, worldid, -wp.spatial_bottom(inertia_lam))

  offset = xipos_in[worldid, bodyid] - subtree_com_in[worldid, body_rootid[bodyid]]
  if adj_body_mass_out.shape[0] > 0:
    lam_com = velocity_at(lam, offset)
    grad = wp.dot(lam_com, velocity_at(acc, offset))
    grad -= wp.dot(wp.cross(wp.spatial_top(v), lam_com), velocity_at(v, offset))
    grad += wp.dot(velocity_at(mu, offset), velocity_at(delta, offset))
    accumulate(adj_body_mass_out, worldid, bodyid, grad)

  if adj_body_inertia_out.shape[0] > 0:
    to_body = wp.transpose(ximat_in[worldid, bodyid])
    v_rot = to_body @ wp.spatial_top(v)
    lam_rot = to_body @ wp.spatial_top(lam)
    grad_inertia = wp.cw_mul(lam_rot, to_body @ wp.spatial_top(acc))
    grad_inertia -= wp.cw_mul(wp.cross(v_rot, lam_rot), v_rot)
    grad_inertia += wp.cw_mul(to_body @ wp.spatial_top(mu), to_body @ wp.spatial_top(delta))
    accumulate(adj_body_inertia_out, worldid, bodyid, grad_inertia)


def vjp(work) -> None:
  """Starts `work.wrench` with the inertia term and adds the gradients of its parameters."""
  m, d = work.model, work.data
  wp.launch(
    _inertia_vjp,
    dim=(d.nworld, m.nbody),
    inputs=[
      m.body_rootid,
      d.xipos,
      d.ximat,
      d.subtree_com,
      d.cinert,
      work.tree.body_lastdof,
      work.twist,
      work.gravity_enabled,
      work.adj["opt.gravity"],
      work.adj["body_mass"],
      work.adj["body_inertia"],
    ],
    outputs=[work.wrench],
  )
