"""Which rows of a gate run are shown, and under which heading: each row once."""

from __future__ import annotations

import pytest

from killswitch.gate.report.differences import (
    NO_LABEL,
    OTHER,
    RowDifference,
    candidate_of,
    classes,
    confusion,
    difference,
    failures,
    groups,
    harmless,
    prod_of,
    right,
    schema_failures,
    without_label,
)
from tests.doubles.gate_reports import CANDIDATE, answer, every_kind, report_of, row


def test_each_row_that_differs_is_in_one_group() -> None:
    found = {kind: [one.row.id for one in rows] for kind, rows in groups(every_kind("bug")).items()}
    assert found == {
        RowDifference.CANDIDATE_WRONG: ["row-2"],
        RowDifference.PROD_WRONG: ["row-3"],
        RowDifference.BOTH_MOVED: ["row-4"],
        RowDifference.BOTH_WRONG: ["row-5"],
        RowDifference.NO_LABEL: ["row-6", "row-8"],
        RowDifference.SCHEMA: ["row-7"],
    }


def test_rows_are_in_the_order_of_their_file() -> None:
    """They were asked in another order."""
    rows = tuple(row(number, "bug", answer("bug"), answer("other")) for number in (3, 1, 2))
    assert [one.row.line for one in groups(rows)[RowDifference.CANDIDATE_WRONG]] == [1, 2, 3]


def test_two_failed_calls_agree_in_nothing() -> None:
    failed = answer(None, failure="timeout")
    assert difference(row(1, "bug", failed, failed)) is RowDifference.NO_LABEL


def test_a_failed_call_is_not_as_expected() -> None:
    results = (row(1, "bug", answer("bug"), answer(None, failure="timeout")),)
    assert (right(results, prod_of), right(results, candidate_of)) == (1, 0)


def test_failures_are_counted_by_reason_and_bounded() -> None:
    rows = [row(number, "bug", answer("bug"), answer(None, failure=f"status {number // 2}")) for number in range(40)]
    found = failures(rows, candidate_of)
    assert len(found.listed) == 10
    assert found.listed[0] == ("status 0", 2)
    assert (found.more, found.rows) == (20, 40)
    assert not failures(rows, prod_of).rows


def test_a_failed_call_does_not_break_the_schema() -> None:
    """It is counted once, as a failed call."""
    rows = (
        row(1, "bug", answer("bug"), answer(None, failure="timeout")),
        row(2, "bug", answer("bug"), answer(None, problem="$.label is missing", schema_ok=False)),
        row(3, "bug", answer("bug"), answer(None, problem="no $.label")),
    )
    assert schema_failures(rows, candidate_of).listed == (("$.label is missing", 1),)
    assert without_label(rows, candidate_of).listed == (("no $.label", 1),)


def test_the_matrix_has_twenty_labels_and_the_rest_together() -> None:
    rows = [row(number, "x", answer(f"label {number % 30:02}"), answer("x")) for number in range(300)]
    found = confusion(rows)
    assert len(found.labels) == 21
    assert found.labels[0] == '"x"'
    assert found.labels[-1] == OTHER
    assert found.left_out == 11
    assert sum(map(sum, found.counts)) == 300


def test_a_label_named_as_the_rest_is_not_the_rest() -> None:
    """Labels are JSON texts, so that no answer can be counted as a failed one."""
    rows = [row(1, "x", answer(NO_LABEL), answer(OTHER)), row(2, "x", answer(None, failure="timeout"), answer("x"))]
    found = confusion(rows)
    assert found.labels == ('"no label"', '"other labels"', '"x"', NO_LABEL)
    assert found.counts[0][1] == 1
    assert found.counts[3][2] == 1


def test_classes_are_shown_worst_first_where_there_are_some() -> None:
    good = row(1, "bug", answer("bug"), answer("bug"), of="plain")
    bad = row(2, "bug", answer("bug"), answer("other"), of="hard")
    assert [one.name for one in classes((good, bad))] == ["hard", "plain"]
    assert classes((row(1, "bug", answer("bug"), answer("bug")),)) == ()


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("404 of https://api.example/v1/x?key=abc123: not found", "404 of https://api.example/v1/x not found"),
        ("https://user:secret@host/path", "https://host/path"),
        ("see https://host/a#token=abc", "see https://host/a"),
        ("429 after 5 attempts", "429 after 5 attempts"),
        ("x" * 400, "x" * 299 + "…"),
    ],
)
def test_a_reason_names_no_secret_part_of_a_url(reason: str, shown: str) -> None:
    """Gemini takes its key in the query; an error may repeat the address."""
    assert harmless(reason) == shown


def test_other_names_and_left_out_parameters_are_said_by_model() -> None:
    moved = answer("bug", model=CANDIDATE, answered_by="model-x", left_out=("temperature",))
    report = report_of((row(1, "bug", answer("bug"), moved), row(2, "bug", answer("bug"), moved)))
    assert report.other_names == {CANDIDATE: {"model-x": 2}}
    assert report.left_out == {CANDIDATE: ("temperature",)}
