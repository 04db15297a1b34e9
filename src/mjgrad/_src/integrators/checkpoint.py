"""The states that a call keeps for its backward pass.

How many steps a call takes is not known before its end. So the state before every `stride`-th step
of a world is kept, with a stride of one at first; when a world's slots are full, it drops every
other state and doubles its stride. Nothing else is kept of the steps but their sizes and what
happened in them, 9 bytes each. From the kept states integrators/schedule.py reaches all others.

A kept state is (q, v, w) in float64 and what the dynamics gave at the stages of the step that
starts there, so that this step can be reversed without solving them again. The first stage is also
where the solver starts in the second, so that a repeated step is the step itself, bit for bit.

Source: Stumm and Walther, New algorithms for optimal online checkpointing (2010), for the problem;
dropping every other state is the simplest of its answers.
"""

import math

import warp as wp

from mjgrad._src.engine.memory import check_room
from mjgrad._src.integrators.flow import Flow

wp.set_module_options({"enable_backward": False})


@wp.kernel
def _plan(
  # In:
  nslot: int,
  accepts: wp.array[int],
  accepted: wp.array[int],
  left: wp.array[wp.float64],
  # Out:
  stride_out: wp.array[int],
  slot_out: wp.array[int],
  thin_out: wp.array[int],
  stages_out: wp.array[int],
):
  worldid = wp.tid()
  slot_out[worldid] = -1
  thin_out[worldid] = 0
  stages_out[worldid] = -1
  step = accepted[worldid]
  if accepts[worldid] == 0:
    return
  if (step - 1) % stride_out[worldid] == 0:
    stages_out[worldid] = (step - 1) / stride_out[worldid]
  if left[worldid] == wp.float64(0.0):
    return
  if step % stride_out[worldid] == 0 and step / stride_out[worldid] >= nslot:
    thin_out[worldid] = 1
    stride_out[worldid] *= 2
  if step % stride_out[worldid] == 0:
    slot_out[worldid] = step / stride_out[worldid]


@wp.kernel
def _keep(
  # In:
  start: wp.array2d[wp.float64],
  solved: wp.array3d[float],
  slot: wp.array[int],
  thin: wp.array[int],
  stages: wp.array[int],
  # Out:
  kept_start_out: wp.array3d[wp.float64],
  kept_solved_out: wp.array4d[float],
):
  worldid, i = wp.tid()
  nslot = kept_start_out.shape[0]
  nstage = kept_solved_out.shape[1]
  j = stages[worldid]
  if j >= 0 and i < solved.shape[2]:
    for stage in range(1, nstage):
      kept_solved_out[j, stage, worldid, i] = solved[stage, worldid, i]
  if thin[worldid] != 0:
    for k in range((nslot + 1) / 2):
      if i < start.shape[1]:
        kept_start_out[k, worldid, i] = kept_start_out[2 * k, worldid, i]
      if i < solved.shape[2]:
        for stage in range(nstage):
          kept_solved_out[k, stage, worldid, i] = kept_solved_out[2 * k, stage, worldid, i]
  j = slot[worldid]
  if j >= 0:
    if i < start.shape[1]:
      kept_start_out[j, worldid, i] = start[worldid, i]
    if i < solved.shape[2]:
      kept_solved_out[j, 0, worldid, i] = solved[0, worldid, i]


@wp.kernel
def _align(
  # In:
  accepted: wp.array[int],
  common: int,
  stride: wp.array[int],
  # Out:
  kept_start_out: wp.array3d[wp.float64],
  kept_solved_out: wp.array4d[float],
):
  worldid, i = wp.tid()
  ratio = common / stride[worldid]
  last = (accepted[worldid] - 1) / common
  for j in range(kept_start_out.shape[0]):
    source = wp.min(j, last)
    if j <= last:
      source = j * ratio
    if i < kept_start_out.shape[2]:
      kept_start_out[j, worldid, i] = kept_start_out[source, worldid, i]
    if i < kept_solved_out.shape[3]:
      for stage in range(kept_solved_out.shape[1]):
        kept_solved_out[j, stage, worldid, i] = kept_solved_out[source, stage, worldid, i]


@wp.kernel
def _load(
  # Model:
  nq: int,
  nv: int,
  # In:
  slot: int,
  kept_start: wp.array3d[wp.float64],
  kept_solved: wp.array4d[float],
  # Out:
  start_out: wp.array2d[wp.float64],
  rate_out: wp.array3d[wp.float64],
  solved_out: wp.array3d[float],
):
  worldid, i = wp.tid()
  if i < start_out.shape[1]:
    start_out[worldid, i] = kept_start[slot, worldid, i]
  if i < nv:
    rate_out[0, worldid, i] = kept_start[slot, worldid, nq + i]
  if i < solved_out.shape[2]:
    for stage in range(kept_solved.shape[1]):
      solved_out[stage, worldid, i] = kept_solved[slot, stage, worldid, i]


class Checkpoints:
  """The kept states of a call.

  Attributes:
    start: (q, v, w), shape [checkpoints, nworld, nq + nv + na].
    solved: what the dynamics gave at the stages of the step from there, shape [checkpoints, nstage,
      nworld, 2 nv + na].
    stride: steps from one kept state to the next, shape [nworld].
  """

  def __init__(self, flow: Flow, count: int):
    self.flow = flow
    device, nworld = flow.start.device, flow.start.shape[0]
    nbyte = 8 * flow.start.shape[1] + 4 * flow.nstage * flow.solved.shape[2]
    remedy = "take fewer checkpoints"
    copies = 2  # a capture puts back what it changed
    check_room(device, nworld, count, copies * nbyte, "checkpoints", remedy)
    self.start = wp.zeros((count, *flow.start.shape), dtype=wp.float64, device=device)
    shape = (count, flow.nstage, *flow.solved.shape[1:])
    self.solved = wp.zeros(shape, dtype=float, device=device)
    self.stride, self.slot, self.thin, self.stages = (
      wp.zeros(nworld, dtype=int, device=device) for _ in range(4)
    )
    self.width = max(flow.start.shape[1], flow.solved.shape[2])

  def arrays(self) -> list[wp.array]:
    """Everything that keeping a state changes."""
    return [self.start, self.solved, self.stride, self.slot, self.thin, self.stages]

  @property
  def count(self) -> int:
    """Number of slots."""
    return self.start.shape[0]

  def begin(self) -> None:
    """Keeps the first state of a call."""
    self.stride.fill_(1)
    self.store(0)

  def follow(self, pace) -> None:
    """Keeps the stages of the last attempts and the states after them, where it is time to."""
    wp.launch(
      _plan,
      dim=self.stride.shape,
      inputs=[self.count, pace.accepts, pace.accepted, pace.left],
      outputs=[self.stride, self.slot, self.thin, self.stages],
    )
    self._keep()

  def align(self, accepted: wp.array) -> None:
    """Gives all worlds one stride, and half of the slots back if that is more than one step.

    Worlds with fewer steps than others have their last kept state in the slots beyond.

    Args:
      accepted: number of steps of every world, shape [nworld].
    """
    nstep, common = int(accepted.numpy().max()), int(self.stride.numpy().max())
    while common > 1 and math.ceil(nstep / common) > max(self.count // 2, 1):
      common *= 2
    wp.launch(
      _align,
      dim=(self.start.shape[1], self.width),
      inputs=[accepted, common, self.stride],
      outputs=[self.start, self.solved],
    )
    self.stride.fill_(common)

  def store(self, slot: int) -> None:
    """Keeps the present state of every world, without the stages of the step from there."""
    self.slot.fill_(slot)
    self.thin.zero_()
    self.stages.fill_(-1)
    self._keep()

  def load(self, slot: int) -> None:
    """Moves every world to a kept state."""
    flow, m = self.flow, self.flow.model
    wp.launch(
      _load,
      dim=(self.start.shape[1], self.width),
      inputs=[m.nq, m.nv, slot, self.start, self.solved],
      outputs=[flow.start, flow.rate, flow.solved],
    )

  def _keep(self) -> None:
    flow = self.flow
    wp.launch(
      _keep,
      dim=(self.start.shape[1], self.width),
      inputs=[flow.start, flow.solved, self.slot, self.thin, self.stages],
      outputs=[self.start, self.solved],
    )
