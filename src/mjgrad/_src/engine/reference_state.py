"""The states that a model comes with."""

import mujoco
import numpy as np

from mjgrad._src.engine import history
from mjgrad._src.errors import InvalidInput


def reference_state(mjm: mujoco.MjModel, keyframe: int | str | None = None) -> dict:
  """Positions, velocities, activations, time and buffers of past controls of one world.

  Args:
    mjm: the model.
    keyframe: index or name of a keyframe; None takes `qpos0` with zero velocity.

  Raises:
    InvalidInput: the model has no such keyframe.
  """
  state = {"qpos": mjm.qpos0, "qvel": np.zeros(mjm.nv), "act": np.zeros(mjm.na), "time": 0.0}
  if keyframe is not None:
    try:
      key = mjm.key(keyframe)
    except (KeyError, IndexError) as error:
      names = [mjm.key(i).name or str(i) for i in range(mjm.nkey)]
      raise InvalidInput(
        f"the model has no keyframe {keyframe!r}; it has {', '.join(names) or 'none'}."
      ) from error
    state = {"qpos": key.qpos, "qvel": key.qvel, "act": key.act, "time": float(key.time[0])}
  return state | {"history": history.initial(mjm)}
