"""Why contacts of signed distance fields have no gradient: what a step with them is like.

A geom presses on a signed distance field in random poses, of a mesh or of a plugin. Measured are

- how much the engine's acceleration changes when one coordinate goes to the next float32,
- at how many poses differences of C MuJoCo's acceleration along a direction over 1e-6 m and over
  1e-5 m are not those over 1e-7 m, so that something switches in between,
- how far the derivative, from differences over 1e-8 m, is from the slope of a line through the
  accelerations within 1e-5 m and within 3e-4 m.

Writes docs/descents.json and the table in docs/contacts.md. Run from a clone with the test extra:

    python -m benchmarks.descents
"""

import json
from pathlib import Path

import mujoco
import mujoco_warp as mjw
import numpy as np
import warp as wp
from mujoco_warp.test_data.collision_sdf.utils import register_sdf_plugins

from benchmarks import pages
from mjgrad.bench.command import environment
from tests import oracles
from tests.contact import pairs

STATES = 32
AGREE = 1e-2
NEAR = (1e-6, 1e-5)  # [m]
LINES = (1e-5, 3e-4)  # [m]
DEPTH = (5e-4, 5e-3)  # [m]
RESULTS = Path("docs/descents.json")
PAGE = Path("docs/contacts.md")

KINDS = ("sphere", "capsule", "ellipsoid", "cylinder", "box")
FIELDS = {
  "mesh": ("", '<mesh name="field" builtin="sphere" params="3" scale=".1 .1 .1"/>', ""),
  "plugin": (
    """<extension><plugin plugin="mujoco.sdf.torus"><instance name="torus">
       <config key="radius1" value="0.15"/><config key="radius2" value="0.07"/>
       </instance></plugin></extension>""",
    '<mesh name="field"><plugin instance="torus"/></mesh>',
    '<plugin instance="torus"/>',
  ),
}
"""The field of a sphere's mesh, sampled by the compiler, and that of a torus, a formula."""


def scene(kind: str, field: str) -> mujoco.MjModel:
  """A free geom and a free signed distance field."""
  extension, asset, plugin = FIELDS[field]
  return mujoco.MjModel.from_xml_string(f"""
    <mujoco>
      <option timestep="0.004" cone="elliptic"/>
      {extension}
      <asset>{asset}</asset>
      <worldbody>
        <body><freejoint/><geom {pairs.GEOMS[kind]}/></body>
        <body><freejoint/><geom type="sdf" mesh="field">{plugin}</geom></body>
      </worldbody>
    </mujoco>""")


def rounding(mjm: mujoco.MjModel, poses: np.ndarray) -> np.ndarray:
  """Relative change of the engine's acceleration from one float32 to the next, for every pose."""
  model = mjw.put_model(mjm)
  data = mjw.make_data(mjm, nworld=len(poses), nconmax=64, njmax=256)
  found = []
  for qpos in (poses, poses.copy()):
    if found:
      qpos[:, 9] = np.nextafter(qpos[:, 9], np.float32(1.0))
    data.qpos.assign(qpos)
    data.qvel.zero_()
    data.qacc_warmstart.zero_()
    mjw.forward(model, data)
    found.append(data.qacc.numpy().copy())
  return np.linalg.norm(found[1] - found[0], axis=1) / np.linalg.norm(found[0], axis=1)


def derivative(mjm: mujoco.MjModel, pose: np.ndarray, direction: np.ndarray) -> dict[str, float]:
  """What C MuJoCo's acceleration is like around a pose when the second geom moves."""
  oracle = oracles.Oracle(mjm)

  def at(shift: float) -> np.ndarray:
    qpos = pose.astype(np.float64)
    qpos[7:10] += shift * direction
    return oracle.forward(oracles.point(mjm, qpos=qpos))

  def slope(h: float) -> np.ndarray:
    return (at(h) - at(-h)) / (2 * h)

  def apart(value: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(value - truth) / max(np.linalg.norm(truth), mujoco.mjMINVAL))

  fine = slope(1e-7)
  found = {f"within {h:.0e}": float(apart(slope(h), fine) > AGREE) for h in NEAR}
  for half in LINES:
    line = np.linspace(-half, half, 41)
    fitted = np.polyfit(line, np.array([at(shift) for shift in line]), 1)[0]
    found[f"off over {half:.0e}"] = apart(slope(1e-8), fitted)
  return found


def measure(kind: str, field: str, count: int, seed: int = 0) -> dict:
  """One pair: plain types only."""
  mjm = scene(kind, field)
  rng = np.random.default_rng(seed)
  poses = np.array([pairs.touching(mjm, rng, DEPTH) for _ in range(count)], dtype=np.float32)
  rounded = rounding(mjm, poses)
  directions = rng.normal(size=(count, 3))
  directions /= np.linalg.norm(directions, axis=1, keepdims=True)
  local = [derivative(mjm, *both) for both in zip(poses, directions, strict=True)]
  row = {"rounding": np.median(rounded), "rounding high": np.quantile(rounded, 0.9)}
  row |= {f"within {h:.0e}": np.mean([one[f"within {h:.0e}"] for one in local]) for h in NEAR}
  row |= {
    name: np.median([one[name] for one in local]) for name in (f"off over {h:.0e}" for h in LINES)
  }
  return {"states": count} | {name: float(f"{value:.2g}") for name, value in row.items()}


def page(report: dict) -> str:
  """The table of the page."""
  header = (
    "pair",
    "next float32",
    "switch within 1e-6 m",
    "within 1e-5 m",
    "off the slope over 1e-5 m",
    "over 3e-4 m",
  )
  rows = [
    (
      pair,
      f"{row['rounding']:.0e}, {row['rounding high']:.0e}",
      f"{row['within 1e-06']:.0%}",
      f"{row['within 1e-05']:.0%}",
      f"{row['off over 1e-05']:.2g}",
      f"{row['off over 3e-04']:.2g}",
    )
    for pair, row in report["pairs"].items()
  ]
  return pages.table(header, rows)


def main() -> None:
  """Measures and writes."""
  wp.config.log_level = wp.LOG_WARNING
  register_sdf_plugins(mjw)
  report = {"environment": environment(wp.get_device("cpu")), "pairs": {}}
  for field in FIELDS:
    for kind in KINDS:
      name = f"{kind}, field of a {field}"
      report["pairs"][name] = measure(kind, field, STATES)
      print(name, report["pairs"][name], flush=True)
  RESULTS.write_text(json.dumps(report, indent=1) + "\n")
  pages.replace(PAGE, "descents", page(report))


if __name__ == "__main__":
  main()
