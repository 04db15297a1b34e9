"""The kernel-signature check: one accepted module, one broken copy of it per rule."""

from pathlib import Path

import pytest

from tools.check_kernels import check_source
from tools.check_kernels import main

ROOT = Path(__file__).parents[2]

GOOD = '''"""A joint spring."""
import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.kernel
def _spring_vjp(
  # Model:
  jnt_stiffness: wp.array2d[float],  # [N m/rad], not a group:
  # Data in:
  qpos_in: wp.array2d[float],
  # In:
  lam: wp.array2d[float],
  njnt: int,
  # Adjoint in:
  adj_tau_in: wp.array2d[float],
  # Adjoint out (+=):
  adj_qpos_out: wp.array2d[float],
  # Data out:
  qfrc_spring_out: wp.array2d[float],
  # Out:
  count_out: wp.array[int],
):
  # Model:
  worldid, jntid = wp.tid()


def not_a_kernel(x, y=1):
  return x + y
'''


def line_of(text: str) -> int:
  return next(i for i, line in enumerate(GOOD.splitlines(), 1) if text in line)


def test_accepts_every_group_and_ignores_other_functions():
  assert check_source(GOOD) == []


def test_groups_may_be_left_out():
  source = GOOD.replace("  # Data in:\n  qpos_in: wp.array2d[float],\n", "")
  assert check_source(source) == []


def test_a_module_without_kernels_needs_no_options():
  assert check_source("import warp as wp\n\n\n@wp.func\ndef f(x: float):\n  return x\n") == []


@pytest.mark.parametrize(
  ("old", "new", "at", "message"),
  [
    ("qpos_in:", "qpos:", "qpos_in:", "end in _in"),
    ("adj_tau_in:", "adj_tau:", "adj_tau_in:", "end in _in"),
    ("adj_qpos_out:", "adj_qpos:", "adj_qpos_out:", "end in _out"),
    ("qfrc_spring_out:", "qfrc_spring:", "qfrc_spring_out:", "end in _out"),
    ("count_out:", "count:", "count_out:", "end in _out"),
    ("jnt_stiffness:", "jnt_stiffness_in:", "jnt_stiffness:", "bare name"),
    ("njnt: int", "njnt", "njnt: int", "no type annotation"),
    ("wp.array[int]", "wp.array[int] = None", "wp.array[int]", "no default value"),
    ("count_out: wp", "*, count_out: wp", "count_out", "positional"),
    ("wp.array[int]", "wp.array(dtype=int)", "wp.array[int]", "wp.array(dtype=int)"),
    ("count_out: wp.array[int]", "count_out: wp.array", "wp.array[int]", "wp.array2d[float]"),
    ("  # Out:\n", "  # Outputs:\n", "# Out:", "unknown group '# Outputs:'"),
    ("  # Out:\n", "  # Data out:\n", "# Out:", "appears twice"),
    ("  # Out:\n", "  # In:\n", "# Out:", "belongs before '# Data out:'"),
    ("  # Model:\n  jnt", "  jnt", "# Model:", "under no group"),
  ],
)
def test_names_the_line_and_the_rule(old, new, at, message):
  assert old in GOOD
  violations = check_source(GOOD.replace(old, new, 1))
  assert [violation.line for violation in violations] == [line_of(at)]
  assert message in violations[0].message
  assert violations[0].message.startswith("_spring_vjp: ")


def test_enable_backward_has_to_be_set():
  option = 'wp.set_module_options({"enable_backward": False})\n'
  (violation,) = check_source(GOOD.replace(option, ""))
  assert "does not set enable_backward" in violation.message


def test_enable_backward_has_to_be_set_before_the_first_kernel():
  option = 'wp.set_module_options({"enable_backward": False})\n'
  (violation,) = check_source(GOOD.replace(option, "") + option)
  assert "after the first kernel" in violation.message


GRADIENT = """import warp as wp
{0}

@wp.func
def vjp(x: float):
  slope = wp.grad(
    law
  )(x)
  return slope
"""


def test_a_function_is_differentiated_or_evaluated():
  assert check_source(GRADIENT.format("from terms import law")) == []
  called = "from terms import law\n\n@wp.func\ndef value(x: float):\n  return 2.0 * law(x)\n"
  (violation,) = check_source(GRADIENT.format(called))
  assert violation.line == 6
  assert "law is differentiated with wp.grad in line" in violation.message
  assert "a module of its own" in violation.message


def test_a_differentiated_function_may_call_others():
  defined = """
@wp.func
def square(x: float):
  return x * x

@wp.func
def law(x: float):
  return square(square(x))
"""
  assert check_source(GRADIENT.format(defined)) == []


def test_finds_kernels_inside_functions_and_with_decorator_arguments():
  kernel = "def make():\n  @wp.kernel(module='unique')\n  def inner(x: int):\n    i = wp.tid()\n"
  (violation,) = check_source(GOOD + kernel)
  assert "inner: x stands under no group" in violation.message


def test_command_prints_file_and_line_and_exits_with_one(tmp_path, capsys):
  file = tmp_path / "spring.py"
  file.write_text(GOOD.replace("qpos_in:", "qpos:"), encoding="utf-8")
  assert main([str(tmp_path)]) == 1
  assert capsys.readouterr().out.startswith(f"{file}:{line_of('qpos_in:')}: _spring_vjp: qpos ")
  file.write_text(GOOD, encoding="utf-8")
  assert main([str(file)]) == 0


def test_command_rejects_a_missing_path(tmp_path, capsys):
  with pytest.raises(SystemExit) as exit_info:
    main([str(tmp_path / "missing")])
  assert exit_info.value.code == 2
  assert "no such file or folder" in capsys.readouterr().err


def test_every_kernel_of_the_package_passes(capsys):
  code = main([str(ROOT / "src")])
  assert code == 0, capsys.readouterr().out
