"""Contact geometry of solid geoms against differences of C MuJoCo's contacts, in float64."""

import itertools

import mujoco
import mujoco_warp as mjw
import numpy as np
import pytest
import warp as wp

from mjgrad._src.check import contacts
from mjgrad._src.contact.deformation import ShapeAdjoint
from mjgrad._src.contact.deformation import add_height_field
from mjgrad._src.contact.deformation import add_mesh_scale
from mjgrad._src.contact.height_field import HFIELD
from mjgrad._src.contact.height_field import HeightFields
from mjgrad._src.contact.height_field import height_fields
from mjgrad._src.contact.solid import SOLID_PAIRS
from mjgrad._src.contact.solid import solid_geometry_vjp
from mjgrad._src.contact.surface import MESH
from mjgrad._src.contact.surface import Meshes
from mjgrad._src.contact.surface import meshes
from tests.contact import pairs

wp.set_module_options({"enable_backward": False})

# Witness points are known to 1e-7, next to contacts less than 1e-3 deep and radii of 0.1.
RTOL = 2e-4
COUNT = 12
STEPS = (2e-5, 1e-5)
# Elevations and vertices are float32 in C MuJoCo: large steps, and one of Richardson's.
COARSE_STEPS = (2.0**-10, 2.0**-11)
COARSE_SWITCH = 1e-3
POSE, TURN, SIZE, MARGIN, FIELD_SIZE, ELEVATION, SCALE = range(7)
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
  fields: HeightFields,
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
  adj_shape_out: wp.array[ShapeAdjoint],
  # Out:
  margin_out: wp.array[float],
):
  i = wp.tid()
  adj1, adj2, elevations = solid_geometry_vjp(
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
    fields,
    0.0,
    manifolds,
    0.0,
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
  if types[0] == HFIELD:
    add_height_field(i, meshid[0], fields, rot[i, 0], adj1, elevations, adj_shape_out[0])
  if types[0] == MESH:
    add_mesh_scale(i, meshid[0], rot[i, 0], adj1, adj_shape_out[0])
  if types[1] == MESH:
    add_mesh_scale(i, meshid[1], rot[i, 1], adj2, adj_shape_out[1])


class Contact:
  """A contact of two geoms as a function of their poses, sizes and shapes.

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
    """Contact with one entry of a kind of input of geom `side` displaced."""
    geom = self.geoms[side]
    if kind > MARGIN:
      return self._deformed(int(self.mjm.geom_dataid[geom]), kind, k, delta)
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

  def _deformed(self, data, kind, k, delta):
    mjm = self.mjm
    normals = mjm.mesh_polynormal.copy()
    if kind == SCALE:
      start, count = mjm.mesh_vertadr[data], mjm.mesh_vertnum[data]
      field, quat = mjm.mesh_vert[start : start + count], np.empty(9)
      mujoco.mju_quat2Mat(quat, mjm.mesh_quat[data])
      turn, pos = quat.reshape(3, 3), mjm.mesh_pos[data]
      grown = (field @ turn.T + pos)[:, k] * delta / mjm.mesh_scale[data, k]
      value = field + np.outer(grown, turn[k])
      polygons = slice(mjm.mesh_polyadr[data], mjm.mesh_polyadr[data] + mjm.mesh_polynum[data])
      growth = np.ones(3)
      growth[k] += delta / mjm.mesh_scale[data, k]
      turned = normals[polygons] @ (turn.T / growth @ turn)
      mjm.mesh_polynormal[polygons] = turned / np.linalg.norm(turned, axis=1, keepdims=True)
    elif kind == ELEVATION:
      field, value = mjm.hfield_data[k : k + 1], mjm.hfield_data[k] + delta
    else:
      field, value = mjm.hfield_size[data, k : k + 1], mjm.hfield_size[data, k] + delta
    before = field.copy()
    field[:] = value
    found = self.read()
    field[:] = before
    mjm.mesh_polynormal[:] = normals
    return found


def derivative(contact, objective, entry):
  """Derivative along one entry, or None at a switch."""
  values = []
  coarse = entry[1] in (ELEVATION, SCALE)
  for step in COARSE_STEPS if coarse else STEPS:
    ends = [contact.displaced(*entry, sign * step) for sign in (1, -1)]
    if any(end is None for end in ends):
      return None
    values.append((objective(*ends[0]) - objective(*ends[1])) / (2 * step))
  gap = values[1] - values[0]
  if abs(gap) > (COARSE_SWITCH if coarse else SWITCH) * (1 + abs(values[1])):
    return None
  return values[1] + gap / 3 if coarse else values[1]


def sized(mjm, geom):
  """How many sizes a geom has."""
  kinds = {"sphere": 1, "capsule": 2, "cylinder": 2, "ellipsoid": 3, "box": 3}
  return kinds.get(NAMES[mjm.geom_type[geom]], 0)


def shape_entries(mjm, side, geom):
  """The entries of the parameters that deform a geom."""
  kind, data = NAMES[mjm.geom_type[geom]], int(mjm.geom_dataid[geom])
  if kind == "mesh":
    return [(side, SCALE, k) for k in range(3)]
  if kind == "hfield":
    start = int(mjm.hfield_adr[data])
    count = int(mjm.hfield_nrow[data] * mjm.hfield_ncol[data])
    entries = [(side, ELEVATION, k) for k in range(start, start + count)]
    return [(side, FIELD_SIZE, k) for k in range(4)] + entries
  return []


def errors_of(touching, manifolds=False):
  """Relative errors of the gradients of contacts; those at a switch are left out."""
  rng = np.random.default_rng(3)
  found, truths, adjoints = [], [], []
  for contact in touching:
    mjm = contact.mjm
    adjoint = rng.normal(), rng.normal(size=3), 0.1 * rng.normal(size=(3, 3))

    def objective(dist, pos, frame, adjoint=adjoint):
      return adjoint[0] * dist + adjoint[1] @ pos + np.sum(adjoint[2] * frame)

    base = contact.read()
    deforming = [e for side in range(2) for e in shape_entries(mjm, side, contact.geoms[side])]
    entries = [
      entry
      for entry in itertools.product(range(2), range(3), range(3))
      if entry[1] != SIZE or entry[2] < sized(mjm, contact.geoms[entry[0]])
    ]
    if (
      not manifolds
    ):  # C MuJoCo's vertices are too coarse for corners between almost parallel faces
      entries += deforming
    if mjm.geom_margin[contact.geoms].sum() > 0:  # at zero it has one side
      entries.append((0, MARGIN, 0))
    values = [derivative(contact, objective, entry) for entry in entries]
    if any(value is None for value in values):
      continue
    found.append((contact, base))
    truths.append(values)
    adjoints.append(adjoint)

  geoms = found[0][0].geoms
  size = mjm.geom_size[geoms].astype(np.float32)
  cast = {int: int, float: float, wp.vec3: wp.vec3, wp.mat33: wp.mat33}

  def array(values, dtype):
    values = np.ascontiguousarray(np.stack(values), dtype=np.int32 if dtype is int else np.float32)
    return wp.array(values, dtype=cast[dtype], device="cpu")

  out = wp.zeros((len(found), 2, 3), dtype=wp.vec3, device="cpu")
  margin_out = wp.zeros(len(found), dtype=float, device="cpu")
  adj_shapes = [_shape_adjoint(mjm, len(found)) for _ in range(2)]
  if mjm.geom_dataid[geoms[0]] == mjm.geom_dataid[geoms[1]]:
    adj_shapes[1] = adj_shapes[0]
  with wp.ScopedDevice("cpu"):
    model = mjw.put_model(mjm)
  wp.launch(
    _vjp,
    dim=len(found),
    inputs=[
      wp.vec2i(*(int(mjm.geom_type[g]) for g in geoms)),
      wp.vec2i(*(int(mjm.geom_dataid[g]) for g in geoms)),
      array([contact.pos for contact, _ in found], wp.vec3),
      array([contact.rot for contact, _ in found], wp.mat33),
      array(list(size), wp.vec3),
      meshes(model),
      height_fields(model),
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
      wp.array(adj_shapes, dtype=ShapeAdjoint, device="cpu"),
      margin_out,
    ],
    device="cpu",
  )
  fields = {FIELD_SIZE: "hfield_size", ELEVATION: "hfield_data", SCALE: "mesh_scale"}

  def gradient(i, side, kind, k):
    if kind == MARGIN:
      return margin_out.numpy()[i]
    if kind <= SIZE:
      return out.numpy()[i, side, kind, k]
    rows = getattr(adj_shapes[side], fields[kind]).numpy()[i]
    return rows[k] if kind == ELEVATION else rows[mjm.geom_dataid[geoms[side]], k]

  value = [[gradient(i, *entry) for entry in entries] for i in range(len(found))]
  truth = np.stack(truths)
  return np.linalg.norm(np.array(value) - truth, axis=1) / np.linalg.norm(truth, axis=1)


def _shape_adjoint(mjm, rows):
  """Zero cotangents of the parameters that deform geoms, one row for each contact."""
  adj = ShapeAdjoint()
  adj.mesh_scale = wp.zeros((rows, mjm.nmesh), dtype=wp.vec3, device="cpu")
  adj.hfield_size = wp.zeros((rows, mjm.nhfield), dtype=wp.vec4, device="cpu")
  adj.hfield_data = wp.zeros((rows, mjm.nhfielddata), dtype=float, device="cpu")
  adj.scale = wp.array(mjm.mesh_scale[None], dtype=wp.vec3, device="cpu")
  adj.mesh_pos = wp.array(mjm.mesh_pos, dtype=wp.vec3, device="cpu")
  adj.mesh_quat = wp.array(mjm.mesh_quat, dtype=wp.quat, device="cpu")
  return adj


ONE_AT_A_TIME = [p for p in PAIRS if p != ("capsule", "box") and p[0] != "hfield"]


@pytest.mark.parametrize("pair", ONE_AT_A_TIME, ids="-".join)
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
