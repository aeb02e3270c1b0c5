"""The picture of both cohorts: the same days as lines of text and as SVG."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from killswitch.model import Reason, Unreadable
from killswitch.slow.counts import DayCounts, Moments, SlowCounts
from killswitch.slow.days import number_of
from killswitch.slow.document import to_document
from killswitch.slow.findings import SlowFinding
from killswitch.slow.judging import judge_slow
from killswitch.slow.picture import lines_of_text, svg
from tests.doubles.warehouses import MONDAY, signal_of

FIRST = number_of(MONDAY)


def finding(*, drop: float = 4.0, days: int = 9, missing: int | None = None) -> SlowFinding:
    counted = tuple(
        DayCounts(FIRST + day, Moments(800, 70.0, 400.0), Moments(500, 70.0 - drop, 400.0))
        for day in range(days)
        if day != missing
    )
    last = FIRST + days - 1
    counts = SlowCounts(FIRST, last, last + 1, counted, rows=1)
    return judge_slow(signal_of(), counts, signals=1, evaluated_at=0.0, expected_day=last + 1)


def test_a_line_shows_a_day_with_its_interval_and_the_limit() -> None:
    header, line = lines_of_text(finding(days=1), 14)
    assert header.split() == ["day", "control", "canary", "difference", "-10.00", "|", "+10.00"]
    assert line.split()[:6] == ["2026-11-02", "70.00", "(800)", "66.00", "(500)", "-4.00"]
    bar = line.split("-4.00", 1)[1]
    assert bar.index("[") < bar.index("o") < bar.index("!") < bar.index("]") < bar.index("|")


def test_a_day_without_users_is_a_line_without_a_difference() -> None:
    lines = lines_of_text(finding(missing=3), 14)
    assert len(lines) == 10
    assert lines[4].split() == ["2026-11-05", "-", "(0)", "-", "(0)", "-", "!", "|"]


@pytest.mark.parametrize(("asked", "shown"), [(1, 1), (5, 5), (14, 9)])
def test_only_the_newest_days_are_shown(asked: int, shown: int) -> None:
    lines = lines_of_text(finding(), asked)
    assert len(lines) == shown + 1
    assert lines[-1].startswith("2026-11-10")
    assert len(to_document(finding(), asked)["days"]) == shown


def test_a_scale_fits_what_is_drawn() -> None:
    for drop in (-80.0, 0.0, 0.001, 80.0):
        for line in lines_of_text(finding(drop=drop), 14):
            assert len(line) <= 120


def test_no_settled_day_is_no_picture() -> None:
    nothing = judge_slow(
        signal_of(), Unreadable(Reason.SOURCE_DOWN, "away"), signals=1, evaluated_at=0.0, expected_day=FIRST
    )
    assert "no day has settled" in svg([nothing], 14)
    assert to_document(nothing, 14)["days"] == []


def test_the_svg_is_well_formed_and_shows_every_signal() -> None:
    picture = svg([finding(), replace(finding(drop=-3.0, missing=2), signal="refunds")], 14)
    root = ET.fromstring(picture)
    texts = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if text and ":" in text] == ["csat: UNKNOWN", "refunds: UNKNOWN"]
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 9 * 3 + 8 * 3
    assert "nan" not in picture


def test_a_picture_of_one_day_and_equal_means_is_drawn() -> None:
    ET.fromstring(svg([finding(drop=0.0, days=1)], 1))
