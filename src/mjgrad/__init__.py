"""mjgrad: exact gradients through the released MuJoCo Warp."""

from importlib import metadata as _metadata

from mjgrad._src.contact.from_distance import ContactsFromDistance as ContactsFromDistance
from mjgrad._src.contact.smooth import SmoothCollision as SmoothCollision
from mjgrad._src.engine.parameters import parameters as parameters
from mjgrad._src.engine.simulator import Simulator as Simulator
from mjgrad._src.errors import CapacityError as CapacityError
from mjgrad._src.errors import InvalidInput as InvalidInput
from mjgrad._src.errors import MjgradError as MjgradError
from mjgrad._src.errors import NonFiniteGradient as NonFiniteGradient
from mjgrad._src.errors import NonFiniteState as NonFiniteState
from mjgrad._src.errors import StepLimit as StepLimit
from mjgrad._src.errors import UnsupportedFeature as UnsupportedFeature
from mjgrad._src.integrators.methods import RK4 as RK4
from mjgrad._src.integrators.methods import Backsolve as Backsolve
from mjgrad._src.integrators.methods import Bosh3 as Bosh3
from mjgrad._src.integrators.methods import Discretise as Discretise
from mjgrad._src.integrators.methods import Dopri5 as Dopri5
from mjgrad._src.integrators.methods import Euler as Euler
from mjgrad._src.integrators.methods import Heun as Heun
from mjgrad._src.integrators.methods import PIDController as PIDController
from mjgrad._src.integrators.methods import Tsit5 as Tsit5

try:
  __version__ = _metadata.version("mjgrad")
except _metadata.PackageNotFoundError:
  __version__ = "unknown"
