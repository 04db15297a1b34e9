"""The command line of `mjgrad bench`."""

import argparse
import dataclasses
import importlib.metadata
import json
import platform
import sys
from pathlib import Path

import warp as wp

from mjgrad.bench.cases import DEFAULT
from mjgrad.bench.cases import load
from mjgrad.bench.measure import Measurement
from mjgrad.bench.measure import measure

_HEADER = (
  f"{'case':<10}{'worlds':>8}{'nv':>5}{'rows':>7}{'engine us':>11}{'forward us':>12}"
  f"{'backward us':>13}{'bwd/engine':>12}{'total/engine':>14}{'us/world':>10}"
  f"{'FD us/world':>13}{'C FD us':>9}{'B/step':>8}"
)


def _row(m: Measurement) -> str:
  per_world = (m.forward_us + m.backward_us) / m.nworld
  return (
    f"{m.case:<10}{m.nworld:>8}{m.nv:>5}{m.nefc:>7.1f}{m.mujoco_warp_us:>11.1f}"
    f"{m.forward_us:>12.1f}{m.backward_us:>13.1f}{m.backward_ratio:>12.2f}{m.total_ratio:>14.2f}"
    f"{per_world:>10.2f}{m.differences_us / m.nworld:>13.1f}{m.transition_fd_us:>9.0f}"
    f"{m.bytes_per_step:>8.0f}"
  )


def environment(device: wp.Device) -> dict[str, str]:
  """Hardware and versions that a measurement depends on."""
  packages = ("mjgrad", "mujoco", "mujoco-warp", "warp-lang", "numpy")
  versions = {name: importlib.metadata.version(name) for name in packages if _installed(name)}
  return {
    "device": device.name,
    "machine": platform.machine(),
    "python": platform.python_version(),
  } | versions


def _installed(name: str) -> bool:
  try:
    importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return False
  return True


def main(argv: list[str] | None = None) -> int:
  """Runs `mjgrad bench`.

  Returns:
    Exit code 0.
  """
  parser = argparse.ArgumentParser(prog="mjgrad bench", description=__doc__)
  parser.add_argument("--cases", nargs="+", default=DEFAULT, metavar="CASE")
  parser.add_argument("--worlds", nargs="+", type=int, default=[1, 64], metavar="N")
  parser.add_argument("--device", help="Warp device, for example cuda:0; the default is the GPU")
  parser.add_argument("--repeat", type=int, default=20, help="timed batches of 16 steps")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--json", type=Path, metavar="PATH", help="also write the results here")
  args = parser.parse_args(argv)
  wp.config.log_level = wp.LOG_WARNING  # the names of compiled modules are not part of the table

  loaded = {name: load(name) for name in args.cases}
  device = wp.get_device(args.device) if args.device else wp.get_preferred_device()
  results = []
  print(_HEADER)
  for name, (case, mjm) in loaded.items():
    for nworld in args.worlds:
      result = measure(name, case, mjm, nworld, device, args.repeat, args.seed)
      results.append(result)
      print(_row(result))
      sys.stdout.flush()
  if args.json:
    report = {
      "environment": environment(device),
      "seed": args.seed,
      "repeat": args.repeat,
      "results": [dataclasses.asdict(r) for r in results],
    }
    args.json.write_text(json.dumps(report, indent=2) + "\n")
  return 0
