"""Drawing without OpenGL, and GIF files."""

import mujoco
import numpy as np
import pytest
from PIL import Image

from mjgrad import viewer
from mjgrad._src.drawing import Artist
from mjgrad._src.errors import InvalidInput
from mjgrad.envs import make_task

SHAPES = {
  "sphere": 'type="sphere" size="0.4"',
  "capsule": 'type="capsule" size="0.2 0.3"',
  "box": 'type="box" size="0.3 0.4 0.2"',
  "cylinder": 'type="cylinder" size="0.3 0.3"',
  "ellipsoid": 'type="ellipsoid" size="0.4 0.2 0.3"',
  "mesh": 'type="mesh" mesh="tetrahedron"',
}


def model(geom):
  return mujoco.MjModel.from_xml_string(f"""
    <mujoco>
      <asset>
        <mesh name="tetrahedron" vertex="0 0 0.4  0.5 0 -0.3  -0.3 0.4 -0.3  -0.3 -0.4 -0.3"/>
      </asset>
      <worldbody>
        <camera pos="0 -3 0" xyaxes="1 0 0 0 0 1" fovy="45"/>
        <body><freejoint/><geom {geom} rgba="1 0 0 1"/></body>
      </worldbody>
    </mujoco>""")


def red(image):
  return (image[..., 0] > 100) & (image[..., 1] < 60)


@pytest.mark.parametrize("shape", SHAPES)
def test_shape_appears_where_the_camera_sees_it(shape):
  mjm = model(SHAPES[shape])
  artist = Artist(mjm, (160, 120))
  middle = red(artist.draw(mjm.qpos0))
  assert 200 < middle.sum() < 4000
  rows, columns = np.nonzero(middle)
  assert abs(columns.mean() - 80) < 12 and abs(rows.mean() - 60) < 12
  right = mjm.qpos0 + np.array([0.5, 0, 0.3, 0, 0, 0, 0])  # to the right and up
  moved_rows, moved_columns = np.nonzero(red(artist.draw(right)))
  # focal length 120 / (2 tan 22.5 deg) = 145 pixels; what is seen is 2.5 m to 3.1 m away
  assert 0.5 * 145 / 3.1 < moved_columns.mean() - columns.mean() < 0.5 * 145 / 2.5
  assert 0.3 * 145 / 3.1 < rows.mean() - moved_rows.mean() < 0.3 * 145 / 2.5


def test_sphere_has_the_right_size():
  mjm = model(SHAPES["sphere"])
  area = red(Artist(mjm, (320, 240)).draw(mjm.qpos0)).sum()
  radius = 290 * np.tan(np.arcsin(0.4 / 3.0))
  assert area == pytest.approx(np.pi * radius**2, rel=0.03)


@pytest.mark.parametrize("task", ["cartpole", "ant"])
def test_gif_without_opengl(task, tmp_path, monkeypatch):
  monkeypatch.setattr(viewer, "_gl_platforms", list)
  mjm = make_task(task).load_model()
  qpos = np.repeat(mjm.qpos0[None], 13, axis=0)
  qpos[:, 0] += np.linspace(0.0, 0.5, 13)
  path = tmp_path / "motion.gif"
  assert viewer.save_gif(mjm, qpos, 1 / 60, path).startswith("software")
  with Image.open(path) as gif:
    assert gif.n_frames == 5  # every third of 13
    assert gif.info["duration"] == 50
    assert gif.size == (480, 320)
  assert [p.name for p in tmp_path.iterdir()] == ["motion.gif"]


def test_broken_opengl_falls_back(monkeypatch):
  monkeypatch.setattr(viewer, "_gl_platforms", lambda: ["no such platform"])
  mjm = make_task("cartpole").load_model()
  images, name = viewer.render(mjm, mjm.qpos0[None], (64, 48))
  assert images.shape == (1, 48, 64, 3) and name.startswith("software")


def test_viewer_without_display_says_so(monkeypatch):
  monkeypatch.setattr("sys.platform", "linux")
  for name in ("DISPLAY", "WAYLAND_DISPLAY"):
    monkeypatch.delenv(name, raising=False)
  with pytest.raises(InvalidInput, match="needs a display"):
    viewer.watch(make_task("cartpole").load_model(), np.zeros((1, 2)), 0.1)
