"""`mjgrad experiment` writes tables and a figure."""

import csv

import pytest

from mjgrad import cli


def test_toy(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr("mjgrad.experiments.toy.FINE", 1e-2)
  monkeypatch.setattr("mjgrad.experiments.toy.STEPS", [0.1, 0.01])
  assert cli.main(["experiment", "toy", "--count", "20", "--out", str(tmp_path / "toy")]) == 0
  with (tmp_path / "toy" / "toy.csv").open() as file:
    rows = list(csv.DictReader(file))
  assert len(rows) == 20
  assert float(rows[0]["loss_ideal_true"]) == pytest.approx(1.0)
  assert (tmp_path / "toy" / "toy.png").stat().st_size > 10_000
  assert "penalty" in capsys.readouterr().out


def test_unknown_experiment(capsys):
  with pytest.raises(SystemExit):
    cli.main(["experiment", "nothing"])
  assert "toy" in capsys.readouterr().err
