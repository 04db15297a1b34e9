"""Every error that mjgrad raises on purpose, in one place.

A message says what was wrong, what was expected and the remedy, and names the model element and
the world it belongs to.
"""


class MjgradError(Exception):
  """Base class of all errors that mjgrad raises on purpose."""


class InvalidInput(MjgradError, ValueError):
  """An argument has the wrong shape, type, name or value."""


class UnsupportedFeature(MjgradError, NotImplementedError):
  """The model uses something that has no gradient; the message lists every element by name."""


class CapacityError(MjgradError, RuntimeError):
  """More contacts or constraint rows than the simulator has room for, or more steps than fit.

  The step that overflowed was truncated by the engine, so its result must not be used. Where the
  records of a backward pass do not fit into memory, nothing was computed; the message says how many
  steps, checkpoints or worlds would.

  Attributes:
    room: the option of `Simulator` that is too small, and a value that would do.
  """

  def __init__(self, message: str, room: dict[str, int] | None = None):
    super().__init__(message)
    self.room = room or {}


class NonFiniteState(MjgradError, FloatingPointError):
  """A state or a gradient is infinite or not a number; the message names the entry."""


class NonFiniteGradient(NonFiniteState):
  """The gradient of a contact is infinite or not a number; the message names the geom.

  Attributes:
    world: the world of the contact.
  """

  def __init__(self, message: str, world: int):
    super().__init__(message)
    self.world = world


class StepLimit(MjgradError, RuntimeError):
  """An integrator used up its budget of steps before the end of a call.

  The message names the world, the time it came to and the size of its last step.
  """
