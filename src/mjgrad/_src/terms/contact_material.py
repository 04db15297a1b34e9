"""Contact parameters: friction, solref, solimp and margin, of geoms or of an explicit pair.

`impratio` and the time step, which the law of every contact reads too, are among them.

An explicit pair brings its own. Otherwise the two geoms are mixed. The geom with the higher
priority decides alone; at equal priority, with m = solmix_1 / (solmix_1 + solmix_2),

    friction = max(friction_1, friction_2)
    solimp   = m solimp_1 + (1 - m) solimp_2
    solref   = m solref_1 + (1 - m) solref_2     both positive;    min(solref_1, solref_2) otherwise

and always margin = margin_1 + margin_2, r = dist - margin. solreffriction is a pair's alone.

Held fixed: which geom decides a maximum or a minimum; equal geoms share it, so that moving both
together has the right derivative, and each alone the central difference. A gap, which only says
which contacts are reported, has no gradient.

Source: MuJoCo documentation, Modeling, "Contact parameters"; Computation, "Constraint model".
"""

import mujoco
import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.accumulate import accumulate_option
from mjgrad._src.engine.adapter import vec5
from mjgrad._src.spatial import spatial_at
from mjgrad._src.terms.contact import contact_mode
from mjgrad._src.terms.contact import in_frame
from mjgrad._src.terms.contact import law_of
from mjgrad._src.terms.contact import relative_twist
from mjgrad._src.terms.contact_force import contact_material_vjp
from mjgrad._src.terms.contact_force import vec6
from mjgrad._src.tree.twists import ACC
from mjgrad._src.tree.twists import LAM
from mjgrad._src.tree.twists import V

wp.set_module_options({"enable_backward": False})

PARAMETERS = (
  "geom_friction",
  "geom_solref",
  "geom_solimp",
  "geom_solmix",
  "geom_margin",
  "pair_friction",
  "pair_solref",
  "pair_solreffriction",
  "pair_solimp",
  "pair_margin",
  "body_invweight0",
  "opt.timestep",
  "opt.impratio",
)

MINMU = wp.constant(1e-5)
"""MuJoCo's lower bound on friction coefficients (mjMINMU)."""
MINVAL = wp.constant(mujoco.mjMINVAL)


@wp.func
def _share(mine: float, other: float) -> float:
  """Share of max(mine, other) that one geom decides."""
  return wp.where(mine > other, 1.0, wp.where(mine == other, 0.5, 0.0))


@wp.func
def _friction_share(
  mine: wp.vec3, other: wp.vec3, my_priority: int, other_priority: int
) -> wp.vec3:
  share = wp.vec3()
  for k in range(3):
    if mine[k] > MINMU and my_priority >= other_priority:
      share[k] = wp.where(my_priority > other_priority, 1.0, _share(mine[k], other[k]))
  return share


@wp.func
def _mix(mine: float, other: float, my_priority: int, other_priority: int) -> float:
  """Weight of one geom in solref and solimp."""
  weight = float(0.5)
  if my_priority != other_priority:
    weight = wp.where(my_priority > other_priority, 1.0, 0.0)
  elif mine >= MINVAL and other >= MINVAL:
    weight = mine / (mine + other)
  elif mine >= MINVAL or other >= MINVAL:
    weight = wp.where(mine >= MINVAL, 1.0, 0.0)
  return weight


@wp.func
def _solref_weight(mine: wp.vec2, other: wp.vec2, mix: float) -> wp.vec2:
  """Derivative of each entry of the mixed solref in one geom's."""
  weight = wp.vec2(mix, mix)
  if mine[0] <= 0.0 or other[0] <= 0.0:
    weight = wp.vec2(_share(-mine[0], -other[0]), _share(-mine[1], -other[1]))
  return weight


@wp.func
def pair_index(g1: int, g2: int, ngeom: int) -> int:
  """Where the engine lists a pair of geoms."""
  i = wp.min(g1, g2)
  j = wp.max(g1, g2)
  return (i * (2 * ngeom - i - 3)) // 2 + j - 1


@wp.func
def pair_of(g1: int, g2: int, ngeom: int, nxn_pairid: wp.array[wp.vec2i]) -> int:
  """The explicit pair of two geoms, negative if there is none."""
  return nxn_pairid[pair_index(g1, g2, ngeom)][0]


@wp.kernel
def _contact_material_vjp(
  # Model:
  ngeom: int,
  opt_timestep: wp.array[float],
  opt_disableflags: int,
  opt_impratio_invsqrt: wp.array[float],
  body_rootid: wp.array[int],
  body_invweight0: wp.array2d[wp.vec2],
  geom_bodyid: wp.array[int],
  geom_priority: wp.array[int],
  geom_solmix: wp.array2d[float],
  geom_solref: wp.array2d[wp.vec2],
  geom_solimp: wp.array2d[vec5],
  geom_friction: wp.array2d[wp.vec3],
  pair_friction: wp.array2d[vec5],
  nxn_pairid: wp.array[wp.vec2i],
  # Data in:
  nacon_in: wp.array[int],
  subtree_com_in: wp.array2d[wp.vec3],
  contact_dist_in: wp.array[float],
  contact_pos_in: wp.array[wp.vec3],
  contact_frame_in: wp.array[wp.mat33],
  contact_includemargin_in: wp.array[float],
  contact_friction_in: wp.array[vec5],
  contact_solref_in: wp.array[wp.vec2],
  contact_solreffriction_in: wp.array[wp.vec2],
  contact_solimp_in: wp.array[vec5],
  contact_dim_in: wp.array[int],
  contact_geom_in: wp.array[wp.vec2i],
  contact_efc_address_in: wp.array2d[int],
  contact_worldid_in: wp.array[int],
  # In:
  elliptic: bool,
  body_lastdof: wp.array[int],
  efc_residual: wp.array2d[float],
  row_scale: wp.array2d[float],
  scale_twist: wp.array2d[wp.spatial_vector],
  contact_law: wp.array[vec6],
  twist_in: wp.array4d[float],
  # Adjoint out (+=):
  adj_geom_friction_out: wp.array2d[wp.vec3],
  adj_geom_solref_out: wp.array2d[wp.vec2],
  adj_geom_solimp_out: wp.array2d[vec5],
  adj_geom_solmix_out: wp.array2d[float],
  adj_geom_margin_out: wp.array2d[float],
  adj_pair_friction_out: wp.array2d[vec5],
  adj_pair_solref_out: wp.array2d[wp.vec2],
  adj_pair_solreffriction_out: wp.array2d[wp.vec2],
  adj_pair_solimp_out: wp.array2d[vec5],
  adj_pair_margin_out: wp.array2d[float],
  adj_body_invweight0_out: wp.array2d[wp.vec2],
  adj_timestep_out: wp.array[float],
  adj_impratio_out: wp.array[float],
):
  conid = wp.tid()
  if conid >= nacon_in[0] or contact_efc_address_in[conid, 0] < 0:
    return
  worldid = contact_worldid_in[conid]
  friction = contact_friction_in[conid]
  condim = contact_dim_in[conid]
  impratio_invsqrt = opt_impratio_invsqrt[worldid % opt_impratio_invsqrt.shape[0]]
  mode = contact_mode(
    elliptic,
    condim,
    friction,
    impratio_invsqrt,
    worldid,
    contact_efc_address_in[conid],
    efc_residual,
  )
  if mode == 0:
    return

  g1 = contact_geom_in[conid][0]
  g2 = contact_geom_in[conid][1]
  b1 = geom_bodyid[g1]
  b2 = geom_bodyid[g2]
  row1 = body_lastdof[b1] + 1
  row2 = body_lastdof[b2] + 1
  frame = contact_frame_in[conid]
  offset1 = contact_pos_in[conid] - subtree_com_in[worldid, body_rootid[b1]]
  offset2 = contact_pos_in[conid] - subtree_com_in[worldid, body_rootid[b2]]
  v = relative_twist(
    spatial_at(twist_in, worldid, V, row1), offset1, spatial_at(twist_in, worldid, V, row2), offset2
  )
  a = relative_twist(
    spatial_at(twist_in, worldid, ACC, row1),
    offset1,
    spatial_at(twist_in, worldid, ACC, row2),
    offset2,
  )
  lam = relative_twist(
    spatial_at(twist_in, worldid, LAM, row1),
    offset1,
    spatial_at(twist_in, worldid, LAM, row2),
    offset2,
  )
  invweight_row = worldid % body_invweight0.shape[0]
  invweight = body_invweight0[invweight_row, b1][0] + body_invweight0[invweight_row, b2][0]
  scale = float(1.0)
  if row_scale.shape[0] > 0:
    scale = row_scale[worldid, contact_efc_address_in[conid, 0]]
  adj = contact_material_vjp(
    elliptic,
    contact_dist_in[conid] - contact_includemargin_in[conid],
    in_frame(frame, v),
    in_frame(frame, a),
    in_frame(frame, lam),
    friction,
    contact_solref_in[conid],
    contact_solreffriction_in[conid],
    contact_solimp_in[conid],
    law_of(contact_law, conid),
    scale * invweight,
    impratio_invsqrt,
    opt_timestep[worldid % opt_timestep.shape[0]],
    opt_disableflags,
    condim,
    mode,
  )

  if row_scale.shape[0] > 0 and not elliptic and condim > 1:
    x = relative_twist(scale_twist[conid, 0], offset1, scale_twist[conid, 1], offset2)
    adj.friction[0] += in_frame(frame, x)[1]

  accumulate(adj_body_invweight0_out, worldid, b1, wp.vec2(scale * adj.invweight, 0.0))
  accumulate(adj_body_invweight0_out, worldid, b2, wp.vec2(scale * adj.invweight, 0.0))
  accumulate_option(adj_timestep_out, worldid, adj.timestep)
  slope = -0.5 * impratio_invsqrt * impratio_invsqrt * impratio_invsqrt
  accumulate_option(adj_impratio_out, worldid, slope * adj.impratio_invsqrt)

  pairid = pair_of(g1, g2, ngeom, nxn_pairid)
  if pairid >= 0:
    given = pair_friction[worldid % pair_friction.shape[0], pairid]
    for k in range(5):
      adj.friction[k] = wp.where(given[k] > MINMU, adj.friction[k], 0.0)
    accumulate(adj_pair_friction_out, worldid, pairid, adj.friction)
    accumulate(adj_pair_solref_out, worldid, pairid, adj.solref)
    accumulate(adj_pair_solreffriction_out, worldid, pairid, adj.solreffriction)
    accumulate(adj_pair_solimp_out, worldid, pairid, adj.solimp)
    accumulate(adj_pair_margin_out, worldid, pairid, -adj.r)
    return

  priority1 = geom_priority[g1]
  priority2 = geom_priority[g2]
  slide = adj.friction[0] + adj.friction[1]
  roll = adj.friction[3] + adj.friction[4]
  mixed = wp.vec3(slide, adj.friction[2], roll)
  f1 = geom_friction[worldid % geom_friction.shape[0], g1]
  f2 = geom_friction[worldid % geom_friction.shape[0], g2]
  share1 = _friction_share(f1, f2, priority1, priority2)
  share2 = _friction_share(f2, f1, priority2, priority1)
  accumulate(adj_geom_friction_out, worldid, g1, wp.cw_mul(mixed, share1))
  accumulate(adj_geom_friction_out, worldid, g2, wp.cw_mul(mixed, share2))

  weight1 = geom_solmix[worldid % geom_solmix.shape[0], g1]
  weight2 = geom_solmix[worldid % geom_solmix.shape[0], g2]
  mix1 = _mix(weight1, weight2, priority1, priority2)
  mix2 = _mix(weight2, weight1, priority2, priority1)
  ref1 = geom_solref[worldid % geom_solref.shape[0], g1]
  ref2 = geom_solref[worldid % geom_solref.shape[0], g2]
  imp1 = geom_solimp[worldid % geom_solimp.shape[0], g1]
  imp2 = geom_solimp[worldid % geom_solimp.shape[0], g2]
  accumulate(
    adj_geom_solref_out, worldid, g1, wp.cw_mul(adj.solref, _solref_weight(ref1, ref2, mix1))
  )
  accumulate(
    adj_geom_solref_out, worldid, g2, wp.cw_mul(adj.solref, _solref_weight(ref2, ref1, mix2))
  )
  accumulate(adj_geom_solimp_out, worldid, g1, mix1 * adj.solimp)
  accumulate(adj_geom_solimp_out, worldid, g2, mix2 * adj.solimp)

  if priority1 == priority2 and weight1 >= MINVAL and weight2 >= MINVAL:
    adj_mix = wp.dot(adj.solimp, imp1 - imp2)
    if ref1[0] > 0.0 and ref2[0] > 0.0:
      adj_mix += wp.dot(adj.solref, ref1 - ref2)
    total = weight1 + weight2
    accumulate(adj_geom_solmix_out, worldid, g1, adj_mix * weight2 / (total * total))
    accumulate(adj_geom_solmix_out, worldid, g2, -adj_mix * weight1 / (total * total))

  accumulate(adj_geom_margin_out, worldid, g1, -adj.r)
  accumulate(adj_geom_margin_out, worldid, g2, -adj.r)


def vjp(work) -> None:
  """Adds the gradients of the contact parameters that were asked for."""
  m, d = work.model, work.data
  outputs = [work.adj[name] for name in PARAMETERS]
  if not work.contact_enabled or not any(adj.shape[0] for adj in outputs):
    return
  wp.launch(
    _contact_material_vjp,
    dim=d.naconmax,
    inputs=[
      m.ngeom,
      m.opt.timestep,
      work.row_flags,
      m.opt.impratio_invsqrt,
      m.body_rootid,
      m.body_invweight0,
      m.geom_bodyid,
      m.geom_priority,
      m.geom_solmix,
      m.geom_solref,
      m.geom_solimp,
      m.geom_friction,
      m.pair_friction,
      m.nxn_pairid,
      d.nacon,
      d.subtree_com,
      d.contact.dist,
      d.contact.pos,
      d.contact.frame,
      d.contact.includemargin,
      d.contact.friction,
      d.contact.solref,
      d.contact.solreffriction,
      d.contact.solimp,
      d.contact.dim,
      d.contact.geom,
      d.contact.efc_address,
      d.contact.worldid,
      work.elliptic,
      work.tree.body_lastdof,
      work.efc_residual,
      work.row_scales.scale,
      work.scale_twist,
      work.contact_law,
      work.twist,
      *outputs,
    ],
  )
