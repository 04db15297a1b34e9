"""The adjoint of a frame that is attached to a body: its pose, velocity and acceleration.

A material point at `offset` from the reference point of its body, on a body with twists V, Lam and
A = T^ACC + T^BIAS, has

    u = V_lin + w x offset,    ul = Lam_lin + wl x offset,    acc = A_lin + al x offset + w x u

with angular parts w, wl, al; acc is the acceleration that an observer at rest sees. Given
cotangents of the point, of u, ul and acc (forces) and of the rotation, w, wl and al (torques), the
wrenches on the body follow by the chain rule, with two things to add that `tree/sweep.py` asks
for: the twists count as attached to the body, P' = P + sum_w T^w x* F^w, and what A inherits from V
through the joints further out, V x* F^BIAS, goes to the slot of V.

Source: docs/derivation.md, "The sweep".
"""

import warp as wp

from mjgrad._src.spatial import add_spatial
from mjgrad._src.spatial import cross_force
from mjgrad._src.spatial import spatial_at
from mjgrad._src.spatial import velocity_at
from mjgrad._src.spatial import wrench_at
from mjgrad._src.tree.twists import ACC
from mjgrad._src.tree.twists import BIAS
from mjgrad._src.tree.twists import LAM
from mjgrad._src.tree.twists import POSE
from mjgrad._src.tree.twists import V

wp.set_module_options({"enable_backward": False})


@wp.struct
class FrameState:
  """Motion of an attached frame, in the world's axes.

  Attributes:
    offset: point relative to the reference point of the tree [m]
    vel: linear velocity along v [m/s]
    lam: linear velocity along lam
    acc: acceleration along a with velocity products, gravity subtracted [m/s^2]
    v, l, a: twists along v, lam, and a with velocity products
  """

  offset: wp.vec3
  vel: wp.vec3
  lam: wp.vec3
  acc: wp.vec3
  v: wp.spatial_vector
  l: wp.spatial_vector
  a: wp.spatial_vector


@wp.struct
class FrameAdjoint:
  """Cotangents of an attached frame: forces for the point, torques for the rotation."""

  pos: wp.vec3
  vel: wp.vec3
  lam: wp.vec3
  acc: wp.vec3
  rot: wp.vec3
  rot_vel: wp.vec3
  rot_lam: wp.vec3
  rot_acc: wp.vec3


@wp.func
def frame_state(twist: wp.array4d[float], worldid: int, row: int, offset: wp.vec3) -> FrameState:
  """Motion of a point at `offset`, on the body whose chain ends at twist row `row`."""
  state = FrameState()
  state.offset = offset
  state.v = spatial_at(twist, worldid, V, row)
  state.l = spatial_at(twist, worldid, LAM, row)
  state.a = spatial_at(twist, worldid, ACC, row) + spatial_at(twist, worldid, BIAS, row)
  state.vel = velocity_at(state.v, offset)
  state.lam = velocity_at(state.l, offset)
  state.acc = velocity_at(state.a, offset) + wp.cross(wp.spatial_top(state.v), state.vel)
  return state


@wp.func
def add_direction(
  worldid: int,
  bodyid: int,
  slot: int,
  twist: wp.spatial_vector,
  force: wp.vec3,
  torque: wp.vec3,
  offset: wp.vec3,
  wrench_out: wp.array4d[float],
) -> wp.spatial_vector:
  """Adds the wrench of a point's velocity along one direction; returns its part of the pose's."""
  f = wrench_at(force, torque, offset)
  add_spatial(wrench_out, worldid, slot, bodyid, f)
  point = wp.cross(force, wp.spatial_top(twist))
  return wrench_at(point, wp.vec3(0.0), offset) + cross_force(twist, f)


@wp.func
def add_frame(
  worldid: int,
  bodyid: int,
  state: FrameState,
  adj: FrameAdjoint,
  wrench_out: wp.array4d[float],
) -> wp.spatial_vector:
  """Adds the wrenches of an attached frame's cotangents to its body.

  Returns:
    The torque and the force at its point that the frame alone receives, its body left where it is.
  """
  w = wp.spatial_top(state.v)
  f_vel = adj.vel + wp.cross(adj.acc, w)
  f_v = wrench_at(f_vel, adj.rot_vel + wp.cross(state.vel, adj.acc), state.offset)
  f_l = wrench_at(adj.lam, adj.rot_lam, state.offset)
  f_a = wrench_at(adj.acc, adj.rot_acc, state.offset)

  point = adj.pos + wp.cross(f_vel, w)
  point += wp.cross(adj.lam, wp.spatial_top(state.l))
  point += wp.cross(adj.acc, wp.spatial_top(state.a))
  pose = wrench_at(point, adj.rot, state.offset)
  pose += cross_force(state.v, f_v) + cross_force(state.l, f_l) + cross_force(state.a, f_a)

  add_spatial(wrench_out, worldid, V, bodyid, f_v + cross_force(state.v, f_a))
  add_spatial(wrench_out, worldid, LAM, bodyid, f_l)
  add_spatial(wrench_out, worldid, ACC, bodyid, f_a)
  add_spatial(wrench_out, worldid, BIAS, bodyid, f_a)
  add_spatial(wrench_out, worldid, POSE, bodyid, pose)
  return wp.spatial_vector(adj.rot, point)


@wp.func
def add_wrench(
  worldid: int,
  bodyid: int,
  direction: int,
  twist: wp.spatial_vector,
  wrench: wp.spatial_vector,
  wrench_out: wp.array4d[float],
):
  """Adds the cotangent of a body's twist along one direction, derived at a pose held fixed."""
  add_spatial(wrench_out, worldid, direction, bodyid, wrench)
  add_spatial(wrench_out, worldid, POSE, bodyid, cross_force(twist, wrench))


@wp.func
def add_pose(
  worldid: int,
  bodyid: int,
  force: wp.vec3,
  torque: wp.vec3,
  offset: wp.vec3,
  wrench_out: wp.array4d[float],
):
  """Adds the cotangents of a frame's point and of its rotation."""
  add_spatial(wrench_out, worldid, POSE, bodyid, wrench_at(force, torque, offset))
