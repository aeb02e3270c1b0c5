"""The report on a screen: the verdict first, the criteria, the worst classes, and no control characters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from killswitch.shadow.report.document import CriterionRow, to_document
from killswitch.shadow.report.in_words import evidence_of, limit_of, why_open
from killswitch.shadow.report.terminal import screen
from tests.doubles.shadow_reports import report_with


def test_the_verdict_is_the_first_word() -> None:
    assert screen(report_with("orders")).startswith("NO GO: orders, ")


def test_how_many_more_pairs_are_needed_is_in_the_first_line() -> None:
    report = report_with("orders", verdict="NOT_YET")
    report = replace(report, decided=replace(report.decided, more_pairs=1_234))
    assert screen(report).startswith("NOT YET, about 1,234 more pairs needed, about 12 hours at this traffic: orders")
    assert to_document(report)["more_seconds"] == 1_234 * 3600 / 100
    at_once = replace(report, period=replace(report.period, newest=report.period.oldest))
    assert screen(at_once).startswith("NOT YET, about 1,234 more pairs needed: orders")
    assert to_document(at_once)["more_seconds"] is None


def test_a_shift_is_shown_next_to_controls_own() -> None:
    """Two answers of one model are apart as well, so a shift of that size is no difference."""
    report = report_with("orders")
    seconds = replace(report.spreads[0], name="seconds", unit="s", wasserstein=0.113, wasserstein_noise=0.11)
    shown = " ".join(screen(replace(report, spreads=(seconds,))).split())
    assert "apart by 113 ms, control from itself by 110 ms" in shown


def test_everything_fits_on_one_screen() -> None:
    lines = screen(report_with("orders")).splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 120


def test_the_tone_is_said_with_both_shares() -> None:
    assert "opens 84.0% against 11.0% of answers" in screen(report_with("i'd be happy"))


def test_openings_without_evidence_are_not_said_to_differ_by_odds() -> None:
    """``1 in 1 by chance`` says nothing to a reader."""
    report = report_with("i'd be happy")

    def shown(e_value: float) -> str:
        return " ".join(screen(replace(report, tone=replace(report.tone, e_value=e_value))).split())

    assert "openings differ: no evidence" in shown(0.1)
    assert "openings differ: 1 in 30 by chance" in shown(30.0)


def test_what_was_dropped_is_in_the_counts_with_its_reasons() -> None:
    """The most frequent first; none is said where nothing was dropped."""
    report = report_with("orders")

    def shown(**dropped: int) -> str:
        counts = replace(report.counts, dropped=dropped)
        return " ".join(screen(replace(report, counts=counts)).split())

    assert "noise pairs, 297 dropped: 297 budget " in shown(budget=297, late=0)
    assert "1,312 dropped: 1,000 budget, 300 late, 5 disk, 7 for other reasons" in shown(
        late=300, disk=5, stuck=4, pressure=3, budget=1_000
    )
    assert ", 0 dropped " in shown()


def open_row(**changes: Any) -> CriterionRow:
    row = report_with("orders").decided.criteria[0]
    usual: dict[str, Any] = {
        "measure": "equivalent",
        "title": "equivalent answers",
        "standing": "NOT_YET",
        "limit": "70%",
    }
    return replace(row, **{**usual, **changes})


def test_a_limit_says_what_it_is_relative_to() -> None:
    assert limit_of(open_row(), as_points=False) == "70% of control's"
    assert limit_of(open_row(), as_points=True) == "70%"
    assert limit_of(open_row(measure="cost", limit="1.2"), as_points=False) == "1.2 x control's"
    assert limit_of(open_row(measure="errors", limit="0.5pp"), as_points=False) == "+0.5pp"
    assert limit_of(open_row(measure="errors", limit="0.5pp"), as_points=True) == "control's"


def test_evidence_says_what_it_needs_while_it_is_open() -> None:
    row = open_row(odds_within=1.0, odds_to_pass=100.0, odds_worse=71.0, odds_to_fail=583.0)
    assert evidence_of(row) == "1 in 71 against it, fails at 1 in 580"
    assert evidence_of(row, short=True) == "1 in 71, fails at 580"
    assert evidence_of(replace(row, odds_within=90.0)) == "1 in 90 for it, passes at 1 in 100"
    assert evidence_of(replace(row, standing="FAIL", odds_worse=600.0)) == "1 in 600 against it"


def test_what_needs_an_unknown_number_of_pairs_says_why() -> None:
    """Below the table, once for all criteria with the same reason; one with a number has a column for it."""
    report = report_with("orders", verdict="NOT_YET")
    rows = (
        open_row(sentence="equivalent answers: too few pairs: 3", more_pairs=None),
        open_row(title="changed facts", measure="facts", sentence="changed facts: too few pairs: 3", more_pairs=None),
        open_row(title="errors", measure="errors", sentence="errors: about 90 more pairs needed", more_pairs=90),
    )
    lines = screen(replace(report, decided=replace(report.decided, criteria=rows))).splitlines()
    assert "equivalent answers, changed facts: too few pairs: 3" in lines
    assert not [line for line in lines if "90 more pairs needed" in line]
    assert why_open(rows[2]) == ""
    assert why_open(rows[0]) == "too few pairs: 3"


@given(st.text(max_size=60))
def test_no_text_moves_the_cursor(text: str) -> None:
    shown = screen(report_with(text)).replace("\n", "")
    assert all(c.isprintable() or c in "\u200c\u200d" for c in shown)


def test_wide_letters_keep_the_columns() -> None:
    report = report_with("orders")
    wide = replace(report.classes[0], name="日本語")
    shown = screen(replace(report, classes=(wide, report.classes[1])))
    first, second = (line for line in shown.splitlines() if line.endswith("+40.0 pp     orders"))
    assert first.startswith("日本語")
    assert len(second) - len(first) == 3  # three letters, each two columns wide
