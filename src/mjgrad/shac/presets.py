"""Settings of SHAC that are known to work, by task."""

from .shac import ShacConfig

PRESETS: dict[str, ShacConfig] = {
  "cartpole": ShacConfig(),
  "ant": ShacConfig(
    epochs=2000,
    gamma=0.99,
    actor_lr=2e-3,
    critic_lr=2e-3,
    actor_units=(128, 64, 32),
  ),
}
"""Settings by task name."""
