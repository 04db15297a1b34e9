"""The tables of docs/contacts.md show the measured results; pairs are within the bars."""

import json

import pytest

from benchmarks import contact_pairs
from benchmarks import switching
from benchmarks import tosses


@pytest.mark.parametrize("benchmark", [contact_pairs, tosses, switching], ids=lambda b: b.__name__)
def test_table(benchmark):
  assert benchmark.page(json.loads(benchmark.RESULTS.read_text())) in benchmark.PAGE.read_text()


def test_every_pair_is_within_the_bars():
  rows = json.loads(contact_pairs.RESULTS.read_text())["pairs"]
  assert list(rows) == list(contact_pairs.PAIRS)
  for pair, row in rows.items():
    assert row["states"] >= 200 and contact_pairs.passed(row), pair
