"""What the scale of rows adds for connect and weld equalities under `discrete`.

    x_i . J_i,    x_i the direction of row i, held fixed (terms/row_scale.py)

is the rate of row i along x_i. With u and o the velocity of body 1 minus that of body 2 along x_i,
at the points and in the world, the rows of a connect are u_i; a weld has, beside them,

    s/2 vec(conj(q2) o_i q1)_i,    s the torque scale.

Both are linear in the twists of the two bodies, whose cotangents go to the axes of the bodies
(tree/axes.py); what the points and rotations receive is returned.

Source: MuJoCo documentation, Computation, "Constraint model", "Numerical integration" (discrete).
"""

import warp as wp

from mjgrad._src.engine.adapter import mul_quat
from mjgrad._src.rotation import conjugate
from mjgrad._src.spatial import wrench_at
from mjgrad._src.tree.axes import Directions
from mjgrad._src.tree.axes import add_along
from mjgrad._src.tree.axes import twist_along

wp.set_module_options({"enable_backward": False})


@wp.struct
class Side:
  """One of the two bodies of an equality, at the point that is held.

  Attributes:
    bodyid: the body
    last: last dof of its chain
    sign: 1 for body 1, -1 for body 2
    offset: point relative to the reference point of the tree [m]
  """

  bodyid: int
  last: int
  sign: float
  offset: wp.vec3


@wp.func
def sandwich(q2: wp.quat, w: wp.vec3, q1: wp.quat) -> wp.vec3:
  """vec(conj(q2) (0, w) q1) / 2."""
  product = mul_quat(mul_quat(conjugate(q2), wp.quat(0.0, w[0], w[1], w[2])), q1)
  return 0.5 * wp.vec3(product[1], product[2], product[3])


@wp.func
def weld_rates(q1: wp.quat, q2: wp.quat, o: wp.mat33, scale: float) -> wp.float32:
  """Sum of the rotational rates of a weld, row i along a direction with angular velocity o_i."""
  rate = sandwich(q2, o[0], q1)[0] + sandwich(q2, o[1], q1)[1] + sandwich(q2, o[2], q1)[2]
  return scale * rate


@wp.func
def angular_along(worldid: int, rowid: int, side: Side, own: Directions) -> wp.vec3:
  """Angular velocity of a side along the direction of a row, with its sign."""
  return side.sign * wp.spatial_top(twist_along(worldid, rowid, side.last, own))


@wp.func
def add_row(
  worldid: int,
  rowid: int,
  side: Side,
  force: wp.vec3,
  torque: wp.vec3,
  own: Directions,
  wrench_out: wp.array4d[float],
) -> wp.vec3:
  """Adds the cotangents of u and o in one row to a side; returns the force on its point."""
  twist = twist_along(worldid, rowid, side.last, own)
  wrench = side.sign * wrench_at(force, torque, side.offset)
  add_along(worldid, rowid, side.bodyid, side.last, twist, wrench, own, wrench_out)
  return side.sign * wp.cross(force, wp.spatial_top(twist))
