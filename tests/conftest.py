"""Settings for every test: Warp without its banner, a fixed device, quiet MuJoCo."""

import pytest
import warp as wp

wp.config.quiet = True


@pytest.fixture(scope="session")
def device() -> str:
  """The device that tests without the `gpu` marker run on."""
  return "cpu"
