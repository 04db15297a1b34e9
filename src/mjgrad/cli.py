"""The `mjgrad` command: one subcommand per function, imported only when it runs.

A function gets the arguments after its name and parses them itself; None or 0 as its result means
success. What a user can cause and mend ends in one message on standard error and exit code 2; an
interrupted command ends in 130; any other exception is a defect and shows its traceback.
"""

import argparse
import importlib
import importlib.metadata
import sys
from collections.abc import Sequence
from typing import NamedTuple

from mjgrad._src.errors import MjgradError

USAGE_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it


class Command(NamedTuple):
  """One subcommand."""

  module: str
  """Module of its implementation."""
  function: str
  """Function in that module; takes the list of arguments."""
  extra: str | None
  """Extra that has to be installed; None: the core is enough."""
  summary: str
  """Its line in the overview."""


COMMANDS = {
  "train": Command(
    "mjgrad._src.train_cli", "train", "train", "learn a policy for a task with SHAC"
  ),
  "play": Command("mjgrad._src.train_cli", "play", "train", "replay a learned policy"),
  "check": Command("mjgrad.cli", "check", None, "compare every gradient of a model with C MuJoCo"),
  "experiment": Command(
    "mjgrad.experiments", "main", "train", "reproduce an experiment on gradients through contacts"
  ),
  "bench": Command(
    "mjgrad.bench", "main", None, "time the forward and the backward step, on CPU and GPU"
  ),
}


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line `argv` (default: the process's) and returns the exit code."""
  arguments = list(sys.argv[1:] if argv is None else argv)
  if arguments and arguments[0] in COMMANDS:
    return _run(arguments[0], arguments[1:])
  parser = _overview()
  parser.parse_args(arguments)
  parser.print_help()
  return 0


def check(arguments: list[str]) -> int:
  """`mjgrad check`: 0 if every gradient channel passed, 1 if one failed, 2 on bad input."""
  parser = argparse.ArgumentParser(
    prog="mjgrad check",
    description="Compare every gradient of a model with float64 differences of C MuJoCo.",
  )
  parser.add_argument("model", metavar="MODEL", help="MJCF, URDF or MJB file")
  parser.add_argument(
    "--json",
    nargs="?",
    const="-",
    metavar="PATH",
    help="write the result as JSON to PATH too; without PATH, print JSON instead of the table",
  )
  parser.add_argument(
    "--states", type=_positive, default=32, metavar="N", help="number of states (%(default)s)"
  )
  parser.add_argument(
    "--seed", type=int, default=0, metavar="S", help="of states and cotangents (%(default)s)"
  )
  parser.add_argument(
    "--param",
    action="append",
    metavar="NAME",
    help="check this parameter, for example body_mass; may be repeated (all that have a gradient)",
  )
  parser.add_argument(
    "--device", metavar="D", help="cpu or cuda:0, for example (a GPU if there is one)"
  )
  options = parser.parse_args(arguments)

  from mjgrad._src.check import command

  return command.main(
    options.model,
    json_path=options.json,
    nstates=options.states,
    seed=options.seed,
    params=options.param,
    device=options.device,
  )


def _positive(text: str) -> int:
  number = int(text)
  if number < 1:
    raise argparse.ArgumentTypeError(f"expected a positive number, got {number}")
  return number


def _run(name: str, arguments: list[str]) -> int:
  command = COMMANDS[name]
  try:
    function = getattr(importlib.import_module(command.module), command.function)
    return function(arguments) or 0
  except MjgradError as error:
    return _fail(name, str(error), USAGE_ERROR)
  except ModuleNotFoundError as error:
    package = (error.name or "").split(".")[0]
    if command.extra is None or package in ("", "mjgrad"):
      raise
    message = (
      f"needs the package {package}; install what this command needs, in a clone of mjgrad, "
      f"with: pip install -c constraints.txt -e '.[{command.extra}]'"
    )
    return _fail(name, message, USAGE_ERROR)
  except KeyboardInterrupt:
    return _fail(name, "interrupted", INTERRUPTED)


def _fail(name: str, message: str, code: int) -> int:
  print(f"mjgrad {name}: {message}", file=sys.stderr)
  return code


def _overview() -> argparse.ArgumentParser:
  """The parser for everything that is no subcommand: help, version and mistakes."""
  width = max(map(len, COMMANDS))
  commands = "\n".join(f"  {name:{width}}  {c.summary}" for name, c in COMMANDS.items())
  parser = argparse.ArgumentParser(
    prog="mjgrad",
    description="Differentiable MuJoCo, on the unmodified MuJoCo Warp.",
    epilog=f"commands:\n{commands}\n\n'mjgrad COMMAND --help' lists the options of a command.",
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("--version", action="version", version=_versions())
  parser.add_argument(
    "command",
    nargs="?",
    choices=tuple(COMMANDS),
    metavar="COMMAND",
    help="one of the commands below",
  )
  return parser


def _versions() -> str:
  """The versions that a bug report needs, on one line."""
  engine = ("mujoco", "mujoco-warp", "warp-lang")
  versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in engine)
  return f"mjgrad {importlib.metadata.version('mjgrad')} ({versions})"
