"""Fluid forces: the inertia-box model per body and the ellipsoid model per geom.

Both act at a frame attached to a body (its inertial frame, or the geom's) and are written in that
frame, in terms of its angular velocity w and its linear velocity u relative to the wind:

    phi = -f(u, w) . u_lam - t(u, w) . w_lam

A local vector y = R^T x turns with the frame: with cotangent c of y, x receives R c and the
rotation the torque (R c) x x.

Source: MuJoCo documentation, Computation, "Passive forces"; "Fluid forces" (inertia model,
ellipsoid model; Andersen, Pesavento and Wang 2005 for the drag and lift of ellipsoids).
"""

import mujoco
import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.accumulate import accumulate_option
from mjgrad._src.tree.attach import FrameAdjoint
from mjgrad._src.tree.attach import add_frame
from mjgrad._src.tree.attach import frame_state

wp.set_module_options({"enable_backward": False})

MINVAL = wp.constant(mujoco.mjMINVAL)
SPHERE = wp.constant(int(mujoco.mjtGeom.mjGEOM_SPHERE))
CAPSULE = wp.constant(int(mujoco.mjtGeom.mjGEOM_CAPSULE))
CYLINDER = wp.constant(int(mujoco.mjtGeom.mjGEOM_CYLINDER))
PI = wp.constant(3.14159265358979)
FluidCoefficients = wp.types.vector(length=12, dtype=wp.float32)
"""A geom's `fluid` row: interaction; blunt, slender, angular drag; Kutta, Magnus; virtual mass."""


@wp.func
def box_term(
  u: wp.vec3,
  w: wp.vec3,
  u_lam: wp.vec3,
  w_lam: wp.vec3,
  mass: float,
  inertia: wp.vec3,
  density: float,
  viscosity: float,
) -> wp.float32:
  """phi of the box with the body's inertia."""
  scale = 6.0 / mass
  b0 = wp.sqrt(wp.max(MINVAL, inertia[1] + inertia[2] - inertia[0]) * scale)
  b1 = wp.sqrt(wp.max(MINVAL, inertia[0] + inertia[2] - inertia[1]) * scale)
  b2 = wp.sqrt(wp.max(MINVAL, inertia[0] + inertia[1] - inertia[2]) * scale)
  diameter = (b0 + b1 + b2) / 3.0
  power = (
    PI * viscosity * diameter * (3.0 * wp.dot(u, u_lam) + diameter * diameter * wp.dot(w, w_lam))
  )
  drag = b1 * b2 * wp.abs(u[0]) * u[0] * u_lam[0]
  drag = drag + b0 * b2 * wp.abs(u[1]) * u[1] * u_lam[1]
  drag = drag + b0 * b1 * wp.abs(u[2]) * u[2] * u_lam[2]
  p0 = b0 * b0 * b0 * b0
  p1 = b1 * b1 * b1 * b1
  p2 = b2 * b2 * b2 * b2
  spin = b0 * (p1 + p2) * wp.abs(w[0]) * w[0] * w_lam[0]
  spin = spin + b1 * (p0 + p2) * wp.abs(w[1]) * w[1] * w_lam[1]
  spin = spin + b2 * (p0 + p1) * wp.abs(w[2]) * w[2] * w_lam[2]
  return power + density * (0.5 * drag + spin / 64.0)


@wp.func
def max_moment(d0: float, d1: float, d2: float) -> wp.float32:
  """Largest moment of inertia of a disc-like ellipsoid turning about its first semiaxis."""
  d = wp.max(d1, d2)
  return 8.0 / 15.0 * PI * d0 * d * d * d * d


@wp.func
def semiaxes_of(size: wp.vec3, geomtype: int) -> wp.vec3:
  """Semiaxes of the ellipsoid that stands for a geom [m]."""
  semiaxes = size
  if geomtype == SPHERE:
    semiaxes = wp.vec3(size[0], size[0], size[0])
  elif geomtype == CAPSULE:
    semiaxes = wp.vec3(size[0], size[0], size[1] + size[0])
  elif geomtype == CYLINDER:
    semiaxes = wp.vec3(size[0], size[0], size[1])
  return semiaxes


@wp.func
def ellipsoid_term(
  u: wp.vec3,
  w: wp.vec3,
  u_lam: wp.vec3,
  w_lam: wp.vec3,
  size: wp.vec3,
  geomtype: int,
  coef: FluidCoefficients,
  density: float,
  viscosity: float,
) -> wp.float32:
  """phi of an ellipsoid."""
  semiaxes = semiaxes_of(size, geomtype)
  d_max = wp.max(wp.max(semiaxes[0], semiaxes[1]), semiaxes[2])
  d_min = wp.min(wp.min(semiaxes[0], semiaxes[1]), semiaxes[2])
  d_mid = semiaxes[0] + semiaxes[1] + semiaxes[2] - d_max - d_min
  volume = 4.0 / 3.0 * PI * semiaxes[0] * semiaxes[1] * semiaxes[2]
  area_max = PI * d_max * d_mid

  linear_momentum = density * wp.cw_mul(wp.vec3(coef[6], coef[7], coef[8]), u)
  angular_momentum = density * wp.cw_mul(wp.vec3(coef[9], coef[10], coef[11]), w)
  force = wp.cross(linear_momentum, w)
  torque = wp.cross(linear_momentum, u) + wp.cross(angular_momentum, w)
  force = force + coef[5] * density * volume * wp.cross(w, u)

  speed = wp.length(u)
  area = float(0.0)
  if speed > MINVAL:
    v = u / speed
    s = semiaxes / d_max
    s12 = s[1] * s[1] * s[2] * s[2]
    s20 = s[2] * s[2] * s[0] * s[0]
    s01 = s[0] * s[0] * s[1] * s[1]
    projection = s12 * v[0] * v[0] + s20 * v[1] * v[1] + s01 * v[2] * v[2]
    normal = wp.vec3(s12 * v[0], s20 * v[1], s01 * v[2]) / projection
    normal2 = wp.dot(normal, normal)
    area = PI * d_max * d_max * wp.sqrt(projection * normal2)
    circulation = coef[4] * density * area / normal2 * wp.cross(normal, u)
    force = force + wp.cross(circulation, u)

  sphere = 2.0 / 3.0 * (semiaxes[0] + semiaxes[1] + semiaxes[2])
  i_max = 8.0 / 15.0 * PI * d_mid * d_max * d_max * d_max * d_max
  i0 = max_moment(semiaxes[0], semiaxes[1], semiaxes[2])
  i1 = max_moment(semiaxes[1], semiaxes[2], semiaxes[0])
  i2 = max_moment(semiaxes[2], semiaxes[0], semiaxes[1])
  angular_drag = wp.vec3(
    w[0] * (coef[3] * i0 + coef[2] * (i_max - i0)),
    w[1] * (coef[3] * i1 + coef[2] * (i_max - i1)),
    w[2] * (coef[3] * i2 + coef[2] * (i_max - i2)),
  )
  drag = viscosity * 3.0 * PI * sphere
  drag = drag + density * speed * (area * coef[1] + coef[2] * (area_max - area))
  spin = viscosity * PI * sphere * sphere * sphere + density * wp.length(angular_drag)
  force = force - drag * u
  torque = torque - spin * w
  return -coef[0] * (wp.dot(force, u_lam) + wp.dot(torque, w_lam))


@wp.func
def _rotation_torque(rot: wp.mat33, cotangent: wp.vec3, x: wp.vec3) -> wp.vec3:
  """Torque that a cotangent of R^T x exerts on the frame R."""
  return wp.cross(rot @ cotangent, x)


@wp.kernel
def _fluid_vjp(
  # Model:
  opt_wind: wp.array[wp.vec3],
  opt_density: wp.array[float],
  opt_viscosity: wp.array[float],
  body_rootid: wp.array[int],
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
  # In:
  body_lastdof: wp.array[int],
  twist_in: wp.array4d[float],
  # Adjoint out (+=):
  wrench_out: wp.array4d[float],
  inertial_wrench_out: wp.array2d[wp.spatial_vector],
  geom_wrench_out: wp.array2d[wp.spatial_vector],
  adj_body_mass_out: wp.array2d[float],
  adj_body_inertia_out: wp.array2d[wp.vec3],
  adj_geom_size_out: wp.array2d[wp.vec3],
  adj_wind_out: wp.array[wp.vec3],
  adj_density_out: wp.array[float],
  adj_viscosity_out: wp.array[float],
):
  worldid, bodyid = wp.tid()
  mass = body_mass[worldid % body_mass.shape[0], bodyid]
  if bodyid == 0 or mass < MINVAL:
    return
  wind = opt_wind[worldid % opt_wind.shape[0]]
  density = opt_density[worldid % opt_density.shape[0]]
  viscosity = opt_viscosity[worldid % opt_viscosity.shape[0]]
  origin = subtree_com_in[worldid, body_rootid[bodyid]]
  row = body_lastdof[bodyid] + 1

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
    frame = frame_state(twist_in, worldid, row, pos - origin)
    to_local = wp.transpose(rot)
    relative = frame.vel - wind
    w = wp.spatial_top(frame.v)
    w_lam = wp.spatial_top(frame.l)
    if body_fluid_ellipsoid[bodyid]:
      coef = FluidCoefficients()
      for i in range(12):
        coef[i] = geom_fluid[geomid, i]
      adj_u, adj_w, adj_u_lam, adj_w_lam, adj_size, _type, _coef, adj_density, adj_viscosity = (
        wp.grad(ellipsoid_term)
      )(
        to_local @ relative,
        to_local @ w,
        to_local @ frame.lam,
        to_local @ w_lam,
        geom_size[worldid % geom_size.shape[0], geomid],
        geom_type[geomid],
        coef,
        density,
        viscosity,
      )
      accumulate(adj_geom_size_out, worldid, geomid, adj_size)
    else:
      adj_u, adj_w, adj_u_lam, adj_w_lam, adj_mass, adj_inertia, adj_density, adj_viscosity = (
        wp.grad(box_term)
      )(
        to_local @ relative,
        to_local @ w,
        to_local @ frame.lam,
        to_local @ w_lam,
        mass,
        body_inertia[worldid % body_inertia.shape[0], bodyid],
        density,
        viscosity,
      )
      accumulate(adj_body_mass_out, worldid, bodyid, adj_mass)
      accumulate(adj_body_inertia_out, worldid, bodyid, adj_inertia)

    accumulate_option(adj_wind_out, worldid, -(rot @ adj_u))
    accumulate_option(adj_density_out, worldid, adj_density)
    accumulate_option(adj_viscosity_out, worldid, adj_viscosity)
    adj = FrameAdjoint()
    adj.vel = rot @ adj_u
    adj.lam = rot @ adj_u_lam
    adj.rot_vel = rot @ adj_w
    adj.rot_lam = rot @ adj_w_lam
    adj.rot = _rotation_torque(rot, adj_u, relative) + _rotation_torque(rot, adj_w, w)
    adj.rot += _rotation_torque(rot, adj_u_lam, frame.lam) + _rotation_torque(rot, adj_w_lam, w_lam)
    pose = add_frame(worldid, bodyid, frame, adj, wrench_out)
    if body_fluid_ellipsoid[bodyid]:
      accumulate(geom_wrench_out, worldid, geomid, pose)
    else:
      accumulate(inertial_wrench_out, worldid, bodyid, pose)


def vjp(work) -> None:
  """Adds the wrenches of the fluid forces."""
  m, d = work.model, work.data
  if not work.fluid_enabled:
    return
  wp.launch(
    _fluid_vjp,
    dim=(d.nworld, m.nbody),
    inputs=[
      m.opt.wind,
      m.opt.density,
      m.opt.viscosity,
      m.body_rootid,
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
      work.tree.body_lastdof,
      work.twist,
      work.wrench,
      work.inertial_wrench,
      work.geom_wrench,
      work.adj["body_mass"],
      work.adj["body_inertia"],
      work.adj["geom_size"],
      work.adj["opt.wind"],
      work.adj["opt.density"],
      work.adj["opt.viscosity"],
    ],
  )
