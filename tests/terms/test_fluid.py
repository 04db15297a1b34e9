"""Fluid forces: the inertia-box model of a body, the ellipsoid model of a geom, and wind."""

import mujoco
import numpy as np
import pytest

from mjgrad._src.engine.simulator import Simulator
from mjgrad._src.linearize import step_gradient
from tests import models
from tests.terms import harness

# Accelerations of these models are good to about 1e-6 in float32.
RTOL = 2e-5
# Gradients in sizes and masses are small differences of drag terms of either sign.
PARAMETER_RTOL = 1e-4

INTEGRATORS = ("euler", "euler_explicit", "implicitfast")

INERTIA = ("body_mass", "body_inertia")
SHAPES = {
  "sphere": 'type="sphere" size="0.12"',
  "capsule": 'type="capsule" size="0.06 0.15"',
  "cylinder": 'type="cylinder" size="0.07 0.12"',
  "ellipsoid": 'type="ellipsoid" size="0.05 0.09 0.16"',
  "box": 'type="box" size="0.11 0.05 0.08"',
}
# Blunt drag, slender drag, angular drag, Kutta lift, Magnus lift.
COEFFICIENTS = {
  "blunt drag": "0.9 0 0 0 0",
  "slender drag": "0 0.6 0 0 0",
  "angular drag": "0 0 1.5 0 0",
  "kutta lift": "0 0 0 1.2 0",
  "magnus lift": "0 0 0 0 1.1",
  "all": "0.5 0.25 1.5 1 1",
}


def model(
  shape="", geom2="", integrator="euler", density=120.0, viscosity=1.5, wind=(1.0, -2, 0.5)
):
  """A free body carrying one on a ball joint; with no shape, both are inertia boxes.

  Args:
    shape: attributes of the geom of each body, the fluid's included.
    geom2: a further geom of the second body.
    integrator: see `models.variant`.
    density: of the medium [kg/m^3].
    viscosity: of the medium [Pa s].
    wind: velocity of the medium [m/s].
  """
  geom = f'<geom {shape} pos="0.02 0.03 -0.01" euler="20 -40 30"/>' if shape else ""
  mjm = models.variant(
    f"""
<mujoco>
  <option timestep="0.005"><flag contact="disable"/></option>
  <worldbody>
    <body>
      <freejoint/>
      <inertial pos="0.02 0.01 0" euler="10 20 30" mass="1.2" diaginertia="0.012 0.02 0.017"/>
      {geom}
      <body pos="0.3 0.05 0">
        <joint type="ball"/>
        <inertial pos="0.1 0 0.03" mass="0.7" diaginertia="0.006 0.011 0.009"/>
        {geom}{geom2}
      </body>
    </body>
  </worldbody>
</mujoco>
""",
    integrator=integrator,
  )
  mjm.opt.density, mjm.opt.viscosity, mjm.opt.wind[:] = density, viscosity, wind
  return mjm


def fluid(shape, coefficients="0.5 0.25 1.5 1 1"):
  return f'{SHAPES[shape]} fluidshape="ellipsoid" fluidcoef="{coefficients}"'


def points_of(mjm, count=4):
  return harness.random_points(mjm, count, position=0.4, velocity=1.5)


def velocity_part(mjm, points):
  """The velocity gradient of the same model in a vacuum; every case must differ from it."""
  found, _ = harness.compare(mjm, points)
  return found["qvel"].value


def assert_matters(mjm, points, found):
  mjm.opt.density = mjm.opt.viscosity = 0.0
  without = velocity_part(mjm, points)
  change = np.linalg.norm(found["qvel"].value - without, axis=1)
  assert np.all(change > 10 * RTOL * np.linalg.norm(without, axis=1)), change


@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("density, viscosity", [(120.0, 0.0), (0.0, 1.5), (120.0, 1.5)])
def test_box(density, viscosity, integrator):
  mjm = model(density=density, viscosity=viscosity, integrator=integrator)
  points = points_of(mjm)
  found, _ = harness.compare(mjm, points)
  harness.assert_close(found, RTOL)
  found, _ = harness.compare(mjm, points, ("body_mass", "body_inertia"), channels=())
  harness.assert_close(found, PARAMETER_RTOL)
  found, _ = harness.compare(mjm, points)
  assert_matters(mjm, points, found)


def test_box_of_a_flat_body():
  """A body with I_z = I_x + I_y is a plate: one side of its box has length zero.

  MuJoCo takes the root of no less than 1e-15, and the side does not depend on the inertia there.
  """
  mjm = model()
  mjm.body_inertia[1] = (0.02, 0.012, 0.0325)
  found, _ = harness.compare(mjm, points_of(mjm))
  harness.assert_close(found, RTOL)


@pytest.mark.parametrize("integrator", ["euler", "implicitfast"])
@pytest.mark.parametrize("shape", SHAPES)
def test_ellipsoid_of_every_shape(shape, integrator):
  mjm = model(fluid(shape), integrator=integrator)
  points = points_of(mjm)
  found, _ = harness.compare(mjm, points)
  harness.assert_close(found, RTOL)
  size, _ = harness.compare(mjm, points, ("geom_size",), channels=())
  harness.assert_close(size, PARAMETER_RTOL)
  used = {"sphere": 1, "capsule": 2, "cylinder": 2}.get(shape, 3)
  per_geom = size["geom_size"].value.reshape(-1, mjm.ngeom, 3)
  assert np.all(per_geom[..., :used] != 0) and np.all(per_geom[..., used:] == 0)
  assert_matters(mjm, points, found)


@pytest.mark.parametrize("integrator", INTEGRATORS)
@pytest.mark.parametrize("name", COEFFICIENTS)
def test_each_coefficient_of_the_ellipsoid(name, integrator):
  """Without viscosity and with a single coefficient; virtual mass is in all of them."""
  mjm = model(fluid("ellipsoid", COEFFICIENTS[name]), viscosity=0.0, integrator=integrator)
  points = points_of(mjm)
  found, _ = harness.compare(mjm, points)
  harness.assert_close(found, RTOL)
  found, _ = harness.compare(mjm, points, ("geom_size",))
  harness.assert_close({"geom_size": found["geom_size"]}, PARAMETER_RTOL)
  none = model(fluid("ellipsoid", "0 0 0 0 0"), viscosity=0.0, integrator=integrator)
  without = velocity_part(none, points)
  assert np.linalg.norm(found["qvel"].value - without) > 10 * RTOL * np.linalg.norm(without)


@pytest.mark.parametrize("integrator", ["euler", "implicitfast"])
def test_bodies_of_both_kinds(integrator):
  """The ellipsoid model of one geom switches a body's box off; other bodies keep theirs."""
  mjm = model(
    integrator=integrator,
    geom2=f'<geom {fluid("capsule")}/><geom {fluid("box")} pos="0 0.2 0"/>',
  )
  points = points_of(mjm)
  found, _ = harness.compare(mjm, points, ("geom_size", "body_mass", "body_inertia"))
  harness.assert_close(found, PARAMETER_RTOL)


@pytest.mark.parametrize("shape", ["", *SHAPES])
def test_at_rest(shape):
  """In a medium at rest, drag vanishes with the square of the speed; nothing is not finite.

  The applied forces leave a gradient in the positions, which free fall from rest does not have.
  """
  mjm = model(fluid(shape) if shape else "", wind=(0, 0, 0))
  force = np.linspace(-2, 3, mjm.nv)
  still = [
    harness.with_inputs(p, qfrc_applied=force)
    for p in harness.random_points(mjm, 2, position=0.4, velocity=0.0)
  ]
  spinning = [harness.with_inputs(p, qvel=[0, 0, 0, 1, 2, -1, 0, 0, 0]) for p in still]
  params = ("geom_size",) if shape else ("body_mass", "body_inertia")
  found, _ = harness.compare(mjm, [*still, *spinning], params)
  for channel in found.values():
    assert np.all(np.isfinite(channel.value))
  harness.assert_close(found, PARAMETER_RTOL)


@pytest.mark.parametrize("shape", ["", "ellipsoid"])
def test_at_rest_under_implicitfast(shape):
  """A depends on the speed, so the velocity has a kink here; the rest is compared."""
  mjm = model(fluid(shape) if shape else "", wind=(0, 0, 0), integrator="implicitfast")
  points = [
    harness.with_inputs(p, qfrc_applied=np.linspace(-2, 3, mjm.nv))
    for p in harness.random_points(mjm, 2, position=0.4, velocity=0.0)
  ]
  found, _ = harness.compare(mjm, points, INERTIA, channels=("qpos", "qvel", "qfrc_applied"))
  assert np.all(np.isfinite(found.pop("qvel").value))
  harness.assert_close(found, PARAMETER_RTOL)


def test_at_the_speed_of_the_wind():
  """A body that drifts with the wind sees none; straight along an axis nothing divides by zero."""
  mjm = model(fluid("ellipsoid"), wind=(1.0, 0, 0))
  point = harness.random_points(mjm, 1, position=0.0, velocity=0.0)[0]
  points = [harness.with_inputs(point, qvel=[v, 0, 0, 0, 0, 0, 0, 0, 0]) for v in (1.0, 3.0)]
  found, _ = harness.compare(mjm, points, ("geom_size",))
  harness.assert_close(found, PARAMETER_RTOL)


@pytest.mark.parametrize("flags", [("mjDSBL_SPRING",), ("mjDSBL_SPRING", "mjDSBL_DAMPER")])
def test_passive_forces_switched_off(flags):
  """Fluid forces go with the last of the passive forces."""
  mjm = model(fluid("ellipsoid"))
  for flag in flags:
    mjm.opt.disableflags |= mujoco.mjtDisableBit.__members__[flag]
  zero = ("geom_size",) if len(flags) == 2 else ()
  found, _ = harness.compare(mjm, points_of(mjm), ("geom_size",))
  harness.assert_close(found, PARAMETER_RTOL, zero=zero)


def test_viscous_sphere_closed_form():
  """Stokes: a body whose box is a cube of side b and viscosity eta: m v' = m v - h 3 pi b eta v.

  b^2 = 6 I / m.
  """
  mass, inertia, viscosity, h = 0.8, 0.01, 2.0, 0.005
  mjm = models.load(f"""
<mujoco>
  <option timestep="{h}" gravity="0 0 0" viscosity="{viscosity}"/>
  <worldbody><body>
    <freejoint/><inertial pos="0 0 0" mass="{mass}" diaginertia="{inertia} {inertia} {inertia}"/>
  </body></worldbody>
</mujoco>""")
  side = np.sqrt(6 * inertia / mass)
  adj = np.array([[1.0, -2.0, 0.5, 0.3, 0.2, -0.7]])
  v = np.array([[0.4, 0.3, -0.9, 0.0, 0.0, 0.0]])
  sim = Simulator(mjm, 1, "cpu")
  out = step_gradient(
    sim, mjm.qpos0[None], v, None, np.zeros((1, 7)), adj, wrt_params=("body_mass",)
  )
  linear = 1 - h * 3 * np.pi * side * viscosity / mass
  angular = 1 - h * np.pi * side**3 * viscosity / inertia
  np.testing.assert_allclose(
    out.grad["qvel"][0], np.repeat([linear, angular], 3) * adj[0], rtol=RTOL
  )
  # d/dm of -h 3 pi eta sqrt(6 I) m^(-3/2) v
  d_mass = 1.5 * h * 3 * np.pi * side * viscosity / mass**2 * (adj[0, :3] @ v[0, :3])
  np.testing.assert_allclose(out.grad["body_mass"][0, 1], d_mass, rtol=RTOL)
