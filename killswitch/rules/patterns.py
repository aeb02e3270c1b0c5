"""Regular expressions for the editor's JSON Schema: what ``check`` accepts, as far as one expression can say.

They mean the same in Python and in ECMAScript. ``check`` alone knows the rest: the sum of a duration of several parts,
and a fraction of a minute or more that is shorter than the shortest duration.
"""

from __future__ import annotations

_FRACTION = r"(?:\.[0-9]{1,12})?"
_DIGITS = r"(?=[0-9]{1,12}(?![0-9]))"  # as many as a number may have, leading zeros included
_NOT_ZERO = r"(?=[^1-9]*[1-9])"
_MS_OF = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def at_most(most: int) -> str:
    """A decimal number from 0 to ``most``, as `units` reads numbers."""
    below = [f"0*{_below(str(most))}{_FRACTION}"] if most else []
    either = "|".join([*below, rf"0*{most}(?:\.0{{1,12}})?"])
    return f"{_DIGITS}(?:{either})"


def _below(digits: str) -> str:
    """A whole number without leading zeros that is smaller than ``digits``, 0 (or nothing after zeros) included."""
    shorter = [rf"[0-9]{{0,{len(digits) - 1}}}"] if len(digits) > 1 else []
    same = [
        f"{digits[:at]}{_class(int(digit) - 1, first=at == 0)}[0-9]{{{len(digits) - at - 1}}}"
        for at, digit in enumerate(digits)
        if int(digit) > (1 if at == 0 and len(digits) > 1 else 0)
    ]
    return f"(?:{'|'.join([*same, *shorter])})"


def _class(most: int, *, first: bool) -> str:
    least = 1 if first and most >= 1 else 0
    return f"[{least}-{most}]" if most > least else str(most)


def whole(pattern: str, *, zero: bool = True) -> str:
    """A whole value, with white space around it. ``zero``: whether a value of zero is allowed."""
    return rf"^\s*{'' if zero else _NOT_ZERO}(?:{pattern})\s*$"


def percent(*, zero: bool) -> str:
    """Less than 100 %."""
    return whole(rf"{_DIGITS}0*[0-9]{{1,2}}{_FRACTION} ?%", zero=zero)


POINTS = whole(rf"{_DIGITS}0*[0-9]{{1,2}}{_FRACTION} ?pp", zero=False)
RATIO = whole(
    rf"{_DIGITS}0*(?:1\.(?=[0-9]*[1-9])[0-9]{{1,12}}|(?:[2-9]|[1-9][0-9]{{1,2}}){_FRACTION}|1000(?:\.0{{1,12}})?) ?x?"
)
QUANTILE = whole(
    rf"{_DIGITS}0+\.[0-9]{{1,12}} ?x?|{_DIGITS}0*[0-9]{{1,2}}{_FRACTION} ?%",
    zero=False,
)
BUDGET = whole(rf"{at_most(50)} ?% per day|{at_most(350)} ?% per week", zero=False)

# 1/h to 1000000/s, as far as one expression can say
RATE = whole(rf"[0-9]{{1,12}}{_FRACTION} ?/ ?[smh]", zero=False)

# $0.01 to $10000000, to a millionth of a dollar
MONEY = (
    r"^\s*\$(?=[0-9]{1,12}(?![0-9]))"
    r"(?:0*[1-9][0-9]{0,6}(?:\.[0-9]{1,6})?|0+\.(?:0[1-9]|[1-9][0-9]?)[0-9]{0,4}|0*10000000(?:\.0{1,6})?)\s*$"
)


def number(*, zero: bool) -> str:
    """A bare number, or times control."""
    return whole(rf"[0-9]{{1,12}}{_FRACTION} ?x?", zero=zero)


def duration(*, longest: int = 86_400, zero: bool = True, from_a_second: bool = False) -> str:
    """Up to five parts, none of them longer than ``longest`` seconds."""
    parts = "|".join(f"{at_most(longest * 1000 // ms)} ?{unit}" for unit, ms in _MS_OF.items() if longest * 1000 >= ms)
    short = rf"(?!\s*0*[0-9]{{0,3}}{_FRACTION} ?ms\s*$)(?!\s*0+{_FRACTION} ?s\s*$)" if from_a_second else ""
    return rf"^{short}\s*{'' if zero else _NOT_ZERO}(?:(?:{parts}) ?){{1,5}}\s*$"
