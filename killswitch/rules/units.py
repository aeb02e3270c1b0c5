"""Numbers with their units: ``2%``, ``5pp``, ``1.5``, ``5m``, ``1% per day``.

A bare number is always a ratio: a percent, points or a duration must be written with a unit. Parsing is
decimal, so that a value that is read and written again is exactly the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class UnitError(ValueError):
    """A text is not a quantity. ``what`` is wrong, ``fix`` says what to write instead."""

    def __init__(self, what: str, fix: str) -> None:
        self.what = what
        self.fix = fix
        super().__init__(f"{what}; fix: {fix}")


class Kind(StrEnum):
    PERCENT = "percent"
    POINTS = "points"
    RATIO = "ratio"
    DURATION = "duration"


# the name of each kind in a sentence, and an example
KINDS: dict[Kind, tuple[str, str]] = {
    Kind.PERCENT: ("a percent", "2%"),
    Kind.POINTS: ("a number of percentage points", "5pp"),
    Kind.RATIO: ("a plain number", "1.5"),
    Kind.DURATION: ("a duration", "90s"),
}


@dataclass(frozen=True, slots=True)
class Quantity:
    """A parsed value: percents and points are fractions (0.02), durations seconds. ``text`` as written."""

    kind: Kind
    value: float
    text: str


_NUMBER = r"[0-9]{1,12}(?:\.[0-9]{1,12})?"
_QUANTITY = re.compile(rf"({_NUMBER}) ?(%|pp|x)?\Z", re.ASCII)
_SPAN = re.compile(rf"({_NUMBER}) ?(ms|s|m|h|d)", re.ASCII)
_DURATION = re.compile(rf"(?:{_NUMBER} ?(?:ms|s|m|h|d) ?){{1,5}}\Z", re.ASCII)
_SECONDS: dict[str, Decimal] = {
    "d": Decimal(86400),
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
}
_LONG_UNITS = {
    "sec": "s",
    "secs": "s",
    "second": "s",
    "seconds": "s",
    "min": "m",
    "mins": "m",
    "minute": "m",
    "minutes": "m",
    "hour": "h",
    "hours": "h",
    "day": "d",
    "days": "d",
    "percent": "%",
    "points": "pp",
    "pps": "pp",
    "times": "x",
    "p.p.": "pp",
}
_SPELLED = re.compile(rf"({_NUMBER}) ?([a-z.]+)\Z", re.ASCII)
_BUDGET = re.compile(rf"({_NUMBER}) ?% per (day|week)\Z", re.ASCII)
_DAYS = {"day": 1, "week": 7}
_RATE = re.compile(rf"({_NUMBER}) ?/ ?([smh])\Z", re.ASCII)
LEAST_RATE = Decimal(1) / 3600
MOST_RATE = Decimal(1_000_000)
LEAST_DOLLARS = Decimal("0.01")
MOST_DOLLARS = Decimal(10_000_000)
_MONEY = re.compile(r"\$([0-9]{1,12}(?:\.[0-9]{1,6})?)\Z", re.ASCII)


def parse_quantity(value: object) -> Quantity:
    """A quantity of any kind. Raises UnitError for anything else: signs, exponents, commas, unknown units."""
    text = _as_text(value)
    if match := _QUANTITY.match(text):
        number, unit = Decimal(match[1]), match[2]
        if unit in (None, "x"):
            return Quantity(Kind.RATIO, float(number), text)
        return Quantity(Kind.PERCENT if unit == "%" else Kind.POINTS, float(number / 100), text)
    if _DURATION.match(text):
        return Quantity(Kind.DURATION, _seconds(text), text)
    raise UnitError(f"{shown(text)} is not a quantity", _advice(text))


def parse_duration(value: object) -> float:
    """Seconds: ``90s``, ``5m``, ``1h30m``, ``250ms``. A bare number is refused."""
    return parse_as(Kind.DURATION, value).value


def parse_as(kind: Kind, value: object) -> Quantity:
    """A quantity of exactly this kind. Raises UnitError that names the unit it should have had."""
    try:
        quantity = parse_quantity(value)
    except UnitError as error:
        wanted, example = KINDS[kind]
        fix = f"write it like {example}" if error.fix == _ANY else error.fix.replace(_SOMETHING, wanted)
        raise UnitError(f"{error.what.removesuffix('not a quantity')}not {wanted}", fix) from None
    return require(kind, quantity)


def require(kind: Kind, quantity: Quantity) -> Quantity:
    """The quantity itself if it is of this kind. Raises UnitError."""
    if quantity.kind is kind:
        return quantity
    wanted, example = KINDS[kind]
    number = quantity.text.rstrip("%px ")
    if quantity.kind is Kind.RATIO:
        suffix = {Kind.PERCENT: "%", Kind.POINTS: "pp", Kind.DURATION: "s"}[kind]
        fix = f"write {number}{suffix} if that is meant"
        if kind is not Kind.DURATION and 0 < quantity.value < 1:
            fix = f"write {_plain(Decimal(number) * 100)}{suffix} if {number} is a fraction, or {number}{suffix}"
        raise UnitError(f"{shown(quantity.text)} has no unit; {wanted} must be written with one", fix)
    if {kind, quantity.kind} == {Kind.PERCENT, Kind.POINTS}:
        fix = f"write {number}{'%' if kind is Kind.PERCENT else 'pp'}"
    elif kind is Kind.RATIO and quantity.kind is Kind.PERCENT:
        fix = f"write {format_ratio(quantity.value)}"
    else:
        fix = f"write it like {example}"
    raise UnitError(f"{shown(quantity.text)} is {KINDS[quantity.kind][0]}, but {wanted} belongs here", fix)


def parse_budget(value: object) -> float:
    """A probability a day: ``1% per day`` is 0.01; ``7% per week`` is spread evenly, 0.01."""
    text = _as_text(value)
    match = _BUDGET.match(text)
    if match is None:
        raise UnitError(f"{shown(text)} is not a budget", "write it like `1% per day` (or `per week`)")
    return float(Decimal(match[1]) / 100 / _DAYS[match[2]])


def parse_rate(value: object) -> float:
    """Requests a second: ``50/s``, ``90/m``, ``1000/h``. A bare number is refused. Raises UnitError."""
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, int | float) and not isinstance(text, bool):
        raise UnitError(f"{shown(text)} has no unit of time", f"write {shown(text)}/s if that many a second are meant")
    match = _RATE.match(text) if isinstance(text, str) else None
    if match is None:
        raise UnitError(f"{shown(value)} is not a rate of requests", "write it like 50/s, 90/m or 1000/h")
    rate = Decimal(match[1]) / _SECONDS[match[2]]
    if not LEAST_RATE <= rate <= MOST_RATE:
        raise UnitError(f"{shown(text)} is out of range", "write 1/h to 1000000/s")
    return float(rate)


def parse_money(value: object) -> int:
    """Micro-dollars: ``$40`` is 40,000,000, ``$0.50`` is 500,000. A bare number is refused, and so is another currency.

    Raises UnitError.
    """
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, int | float) and not isinstance(text, bool):
        raise UnitError(f"{shown(text)} has no currency", f"write ${format(Decimal(repr(text)), 'f').lstrip('-')}")
    match = _MONEY.match(text) if isinstance(text, str) else None
    if match is None:
        raise UnitError(f"{shown(value)} is not an amount of money", _money_advice(text))
    dollars = Decimal(match[1])
    if not LEAST_DOLLARS <= dollars <= MOST_DOLLARS:
        raise UnitError(f"{shown(text)} is out of range", f"write ${LEAST_DOLLARS} to ${MOST_DOLLARS}, in dollars")
    return int(dollars * 1_000_000)


def format_percent(fraction: float) -> str:
    """The inverse of parsing a percent: 0.02 -> ``2%``."""
    return f"{_plain(Decimal(repr(fraction)) * 100)}%"


def format_points(fraction: float) -> str:
    """0.05 -> ``5pp``."""
    return f"{_plain(Decimal(repr(fraction)) * 100)}pp"


def format_ratio(ratio: float) -> str:
    """1.5 -> ``1.5``."""
    return _plain(Decimal(repr(ratio)))


def format_duration(seconds: float) -> str:
    """The inverse of `parse_duration`: 5400.0 -> ``1h30m``, 0.25 -> ``250ms``."""
    rest = Decimal(repr(seconds))
    if rest < 1:
        return f"{_plain(rest * 1000)}ms"
    parts = []
    for unit in ("d", "h", "m"):
        count, rest = divmod(rest, _SECONDS[unit])
        if count:
            parts.append(f"{count:f}{unit}")
    if rest:
        parts.append(f"{_plain(rest)}s")
    return "".join(parts)


def format_budget(per_day: float) -> str:
    """0.01 -> ``1% per day``."""
    return f"{format_percent(per_day)} per day"


def shown(value: object) -> str:
    """A user's text inside a sentence: quoted, on one line, printable, and not longer than 60 characters."""
    text = repr(value) if isinstance(value, str) else str(value)
    text = text if text.isprintable() else ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _seconds(text: str) -> float:
    return float(sum((Decimal(number) * _SECONDS[unit] for number, unit in _SPAN.findall(text)), Decimal(0)))


def _as_text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        kind = {type(None): "nothing", bool: "true or false", list: "a list", dict: "a mapping"}.get(
            type(value), "that"
        )
        raise UnitError(f"{kind} is not a quantity", "write a number with its unit: 2%, 5pp, 1.5, 5m")
    return value.strip() if isinstance(value, str) else format(Decimal(repr(value)), "f")


_SOMETHING = "a limit"
_ANY = "write a number with its unit: 2% (percent), 5pp (points), 1.5 (times control), 5m (ms, s, m, h, d)"


def _advice(text: str) -> str:
    if text.startswith("-"):
        return f"{_SOMETHING} cannot be negative; write it without the sign"
    if re.fullmatch(r"[0-9]+,[0-9]+ ?\D*", text, re.ASCII):
        return f"write a point for the decimals: {shown(text.replace(',', '.', 1))}"
    spelled = _SPELLED.match(text)
    if spelled and spelled[2] in _LONG_UNITS:
        return f"write {spelled[1]}{_LONG_UNITS[spelled[2]]}"
    return _ANY


def _money_advice(text: object) -> str:
    if isinstance(text, str):
        if "-" in text:
            return "an amount cannot be negative; write it without the sign"
        if re.fullmatch(r"\$?[0-9,_]+(?:\.[0-9]+)?", text, re.ASCII) and "$" in text and ("," in text or "_" in text):
            return f"write {text.replace(',', '').replace('_', '')}, without separators"
        if re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", text, re.ASCII):
            return f"write ${text}"
    return "write US dollars, such as $40 or $0.50"


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
