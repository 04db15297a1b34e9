"""Fluid forces, integrated implicitly: their derivative in the velocity, as part of A.

With f(V) the wrench of the fluid in a frame of the body (terms/fluid.py), u, w its local linear and
angular velocity and B = df/d(w, u), psi has for every frame

    psi = -h  (w_mu, u_mu) . B(u, w) (w_x, u_x),      x = a_d = a + e.

`implicitfast` takes the symmetric part of B, but for free bodies without joints beyond them, where,
like `implicit`, it takes all of it. `discrete` takes that of the drag alone, without lift, Magnus
force and added mass, and the scale of rows (terms/row_scale.py) adds

    psi = -sum_c alpha_c dE_cc,    E_cc of the pair (S_c, S_c) in the place of (mu, x)

with the axes S_c of the dofs that move the body. Where the inertia matrix of these is diagonal,
`implicitfast` and `discrete` keep the diagonal of the slope, mu_c x_c E_cc in the place of the pair
(mu, x). For an ellipsoid with semiaxes from which D = diag(d) follows (terms/fluid.py),
q1 = u . D u, q2 = |D u|^2:

    Kutta lift   k (q1 / q2)^(1/2) / |u|  (D u x u) x u
    area         pi d_max^2 (q2 / q1)^(1/2)

are what B differentiates beside products.

Source: MuJoCo documentation, Computation, "Numerical integration"; "Fluid forces".
"""

import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.accumulate import accumulate_option
from mjgrad._src.engine.adapter import box_fluid_slope
from mjgrad._src.engine.adapter import ellipsoid_fluid_slope
from mjgrad._src.engine.adapter import geom_semiaxes
from mjgrad._src.spatial import add_spatial
from mjgrad._src.spatial import cross_force
from mjgrad._src.spatial import spatial_at
from mjgrad._src.spatial import velocity_at
from mjgrad._src.spatial import wrench_at
from mjgrad._src.terms.fluid import MINVAL
from mjgrad._src.terms.fluid import PI
from mjgrad._src.terms.fluid import FluidCoefficients
from mjgrad._src.terms.fluid import max_moment
from mjgrad._src.terms.fluid import semiaxes_of
from mjgrad._src.tree.twists import ACC
from mjgrad._src.tree.twists import DELTA
from mjgrad._src.tree.twists import MU
from mjgrad._src.tree.twists import POSE
from mjgrad._src.tree.twists import V

wp.set_module_options({"enable_backward": False})


@wp.func
def box_slope_term(
  v: wp.spatial_vector,
  x: wp.spatial_vector,
  mu: wp.spatial_vector,
  mass: float,
  inertia: wp.vec3,
  density: float,
  viscosity: float,
  h: float,
) -> wp.float32:
  """psi of the box with the body's inertia; local twists along v, x and mu."""
  u = wp.spatial_bottom(v)
  w = wp.spatial_top(v)
  u_x = wp.spatial_bottom(x)
  w_x = wp.spatial_top(x)
  u_mu = wp.spatial_bottom(mu)
  w_mu = wp.spatial_top(mu)
  scale = 6.0 / mass
  b0 = wp.sqrt(wp.max(MINVAL, inertia[1] + inertia[2] - inertia[0]) * scale)
  b1 = wp.sqrt(wp.max(MINVAL, inertia[0] + inertia[2] - inertia[1]) * scale)
  b2 = wp.sqrt(wp.max(MINVAL, inertia[0] + inertia[1] - inertia[2]) * scale)
  diameter = (b0 + b1 + b2) / 3.0
  power = (
    PI * viscosity * diameter * (3.0 * wp.dot(u_x, u_mu) + diameter * diameter * wp.dot(w_x, w_mu))
  )
  drag = b1 * b2 * wp.abs(u[0]) * u_x[0] * u_mu[0]
  drag = drag + b0 * b2 * wp.abs(u[1]) * u_x[1] * u_mu[1]
  drag = drag + b0 * b1 * wp.abs(u[2]) * u_x[2] * u_mu[2]
  p0 = b0 * b0 * b0 * b0
  p1 = b1 * b1 * b1 * b1
  p2 = b2 * b2 * b2 * b2
  spin = b0 * (p1 + p2) * wp.abs(w[0]) * w_x[0] * w_mu[0]
  spin = spin + b1 * (p0 + p2) * wp.abs(w[1]) * w_x[1] * w_mu[1]
  spin = spin + b2 * (p0 + p1) * wp.abs(w[2]) * w_x[2] * w_mu[2]
  return h * (power + density * (drag + spin / 32.0))


@wp.func
def _ellipsoid_slope(
  v: wp.spatial_vector,
  x: wp.spatial_vector,
  mu: wp.spatial_vector,
  size: wp.vec3,
  geomtype: int,
  coef: FluidCoefficients,
  density: float,
  viscosity: float,
) -> wp.float32:
  """(w_mu, u_mu) . B (w_x, u_x), the derivative of `ellipsoid_term` with its sign."""
  u = wp.spatial_bottom(v)
  w = wp.spatial_top(v)
  u_x = wp.spatial_bottom(x)
  w_x = wp.spatial_top(x)
  u_mu = wp.spatial_bottom(mu)
  w_mu = wp.spatial_top(mu)
  semiaxes = semiaxes_of(size, geomtype)
  d_max = wp.max(wp.max(semiaxes[0], semiaxes[1]), semiaxes[2])
  d_min = wp.min(wp.min(semiaxes[0], semiaxes[1]), semiaxes[2])
  d_mid = semiaxes[0] + semiaxes[1] + semiaxes[2] - d_max - d_min
  volume = 4.0 / 3.0 * PI * semiaxes[0] * semiaxes[1] * semiaxes[2]
  area_max = PI * d_max * d_mid

  mass = density * wp.vec3(coef[6], coef[7], coef[8])
  inertia = density * wp.vec3(coef[9], coef[10], coef[11])
  linear = wp.cw_mul(mass, u)
  linear_x = wp.cw_mul(mass, u_x)
  angular = wp.cw_mul(inertia, w)
  angular_x = wp.cw_mul(inertia, w_x)
  force = wp.cross(linear_x, w) + wp.cross(linear, w_x)
  torque = wp.cross(linear_x, u) + wp.cross(linear, u_x)
  torque = torque + wp.cross(angular_x, w) + wp.cross(angular, w_x)
  magnus = coef[5] * density * volume
  force = force + magnus * (wp.cross(w_x, u) + wp.cross(w, u_x))

  sphere = 2.0 / 3.0 * (semiaxes[0] + semiaxes[1] + semiaxes[2])
  drag = viscosity * 3.0 * PI * sphere
  drag_x = float(0.0)
  speed = wp.length(u)
  if speed > MINVAL:
    s = semiaxes / d_max
    d = wp.vec3(s[1] * s[1] * s[2] * s[2], s[2] * s[2] * s[0] * s[0], s[0] * s[0] * s[1] * s[1])
    du = wp.cw_mul(d, u)
    du_x = wp.cw_mul(d, u_x)
    q1 = wp.dot(u, du)
    q2 = wp.dot(du, du)
    log_ratio_x = wp.dot(du, u_x) / q1 - wp.dot(du, du_x) / q2
    log_speed_x = wp.dot(u, u_x) / (speed * speed)
    kutta = coef[4] * density * PI * d_max * d_max * wp.sqrt(q1 / q2) / speed
    lift = wp.cross(wp.cross(du, u), u)
    lift_x = wp.cross(wp.cross(du_x, u) + wp.cross(du, u_x), u) + wp.cross(wp.cross(du, u), u_x)
    force = force + kutta * (lift_x + (log_ratio_x - log_speed_x) * lift)

    area = PI * d_max * d_max * wp.sqrt(q2 / q1)
    area_drag = density * speed * (coef[1] - coef[2]) * area
    plate_drag = density * speed * coef[2] * area_max
    drag = drag + area_drag + plate_drag
    drag_x = area_drag * (log_speed_x - log_ratio_x) + plate_drag * log_speed_x

  i_max = 8.0 / 15.0 * PI * d_mid * d_max * d_max * d_max * d_max
  i0 = max_moment(semiaxes[0], semiaxes[1], semiaxes[2])
  i1 = max_moment(semiaxes[1], semiaxes[2], semiaxes[0])
  i2 = max_moment(semiaxes[2], semiaxes[0], semiaxes[1])
  angular_coef = wp.vec3(
    coef[3] * i0 + coef[2] * (i_max - i0),
    coef[3] * i1 + coef[2] * (i_max - i1),
    coef[3] * i2 + coef[2] * (i_max - i2),
  )
  moment = wp.cw_mul(angular_coef, w)
  moment_norm = wp.length(moment)
  spin = viscosity * PI * sphere * sphere * sphere + density * moment_norm
  spin_x = float(0.0)
  if moment_norm > MINVAL:
    spin_x = density * wp.dot(moment, wp.cw_mul(angular_coef, w_x)) / moment_norm
  force = force - drag * u_x - drag_x * u
  torque = torque - spin * w_x - spin_x * w
  return -coef[0] * (wp.dot(force, u_mu) + wp.dot(torque, w_mu))


@wp.func
def ellipsoid_slope_term(
  v: wp.spatial_vector,
  x: wp.spatial_vector,
  mu: wp.spatial_vector,
  size: wp.vec3,
  geomtype: int,
  coef: FluidCoefficients,
  density: float,
  viscosity: float,
  symmetric: float,
  h: float,
) -> wp.float32:
  """psi of an ellipsoid; `symmetric` is 1 where A has the symmetric part of B, else 0."""
  here = _ellipsoid_slope(v, x, mu, size, geomtype, coef, density, viscosity)
  other = _ellipsoid_slope(v, mu, x, size, geomtype, coef, density, viscosity)
  return h * (here + 0.5 * symmetric * (other - here))


@wp.func
def _add_block(slope: wp.spatial_matrix, block: wp.mat33, row: int, col: int) -> wp.spatial_matrix:
  result = slope
  for i in range(3):
    for j in range(3):
      result[row + i, col + j] += block[i, j]
  return result


@wp.func
def _slope_at(
  b_rot: wp.mat33,
  b_rot_vel: wp.mat33,
  b_vel_rot: wp.mat33,
  b_vel: wp.mat33,
  rot: wp.mat33,
  offset: wp.vec3,
) -> wp.spatial_matrix:
  """-B of a local frame at `offset`, as a map from the body's twist to a wrench."""
  to_local = wp.transpose(rot)
  shift = wp.skew(offset)
  rot_rot = rot @ b_rot @ to_local
  rot_vel = rot @ b_rot_vel @ to_local
  vel_rot = rot @ b_vel_rot @ to_local
  vel_vel = rot @ b_vel @ to_local
  arm = vel_rot - vel_vel @ shift
  slope = wp.spatial_matrix()
  slope = _add_block(slope, rot_rot - rot_vel @ shift + shift @ arm, 0, 0)
  slope = _add_block(slope, rot_vel + shift @ vel_vel, 0, 3)
  slope = _add_block(slope, arm, 3, 0)
  return -_add_block(slope, vel_vel, 3, 3)


@wp.kernel
def _slope(
  # Model:
  opt_wind: wp.array[wp.vec3],
  opt_density: wp.array[float],
  opt_viscosity: wp.array[float],
  opt_integrator: int,
  body_rootid: wp.array[int],
  body_treeid: wp.array[int],
  body_geomnum: wp.array[int],
  body_geomadr: wp.array[int],
  body_mass: wp.array2d[float],
  body_inertia: wp.array2d[wp.vec3],
  geom_type: wp.array[int],
  geom_size: wp.array2d[wp.vec3],
  geom_fluid: wp.array2d[float],
  body_fluid_ellipsoid: wp.array[bool],
  # Data in:
  xipos_in: wp.array2d[wp.vec3],
  ximat_in: wp.array2d[wp.mat33],
  geom_xpos_in: wp.array2d[wp.vec3],
  geom_xmat_in: wp.array2d[wp.mat33],
  subtree_com_in: wp.array2d[wp.vec3],
  cvel_in: wp.array2d[wp.spatial_vector],
  # In:
  tree_gyroscopic: wp.array2d[bool],
  # Out:
  slope_out: wp.array2d[wp.spatial_matrix],
):
  worldid, bodyid = wp.tid()
  treeid = body_treeid[bodyid]
  if treeid < 0 or body_mass[worldid % body_mass.shape[0], bodyid] < MINVAL:
    return
  wind = opt_wind[worldid % opt_wind.shape[0]]
  density = opt_density[worldid % opt_density.shape[0]]
  viscosity = opt_viscosity[worldid % opt_viscosity.shape[0]]
  origin = subtree_com_in[worldid, body_rootid[bodyid]]
  v = cvel_in[worldid, bodyid]
  slope = slope_out[worldid, bodyid]
  if body_fluid_ellipsoid[bodyid]:
    for geomid in range(body_geomadr[bodyid], body_geomadr[bodyid] + body_geomnum[bodyid]):
      if geom_fluid[geomid, 0] <= 0.0:
        continue
      rot = geom_xmat_in[worldid, geomid]
      to_local = wp.transpose(rot)
      offset = geom_xpos_in[worldid, geomid] - origin
      b_rot, b_rot_vel, b_vel_rot, b_vel = ellipsoid_fluid_slope(
        geom_semiaxes(geom_size[worldid % geom_size.shape[0], geomid], geom_type[geomid]),
        geom_fluid[geomid, 1],
        geom_fluid[geomid, 2],
        geom_fluid[geomid, 3],
        geom_fluid[geomid, 4],
        geom_fluid[geomid, 5],
        wp.vec3(geom_fluid[geomid, 6], geom_fluid[geomid, 7], geom_fluid[geomid, 8]),
        wp.vec3(geom_fluid[geomid, 9], geom_fluid[geomid, 10], geom_fluid[geomid, 11]),
        to_local @ wp.spatial_top(v),
        to_local @ (velocity_at(v, offset) - wind),
        density,
        viscosity,
        False,
      )
      b = _slope_at(b_rot, b_rot_vel, b_vel_rot, b_vel, rot, offset)
      if not tree_gyroscopic[worldid % tree_gyroscopic.shape[0], treeid]:
        b = 0.5 * (b + wp.transpose(b))
      slope += b
  else:
    rot = ximat_in[worldid, bodyid]
    to_local = wp.transpose(rot)
    offset = xipos_in[worldid, bodyid] - origin
    u = to_local @ (velocity_at(v, offset) - wind)
    local = wp.spatial_vector(to_local @ wp.spatial_top(v), u)
    b = box_fluid_slope(
      opt_integrator, body_mass, body_inertia, worldid, bodyid, local, density, viscosity
    )
    b_rot = wp.diag(wp.vec3(b[0, 0], b[1, 1], b[2, 2]))
    b_vel = wp.diag(wp.vec3(b[3, 3], b[4, 4], b[5, 5]))
    slope += _slope_at(b_rot, wp.mat33(), wp.mat33(), b_vel, rot, offset)
  slope_out[worldid, bodyid] = slope


@wp.func
def _turned(rot: wp.mat33, angular: wp.vec3, linear: wp.vec3) -> wp.spatial_vector:
  return wp.spatial_vector(rot @ angular, rot @ linear)


@wp.func
def _pose_of(
  twist: wp.spatial_vector, vel: wp.vec3, adj: wp.spatial_vector, offset: wp.vec3
) -> wp.spatial_vector:
  """What the cotangents of local velocities along one direction give the pose of their frame."""
  torque, force = wp.spatial_top(adj), wp.spatial_bottom(adj)
  turn = wp.cross(force, vel) + wp.cross(torque, wp.spatial_top(twist))
  point = wp.cross(force, wp.spatial_top(twist))
  return wrench_at(point, turn, offset) + cross_force(twist, wrench_at(force, torque, offset))


@wp.func
def _wrench_of(adj: wp.spatial_vector, offset: wp.vec3) -> wp.spatial_vector:
  return wrench_at(wp.spatial_bottom(adj), wp.spatial_top(adj), offset)


@wp.func
def _on_frame(twist: wp.spatial_vector, vel: wp.vec3, adj: wp.spatial_vector) -> wp.spatial_vector:
  """Torque and force that the frame alone receives from one direction."""
  torque, force = wp.spatial_top(adj), wp.spatial_bottom(adj)
  turn = wp.cross(force, vel) + wp.cross(torque, wp.spatial_top(twist))
  return wp.spatial_vector(turn, wp.cross(force, wp.spatial_top(twist)))


@wp.kernel
def _slope_vjp(
  # Model:
  opt_timestep: wp.array[float],
  opt_wind: wp.array[wp.vec3],
  opt_density: wp.array[float],
  opt_viscosity: wp.array[float],
  body_rootid: wp.array[int],
  body_treeid: wp.array[int],
  body_geomnum: wp.array[int],
  body_geomadr: wp.array[int],
  body_mass: wp.array2d[float],
  body_inertia: wp.array2d[wp.vec3],
  dof_parentid: wp.array[int],
  geom_type: wp.array[int],
  geom_size: wp.array2d[wp.vec3],
  geom_fluid: wp.array2d[float],
  body_fluid_ellipsoid: wp.array[bool],
  # Data in:
  qacc_in: wp.array2d[float],
  xipos_in: wp.array2d[wp.vec3],
  ximat_in: wp.array2d[wp.mat33],
  geom_xpos_in: wp.array2d[wp.vec3],
  geom_xmat_in: wp.array2d[wp.mat33],
  subtree_com_in: wp.array2d[wp.vec3],
  cdof_in: wp.array2d[wp.spatial_vector],
  # In:
  body_lastdof: wp.array[int],
  tree_gyroscopic: wp.array2d[bool],
  drag_only: bool,
  body_diagonal: wp.array[bool],
  mu_in: wp.array2d[float],
  delta_in: wp.array2d[float],
  metric_dual: wp.array2d[float],
  twist_in: wp.array4d[float],
  # Adjoint out (+=):
  wrench_out: wp.array4d[float],
  axis_wrench_out: wp.array3d[wp.spatial_vector],
  inertial_wrench_out: wp.array2d[wp.spatial_vector],
  geom_wrench_out: wp.array2d[wp.spatial_vector],
  adj_body_mass_out: wp.array2d[float],
  adj_body_inertia_out: wp.array2d[wp.vec3],
  adj_geom_size_out: wp.array2d[wp.vec3],
  adj_wind_out: wp.array[wp.vec3],
  adj_density_out: wp.array[float],
  adj_viscosity_out: wp.array[float],
  adj_timestep_out: wp.array[float],
):
  worldid, bodyid = wp.tid()
  treeid = body_treeid[bodyid]
  mass = body_mass[worldid % body_mass.shape[0], bodyid]
  if treeid < 0 or mass < MINVAL:
    return
  h = opt_timestep[worldid % opt_timestep.shape[0]]
  wind = opt_wind[worldid % opt_wind.shape[0]]
  density = opt_density[worldid % opt_density.shape[0]]
  viscosity = opt_viscosity[worldid % opt_viscosity.shape[0]]
  origin = subtree_com_in[worldid, body_rootid[bodyid]]
  row = body_lastdof[bodyid] + 1
  v = spatial_at(twist_in, worldid, V, row)
  mu = spatial_at(twist_in, worldid, MU, row)
  x = spatial_at(twist_in, worldid, ACC, row) + spatial_at(twist_in, worldid, DELTA, row)
  symmetric = float(1.0)
  if not drag_only and tree_gyroscopic[worldid % tree_gyroscopic.shape[0], treeid]:
    symmetric = 0.0

  count = int(1)
  if body_fluid_ellipsoid[bodyid]:
    count = body_geomnum[bodyid]
  for k in range(count):
    geomid = body_geomadr[bodyid] + k
    pos = xipos_in[worldid, bodyid]
    rot = ximat_in[worldid, bodyid]
    if body_fluid_ellipsoid[bodyid]:
      if geom_fluid[geomid, 0] <= 0.0:
        continue
      pos = geom_xpos_in[worldid, geomid]
      rot = geom_xmat_in[worldid, geomid]
    offset = pos - origin
    to_local = wp.transpose(rot)
    vel = velocity_at(v, offset) - wind
    local_v = _turned(to_local, wp.spatial_top(v), vel)
    diagonal = body_diagonal[bodyid]
    dofid = int(-1)
    if diagonal:
      dofid = body_lastdof[bodyid]
    more = bool(True)
    while more:
      twist_mu = mu
      twist_x = x
      weight = float(0.0)
      if dofid >= 0:
        weight = -metric_dual[worldid, dofid]
        if diagonal:
          x_c = qacc_in[worldid, dofid] + delta_in[worldid, dofid]
          weight += mu_in[worldid, dofid] * x_c
        twist_mu = cdof_in[worldid, dofid]
        twist_x = weight * twist_mu
      vel_x = velocity_at(twist_x, offset)
      vel_mu = velocity_at(twist_mu, offset)
      local_x = _turned(to_local, wp.spatial_top(twist_x), vel_x)
      local_mu = _turned(to_local, wp.spatial_top(twist_mu), vel_mu)
      if body_fluid_ellipsoid[bodyid]:
        coef = FluidCoefficients()
        for i in range(12):
          coef[i] = wp.where(drag_only and i > 3, 0.0, geom_fluid[geomid, i])
        size = geom_size[worldid % geom_size.shape[0], geomid]
        adj_v, adj_x, adj_mu, adj_size, _type, _coef, adj_density, adj_viscosity, _part, adj_h = (
          wp.grad(ellipsoid_slope_term)
        )(
          local_v,
          local_x,
          local_mu,
          size,
          geom_type[geomid],
          coef,
          density,
          viscosity,
          symmetric,
          h,
        )
        accumulate(adj_geom_size_out, worldid, geomid, adj_size)
      else:
        inertia = body_inertia[worldid % body_inertia.shape[0], bodyid]
        adj_v, adj_x, adj_mu, adj_mass, adj_inertia, adj_density, adj_viscosity, adj_h = (
          wp.grad(box_slope_term)
        )(local_v, local_x, local_mu, mass, inertia, density, viscosity, h)
        accumulate(adj_body_mass_out, worldid, bodyid, adj_mass)
        accumulate(adj_body_inertia_out, worldid, bodyid, adj_inertia)

      accumulate_option(adj_wind_out, worldid, -(rot @ wp.spatial_bottom(adj_v)))
      accumulate_option(adj_density_out, worldid, adj_density)
      accumulate_option(adj_viscosity_out, worldid, adj_viscosity)
      accumulate_option(adj_timestep_out, worldid, adj_h)
      adj_v = _turned(rot, wp.spatial_top(adj_v), wp.spatial_bottom(adj_v))
      adj_x = _turned(rot, wp.spatial_top(adj_x), wp.spatial_bottom(adj_x))
      adj_mu = _turned(rot, wp.spatial_top(adj_mu), wp.spatial_bottom(adj_mu))
      f_x = _wrench_of(adj_x, offset)
      f_mu = _wrench_of(adj_mu, offset)
      add_spatial(wrench_out, worldid, V, bodyid, _wrench_of(adj_v, offset))
      if dofid >= 0:
        on_axis = f_mu + weight * f_x
        wp.atomic_add(axis_wrench_out, worldid, bodyid, dofid, on_axis)
      else:
        add_spatial(wrench_out, worldid, MU, bodyid, f_mu)
        add_spatial(wrench_out, worldid, ACC, bodyid, f_x)
        add_spatial(wrench_out, worldid, DELTA, bodyid, f_x)
      pose = _pose_of(v, vel, adj_v, offset) + _pose_of(twist_mu, vel_mu, adj_mu, offset)
      pose += _pose_of(twist_x, vel_x, adj_x, offset)
      add_spatial(wrench_out, worldid, POSE, bodyid, pose)
      on_frame = _on_frame(v, vel, adj_v) + _on_frame(twist_mu, vel_mu, adj_mu)
      on_frame += _on_frame(twist_x, vel_x, adj_x)
      if body_fluid_ellipsoid[bodyid]:
        accumulate(geom_wrench_out, worldid, geomid, on_frame)
      else:
        accumulate(inertial_wrench_out, worldid, bodyid, on_frame)
      if dofid >= 0:
        dofid = dof_parentid[dofid]
      else:
        dofid = body_lastdof[bodyid]
      more = (drag_only or diagonal) and dofid >= 0


def add_slope(work) -> None:
  """Adds the slope of the fluid forces of every body to `work.slope`."""
  m, d = work.model, work.data
  if not work.implicit_fluid:
    return
  wp.launch(
    _slope,
    dim=(d.nworld, m.nbody),
    inputs=[
      m.opt.wind,
      m.opt.density,
      m.opt.viscosity,
      m.opt.integrator,
      m.body_rootid,
      m.body_treeid,
      m.body_geomnum,
      m.body_geomadr,
      m.body_mass,
      m.body_inertia,
      m.geom_type,
      m.geom_size,
      m.geom_fluid,
      m.body_fluid_ellipsoid,
      d.xipos,
      d.ximat,
      d.geom_xpos,
      d.geom_xmat,
      d.subtree_com,
      d.cvel,
      work.tree_gyroscopic,
    ],
    outputs=[work.slope],
  )


def vjp(work) -> None:
  """Adds the wrenches of psi and the gradients of its parameters."""
  m, d = work.model, work.data
  if not work.implicit_fluid:
    return
  wp.launch(
    _slope_vjp,
    dim=(d.nworld, m.nbody),
    inputs=[
      m.opt.timestep,
      m.opt.wind,
      m.opt.density,
      m.opt.viscosity,
      m.body_rootid,
      m.body_treeid,
      m.body_geomnum,
      m.body_geomadr,
      m.body_mass,
      m.body_inertia,
      m.dof_parentid,
      m.geom_type,
      m.geom_size,
      m.geom_fluid,
      m.body_fluid_ellipsoid,
      work.qacc,
      d.xipos,
      d.ximat,
      d.geom_xpos,
      d.geom_xmat,
      d.subtree_com,
      d.cdof,
      work.tree.body_lastdof,
      work.tree_gyroscopic,
      work.discrete,
      work.tree.body_diagonal,
      work.mu,
      work.delta,
      work.metric_dual,
      work.twist,
      work.wrench,
      work.axis_wrench,
      work.inertial_wrench,
      work.geom_wrench,
      work.adj["body_mass"],
      work.adj["body_inertia"],
      work.adj["geom_size"],
      work.adj["opt.wind"],
      work.adj["opt.density"],
      work.adj["opt.viscosity"],
      work.adj["opt.timestep"],
    ],
  )
