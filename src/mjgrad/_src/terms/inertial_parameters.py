"""Parameters of a body's inertia: mass, principal inertia, and the pose of the inertial frame.

The terms of terms/inertia.py and terms/gyroscopic.py are values of one form. With R, m and I the
rotation, mass and principal inertia of the inertial frame, linear parts u at the centre of mass and
angular parts w of every twist, and l = R^T w_L, ...

    T(L, A, X, Y) = m (u_L . u_A - (w_X x u_L) . u_Y) + sum_k I_k (l_k a_k - (x x l)_k y_k)

    phi + psi = T(Lam, A, V, V) + T(M, E, 0, 0) + h [T(M, Y, X, V) + T(M, 0, V, X)]
                + sum_c T(S_c, dual_c S_c, 0, 0)

where the bracket counts for the trees whose velocity products are integrated implicitly, and the
sum over the dofs that move the body for the scale of rows under `discrete` (terms/row_scale.py).

Held fixed: all twists; `invweight0` and the other constants that the compiler derives.

Source: docs/derivation.md, "Inertia".
"""

import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.rotation import matrix_torque
from mjgrad._src.spatial import spatial_at
from mjgrad._src.spatial import velocity_at
from mjgrad._src.tree.twists import ACC
from mjgrad._src.tree.twists import BIAS
from mjgrad._src.tree.twists import DELTA
from mjgrad._src.tree.twists import LAM
from mjgrad._src.tree.twists import MU
from mjgrad._src.tree.twists import V

wp.set_module_options({"enable_backward": False})

PARAMETERS = ("body_mass", "body_inertia", "body_ipos", "body_iquat")


@wp.struct
class Inertia:
  """Inertial frame of a body: centre of mass [m] from the reference point, rotation, values."""

  com: wp.vec3
  rot: wp.mat33
  mass: float
  principal: wp.vec3


@wp.func
def inertia_form(
  com: wp.vec3,
  rot: wp.mat33,
  mass: float,
  inertia: wp.vec3,
  lam: wp.spatial_vector,
  acc: wp.spatial_vector,
  x: wp.spatial_vector,
  y: wp.spatial_vector,
) -> wp.float32:
  """T(lam, acc, x, y)."""
  u_lam = velocity_at(lam, com)
  linear = wp.dot(u_lam, velocity_at(acc, com))
  linear = linear - wp.dot(wp.cross(wp.spatial_top(x), u_lam), velocity_at(y, com))
  to_body = wp.transpose(rot)
  w_lam = to_body @ wp.spatial_top(lam)
  angular = wp.cw_mul(w_lam, to_body @ wp.spatial_top(acc))
  turned = wp.cross(to_body @ wp.spatial_top(x), w_lam)
  angular = angular - wp.cw_mul(turned, to_body @ wp.spatial_top(y))
  return mass * linear + wp.dot(inertia, angular)


@wp.func
def _form_vjp(
  body: Inertia,
  lam: wp.spatial_vector,
  acc: wp.spatial_vector,
  x: wp.spatial_vector,
  y: wp.spatial_vector,
) -> Inertia:
  """Cotangents of the inertial frame in T(lam, acc, x, y)."""
  adj = Inertia()
  adj_com, adj_rot, adj_mass, adj_inertia, _lam, _acc, _x, _y = wp.grad(inertia_form)(
    body.com, body.rot, body.mass, body.principal, lam, acc, x, y
  )
  adj.com = adj_com
  adj.rot = adj_rot
  adj.mass = adj_mass
  adj.principal = adj_inertia
  return adj


@wp.kernel
def _inertial_parameters_vjp(
  # Model:
  opt_timestep: wp.array[float],
  body_rootid: wp.array[int],
  body_treeid: wp.array[int],
  body_mass: wp.array2d[float],
  body_inertia: wp.array2d[wp.vec3],
  dof_parentid: wp.array[int],
  # Data in:
  xipos_in: wp.array2d[wp.vec3],
  ximat_in: wp.array2d[wp.mat33],
  subtree_com_in: wp.array2d[wp.vec3],
  cdof_in: wp.array2d[wp.spatial_vector],
  # In:
  body_lastdof: wp.array[int],
  tree_gyroscopic: wp.array2d[bool],
  inertia_dual: wp.array2d[float],
  twist_in: wp.array4d[float],
  product_in: wp.array2d[wp.spatial_vector],
  # Adjoint out (+=):
  inertial_wrench_out: wp.array2d[wp.spatial_vector],
  adj_body_mass_out: wp.array2d[float],
  adj_body_inertia_out: wp.array2d[wp.vec3],
):
  worldid, bodyid = wp.tid()
  row = body_lastdof[bodyid] + 1
  treeid = body_treeid[bodyid]
  if treeid < 0:
    return
  body = Inertia()
  body.com = xipos_in[worldid, bodyid] - subtree_com_in[worldid, body_rootid[bodyid]]
  body.rot = ximat_in[worldid, bodyid]
  body.mass = body_mass[worldid % body_mass.shape[0], bodyid]
  body.principal = body_inertia[worldid % body_inertia.shape[0], bodyid]
  v = spatial_at(twist_in, worldid, V, row)
  acc = spatial_at(twist_in, worldid, ACC, row) + spatial_at(twist_in, worldid, BIAS, row)
  mu = spatial_at(twist_in, worldid, MU, row)
  delta = spatial_at(twist_in, worldid, DELTA, row)
  zero = wp.spatial_vector()

  motion = _form_vjp(body, spatial_at(twist_in, worldid, LAM, row), acc, v, v)
  integration = _form_vjp(body, mu, delta, zero, zero)
  adj_com = motion.com + integration.com
  adj_rot = motion.rot + integration.rot
  adj_mass = motion.mass + integration.mass
  adj_principal = motion.principal + integration.principal
  if tree_gyroscopic[worldid % tree_gyroscopic.shape[0], treeid]:
    h_mu = opt_timestep[worldid % opt_timestep.shape[0]] * mu
    x = spatial_at(twist_in, worldid, ACC, row) + delta
    first = _form_vjp(body, h_mu, product_in[worldid, row], x, v)
    second = _form_vjp(body, h_mu, zero, v, x)
    adj_com += first.com + second.com
    adj_rot += first.rot + second.rot
    adj_mass += first.mass + second.mass
    adj_principal += first.principal + second.principal
  if inertia_dual.shape[0] > 0:
    dofid = body_lastdof[bodyid]
    while dofid >= 0:
      axis = cdof_in[worldid, dofid]
      diagonal = _form_vjp(body, axis, inertia_dual[worldid, dofid] * axis, zero, zero)
      adj_com += diagonal.com
      adj_rot += diagonal.rot
      adj_mass += diagonal.mass
      adj_principal += diagonal.principal
      dofid = dof_parentid[dofid]

  accumulate(adj_body_mass_out, worldid, bodyid, adj_mass)
  accumulate(adj_body_inertia_out, worldid, bodyid, adj_principal)
  frame = wp.spatial_vector(matrix_torque(body.rot, adj_rot), adj_com)
  accumulate(inertial_wrench_out, worldid, bodyid, frame)


def vjp(work) -> None:
  """Adds the gradients of the parameters that were asked for, after the products are known."""
  m, d = work.model, work.data
  if not any(work.adj[name].shape[0] for name in PARAMETERS):
    return
  wp.launch(
    _inertial_parameters_vjp,
    dim=(d.nworld, m.nbody),
    inputs=[
      m.opt.timestep,
      m.body_rootid,
      m.body_treeid,
      m.body_mass,
      m.body_inertia,
      m.dof_parentid,
      d.xipos,
      d.ximat,
      d.subtree_com,
      d.cdof,
      work.tree.body_lastdof,
      work.tree_gyroscopic,
      work.inertia_dual,
      work.twist,
      work.product,
      work.inertial_wrench,
      work.adj["body_mass"],
      work.adj["body_inertia"],
    ],
  )
