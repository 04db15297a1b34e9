"""Limits of the total actuator force on a joint, `jnt_actfrcrange`.

    phi = -lam_i clamp(sum_a m_ai F_a, range_i)

Gravity compensation of a joint with `jnt_actgravcomp` is part of the sum, and is lost where there
is no actuation. Where a limit holds a dof, no actuator's force on it matters: actuators see lam
without that dof, gate_i lam_i, and the bound has the gradient -lam_i. A joint transmission has that
dof alone; the others, and gravity compensation, act on bodies or tendons, whose twists and rates
along gate lam are then computed beside those along lam, in a workspace of their own, and swept
apart.

Source: MuJoCo documentation, XML reference, "joint" (actuatorfrcrange).
"""

import copy

import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.spatial import wrench_at
from mjgrad._src.terms import tendon_path
from mjgrad._src.terms import tendon_rates
from mjgrad._src.tree import body_poses
from mjgrad._src.tree import sweep
from mjgrad._src.tree import twists

wp.set_module_options({"enable_backward": False})


@wp.kernel
def _add_forces(
  # Data in:
  moment_rownnz_in: wp.array2d[int],
  moment_rowadr_in: wp.array2d[int],
  moment_colind_in: wp.array2d[int],
  actuator_moment_in: wp.array2d[float],
  # In:
  force: wp.array2d[float],
  # Out:
  qfrc_out: wp.array2d[float],
):
  worldid, actid = wp.tid()
  first = moment_rowadr_in[worldid, actid]
  for k in range(first, first + moment_rownnz_in[worldid, actid]):
    dofid = moment_colind_in[worldid, k]
    wp.atomic_add(qfrc_out, worldid, dofid, actuator_moment_in[worldid, k] * force[worldid, actid])


@wp.kernel
def _add_gravcomp(
  # Model:
  opt_gravity: wp.array[wp.vec3],
  body_rootid: wp.array[int],
  body_subtreenum: wp.array[int],
  body_mass: wp.array2d[float],
  body_gravcomp: wp.array2d[float],
  jnt_actgravcomp: wp.array[int],
  dof_bodyid: wp.array[int],
  dof_jntid: wp.array[int],
  # Data in:
  xipos_in: wp.array2d[wp.vec3],
  subtree_com_in: wp.array2d[wp.vec3],
  cdof_in: wp.array2d[wp.spatial_vector],
  # Out:
  qfrc_out: wp.array2d[float],
):
  worldid, dofid = wp.tid()
  if jnt_actgravcomp[dof_jntid[dofid]] == 0:
    return
  gravity = opt_gravity[worldid % opt_gravity.shape[0]]
  bodyid = dof_bodyid[dofid]
  wrench = wp.spatial_vector()
  for b in range(bodyid, bodyid + body_subtreenum[bodyid]):
    mass = body_mass[worldid % body_mass.shape[0], b]
    mass *= body_gravcomp[worldid % body_gravcomp.shape[0], b]
    offset = xipos_in[worldid, b] - subtree_com_in[worldid, body_rootid[b]]
    wrench += wrench_at(-mass * gravity, wp.vec3(0.0), offset)
  qfrc_out[worldid, dofid] += wp.dot(cdof_in[worldid, dofid], wrench)


@wp.kernel
def _gravcomp_gate(
  # Model:
  jnt_actgravcomp: wp.array[int],
  dof_jntid: wp.array[int],
  # In:
  actuation_enabled: bool,
  dof_free: wp.array2d[float],
  # Out:
  gate_out: wp.array2d[float],
):
  worldid, dofid = wp.tid()
  gate = float(1.0)
  if jnt_actgravcomp[dof_jntid[dofid]] != 0:
    gate = wp.where(actuation_enabled, dof_free[worldid, dofid], 0.0)
  gate_out[worldid, dofid] = gate


@wp.kernel
def _find_held(
  # Model:
  jnt_actfrclimited: wp.array[bool],
  jnt_actfrcrange: wp.array2d[wp.vec2],
  dof_jntid: wp.array[int],
  # In:
  qfrc: wp.array2d[float],
  # Out:
  dof_free_out: wp.array2d[float],
):
  worldid, dofid = wp.tid()
  jntid = dof_jntid[dofid]
  free = float(1.0)
  if jnt_actfrclimited[jntid]:
    bounds = jnt_actfrcrange[worldid % jnt_actfrcrange.shape[0], jntid]
    if qfrc[worldid, dofid] <= bounds[0] or qfrc[worldid, dofid] >= bounds[1]:
      free = 0.0
  dof_free_out[worldid, dofid] = free


@wp.kernel
def _range_vjp(
  # Model:
  jnt_actfrcrange: wp.array2d[wp.vec2],
  dof_jntid: wp.array[int],
  # In:
  qfrc: wp.array2d[float],
  dof_free: wp.array2d[float],
  lam_in: wp.array2d[float],
  # Adjoint out (+=):
  adj_jnt_actfrcrange_out: wp.array2d[wp.vec2],
):
  worldid, dofid = wp.tid()
  if dof_free[worldid, dofid] == 0.0:
    jntid = dof_jntid[dofid]
    bounds = jnt_actfrcrange[worldid % jnt_actfrcrange.shape[0], jntid]
    grad = wp.vec2(-lam_in[worldid, dofid], 0.0)
    if qfrc[worldid, dofid] > bounds[0]:
      grad = wp.vec2(0.0, -lam_in[worldid, dofid])
    accumulate(adj_jnt_actfrcrange_out, worldid, jntid, grad)


@wp.kernel
def _gate(
  # In:
  dof_free: wp.array2d[float],
  lam_in: wp.array2d[float],
  # Out:
  lam_out: wp.array2d[float],
):
  worldid, dofid = wp.tid()
  lam_out[worldid, dofid] = dof_free[worldid, dofid] * lam_in[worldid, dofid]


def evaluate(work) -> None:
  """Finds the dofs that a limit holds, after the forces of all actuators."""
  m, d, act = work.model, work.data, work.actuation
  if not act.joint_limited:
    return
  act.qfrc.zero_()
  wp.launch(
    _add_forces,
    dim=(d.nworld, m.nactuator),
    inputs=[d.moment_rownnz, d.moment_rowadr, d.moment_colind, d.actuator_moment, act.force],
    outputs=[act.qfrc],
  )
  if act.compensated is not None:
    wp.launch(
      _add_gravcomp,
      dim=(d.nworld, m.nv),
      inputs=[
        m.opt.gravity,
        m.body_rootid,
        m.body_subtreenum,
        m.body_mass,
        m.body_gravcomp,
        m.jnt_actgravcomp,
        m.dof_bodyid,
        m.dof_jntid,
        d.xipos,
        d.subtree_com,
        d.cdof,
      ],
      outputs=[act.qfrc],
    )
  wp.launch(
    _find_held,
    dim=(d.nworld, m.nv),
    inputs=[m.jnt_actfrclimited, m.jnt_actfrcrange, m.dof_jntid, act.qfrc],
    outputs=[act.dof_free],
  )


def gated_workspace(work):
  """A workspace that shares everything with `work` but lam and what is contracted with it."""
  gated = copy.copy(work)
  for name in ("lam", "twist", "wrench", "subtree_wrench"):
    setattr(gated, name, wp.zeros_like(getattr(work, name)))
  for name in ("ten_rate", "adj_ten_length", "adj_ten_rate"):
    setattr(gated, name, wp.zeros_like(getattr(work, name)))
  gated.product = wp.zeros((0, 0), dtype=wp.spatial_vector, device=work.product.device)
  gated.ten_direction = wp.zeros((0, 0, 0), dtype=float, device=work.product.device)
  gated.subtree_axis_wrench = wp.zeros(
    (0, 0, 0), dtype=wp.spatial_vector, device=work.product.device
  )
  return gated


def start(work, gated, gate: wp.array) -> None:
  """Fills lam of a gated workspace and what follows from it."""
  wp.launch(_gate, dim=work.lam.shape, inputs=[gate, work.lam], outputs=[gated.lam])
  begin(gated)


def begin(gated) -> None:
  """Fills twists and rates of a workspace with its own lam, clears its wrenches and cotangents."""
  gated.wrench.zero_()
  twists.launch(gated)
  tendon_rates.evaluate(gated)
  tendon_rates.launch(gated)


def start_gravcomp(work):
  """The workspace in which gravity compensation sees lam; `work` itself where no limit matters."""
  m, act = work.model, work.actuation
  if act.compensated is None:
    return work
  wp.launch(
    _gravcomp_gate,
    dim=work.lam.shape,
    inputs=[m.jnt_actgravcomp, m.dof_jntid, work.actuation_enabled, act.dof_free],
    outputs=[act.gravcomp_gate],
  )
  start(work, act.compensated, act.gravcomp_gate)
  return act.compensated


def finish(gated) -> None:
  """Carries what is left on the tendons and bodies of a gated workspace to the coordinates."""
  tendon_path.vjp(gated)
  sweep.launch(gated)
  body_poses.launch(gated)


def vjp(work) -> None:
  """Adds the gradient of the bounds."""
  m, d, act = work.model, work.data, work.actuation
  if not act.joint_limited or work.adj["jnt_actfrcrange"].shape[0] == 0:
    return
  wp.launch(
    _range_vjp,
    dim=(d.nworld, m.nv),
    inputs=[
      m.jnt_actfrcrange,
      m.dof_jntid,
      act.qfrc,
      act.dof_free,
      work.lam,
      work.adj["jnt_actfrcrange"],
    ],
  )
