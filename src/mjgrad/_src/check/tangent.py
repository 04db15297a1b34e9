"""Between cotangents of qpos as an array (ambient, nq) and as a manifold (tangent, nv).

A tangent step w turns a unit quaternion q into q (x) exp(w / 2), so dq = q (x) (0, w) / 2 and

    g_tangent_i = g_ambient . (q (x) e_i) / 2      (the part of g_ambient along q has no effect)
    g_ambient   = 2 q (x) (0, g_tangent)           (the representative orthogonal to q)

All other coordinates are their own tangents. MuJoCo documentation, "Modeling", quaternion joints.
"""

import mujoco
import numpy as np

_FREE, _BALL = mujoco.mjtJoint.mjJNT_FREE, mujoco.mjtJoint.mjJNT_BALL


def quaternion_addresses(mjm: mujoco.MjModel) -> list[tuple[int, int]]:
  """(address in qpos, address in qvel) of the rotation of every free and ball joint."""
  out = []
  for kind, qpos, qvel in zip(mjm.jnt_type, mjm.jnt_qposadr, mjm.jnt_dofadr, strict=True):
    if kind == _FREE:
      out.append((int(qpos) + 3, int(qvel) + 3))
    elif kind == _BALL:
      out.append((int(qpos), int(qvel)))
  return out


def _axes(quat: np.ndarray) -> np.ndarray:
  """Rows q (x) (0, e_i), shape [3, 4]."""
  w, x, y, z = quat
  return np.array([[-x, w, z, -y], [-y, -z, w, x], [-z, y, -x, w]])


def _scalar_coordinates(mjm: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
  """Matching addresses in qpos and qvel of everything that is not a quaternion."""
  qpos, qvel = np.ones(mjm.nq, dtype=bool), np.ones(mjm.nv, dtype=bool)
  for a, b in quaternion_addresses(mjm):
    qpos[a : a + 4] = False
    qvel[b : b + 3] = False
  return np.flatnonzero(qpos), np.flatnonzero(qvel)


def to_tangent(mjm: mujoco.MjModel, qpos: np.ndarray, adj_qpos: np.ndarray) -> np.ndarray:
  """Tangent cotangent, shape [nv], of an ambient one, shape [nq], at `qpos`."""
  out = np.zeros(mjm.nv)
  ambient, tangent = _scalar_coordinates(mjm)
  out[tangent] = adj_qpos[ambient]
  for a, b in quaternion_addresses(mjm):
    quat = qpos[a : a + 4] / np.linalg.norm(qpos[a : a + 4])
    out[b : b + 3] = 0.5 * _axes(quat) @ adj_qpos[a : a + 4]
  return out


def to_ambient(mjm: mujoco.MjModel, qpos: np.ndarray, adj_tangent: np.ndarray) -> np.ndarray:
  """Ambient cotangent, shape [nq], orthogonal to every quaternion, of a tangent one at `qpos`."""
  out = np.zeros(mjm.nq)
  ambient, tangent = _scalar_coordinates(mjm)
  out[ambient] = adj_tangent[tangent]
  for a, b in quaternion_addresses(mjm):
    quat = qpos[a : a + 4] / np.linalg.norm(qpos[a : a + 4])
    out[a : a + 4] = 2.0 * adj_tangent[b : b + 3] @ _axes(quat)
  return out
