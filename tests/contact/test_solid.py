"""Contact geometry of solid geoms against differences of C MuJoCo's contacts, in float64."""

import itertools

import mujoco
import mujoco_warp as mjw
import numpy as np
import pytest
import warp as wp

from mjgrad._src.check import contacts
from mjgrad._src.contact.solid import SOLID_PAIRS
from mjgrad._src.contact.solid import solid_geometry_vjp
from mjgrad._src.contact.surface import Meshes
from mjgrad._src.contact.surface import meshes
from tests.contact import pairs

wp.set_module_options({"enable_backward": False})

# Witness points are known to 1e-7, next to contacts less than 1e-3 deep and radii of 0.1.
RTOL = 2e-4
COUNT = 12
STEPS = (2e-5, 1e-5)
# Two differences that disagree straddle a switch: a feature, or the reference of the tangents.
SWITCH = 1e-5
NAMES = [mujoco.mjtGeom(t).name.removeprefix("mjGEOM_").lower() for t in range(9)]
PAIRS = sorted((NAMES[a], NAMES[b]) for a, b in SOLID_PAIRS)


@wp.kernel
def _vjp(
  # In:
  types: wp.vec2i,
  meshid: wp.vec2i,
  pos: wp.array2d[wp.vec3],
  rot: wp.array2d[wp.mat33],
  size: wp.array[wp.vec3],
  table: Meshes,
  manifolds: bool,
  margin: float,
  index: wp.array[int],
  dist: wp.array[float],
  point: wp.array[wp.vec3],
  frame: wp.array[wp.mat33],
  # Adjoint in:
  adj_dist_in: wp.array[float],
  adj_point_in: wp.array[wp.vec3],
  adj_frame_in: wp.array[wp.mat33],
  # Adjoint out (+=):
  adj_out: wp.array3d[wp.vec3],
  # Out:
  margin_out: wp.array[float],
):
  i = wp.tid()
  adj1, adj2 = solid_geometry_vjp(
    types[0],
    pos[i, 0],
    rot[i, 0],
    size[0],
    meshid[0],
    types[1],
    pos[i, 1],
    rot[i, 1],
    size[1],
    meshid[1],
    table,
    0.0,
    manifolds,
    index[i],
    dist[i],
    point[i],
    frame[i],
    margin,
    adj_dist_in[i],
    adj_point_in[i],
    adj_frame_in[i],
  )
  adj_out[i, 0, 0] += adj1.force
  adj_out[i, 0, 1] += adj1.torque
  adj_out[i, 0, 2] += adj1.size
  adj_out[i, 1, 0] += adj2.force
  adj_out[i, 1, 1] += adj2.torque
  adj_out[i, 1, 2] += adj2.size
  margin_out[i] = adj1.margin + adj2.margin


class Contact:
  """A contact of two geoms as a function of their poses and sizes.

  Geoms are displaced in the data: by a vector, and turned about their own centre.
  """

  def __init__(self, mjm, qpos, index=0):
    self.mjm, self.mjd, self.index = mjm, mujoco.MjData(mjm), index
    pairs.collide(mjm, self.mjd, qpos)
    self.count = self.mjd.ncon
    self.geoms = self.mjd.contact.geom[0].copy()
    self.pos = self.mjd.geom_xpos[self.geoms].copy()
    self.rot = self.mjd.geom_xmat[self.geoms].reshape(2, 3, 3).copy()

  def read(self):
    """(dist, pos, frame), or None where their number is another."""
    mujoco.mj_collision(self.mjm, self.mjd)
    if self.mjd.ncon != self.count:
      return None
    contacts.refine(self.mjm, self.mjd)
    contact = self.mjd.contact[self.index]
    return float(contact.dist), contact.pos.copy(), contact.frame.reshape(3, 3).copy()

  def displaced(self, side, kind, k, delta):
    """Contact with geom `side` moved (kind 0), turned (1) or resized (2) along axis k.

    Kind 3 widens its margin.
    """
    geom = self.geoms[side]
    size, margin = self.mjm.geom_size[geom].copy(), self.mjm.geom_margin[geom]
    if kind == 0:
      self.mjd.geom_xpos[geom, k] += delta
    elif kind == 1:
      quat, turn = np.empty(4), np.empty(9)
      mujoco.mju_axisAngle2Quat(quat, np.eye(3)[k], delta)
      mujoco.mju_quat2Mat(turn, quat)
      self.mjd.geom_xmat[geom] = (turn.reshape(3, 3) @ self.rot[side]).reshape(-1)
    elif kind == 2:
      self.mjm.geom_size[geom, k] += delta
    else:
      self.mjm.geom_margin[geom] += delta
    found = self.read()
    self.mjm.geom_size[geom] = size
    self.mjm.geom_margin[geom] = margin
    self.mjd.geom_xpos[geom] = self.pos[side]
    self.mjd.geom_xmat[geom] = self.rot[side].reshape(-1)
    return found


def derivative(contact, objective, entry):
  """Derivative along one entry, or None at a switch."""
  values = []
  for step in STEPS:
    ends = [contact.displaced(*entry, sign * step) for sign in (1, -1)]
    if any(end is None for end in ends):
      return None
    values.append((objective(*ends[0]) - objective(*ends[1])) / (2 * step))
  return values[1] if abs(values[0] - values[1]) <= SWITCH * (1 + abs(values[1])) else None


def sized(mjm, geom):
  """How many sizes a geom has."""
  kinds = {"sphere": 1, "capsule": 2, "cylinder": 2, "ellipsoid": 3, "box": 3}
  return kinds.get(NAMES[mjm.geom_type[geom]], 0)


def errors_of(touching, manifolds=False):
  """Relative errors of the gradients of contacts; those at a switch are left out."""
  rng = np.random.default_rng(3)
  found, truths, margins, adjoints = [], [], [], []
  for contact in touching:
    mjm = contact.mjm
    adjoint = rng.normal(), rng.normal(size=3), 0.1 * rng.normal(size=(3, 3))

    def objective(dist, pos, frame, adjoint=adjoint):
      return adjoint[0] * dist + adjoint[1] @ pos + np.sum(adjoint[2] * frame)

    base, truth = contact.read(), np.zeros((2, 3, 3))
    entries = [
      entry
      for entry in itertools.product(range(2), range(3), range(3))
      if entry[1] != 2 or entry[2] < sized(mjm, contact.geoms[entry[0]])
    ]
    values = [derivative(contact, objective, entry) for entry in entries]
    margin = mjm.geom_margin[contact.geoms].sum()
    values.append(derivative(contact, objective, (0, 3, 0)) if margin else 0.0)
    if any(value is None for value in values):
      continue
    for entry, value in zip(entries, values[:-1], strict=True):
      truth[entry] = value
    found.append((contact, base))
    truths.append(truth)
    margins.append(values[-1])
    adjoints.append(adjoint)

  geoms = found[0][0].geoms
  size = mjm.geom_size[geoms].astype(np.float32)
  cast = {int: int, float: float, wp.vec3: wp.vec3, wp.mat33: wp.mat33}

  def array(values, dtype):
    values = np.ascontiguousarray(np.stack(values), dtype=np.int32 if dtype is int else np.float32)
    return wp.array(values, dtype=cast[dtype], device="cpu")

  out = wp.zeros((len(found), 2, 3), dtype=wp.vec3, device="cpu")
  margin_out = wp.zeros(len(found), dtype=float, device="cpu")
  with wp.ScopedDevice("cpu"):
    table = meshes(mjw.put_model(mjm))
  wp.launch(
    _vjp,
    dim=len(found),
    inputs=[
      wp.vec2i(*(int(mjm.geom_type[g]) for g in geoms)),
      wp.vec2i(*(int(mjm.geom_dataid[g]) for g in geoms)),
      array([contact.pos for contact, _ in found], wp.vec3),
      array([contact.rot for contact, _ in found], wp.mat33),
      array(list(size), wp.vec3),
      table,
      manifolds,
      float(mjm.geom_margin[geoms].sum()),
      array([contact.index for contact, _ in found], int),
      array([base[0] for _, base in found], float),
      array([base[1] for _, base in found], wp.vec3),
      array([base[2] for _, base in found], wp.mat33),
      array([a[0] for a in adjoints], float),
      array([a[1] for a in adjoints], wp.vec3),
      array([a[2] for a in adjoints], wp.mat33),
      out,
      margin_out,
    ],
    device="cpu",
  )
  widened = margin_out.numpy() * (mjm.geom_margin[geoms].sum() > 0)  # at zero it has one side
  value = np.column_stack([out.numpy().reshape(len(found), -1), widened])
  truth = np.column_stack([np.stack(truths).reshape(len(found), -1), margins])
  return np.linalg.norm(value - truth, axis=1) / np.linalg.norm(truth, axis=1)


@pytest.mark.parametrize("pair", [p for p in PAIRS if p != ("capsule", "box")], ids="-".join)
def test_pair(pair):
  mjm = pairs.scene(*pair, ccd_tolerance=contacts.TOLERANCE, ccd_iterations=contacts.ITERATIONS)
  mjm.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_MULTICCD
  rng = np.random.default_rng(3)
  touching = [Contact(mjm, pairs.touching(mjm, rng)) for _ in range(COUNT)]
  errors = errors_of([contact for contact in touching if contact.count == 1])
  assert len(errors) >= 0.8 * COUNT
  assert np.median(errors) < 0.1 * RTOL and errors.max() < RTOL, errors


def test_sphere_whose_centre_is_inside_a_mesh():
  """C MuJoCo iterates there; refined, the normal is that of the face and the distance exact."""
  mjm = pairs.scene("sphere", "cuboid")
  mjm.geom_size[0, 0] = 0.005
  mjd, normal = mujoco.MjData(mjm), np.empty(3)
  quat = pairs.random_quat(np.random.default_rng(0))
  mujoco.mju_rotVecQuat(normal, np.array([0.0, 0.0, 1.0]), quat)
  place = np.empty(3)
  mujoco.mju_rotVecQuat(place, np.array([0.02, 0.03, 0.06]), quat)
  pairs.collide(mjm, mjd, np.concatenate([place, [1, 0, 0, 0], np.zeros(3), quat]))
  assert contacts.has_curved(mjm) and contacts.refine(mjm, mjd)
  assert mjd.ncon == 1
  np.testing.assert_allclose(mjd.contact.frame[0, :3], -normal, atol=1e-9)
  np.testing.assert_allclose(mjd.contact.dist, -0.01 - 0.005, atol=1e-9)


SIDES = (("capsule", "frustum"), ("cylinder", "frustum"), ("cylinder", "box"))


@pytest.mark.parametrize("margin", [0.0, 0.02])
@pytest.mark.parametrize("pair", SIDES, ids="-".join)
def test_side_on_face(pair, margin):
  """A capsule or cylinder on its side under a face: ends, and borders of the face that it crosses.

  Where it crosses one, its line lies off the axis along the normal of two lines, not the face's.
  """
  mjm = pairs.scene(*pair, ccd_tolerance=contacts.TOLERANCE, ccd_iterations=contacts.ITERATIONS)
  mjm.geom_margin[:] = margin
  rng = np.random.default_rng(5)
  half = float(np.sqrt(0.5))
  found, ends, turned = [], 0, 0
  for _ in range(COUNT):
    qpos = pairs.stacked(mjm, rng, tilt=0.03, first=(half, 0.0, half, 0.0))
    for index in range(Contact(mjm, qpos).count):
      contact = Contact(mjm, qpos, index)
      dist, pos, frame = contact.read()
      corner = contact.rot[0].T @ (pos - 0.5 * dist * frame[0] - contact.pos[0])
      flat = (contact.rot[0].T @ frame[0])[:2]
      cosine = corner[:2] @ flat / np.linalg.norm(corner[:2]) / np.linalg.norm(flat)
      ends += abs(corner[2]) > 0.999 * mjm.geom_size[contact.geoms[0], 1]
      turned += cosine < 1 - 1e-6
      found.append(contact)
  errors = errors_of(found, manifolds=True)
  assert len(errors) >= 0.6 * len(found) and ends and turned
  assert np.median(errors) < 1e-3 * RTOL and errors.max() < 0.1 * RTOL, errors
