"""Everything that the backward pass of one step reads and writes, allocated once."""

import functools
from collections.abc import Container

import mujoco
import mujoco_warp as mjw
import numpy as np
import warp as wp

from mjgrad._src import spatial
from mjgrad._src.accumulate import RowAdjoint
from mjgrad._src.adjoint.delay import Delay
from mjgrad._src.adjoint.surrogate import Surrogate
from mjgrad._src.adjoint.tape import Tape
from mjgrad._src.contact.cotangents import ContactCotangents
from mjgrad._src.contact.deformation import shape_adjoint
from mjgrad._src.contact.height_field import height_fields
from mjgrad._src.contact.solid import SOLID_PAIRS
from mjgrad._src.contact.surface import meshes
from mjgrad._src.engine.features import FLUID
from mjgrad._src.engine.features import check_parameters
from mjgrad._src.engine.features import colliding_types
from mjgrad._src.engine.implicit_rules import is_implicit
from mjgrad._src.engine.parameters import given
from mjgrad._src.engine.parameters import zero_cotangents
from mjgrad._src.engine.status import NWORD
from mjgrad._src.errors import UnsupportedFeature
from mjgrad._src.graphs import Beside
from mjgrad._src.integrators.runge_kutta import RungeKutta
from mjgrad._src.integrators.runge_kutta_vjp import StageCotangents
from mjgrad._src.terms import row_scale
from mjgrad._src.terms import transmission_body
from mjgrad._src.terms.actuation import Actuation
from mjgrad._src.terms.applied import APPLIED
from mjgrad._src.terms.dof import UNBOUNDED
from mjgrad._src.terms.impedance import DISCRETE
from mjgrad._src.terms.impedance import REFSAFE
from mjgrad._src.terms.impedance import vec6
from mjgrad._src.terms.tendon_rates import NRATE
from mjgrad._src.tree import frame_poses
from mjgrad._src.tree.indices import BLOCK
from mjgrad._src.tree.indices import Tree
from mjgrad._src.tree.twists import NTWIST
from mjgrad._src.tree.twists import NWRENCH

_TENDON_TRANSMISSION = int(mujoco.mjtTrn.mjTRN_TENDON)


class Workspace:
  """Arrays of the backward pass of one step; see `adjoint/step_vjp.py` for what uses them.

  Cotangents of positions are kept in the tangent space, shape [nworld, nv], between steps.
  """

  def __init__(
    self,
    mjm: mujoco.MjModel,
    model: mjw.Model,
    data: mjw.Data,
    tree: Tree,
    tape: Tape | None,
    requested: dict[str, bool],
    buffers: dict[str, wp.array],
    stages: RungeKutta | None = None,
    status: wp.array | None = None,
    surrogate: Surrogate | None = None,
    softness: float = 0.0,
    applied: Container[str] = APPLIED,
  ):
    check_parameters(mjm, requested)
    if surrogate and tape and not stages and "opt.timestep" in requested:
      raise UnsupportedFeature("parameter opt.timestep, contacts from distance: use RK4")
    self.surrogate, self.softness, self.applied = surrogate, softness, applied
    self.contact_law = surrogate.contact_law if surrogate else wp.zeros(0, dtype=vec6)
    nhistory = tape.history.shape[2] if tape else 0
    self.delay = Delay(data, nhistory) if nhistory else None
    data = self.delay.seen if self.delay else data
    self.model, self.data, self.tree, self.tape, self.stages = model, data, tree, tape, stages
    self.adj_stages = StageCotangents(stages, model.na) if stages else None
    nworld, nv = data.nworld, model.nv
    device = data.qpos.device
    self.status = wp.zeros(NWORD, dtype=int, device=device) if status is None else status

    def floats(*shape: int) -> wp.array:
      return wp.zeros(shape, dtype=float, device=device)

    def enabled(name: str) -> bool:
      return not mjm.opt.disableflags & int(mujoco.mjtDisableBit.__members__["mjDSBL_" + name])

    def present(*names: str) -> bool:
      return any(getattr(mjm, name).any() or name in requested for name in names)

    implicit = is_implicit(mjm)
    self.discrete = mjm.opt.integrator == int(mujoco.mjtIntegrator.mjINT_DISCRETE)
    constraint = enabled("CONSTRAINT")
    cg = mjm.opt.solver == int(mujoco.mjtSolver.mjSOL_CG)
    self.elliptic = mjm.opt.cone == int(mujoco.mjtCone.mjCONE_ELLIPTIC)
    self.far_from_root = constraint and (self.elliptic or cg or surrogate is not None)
    self.gravity_enabled = enabled("GRAVITY")
    self.spring_enabled = enabled("SPRING")
    self.joint_springs = self.spring_enabled and present("jnt_stiffness", "jnt_stiffnesspoly")
    self.damper_enabled = enabled("DAMPER")
    self.clamp_ctrl = enabled("CLAMPCTRL")
    self.actuation_enabled = mjm.nactuator > 0 and enabled("ACTUATION")
    self.frictionloss_enabled = constraint and enabled("FRICTIONLOSS")
    self.dof_friction = self.frictionloss_enabled and present("dof_frictionloss")
    self.limit_enabled = constraint and enabled("LIMIT") and tree.limited_jnt.shape[0] > 0
    limited = mjm.jnt_type[mjm.jnt_limited != 0]
    self.ball_limits = bool((limited == int(mujoco.mjtJoint.mjJNT_BALL)).any())
    passive = self.spring_enabled or self.damper_enabled
    gravcomp = bool(mjm.body_gravcomp.any()) or "body_gravcomp" in requested
    self.gravcomp_enabled = passive and self.gravity_enabled and gravcomp
    fluid = bool(mjm.opt.density or mjm.opt.viscosity) or any(name in requested for name in FLUID)
    self.fluid_enabled = passive and fluid
    self.equality_enabled = constraint and enabled("EQUALITY") and mjm.neq > 0
    self.tendon_limit_enabled = constraint and enabled("LIMIT") and bool(mjm.tendon_limited.any())
    self.tendon_armature_enabled = mjm.ntendon > 0 and (
      bool(mjm.tendon_armature.any())
      or bool(mjm.actuator_armature[mjm.actuator_trntype == _TENDON_TRANSMISSION].any())
      or not {"tendon_armature", "actuator_armature"}.isdisjoint(requested)
      or "actuator_armature" in requested
    )
    self.implicit_tendon_damping = implicit and self.damper_enabled and mjm.ntendon > 0
    self.contact_enabled = constraint and enabled("CONTACT") and mjm.ngeom > 0
    self.implicit_actuation = self.actuation_enabled and (
      self.discrete or (implicit and self.damper_enabled)
    )
    self.implicit_fluid = (implicit or self.discrete) and self.fluid_enabled
    self.gyroscopic = bool(tree.tree_gyroscopic.numpy().any())
    self.slope_floor = 0.0 if self.discrete else float(UNBOUNDED)
    if implicit:
      self.implicit = self.damper_enabled or self.implicit_fluid or self.gyroscopic
    else:
      euler = mjm.opt.integrator == int(mujoco.mjtIntegrator.mjINT_EULER)
      self.implicit = euler and self.damper_enabled and enabled("EULERDAMP")

    adhesion = np.isin(mjm.actuator_trntype, list(transmission_body.KINDS)).any()
    self.rows_apart = not (self.far_from_root or self.discrete or adhesion)
    self.beside = Beside(device, enabled=not self.discrete)

    self.qacc = floats(nworld, nv)
    self.lam = floats(nworld, nv)
    self.mu = floats(nworld, nv)
    self.delta = floats(nworld, nv)
    self.matrix = wp.zeros((nworld, nv, nv), dtype=wp.float64, device=device)
    self.rhs = wp.zeros((nworld, nv, 2), dtype=wp.float64, device=device)
    self.solution = wp.zeros((nworld, nv, 2), dtype=wp.float64, device=device)
    self.pivot = wp.zeros((nworld, nv), dtype=int, device=device)
    self.damping_only = self.implicit and not (
      self.implicit_tendon_damping
      or self.implicit_actuation
      or self.implicit_fluid
      or self.gyroscopic
    )
    self.damping = wp.zeros((nworld, nv), dtype=wp.float64, device=device)
    self.metric = wp.zeros(
      (nworld if self.discrete else 0, nv, nv), dtype=wp.float64, device=device
    )
    self.metric_dual = floats(nworld, nv)
    scaled = nworld if self.discrete else 0
    self.row_flags = int(mjm.opt.disableflags) | (int(DISCRETE) if self.discrete else 0)
    self.equality_flags = self.row_flags | (int(REFSAFE) if self.discrete else 0)
    self.inertia_dual = floats(scaled, nv)
    self.row_scales = row_scale.empty(model, scaled, data.njmax)
    self.scale_twist = wp.zeros(
      (data.naconmax if self.discrete else 0, 2), dtype=wp.spatial_vector, device=device
    )
    self.every_tree = wp.ones((1, mjm.ntree), dtype=bool, device=device)
    self.tree_gyroscopic = tree.tree_gyroscopic.reshape((1, mjm.ntree))
    if self.discrete:
      self.tree_gyroscopic = wp.zeros((nworld, mjm.ntree), dtype=bool, device=device)
    self.efc_J = (
      floats(nworld, data.njmax, -(-nv // BLOCK) * BLOCK) if model.is_sparse else data.efc.J
    )
    self.efc_residual = floats(nworld, data.njmax)
    self.efc_weight = floats(nworld, data.njmax)
    self.efc_force = floats(nworld, data.njmax)
    self.integrator_twists = self.implicit or self.discrete
    self.twist = spatial.zeros(nworld, NTWIST, nv + 1, device)
    self.wrench = spatial.zeros(nworld, NWRENCH, model.nbody, device)
    self.subtree_wrench = spatial.zeros(nworld, NWRENCH, model.nbody, device)
    branching = (
      self.implicit_tendon_damping or self.implicit_actuation or self.tendon_armature_enabled
    ) and bool(tree.tendon_crossing.numpy().any())
    self.ten_direction = floats(nworld if self.discrete or branching else 0, model.ntendon, nv)
    split = self.implicit_actuation and bool(tree.actuator_split.numpy().any())
    diagonal = self.implicit_fluid and bool(tree.body_diagonal.numpy().any())
    directed = nworld if self.discrete or branching or split or diagonal else 0
    self.branch_weight = floats(nworld, model.ntendon)
    axes = (directed, model.nbody, nv)
    self.axis_wrench = wp.zeros(axes, dtype=wp.spatial_vector, device=device)
    self.subtree_axis_wrench = wp.zeros_like(self.axis_wrench)
    self.body_velocities = self.gyroscopic or self.implicit_fluid
    slopes = (nworld, model.nbody if self.body_velocities else 0)
    self.slope = wp.zeros(slopes, dtype=wp.spatial_matrix, device=device)
    self.subtree_slope = wp.zeros_like(self.slope)
    products = nworld if self.gyroscopic else 0
    self.product = wp.zeros((products, nv + 1), dtype=wp.spatial_vector, device=device)
    self.product_wrench = wp.zeros((products, model.nbody), dtype=wp.spatial_vector, device=device)
    self.meshes = meshes(model)
    self.height_fields = height_fields(model)
    self.solid_contacts = any(key in SOLID_PAIRS for key in colliding_types(mjm, model))
    self.adj_contact = ContactCotangents.empty(data.naconmax if self.solid_contacts else 0)
    self.ten_rate = floats(nworld, model.ntendon, NRATE)
    self.ten_acc = floats(nworld, model.ntendon)
    self.adj_ten_length = floats(nworld, model.ntendon)
    self.adj_ten_rate = floats(nworld, model.ntendon, NRATE)
    self.actuation = Actuation.empty(mjm, nworld, requested, self.implicit_actuation, device)

    frame_wrenches = frame_poses.empty_wrenches(model, nworld, requested)
    self.inertial_wrench, self.geom_wrench, self.site_wrench = frame_wrenches

    self.adj_qacc = wp.zeros((nworld, nv), dtype=wp.float64, device=device)
    self.adj_qpos = floats(nworld, nv)
    self.adj_qvel = floats(nworld, nv)
    self.adj_act = floats(nworld, model.na)
    self.adj_ctrl = floats(nworld, model.nu)
    self.adj_history = floats(nworld, nhistory)
    self.adj_qfrc_applied = floats(nworld, nv)
    self.adj_mocap_pos = wp.zeros((nworld, model.nmocap), dtype=wp.vec3, device=device)
    self.adj_mocap_quat = wp.zeros((nworld, model.nmocap), dtype=wp.quat, device=device)
    self.given = given(model, buffers)
    self.adj_xfrc_applied = wp.zeros((nworld, model.nbody), dtype=wp.spatial_vector, device=device)
    self.adj = zero_cotangents(model, nworld, requested)
    self.adj_shape = shape_adjoint(model, self.adj, buffers)
    self.actuation.complete(self, mjm)

  def row_adjoint(self, solref: str, solimp: str) -> RowAdjoint:
    """Where the cotangents of these two parameters, and of the time step, are added."""
    adj = RowAdjoint()
    adj.solref, adj.solimp = self.adj[solref], self.adj[solimp]
    adj.timestep = self.adj["opt.timestep"]
    adj.dof_invweight0 = self.adj["dof_invweight0"]
    adj.body_invweight0 = self.adj["body_invweight0"]
    adj.tendon_invweight0 = self.adj["tendon_invweight0"]
    return adj

  @functools.cached_property
  def cotangents(self) -> list[wp.array]:
    """Every accumulated cotangent that has entries."""
    inputs = (
      self.adj_qpos,
      self.adj_qvel,
      self.adj_act,
      self.adj_ctrl,
      self.adj_history,
      self.adj_qfrc_applied,
      self.adj_xfrc_applied,
      self.adj_mocap_pos,
      self.adj_mocap_quat,
    )
    return [array for array in (*inputs, *self.adj.values()) if array.size]

  def zero_cotangents(self) -> None:
    """Clears every accumulated cotangent."""
    for array in self.cotangents:
      array.zero_()
