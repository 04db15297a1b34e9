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
  """More contacts or constraint rows than the simulator has room for.

  The step that overflowed was truncated by the engine, so its result must not be used.
  """


class NonFiniteState(MjgradError, FloatingPointError):
  """A state or a contact's gradient is infinite or not a number; the message names the entry."""


class StepLimit(MjgradError, RuntimeError):
  """An integrator used up its budget of steps before the end of a call.

  The message names the world, the time it came to and the size of its last step.
  """
