"""The report on a screen: the verdict first, the criteria, the worst classes, and no control characters."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from killswitch.shadow.report.terminal import screen
from tests.doubles.shadow_reports import report_with


def test_the_verdict_is_the_first_word() -> None:
    assert screen(report_with("orders")).startswith("NO GO: orders, ")


def test_how_many_more_pairs_are_needed_is_in_the_first_line() -> None:
    report = report_with("orders", verdict="NOT_YET")
    report = replace(report, decided=replace(report.decided, more_pairs=1_234))
    assert screen(report).startswith("NOT YET, about 1,234 more pairs needed: orders")


def test_everything_fits_on_one_screen() -> None:
    lines = screen(report_with("orders")).splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 120


def test_the_tone_is_said_with_both_shares() -> None:
    assert "opens 84.0% against 11.0% of answers" in screen(report_with("i'd be happy"))


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
