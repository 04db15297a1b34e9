"""Damping and armature that actuators lend to the joint or tendon that they drive.

With the gear g, an actuator adds g^2 times its own damping b, b1, b2 and armature m to those of its
target, so that with the cotangents of the target's totals (terms/dof.py, terms/tendon.py,
terms/tendon_armature.py)

    adj_b = g^2 adj_total,    adj_g = 2 g (b adj_b,total + b1 adj_b1,total + ... + m adj_m,total)

and the totals of a joint are those of all its dofs. What the actuators lend is already in the terms
of joints and tendons; this one has parameters alone.

Source: MuJoCo documentation, XML reference, "actuator/general" (damping, armature).
"""

import mujoco
import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.engine.adapter import dof_damping_total
from mjgrad._src.engine.adapter import tendon_damping_total
from mjgrad._src.terms.dof import damping_term
from mjgrad._src.terms.tendon_armature import armature_product
from mjgrad._src.terms.tendon_rates import chain_product
from mjgrad._src.terms.tendon_rates import squared_row
from mjgrad._src.terms.transmission_joint import IN_PARENT
from mjgrad._src.terms.transmission_joint import JOINT
from mjgrad._src.terms.transmission_tendon import TENDON
from mjgrad._src.tree.twists import ACC
from mjgrad._src.tree.twists import LAM
from mjgrad._src.tree.twists import V

wp.set_module_options({"enable_backward": False})

FREE = wp.constant(int(mujoco.mjtJoint.mjJNT_FREE))
BALL = wp.constant(int(mujoco.mjtJoint.mjJNT_BALL))
PARAMETERS = ("actuator_damping", "actuator_dampingpoly", "actuator_armature")


@wp.func
def _lends(lender: int, actid: int) -> bool:
  """Whether an actuator counts: -1 none of a target's, one of them, or below -1 all."""
  return lender == actid or lender < -1


@wp.kernel
def _passive_vjp(
  # Model:
  opt_timestep: wp.array[float],
  jnt_type: wp.array[int],
  jnt_dofadr: wp.array[int],
  jnt_actuatorid: wp.array[int],
  dof_jntid: wp.array[int],
  dof_damping: wp.array2d[float],
  dof_dampingpoly: wp.array2d[wp.vec2],
  tendon_type: wp.array[int],
  tendon_actuatorid: wp.array[int],
  ten_J_rownnz: wp.array[int],
  ten_J_rowadr: wp.array[int],
  ten_J_colind: wp.array[int],
  tendon_damping: wp.array2d[float],
  tendon_dampingpoly: wp.array2d[wp.vec2],
  actuator_trntype: wp.array[int],
  actuator_trnid: wp.array[wp.vec2i],
  actuator_damping: wp.array2d[float],
  actuator_dampingpoly: wp.array2d[wp.vec2],
  actuator_armature: wp.array2d[float],
  actuator_gear: wp.array2d[wp.spatial_vector],
  M_elemid: wp.array2d[int],
  # Data in:
  qvel_in: wp.array2d[float],
  qacc_in: wp.array2d[float],
  ten_J_in: wp.array2d[float],
  # In:
  damped: bool,
  implicit: bool,
  implicit_tendon: bool,
  discrete: bool,
  floor: float,
  metric_dual: wp.array2d[float],
  inertia_dual: wp.array2d[float],
  lam_in: wp.array2d[float],
  mu_in: wp.array2d[float],
  delta_in: wp.array2d[float],
  ten_rate: wp.array3d[float],
  ten_acc: wp.array2d[float],
  # Adjoint out (+=):
  adj_actuator_damping_out: wp.array2d[float],
  adj_actuator_dampingpoly_out: wp.array2d[wp.vec2],
  adj_actuator_armature_out: wp.array2d[float],
  adj_actuator_gear_out: wp.array2d[wp.spatial_vector],
):
  worldid, actid = wp.tid()
  trntype = actuator_trntype[actid]
  target = actuator_trnid[actid][0]
  h = opt_timestep[worldid % opt_timestep.shape[0]]
  adj_damping = float(0.0)
  adj_poly = wp.vec2()
  adj_armature = float(0.0)

  if trntype == JOINT or trntype == IN_PARENT:
    if not _lends(jnt_actuatorid[target], actid):
      return
    n = int(1)
    if jnt_type[target] == FREE:
      n = 6
    elif jnt_type[target] == BALL:
      n = 3
    for dofid in range(jnt_dofadr[target], jnt_dofadr[target] + n):
      v = qvel_in[worldid, dofid]
      a = qacc_in[worldid, dofid]
      lam = lam_in[worldid, dofid]
      mu = mu_in[worldid, dofid]
      e = delta_in[worldid, dofid]
      adj_armature += lam * a + mu * e
      product = mu * (a + e)
      if discrete:
        adj_armature += inertia_dual[worldid, dofid]
        product -= metric_dual[worldid, dofid]
      if damped:
        damping, poly = dof_damping_total(
          jnt_actuatorid,
          dof_jntid,
          dof_damping,
          dof_dampingpoly,
          actuator_trntype,
          actuator_trnid,
          actuator_damping,
          actuator_dampingpoly,
          actuator_gear,
          worldid,
          dofid,
        )
        _v, _lam, _product, adj_b, adj_p, _h, _floor = wp.grad(damping_term)(
          v, lam, product, damping, poly, wp.where(implicit, h, 0.0), floor
        )
        adj_damping += adj_b
        adj_poly += adj_p
  elif trntype == TENDON:
    if not _lends(tendon_actuatorid[target], actid):
      return
    slow = chain_product(
      ten_J_rownnz, ten_J_rowadr, ten_J_colind, M_elemid, ten_J_in, mu_in, qacc_in, worldid, target
    )
    fast = chain_product(
      ten_J_rownnz, ten_J_rowadr, ten_J_colind, M_elemid, ten_J_in, mu_in, delta_in, worldid, target
    )
    adj_armature = fast + armature_product(
      tendon_type,
      ten_J_rownnz,
      ten_J_rowadr,
      ten_J_colind,
      M_elemid,
      ten_J_in,
      lam_in,
      qacc_in,
      ten_rate,
      ten_acc,
      worldid,
      target,
    )
    product = slow + fast
    if discrete:
      adj_armature += squared_row(
        ten_J_rownnz, ten_J_rowadr, ten_J_colind, ten_J_in, inertia_dual, worldid, target
      )
      product = ten_rate[worldid, target, LAM] * ten_rate[worldid, target, ACC] - squared_row(
        ten_J_rownnz, ten_J_rowadr, ten_J_colind, ten_J_in, metric_dual, worldid, target
      )
    if damped:
      damping, poly = tendon_damping_total(
        tendon_actuatorid,
        tendon_damping,
        tendon_dampingpoly,
        actuator_trntype,
        actuator_trnid,
        actuator_damping,
        actuator_dampingpoly,
        actuator_gear,
        worldid,
        target,
      )
      _v, _lam, _product, adj_damping, adj_poly, _h, _floor = wp.grad(damping_term)(
        ten_rate[worldid, target, V],
        ten_rate[worldid, target, LAM],
        product,
        damping,
        poly,
        wp.where(implicit_tendon, h, 0.0),
        floor,
      )
  else:
    return

  gear = actuator_gear[worldid % actuator_gear.shape[0], actid][0]
  accumulate(adj_actuator_damping_out, worldid, actid, gear * gear * adj_damping)
  accumulate(adj_actuator_dampingpoly_out, worldid, actid, gear * gear * adj_poly)
  accumulate(adj_actuator_armature_out, worldid, actid, gear * gear * adj_armature)
  grad = adj_damping * actuator_damping[worldid % actuator_damping.shape[0], actid]
  poly = actuator_dampingpoly[worldid % actuator_dampingpoly.shape[0], actid]
  grad += wp.dot(adj_poly, poly)
  grad += adj_armature * actuator_armature[worldid % actuator_armature.shape[0], actid]
  accumulate(
    adj_actuator_gear_out,
    worldid,
    actid,
    wp.spatial_vector(2.0 * gear * grad, 0.0, 0.0, 0.0, 0.0, 0.0),
  )


def vjp(work) -> None:
  """Adds the gradients of the parameters, where they are asked for."""
  m, d = work.model, work.data
  if not work.actuation.lends:
    return
  wp.launch(
    _passive_vjp,
    dim=(d.nworld, m.nactuator),
    inputs=[
      m.opt.timestep,
      m.jnt_type,
      m.jnt_dofadr,
      m.jnt_actuatorid,
      m.dof_jntid,
      m.dof_damping,
      m.dof_dampingpoly,
      m.tendon_type,
      m.tendon_actuatorid,
      m.ten_J_rownnz,
      m.ten_J_rowadr,
      m.ten_J_colind,
      m.tendon_damping,
      m.tendon_dampingpoly,
      m.actuator_trntype,
      m.actuator_trnid,
      m.actuator_damping,
      m.actuator_dampingpoly,
      m.actuator_armature,
      m.actuator_gear,
      m.M_elemid,
      d.qvel,
      work.qacc,
      d.ten_J,
      work.damper_enabled,
      work.implicit or work.discrete,
      work.implicit_tendon_damping or work.discrete,
      work.discrete,
      work.slope_floor,
      work.metric_dual,
      work.inertia_dual,
      work.lam,
      work.mu,
      work.delta,
      work.ten_rate,
      work.ten_acc,
      work.adj["actuator_damping"],
      work.adj["actuator_dampingpoly"],
      work.adj["actuator_armature"],
      work.adj["actuator_gear"],
    ],
  )
