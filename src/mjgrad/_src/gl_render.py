"""Draws a motion with MuJoCo's own renderer; run as a program, in a process of its own.

MuJoCo chooses its OpenGL platform when it is imported, and a broken driver can end the process:
hence the separate process. Usage: gl_render.py MODEL.mjb QPOS.npy OUT.npy WIDTH HEIGHT
"""

import sys

import mujoco
import numpy as np


def main(model: str, motion: str, out: str, width: str, height: str) -> None:
  """Writes images, uint8, shape [T, height, width, 3], of the positions in a file, [T, nq]."""
  mjm = mujoco.MjModel.from_binary_path(model)
  mjd = mujoco.MjData(mjm)
  images = []
  camera = 0 if mjm.ncam else -1
  with mujoco.Renderer(mjm, int(height), int(width)) as renderer:
    for qpos in np.load(motion):
      mjd.qpos[:] = qpos
      mujoco.mj_forward(mjm, mjd)
      renderer.update_scene(mjd, camera=camera)
      images.append(renderer.render())
  np.save(out, np.stack(images))


if __name__ == "__main__":
  main(*sys.argv[1:])
