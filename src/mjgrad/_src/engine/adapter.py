"""The only module that imports `mujoco_warp` internals; everything else goes through here.

The engine is a pinned, unmodified dependency. Its public stage functions are re-exported under
their own names; what is taken from its internals is listed first, all pure functions and types.
"""

import mujoco_warp as mjw
from mujoco_warp._src.collision_primitive_core import _segment_weights
from mujoco_warp._src.collision_primitive_core import plane_capsule as plane_capsule
from mujoco_warp._src.collision_primitive_core import plane_ellipsoid as plane_ellipsoid
from mujoco_warp._src.collision_primitive_core import plane_sphere as plane_sphere
from mujoco_warp._src.derivative import _deriv_box_fluid
from mujoco_warp._src.derivative import _geom_ellipsoid_fluid_B
from mujoco_warp._src.history import _history_find_index
from mujoco_warp._src.history import _history_insert_vector
from mujoco_warp._src.history import _history_physical_index
from mujoco_warp._src.history import read_ctrl_delayed as read_ctrl_delayed
from mujoco_warp._src.math import deriv_expmap as deriv_expmap
from mujoco_warp._src.math import inert_vec as inert_vec
from mujoco_warp._src.math import make_frame as make_frame
from mujoco_warp._src.math import mul_quat as mul_quat
from mujoco_warp._src.math import quat_integrate as quat_integrate
from mujoco_warp._src.math import quat_sub as quat_sub
from mujoco_warp._src.math import quat_to_mat as quat_to_mat
from mujoco_warp._src.math import quat_to_vel as quat_to_vel
from mujoco_warp._src.math import rot_vec_quat as rot_vec_quat
from mujoco_warp._src.passive import geom_semiaxes as geom_semiaxes
from mujoco_warp._src.smooth import tendon_armature as _tendon_armature
from mujoco_warp._src.support import next_act as next_act
from mujoco_warp._src.types import ConstraintType as ConstraintType
from mujoco_warp._src.types import vec5 as vec5
from mujoco_warp._src.types import vec10 as vec10
from mujoco_warp._src.types import vec12 as vec12
from mujoco_warp._src.util_misc import dof_damping_total as dof_damping_total
from mujoco_warp._src.util_misc import muscle_bias as muscle_bias
from mujoco_warp._src.util_misc import muscle_bias_len_deriv as muscle_bias_len_deriv
from mujoco_warp._src.util_misc import muscle_dynamics as muscle_dynamics
from mujoco_warp._src.util_misc import muscle_gain as muscle_gain
from mujoco_warp._src.util_misc import muscle_gain_len_deriv as muscle_gain_len_deriv
from mujoco_warp._src.util_misc import muscle_gain_vel_deriv as muscle_gain_vel_deriv
from mujoco_warp._src.util_misc import tendon_armature_total as tendon_armature_total
from mujoco_warp._src.util_misc import tendon_damping_total as tendon_damping_total
from mujoco_warp._src.util_misc import wrap as wrap

from mjgrad._src.graphs import Beside

box_fluid_slope = _deriv_box_fluid
ellipsoid_fluid_slope = _geom_ellipsoid_fluid_B
history_find_index = _history_find_index
history_insert_vector = _history_insert_vector
history_physical_index = _history_physical_index
make_data = mjw.make_data
put_model = mjw.put_model
segment_weights = _segment_weights
transmission = mjw.transmission


def step(m: mjw.Model, d: mjw.Data) -> None:
  """`mujoco_warp.step` as a function of the state alone.

  Connect and weld rows contain velocity products, for which the engine reads `cvel` and `cdof_dot`
  of the previous call; where a model has such rows, they are refreshed first.
  """
  if has_velocity_products(m):
    kinematics(m, d)
  mjw.step(m, d)


def has_velocity_products(m: mjw.Model) -> bool:
  """The model has constraint rows that the engine builds from velocities of the previous call."""
  return bool(m.eq_connect_adr.size or m.eq_wld_adr.size)


def evaluate(m: mjw.Model, d: mjw.Data) -> None:
  """Solves for `d.qacc` and computes `d.act_dot` at the present state: a stage of an integrator.

  As `mujoco_warp.forward`, without sensors and energy, and as a function of the state alone.
  """
  if has_velocity_products(m):
    kinematics(m, d)
  mjw.fwd_position(m, d, factorize=False)
  mjw.fwd_velocity(m, d)
  mjw.fwd_actuation(m, d)
  mjw.fwd_acceleration(m, d, factorize=True)
  mjw.solve(m, d)


def linearization_point(m: mjw.Model, d: mjw.Data, velocities: bool, beside: Beside) -> None:
  """Recomputes what the derivatives read, from `d.qpos` and `d.qvel`, without solving.

  Fills poses, tendons, `cdof`, `cinert`, `M`, the contacts and constraint rows, with the functions
  that `mujoco_warp.step` calls, so the values are those of the forward pass. `cvel` and `cdof_dot`
  are filled if `velocities`, and where rows are built from them.
  Under `discrete` also what it adds to `M` and to the forces (`efm_*`), and what follows for the
  rows.
  """
  if m.opt.integrator == mjw.IntegratorType.DISCRETE:
    kinematics(m, d)
    constrain(m, d)
    return
  collide(m, d, velocities, beside)
  constrain(m, d)


def collide(m: mjw.Model, d: mjw.Data, velocities: bool, beside: Beside) -> None:
  """The first half of `linearization_point`: everything but constraint rows, and what follows."""
  mjw.kinematics(m, d)
  with beside:
    mjw.collision(m, d)
  mjw.com_pos(m, d)
  mjw.tendon(m, d)
  mjw.crb(m, d)
  if m.ntendon:
    _tendon_armature(m, d)
  if velocities or has_velocity_products(m):
    mjw.com_vel(m, d)
  beside.join()


def constrain(m: mjw.Model, d: mjw.Data) -> None:
  """The second half of `linearization_point`; under `discrete` it detects contacts once more.

  With `opt.run_collision_detection` off the rows are those of the contacts in `d`.
  """
  if m.opt.integrator == mjw.IntegratorType.DISCRETE:
    mjw.fwd_position(m, d, factorize=False)
    mjw.fwd_velocity(m, d)
    mjw.fwd_actuation(m, d)
  else:
    mjw.make_constraint(m, d)


def solve(m: mjw.Model, d: mjw.Data) -> None:
  """Solves for `d.qacc` with the rows and `d.qfrc_smooth` in `d`, from `d.qacc_warmstart`.

  Under `discrete` the engine adds up `d.qfrc_smooth` again.
  """
  if m.opt.integrator == mjw.IntegratorType.DISCRETE:
    mjw.fwd_acceleration(m, d)
  else:
    mjw.factor_m(m, d)
    mjw.solve_m(m, d, d.qacc_smooth, d.qfrc_smooth)
  mjw.solve(m, d)


def reference_point(m: mjw.Model, d: mjw.Data) -> None:
  """Computes poses, tendons, `M` and actuator moments at `d.qpos`, without contacts."""
  mjw.kinematics(m, d)
  mjw.com_pos(m, d)
  mjw.tendon(m, d)
  mjw.crb(m, d)
  if m.ntendon:
    _tendon_armature(m, d)
  mjw.transmission(m, d)


def kinematics(m: mjw.Model, d: mjw.Data) -> None:
  """Recomputes poses, `subtree_com`, `cdof`, `cvel` and `cdof_dot` from `d.qpos` and `d.qvel`."""
  mjw.kinematics(m, d)
  mjw.com_pos(m, d)
  mjw.com_vel(m, d)


def sensors(m: mjw.Model, d: mjw.Data) -> None:
  """Computes the position and velocity sensors in `d.sensordata`, after `kinematics`."""
  mjw.sensor_pos(m, d)
  mjw.sensor_vel(m, d)


def silence_overflow(m: mjw.Model) -> None:
  """Stops the engine from printing about overflows, which mjgrad raises as errors."""
  m.opt.warn_overflow = mjw.OverflowType(0)
