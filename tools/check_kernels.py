"""Checks that every Warp kernel's signature says what it reads and what it writes.

    python tools/check_kernels.py [FILE or FOLDER ...]        (default: src)

The rules are mujoco_warp's, with two more groups for cotangents:

- every parameter stands under one of the comments in `GROUPS`, which appear in that order, each at
  most once; a group may be left out;
- a parameter of the groups `# Data in:` and `# Adjoint in:` ends in `_in`, one of the groups
  `# Adjoint out (+=):`, `# Data out:` and `# Out:` in `_out`; one of `# Model:` has the bare name
  of the model's field; the names under `# In:` are free;
- every parameter has an annotation, arrays are written `wp.array2d[float]`, and there are neither
  default values nor `*args` nor keyword-only parameters;
- a module with kernels says once, before the first of them, whether Warp derives their adjoints:
  `wp.set_module_options({"enable_backward": ...})`;
- a function that a module differentiates with `wp.grad` is not called there as well. Warp builds a
  function for a forward kernel without the adjoints of what it calls, and keeps that for the whole
  module: the gradient would be zero in silence.

Prints one line per violation, `file:line: message`, and exits with code 1 if there is any.
"""

import argparse
import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SUFFIX = {
  "Model": None,
  "Data in": "_in",
  "In": None,
  "Adjoint in": "_in",
  "Adjoint out (+=)": "_out",
  "Data out": "_out",
  "Out": "_out",
}
"""Ending of the names in a group; None: no ending is asked for."""

GROUPS = tuple(SUFFIX)
"""The groups in the order in which a signature has to list them."""


class Violation(NamedTuple):
  """One broken rule, at a line counted from 1."""

  line: int
  message: str


class Header(NamedTuple):
  """A comment inside a signature that opens a group."""

  line: int
  group: str


def check_source(source: str) -> list[Violation]:
  """Violations in the text of one module, ordered by line."""
  tree = ast.parse(source)
  violations = list(_check_gradients(tree))
  kernels = [
    node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and _is_kernel(node)
  ]
  if not kernels:
    return sorted(violations)
  comments = _own_line_comments(source)
  violations += _check_module_options(tree, kernels)
  for kernel in kernels:
    violations += _check_kernel(kernel, comments)
  return sorted(violations)


def _check_gradients(tree: ast.Module) -> Iterator[Violation]:
  """Calls of functions that the module also differentiates."""
  calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
  differentiated = {
    ast.unparse(call.args[0]): call.lineno
    for call in calls
    if ast.unparse(call.func) in ("wp.grad", "warp.grad") and call.args
  }
  for call in calls:
    name = ast.unparse(call.func)
    if name in differentiated:
      yield Violation(
        call.lineno,
        f"{name} is differentiated with wp.grad in line {differentiated[name]} and called here; "
        "Warp may drop its adjoint, so move the kernel that evaluates it to a module of its own",
      )


def _check_module_options(tree: ast.Module, kernels: list[ast.FunctionDef]) -> Iterator[Violation]:
  first = min(kernel.lineno for kernel in kernels)
  lines = [node.lineno for node in tree.body if _sets_enable_backward(node)]
  if not lines:
    yield Violation(
      first,
      "the module has kernels but does not set enable_backward; add "
      'wp.set_module_options({"enable_backward": False}) or True at its top',
    )
  elif lines[0] > first:
    yield Violation(lines[0], f"enable_backward is set after the first kernel (line {first})")


def _check_kernel(kernel: ast.FunctionDef, comments: dict[int, str]) -> Iterator[Violation]:
  headers = []
  last = max((arg.lineno for arg in _positional(kernel)), default=kernel.lineno)
  for line in range(kernel.lineno, last):
    comment = comments.get(line, "")
    if comment.endswith(":"):
      if comment[:-1] in SUFFIX:
        headers.append(Header(line, comment[:-1]))
      else:
        expected = ", ".join(f"'# {group}:'" for group in GROUPS)
        yield Violation(
          line, f"{kernel.name}: unknown group '# {comment}'; expected one of {expected}"
        )
  yield from _check_order(kernel.name, headers)
  yield from _check_forms(kernel)
  for arg in _positional(kernel):
    group = next((h.group for h in reversed(headers) if h.line < arg.lineno), None)
    yield from _check_parameter(kernel.name, arg, group)


def _check_order(name: str, headers: list[Header]) -> Iterator[Violation]:
  for before, header in zip(headers, headers[1:], strict=False):
    if header.group == before.group:
      yield Violation(header.line, f"{name}: group '# {header.group}:' appears twice")
    elif GROUPS.index(header.group) < GROUPS.index(before.group):
      yield Violation(
        header.line, f"{name}: group '# {header.group}:' belongs before '# {before.group}:'"
      )


def _check_forms(kernel: ast.FunctionDef) -> Iterator[Violation]:
  """Default values, `*args`, `**kwargs` and keyword-only parameters."""
  args = kernel.args
  for default in [*args.defaults, *(d for d in args.kw_defaults if d is not None)]:
    yield Violation(default.lineno, f"{kernel.name}: a kernel parameter has no default value")
  for arg in [*args.kwonlyargs, *filter(None, (args.vararg, args.kwarg))]:
    yield Violation(arg.lineno, f"{kernel.name}: {arg.arg} has to be a positional parameter")


def _check_parameter(name: str, arg: ast.arg, group: str | None) -> Iterator[Violation]:
  if group is None:
    yield Violation(arg.lineno, f"{name}: {arg.arg} stands under no group such as '# In:'")
  else:
    suffix = SUFFIX[group]
    if suffix and not arg.arg.endswith(suffix):
      yield Violation(
        arg.lineno, f"{name}: {arg.arg} is in '# {group}:', so its name has to end in {suffix}"
      )
    if group == "Model" and arg.arg.endswith(("_in", "_out")):
      yield Violation(
        arg.lineno, f"{name}: {arg.arg} is in '# Model:', so it has the field's bare name"
      )
  if arg.annotation is None:
    yield Violation(arg.lineno, f"{name}: {arg.arg} has no type annotation")
  elif not _is_written_plainly(arg.annotation):
    yield Violation(
      arg.lineno,
      f"{name}: {arg.arg}: write the array type as wp.array2d[float], "
      f"not {ast.unparse(arg.annotation)}",
    )


def _positional(kernel: ast.FunctionDef) -> list[ast.arg]:
  return [*kernel.args.posonlyargs, *kernel.args.args]


def _is_kernel(function: ast.FunctionDef) -> bool:
  """True under `@wp.kernel`, with or without arguments."""
  for decorator in function.decorator_list:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    if ast.unparse(target) in ("wp.kernel", "warp.kernel"):
      return True
  return False


def _sets_enable_backward(node: ast.stmt) -> bool:
  """True for `wp.set_module_options({"enable_backward": ...})`."""
  if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
    return False
  call = node.value
  if ast.unparse(call.func) not in ("wp.set_module_options", "warp.set_module_options"):
    return False
  options = [*call.args, *(keyword.value for keyword in call.keywords)]
  return any(
    isinstance(key, ast.Constant) and key.value == "enable_backward"
    for option in options
    if isinstance(option, ast.Dict)
    for key in option.keys
  )


def _is_written_plainly(annotation: ast.expr) -> bool:
  """False for `wp.array(dtype=float)` and for `wp.array2d` without the type of its entries."""
  if isinstance(annotation, ast.Call):
    return False
  return not (
    isinstance(annotation, ast.Attribute)
    and annotation.attr in ("array", "array1d", "array2d", "array3d", "array4d")
  )


def _own_line_comments(source: str) -> dict[int, str]:
  """Text of the comments that have a line to themselves, by line number."""
  tokens = tokenize.generate_tokens(io.StringIO(source).readline)
  return {
    token.start[0]: token.string.lstrip("#").strip()
    for token in tokens
    if token.type == tokenize.COMMENT and token.line.lstrip().startswith("#")
  }


def _python_files(paths: list[Path]) -> Iterator[Path]:
  for path in paths:
    yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def main(argv: list[str] | None = None) -> int:
  """Checks the files and folders in `argv`; returns the exit code."""
  parser = argparse.ArgumentParser(description="Check the signatures of all Warp kernels.")
  parser.add_argument("paths", nargs="*", type=Path, default=[Path("src")])
  paths = parser.parse_args(argv).paths
  missing = [path for path in paths if not path.exists()]
  if missing:
    parser.error(f"no such file or folder: {missing[0]}")
  failed = False
  for file in _python_files(paths):
    for violation in check_source(file.read_text(encoding="utf-8")):
      print(f"{file}:{violation.line}: {violation.message}")
      failed = True
  return int(failed)


if __name__ == "__main__":
  sys.exit(main())
