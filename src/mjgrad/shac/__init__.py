"""SHAC, policy learning through differentiable simulation."""

from .presets import PRESETS as PRESETS
from .returns import td_lambda_returns as td_lambda_returns
from .shac import DivergedError as DivergedError
from .shac import Shac as Shac
from .shac import ShacConfig as ShacConfig
