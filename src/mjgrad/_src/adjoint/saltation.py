"""What the time of a jump of the forces owes to the state and to the parameters.

A limit or contact comes into being where its distance r, beyond the margin, falls to zero, and
ceases where it rises above it. The acceleration then jumps from alpha to alpha + A or back, where A
is what the rows of the constraint add at r = 0. The time of the jump moves by -dr / rdot when the
state before it does, so that the motion after it changes by more than the linearised motion,

    S = 1 + (F+ - F-) grad r^T / rdot             the saltation matrix
    lam- = S^T lam+ = lam+ - grad r (lam_v . A) / |rdot|

either way, and likewise in the parameters that r depends on. With a solimp that starts at zero A
vanishes and S is one.

A is the difference of two solutions of the equations of motion at the accepted state at which the
rows are there: one with their D and aref at r = 0, and one without them. Where several constraints
come into being in one step, each has its share,

    lam_v . A = sum_i c_i,    c_i = (J_i z) . f_i,    H z = lam_v without these rows

exact where the other rows respond linearly; what is left is shared in proportion to the normal
forces. All of this is exact in the limit of a short step across the jump, which the control of the
steps provides: terms of the order of that step are left out.

The rows of a pair of geoms have no names that last from one state to the next. Of the contacts of a
pair that has more of them after a step those nearest to r = 0 are the new ones.

Source: Aizerman and Gantmacher, Determination of stability by linear approximation of a periodic
solution of a system of differential equations with discontinuous right-hand sides (1958); Kong et
al., Saltation matrices: the essential tool for linearizing hybrid dynamical systems (2024);
docs/adaptive.md, "Jumps".
"""

import warp as wp

from mjgrad._src.adjoint import multiplier
from mjgrad._src.adjoint import rows
from mjgrad._src.engine import adapter
from mjgrad._src.engine.adapter import ConstraintType
from mjgrad._src.engine.adapter import vec5
from mjgrad._src.integrators.controller import JUMP_SIZE
from mjgrad._src.integrators.controller import ROWS
from mjgrad._src.integrators.controller import UNEXPLAINED
from mjgrad._src.integrators.flow import ZERO
from mjgrad._src.terms import touch
from mjgrad._src.terms.impedance import impedance
from mjgrad._src.terms.impedance import inverse_regularizer
from mjgrad._src.terms.impedance import stiffness

wp.set_module_options({"enable_backward": False})

LIMIT_JOINT = wp.constant(int(ConstraintType.LIMIT_JOINT))
LIMIT_TENDON = wp.constant(int(ConstraintType.LIMIT_TENDON))
PYRAMIDAL = wp.constant(int(ConstraintType.CONTACT_PYRAMIDAL))
UNEXPLAINED_PART = wp.constant(wp.float64(0.1))
"""Part of the change of the acceleration over the step that its jumps may leave unexplained, where
what is left is not less than any jump."""


@wp.func
def _key(
  ngeom: int,
  contact_geom_in: wp.array[wp.vec2i],
  contact_efc_address_in: wp.array2d[int],
  efctype: int,
  id: int,
  efcid: int,
) -> int:
  """Tells limits and pairs of geoms apart; 0 for rows that do not come and go by themselves."""
  key = int(0)
  if efctype == LIMIT_JOINT or efctype == LIMIT_TENDON:
    key = 8 * id + efctype
  elif efctype > LIMIT_TENDON and contact_efc_address_in[id, 0] == efcid:
    geoms = contact_geom_in[id]
    key = 8 * (ngeom * geoms[0] + geoms[1]) + efctype
  return key


@wp.kernel
def _note(
  # Model:
  ngeom: int,
  # Data in:
  nefc_in: wp.array[int],
  contact_geom_in: wp.array[wp.vec2i],
  contact_efc_address_in: wp.array2d[int],
  efc_type_in: wp.array2d[int],
  efc_id_in: wp.array2d[int],
  # Out:
  key_out: wp.array2d[int],
):
  worldid, efcid = wp.tid()
  key = int(0)
  if efcid < nefc_in[worldid]:
    key = _key(
      ngeom,
      contact_geom_in,
      contact_efc_address_in,
      efc_type_in[worldid, efcid],
      efc_id_in[worldid, efcid],
      efcid,
    )
  key_out[worldid, efcid] = key


@wp.kernel
def _find(
  # Data in:
  contact_efc_address_in: wp.array2d[int],
  efc_type_in: wp.array2d[int],
  efc_id_in: wp.array2d[int],
  efc_pos_in: wp.array2d[float],
  efc_margin_in: wp.array2d[float],
  # In:
  key: wp.array2d[int],
  key_elsewhere: wp.array2d[int],
  accepts: wp.array[int],
  # Out:
  event_out: wp.array2d[int],
):
  worldid, efcid = wp.tid()
  mine = key[worldid, efcid]
  if mine == 0 or accepts[worldid] == 0:
    return
  r = efc_pos_in[worldid, efcid] - efc_margin_in[worldid, efcid]
  rank = int(0)
  surplus = int(0)
  for other in range(key.shape[1]):
    if key[worldid, other] == mine:
      surplus += 1
      depth = efc_pos_in[worldid, other] - efc_margin_in[worldid, other]
      if depth > r or (depth == r and other < efcid):
        rank += 1
    if key_elsewhere[worldid, other] == mine:
      surplus -= 1
  if rank >= surplus:
    return
  event_out[worldid, efcid] = 1
  if efc_type_in[worldid, efcid] > LIMIT_TENDON:
    conid = efc_id_in[worldid, efcid]
    for k in range(1, contact_efc_address_in.shape[1]):
      row = contact_efc_address_in[conid, k]
      if row >= 0:
        event_out[worldid, row] = 1


@wp.kernel
def _at_zero(
  # Model:
  opt_timestep: wp.array[float],
  opt_disableflags: int,
  jnt_solref: wp.array2d[wp.vec2],
  jnt_solimp: wp.array2d[vec5],
  tendon_solref_lim: wp.array2d[wp.vec2],
  tendon_solimp_lim: wp.array2d[vec5],
  # Data in:
  contact_solref_in: wp.array[wp.vec2],
  contact_solimp_in: wp.array[vec5],
  contact_efc_address_in: wp.array2d[int],
  efc_type_in: wp.array2d[int],
  efc_id_in: wp.array2d[int],
  efc_pos_in: wp.array2d[float],
  efc_margin_in: wp.array2d[float],
  # In:
  elliptic: bool,
  event: wp.array2d[int],
  # Data out:
  efc_D_out: wp.array2d[float],
  efc_aref_out: wp.array2d[float],
):
  worldid, efcid = wp.tid()
  if event[worldid, efcid] == 0:
    return
  efctype = efc_type_in[worldid, efcid]
  id = efc_id_in[worldid, efcid]
  first = efcid
  if efctype == LIMIT_JOINT:
    solref = jnt_solref[worldid % jnt_solref.shape[0], id]
    solimp = jnt_solimp[worldid % jnt_solimp.shape[0], id]
  elif efctype == LIMIT_TENDON:
    solref = tendon_solref_lim[worldid % tendon_solref_lim.shape[0], id]
    solimp = tendon_solimp_lim[worldid % tendon_solimp_lim.shape[0], id]
  else:
    solref = contact_solref_in[id]
    solimp = contact_solimp_in[id]
    first = contact_efc_address_in[id, 0]
  r = efc_pos_in[worldid, first] - efc_margin_in[worldid, first]
  imp = impedance(solimp, r)
  touching = inverse_regularizer(1.0, impedance(solimp, 0.0))
  efc_D_out[worldid, efcid] *= touching / inverse_regularizer(1.0, imp)
  if not elliptic or efcid == first:
    h = opt_timestep[worldid % opt_timestep.shape[0]]
    efc_aref_out[worldid, efcid] += stiffness(solref, solimp, h, opt_disableflags) * imp * r


@wp.kernel
def _leave_out(
  # In:
  event: wp.array2d[int],
  # Data out:
  efc_D_out: wp.array2d[float],
):
  worldid, efcid = wp.tid()
  if event[worldid, efcid] != 0:
    efc_D_out[worldid, efcid] = 0.0


@wp.kernel
def _load(
  # In:
  solved: wp.array3d[float],
  stage: int,
  # Data out:
  qfrc_smooth_out: wp.array2d[float],
):
  worldid, dofid = wp.tid()
  nv = qfrc_smooth_out.shape[1]
  qfrc_smooth_out[worldid, dofid] = solved[stage, worldid, nv + dofid]


@wp.kernel
def _velocity_cotangent(
  # Adjoint in:
  adj_y_in: wp.array2d[wp.float64],
  # Out:
  adj_qacc_out: wp.array2d[wp.float64],
):
  worldid, dofid = wp.tid()
  adj_qacc_out[worldid, dofid] = -adj_y_in[worldid, adj_qacc_out.shape[1] + dofid]


@wp.func
def _response(
  contact_efc_address_in: wp.array2d[int],
  contact_dim_in: wp.array[int],
  efc_type_in: wp.array2d[int],
  efc_id_in: wp.array2d[int],
  J_in: wp.array3d[float],
  force: wp.array2d[float],
  z: wp.array2d[float],
  worldid: int,
  first: int,
):
  """(J_i z) . f_i and the normal force of the constraint whose first row is `first`."""
  efctype = efc_type_in[worldid, first]
  nrow = int(1)
  conid = int(0)
  if efctype > LIMIT_TENDON:
    conid = efc_id_in[worldid, first]
    nrow = contact_dim_in[conid]
    if efctype == PYRAMIDAL:
      nrow = 2 * (nrow - 1)
  response = wp.float64(0.0)
  push = wp.float64(0.0)
  for k in range(nrow):
    row = first
    if k > 0:
      row = contact_efc_address_in[conid, k]
    f = wp.float64(force[worldid, row])
    along = wp.float64(0.0)
    for dofid in range(z.shape[1]):
      along += wp.float64(J_in[worldid, row, dofid]) * wp.float64(z[worldid, dofid])
    response += along * f
    if k == 0 or efctype == PYRAMIDAL:
      push += wp.abs(f)
  return response, push


@wp.kernel
def _share(
  # Data in:
  contact_efc_address_in: wp.array2d[int],
  contact_dim_in: wp.array[int],
  efc_type_in: wp.array2d[int],
  efc_id_in: wp.array2d[int],
  efc_vel_in: wp.array2d[float],
  # In:
  J_in: wp.array3d[float],
  key: wp.array2d[int],
  event: wp.array2d[int],
  force: wp.array2d[float],
  acc_with: wp.array2d[float],
  acc_without: wp.array2d[float],
  z: wp.array2d[float],
  appears: bool,
  index: wp.array[int],
  # Adjoint in:
  adj_y_in: wp.array2d[wp.float64],
  # Out:
  explained_out: wp.array2d[wp.float64],
  adj_r_out: wp.array2d[float],
  events_out: wp.array2d[wp.int8],
):
  worldid = wp.tid()
  nv = acc_with.shape[1]
  total = ZERO
  sign = wp.float64(-1.0)
  if appears:
    sign = wp.float64(1.0)
  responses = ZERO
  pushes = ZERO
  found = int(0)
  for efcid in range(key.shape[1]):
    if event[worldid, efcid] != 0 and key[worldid, efcid] != 0:
      found = 1
      response, push = _response(
        contact_efc_address_in, contact_dim_in, efc_type_in, efc_id_in, J_in, force, z,
        worldid, efcid,
      )  # fmt: skip
      responses += response
      pushes += push
  if found == 0:
    return
  for i in range(nv):
    change = wp.float64(acc_with[worldid, i]) - wp.float64(acc_without[worldid, i])
    total += adj_y_in[worldid, nv + i] * change
    explained_out[worldid, i] += sign * change
  if pushes == ZERO:
    return
  for efcid in range(key.shape[1]):
    if event[worldid, efcid] != 0 and key[worldid, efcid] != 0:
      response, push = _response(
        contact_efc_address_in, contact_dim_in, efc_type_in, efc_id_in, J_in, force, z,
        worldid, efcid,
      )  # fmt: skip
      speed = wp.float64(efc_vel_in[worldid, efcid])
      if efc_type_in[worldid, efcid] == PYRAMIDAL:
        opposite = contact_efc_address_in[efc_id_in[worldid, efcid], 1]
        speed = wp.float64(0.5) * (speed + wp.float64(efc_vel_in[worldid, opposite]))
      if push != ZERO:
        if sign * speed < ZERO:
          share = response + (total - responses) * push / pushes
          adj_r_out[worldid, efcid] = wp.float32(-share / wp.abs(speed))
        else:
          events_out[index[worldid], worldid] |= wp.static(wp.int8(UNEXPLAINED))


@wp.kernel
def _check(
  # In:
  solved: wp.array3d[float],
  stage_before: int,
  stage_after: int,
  explained: wp.array2d[wp.float64],
  accepts: wp.array[int],
  index: wp.array[int],
  # Out:
  events_out: wp.array2d[wp.int8],
):
  worldid = wp.tid()
  if accepts[worldid] == 0:
    return
  if (events_out[index[worldid], worldid] & wp.static(wp.int8(ROWS))) == wp.int8(0):
    return
  change = ZERO
  rest = ZERO
  size = ZERO
  for i in range(explained.shape[1]):
    size = wp.max(size, wp.float64(wp.abs(solved[stage_after, worldid, i])))
    a = wp.float64(solved[stage_after, worldid, i]) - wp.float64(solved[stage_before, worldid, i])
    change += a * a
    rest += (a - explained[worldid, i]) * (a - explained[worldid, i])
  least = wp.max(UNEXPLAINED_PART * UNEXPLAINED_PART * change, JUMP_SIZE * JUMP_SIZE * size * size)
  if rest > least:
    events_out[index[worldid], worldid] |= wp.static(wp.int8(UNEXPLAINED))


@wp.kernel
def _add(
  # Adjoint in:
  adj_qpos_in: wp.array2d[float],
  # Adjoint out (+=):
  adj_y_out: wp.array2d[wp.float64],
):
  worldid, dofid = wp.tid()
  adj_y_out[worldid, dofid] += wp.float64(adj_qpos_in[worldid, dofid])


class Saltation:
  """The jumps in the steps that all worlds are in.

  Args:
    work: a workspace on the model and data of the forward pass.
    flow: the steps.
    pace: which of them are taken; what is found out about jumps is noted there.
  """

  def __init__(self, work, flow, pace):
    self.work, self.flow, self.pace = work, flow, pace
    d, device = work.data, work.data.qpos.device
    shape = (d.nworld, d.njmax)
    self._key, self._key_elsewhere, self._event = (
      wp.zeros(shape, dtype=int, device=device) for _ in range(3)
    )
    self._adj_r, self._force = (wp.zeros(shape, dtype=float, device=device) for _ in range(2))
    self._acc_with = wp.zeros_like(d.qacc)
    self._explained = wp.zeros(d.qacc.shape, dtype=wp.float64, device=device)

  def vjp(self, adj_y: wp.array, before: int, after: int) -> None:
    """Adds the terms of all jumps to the cotangent of (q, v, w), and of the parameters.

    Args:
      adj_y: the cotangent, in the tangent space, shape [nworld, 2 nv + na].
      before: the stage of the step that is first in time, which has been solved.
      after: the stage that is last in time, likewise.
    """
    self._explained.zero_()
    for stage, other, appears in ((after, before, True), (before, after, False)):
      self._visit(other, self._key_elsewhere)
      self._visit(stage, self._key)
      self._pull_back(adj_y, appears)
    wp.launch(
      _check,
      dim=self.pace.left.shape,
      inputs=[
        self.flow.solved,
        before,
        after,
        self._explained,
        self.pace.accepts,
        self.pace.index,
      ],
      outputs=[self.pace.events],
    )

  def _visit(self, stage: int, key: wp.array) -> None:
    """Moves `work.data` to a stage and notes the rows there."""
    flow, m, d = self.flow, self.work.model, self.work.data
    flow.enter(stage, d)
    work = self.work
    adapter.linearization_point(m, d, work.body_velocities, work.beside)
    wp.launch(_load, dim=d.qacc.shape, inputs=[flow.solved, stage], outputs=[d.qfrc_smooth])
    wp.launch(
      _note,
      dim=key.shape,
      inputs=[m.ngeom, d.nefc, d.contact.geom, d.contact.efc_address, d.efc.type, d.efc.id],
      outputs=[key],
    )

  def _pull_back(self, adj_y: wp.array, appears: bool) -> None:
    """Adds the terms of the rows that the other stage has not."""
    work = self.work
    m, d = work.model, work.data
    self._event.zero_()
    wp.launch(
      _find,
      dim=self._event.shape,
      inputs=[
        d.contact.efc_address,
        d.efc.type,
        d.efc.id,
        d.efc.pos,
        d.efc.margin,
        self._key,
        self._key_elsewhere,
        self.pace.accepts,
      ],
      outputs=[self._event],
    )
    wp.launch(
      _at_zero,
      dim=self._event.shape,
      inputs=[
        m.opt.timestep,
        work.row_flags,
        m.jnt_solref,
        m.jnt_solimp,
        m.tendon_solref_lim,
        m.tendon_solimp_lim,
        d.contact.solref,
        d.contact.solimp,
        d.contact.efc_address,
        d.efc.type,
        d.efc.id,
        d.efc.pos,
        d.efc.margin,
        work.elliptic,
        self._event,
      ],
      outputs=[d.efc.D, d.efc.aref],
    )
    adapter.solve(m, d)
    wp.copy(self._acc_with, d.qacc)
    wp.copy(work.qacc, d.qacc)
    rows.launch(work)
    wp.copy(self._force, work.efc_force)
    wp.launch(_leave_out, dim=self._event.shape, inputs=[self._event], outputs=[d.efc.D])
    adapter.solve(m, d)
    wp.copy(work.qacc, d.qacc)
    wp.launch(_velocity_cotangent, dim=d.qacc.shape, inputs=[adj_y], outputs=[work.adj_qacc])
    multiplier.dynamics_multiplier(work)
    self._adj_r.zero_()
    wp.launch(
      _share,
      dim=d.nworld,
      inputs=[
        d.contact.efc_address,
        d.contact.dim,
        d.efc.type,
        d.efc.id,
        d.efc.vel,
        work.efc_J,
        self._key,
        self._event,
        self._force,
        self._acc_with,
        d.qacc,
        work.lam,
        appears,
        self.pace.index,
        adj_y,
      ],
      outputs=[self._explained, self._adj_r, self.pace.events],
    )
    work.adj_qpos.zero_()
    touch.vjp(work, self._adj_r)
    wp.launch(_add, dim=d.qacc.shape, inputs=[work.adj_qpos], outputs=[adj_y])
