"""Coriolis and centrifugal forces, integrated implicitly.

Where A contains the derivative of c(q, v), the Newton-Euler bias, psi has for every body the term

    psi_b = h M . (I Y + X x* I V + V x* I X)

with M, V, X the twists along mu, v and x = a_d = a + e, and Y what the velocity products of the
acceleration become along x, c being quadratic in v:

    Y_b = sum over the chain of  X_{k,before} x S_k v_k  +  V_{k,before} x S_k x_k .

This is the inertia term (terms/inertia.py) with one v replaced by x, in turn; it is symmetric in v
and x. With x . (u x* f) = -(u x x) . f its wrenches are

    F^MU = h (I Y + X x* I V + V x* I X)            F^Y = h I M
    F^V  = h (-M x* I X - I (X x M) + X x* I M)     F^X = h (-M x* I V - I (V x M) + V x* I M)

F^X goes to both slots of x. The last terms of F^V and F^X are what Y inherits from V and X through
the joints further out. As with T^BIAS (tree/sweep.py), the rest depends on the joint:

    qbar_j += S_j . [ V_before x* (X_before x* F^Y) + X_before x* (V_before x* F^Y)
                      - Y_before x* F^Y ]
    vbar_j -= S_j . [ (X_before + X_after) x* F^Y ]

In A, a body contributes to the pair (i, j) of dofs that both move it

    h S_i . (I g_j + K S_j),    K S = V x* I S - I (V x S) + S x* I V,
    g_j = (V_before + V_after) x S_j .

K S depends on the rotation of S alone. `implicit` takes the bodies of every tree, `implicitfast`
those of trees that consist of one free joint (the engine integrates these by the same rule).

Source: MuJoCo documentation, Computation, "Numerical integration" (implicit); Featherstone (2008),
table 5.1; docs/derivation.md, "Velocity derivatives in A".
"""

import warp as wp

from mjgrad._src.accumulate import accumulate_option
from mjgrad._src.engine.adapter import inert_vec
from mjgrad._src.engine.adapter import vec10
from mjgrad._src.spatial import add_spatial
from mjgrad._src.spatial import cross_force
from mjgrad._src.spatial import cross_motion
from mjgrad._src.spatial import spatial_at
from mjgrad._src.tree.sweep import carried_product
from mjgrad._src.tree.sweep import subtree_product_wrench
from mjgrad._src.tree.twists import ACC
from mjgrad._src.tree.twists import DELTA
from mjgrad._src.tree.twists import MU
from mjgrad._src.tree.twists import V

wp.set_module_options({"enable_backward": False})


@wp.func
def _coupling(
  inertia: vec10, v: wp.spatial_vector, x: wp.spatial_vector, y: wp.spatial_vector
) -> wp.spatial_vector:
  """I Y + X x* I V + V x* I X."""
  wrench = inert_vec(inertia, y) + cross_force(x, inert_vec(inertia, v))
  return wrench + cross_force(v, inert_vec(inertia, x))


@wp.kernel
def _slope(
  # Model:
  body_treeid: wp.array[int],
  # Data in:
  cinert_in: wp.array2d[vec10],
  cvel_in: wp.array2d[wp.spatial_vector],
  # In:
  tree_gyroscopic: wp.array2d[bool],
  # Out:
  slope_out: wp.array2d[wp.spatial_matrix],
):
  worldid, bodyid = wp.tid()
  treeid = body_treeid[bodyid]
  if treeid < 0:
    return
  if not tree_gyroscopic[worldid % tree_gyroscopic.shape[0], treeid]:
    return
  inertia = cinert_in[worldid, bodyid]
  v = cvel_in[worldid, bodyid]
  slope = wp.spatial_matrix()
  for k in range(3):
    s = wp.spatial_vector()
    s[k] = 1.0
    column = _coupling(inertia, v, s, -cross_motion(v, s))
    for i in range(6):
      slope[i, k] = column[i]
  slope_out[worldid, bodyid] += slope


@wp.kernel
def _products(
  # Model:
  dof_parentid: wp.array[int],
  # Data in:
  qvel_in: wp.array2d[float],
  qacc_in: wp.array2d[float],
  cdof_in: wp.array2d[wp.spatial_vector],
  cdof_dot_in: wp.array2d[wp.spatial_vector],
  # In:
  dof_before: wp.array[int],
  delta_in: wp.array2d[float],
  twist_in: wp.array4d[float],
  # Out:
  product_out: wp.array2d[wp.spatial_vector],
):
  worldid, row = wp.tid()
  y = wp.spatial_vector()
  dofid = row - 1
  while dofid >= 0:
    before = dof_before[dofid] + 1
    x_before = spatial_at(twist_in, worldid, ACC, before) + spatial_at(
      twist_in, worldid, DELTA, before
    )
    y += cross_motion(x_before, cdof_in[worldid, dofid]) * qvel_in[worldid, dofid]
    y += cdof_dot_in[worldid, dofid] * (qacc_in[worldid, dofid] + delta_in[worldid, dofid])
    dofid = dof_parentid[dofid]
  product_out[worldid, row] = y


@wp.kernel
def _body_vjp(
  # Model:
  opt_timestep: wp.array[float],
  body_treeid: wp.array[int],
  # Data in:
  cinert_in: wp.array2d[vec10],
  # In:
  body_lastdof: wp.array[int],
  tree_gyroscopic: wp.array2d[bool],
  twist_in: wp.array4d[float],
  product_in: wp.array2d[wp.spatial_vector],
  # Adjoint out (+=):
  wrench_out: wp.array4d[float],
  adj_timestep_out: wp.array[float],
  # Out:
  product_wrench_out: wp.array2d[wp.spatial_vector],
):
  worldid, bodyid = wp.tid()
  product_wrench_out[worldid, bodyid] = wp.spatial_vector()
  treeid = body_treeid[bodyid]
  if treeid < 0:
    return
  if not tree_gyroscopic[worldid % tree_gyroscopic.shape[0], treeid]:
    return
  h = opt_timestep[worldid % opt_timestep.shape[0]]
  row = body_lastdof[bodyid] + 1
  inertia = cinert_in[worldid, bodyid]
  v = spatial_at(twist_in, worldid, V, row)
  mu = spatial_at(twist_in, worldid, MU, row)
  x = spatial_at(twist_in, worldid, ACC, row) + spatial_at(twist_in, worldid, DELTA, row)
  y = product_in[worldid, row]

  coupling = _coupling(inertia, v, x, y)
  accumulate_option(adj_timestep_out, worldid, wp.dot(mu, coupling))
  mu = h * mu
  i_mu = inert_vec(inertia, mu)
  f_v = cross_force(x, i_mu) - cross_force(mu, inert_vec(inertia, x))
  f_v -= inert_vec(inertia, cross_motion(x, mu))
  f_x = cross_force(v, i_mu) - cross_force(mu, inert_vec(inertia, v))
  f_x -= inert_vec(inertia, cross_motion(v, mu))
  add_spatial(wrench_out, worldid, MU, bodyid, h * coupling)
  add_spatial(wrench_out, worldid, V, bodyid, f_v)
  add_spatial(wrench_out, worldid, ACC, bodyid, f_x)
  add_spatial(wrench_out, worldid, DELTA, bodyid, f_x)
  product_wrench_out[worldid, bodyid] = i_mu


@wp.kernel
def _joint_vjp(
  # Model:
  body_subtreenum: wp.array[int],
  dof_bodyid: wp.array[int],
  dof_treeid: wp.array[int],
  # Data in:
  cdof_in: wp.array2d[wp.spatial_vector],
  # In:
  dof_before: wp.array[int],
  dof_after: wp.array[int],
  tree_gyroscopic: wp.array2d[bool],
  twist_in: wp.array4d[float],
  product_in: wp.array2d[wp.spatial_vector],
  product_wrench: wp.array2d[wp.spatial_vector],
  # Adjoint out (+=):
  adj_qpos_out: wp.array2d[float],
  adj_qvel_out: wp.array2d[float],
):
  worldid, dofid = wp.tid()
  if not tree_gyroscopic[worldid % tree_gyroscopic.shape[0], dof_treeid[dofid]]:
    return
  bodyid = dof_bodyid[dofid]
  before = dof_before[dofid] + 1
  after = dof_after[dofid] + 1
  f_y = subtree_product_wrench(worldid, bodyid, body_subtreenum, product_wrench)
  axis = cdof_in[worldid, dofid]
  x_before = spatial_at(twist_in, worldid, ACC, before) + spatial_at(
    twist_in, worldid, DELTA, before
  )
  x_after = spatial_at(twist_in, worldid, ACC, after) + spatial_at(twist_in, worldid, DELTA, after)
  pose = carried_product(worldid, before, f_y, twist_in, product_in)
  adj_qpos_out[worldid, dofid] += wp.dot(axis, pose)
  adj_qvel_out[worldid, dofid] -= wp.dot(axis, cross_force(x_before + x_after, f_y))


def add_slope(work) -> None:
  """Adds K of every body that `implicit` or the rule of free bodies covers to `work.slope`."""
  m, d = work.model, work.data
  if not work.gyroscopic:
    return
  wp.launch(
    _slope,
    dim=(d.nworld, m.nbody),
    inputs=[m.body_treeid, d.cinert, d.cvel, work.tree_gyroscopic],
    outputs=[work.slope],
  )


def vjp(work) -> None:
  """Adds the wrenches of the term and what the joints add to them."""
  m, d, tree = work.model, work.data, work.tree
  if not work.gyroscopic:
    return
  wp.launch(
    _products,
    dim=(d.nworld, m.nv + 1),
    inputs=[
      m.dof_parentid,
      d.qvel,
      work.qacc,
      d.cdof,
      d.cdof_dot,
      tree.dof_before,
      work.delta,
      work.twist,
    ],
    outputs=[work.product],
  )
  wp.launch(
    _body_vjp,
    dim=(d.nworld, m.nbody),
    inputs=[
      m.opt.timestep,
      m.body_treeid,
      d.cinert,
      tree.body_lastdof,
      work.tree_gyroscopic,
      work.twist,
      work.product,
      work.wrench,
      work.adj["opt.timestep"],
    ],
    outputs=[work.product_wrench],
  )
  wp.launch(
    _joint_vjp,
    dim=(d.nworld, m.nv),
    inputs=[
      m.body_subtreenum,
      m.dof_bodyid,
      m.dof_treeid,
      d.cdof,
      tree.dof_before,
      tree.dof_after,
      work.tree_gyroscopic,
      work.twist,
      work.product,
      work.product_wrench,
      work.adj_qpos,
      work.adj_qvel,
    ],
  )
