"""Cotangents of sensors that depend on positions and velocities only.

Sensors of a frame read y = Rr^T z, with Rr the rotation of the reference frame (the identity if
there is none; the site's own for the first three) and d = p - pr, z from

    magnetometer   the field B             framepos      d
    gyro           w                       frame axes    x_k
    velocimeter    u                       framelinvel   u - ur + d cross wr
                                           frameangvel   w - wr

With a = Rr adj_y, the reference frame receives the torque -z cross a, and the rest follows from z.
`framequat` reads qr^-1 q. The cotangent of an entry that `cutoff` clips is zero. `clock` reads the
time, which carries no gradient.

Source: MuJoCo documentation, XML reference, "sensor"; `observe/frames.py`, `tree/attach.py`.
"""

import mujoco
import numpy as np
import warp as wp

from mjgrad._src.accumulate import accumulate
from mjgrad._src.engine.adapter import mul_quat
from mjgrad._src.errors import UnsupportedFeature
from mjgrad._src.integrators import manifold
from mjgrad._src.observe.frames import accumulate_own
from mjgrad._src.observe.frames import frame_body
from mjgrad._src.observe.frames import frame_pos
from mjgrad._src.observe.frames import frame_quat
from mjgrad._src.rotation import conjugate
from mjgrad._src.rotation import quat_torque
from mjgrad._src.tree.attach import FrameAdjoint
from mjgrad._src.tree.attach import add_frame
from mjgrad._src.tree.attach import frame_state

wp.set_module_options({"enable_backward": False})

_SENSOR = mujoco.mjtSensor
JOINTPOS = wp.constant(int(_SENSOR.mjSENS_JOINTPOS))
JOINTVEL = wp.constant(int(_SENSOR.mjSENS_JOINTVEL))
BALLQUAT = wp.constant(int(_SENSOR.mjSENS_BALLQUAT))
BALLANGVEL = wp.constant(int(_SENSOR.mjSENS_BALLANGVEL))
SUBTREECOM = wp.constant(int(_SENSOR.mjSENS_SUBTREECOM))
SUBTREELINVEL = wp.constant(int(_SENSOR.mjSENS_SUBTREELINVEL))
MAGNETOMETER = wp.constant(int(_SENSOR.mjSENS_MAGNETOMETER))
GYRO = wp.constant(int(_SENSOR.mjSENS_GYRO))
VELOCIMETER = wp.constant(int(_SENSOR.mjSENS_VELOCIMETER))
FRAMEPOS = wp.constant(int(_SENSOR.mjSENS_FRAMEPOS))
FRAMEQUAT = wp.constant(int(_SENSOR.mjSENS_FRAMEQUAT))
FRAMEXAXIS = wp.constant(int(_SENSOR.mjSENS_FRAMEXAXIS))
FRAMEZAXIS = wp.constant(int(_SENSOR.mjSENS_FRAMEZAXIS))
FRAMELINVEL = wp.constant(int(_SENSOR.mjSENS_FRAMELINVEL))
FRAMEANGVEL = wp.constant(int(_SENSOR.mjSENS_FRAMEANGVEL))
CLOCK = int(_SENSOR.mjSENS_CLOCK)

SITE_SENSORS = (MAGNETOMETER, GYRO, VELOCIMETER)
FRAME_SENSORS = (*range(FRAMEPOS, FRAMEZAXIS + 1), FRAMELINVEL, FRAMEANGVEL)
OTHER_SENSORS = (JOINTPOS, JOINTVEL, BALLQUAT, BALLANGVEL, SUBTREECOM, SUBTREELINVEL)
_OBJECTS = ("BODY", "XBODY", "GEOM", "SITE")
_FRAME_OBJECTS = [int(getattr(mujoco.mjtObj, f"mjOBJ_{name}")) for name in _OBJECTS]


def check_sensors(mjm: mujoco.MjModel) -> None:
  """Raises `UnsupportedFeature` naming every sensor without a gradient."""
  found = []
  if mjm.nsensor and mjm.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_SENSOR:
    found.append("option disable sensor: sensors are not computed")
  for i in range(mjm.nsensor):
    reason = _unsupported(mjm, i)
    if reason:
      name = mujoco.mj_id2name(mjm, mujoco.mjtObj.mjOBJ_SENSOR, i)
      found.append(f"sensor '{name}': {reason}" if name else f"sensor {i}: {reason}")
  if found:
    lines = "\n  ".join(found)
    raise UnsupportedFeature(
      f"sensordata of this model has no exact gradient because of\n  {lines}\n"
      "Remove these sensors, or observe other quantities."
    )


def _unsupported(mjm: mujoco.MjModel, i: int) -> str | None:
  kind = int(mjm.sensor_type[i])
  name = _SENSOR(kind).name.removeprefix("mjSENS_").lower()
  if kind not in (*SITE_SENSORS, *FRAME_SENSORS, *OTHER_SENSORS, CLOCK):
    return f"{name} is not differentiated"
  if mjm.sensor_history[i].any() or mjm.sensor_delay[i] or mjm.sensor_interval[i].any():
    return f"{name} with a delay, an interval or a history is not differentiated"
  if kind in FRAME_SENSORS:
    referenced = mjm.sensor_refid[i] >= 0
    types = [mjm.sensor_objtype[i]] + ([mjm.sensor_reftype[i]] if referenced else [])
    if not np.isin(types, _FRAME_OBJECTS).all():
      return f"{name} of a camera is not differentiated"
  return None


def clip_bounds(mjm: mujoco.MjModel) -> np.ndarray:
  """Size from which `cutoff` clips each entry of sensordata, infinite for none, [nsensordata]."""
  real = mjm.sensor_datatype == int(mujoco.mjtDataType.mjDATATYPE_REAL)
  bound = np.where(real & (mjm.sensor_cutoff > 0), mjm.sensor_cutoff, np.inf)
  return np.repeat(bound, mjm.sensor_dim)


@wp.func
def _vec3(x: wp.array2d[float], row: int, adr: int) -> wp.vec3:
  return wp.vec3(x[row, adr], x[row, adr + 1], x[row, adr + 2])


@wp.func
def _quat(x: wp.array2d[float], row: int, adr: int) -> wp.quat:
  return wp.quat(x[row, adr], x[row, adr + 1], x[row, adr + 2], x[row, adr + 3])


@wp.kernel
def _clip_vjp(
  # Data in:
  sensordata_in: wp.array2d[float],
  # In:
  bound: wp.array[float],
  # Out:
  adj_sensordata_out: wp.array2d[float],
):
  worldid, i = wp.tid()
  if wp.abs(sensordata_in[worldid, i]) >= bound[i]:
    adj_sensordata_out[worldid, i] = 0.0


@wp.kernel
def _coordinate_sensor_vjp(
  # Model:
  jnt_qposadr: wp.array[int],
  jnt_dofadr: wp.array[int],
  sensor_type: wp.array[int],
  sensor_objid: wp.array[int],
  sensor_adr: wp.array[int],
  # Data in:
  qpos_in: wp.array2d[float],
  # Adjoint in:
  adj_sensordata_in: wp.array2d[float],
  # Adjoint out (+=):
  adj_qpos_out: wp.array2d[float],
  adj_qvel_out: wp.array2d[float],
  adj_com_out: wp.array2d[wp.vec3],
  adj_com_velocity_out: wp.array2d[wp.vec3],
):
  worldid, sensorid = wp.tid()
  kind = sensor_type[sensorid]
  objid = sensor_objid[sensorid]
  adr = sensor_adr[sensorid]
  if kind == JOINTPOS:
    wp.atomic_add(adj_qpos_out, worldid, jnt_dofadr[objid], adj_sensordata_in[worldid, adr])
  elif kind == JOINTVEL:
    wp.atomic_add(adj_qvel_out, worldid, jnt_dofadr[objid], adj_sensordata_in[worldid, adr])
  elif kind == BALLQUAT:
    quat = wp.normalize(_quat(qpos_in, worldid, jnt_qposadr[objid]))
    tangent = manifold.to_tangent(quat, _quat(adj_sensordata_in, worldid, adr))
    for i in range(3):
      wp.atomic_add(adj_qpos_out, worldid, jnt_dofadr[objid] + i, tangent[i])
  elif kind == BALLANGVEL:
    for i in range(3):
      adj = adj_sensordata_in[worldid, adr + i]
      wp.atomic_add(adj_qvel_out, worldid, jnt_dofadr[objid] + i, adj)
  elif kind == SUBTREECOM:
    wp.atomic_add(adj_com_out, worldid, objid, _vec3(adj_sensordata_in, worldid, adr))
  elif kind == SUBTREELINVEL:
    wp.atomic_add(adj_com_velocity_out, worldid, objid, _vec3(adj_sensordata_in, worldid, adr))


@wp.kernel
def _site_sensor_vjp(
  # Model:
  opt_magnetic: wp.array[wp.vec3],
  body_rootid: wp.array[int],
  site_bodyid: wp.array[int],
  sensor_type: wp.array[int],
  sensor_objid: wp.array[int],
  sensor_adr: wp.array[int],
  # Data in:
  site_xpos_in: wp.array2d[wp.vec3],
  site_xmat_in: wp.array2d[wp.mat33],
  subtree_com_in: wp.array2d[wp.vec3],
  # In:
  body_lastdof: wp.array[int],
  twist: wp.array4d[float],
  # Adjoint in:
  adj_sensordata_in: wp.array2d[float],
  # Adjoint out (+=):
  wrench_out: wp.array4d[float],
  site_wrench_out: wp.array2d[wp.spatial_vector],
):
  worldid, sensorid = wp.tid()
  kind = sensor_type[sensorid]
  if kind != MAGNETOMETER and kind != GYRO and kind != VELOCIMETER:
    return
  objid = sensor_objid[sensorid]
  bodyid = site_bodyid[objid]
  offset = site_xpos_in[worldid, objid] - subtree_com_in[worldid, body_rootid[bodyid]]
  a = site_xmat_in[worldid, objid] @ _vec3(adj_sensordata_in, worldid, sensor_adr[sensorid])

  frame = frame_state(twist, worldid, body_lastdof[bodyid] + 1, offset)
  adj = FrameAdjoint()
  z = opt_magnetic[worldid % opt_magnetic.shape[0]]
  if kind == GYRO:
    z = wp.spatial_top(frame.v)
    adj.rot_vel = a
  elif kind == VELOCIMETER:
    z = frame.vel
    adj.vel = a
  adj.rot = -wp.cross(z, a)
  accumulate(site_wrench_out, worldid, objid, add_frame(worldid, bodyid, frame, adj, wrench_out))


@wp.kernel
def _frame_sensor_vjp(
  # Model:
  body_rootid: wp.array[int],
  body_iquat: wp.array2d[wp.quat],
  geom_bodyid: wp.array[int],
  geom_quat: wp.array2d[wp.quat],
  site_bodyid: wp.array[int],
  site_quat: wp.array2d[wp.quat],
  sensor_type: wp.array[int],
  sensor_objtype: wp.array[int],
  sensor_objid: wp.array[int],
  sensor_reftype: wp.array[int],
  sensor_refid: wp.array[int],
  sensor_adr: wp.array[int],
  # Data in:
  xpos_in: wp.array2d[wp.vec3],
  xquat_in: wp.array2d[wp.quat],
  xipos_in: wp.array2d[wp.vec3],
  geom_xpos_in: wp.array2d[wp.vec3],
  site_xpos_in: wp.array2d[wp.vec3],
  subtree_com_in: wp.array2d[wp.vec3],
  # In:
  body_lastdof: wp.array[int],
  twist: wp.array4d[float],
  # Adjoint in:
  adj_sensordata_in: wp.array2d[float],
  # Adjoint out (+=):
  wrench_out: wp.array4d[float],
  inertial_wrench_out: wp.array2d[wp.spatial_vector],
  geom_wrench_out: wp.array2d[wp.spatial_vector],
  site_wrench_out: wp.array2d[wp.spatial_vector],
):
  worldid, sensorid = wp.tid()
  kind = sensor_type[sensorid]
  axes = kind >= FRAMEXAXIS and kind <= FRAMEZAXIS
  velocity = kind == FRAMELINVEL or kind == FRAMEANGVEL
  if not (axes or velocity or kind == FRAMEPOS or kind == FRAMEQUAT):
    return
  objtype, objid = sensor_objtype[sensorid], sensor_objid[sensorid]
  reftype, refid = sensor_reftype[sensorid], sensor_refid[sensorid]
  adr = sensor_adr[sensorid]

  body = frame_body(geom_bodyid, site_bodyid, objtype, objid)
  body_r = frame_body(geom_bodyid, site_bodyid, reftype, refid)
  p = frame_pos(xpos_in, xipos_in, geom_xpos_in, site_xpos_in, worldid, objtype, objid)
  pr = frame_pos(xpos_in, xipos_in, geom_xpos_in, site_xpos_in, worldid, reftype, refid)
  q = frame_quat(body_iquat, geom_quat, site_quat, xquat_in, worldid, body, objtype, objid)
  qr = frame_quat(body_iquat, geom_quat, site_quat, xquat_in, worldid, body_r, reftype, refid)
  offset = p - subtree_com_in[worldid, body_rootid[body]]
  offset_r = pr - subtree_com_in[worldid, body_rootid[body_r]]
  frame = frame_state(twist, worldid, body_lastdof[body] + 1, offset)
  frame_r = frame_state(twist, worldid, body_lastdof[body_r] + 1, offset_r)

  adj = FrameAdjoint()
  adj_r = FrameAdjoint()
  if kind == FRAMEQUAT:
    relative = mul_quat(conjugate(qr), q)
    adj.rot = _rotate(qr, quat_torque(relative, _quat(adj_sensordata_in, worldid, adr)))
    adj_r.rot = -adj.rot
  else:
    a = _rotate(qr, _vec3(adj_sensordata_in, worldid, adr))
    d = p - pr
    z = d
    if kind == FRAMEPOS:
      adj.pos = a
    elif axes:
      axis = wp.vec3(0.0)
      axis[kind - FRAMEXAXIS] = 1.0
      z = _rotate(q, axis)
      adj.rot = wp.cross(z, a)
    elif kind == FRAMEANGVEL:
      z = wp.spatial_top(frame.v) - wp.spatial_top(frame_r.v)
      adj.rot_vel = a
      adj_r.rot_vel = -a
    else:
      w_r = wp.spatial_top(frame_r.v)
      z = frame.vel - frame_r.vel + wp.cross(d, w_r)
      adj.vel = a
      adj.pos = wp.cross(w_r, a)
      adj_r.vel = -a
      adj_r.rot_vel = wp.cross(a, d)
    adj_r.pos = -adj.pos
    adj_r.rot = -wp.cross(z, a)

  own = add_frame(worldid, body, frame, adj, wrench_out)
  accumulate_own(
    worldid, objtype, objid, own, inertial_wrench_out, geom_wrench_out, site_wrench_out
  )
  if refid >= 0:
    own_r = add_frame(worldid, body_r, frame_r, adj_r, wrench_out)
    accumulate_own(
      worldid, reftype, refid, own_r, inertial_wrench_out, geom_wrench_out, site_wrench_out
    )


@wp.func
def _rotate(q: wp.quat, v: wp.vec3) -> wp.vec3:
  u = wp.vec3(q[1], q[2], q[3])
  t = 2.0 * wp.cross(u, v)
  return v + q[0] * t + wp.cross(u, t)


def vjp(work) -> None:
  """Adds what the cotangent of sensordata leaves on coordinates, bodies and subtrees."""
  m, d, tree = work.model, work.data, work.tree
  adj = work.adj_observed["sensordata"]
  if not adj.size:
    return
  dim = (d.nworld, m.nsensor)
  if work.clip_bound is not None:
    wp.launch(_clip_vjp, dim=adj.shape, inputs=[d.sensordata, work.clip_bound], outputs=[adj])
  wp.launch(
    _coordinate_sensor_vjp,
    dim=dim,
    inputs=[
      m.jnt_qposadr,
      m.jnt_dofadr,
      m.sensor_type,
      m.sensor_objid,
      m.sensor_adr,
      d.qpos,
      adj,
    ],
    outputs=[work.adj_qpos, work.adj_qvel, work.adj_com, work.adj_com_velocity],
  )
  wp.launch(
    _site_sensor_vjp,
    dim=dim,
    inputs=[
      m.opt.magnetic,
      m.body_rootid,
      m.site_bodyid,
      m.sensor_type,
      m.sensor_objid,
      m.sensor_adr,
      d.site_xpos,
      d.site_xmat,
      d.subtree_com,
      tree.body_lastdof,
      work.twist,
      adj,
    ],
    outputs=[work.wrench, work.site_wrench],
  )
  wp.launch(
    _frame_sensor_vjp,
    dim=dim,
    inputs=[
      m.body_rootid,
      m.body_iquat,
      m.geom_bodyid,
      m.geom_quat,
      m.site_bodyid,
      m.site_quat,
      m.sensor_type,
      m.sensor_objtype,
      m.sensor_objid,
      m.sensor_reftype,
      m.sensor_refid,
      m.sensor_adr,
      d.xpos,
      d.xquat,
      d.xipos,
      d.geom_xpos,
      d.site_xpos,
      d.subtree_com,
      tree.body_lastdof,
      work.twist,
      adj,
    ],
    outputs=[work.wrench, work.inertial_wrench, work.geom_wrench, work.site_wrench],
  )
