"""Which actuators lend damping and armature to a joint or a tendon.

MuJoCo's compiler notes in `jnt_actuatorid` and `tendon_actuatorid` which of the actuators of a
joint or tendon lend it damping or armature: -1 for none, the actuator, or -2 for several. One whose
values are zero in the model is not among them, and later values of it are ignored. Where these
values are parameters, every actuator of a joint or tendon is taken for a lender.

Source: MuJoCo documentation, XML reference, "actuator/general" (damping, armature).
"""

import mujoco
import numpy as np

PARAMETERS = frozenset(("actuator_damping", "actuator_dampingpoly", "actuator_armature"))
"""What actuators lend."""

_JOINT = (int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT))
_TENDON = (int(mujoco.mjtTrn.mjTRN_TENDON),)


def all_lenders(
  trntype: np.ndarray, target: np.ndarray, njnt: int, ntendon: int
) -> tuple[np.ndarray, np.ndarray]:
  """`jnt_actuatorid` and `tendon_actuatorid` with every actuator as a lender.

  Args:
    trntype: types of the transmissions, shape [nactuator].
    target: joints or tendons that they act on, shape [nactuator].
    njnt: number of joints.
    ntendon: number of tendons.
  """

  def lenders(types: tuple[int, ...], count: int) -> np.ndarray:
    ids = np.full(count, -1, dtype=np.int32)
    for actid in np.flatnonzero(np.isin(trntype, types)):
      taken = ids[target[actid]] != -1
      ids[target[actid]] = -2 if taken else actid
    return ids

  return lenders(_JOINT, njnt), lenders(_TENDON, ntendon)
