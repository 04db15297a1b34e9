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
out. Mass, inertia and the
inertial frame as parameters are in terms/inertial_parameters.py.

Source: Featherstone, Rigid Body Dynamics Algorithms (2008), table 5.1 (recursive Newton-Euler);
DESIGN section 2; docs/derivation.md, "Inertia".
"""

import warp as wp

from mjgrad._src.accumulate import accumulate_option
from mjgrad._src.engine.adapter import inert_vec
from mjgrad._src.engine.adapter import vec10
from mjgrad._src.spatial import cross_force
from mjgrad._src.spatial import cross_motion
from mjgrad._src.spatial import set_spatial
from mjgrad._src.spatial import spatial_at
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
  # Data in:
  cinert_in: wp.array2d[vec10],
  # In:
  body_lastdof: wp.array[int],
  twist_in: wp.array4d[float],
  gravity_enabled: bool,
  implicit: bool,
  # Adjoint out (+=):
  adj_gravity_out: wp.array[wp.vec3],
  # Out:
  wrench_out: wp.array4d[float],
):
  worldid, bodyid = wp.tid()
  row = body_lastdof[bodyid] + 1
  inertia = cinert_in[worldid, bodyid]

  v = spatial_at(twist_in, worldid, V, row)
  lam = spatial_at(twist_in, worldid, LAM, row)
  acc = spatial_at(twist_in, worldid, ACC, row) + spatial_at(twist_in, worldid, BIAS, row)

  momentum = inert_vec(inertia, v)
  inertia_lam = inert_vec(inertia, lam)

  set_spatial(wrench_out, worldid, LAM, bodyid, inert_vec(inertia, acc) + cross_force(v, momentum))
  set_spatial(wrench_out, worldid, ACC, bodyid, inertia_lam)
  set_spatial(wrench_out, worldid, BIAS, bodyid, inertia_lam)
  f_v = cross_force(v, inertia_lam) - cross_force(lam, momentum)
  f_v -= inert_vec(inertia, cross_motion(v, lam))
  set_spatial(wrench_out, worldid, V, bodyid, f_v)
  set_spatial(wrench_out, worldid, POSE, bodyid, wp.spatial_vector())
  if implicit:
    mu = spatial_at(twist_in, worldid, MU, row)
    delta = spatial_at(twist_in, worldid, DELTA, row)
    set_spatial(wrench_out, worldid, MU, bodyid, inert_vec(inertia, delta))
    set_spatial(wrench_out, worldid, DELTA, bodyid, inert_vec(inertia, mu))

  if gravity_enabled:
    accumulate_option(adj_gravity_out, worldid, -wp.spatial_bottom(inertia_lam))


def vjp(work) -> None:
  """Starts `work.wrench` with the inertia term and adds the gradient of gravity."""
  m, d = work.model, work.data
  wp.launch(
    _inertia_vjp,
    dim=(d.nworld, m.nbody),
    inputs=[
      d.cinert,
      work.tree.body_lastdof,
      work.twist,
      work.gravity_enabled,
      work.integrator_twists,
      work.adj["opt.gravity"],
    ],
    outputs=[work.wrench],
  )
