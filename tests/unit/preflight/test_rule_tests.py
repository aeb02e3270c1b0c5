"""Rule tests: promtool's notation, clear differences, every problem with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from killswitch.errors import BadRules
from killswitch.model import Verdict
from killswitch.preflight.rule_test_files import expanded, load_tests
from killswitch.preflight.rule_tests import RuleTest, run_test
from tests.unit.preflight.backtest.test_backtest import RULES

HEAD = """\
rules: rules.yaml
tests:
  - name: refusing
    armed_at: 10m
    input_series:
      - {series: 'llm_requests_total{cohort="control",outcome="ok"}', values: '0+700x200'}
      - {series: 'llm_refusals_total{cohort="control"}', values: '0+7x200'}
      - {series: 'llm_requests_total{cohort="canary",outcome="ok"}', values: '0+37x200'}
      - {series: 'llm_refusals_total{cohort="canary"}', values: '0+0x80 8+8x119'}
    expect:
"""


def _written(folder: Path, text: str) -> Path:
    (folder / "rules.yaml").write_bytes(RULES)
    file = folder / "tests.yaml"
    file.write_text(text)
    return file


def _one(folder: Path, *expectations: str) -> RuleTest:
    (test,) = load_tests(_written(folder, HEAD + "".join(f"      - {{{each}}}\n" for each in expectations)))
    return test


@pytest.mark.slow
def test_the_example_in_the_repository_holds() -> None:
    tests = load_tests(Path("examples/rule-tests.yaml"))
    assert len(tests) >= 3
    for test in tests:
        assert run_test(test).mismatches == ()


def test_expectations_that_hold_pass(tmp_path: Path) -> None:
    test = _one(
        tmp_path,
        "at: 20m, trip: none",
        "at: 18m, rule: refusal_rate, verdict: UNKNOWN, reason: WARMING_UP",
        "at: 45m, trip: refusal_rate, after: 20m, says: over control",
        "at: 45m, rule: refusal_rate, verdict: BREACH",
        "at: 12m, rule: latency_p95, verdict: UNKNOWN, reason: NO_DATA",
    )
    result = run_test(test)
    assert result.passed
    assert result.checked == 5


def test_a_difference_says_where_what_was_expected_and_what_came(tmp_path: Path) -> None:
    test = _one(
        tmp_path, "at: 45m, trip: none", "at: 18m, rule: refusal_rate, verdict: BREACH", "at: 45m, trip: error_rate"
    )
    none, healthy, other = run_test(test).mismatches
    assert (none.line, healthy.line, other.line) == (11, 12, 13)
    assert none.expected == "no trip"
    assert none.got.startswith("trip by refusal_rate at ")
    assert healthy.what == "refusal_rate at 18m"
    assert healthy.expected == Verdict.BREACH.value
    assert healthy.got.startswith("UNKNOWN (WARMING_UP): refusal_rate ")
    assert other.expected == "trip by error_rate"


def test_a_trip_that_came_too_early_is_no_pass(tmp_path: Path) -> None:
    (mismatch,) = run_test(_one(tmp_path, "at: 50m, trip: refusal_rate, after: 49m")).mismatches
    assert "not before 49m" in mismatch.expected


def test_before_the_arming_there_is_no_verdict(tmp_path: Path) -> None:
    (mismatch,) = run_test(
        _one(tmp_path, "at: 5m, rule: refusal_rate, verdict: HEALTHY", "at: 12m, trip: none")
    ).mismatches
    assert mismatch.got == "not armed yet"


@pytest.mark.parametrize(
    ("text", "samples"),
    [
        ("0+5x3", [(0, 0), (1, 5), (2, 10), (3, 15)]),
        ("10-2x2", [(0, 10), (1, 8), (2, 6)]),
        ("7x2", [(0, 7), (1, 7), (2, 7)]),
        ("1 _ 3", [(0, 1), (2, 3)]),
        ("1 _x3 5", [(0, 1), (4, 5)]),
        ("1 stale 3", [(0, 1), (2, 3)]),
        ("0+1.5x1 1e3", [(0, 0), (1, 1.5), (2, 1000)]),
    ],
)
def test_values_are_written_as_promtool_writes_them(text: str, samples: list[tuple[int, float]]) -> None:
    assert expanded(text) == samples


@pytest.mark.parametrize("text", ["", "_", "a+1x2", "1+x2", "0+1x", "0+1x99999999", "1,2"])
def test_values_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a value|no samples|samples in one series"):
        expanded(text)


def test_all_problems_of_a_file_are_said_at_once(tmp_path: Path) -> None:
    """Every problem of a file is reported at once, each with its line."""
    text = """\
rules: rules.yaml
surprise: 1
tests:
  - name: x
    interval: 15
    percent: 100%
    input_series:
      - {series: 'llm requests', values: '0+1x5'}
      - {series: 'llm_requests_total{cohort=~"c.*"}', values: '0+q'}
    expect:
      - {rule: nope, verdict: MAYBE}
      - {at: 5m}
      - {at: 5m, rule: error_rate}
      - {at: 5m, rule: error_rate, reason: BECAUSE}
"""
    with pytest.raises(BadRules) as caught:
        load_tests(_written(tmp_path, text))
    lines = {
        int(problem.removeprefix(f"{tmp_path}/tests.yaml:").partition(":")[0]) for problem in caught.value.problems
    }
    assert lines == {2, 5, 6, 8, 9, 11, 12, 13, 14}
    assert all("; fix: " in problem for problem in caught.value.problems)


def test_a_misspelled_verdict_is_told_the_verdicts(tmp_path: Path) -> None:
    with pytest.raises(BadRules, match=r"'HEALTY' is not a verdict; fix: write one of .*HEALTHY.*SUSPECT.*BREACH"):
        _one(tmp_path, "at: 18m, rule: refusal_rate, verdict: HEALTY")


@pytest.mark.parametrize(
    "text", ["", "[]", "tests: 1", "rules: gone\ntests: [{}]", "rules: rules.yaml\ntests: [1]", "\x00", "a: &a [*a]"]
)
def test_a_file_of_another_shape_is_refused_and_never_a_traceback(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadRules):
        load_tests(_written(tmp_path, text))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRules, match="cannot be read"):
        load_tests(tmp_path / "gone.yaml")


def test_histograms_can_be_written_down(tmp_path: Path) -> None:
    buckets = "".join(
        f"      - {{series: 'llm_latency_ms_bucket{{cohort=\"{cohort}\",le=\"{le}\"}}', values: '0+{rise}x200'}}\n"
        for cohort, rises in (("control", (600, 690, 700, 700)), ("canary", (6, 10, 35, 37)))
        for le, rise in zip(("500", "1000", "2000", "+Inf"), rises, strict=True)
    )
    text = HEAD.replace("    expect:\n", buckets + "    expect:\n") + "      - {at: 40m, trip: latency_p95}\n"
    (test,) = load_tests(_written(tmp_path, text))
    assert run_test(test).passed
