"""The backward pass of one step, on one page.

    dynamics              r(a; q, v, w, u, p) = 0,  A a_d = M a
    semi-implicit step    v' = v + h a_d,  q' = q exp(h v')       integrators/semi_implicit.py
    step of stages        (q, v, w) + h sum_j b_j (kappa_j, alpha_j, wdot_j)
                                                                  integrators/runge_kutta.py
    delayed controls      u^eff = w . b,  b' = S b + P u          adjoint/delay.py

`dynamics_vjp` pulls abar, the cotangent of the acceleration, back through the dynamics,

    integrator            A^T mu = -abar                          adjoint/multiplier.py
    constraints           H lam = M mu,  a -= H^-1 r(a)           adjoint/multiplier.py
    residual              (qbar, vbar, ubar, pbar) += grad phi + grad psi
                          phi = lam . r,  psi = mu . (A a_d - M a),  lam, mu, a, a_d held constant

once for a semi-implicit step and once for each stage of an explicit Runge-Kutta method. phi and psi
are sums of local terms of body twists and joint coordinates (terms/); what they leave on the
bodies, one sweep of the tree turns into generalised gradients (tree/sweep.py), and those of the
model's poses (tree/body_poses.py, tree/frame_poses.py). Nothing else is differentiated: not the
solver, not the kinematic recursion, not the collision search.

Source: DESIGN section 2; docs/derivation.md.
"""

from mjgrad._src.adjoint import multiplier
from mjgrad._src.adjoint import tape
from mjgrad._src.engine import adapter
from mjgrad._src.integrators import semi_implicit
from mjgrad._src.terms import actuator
from mjgrad._src.terms import actuator_passive
from mjgrad._src.terms import actuator_state
from mjgrad._src.terms import applied
from mjgrad._src.terms import body_equality
from mjgrad._src.terms import contact
from mjgrad._src.terms import contact_direction
from mjgrad._src.terms import contact_material
from mjgrad._src.terms import contact_solid
from mjgrad._src.terms import dof
from mjgrad._src.terms import fluid
from mjgrad._src.terms import fluid_slope
from mjgrad._src.terms import gravcomp
from mjgrad._src.terms import gyroscopic
from mjgrad._src.terms import inertia
from mjgrad._src.terms import inertial_parameters
from mjgrad._src.terms import joint_equality
from mjgrad._src.terms import joint_spring
from mjgrad._src.terms import limit
from mjgrad._src.terms import row_scale
from mjgrad._src.terms import tendon
from mjgrad._src.terms import tendon_armature
from mjgrad._src.terms import tendon_direction
from mjgrad._src.terms import tendon_path
from mjgrad._src.terms import tendon_rates
from mjgrad._src.terms import tendon_rows
from mjgrad._src.tree import axes
from mjgrad._src.tree import body_poses
from mjgrad._src.tree import frame_poses
from mjgrad._src.tree import sweep
from mjgrad._src.tree import twists

JOINT_TERMS = (dof, joint_spring, limit, joint_equality)
"""Terms of joint coordinates alone, which wait for no twist."""

INERTIA_TERMS = (inertia, gyroscopic, inertial_parameters)
"""Terms of the bodies' inertia; the first one starts the wrenches that others add to."""

ACTUATOR_TERMS = (actuator,)
"""Actuators, which wait for no contact."""

BODY_TERMS = (
  applied,
  gravcomp,
  fluid,
  fluid_slope,
  body_equality,
  row_scale,
  contact_direction,
  contact,
  contact_solid,
  contact_material,
)
"""Terms of bodies and pairs of bodies, the directions of contacts before what reads them."""

TENDON_TERMS = (
  tendon,
  tendon_rows,
  tendon_armature,
  tendon_direction,
  actuator_passive,
  tendon_path,
)
"""Terms of tendons, their paths last because they carry what other terms leave on tendons."""

TERMS = (*JOINT_TERMS, *INERTIA_TERMS, *ACTUATOR_TERMS, *BODY_TERMS, *TENDON_TERMS)
"""Every local term of the residual."""


def step_vjp(work) -> None:
  """Pulls the cotangents in `work` back through the step before `work.tape.step`."""
  tape.load_previous(work)
  if work.delay:
    work.delay.enter(work)
  if work.stages is None:
    with work.beside:
      semi_implicit.vjp(work)
    dynamics_vjp(work)
    semi_implicit.timestep_vjp(work)
  else:
    stages_vjp(work)
  if work.delay:
    work.delay.leave(work)


def stages_vjp(work) -> None:
  """The adjoint of an explicit Runge-Kutta step: of its result, then of its stages, last first."""
  stages, adj = work.stages, work.adj_stages
  for stage in range(stages.nstage):
    stages.enter(stage)
  adj.begin()
  adj.leave(work, stages.nstage)
  for stage in reversed(range(stages.nstage)):
    stages.enter(stage)
    tape.load_stage(work, stage)
    adj.enter(work, stage)
    dynamics_vjp(work)
    adj.advance_vjp(work, stage)
    adj.leave(work, stage)
  adj.finish(work)


def dynamics_vjp(work) -> None:
  """The adjoint of the dynamics at the state in `work.data`.

  `work.adj_qacc` is the cotangent of the acceleration, in the precision of the systems that it goes
  into; `work.adj_act` is that of the activation a step later, which is replaced by that of the
  activation; the others are added to.
  """
  linearize(work)
  multiplier.dynamics_multiplier(work)

  row_scale.evaluate(work)
  with work.beside:
    pull_back(JOINT_TERMS, work)
  twists.launch(work)
  tendon_rates.launch(work)
  axes.start(work)
  frame_poses.start(work)
  pull_back(INERTIA_TERMS, work)
  work.beside.join()
  with work.beside:
    pull_back(ACTUATOR_TERMS, work)
  pull_back(BODY_TERMS, work)
  work.beside.join()
  pull_back(TENDON_TERMS, work)
  sweep.launch(work)
  body_poses.launch(work)
  frame_poses.launch(work)


def linearize(work) -> None:
  """Computes what the terms and the multiplier of the dynamics read, at the state in `work.data`.

  Where a is the solver's and nothing else waits for the rows, they are built beside the rest.
  """
  m, d = work.model, work.data
  if work.rows_apart:
    adapter.collide(m, d, work.body_velocities, work.beside)
    with work.beside:
      without_rows(work)
    adapter.constrain(m, d)
    return
  if work.surrogate:
    work.surrogate.evaluate(work)
  else:
    adapter.linearization_point(m, d, work.body_velocities, work.beside)
  if work.far_from_root:
    multiplier.dynamics_multiplier(work)
  without_rows(work)


def without_rows(work) -> None:
  """Tendon rates, actuator forces and the multiplier of the integrator."""
  tendon_rates.evaluate(work)
  actuator_state.evaluate(work)
  multiplier.integrator_multiplier(work)


def pull_back(terms, work) -> None:
  """Adds the gradients of some terms."""
  for term in terms:
    term.vjp(work)
