"""`mjgrad bench` runs, compares three graphs and writes what it measured."""

import json

import pytest

from mjgrad._src.errors import InvalidInput
from mjgrad.bench import main
from mjgrad.bench.cases import load


def test_report(tmp_path, capsys):
  path = tmp_path / "bench.json"
  arguments = ["--cases", "cartpole", "--worlds", "2", "--device", "cpu", "--repeat", "2"]
  assert main([*arguments, "--json", str(path)]) == 0
  report = json.loads(path.read_text())
  (result,) = report["results"]
  assert result["case"] == "cartpole" and result["nworld"] == 2
  assert min(result[k] for k in ("mujoco_warp_us", "forward_us", "backward_us")) > 0
  assert result["bytes_per_step"] == 4 * (2 + 3 * 2)
  assert {"mujoco", "mujoco-warp", "warp-lang", "device"} <= set(report["environment"])
  assert "cartpole" in capsys.readouterr().out


def test_unknown_case():
  with pytest.raises(InvalidInput, match="choose from"):
    load("giraffe")


def test_cases_of_any_size():
  assert load("chain-5")[1].nv == 5
  case, mjm = load("heap-6")
  assert mjm.nv == 36 and case.njmax >= 4 * 6 * 4
  for wrong in ("chain-", "heap-0", "chain-x"):
    with pytest.raises(InvalidInput, match="chain-SIZE"):
      load(wrong)
