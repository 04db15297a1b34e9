"""Delayed controls and their adjoint.

Delayed actuators read in place of the control u_k an interpolation of past ones, and u_k is kept
for later (engine/history.py):

    u^eff = sum_i w_i(t - delay; times) b_i          b' = S b + P u_k

b are the values in the buffer, S moves samples and drops one, P puts the present control into the
place that is free. The dynamics see u^eff alone, so around the adjoint of a step

    ubar  = P^T b'bar,    bbar = S^T b'bar           before
    bbar += w ubar^eff                               after

The weights depend on the times of the samples only: 1 at the ends of the buffer, at a sample and
for a zero-order hold; otherwise with s = (t - t_1) / (t_2 - t_1) and b_1, b_2 on either side,

    linear    b_1 + s (b_2 - b_1)
    cubic     h00 b_1 + h01 b_2 + (t_2 - t_1) (h10 m_1 + h11 m_2)      Hermite polynomials of s,

m_1 = (b_2 - b_0) / (t_2 - t_0), m_2 = (b_3 - b_1) / (t_3 - t_1), and 0 at an end of the buffer. S
and P are found by letting the engine insert into a buffer of labels.

Held fixed: the times of the samples, so a time step as parameter is refused where the weights
depend on it.

Source: MuJoCo documentation, Modeling, "Delays"; `history.py` of mujoco_warp.
"""

import dataclasses

import mujoco_warp as mjw
import numpy as np
import warp as wp

from mjgrad._src.engine import adapter
from mjgrad._src.engine.adapter import history_find_index
from mjgrad._src.engine.adapter import history_insert_vector
from mjgrad._src.engine.adapter import history_physical_index

wp.set_module_options({"enable_backward": False})

SAMPLE = wp.constant(1e-6)  # [s] the engine takes a time this close to a sample as that of it
HOLD = wp.constant(0)
LINEAR = wp.constant(1)


@wp.kernel
def _store(
  # Data in:
  history_in: wp.array2d[float],
  time_in: wp.array[float],
  # In:
  step: wp.array[int],
  # Out:
  tape_history_out: wp.array3d[float],
  tape_time_out: wp.array2d[float],
):
  worldid, i = wp.tid()
  slot = step[0]
  if slot < tape_history_out.shape[0]:
    tape_history_out[slot, worldid, i] = history_in[worldid, i]
    if i == 0:
      tape_time_out[slot, worldid] = time_in[worldid]


@wp.kernel
def _load(
  # In:
  step: wp.array[int],
  tape_history: wp.array3d[float],
  tape_time: wp.array2d[float],
  # Adjoint in:
  adj_history_in: wp.array2d[float],
  # Data out:
  history_out: wp.array2d[float],
  time_out: wp.array[float],
  # Out:
  label_out: wp.array2d[float],
  adj_next_out: wp.array2d[float],
):
  worldid, i = wp.tid()
  value = tape_history[step[0], worldid, i]
  history_out[worldid, i] = value
  label_out[worldid, i] = value
  adj_next_out[worldid, i] = adj_history_in[worldid, i]
  if i == 0:
    time_out[worldid] = tape_time[step[0], worldid]


@wp.kernel
def _insert_vjp(
  # Model:
  actuator_ctrladr: wp.array[int],
  actuator_ctrlnum: wp.array[int],
  actuator_history: wp.array2d[wp.vec2i],
  actuator_historyadr: wp.array2d[int],
  actuator_delay: wp.array2d[float],
  # Data in:
  time_in: wp.array[float],
  # In:
  ctrl_label: wp.array2d[float],
  adj_next: wp.array2d[float],
  # Adjoint out (+=):
  adj_history_out: wp.array2d[float],
  adj_ctrl_out: wp.array2d[float],
  # Out:
  label_out: wp.array2d[float],
  held_out: wp.array2d[float],
):
  worldid, actid = wp.tid()
  hist = actuator_history[worldid % actuator_history.shape[0], actid]
  nsample = hist[0]
  if nsample == 0:
    return
  ctrladr = actuator_ctrladr[actid]
  dim = actuator_ctrlnum[actid]
  adr = actuator_historyadr[worldid % actuator_historyadr.shape[0], actid]
  first = adr + 2 + nsample
  end = first + nsample * dim
  for i in range(first, end):
    label_out[worldid, i] = float(i)
  history_insert_vector(
    worldid, adr, nsample, dim, time_in[worldid], ctrl_label, ctrladr, label_out
  )
  for i in range(adr, end):
    adj_history_out[worldid, i] = 0.0
  for i in range(first, end):
    label = int(label_out[worldid, i])
    if label < 0:
      adj_ctrl_out[worldid, -1 - label] += adj_next[worldid, i]
    else:
      adj_history_out[worldid, label] += adj_next[worldid, i]
  if actuator_delay[worldid % actuator_delay.shape[0], actid] != 0.0:
    for i in range(ctrladr, ctrladr + dim):
      held_out[worldid, i] = adj_ctrl_out[worldid, i]
      adj_ctrl_out[worldid, i] = 0.0


@wp.func
def add_sample(
  worldid: int,
  first: int,
  sample: int,
  ctrladr: int,
  dim: int,
  weight: float,
  adj_effective: wp.array2d[float],
  adj_history_out: wp.array2d[float],
):
  """Gives a sample its part of the cotangents of the controls that were read."""
  for i in range(dim):
    adj_history_out[worldid, first + sample * dim + i] += (
      weight * adj_effective[worldid, ctrladr + i]
    )


@wp.kernel
def _read_vjp(
  # Model:
  actuator_ctrladr: wp.array[int],
  actuator_ctrlnum: wp.array[int],
  actuator_history: wp.array2d[wp.vec2i],
  actuator_historyadr: wp.array2d[int],
  actuator_delay: wp.array2d[float],
  # Data in:
  time_in: wp.array[float],
  history_in: wp.array2d[float],
  # In:
  held: wp.array2d[float],
  # Adjoint out (+=):
  adj_history_out: wp.array2d[float],
  adj_ctrl_out: wp.array2d[float],
):
  worldid, actid = wp.tid()
  hist = actuator_history[worldid % actuator_history.shape[0], actid]
  n = hist[0]
  delay = actuator_delay[worldid % actuator_delay.shape[0], actid]
  if n == 0 or delay == 0.0:
    return
  ctrladr = actuator_ctrladr[actid]
  dim = actuator_ctrlnum[actid]
  adr = actuator_historyadr[worldid % actuator_historyadr.shape[0], actid]
  times = adr + 2
  first = times + n
  cursor = int(history_in[worldid, adr + 1])
  t = time_in[worldid] - delay

  oldest = history_physical_index(cursor, n, 0)
  newest = history_physical_index(cursor, n, n - 1)
  only = int(-1)
  i = int(0)
  if t <= history_in[worldid, times + oldest] + SAMPLE:
    only = oldest
  elif t >= history_in[worldid, times + newest] - SAMPLE:
    only = newest
  else:
    i = history_find_index(history_in, worldid, adr, n, cursor, t)
    above = history_physical_index(cursor, n, i)
    if wp.abs(t - history_in[worldid, times + above]) < SAMPLE:
      only = above
    elif hist[1] == HOLD:
      only = history_physical_index(cursor, n, i - 1)

  if only >= 0:
    add_sample(worldid, first, only, ctrladr, dim, 1.0, adj_ctrl_out, adj_history_out)
  else:
    k1 = history_physical_index(cursor, n, i - 1)
    k2 = history_physical_index(cursor, n, i)
    t1 = history_in[worldid, times + k1]
    t2 = history_in[worldid, times + k2]
    s = (t - t1) / (t2 - t1)
    w1 = 1.0 - s
    w2 = s
    if hist[1] != LINEAR:
      w1 = (1.0 + 2.0 * s) * (1.0 - s) * (1.0 - s)
      w2 = s * s * (3.0 - 2.0 * s)
      if i > 1:
        k0 = history_physical_index(cursor, n, i - 2)
        slope = s * (1.0 - s) * (1.0 - s) * (t2 - t1) / (t2 - history_in[worldid, times + k0])
        w2 += slope
        add_sample(worldid, first, k0, ctrladr, dim, -slope, adj_ctrl_out, adj_history_out)
      if i < n - 1:
        k3 = history_physical_index(cursor, n, i + 1)
        slope = -s * s * (1.0 - s) * (t2 - t1) / (history_in[worldid, times + k3] - t1)
        w1 -= slope
        add_sample(worldid, first, k3, ctrladr, dim, slope, adj_ctrl_out, adj_history_out)
    add_sample(worldid, first, k1, ctrladr, dim, w1, adj_ctrl_out, adj_history_out)
    add_sample(worldid, first, k2, ctrladr, dim, w2, adj_ctrl_out, adj_history_out)

  for k in range(ctrladr, ctrladr + dim):
    adj_ctrl_out[worldid, k] = held[worldid, k]


def store(tape, d: mjw.Data) -> None:
  """Records the buffers and the time in the present slot."""
  wp.launch(
    _store,
    dim=tape.history.shape[1:],
    inputs=[d.history, d.time, tape.step],
    outputs=[tape.history, tape.time],
  )


class Delay:
  """What the backward pass of a model with delayed controls needs beside the workspace.

  Attributes:
    data: the engine's data, whose `ctrl` are the controls that were given.
    seen: the same arrays, but for `ctrl` that act on the actuators.
    adj_next: cotangent of the buffers after the step, shape [nworld, nhistory].
    label: the buffers after the step, with the places where their values were.
    ctrl_label: labels of the present controls, -1 - i, shape [nworld, nu].
    held: cotangents of controls from later steps, shape [nworld, nu].
  """

  def __init__(self, data: mjw.Data, nhistory: int):
    self.data = data
    self.seen = dataclasses.replace(data, ctrl=wp.zeros_like(data.ctrl))
    shape, device = (data.nworld, nhistory), data.ctrl.device
    self.adj_next = wp.zeros(shape, dtype=float, device=device)
    self.label = wp.zeros(shape, dtype=float, device=device)
    labels = np.tile(-1.0 - np.arange(data.ctrl.shape[1]), (data.nworld, 1))
    self.ctrl_label = wp.array(labels, dtype=float, device=device)
    self.held = wp.zeros_like(data.ctrl)

  def enter(self, work) -> None:
    """Loads the buffers before the step and takes their cotangents back through the insertion."""
    m, d, tape = work.model, self.data, work.tape
    wp.launch(
      _load,
      dim=self.label.shape,
      inputs=[tape.step, tape.history, tape.time, work.adj_history],
      outputs=[d.history, d.time, self.label, self.adj_next],
    )
    adapter.read_ctrl_delayed(m, d, self.seen.ctrl)
    wp.launch(
      _insert_vjp,
      dim=(d.nworld, m.nactuator),
      inputs=[
        m.actuator_ctrladr,
        m.actuator_ctrlnum,
        m.actuator_history,
        m.actuator_historyadr,
        m.actuator_delay,
        d.time,
        self.ctrl_label,
        self.adj_next,
        work.adj_history,
        work.adj_ctrl,
      ],
      outputs=[self.label, self.held],
    )

  def leave(self, work) -> None:
    """Gives the cotangents of the controls that acted to the samples they were read from."""
    m, d = work.model, self.data
    wp.launch(
      _read_vjp,
      dim=(d.nworld, m.nactuator),
      inputs=[
        m.actuator_ctrladr,
        m.actuator_ctrlnum,
        m.actuator_history,
        m.actuator_historyadr,
        m.actuator_delay,
        d.time,
        d.history,
        self.held,
        work.adj_history,
        work.adj_ctrl,
      ],
    )
