"""The `mjgrad` command: dispatch, exit codes and messages, with stand-ins for the subcommands."""

import importlib.metadata
import subprocess
import sys
import types

import pytest

from mjgrad import cli
from mjgrad._src.errors import InvalidInput


@pytest.fixture
def subcommand(monkeypatch):
  """Puts a function in the place of a subcommand's implementation."""

  def replace(name, function):
    module = types.ModuleType("stand_in")
    module.run = function
    monkeypatch.setitem(sys.modules, "stand_in", module)
    monkeypatch.setitem(
      cli.COMMANDS, name, cli.COMMANDS[name]._replace(module="stand_in", function="run")
    )

  return replace


def raiser(error):
  def raise_it(_):
    raise error

  return raise_it


@pytest.mark.parametrize("argv", [[], ["--help"]])
def test_overview_lists_every_command(argv, capsys):
  try:
    assert cli.main(argv) == 0
  except SystemExit as exit_:
    assert exit_.code == 0
  shown = capsys.readouterr().out
  for name, command in cli.COMMANDS.items():
    assert name in shown
    assert command.summary in shown


def test_version_names_the_engine(capsys):
  with pytest.raises(SystemExit) as exit_info:
    cli.main(["--version"])
  assert exit_info.value.code == 0
  shown = capsys.readouterr().out
  for name in ("mjgrad", "mujoco", "mujoco-warp", "warp-lang"):
    assert f"{name} {importlib.metadata.version(name)}" in shown


def test_unknown_command_exits_with_two_and_names_the_choices(capsys):
  with pytest.raises(SystemExit) as exit_info:
    cli.main(["trian"])
  assert exit_info.value.code == 2
  shown = capsys.readouterr().err
  assert "trian" in shown
  assert "train" in shown


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (1, 1)])
def test_a_command_gets_its_own_arguments_and_gives_the_exit_code(subcommand, result, code):
  seen = []

  def run(argv):
    seen.append(argv)
    return result

  subcommand("check", run)
  assert cli.main(["check", "ant.xml", "--help", "--states", "3"]) == code
  assert seen == [["ant.xml", "--help", "--states", "3"]]


def test_an_error_of_the_user_is_one_message_and_exit_code_two(subcommand, capsys):
  subcommand("check", raiser(InvalidInput("no such file: ant.xml")))
  assert cli.main(["check", "ant.xml"]) == 2
  assert capsys.readouterr().err == "mjgrad check: no such file: ant.xml\n"


def test_a_missing_extra_is_named(subcommand, capsys):
  subcommand("train", raiser(ModuleNotFoundError("no module", name="torch.utils")))
  assert cli.main(["train", "cartpole"]) == 2
  message = capsys.readouterr().err
  assert "needs the package torch;" in message
  assert "pip install -c constraints.txt -e '.[train]'" in message


def test_a_missing_module_of_mjgrad_is_a_defect(subcommand):
  subcommand("train", raiser(ModuleNotFoundError("no module", name="mjgrad._src.gone")))
  with pytest.raises(ModuleNotFoundError):
    cli.main(["train", "cartpole"])


def test_an_interrupt_ends_quietly(subcommand, capsys):
  subcommand("train", raiser(KeyboardInterrupt()))
  assert cli.main(["train", "cartpole"]) == 130
  assert capsys.readouterr().err == "mjgrad train: interrupted\n"


def test_the_module_runs_as_a_program():
  run = subprocess.run(
    [sys.executable, "-m", "mjgrad", "--version"], capture_output=True, text=True, check=False
  )
  assert run.returncode == 0, run.stderr
  assert run.stdout.startswith("mjgrad ")


def test_the_overview_imports_no_optional_package():
  code = (
    "import sys, mjgrad.cli; mjgrad.cli.main([]);"
    "assert not {'torch', 'jax', 'matplotlib', 'tyro'} & set(sys.modules)"
  )
  run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
  assert run.returncode == 0, run.stderr


def test_check_hands_its_options_on(monkeypatch):
  seen = {}
  module = types.ModuleType("mjgrad._src.check.command")
  module.main = lambda model, **options: seen.update(options, model=model) or 1
  monkeypatch.setitem(sys.modules, module.__name__, module)
  monkeypatch.setattr("mjgrad._src.check.command", module, raising=False)
  options = "ant.xml --json out.json --states 3 --seed 7 --param body_mass --param geom_size"
  assert cli.main(["check", *options.split(), "--device", "cpu"]) == 1
  assert seen == {
    "model": "ant.xml",
    "json_path": "out.json",
    "nstates": 3,
    "seed": 7,
    "params": ["body_mass", "geom_size"],
    "device": "cpu",
  }


def test_check_refuses_a_count_that_is_not_positive(capsys):
  with pytest.raises(SystemExit) as exit_info:
    cli.main(["check", "ant.xml", "--states", "0"])
  assert exit_info.value.code == 2
  assert "positive" in capsys.readouterr().err
