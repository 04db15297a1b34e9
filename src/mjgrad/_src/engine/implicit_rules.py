"""Where the implicit integrators of the engine have no exact gradient.

Under `implicit` and `implicitfast` A = M - h D takes the derivatives D of forces in the velocity.
What the engine takes of them is not always a derivative of something, nor what C MuJoCo takes:

- it stores D in the pattern of its inertia matrix, which has no entry for the dofs of a "simple"
  body, whose inertia matrix is diagonal. Under `implicit` C MuJoCo keeps them (pairs of dofs on
  different branches, and under `implicitfast` these as well, neither keeps);
- what adhesion contributes through the normals of contacts is not differentiated;
- lone free bodies (one free joint and nothing that moves on it) are integrated by themselves, with
  none of what tendons and actuators contribute; C MuJoCo keeps them;
- `implicit` mirrors the lower triangle of what an ellipsoid in a fluid contributes, which is not
  symmetric; C MuJoCo keeps both triangles;
- fluids contribute even where no passive force acts.

Each function returns masks over elements by the reason for refusing them.
"""

import mujoco
import numpy as np

from mjgrad._src.tree.indices import actuator_dofs
from mjgrad._src.tree.indices import diagonal_bodies
from mjgrad._src.tree.indices import inertia_pattern
from mjgrad._src.tree.indices import lone_free_trees
from mjgrad._src.tree.indices import tendon_dofs

IMPLICIT = int(mujoco.mjtIntegrator.mjINT_IMPLICIT)
IMPLICITFAST = int(mujoco.mjtIntegrator.mjINT_IMPLICITFAST)

ADHESION = "of adhesion"
SIMPLE = "between dofs whose block of the inertia matrix is diagonal"
LONE = "on a lone free body"

Rules = dict[str, np.ndarray]


def is_implicit(mjm: mujoco.MjModel) -> bool:
  """Whether the model is integrated by `implicit` or `implicitfast`."""
  return mjm.opt.integrator in (IMPLICIT, IMPLICITFAST)


def _lone_dofs(mjm: mujoco.MjModel) -> np.ndarray:
  return lone_free_trees(mjm)[mjm.dof_treeid]


def _misses(pattern: np.ndarray, dofs: np.ndarray) -> bool:
  return not pattern[np.ix_(dofs, dofs)].all()


def tendon_rules(mjm: mujoco.MjModel) -> Rules:
  """Tendons through which no force may depend on the velocity, by reason."""
  pattern, lone = inertia_pattern(mjm), _lone_dofs(mjm)
  found = {reason: np.zeros(mjm.ntendon, dtype=bool) for reason in (SIMPLE, LONE)}
  for t in range(mjm.ntendon):
    dofs = tendon_dofs(mjm, t)
    simple = dofs[mjm.dof_simplenum[dofs] > 0]
    found[SIMPLE][t] = mjm.opt.integrator == IMPLICIT and _misses(pattern, simple)
    found[LONE][t] = lone[dofs].any()
  return found


def actuator_rules(mjm: mujoco.MjModel) -> Rules:
  """Actuators whose force may not depend on the velocity, by reason."""
  pattern, lone = inertia_pattern(mjm), _lone_dofs(mjm)
  found = {reason: np.zeros(mjm.nactuator, dtype=bool) for reason in (SIMPLE, LONE)}
  for i in range(mjm.nactuator):
    dofs = actuator_dofs(mjm, i)
    simple = dofs[mjm.dof_simplenum[dofs] > 0]
    found[SIMPLE][i] = mjm.opt.integrator == IMPLICIT and _misses(pattern, simple)
    found[LONE][i] = lone[dofs].any()
  found[ADHESION] = mjm.actuator_trntype == mujoco.mjtTrn.mjTRN_BODY
  return found


def fluid_rules(mjm: mujoco.MjModel) -> Rules:
  """Bodies that may not move in a fluid, by reason."""
  lone = lone_free_trees(mjm)
  moving = (mjm.body_treeid >= 0) & (mjm.body_mass >= mujoco.mjMINVAL)
  chained = moving & ~np.append(lone, True)[mjm.body_treeid]
  found = {}
  if mjm.opt.integrator == IMPLICIT:
    found[f"a force of the fluid {SIMPLE}"] = diagonal_bodies(mjm)
    ellipsoid = np.zeros(mjm.nbody, dtype=bool)
    ellipsoid[mjm.geom_bodyid[mjm.geom_fluid.reshape(mjm.ngeom, mujoco.mjNFLUID)[:, 0] > 0]] = True
    reason = "an ellipsoid in a fluid, of which the engine's implicit keeps one triangle"
    found[reason] = chained & ellipsoid
  disable = mujoco.mjtDisableBit
  passive = int(disable.mjDSBL_SPRING | disable.mjDSBL_DAMPER)
  everything = passive | int(disable.mjDSBL_ACTUATION)
  off = mjm.opt.disableflags & passive == passive
  explicit = mjm.opt.integrator == IMPLICITFAST and mjm.opt.disableflags & everything == everything
  if off and not explicit:
    found["a fluid without passive forces, which the engine still takes into A"] = moving
  return found
