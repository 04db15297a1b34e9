"""Settings for every test: Warp without its banner, a fixed device, quiet MuJoCo."""

import pytest
import warp as wp

wp.config.log_level = wp.LOG_WARNING


@pytest.fixture(scope="session")
def device() -> str:
  """The device that tests without the `gpu` marker run on."""
  return "cpu"
