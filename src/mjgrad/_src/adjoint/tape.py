"""The tape: what a step must remember, and the device-side counter that walks it.

A step stores its input state and the acceleration that it solved for; everything else is recomputed
in the backward pass. Slot k holds (q, v, w, a) at the start of step k, and v of slot k + 1 is the
velocity after step k. The counter lives on the device, so the captured graph of one step serves
every step of a call.
"""

import dataclasses

import warp as wp

wp.set_module_options({"enable_backward": False})


@dataclasses.dataclass
class Tape:
  """Recorded states.

  Attributes:
    step: the slot in work, shape [1]
    qpos: positions [m, or quaternion, or rad], shape [nstep + 1, nworld, nq]
    qvel: velocities [m/s or rad/s], shape [nstep + 1, nworld, nv]
    act: activations, shape [nstep, nworld, na]
    qacc: solved accelerations [m/s^2 or rad/s^2], shape [nstep, nworld, nv]
  """

  step: wp.array
  qpos: wp.array
  qvel: wp.array
  act: wp.array
  qacc: wp.array

  @classmethod
  def empty(cls, nstep: int, nworld: int, nq: int, nv: int, na: int, device: wp.Device) -> "Tape":
    return cls(
      step=wp.zeros(1, dtype=int, device=device),
      qpos=wp.zeros((nstep + 1, nworld, nq), dtype=float, device=device),
      qvel=wp.zeros((nstep + 1, nworld, nv), dtype=float, device=device),
      act=wp.zeros((nstep, nworld, na), dtype=float, device=device),
      qacc=wp.zeros((nstep, nworld, nv), dtype=float, device=device),
    )


@wp.kernel
def _store(
  # In:
  step: wp.array[int],
  offset: int,
  value: wp.array2d[float],
  # Out:
  tape_out: wp.array3d[float],
):
  worldid, i = wp.tid()
  tape_out[step[0] + offset, worldid, i] = value[worldid, i]


@wp.kernel
def _load(
  # In:
  step: wp.array[int],
  tape_in: wp.array3d[float],
  # Out:
  value_out: wp.array2d[float],
):
  worldid, i = wp.tid()
  value_out[worldid, i] = tape_in[step[0], worldid, i]


@wp.kernel
def _advance(
  # In:
  increment: int,
  # Out:
  step_out: wp.array[int],
):
  step_out[0] = step_out[0] + increment


def _move(kernel: wp.Kernel, value: wp.array, inputs: list, outputs: list) -> None:
  wp.launch(kernel, dim=value.shape, inputs=inputs, outputs=outputs)


def store_input(tape: Tape, d) -> None:
  """Records the state before a step."""
  _move(_store, d.qpos, [tape.step, 0, d.qpos], [tape.qpos])
  _move(_store, d.qvel, [tape.step, 0, d.qvel], [tape.qvel])
  _move(_store, d.act, [tape.step, 0, d.act], [tape.act])


def store_output(tape: Tape, d) -> None:
  """Records the solved acceleration and the state after a step, and moves to the next slot."""
  _move(_store, d.qacc, [tape.step, 0, d.qacc], [tape.qacc])
  _move(_store, d.qvel, [tape.step, 1, d.qvel], [tape.qvel])
  _move(_store, d.qpos, [tape.step, 1, d.qpos], [tape.qpos])
  wp.launch(_advance, dim=1, inputs=[1], outputs=[tape.step])


def load_previous(work) -> None:
  """Moves to the previous slot and loads its state and acceleration."""
  tape, d = work.tape, work.data
  wp.launch(_advance, dim=1, inputs=[-1], outputs=[tape.step])
  _move(_load, d.qpos, [tape.step, tape.qpos], [d.qpos])
  _move(_load, d.qvel, [tape.step, tape.qvel], [d.qvel])
  _move(_load, d.act, [tape.step, tape.act], [d.act])
  _move(_load, work.qacc, [tape.step, tape.qacc], [work.qacc])
