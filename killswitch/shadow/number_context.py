"""What a number is about: the words next to it, the period it is paid for, and one amount in two units.

As a set, the numbers of "5 to Alice and 10 to Bob" are those of "10 to Alice and 5 to Bob".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Final, TypeAlias

from killswitch.shadow.fact_words import UNIT, UNITS

_WORDS_NEAR: Final = 3  # words on each side that a number may be about
_STEM: Final = 5  # letters
_WORD: Final = re.compile(r"[^\W\d_]{3,40}")
_SENTENCE_END: Final = re.compile(r"[.;!?\n\u3002]")
_OF_EVERYTHING: Final = frozenset(
    {"and", "the", "for", "you", "your", "with", "und", "die", "der", "das", "les", "des", "los", "las", "con", "per"}
)
_PERIOD: Final = re.compile(
    rf"\ ?(?:/|(?:per|an?|each|every|pro|je|im|par|por|al)\ )\ ?(?P<unit>{UNIT})", re.IGNORECASE | re.VERBOSE
)
_ADVERBS: Final = {
    adverb: unit
    for unit, adverbs in {
        "hour": "hourly stündlich",
        "day": "daily täglich diario diaria diariamente quotidien quotidienne",
        "week": "weekly wöchentlich semanal semanalmente hebdomadaire",
        "month": "monthly monatlich monatliche mensual mensualmente mensuel mensuelle mensile mensal",
        "year": "yearly annual annually jährlich jährliche anual anualmente annuel annuelle annuale",
    }.items()
    for adverb in adverbs.split()
}
_AMOUNTS: Final[dict[str, tuple[str, Decimal]]] = {
    unit: (base, Decimal(factor))
    for base, factors in {
        "second": {"ms": "0.001", "second": "1", "minute": "60", "hour": "3600", "day": "86400", "week": "604800"},
        "month": {"month": "1", "year": "12"},
        "g": {"mg": "0.001", "g": "1", "kg": "1000"},
        "meter": {"mm": "0.001", "cm": "0.01", "meter": "1", "km": "1000"},
        "liter": {"ml": "0.001", "liter": "1"},
    }.items()
    for unit, factor in factors.items()
}

Neighbours: TypeAlias = dict[tuple[bool, str], str]
Units: TypeAlias = Mapping[str, set[str]]


def neighbours_of(text: str, numbers: Sequence[tuple[str, int, int]]) -> Neighbours:
    """Which number each word is before (True) or after: only words that are next to one number alone.

    ``numbers``: in the order of the text, each as (its value, where it begins, where it ends).
    """
    found: dict[tuple[bool, str], set[str]] = {}
    ends = [0, *(end for _, _, end in numbers)]
    begins = [*(begin for _, begin, _ in numbers), len(text)]
    for place, (value, begin, end) in enumerate(numbers):
        before = _SENTENCE_END.split(text[ends[place] : begin])[-1]
        after = _SENTENCE_END.split(text[end : begins[place + 1]])[0]
        for is_before, words in ((True, _words(before)[-_WORDS_NEAR:]), (False, _words(after)[:_WORDS_NEAR])):
            for word in words:
                found.setdefault((is_before, word), set()).add(value)
    return {place: next(iter(values)) for place, values in found.items() if len(values) == 1}


def numbers_swapped(one: Neighbours, other: Neighbours) -> bool:
    """Whether numbers that both texts state changed their places among the words next to them."""
    moved = [(one[place], other[place]) for place in one.keys() & other.keys() if one[place] != other[place]]
    # a number that came to another's place, and whose own place another took
    return bool({source for source, _ in moved} & {target for _, target in moved})


def period_after(text: str, end: int) -> str:
    """The unit that a number which ends at ``end`` is paid for: "month" of "$5 a month"; "" without one."""
    found = _PERIOD.match(text, end)
    return UNITS[found["unit"].lower()] if found else ""


def periods_named(words: Iterable[str]) -> set[str]:
    """The periods of the adverbs: "month" of "monthly"."""
    return {_ADVERBS[word] for word in words if word in _ADVERBS}


def periods_differ(one: Units, other: Units) -> bool:
    """Whether a value has another period, or the texts have none of their periods in common."""
    if any(one[value].isdisjoint(other[value]) for value in one.keys() & other.keys()):
        return True
    mine, theirs = set().union(*one.values()), set().union(*other.values())
    return bool(mine and theirs and mine.isdisjoint(theirs))


def numbers_differ(one: Units, other: Units) -> bool:
    """Whether a value of one text is not in the other, in whatever unit, or has another unit there."""
    for mine, theirs in ((one, other), (other, one)):
        missing = mine.keys() - theirs.keys()
        amounts = _all_amounts(theirs) if missing else set()
        if any(_amounts(value, mine[value]).isdisjoint(amounts) for value in missing):
            return True
    for value in one.keys() & other.keys():
        left, right = one[value] - {""}, other[value] - {""}
        if left and right and not left & right:  # five days, five weeks
            return True
    return False


def _words(text: str) -> list[str]:
    return [word[:_STEM] for word in _WORD.findall(text.lower()) if word not in _OF_EVERYTHING]


def _amounts(value: str, units: Iterable[str]) -> set[tuple[str, Decimal]]:
    try:
        return {(base, Decimal(value) * factor) for base, factor in (_AMOUNTS[one] for one in units if one in _AMOUNTS)}
    except InvalidOperation:  # a number of many digits, cut
        return set()


def _all_amounts(numbers: Units) -> set[tuple[str, Decimal]]:
    return {amount for value, units in numbers.items() for amount in _amounts(value, units)}
