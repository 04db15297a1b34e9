"""The README holds what it promises: its commands are single lines and its example runs."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
  ("marker", "last"), [("train-command", "mjgrad train cartpole"), ("test-command", "pytest -n 2")]
)
def test_each_command_is_one_line(marker, last):
  (block,) = re.findall(
    rf"^<!-- {marker} -->\n```bash\n(.*?)```$", README, re.MULTILINE | re.DOTALL
  )
  assert block.count("\n") == 1
  assert block.startswith("python3 -m venv ")
  assert block.endswith(last + "\n")


def run_example(front_end):
  """The names that an example leaves."""
  blocks = re.findall(r"^```python\n(.*?)```$", README, re.MULTILINE | re.DOTALL)
  (code,) = (block for block in blocks if f"import {front_end} as" in block)
  names = {}
  exec(compile(code, "README.md", "exec"), names)
  return names


def test_the_example_runs_and_has_gradients():
  names = run_example("mjgrad.torch")
  assert names["ctrl"].grad.abs().min() > 0
  assert names["mass"].grad[1] != 0


def test_the_jax_example_runs_and_has_gradients():
  pytest.importorskip("jax", reason="the JAX front end needs jax: pip install 'mjgrad[jax]'")
  grad = run_example("mjgrad.jax")["grad"]
  assert grad.shape == (50, 8, 1) and abs(grad).min() > 0
