"""The dynamics that the backward pass differentiates where contacts act from a distance.

At a state of the forward pass, on arrays of its own,

    contacts    detected up to the width, each with its law            contact/from_distance.py
    rows        those of the engine, with D and aref of that law       terms/impedance.py
    qacc        the root of the equations of motion with these rows    the engine's solver

after which the backward pass goes on as ever (adjoint/step_vjp.py). The engine makes rows for what
is nearer than `includemargin`, which therefore has the width in it while they are made. With d' the
impedance that they then have, the rows of a contact get

    D = D' w(d) / w(d'),    aref = -b v - k d h

where w is the impedance's part of D. Forces but those of constraints are those of the forward pass.

Source: Paulus et al., Differentiable Simulation of Hard Contacts with Soft Gradients for Learning
and Control (2026), section 4.
"""

import dataclasses
from collections.abc import Iterable

import mujoco_warp as mjw
import numpy as np
import warp as wp

from mjgrad._src.contact.from_distance import ContactsFromDistance
from mjgrad._src.engine import adapter
from mjgrad._src.engine.adapter import vec5
from mjgrad._src.engine.status import Status
from mjgrad._src.terms.contact_material import pair_index
from mjgrad._src.terms.impedance import approach
from mjgrad._src.terms.impedance import contact_impedance
from mjgrad._src.terms.impedance import impedance
from mjgrad._src.terms.impedance import row_damping
from mjgrad._src.terms.impedance import row_stiffness
from mjgrad._src.terms.impedance import row_weight
from mjgrad._src.terms.impedance import vec6

wp.set_module_options({"enable_backward": False})

WIDTH = wp.constant(2)
"""Where the law of a contact has its width."""
ITERATIONS, LS_ITERATIONS, TOLERANCE = 100, 50, 1e-8
"""How far the solver goes at least: MuJoCo's defaults, however short the forward pass stops."""


@wp.kernel
def _widen(
  # Model:
  ngeom: int,
  # Data in:
  nacon_in: wp.array[int],
  contact_geom_in: wp.array[wp.vec2i],
  # In:
  selected: wp.array[bool],
  law: vec6,
  # Data out:
  contact_includemargin_out: wp.array[float],
  # Out:
  margin_out: wp.array[float],
  contact_law_out: wp.array[vec6],
):
  conid = wp.tid()
  if conid >= nacon_in[0]:
    return
  geoms = contact_geom_in[conid]
  margin_out[conid] = contact_includemargin_out[conid]
  contact_law_out[conid] = vec6()
  if selected[pair_index(geoms[0], geoms[1], ngeom)]:
    contact_law_out[conid] = law
    contact_includemargin_out[conid] += law[WIDTH]


@wp.kernel
def _rows(
  # Model:
  opt_timestep: wp.array[float],
  # Data in:
  nacon_in: wp.array[int],
  contact_dist_in: wp.array[float],
  contact_solref_in: wp.array[wp.vec2],
  contact_solimp_in: wp.array[vec5],
  contact_dim_in: wp.array[int],
  contact_efc_address_in: wp.array2d[int],
  contact_worldid_in: wp.array[int],
  efc_vel_in: wp.array2d[float],
  # In:
  elliptic: bool,
  row_flags: int,
  margin: wp.array[float],
  contact_law: wp.array[vec6],
  # Data out:
  contact_includemargin_out: wp.array[float],
  efc_D_out: wp.array2d[float],
  efc_aref_out: wp.array2d[float],
):
  conid = wp.tid()
  if conid >= nacon_in[0]:
    return
  law = contact_law[conid]
  inflated = contact_dist_in[conid] - contact_includemargin_out[conid]
  contact_includemargin_out[conid] = margin[conid]
  if law[WIDTH] == 0.0 and law[5] == 0.0 or contact_efc_address_in[conid, 0] < 0:
    return
  worldid = contact_worldid_in[conid]
  h = opt_timestep[worldid % opt_timestep.shape[0]]
  solref = contact_solref_in[conid]
  solimp = contact_solimp_in[conid]
  r = contact_dist_in[conid] - margin[conid]
  imp = contact_impedance(solimp, law, r)
  before = row_weight(1.0, solref, solimp, impedance(solimp, inflated), h, row_flags)
  ratio = row_weight(1.0, solref, solimp, imp, h, row_flags) / before
  b = row_damping(solref, solimp, imp, h, row_flags)
  spring = row_stiffness(solref, solimp, imp, h, row_flags) * imp * approach(law, r)
  condim = contact_dim_in[conid]
  nrow = wp.max(1, 2 * (condim - 1))
  if elliptic:
    nrow = condim
  for i in range(nrow):
    efcid = contact_efc_address_in[conid, i]
    if efcid >= 0:
      efc_D_out[worldid, efcid] *= ratio
      if i == 0 or not elliptic:
        efc_aref_out[worldid, efcid] = -b * efc_vel_in[worldid, efcid] - spring


class Surrogate:
  """What the backward pass works on in place of the engine's model and data.

  Attributes:
    model: the engine's model, which detects contacts up to the width and solves to the end.
    data: the engine's data, with room for these contacts, and the inputs of the forward pass.
    contact_law: how each contact acts from a distance, shape [naconmax].
    status: overflows and contacts without a finite gradient, in the backward pass.
  """

  def __init__(self, sim, model: mjw.Model, data: mjw.Data, inputs: Iterable[str]):
    far: ContactsFromDistance = sim.surrogate
    nconmax = far.nconmax or -(-data.naconmax // data.nworld)
    own = adapter.make_data(
      sim.mjm, nworld=data.nworld, nconmax=nconmax, njmax=far.njmax or data.njmax
    )
    shared = {*inputs, "geom_xpos", "geom_xmat"} - {"qacc_warmstart"}
    own = dataclasses.replace(own, **{name: getattr(data, name) for name in shared})
    mask = far.selected(sim.mjm, model)
    self.data, self._selected, self._law = own, wp.array(mask, dtype=bool), vec6(*far.law())
    self.model = _detecting(model, mask, far.width)
    self._margin = wp.zeros(own.naconmax, dtype=float)
    self.contact_law = wp.zeros(own.naconmax, dtype=vec6)
    self.status = Status(sim.mjm, own, owner="ContactsFromDistance")

  def evaluate(self, work) -> None:
    """Computes what the derivatives read, and `work.qacc`, at the state in `data`."""
    m, d = self.model, self.data
    wp.copy(d.qacc_warmstart, work.qacc)
    adapter.collide(m, d, work.body_velocities, work.beside)
    wp.launch(
      _widen,
      dim=d.naconmax,
      inputs=[m.ngeom, d.nacon, d.contact.geom, self._selected, self._law],
      outputs=[d.contact.includemargin, self._margin, self.contact_law],
    )
    adapter.constrain(m, d)
    wp.launch(
      _rows,
      dim=d.naconmax,
      inputs=[
        m.opt.timestep,
        d.nacon,
        d.contact.dist,
        d.contact.solref,
        d.contact.solimp,
        d.contact.dim,
        d.contact.efc_address,
        d.contact.worldid,
        d.efc.vel,
        work.elliptic,
        work.row_flags,
        self._margin,
        self.contact_law,
      ],
      outputs=[d.contact.includemargin, d.efc.D, d.efc.aref],
    )
    adapter.solve(m, d)
    wp.copy(work.qacc, d.qacc)
    self.status.collect()


def _detecting(model: mjw.Model, selected: np.ndarray, width: float) -> mjw.Model:
  """The model with gaps in which the contacts of the selected pairs are found.

  Gaps of geoms add up to those of pairs. Pairs with height fields have to have none
  (docs/contacts.md): fields get a negative one, and all geoms that meet them the opposite.
  """
  pairid, pairs = model.nxn_pairid.numpy()[:, 0], model.nxn_geom_pair.numpy()
  geom_gap, pair_gap = model.geom_gap.numpy().copy(), model.pair_gap.numpy().copy()
  field = model.geom_type.numpy() == int(mjw.GeomType.HFIELD)
  mixed = (selected | field[pairs].any(axis=1)) & (pairid == -1)
  wide = np.setdiff1d(pairs[mixed], np.flatnonzero(field))
  geom_gap[:, wide] += 0.5 * width
  geom_gap[:, field] -= 0.5 * width
  pair_gap[:, pairid[selected & (pairid >= 0)]] += width
  opt = dataclasses.replace(
    model.opt,
    iterations=max(ITERATIONS, model.opt.iterations),
    ls_iterations=max(LS_ITERATIONS, model.opt.ls_iterations),
    tolerance=wp.full(1, TOLERANCE, dtype=float),
    run_collision_detection=False,
  )
  return dataclasses.replace(
    model,
    opt=opt,
    geom_gap=wp.array(geom_gap, dtype=float),
    pair_gap=wp.array(pair_gap, dtype=float),
  )
