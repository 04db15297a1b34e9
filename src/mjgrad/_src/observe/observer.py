"""Captured graphs of kinematic quantities and of their vector-Jacobian products.

An `Observer` belongs to one choice of quantities. The forward graph runs the engine's kinematics
(and its sensors); the backward graph repeats it at the saved state, turns every cotangent into
wrenches on bodies and on what is fixed in them, and sweeps the tree once, as a step does:

    (adj_xpos, ..., adj_sensordata)  ->  P, F^V  ->  adj_qpos, adj_qvel  ->  ambient adj_qpos
                                                 ->  poses of bodies, joints, mocap bodies
                                     ->  poses of inertial frames, geoms, sites
"""

import functools

import mujoco_warp as mjw
import numpy as np
import warp as wp

from mjgrad._src import graphs
from mjgrad._src import spatial
from mjgrad._src.engine import adapter
from mjgrad._src.engine import parameters
from mjgrad._src.errors import InvalidInput
from mjgrad._src.integrators import coordinates
from mjgrad._src.observe import quantities
from mjgrad._src.observe import sensors
from mjgrad._src.tree import body_poses
from mjgrad._src.tree import frame_poses
from mjgrad._src.tree import sweep
from mjgrad._src.tree import twists
from mjgrad._src.tree.indices import Tree

QUANTITIES = {
  "xpos": "positions of body frames [m], [nworld, nbody, 3]",
  "xquat": "orientations of body frames, [nworld, nbody, 4]",
  "xmat": "orientations of body frames, [nworld, nbody, 3, 3]",
  "xipos": "centres of mass of bodies [m], [nworld, nbody, 3]",
  "geom_xpos": "positions of geoms [m], [nworld, ngeom, 3]",
  "geom_xmat": "orientations of geoms, [nworld, ngeom, 3, 3]",
  "site_xpos": "positions of sites [m], [nworld, nsite, 3]",
  "site_xmat": "orientations of sites, [nworld, nsite, 3, 3]",
  "subtree_com": "centres of mass of subtrees [m], [nworld, nbody, 3]",
  "cvel": "body twists (rad/s, then m/s) about the subtree_com of the body's root, "
  "[nworld, nbody, 6]",
  "sensordata": "sensors, in the order and with the units of the model, [nworld, nsensordata]",
}
"""What can be observed; names, units and shapes are MuJoCo's."""

RELEVANT = (
  "body_mass",
  *body_poses.BODY,
  *body_poses.JOINT,
  *frame_poses.INERTIAL,
  *frame_poses.GEOM,
  *frame_poses.SITE,
)
"""Parameters that a quantity depends on; the gradient in all others is zero."""


def check_names(names: tuple[str, ...]) -> None:
  """Raises `InvalidInput` for names that are not quantities."""
  unknown = [repr(name) for name in names if name not in QUANTITIES]
  if unknown:
    raise InvalidInput(f"cannot observe {', '.join(unknown)}; choose from {', '.join(QUANTITIES)}.")


class Observer:
  """Graphs of one choice of quantities.

  Args:
    sim: the simulator; only its arrays are kept, not the simulator itself.
    names: quantities, each at most once.
    requested: parameters among `RELEVANT` that are given per call, and whether each is per world.

  Raises:
    InvalidInput: an unknown name.
    UnsupportedFeature: sensordata of a model with a sensor that has no gradient; names them all.

  Attributes:
    outputs: the engine's arrays of the quantities, by name
    buffers: where the values of the parameters go, by name
    mocap: where the poses of mocap bodies go and the model's, by name
  """

  def __init__(self, sim, names: tuple[str, ...], requested: dict[str, bool]):
    check_names(names)
    if "sensordata" in names:
      sensors.check_sensors(sim.mjm)
    self.names, self.requested = names, requested
    self.mjm, self.data, self.tree, self.device = sim.mjm, sim.data, sim.tree, sim.device
    self.static_geoms = sim.static_geoms
    self.model, self.buffers = parameters.with_buffers(sim.model, sim.nworld, requested)
    self.outputs = {name: getattr(self.data, name) for name in names}
    self.mocap = {
      name: (getattr(self.data, name), sim.defaults[name]) for name in ("mocap_pos", "mocap_quat")
    }
    self._graphs: dict[str, wp.Graph] = {}

  @functools.cached_property
  def work(self) -> "Work":
    return Work(self)

  def forward(self) -> None:
    """Fills `outputs` from the state and the mocap poses in `data` and from `buffers`."""
    self._follow()
    self._replay("forward", self._forward)

  def backward(self) -> None:
    """Fills the results in `work` from `work.adj_observed`, at the same state and parameters."""
    self._follow()
    self._replay("backward", self._backward)

  def _follow(self) -> None:
    """Recomputes what follows the parameters in the buffers."""
    parameters.update_followers(self.model, self.buffers)
    self.static_geoms.place(self.model, self.requested)

  def _forward(self) -> None:
    adapter.kinematics(self.model, self.data)
    if "sensordata" in self.names:
      adapter.sensors(self.model, self.data)

  def _backward(self) -> None:
    work = self.work
    self._forward()
    for result in (work.adj_qpos, work.adj_qvel, work.adj_mocap_pos, work.adj_mocap_quat):
      result.zero_()
    for name in self.requested:
      work.adj[name].zero_()
    twists.launch(work)
    frame_poses.start(work)
    quantities.body_vjp(work)
    quantities.attached_vjp(work)
    quantities.cvel_vjp(work)
    sensors.vjp(work)
    quantities.subtree_vjp(work)
    sweep.launch(work)
    body_poses.launch(work)
    frame_poses.launch(work)
    tape_qpos = self.data.qpos.reshape((1, *self.data.qpos.shape))
    coordinates.to_ambient(self.model, tape_qpos, 0, work.adj_qpos, work.adj_qpos_ambient)

  def _replay(self, name: str, body) -> None:
    if name not in self._graphs:
      self._graphs[name] = graphs.capture(body, self.device, mutable=())
    wp.capture_launch(self._graphs[name])


class Work:
  """Arrays of the backward pass.

  Attributes:
    adj_observed: cotangents by quantity, in its type and shape; empty if not observed
    subtree_linvel: velocity of every subtree's centre of mass [m/s] where a sensor reads it, else
      zero, shape [nworld, nbody]
    adj_com: cotangent of every subtree's centre of mass [1/m], shape [nworld, nbody]
    adj_com_velocity: cotangent of its velocity [s/m], shape [nworld, nbody]
    adj_qpos: result in the tangent space, shape [nworld, nv]
    adj_qpos_ambient: result in the coordinates of qpos, shape [nworld, nq]
    adj_qvel: result, shape [nworld, nv]
    adj: results by parameter, leading axis 1 or nworld; empty if not requested
    adj_mocap_pos: result, shape [nworld, nmocap]
    adj_mocap_quat: result, shape [nworld, nmocap]
    given: the values of quaternions and axes before they are normalised
    clip_bound: see `sensors.clip_bounds`; None if no sensor has a cutoff
    inertial_wrench, geom_wrench, site_wrench: see tree/frame_poses.py
    wrench: slots V and POSE are used, the others are zero, shape [nworld, NWRENCH, nbody, 6]
    product, product_wrench: those of velocity products that a step integrates implicitly; empty
    twist: shape [nworld, NTWIST, nv + 1, 6]; only V matters where the other wrenches are zero
  """

  def __init__(self, observer: Observer):
    mjm = observer.mjm
    self.model: mjw.Model = observer.model
    self.data: mjw.Data = observer.data
    self.tree: Tree = observer.tree
    nworld, nbody, nv = self.data.nworld, self.model.nbody, self.model.nv
    requested = observer.requested

    def zeros(*shape: int, dtype: type = float) -> wp.array:
      return wp.zeros(shape, dtype=dtype, device=observer.device)

    self.adj_observed = {}
    for name in QUANTITIES:
      primal = getattr(self.data, name)
      shape = primal.shape if name in observer.names else (0,) * primal.ndim
      self.adj_observed[name] = zeros(*shape, dtype=primal.dtype)
    bound = sensors.clip_bounds(mjm) if "sensordata" in observer.names else np.zeros(0)
    self.clip_bound = None
    if np.isfinite(bound).any():
      self.clip_bound = wp.array(bound, dtype=float, device=observer.device)

    self.subtree_linvel = zeros(nworld, nbody, dtype=wp.vec3)
    if "sensordata" in observer.names:
      self.subtree_linvel = self.data.subtree_linvel
    self.adj_com = zeros(nworld, nbody, dtype=wp.vec3)
    self.adj_com_velocity = zeros(nworld, nbody, dtype=wp.vec3)
    self.adj_qpos = zeros(nworld, nv)
    self.adj_qvel = zeros(nworld, nv)
    self.adj_qpos_ambient = zeros(nworld, mjm.nq)
    self.adj = parameters.zero_cotangents(self.model, nworld, requested)
    self.adj_mocap_pos = wp.zeros_like(self.data.mocap_pos)
    self.adj_mocap_quat = wp.zeros_like(self.data.mocap_quat)
    self.given = parameters.given(self.model, observer.buffers)

    self.gravity_enabled = False
    self.qacc = self.lam = self.mu = self.delta = zeros(nworld, nv)
    self.integrator_twists = self.body_velocities = False
    self.twist = spatial.zeros(nworld, twists.NTWIST, nv + 1, observer.device)
    self.wrench = spatial.zeros(nworld, twists.NWRENCH, nbody, observer.device)
    self.subtree_wrench = spatial.zeros(nworld, twists.NWRENCH, nbody, observer.device)
    self.axis_wrench = self.subtree_axis_wrench = zeros(0, nbody, nv, dtype=wp.spatial_vector)
    frame_wrenches = frame_poses.empty_wrenches(self.model, nworld, requested)
    self.inertial_wrench, self.geom_wrench, self.site_wrench = frame_wrenches
    self.product = zeros(0, nv + 1, dtype=wp.spatial_vector)
    self.product_wrench = zeros(0, nbody, dtype=wp.spatial_vector)
