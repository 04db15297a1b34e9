"""What a step reports besides its result: overflows and non-finite numbers, without a host sync.

The engine truncates contacts and constraint rows that do not fit. Each step folds the numbers that
it needed, and whether a state stopped being finite, into a few words on the device;
`Status.raise_for_errors` reads them and raises.
"""

import mujoco
import mujoco_warp as mjw
import numpy as np
import warp as wp

from mjgrad._src.errors import CapacityError
from mjgrad._src.errors import NonFiniteGradient
from mjgrad._src.errors import NonFiniteState

wp.set_module_options({"enable_backward": False})

NEFC, NACON, NCOLLISION, NNZ, CTRL, QPOS, QVEL, CONTACT = range(8)
NWORD = 8


@wp.kernel
def _collect(
  # Data in:
  nefc_in: wp.array[int],
  qpos_in: wp.array2d[float],
  qvel_in: wp.array2d[float],
  ctrl_in: wp.array2d[float],
  nacon_in: wp.array[int],
  ncollision_in: wp.array[int],
  overflow_in: wp.array[int],
  # Out:
  word_out: wp.array[int],
):
  worldid = wp.tid()
  if worldid == 0:
    wp.atomic_max(word_out, wp.static(NACON), nacon_in[0])
    wp.atomic_max(word_out, wp.static(NCOLLISION), ncollision_in[0])
  if nefc_in[worldid] > word_out[wp.static(NEFC)]:
    wp.atomic_max(word_out, wp.static(NEFC), nefc_in[worldid])
  if overflow_in[worldid] & wp.static(int(mjw.OverflowType.NJMAX_NNZ)):
    wp.atomic_max(word_out, wp.static(NNZ), 1)
  for i in range(ctrl_in.shape[1]):
    if not wp.isfinite(ctrl_in[worldid, i]):
      wp.atomic_max(word_out, wp.static(CTRL), worldid * ctrl_in.shape[1] + i + 1)
  for i in range(qpos_in.shape[1]):
    if not wp.isfinite(qpos_in[worldid, i]):
      wp.atomic_max(word_out, wp.static(QPOS), worldid * qpos_in.shape[1] + i + 1)
  for i in range(qvel_in.shape[1]):
    if not wp.isfinite(qvel_in[worldid, i]):
      wp.atomic_max(word_out, wp.static(QVEL), worldid * qvel_in.shape[1] + i + 1)


class Status:
  """Worst case over all steps since the last check.

  Args:
    mjm: the model.
    data: the engine's data.
    owner: what has the options for the room in `data`, for messages.
  """

  def __init__(self, mjm: mujoco.MjModel, data: mjw.Data, owner: str = "the Simulator"):
    self._mjm, self._data, self._owner = mjm, data, owner
    device = data.qpos.device
    self.word = wp.zeros(NWORD, dtype=int, device=device)
    self._host = wp.zeros(NWORD, dtype=int, device="cpu", pinned=device.is_cuda)
    self._event: wp.Event | None = None

  def collect(self) -> None:
    """Folds the last step into the status; called inside the captured graph."""
    d = self._data
    wp.launch(
      _collect,
      dim=d.nworld,
      inputs=[d.nefc, d.qpos, d.qvel, d.ctrl, d.nacon, d.ncollision, d.overflow],
      outputs=[self.word],
    )

  def poll(self) -> None:
    """Raises for what is already known, without making a GPU wait, and asks for the rest.

    Raises:
      CapacityError, NonFiniteState: as in `raise_for_errors`; on a GPU, possibly a call later.
    """
    device = self.word.device
    if not device.is_cuda:
      self.raise_for_errors()
      return
    if self._event is not None:
      if not self._event.is_complete:
        return
      if self._has_error(self._host.numpy()):
        self.raise_for_errors()
    wp.copy(self._host, self.word)
    self._event = wp.get_stream(device).record_event()

  def raise_for_errors(self) -> None:
    """Waits for the device and raises for what any step since the last check reported.

    Raises:
      CapacityError: contacts or constraint rows did not fit; names the option and the value.
      NonFiniteState: a control, position or velocity is not finite, or the gradient of a contact;
        names the world and the actuator, joint or geom.
    """
    word = self.word.numpy().copy()  # on a CPU this is a view, and it is cleared below
    if not self._has_error(word):
      return
    self.word.zero_()
    self._data.overflow.zero_()
    d = self._data
    if word[NEFC] > d.njmax:
      njmax = _with_margin(word[NEFC])
      raise CapacityError(
        f"a world needed {word[NEFC]} constraint rows and has room for {d.njmax}; create "
        f"{self._owner} with njmax={njmax}.",
        {"njmax": njmax},
      )
    contacts = max(word[NACON], word[NCOLLISION])
    if contacts > d.naconmax:
      nconmax = _with_margin(int(np.ceil(contacts / d.nworld)))
      raise CapacityError(
        f"{contacts} contacts over {d.nworld} worlds exceed the room for {d.naconmax}; create "
        f"{self._owner} with nconmax={nconmax} (contacts per world).",
        {"nconmax": nconmax},
      )
    if word[NNZ]:
      njmax = _with_margin(d.njmax)
      raise CapacityError(
        f"the sparse constraint Jacobian did not fit; create {self._owner} with njmax={njmax}.",
        {"njmax": njmax},
      )
    self._raise_non_finite(word)

  def _has_error(self, word: np.ndarray) -> bool:
    d = self._data
    overflow = word[NEFC] > d.njmax or max(word[NACON], word[NCOLLISION]) > d.naconmax
    return bool(overflow or word[NNZ:].any())

  def _raise_non_finite(self, word: np.ndarray) -> None:
    if word[CTRL]:
      worldid, i = divmod(int(word[CTRL]) - 1, self._mjm.nu)
      first = self._mjm.actuator_ctrladr
      owner = np.flatnonzero((first <= i) & (i < first + self._mjm.actuator_ctrlnum))[0]
      name = self._mjm.actuator(owner).name or f"actuator {owner}"
      raise NonFiniteState(
        f"world {worldid}: ctrl[{i}] ({name}) is not finite; check the controller."
      )
    if word[CONTACT] and not word[QPOS] and not word[QVEL]:
      worldid, i = divmod(int(word[CONTACT]) - 1, self._mjm.ngeom)
      name = self._mjm.geom(i).name or f"geom {i}"
      raise NonFiniteGradient(
        f"world {worldid}: a contact of {name} has no finite gradient. Geoms that touch along a "
        "line, with two parallel sides for example, have none; turn one of them a little. Nor has "
        "a contact where the engine's search ends on no feature of a height field.",
        worldid,
      )
    field, n, entry = ("qpos", self._mjm.nq, word[QPOS])
    if not word[QPOS]:
      field, n, entry = ("qvel", self._mjm.nv, word[QVEL])
    worldid, i = divmod(int(entry) - 1, n)
    adr = self._mjm.jnt_qposadr if field == "qpos" else self._mjm.jnt_dofadr
    jntid = int(np.searchsorted(adr, i, side="right")) - 1
    name = self._mjm.joint(jntid).name or f"joint {jntid}"
    raise NonFiniteState(
      f"world {worldid}: {field}[{i}] ({name}) is not finite after the step. Check the state and "
      "the controls that went in, or use a smaller opt.timestep."
    )


def _with_margin(needed: int) -> int:
  """A capacity with a quarter to spare, in multiples of eight."""
  return int(np.ceil(needed * 1.25 / 8) * 8)
