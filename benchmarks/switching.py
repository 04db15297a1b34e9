"""How often the states of ordinary rollouts are at a switching point.

Boxes that tumble into a heap and a gripper that lifts a mesh, simulated by C MuJoCo and linearised
at every few steps. A state is at a switching point where a switch lies within float32 reach of it,
or where the differences of the step find no derivative. Writes docs/switching.json and the table in
docs/contacts.md. Run from a clone with the test extra:

    python -m benchmarks.switching
    python -m benchmarks.switching --only "gripper holding a mesh" --json part.json
    python -m benchmarks.switching --merge part.json                 # measures nothing
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import mujoco
import numpy as np

from benchmarks import pages
from tests import oracles

EVERY = 5
NEAR = 1e-3
RESULTS = Path("docs/switching.json")
PAGE = Path("docs/contacts.md")

BOXES = """
<mujoco>
  <option timestep="0.004" cone="{cone}"/>
  <worldbody>
    <geom type="plane" size="3 3 1"/>
    {bodies}
  </worldbody>
</mujoco>"""

GRIPPER = """
<mujoco>
  <option timestep="0.002" cone="elliptic" impratio="5"/>
  <asset>
    <mesh name="rock" vertex="0 0 0.03  0.03 0 -0.02  -0.03 0.03 -0.02  -0.03 -0.03 -0.02
                              0.02 0.035 0.01"/>
  </asset>
  <worldbody>
    <geom type="plane" size="1 1 1"/>
    <body name="hand" pos="0 0 0.03">
      <joint name="lift" type="slide" axis="0 0 1" damping="20"/>
      <geom type="box" size="0.09 0.02 0.01" pos="0 0 0.08" mass="0.3" contype="0" conaffinity="0"/>
      <body pos="-0.07 0 0">
        <joint name="left" type="slide" axis="1 0 0" range="0 0.07" limited="true" damping="3"/>
        <geom type="box" size="0.01 0.03 0.03" mass="0.1" friction="1"/>
      </body>
      <body pos="0.07 0 0">
        <joint name="right" type="slide" axis="-1 0 0" range="0 0.07" limited="true" damping="3"/>
        <geom type="box" size="0.01 0.03 0.03" mass="0.1" friction="1"/>
      </body>
    </body>
    <body pos="0 0 0.025">
      <freejoint/>
      <geom type="mesh" mesh="rock" mass="0.05" friction="1"/>
    </body>
  </worldbody>
  <actuator>
    <position joint="lift" kp="200" kv="20"/>
    <position joint="left" kp="60" kv="2"/>
    <position joint="right" kp="60" kv="2"/>
  </actuator>
</mujoco>"""


def tumbling(cone: str) -> tuple[mujoco.MjModel, Callable[[float], np.ndarray], int]:
  """Five boxes of different sizes dropped on top of each other with random spins."""
  rng = np.random.default_rng(0)
  bodies = ""
  for k in range(5):
    size = " ".join(f"{s:.3f}" for s in rng.uniform(0.04, 0.1, size=3))
    euler = " ".join(f"{a:.1f}" for a in rng.uniform(-180, 180, size=3))
    place = " ".join(f"{x:.3f}" for x in (*rng.uniform(-0.08, 0.08, size=2), 0.2 + 0.2 * k))
    bodies += (
      f'<body pos="{place}" euler="{euler}"><freejoint/><geom type="box" size="{size}"/></body>'
    )
  mjm = mujoco.MjModel.from_xml_string(BOXES.format(cone=cone, bodies=bodies))
  return mjm, lambda _: np.zeros(0), 375


def gripper() -> tuple[mujoco.MjModel, Callable[[float], np.ndarray], int]:
  """Closes for half a second, lifts for another, and then shakes the mesh that it holds."""
  mjm = mujoco.MjModel.from_xml_string(GRIPPER)

  def ctrl(time: float) -> np.ndarray:
    lift = 0.1 * np.clip(2 * (time - 0.5), 0.0, 1.0) + 0.02 * max(time - 1.0, 0) * np.sin(30 * time)
    grip = 0.07 * np.clip(2 * time, 0.0, 1.0)
    return np.array([lift, grip, grip])

  return mjm, ctrl, 1000


SCENES = {
  "tumbling boxes, pyramidal cones": lambda: tumbling("pyramidal"),
  "tumbling boxes, elliptic cones": lambda: tumbling("elliptic"),
  "gripper holding a mesh": gripper,
}


def measure(name: str, every: int) -> dict:
  """Counts of one rollout: plain types only."""
  mjm, ctrl, steps = SCENES[name]()
  mjd = mujoco.MjData(mjm)
  oracle = oracles.Oracle(mjm)
  out = {"states": 0, "touching": 0, "reach": 0, "no derivative": 0, "either": 0, "near": 0}
  reasons: Counter[str] = Counter()
  for k in range(steps):
    mjd.ctrl[:] = ctrl(mjd.time)
    if k % every == 0:
      point = oracles.point(mjm, qpos=mjd.qpos, qvel=mjd.qvel, ctrl=mjd.ctrl).float32()
      local = oracles.linearise(oracle, point, ("qpos", "qvel"))
      jumps = any(local.jacobians[channel].switching.any() for channel in ("qpos", "qvel"))
      out["states"] += 1
      out["touching"] += bool(mjd.ncon)
      out["reach"] += local.near_switch
      out["no derivative"] += jumps
      out["either"] += local.near_switch or jumps
      out["near"] += local.branch.distance < NEAR
      if local.near_switch:
        words = [w for w in local.branch.nearest.replace(",", "").split() if not w.isdigit()]
        reasons[" ".join(words)] += 1
    mujoco.mj_step(mjm, mjd)
  return out | {"reasons": dict(reasons.most_common())}


def page(report: dict) -> str:
  """The table of the page."""
  header = (
    "rollout",
    "states",
    "in contact",
    "switch within reach",
    "no derivative",
    "at a switching point",
    f"switch within {NEAR:.0e}",
  )
  lines = []
  for name in SCENES:
    row = report["scenes"].get(name)
    if row:
      shares = [
        f"{100 * row[c] / row['states']:.1f} %"
        for c in ("reach", "no derivative", "either", "near")
      ]
      lines.append((name, row["states"], row["touching"], *shares))
  return pages.table(header, lines)


def main() -> int:
  """Measures and writes."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--every", type=int, default=EVERY, help="steps between two states")
  parser.add_argument("--only", nargs="+", default=SCENES, metavar="SCENE")
  parser.add_argument(
    "--json", type=Path, default=RESULTS, help="the page is written for docs only"
  )
  parser.add_argument("--merge", type=Path, nargs="+", metavar="FILE", help="of earlier runs")
  parser.add_argument("--page", action="store_true", help="only write the table again")
  args = parser.parse_args()
  report = json.loads(args.json.read_text()) if args.json.exists() else {"scenes": {}}
  for path in args.merge or ():
    part = json.loads(path.read_text())
    report = part | {"scenes": report["scenes"] | part["scenes"]}
  for name in () if args.page or args.merge else args.only:
    report |= {"every": args.every, "mujoco": mujoco.__version__}
    report["scenes"][name] = measure(name, args.every)
    print(name, report["scenes"][name], flush=True)
  args.json.write_text(json.dumps(report, indent=1) + "\n")
  if args.json == RESULTS:
    pages.replace(PAGE, "switching", page(report))
  return 0


if __name__ == "__main__":
  raise SystemExit(main())
