"""Dates, times, money, percents and numbers in a text, each in one spelling whatever way it was written.

``1,000``, ``1 000`` and ``1.000`` (in German) are one number. All patterns are linear: each begins where a run of its
characters begins, and no repetition is unbounded inside another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

from killswitch.shadow.fact_words import (
    AFTER_A_SUM,
    BEFORE_A_SUM,
    CURRENCIES,
    MONTH,
    MONTHS,
    MONTHS_ALONE,
    NAMED_TIMES,
    PERCENT,
    SCALE,
    SCALES,
    UNIT,
    UNITS,
    WEEKDAYS,
)
from killswitch.shadow.number_context import Neighbours, neighbours_of, period_after, periods_named

_COMMA_DECIMALS: Final = frozenset(
    {"de", "fr", "es", "it", "pt", "nl", "sv", "da", "no", "fi", "pl", "tr", "id", "ru", "uk"}
)
_DIGITS: Final = re.compile(r"\d+")
_AROUND: Final = 26  # characters: "29th of September, 2026" has its digits at both ends
_MOST_DIGITS: Final = 60  # of a number's key: what is longer is compared by its beginning and its length

# no Latin letter or digit before it; Japanese has no space there
_ALONE: Final = r"(?<![0-9A-Za-z_.\u00c0-\u024f\u0370-\u052f])"

_DATES: Final = re.compile(
    rf"""
    (?=\d){_ALONE}(?<![,-])(?:
        (?P<y1>\d{{4}})-(?P<m1>\d{{1,2}})-(?P<d1>\d{{1,2}})(?!\d)
      | (?P<y2>\d{{4}})[/.](?P<m2>\d{{1,2}})[/.](?P<d2>\d{{1,2}})(?!\d)
      | (?P<y3>\d{{4}})\ ?年\ ?(?P<m3>\d{{1,2}})\ ?月(?:\ ?(?P<d3>\d{{1,2}})\ ?日)?
      | (?P<m9>\d{{1,2}})\ ?月\ ?(?P<d9>\d{{1,2}})\ ?日
      | (?P<d4>\d{{1,2}})\.\ ?(?P<m4>\d{{1,2}})\.\ ?(?P<y4>\d{{4}})(?!\d)
      | (?P<a5>\d{{1,2}})[/-](?P<b5>\d{{1,2}})[/-](?P<y5>\d{{4}}|\d{{2}})(?!\d)
      | (?P<d6>\d{{1,2}})(?:st|nd|rd|th|er|\.|º)?\ (?:of\ |de\ )?(?P<m6>{MONTH})
        (?:,?\ (?:de\ |of\ )?(?P<y6>\d{{4}})(?!\d))?
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)


@lru_cache(maxsize=256)
def _of_months(names: frozenset[str]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Two days of a month that is said once, and a date that begins with its month. ``names``: of the text's months.

    A pattern of all names of the languages takes ten times as long.
    """
    month = rf"(?:{'|'.join(sorted(map(re.escape, names), key=lambda name: (-len(name), name)))})\.?(?![^\W\d_])"
    days = re.compile(
        rf"(?<![\w.,/-])(?P<first>\d{{1,2}})(?: ?[-\u2013] ?| to | and )(?P<last>\d{{1,2}}) (?P<after>{month})"
        rf"|(?<!\w)(?P<before>{month}) (?P<begin>\d{{1,2}})(?: ?[-\u2013] ?| to | and )(?P<end>\d{{1,2}})"
        r"(?!\d|[:.,/%-]\d)",
        re.IGNORECASE,
    )
    first = re.compile(
        rf"""
        (?<![\w])(?P<m7>{month})\ (?P<d7>\d{{1,2}})(?:st|nd|rd|th)?(?![\d.,]\d|\d)(?:,?\ (?P<y7>\d{{4}})(?!\d))?
      | (?<![\w])(?P<m8>{month})(?:,?\ |\ de\ )(?P<y8>\d{{4}})(?!\d)
        """,
        re.VERBOSE | re.IGNORECASE,
    )
    return days, first


_TIMES: Final = re.compile(
    r"(?=\d)(?<![\d:.,])(?P<h>\d{1,2})(?::(?P<m>\d{2})(?::\d{2})?)?(?::\d{2})?\s?(?P<half>[ap]\.?m\b\.?)"
    r"|(?=\d)(?<![\d:.,])(?P<h2>\d{1,2}):(?P<m2>\d{2})(?::\d{2})?(?![\d:])",
    re.IGNORECASE,
)

_NUMBER: Final = (
    r"\d{1,3}(?:[,'_ ]\d{3}){1,8}(?!\d)(?:\.\d{1,30}(?!\d))?"
    r"|\d{1,3}(?:\.\d{3}){1,8}(?!\d)(?:,\d{1,30}(?!\d))?"
    r"|\d{1,60}(?:[.,]\d{1,60})?"
)
_QUANTITIES: Final = re.compile(
    rf"""
    (?=[^\s\d]{{1,5}}\ ?\d)(?P<minus>(?<![\w)])(?<!\d\ )-)?(?P<before>{BEFORE_A_SUM})
    \ ?(?P<sum1>{_NUMBER})(?:\ ?(?P<scale1>{SCALE}))?
  | (?=[\d-]){_ALONE}(?P<sign>(?<!\d\ )-)?(?P<number>{_NUMBER})(?:\ ?(?P<scale2>{SCALE}))?
    (?:\ ?(?:(?P<percent>{PERCENT})|(?P<after>{AFTER_A_SUM}))
      |[ -]?(?:(?:business|working|calendar|full|more|additional|square|cubic|営業)[ -]?)?(?P<unit>{UNIT}))?
    """,
    re.VERBOSE | re.IGNORECASE,
)


_RANGES: Final = re.compile(
    rf"""
    (?=[$€£\d])(?<![\d.,-])(?P<sign>[$€£])?(?P<first>\d{{1,12}}(?:[.,]\d{{1,12}})?)
    \ ?(?:[-\u2013]|to|bis|à|a)\ ?[$€£]?(?P<last>\d{{1,12}}(?:[.,]\d{{1,12}})?)(?![\d-])(?:\ ?(?P<percent>{PERCENT}))?
    """,
    re.VERBOSE | re.IGNORECASE,
)  # a sign or a percent that is said once for both ends


@dataclass(slots=True)
class Quantities:
    """What a text says in numbers. ``numbers``: each value with the units it was said with, "" without one.

    A date is ``2026-05-03``, ``--05-03`` without its year, ``2026-05`` without its day, ``a/b/2026`` where day and
    month cannot be told apart, ``T14:30`` for a time of day, ``W0`` for a Monday. Money is ``USD 5``. ``periods``: what
    each value is paid for, of adverbs under "". ``neighbours``: the words next to one number alone, and that number.
    """

    numbers: dict[str, set[str]] = field(default_factory=dict)
    dates: set[str] = field(default_factory=set)
    money: set[str] = field(default_factory=set)
    percents: set[str] = field(default_factory=set)
    periods: dict[str, set[str]] = field(default_factory=dict)
    neighbours: Neighbours = field(default_factory=dict)


def quantities_of(text: str, words: frozenset[str], language: str) -> Quantities:
    """``text`` with number words as digits already, ``words`` its words in lower case."""
    found = Quantities()
    found.dates |= {f"W{WEEKDAYS[word]}" for word in words & WEEKDAYS.keys()}
    found.dates |= {NAMED_TIMES[word] for word in words & NAMED_TIMES.keys()}
    if named := periods_named(words):
        found.periods[""] = named
    text = _near_digits(text)
    if text:
        months = words.intersection(MONTHS)
        if months:
            days, month_first = _of_months(months)
            text = days.sub(_both_days, text)
        text = _DATES.sub(lambda match: _date(match, found.dates), text)
        if months:
            text = month_first.sub(lambda match: _date(match, found.dates), text)
        text = _TIMES.sub(lambda match: _time(match, found.dates), text)
        text = _RANGES.sub(_both_ends, text)
        numbers = []
        for match in _QUANTITIES.finditer(text):
            value = _quantity(match, found, language)
            numbers.append((value, match.start(), match.end()))
            if period := period_after(text, match.end()):
                found.periods.setdefault(value, set()).add(period)
        found.neighbours = neighbours_of(text, numbers)
    found.dates |= {
        f"-{MONTHS[word]:02}"
        for word in words & MONTHS_ALONE
        if not any(f"-{MONTHS[word]:02}" in date for date in found.dates)
    }
    return found


def _near_digits(text: str) -> str:
    """The parts of the text around its digits, one a line: the patterns are slow, and most of a text is words."""
    parts = []
    begin = end = 0
    for found in _DIGITS.finditer(text):
        if found.start() - _AROUND > end:
            parts.append(text[begin:end])
            # from a word's beginning, if there is one near
            begin = text.rfind(" ", max(found.start() - 2 * _AROUND, end), found.start() - _AROUND) + 1
            begin = begin or found.start() - _AROUND
        end = found.end() + _AROUND
    parts.append(text[begin:end])
    return "\n".join(part for part in parts if part)


def _date(match: re.Match[str], dates: set[str]) -> str:
    parts = {name[0]: value for name, value in match.groupdict().items() if value is not None}
    year = parts.get("y", "")
    if len(year) == 2:
        year = f"20{year}"
    if "a" in parts:
        first, second = int(parts["a"]), int(parts["b"])
        if first > 12 and 1 <= second <= 12:
            day, month = first, second
        elif second > 12 and 1 <= first <= 12:
            day, month = second, first
        elif first == second:
            day = month = first
        else:  # 03/05/2026 is in March or in May
            dates.add(f"{first}/{second}/{year}")
            return " "
    else:
        named = parts["m"].lower().rstrip(".")
        month = MONTHS.get(named) or (int(named) if named.isdecimal() else 0)
        day = int(parts.get("d", "0"))
    if not 1 <= month <= 12 or day > 31:
        return match[0]  # a number in another sense
    dates.add(f"{year or '-'}-{month:02}" + (f"-{day:02}" if day else ""))
    return " "


def _time(match: re.Match[str], dates: set[str]) -> str:
    hour, minute = int(match["h"] or match["h2"]), match["m"] or match["m2"] or "00"
    half = (match["half"] or "").lower()
    if half:
        hour = hour % 12 + (12 if half[0] == "p" else 0)
    if hour > 24 or int(minute) > 59:
        return match[0]
    dates.add(f"T{hour:02}:{minute}")
    return " "


def _both_ends(match: re.Match[str]) -> str:
    """``10-20 %`` -> ``10 % - 20 %``, ``$5-10`` and ``$5-$10`` -> ``$5 - $10``."""
    first, last, sign = match["first"], match["last"], match["sign"] or ""
    percent = f" {match['percent']}" if match["percent"] else ""
    return f"{sign}{first}{percent} - {sign}{last}{percent}" if sign or percent else match[0]


def _both_days(match: re.Match[str]) -> str:
    """``3-5 June`` -> ``3 June - 5 June``, ``June 3-5`` -> ``June 3 - June 5``."""
    if match["after"]:
        return f"{match['first']} {match['after']} - {match['last']} {match['after']}"
    return f"{match['before']} {match['begin']} - {match['before']} {match['end']}"


def money_differs(one: set[str], other: set[str]) -> bool:
    """Whether a sum is in one text alone. "85 cents" is $0.85, and €0.85."""
    return any(
        not any(_in_cents(mine) == _in_cents(theirs) and "cent" in {mine[:4], theirs[:4]} for theirs in others)
        for sums, others in ((one - other, other), (other - one, one))
        for mine in sums
    )


def _in_cents(sum_: str) -> str:
    currency, _, value = sum_.partition(" ")
    if currency == "cent":
        return value
    try:
        return plain_number(format(Decimal(value) * 100, "f"))
    except InvalidOperation:  # a number of many digits, cut
        return sum_


def _quantity(match: re.Match[str], found: Quantities, language: str) -> str:
    """Puts the quantity where it belongs. Returns it as one text, with its kind."""
    groups = match.groupdict()
    if groups["before"]:
        value = ("-" if groups["minus"] else "") + plain_number(groups["sum1"], language, groups["scale1"])
        sum_ = f"{CURRENCIES[groups['before'].lower()]} {value}"
        found.money.add(sum_)
        return sum_
    value = ("-" if groups["sign"] else "") + plain_number(groups["number"], language, groups["scale2"])
    if groups["percent"]:
        found.percents.add(value)
        return f"{value} %"
    if groups["after"]:
        sum_ = f"{CURRENCIES[groups['after'].lower()]} {value}"
        found.money.add(sum_)
        return sum_
    found.numbers.setdefault(value, set()).add(UNITS.get((groups["unit"] or "").lower(), ""))
    return value


def plain_number(text: str, language: str = "", scale: str | None = None) -> str:
    """``1,000.50`` -> ``1000.5``, ``5.00`` -> ``5``, ``007`` -> ``7``; ``1.5`` with ``million`` -> ``1500000``."""
    digits = text.replace(" ", "").replace("'", "").replace("_", "")
    commas, dots = digits.count(","), digits.count(".")
    if commas and dots:  # the last of the two is the decimal one
        point = max(digits.rfind(","), digits.rfind("."))
        digits = digits[:point].replace(",", "").replace(".", "") + "." + digits[point + 1 :]
    elif commas or dots:
        mark = "," if commas else "."
        grouped = all(len(part) == 3 for part in digits.split(mark)[1:]) and len(digits.split(mark)[0]) <= 3
        thousands = commas + dots > 1 or (grouped and (mark == ".") == (language in _COMMA_DECIMALS))
        digits = digits.replace(mark, "" if thousands else ".")
    if scale:
        try:
            digits = format(Decimal(digits) * SCALES[scale.lower()], "f")
        except InvalidOperation:
            return digits[:_MOST_DIGITS]
    whole, point_, fraction = digits.partition(".")
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    plain = f"{whole}.{fraction}" if point_ and fraction else whole
    return plain if len(plain) <= _MOST_DIGITS else f"{plain[:_MOST_DIGITS]}…{len(plain)}"
