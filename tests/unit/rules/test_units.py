"""Units: parsing is the inverse of writing, and a missing unit is never guessed."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from killswitch.rules.units import (
    Kind,
    UnitError,
    format_budget,
    format_duration,
    format_percent,
    format_points,
    format_ratio,
    parse_as,
    parse_budget,
    parse_duration,
    parse_quantity,
    shown,
)

decimals = st.decimals(min_value=0, max_value=999_999, places=6, allow_nan=False, allow_infinity=False)


@given(decimals)
@settings(deadline=None)
def test_a_percent_reads_back_as_it_was_written(percent: Decimal) -> None:
    fraction = float(percent / 100)
    assert parse_as(Kind.PERCENT, format_percent(fraction)).value == fraction


@given(decimals)
@settings(deadline=None)
def test_points_read_back_as_they_were_written(points: Decimal) -> None:
    fraction = float(points / 100)
    assert parse_as(Kind.POINTS, format_points(fraction)).value == fraction


@given(decimals)
@settings(deadline=None)
def test_a_ratio_reads_back_as_it_was_written(ratio: Decimal) -> None:
    assert parse_as(Kind.RATIO, format_ratio(float(ratio))).value == float(ratio)


@given(st.decimals(min_value=0, max_value=10_000_000, places=3, allow_nan=False, allow_infinity=False))
@settings(deadline=None)
def test_a_duration_reads_back_as_it_was_written(seconds: Decimal) -> None:
    assert parse_duration(format_duration(float(seconds))) == float(seconds)


@given(st.decimals(min_value=0, max_value=50, places=4, allow_nan=False, allow_infinity=False))
@settings(deadline=None)
def test_a_budget_reads_back_as_it_was_written(percent: Decimal) -> None:
    per_day = float(percent / 100)
    assert parse_budget(format_budget(per_day)) == per_day


@given(st.text() | st.binary().map(repr) | st.from_regex(r"[-+0-9.,%a-z ]{1,12}", fullmatch=True))
@settings(deadline=None)
def test_any_text_is_a_quantity_or_a_unit_error_with_a_fix(text: str) -> None:
    for parse in (parse_quantity, parse_duration, parse_budget):
        refusal = _refusal(parse, text)
        assert refusal is None or (refusal.fix and str(refusal).isprintable())


def _refusal(parse: Callable[[object], object], text: str) -> UnitError | None:
    try:
        parse(text)
    except UnitError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("2%", Kind.PERCENT, 0.02),
        ("0.5 %", Kind.PERCENT, 0.005),
        ("5pp", Kind.POINTS, 0.05),
        (1.5, Kind.RATIO, 1.5),
        ("1.5x", Kind.RATIO, 1.5),
        (2, Kind.RATIO, 2.0),
        ("250ms", Kind.DURATION, 0.25),
        ("1h30m", Kind.DURATION, 5400.0),
        ("1.5s", Kind.DURATION, 1.5),
        ("1d", Kind.DURATION, 86400.0),
    ],
)
def test_each_unit_is_read(text: object, kind: Kind, value: float) -> None:
    quantity = parse_quantity(text)
    assert (quantity.kind, quantity.value) == (kind, value)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (Kind.PERCENT, 2, "'2' has no unit; a percent must be written with one; fix: write 2% if that is meant"),
        (
            Kind.PERCENT,
            0.02,
            "'0.02' has no unit; a percent must be written with one; fix: write 2% if 0.02 is a fraction, or 0.02%",
        ),
        (Kind.POINTS, "5%", "'5%' is a percent, but a number of percentage points belongs here; fix: write 5pp"),
        (Kind.PERCENT, "5pp", "'5pp' is a number of percentage points, but a percent belongs here; fix: write 5%"),
        (Kind.RATIO, "150%", "'150%' is a percent, but a plain number belongs here; fix: write 1.5"),
        (
            Kind.DURATION,
            300,
            "'300' has no unit; a duration must be written with one; fix: write 300s if that is meant",
        ),
        (Kind.DURATION, "5min", "'5min' is not a duration; fix: write 5m"),
        (Kind.PERCENT, "2,5%", "'2,5%' is not a percent; fix: write a point for the decimals: '2.5%'"),
        (Kind.PERCENT, "-2%", "'-2%' is not a percent; fix: a percent cannot be negative; write it without the sign"),
    ],
)
def test_a_wrong_unit_is_refused_with_what_to_write(kind: Kind, text: object, message: str) -> None:
    with pytest.raises(UnitError) as refused:
        parse_as(kind, text)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    "value", [None, True, [], {}, "", "1e5", "0x10", "nan", "inf", ".5", "5.", "٢%", "9" * 40 + "%"]
)
@pytest.mark.parametrize("parse", [parse_quantity, parse_duration, parse_budget])
def test_what_is_no_quantity_is_refused(parse: Callable[[object], object], value: object) -> None:
    with pytest.raises(UnitError):
        parse(value)


@given(st.text())
@settings(deadline=None)
def test_a_shown_text_is_one_short_printable_line(text: str) -> None:
    assert shown(text).isprintable()
    assert len(shown(text)) <= 60
