"""The tape: what a step must remember, and the device-side counter that walks it.

A step stores its input state and, for each of its stages, the acceleration that it solved for and
the force without constraints that it solved with; everything else is recomputed in the backward
pass. Slot k holds these for step k, and v of slot k + 1 is the velocity after step k. The counter
lives on the device, so the captured graph of one step serves every step of a call.
"""

import dataclasses

import warp as wp

from mjgrad._src.adjoint import delay
from mjgrad._src.engine.memory import check_room

wp.set_module_options({"enable_backward": False})


COPIES = 3
"""Times that a tape is in memory: itself, a call's record of it, and what a capture puts back."""


@dataclasses.dataclass
class Tape:
  """Recorded states.

  Attributes:
    step: the slot in work, shape [1]
    qpos: positions [m, or quaternion, or rad], shape [nstep + 1, nworld, nq]
    qvel: velocities [m/s or rad/s], shape [nstep + 1, nworld, nv]
    act: activations, shape [nstep, nworld, na]
    qacc: solved accelerations [m/s^2 or rad/s^2], shape [nstep, nstage, nworld, nv]
    qfrc_smooth: forces but those of constraints [N or N m], shape [nstep, nstage, nworld, nv]
    act_dot: rates of the activations in methods of several stages, shape [nstep, nstage, nworld,
      na]; no entries in others
    history: buffers of past controls, shape [nstep, nworld, nhistory]
    time: simulation time [s] where there are such buffers, shape [nstep, nworld or 0]
  """

  step: wp.array
  qpos: wp.array
  qvel: wp.array
  act: wp.array
  qacc: wp.array
  qfrc_smooth: wp.array
  act_dot: wp.array
  history: wp.array
  time: wp.array

  @classmethod
  def empty(
    cls,
    nstep: int,
    nstage: int,
    nworld: int,
    nq: int,
    nv: int,
    na: int,
    nhistory: int,
    device: wp.Device,
  ) -> "Tape":
    na_dot = na if nstage > 1 else 0
    ntime = nworld if nhistory else 0
    nbyte = 4 * (nq + nv + na + nstage * (2 * nv + na_dot) + nhistory)
    remedy = "take fewer steps per call"
    check_room(device, nworld, nstep, COPIES * nbyte, "steps", remedy)
    return cls(
      step=wp.zeros(1, dtype=int, device=device),
      qpos=wp.zeros((nstep + 1, nworld, nq), dtype=float, device=device),
      qvel=wp.zeros((nstep + 1, nworld, nv), dtype=float, device=device),
      act=wp.zeros((nstep, nworld, na), dtype=float, device=device),
      qacc=wp.zeros((nstep, nstage, nworld, nv), dtype=float, device=device),
      qfrc_smooth=wp.zeros((nstep, nstage, nworld, nv), dtype=float, device=device),
      act_dot=wp.zeros((nstep, nstage, nworld, na_dot), dtype=float, device=device),
      history=wp.zeros((nstep, nworld, nhistory), dtype=float, device=device),
      time=wp.zeros((nstep, ntime), dtype=float, device=device),
    )

  def arrays(self) -> list[wp.array]:
    """What was recorded; a copy of a call keeps the first nstep slots of each."""
    return [
      self.qpos,
      self.qvel,
      self.act,
      self.qacc,
      self.qfrc_smooth,
      self.act_dot,
      self.history,
      self.time,
    ]


@wp.kernel
def _store_state(
  # Data in:
  qpos_in: wp.array2d[float],
  qvel_in: wp.array2d[float],
  act_in: wp.array2d[float],
  # In:
  step: wp.array[int],
  # Out:
  tape_qpos_out: wp.array3d[float],
  tape_qvel_out: wp.array3d[float],
  tape_act_out: wp.array3d[float],
):
  worldid, i = wp.tid()
  slot = step[0]
  if i < qpos_in.shape[1]:
    tape_qpos_out[slot, worldid, i] = qpos_in[worldid, i]
  if i < qvel_in.shape[1]:
    tape_qvel_out[slot, worldid, i] = qvel_in[worldid, i]
  if i < act_in.shape[1] and slot < tape_act_out.shape[0]:
    tape_act_out[slot, worldid, i] = act_in[worldid, i]


@wp.kernel
def _store_stage(
  # Data in:
  qacc_in: wp.array2d[float],
  qfrc_smooth_in: wp.array2d[float],
  act_dot_in: wp.array2d[float],
  # In:
  step: wp.array[int],
  stage: int,
  # Out:
  tape_qacc_out: wp.array4d[float],
  tape_qfrc_smooth_out: wp.array4d[float],
  tape_act_dot_out: wp.array4d[float],
):
  worldid, i = wp.tid()
  slot = step[0]
  if i < qacc_in.shape[1]:
    tape_qacc_out[slot, stage, worldid, i] = qacc_in[worldid, i]
    tape_qfrc_smooth_out[slot, stage, worldid, i] = qfrc_smooth_in[worldid, i]
  if i < tape_act_dot_out.shape[3]:
    tape_act_dot_out[slot, stage, worldid, i] = act_dot_in[worldid, i]


@wp.kernel
def _load_state(
  # In:
  step: wp.array[int],
  tape_qpos: wp.array3d[float],
  tape_qvel: wp.array3d[float],
  tape_act: wp.array3d[float],
  tape_qacc: wp.array4d[float],
  tape_qfrc_smooth: wp.array4d[float],
  # Data out:
  qpos_out: wp.array2d[float],
  qvel_out: wp.array2d[float],
  act_out: wp.array2d[float],
  qfrc_smooth_out: wp.array2d[float],
  # Out:
  qacc_out: wp.array2d[float],
):
  worldid, i = wp.tid()
  slot = step[0]
  if i < qpos_out.shape[1]:
    qpos_out[worldid, i] = tape_qpos[slot, worldid, i]
  if i < qvel_out.shape[1]:
    qvel_out[worldid, i] = tape_qvel[slot, worldid, i]
    qacc_out[worldid, i] = tape_qacc[slot, 0, worldid, i]
    qfrc_smooth_out[worldid, i] = tape_qfrc_smooth[slot, 0, worldid, i]
  if i < act_out.shape[1]:
    act_out[worldid, i] = tape_act[slot, worldid, i]


@wp.kernel
def _load_stage(
  # In:
  step: wp.array[int],
  stage: int,
  tape_qacc: wp.array4d[float],
  tape_qfrc_smooth: wp.array4d[float],
  # Data out:
  qfrc_smooth_out: wp.array2d[float],
  # Out:
  qacc_out: wp.array2d[float],
):
  worldid, dofid = wp.tid()
  qacc_out[worldid, dofid] = tape_qacc[step[0], stage, worldid, dofid]
  qfrc_smooth_out[worldid, dofid] = tape_qfrc_smooth[step[0], stage, worldid, dofid]


@wp.kernel
def _advance(
  # In:
  increment: int,
  # Out:
  step_out: wp.array[int],
):
  step_out[0] = step_out[0] + increment


def start_at(tape: Tape, slot: int) -> None:
  """Moves to a slot."""
  tape.step.zero_()
  wp.launch(_advance, dim=1, inputs=[slot], outputs=[tape.step])


def _width(d) -> int:
  return max(d.qpos.shape[1], d.qvel.shape[1], d.act.shape[1])


def store_state(tape: Tape, d) -> None:
  """Records the present state in the present slot."""
  wp.launch(
    _store_state,
    dim=(d.nworld, _width(d)),
    inputs=[d.qpos, d.qvel, d.act, tape.step],
    outputs=[tape.qpos, tape.qvel, tape.act],
  )
  if tape.history.shape[2]:
    delay.store(tape, d)


def store_stage(tape: Tape, d, stage: int) -> None:
  """Records what a stage solved for."""
  wp.launch(
    _store_stage,
    dim=(d.nworld, _width(d)),
    inputs=[d.qacc, d.qfrc_smooth, d.act_dot, tape.step, stage],
    outputs=[tape.qacc, tape.qfrc_smooth, tape.act_dot],
  )


def store_next(tape: Tape, d) -> None:
  """Moves to the next slot and records the state there."""
  wp.launch(_advance, dim=1, inputs=[1], outputs=[tape.step])
  store_state(tape, d)


def load_previous(work) -> None:
  """Moves to the previous slot and loads its state, and what its first stage solved for."""
  tape, d = work.tape, work.data
  wp.launch(_advance, dim=1, inputs=[-1], outputs=[tape.step])
  wp.launch(
    _load_state,
    dim=(d.nworld, _width(d)),
    inputs=[tape.step, tape.qpos, tape.qvel, tape.act, tape.qacc, tape.qfrc_smooth],
    outputs=[d.qpos, d.qvel, d.act, d.qfrc_smooth, work.qacc],
  )


def load_stage(work, stage: int) -> None:
  """Loads what a stage solved for."""
  tape = work.tape
  wp.launch(
    _load_stage,
    dim=work.qacc.shape,
    inputs=[tape.step, stage, tape.qacc, tape.qfrc_smooth],
    outputs=[work.data.qfrc_smooth, work.qacc],
  )
