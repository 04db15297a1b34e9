"""Contact geometry of planes, spheres and capsules against a second implementation in float64."""

import numpy as np
import pytest
import warp as wp

from mjgrad._src.contact.geometry import contact_geometry_vjp
from mjgrad._src.contact.round import CAPSULE
from mjgrad._src.contact.round import PLANE
from mjgrad._src.contact.round import SPHERE

wp.set_module_options({"enable_backward": False})

# Differences of centres near one are rounded to 1e-7 and divided by distances down to 0.02.
RTOL = 3e-5

COUNT = 60
STEP = 1e-6
TYPES = {"plane": int(PLANE), "sphere": int(SPHERE), "capsule": int(CAPSULE)}


@wp.kernel
def _vjp(
  # In:
  type1: int,
  rot1: wp.array[wp.mat33],
  geom1: wp.array2d[wp.vec3],
  type2: int,
  rot2: wp.array[wp.mat33],
  geom2: wp.array2d[wp.vec3],
  index: wp.array[int],
  normal: wp.array[wp.vec3],
  # Adjoint in:
  adj_dist_in: wp.array[float],
  adj_point_in: wp.array[wp.vec3],
  adj_frame_in: wp.array[wp.mat33],
  # Adjoint out (+=):
  adj_geom1_out: wp.array2d[wp.vec3],
  adj_geom2_out: wp.array2d[wp.vec3],
):
  i = wp.tid()
  adj1, adj2 = contact_geometry_vjp(
    type1,
    geom1[i, 0],
    rot1[i],
    geom1[i, 2],
    type2,
    geom2[i, 0],
    rot2[i],
    geom2[i, 2],
    index[i],
    0.0,
    0.0,
    wp.vec3(),
    normal[i],
    adj_dist_in[i],
    adj_point_in[i],
    adj_frame_in[i],
  )
  adj_geom1_out[i, 0] += adj1.force
  adj_geom1_out[i, 1] += adj1.torque
  adj_geom1_out[i, 2] += adj1.size
  adj_geom2_out[i, 0] += adj2.force
  adj_geom2_out[i, 1] += adj2.torque
  adj_geom2_out[i, 2] += adj2.size


def rotation(axis):
  """A rotation matrix whose third column is the axis."""
  return frame_of(axis)[[1, 2, 0]].T


def frame_of(normal):
  """The tangents are y, or z where the normal is close to y, projected on the plane."""
  reference = np.array([0.0, 1, 0] if abs(normal[1]) < 0.5 else [0.0, 0, 1])
  tangent = reference - normal * (normal @ reference)
  tangent /= np.linalg.norm(tangent)
  return np.stack([normal, tangent, np.cross(normal, tangent)])


def between_points(p1, r1, p2, r2, normal):
  """Contact of two spheres, with a held normal or that of their centres."""
  if normal is None:
    normal = (p2 - p1) / np.linalg.norm(p2 - p1)
  dist = normal @ (p2 - p1) - r1 - r2
  return dist, p1 + normal * (r1 + 0.5 * dist), frame_of(normal)


def segment_parameters(p1, d1, h1, p2, d2, h2):
  """Parameters in [-h, h] of the nearest points of two segments that are not parallel.

  The nearest pair lies inside both, or one of the points is an end: try all and take the best.
  """
  offset, c = p2 - p1, d1 @ d2
  inside = np.array([(offset @ d1 - c * (offset @ d2)), (c * (offset @ d1) - offset @ d2)])
  inside /= 1 - c * c
  if np.all(np.abs(inside) <= (h1, h2)):
    return inside
  candidates = []
  for s in (-h1, h1):
    candidates.append((s, np.clip((p1 + s * d1 - p2) @ d2, -h2, h2)))
  for t in (-h2, h2):
    candidates.append((np.clip((p2 + t * d2 - p1) @ d1, -h1, h1), t))
  return min(candidates, key=lambda st: np.linalg.norm(p1 + st[0] * d1 - p2 - st[1] * d2))


def contact(pair, geom1, geom2, index, normal=None):
  """(dist, point, frame) of a pair; a geom is (centre, axis, size)."""
  (p1, a1, s1), (p2, a2, s2) = geom1, geom2
  a1, a2 = a1 / np.linalg.norm(a1), a2 / np.linalg.norm(a2)
  if pair[0] == "plane":
    radius = s2[0]
    frame = frame_of(a1)
    if pair[1] == "capsule":
      p2 = p2 + (1 - 2 * index) * s2[1] * a2
      across = a2 - a1 * (a1 @ a2)
      tangent = across / np.linalg.norm(across)
      if np.linalg.norm(across) < 0.5:  # the engine does not project the axis that it takes then
        tangent = np.array([0.0, 1, 0] if abs(a1[1]) < 0.5 else [0.0, 0, 1])
      frame = np.stack([a1, tangent, np.cross(a1, tangent)])
    dist = a1 @ (p2 - p1) - radius
    return dist, p2 - a1 * (radius + 0.5 * dist), frame
  if pair == ("sphere", "capsule"):
    p2 = p2 + np.clip((p1 - p2) @ a2, -s2[1], s2[1]) * a2
  elif pair == ("capsule", "capsule"):
    s, t = segment_parameters(p1, a1, s1[1], p2, a2, s2[1])
    p1, p2 = p1 + s * a1, p2 + t * a2
  return between_points(p1, s1[0], p2, s2[0], normal)


def random_geoms(pair, rng):
  """Two overlapping or nearby geoms, shape [2, 3, 3]."""
  axes = rng.normal(size=(2, 3))
  axes /= np.linalg.norm(axes, axis=1, keepdims=True)
  centres = rng.normal(size=(2, 3)) * 0.15
  sizes = np.zeros((2, 3))
  for k, kind in enumerate(pair):
    if kind != "plane":
      sizes[k, 0] = rng.uniform(0.03, 0.1)
    if kind == "capsule":
      sizes[k, 1] = rng.uniform(0.05, 0.2)
  return np.stack([centres, axes, sizes], axis=1).astype(np.float32).astype(np.float64)


PAIRS = ("plane-sphere", "plane-capsule", "sphere-sphere", "sphere-capsule", "capsule-capsule")


def gradients(pair, geoms, index, rng, held=None):
  """Engine's and true cotangents of random contacts: forces, torques, sizes.

  Args:
    pair: types of the geoms.
    geoms: shape [n, 2, 3, 3].
    index: slots of the contacts, shape [n].
    rng: of the cotangents of distance, point and frame.
    held: normals that are held fixed, shape [n, 3]; None for those of the geoms.
  """
  count = len(geoms)
  adj_dist = rng.normal(size=count).astype(np.float32)
  adj_point = rng.normal(size=(count, 3)).astype(np.float32)
  adj_frame = rng.normal(size=(count, 3, 3)).astype(np.float32)
  normals = [None] * count if held is None else held

  def read(i, moved):
    return contact(pair, moved[0], moved[1], index[i], normals[i])

  def objective(i, moved):
    dist, point, frame = read(i, moved)
    return adj_dist[i] * dist + adj_point[i] @ point + np.sum(adj_frame[i] * frame)

  def vec3(x):
    return wp.array(np.ascontiguousarray(x, dtype=np.float32), dtype=wp.vec3, device="cpu")

  def rotations(axes):
    matrices = np.stack([rotation(axis) for axis in axes]).astype(np.float32)
    return wp.array(matrices, dtype=wp.mat33, device="cpu")

  out = [wp.zeros((count, 3), dtype=wp.vec3, device="cpu") for _ in range(2)]
  wp.launch(
    _vjp,
    dim=count,
    inputs=[
      TYPES[pair[0]],
      rotations(geoms[:, 0, 1]),
      vec3(geoms[:, 0]),
      TYPES[pair[1]],
      rotations(geoms[:, 1, 1]),
      vec3(geoms[:, 1]),
      wp.array(index.astype(np.int32), dtype=int, device="cpu"),
      vec3([read(i, geoms[i])[2][0] for i in range(count)]),
      wp.array(adj_dist, dtype=float, device="cpu"),
      vec3(adj_point),
      wp.array(adj_frame, dtype=wp.mat33, device="cpu"),
      *out,
    ],
    device="cpu",
  )
  value = np.stack([o.numpy().astype(np.float64) for o in out], axis=1)

  truth = np.zeros_like(value)
  for i in range(count):
    for entry in np.ndindex(2, 3, 3):
      moved = [geoms[i].copy(), geoms[i].copy()]
      moved[0][entry] += STEP
      moved[1][entry] -= STEP
      truth[i][entry] = (objective(i, moved[0]) - objective(i, moved[1])) / (2 * STEP)
  # A turn w moves the axis by w x axis.
  truth[:, :, 1] = np.cross(geoms[:, :, 1], truth[:, :, 1])
  return value, truth


@pytest.fixture(scope="module", params=PAIRS)
def case(request):
  """Engine's and true cotangents of a pair."""
  pair = tuple(request.param.split("-"))
  rng = np.random.default_rng(1)
  geoms = np.stack([random_geoms(pair, rng) for _ in range(COUNT)])
  index = rng.integers(0, 2, size=COUNT) if pair == ("plane", "capsule") else np.zeros(COUNT, int)
  return pair, geoms, *gradients(pair, geoms, index, rng)


def test_gradient(case):
  pair, _, value, truth = case
  size = np.linalg.norm(truth.reshape(COUNT, -1), axis=1)
  errors = np.linalg.norm((value - truth).reshape(COUNT, -1), axis=1) / size
  assert np.median(errors) < RTOL, pair
  # A nearly parallel pair or a short distance magnifies rounding, not more.
  assert errors.max() < 100 * RTOL, (pair, errors.argmax(), errors.max())


def test_every_input_counts(case):
  """Centres, axes and radii of curved geoms move the contact; a plane has no size."""
  pair, _, value, _ = case
  largest = np.abs(value).max(axis=(0, 3))
  for k, kind in enumerate(pair):
    assert largest[k, 0] > 0
    assert (largest[k, 1] > 0) == (kind != "sphere")
    assert (largest[k, 2] > 0) == (kind != "plane")


def test_translation_leaves_everything_but_the_point(case):
  """Moving both geoms moves the point alone, by as much: the centres' cotangents add up to it."""
  pair, _, value, _ = case
  rng = np.random.default_rng(1)
  for _ in range(COUNT):
    random_geoms(pair, rng)
  if pair == ("plane", "capsule"):
    rng.integers(0, 2, size=COUNT)
  rng.normal(size=COUNT)
  adj_point = rng.normal(size=(COUNT, 3)).astype(np.float32)
  # The cotangents of a short distance are large and cancel here.
  size = np.abs(value[:, :, 0]).max(axis=(1, 2))[:, None]
  assert np.all(np.abs(value[:, :, 0].sum(axis=1) - adj_point) < RTOL * (1 + size))


CURVED_PAIRS = [tuple(pair.split("-")) for pair in PAIRS if "plane" not in pair]


def random_normals(rng):
  normals = rng.normal(size=(COUNT, 3))
  return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def float32(values):
  return values.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("pair", CURVED_PAIRS, ids="-".join)
def test_coinciding_axes(pair):
  """Where the axes meet, the normal that the contact has is held fixed."""
  rng = np.random.default_rng(2)
  geoms = np.stack([random_geoms(pair, rng) for _ in range(COUNT)])
  for first, second in geoms:
    at1, at2 = (rng.uniform(-0.8, 0.8) * g[2, 1] * g[1] for g in (first, second))
    second[0] = first[0] + at1 - at2
  normals = float32(random_normals(rng))
  value, truth = gradients(pair, float32(geoms), np.zeros(COUNT, int), rng, normals)
  errors = np.linalg.norm((value - truth).reshape(COUNT, -1), axis=1)
  errors /= np.linalg.norm(truth.reshape(COUNT, -1), axis=1)
  assert np.median(errors) < RTOL and errors.max() < 100 * RTOL, errors
  assert np.all(np.abs(value[:, :, 0]).max(axis=2) > 0)


def test_capsules_that_meet_at_a_joint():
  """Two ends at one point: a capsule that turns about it changes neither distance nor point."""
  rng = np.random.default_rng(2)
  pair = ("capsule", "capsule")
  geoms = np.stack([random_geoms(pair, rng) for _ in range(COUNT)])
  for first, second in geoms:
    if first[1] @ second[1] < 0:
      second[1] *= -1
    second[0] = first[0] + first[2, 1] * first[1] + second[2, 1] * second[1]
  geoms = float32(geoms)
  value, _ = gradients(pair, geoms, np.zeros(COUNT, int), rng, float32(random_normals(rng)))
  for k, sign in ((0, -1), (1, 1)):
    arm = sign * geoms[:, k, 2, 1, None] * geoms[:, k, 1]
    torque = value[:, k, 1] + np.cross(arm, value[:, k, 0])
    assert np.abs(torque).max() < 10 * RTOL
