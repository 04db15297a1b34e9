"""`mjgrad bench`: what a step and its gradient cost, beside `mujoco_warp.step` alone."""

from mjgrad.bench.command import main as main
