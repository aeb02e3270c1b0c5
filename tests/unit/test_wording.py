from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.model import Unit
from killswitch.wording import (
    count_in_words,
    counted,
    duration_in_words,
    labelled,
    odds_in_words,
    points_in_words,
    time_of_day,
    value_in_words,
)


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0.087, Unit.FRACTION, "8.7%"),
        (0.005, Unit.FRACTION, "0.50%"),
        (0.0, Unit.FRACTION, "0.0%"),
        (0.00001, Unit.FRACTION, "0.001%"),
        (1.0, Unit.FRACTION, "100.0%"),
        (0.82, Unit.SECONDS, "820 ms"),
        (2.4, Unit.SECONDS, "2.40 s"),
        (300.0, Unit.SECONDS, "5m"),
        (1234.5, Unit.NUMBER, "1234" if round(1234.5) == 1234 else "1235"),
        (math.inf, Unit.SECONDS, "over the last bucket"),
        (math.nan, Unit.FRACTION, "not a number"),
        (None, Unit.FRACTION, "-"),
    ],
)
def test_a_value_has_one_way_of_being_written(value: float | None, unit: Unit, words: str) -> None:
    assert value_in_words(value, unit) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 ms"),
        (0.0042, "4.2 ms"),
        (1.0, "1 s"),
        (59.999, "60.00 s"),
        (60.0, "1m"),
        (5400.0, "1h30m"),
        (3601.0, "1h1s"),
        (86400.0, "24h"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration_in_words(seconds) == words


@given(st.floats(min_value=1.0, max_value=1e11))
def test_odds_are_never_rounded_to_something_luckier(one_in: float) -> None:
    said = float(odds_in_words(one_in).removeprefix("1 in ").replace(",", ""))
    assert said <= one_in * (1 + 1e-9)
    assert said >= one_in * 0.9


def test_counts_points_odds_and_times() -> None:
    assert count_in_words(35160.4) == "35,160"
    assert count_in_words(None) == "-"
    assert points_in_words(0.05) == "5.0 pp"
    assert odds_in_words(43_210.0) == "1 in 43,000"
    assert odds_in_words(math.inf) == "1 in a million million"
    assert odds_in_words(0.3) == "1 in 1"
    assert time_of_day(1_776_608_531.0) == "14:22:11"


def test_one_is_not_many() -> None:
    assert [counted(count, "rule") for count in (0, 1, 2, 12_345)] == ["0 rules", "1 rule", "2 rules", "12,345 rules"]


def test_a_label_that_a_problem_has_already_is_not_repeated() -> None:
    assert labelled("flag store", "flag store: no quorum") == "flag store: no quorum"
    assert labelled("metric source", "timed out") == "metric source: timed out"
