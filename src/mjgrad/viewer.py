"""Pictures of a motion: a GIF without a display, or MuJoCo's interactive viewer."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mujoco
import numpy as np

from mjgrad._src.errors import InvalidInput

GIF_FPS = 20
"""Pictures per second of a GIF; a multiple of 10 ms each, which is what the format can express."""
GL_TIMEOUT = 300.0
"""Seconds after which a renderer that does not answer is given up."""


def render(
  mjm: mujoco.MjModel, qpos: np.ndarray, size: tuple[int, int] = (480, 320)
) -> tuple[np.ndarray, str]:
  """Draws a motion through the model's first camera, without a display.

  MuJoCo's renderer is tried on every OpenGL platform that works without a display; where there is
  none, the scene is drawn in software.

  Args:
    mjm: the model.
    qpos: positions, shape [T, nq].
    size: width and height in pixels.

  Returns:
    images, uint8, shape [T, height, width, 3], and the name of what drew them.
  """
  for platform in _gl_platforms():
    images = _render_gl(mjm, qpos, size, platform)
    if images is not None:
      return images, f"MuJoCo's renderer ({platform or 'default'})"
  from mjgrad._src.drawing import Artist

  artist = Artist(mjm, size)
  return np.stack([artist.draw(q) for q in qpos]), "software, since OpenGL is not available"


def save_gif(
  mjm: mujoco.MjModel, qpos: np.ndarray, dt: float, path: Path, size: tuple[int, int] = (480, 320)
) -> str:
  """Writes a motion as a GIF in real time; returns the name of what drew it.

  Args:
    mjm: the model.
    qpos: positions at equal intervals, shape [T, nq].
    dt: the interval [s].
    path: the file.
    size: width and height in pixels.
  """
  from PIL import Image

  from mjgrad.run_log import atomic_write

  every = max(round(1.0 / (GIF_FPS * dt)), 1)
  images, renderer = render(mjm, qpos[::every], size)
  palette = Image.fromarray(np.concatenate(images[:: max(len(images) // 4, 1)][:4])).quantize(256)
  frames = [Image.fromarray(image).quantize(palette=palette) for image in images]
  temporary = path.with_name(f".{path.name}.tmp.gif")
  frames[0].save(
    temporary,
    save_all=True,
    append_images=frames[1:],
    duration=max(round(100 * dt * every), 2) * 10,
    loop=0,
  )
  atomic_write(path, temporary.read_bytes())
  temporary.unlink()
  return renderer


def watch(mjm: mujoco.MjModel, qpos: np.ndarray, dt: float) -> None:
  """Plays a motion, shape [T, nq] at intervals dt [s], in MuJoCo's viewer until it is closed."""
  if sys.platform.startswith("linux") and not (
    os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
  ):
    raise InvalidInput("the viewer needs a display and there is none; leave out --viewer for a GIF")
  import mujoco.viewer

  mjd = mujoco.MjData(mjm)
  with mujoco.viewer.launch_passive(mjm, mjd) as viewer:
    while viewer.is_running():
      for q in qpos:
        began = time.perf_counter()
        if not viewer.is_running():
          break
        mjd.qpos[:] = q
        mujoco.mj_forward(mjm, mjd)
        viewer.sync()
        time.sleep(max(dt - (time.perf_counter() - began), 0.0))


def _gl_platforms() -> list[str]:
  """Values of MUJOCO_GL to try: the user's own first."""
  own = os.environ.get("MUJOCO_GL", "")
  platforms = ["egl", "osmesa"] if sys.platform.startswith("linux") else [""]
  return list(dict.fromkeys([own, *platforms] if own else platforms))


def _render_gl(
  mjm: mujoco.MjModel, qpos: np.ndarray, size: tuple[int, int], platform: str
) -> np.ndarray | None:
  """Images drawn by MuJoCo on an OpenGL platform; None if that platform does not work here."""
  program = Path(__file__).parent / "_src" / "gl_render.py"
  with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    mujoco.mj_saveModel(mjm, str(folder / "model.mjb"))
    np.save(folder / "qpos.npy", qpos)
    files = [str(folder / file) for file in ("model.mjb", "qpos.npy", "images.npy")]
    try:
      done = subprocess.run(
        [sys.executable, "-P", str(program), *files, str(size[0]), str(size[1])],
        env={**os.environ, "MUJOCO_GL": platform, "PYOPENGL_PLATFORM": platform},
        capture_output=True,
        timeout=GL_TIMEOUT,
      )
    except (OSError, subprocess.TimeoutExpired):
      return None
    if done.returncode != 0 or not (folder / "images.npy").exists():
      return None
    return np.load(folder / "images.npy")
