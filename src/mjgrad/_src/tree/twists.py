"""Body twists along every direction that the residual is contracted with.

The scalar that the backward pass differentiates is a function of body poses and of body twists
along a few generalised directions. With S_k the motion axis of dof k, the twist after dof d is

    T_d^w = sum over k in the chain from the root to d of  S_k w_k,     w in {v, lam, a, mu, e},

and the acceleration that the velocity products and gravity add is

    T_d^BIAS = -g + sum over that chain of  T_before(k)^v x S_k v_k
             = -g - sum over that chain of  (T_d^v - T_after(k)^v) x S_k v_k,

the same sum by pairs of dofs (u x w = -w x u), as one walk from d to the root adds it up: what is
beyond k is known when k is reached. The dofs of a ball or of either half of a free joint, which
carry each other, count as one (tree/indices.py). The engine's Sdot, which costs launches of its
own, is taken where other terms need it too.

`twist[world, direction, d + 1]` stores T_d; row 0 is the fixed base. The directions mu and e are
zero, and are left out, where nothing is integrated implicitly.

Source: MuJoCo documentation, Computation, "General framework"; Featherstone (2008), section 5.3.
"""

import warp as wp

from mjgrad._src.spatial import cross_motion
from mjgrad._src.spatial import set_spatial

wp.set_module_options({"enable_backward": False})

V = wp.constant(0)
"""Direction of the generalised velocity v."""
LAM = wp.constant(1)
"""Direction of the multiplier lam of the equations of motion."""
ACC = wp.constant(2)
"""Direction of the generalised acceleration a, without velocity products."""
MU = wp.constant(3)
"""Direction of the multiplier mu of the integrator."""
DELTA = wp.constant(4)
"""Direction of e = a_d - a, what implicit damping adds to the acceleration."""
BIAS = wp.constant(5)
"""Velocity products and gravity, the part of the acceleration that does not depend on a."""
POSE = wp.constant(6)
"""Index of the adjoint wrench of the pose, in arrays of wrenches only."""
NTWIST = 6
NWRENCH = 7


@wp.kernel
def _twists(
  # Model:
  opt_gravity: wp.array[wp.vec3],
  dof_parentid: wp.array[int],
  # Data in:
  qvel_in: wp.array2d[float],
  qacc_in: wp.array2d[float],
  cdof_in: wp.array2d[wp.spatial_vector],
  cdof_dot_in: wp.array2d[wp.spatial_vector],
  # In:
  has_cdof_dot: bool,
  dof_after: wp.array[int],
  gravity_enabled: bool,
  implicit: bool,
  lam_in: wp.array2d[float],
  mu_in: wp.array2d[float],
  delta_in: wp.array2d[float],
  # Out:
  twist_out: wp.array4d[float],
):
  worldid, row = wp.tid()
  v = wp.spatial_vector()
  lam = wp.spatial_vector()
  acc = wp.spatial_vector()
  mu = wp.spatial_vector()
  delta = wp.spatial_vector()
  bias = wp.spatial_vector()
  if gravity_enabled:
    bias = wp.spatial_vector(wp.vec3(0.0), -opt_gravity[worldid % opt_gravity.shape[0]])

  beyond = wp.spatial_vector()
  dofid = row - 1
  while dofid >= 0:
    if dof_after[dofid] == dofid:
      beyond = v
    axis = cdof_in[worldid, dofid]
    velocity = axis * qvel_in[worldid, dofid]
    v += velocity
    if has_cdof_dot:
      bias += cdof_dot_in[worldid, dofid] * qvel_in[worldid, dofid]
    else:
      bias -= cross_motion(beyond, velocity)
    lam += axis * lam_in[worldid, dofid]
    acc += axis * qacc_in[worldid, dofid]
    if implicit:
      mu += axis * mu_in[worldid, dofid]
      delta += axis * delta_in[worldid, dofid]
    dofid = dof_parentid[dofid]

  set_spatial(twist_out, worldid, V, row, v)
  set_spatial(twist_out, worldid, LAM, row, lam)
  set_spatial(twist_out, worldid, ACC, row, acc)
  set_spatial(twist_out, worldid, BIAS, row, bias)
  if implicit:
    set_spatial(twist_out, worldid, MU, row, mu)
    set_spatial(twist_out, worldid, DELTA, row, delta)


def launch(work) -> None:
  """Fills `work.twist` from the state, the acceleration and the two multipliers."""
  m, d = work.model, work.data
  wp.launch(
    _twists,
    dim=(d.nworld, m.nv + 1),
    inputs=[
      m.opt.gravity,
      m.dof_parentid,
      d.qvel,
      work.qacc,
      d.cdof,
      d.cdof_dot,
      work.body_velocities,
      work.tree.dof_after,
      work.gravity_enabled,
      work.integrator_twists,
      work.lam,
      work.mu,
      work.delta,
    ],
    outputs=[work.twist],
  )
