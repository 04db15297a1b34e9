"""Scale of meshes, sizes and elevations of height fields through a step of the simulator.

Their gradient in a contact is compared with C MuJoCo in test_solid.py and test_height_field.py.
Here it is compared with what must be the same: a box is the mesh of its corners, and the heights of
a field are elevations times its top. Rounding in float32 of contacts 2e-3 m deep is 1e-4.
"""

import mujoco
import numpy as np
import pytest

import mjgrad
from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.errors import InvalidInput
from mjgrad._src.errors import UnsupportedFeature
from mjgrad._src.linearize import step_gradient
from tests.contact import pairs

RTOL = 1e-4
NWORLD = 3


def gradients(sim, qpos, wrt, params=None):
  """Gradients of a random function of the next velocity, one row for each world."""
  rng = np.random.default_rng(0)
  return step_gradient(
    sim,
    qpos=qpos,
    qvel=0.01 * rng.normal(size=(NWORLD, sim.nv)),
    ctrl=None,
    adj_qpos=np.zeros((NWORLD, sim.nq)),
    adj_qvel=0.01 * rng.normal(size=(NWORLD, sim.nv)),
    params=params,
    wrt_params=wrt,
  ).grad


def configurations(mjm):
  rng = np.random.default_rng(1)
  return np.stack([pairs.touching(mjm, rng) for _ in range(NWORLD)])


def test_a_box_is_a_mesh():
  box, mesh = pairs.scene("box", "mesh"), pairs.scene("cuboid", "mesh")
  qpos = configurations(mesh)
  of_size = gradients(Simulator(box, NWORLD, "cpu"), qpos, ("geom_size",))["geom_size"][:, 0]
  of_scale = gradients(Simulator(mesh, NWORLD, "cpu"), qpos, ("mesh_scale",))["mesh_scale"]
  cuboid, other = mesh.geom_dataid
  truth = of_size * box.geom_size[0]
  error = np.linalg.norm(of_scale[:, cuboid] - truth) / np.linalg.norm(truth)
  assert np.all(np.linalg.norm(truth, axis=1) > 0) and error < RTOL
  assert np.any(of_scale[:, other] != 0)


def test_scaled_meshes_are_those_compiled_with_the_scale():
  """Contacts of the scaled mesh, and its bounding volumes."""
  scale = (1.2, 0.8, 1.1)
  mjm, scaled = pairs.scene("plane", "mesh"), pairs.scene("plane", "mesh", mesh_scale=scale)
  qpos = np.array([0.0, 0.0, 0.03, 0.9, 0.3, 0.2, 0.1])
  sim, mjd = Simulator(mjm, NWORLD, "cpu"), mujoco.MjData(scaled)
  value = np.tile(scale, (mjm.nmesh, 1))
  gradients(sim, np.tile(qpos, (NWORLD, 1)), ("mesh_scale",), {"mesh_scale": value})
  model, contact = sim.program({"mesh_scale": True}, 1).model, sim.data.contact
  pairs.collide(scaled, mjd, qpos)
  count = int(sim.data.nacon.numpy()[0])
  found = contact.dist.numpy()[:count][contact.worldid.numpy()[:count] == 0]
  assert mjd.ncon
  np.testing.assert_allclose(np.sort(found), np.sort(mjd.contact.dist), atol=1e-6)
  assert model.geom_rbound.numpy()[0, 1] >= np.linalg.norm(scaled.mesh_vert[:5], axis=1).max()


@pytest.fixture(scope="module")
def hills():
  mjm = pairs.scene("hfield", "sphere", ccd_tolerance=1e-8)
  return Simulator(mjm, NWORLD, "cpu")


def test_heights_are_elevations_times_the_top(hills):
  mjm = hills.mjm
  grad = gradients(hills, configurations(mjm), ("hfield_size", "hfield_data"))
  of_top = grad["hfield_size"][:, 0, 2] * mjm.hfield_size[0, 2]
  of_data = grad["hfield_data"] @ mjm.hfield_data
  assert np.all(of_top != 0)
  np.testing.assert_allclose(of_data, of_top, rtol=RTOL)


def test_larger_fields_have_larger_bounds(hills):
  """The bounding volumes are those of the compiler."""
  mjm = hills.mjm
  hills.program({"hfield_size": False}, 1).forward(record=False)
  model = hills.program({"hfield_size": False}, 1).model
  np.testing.assert_allclose(model.geom_rbound.numpy()[0], mjm.geom_rbound, rtol=1e-6)
  aabb = model.geom_aabb.numpy()[0].reshape(mjm.ngeom, 6)
  np.testing.assert_allclose(aabb, mjm.geom_aabb, rtol=1e-6)


def test_parameters_for_all_worlds(hills):
  listed = mjgrad.parameters(hills)
  assert listed["hfield_data"].shape == (30,) and listed["hfield_data"].shared
  assert listed["mesh_scale"].shape == (hills.mjm.nmesh, 3) and not listed["geom_size"].shared
  assert "geom_margin" not in listed
  value = np.zeros((NWORLD, *listed["hfield_size"].shape))
  with pytest.raises(InvalidInput, match="shared by all worlds: the engine has no world axis"):
    gradients(hills, configurations(hills.mjm), (), {"hfield_size": value})


def test_margins_are_refused():
  """The engine takes half of a margin off the distance of a geom from a height field."""
  mjm = pairs.scene("hfield", "sphere")
  mjm.geom_margin[1] = 0.01
  with pytest.raises(UnsupportedFeature, match="geom 1: the engine does not take the margin"):
    Simulator(mjm, 1, "cpu")
