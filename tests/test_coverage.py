"""The coverage page is current, names everything, and its errors are still the measured ones."""

import json

import pytest

from benchmarks import coverage
from mjgrad._src.check.oracle import FLOAT32_FIELDS
from mjgrad._src.engine.parameters import PARAMETERS
from tests.coverage_cases import CASES

REMEDY = "; run python -m benchmarks.coverage"


@pytest.fixture(scope="module")
def report():
  return json.loads(coverage.RESULTS.read_text())


def test_page_is_that_of_the_results(report):
  assert coverage.PAGE.read_text() == coverage.page(report), "docs/coverage.md is stale" + REMEDY


def test_every_case_is_on_the_page(report):
  assert len({case.name for case in CASES}) == len(CASES)
  assert list(report["cases"]) == [case.name for case in CASES], "other cases" + REMEDY


def test_every_parameter_is_exercised(report):
  for name in set(PARAMETERS) - set(FLOAT32_FIELDS):
    assert coverage.acting(report, name), f"no case with a gradient in {name}" + REMEDY


def test_errors_on_the_page_meet_the_bars(report):
  wrong = {case.name: coverage.problems(case, report["cases"][case.name]) for case in CASES}
  assert not any(wrong.values()), {name: found for name, found in wrong.items() if found}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(report, case):
  """Measures again; what has become supported belongs on the page."""
  row = coverage.measure(case)
  assert coverage.problems(case, row) == []
  assert ("refused" in row) == ("refused" in report["cases"][case.name]), row
