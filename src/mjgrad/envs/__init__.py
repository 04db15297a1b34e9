"""Tasks for policy learning, one per file."""

from mjgrad._src.errors import InvalidInput

from .ant import Ant as Ant
from .base import Env as Env
from .base import MujocoPhysics as MujocoPhysics
from .base import Physics as Physics
from .base import Task as Task
from .cartpole import CartPole as CartPole

TASKS: dict[str, type[Task]] = {task.name: task for task in (Ant, CartPole)}
"""Task classes by name."""


def make_task(name: str) -> Task:
  """Returns the task of that name, or raises InvalidInput listing the tasks there are."""
  if name not in TASKS:
    raise InvalidInput(f"unknown task {name!r}; the tasks are: {', '.join(sorted(TASKS))}")
  return TASKS[name]()
