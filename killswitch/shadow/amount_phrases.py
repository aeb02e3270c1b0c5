"""Amounts that are said without a number, as numbers: "half of", "an hour and a half", "within a month", "twice"."""

from __future__ import annotations

import re
from typing import Final

_LIST: Final = "a an one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
_COUNTS: Final = {word: number for number, words in enumerate(_LIST.split("|"), 1) for word in words.split()}
_PARTS: Final = {"half": 2, "halve": 2, "third": 3, "quarter": 4, "fifth": 5, "tenth": 10}
_COUNT: Final = rf"(?:{'|'.join(_COUNTS)}|\d{{1,4}})"
_TIME: Final = "hour|day|week|month|year"
_AMOUNT: Final = re.compile(
    rf"""
    \b(?P<count>{_COUNT})[ -](?:(?P<of>{_TIME}|minute)s?\ and\ a\ half\b|and\ a\ half\b)
  | \bhalf\ an?\ (?P<half>{_TIME}|minute)\b
  | (?<!first\ )(?<!second\ )(?<!other\ )(?<!last\ )(?<!next\ )
    (?:\b(?P<parts>{_COUNT})[ -](?P<part>half|halves|thirds?|quarters?|fifths?|tenths?)|\b(?P<bare>half))
    \ (?=of\b|the\b)
    (?!of\ an?\ (?:{_TIME}|minute))
  | \b(?P<past>half|quarter)\ (?P<side>past|to)\ (?P<hour>{_COUNT})\b
  | \b(?P<clock>{_COUNT})\ in\ the\ (?P<daytime>morning|afternoon|evening)\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
_OF_AN_AMOUNT: Final = frozenset(
    {"morning", "afternoon", "evening", "halves"}
    | {f"{part}{end}" for part in ("half", "third", "quarter", "fifth", "tenth") for end in ("", "s")}
)
_TIMES: Final = {"twice": "2 times", "thrice": "3 times"}
_SO_OFTEN: Final = re.compile(rf"\b(?:{'|'.join(_TIMES)})\b(?! as\b)", re.IGNORECASE)
_ONE: Final = re.compile(rf" an? (?P<one>{_TIME})\b(?! and a half)", re.IGNORECASE)
_BEFORE_ONE: Final = ("within", "in", "after", "for", "take", "takes", "last", "lasts", "about", "around", "under")
_HALVES: Final = re.compile(r"\b(?:die|la) (?:hälfte|moitié|mitad|metà)\b", re.IGNORECASE)
_SHORT_DAYS: Final = {
    "mon": "Monday", "tue": "Tuesday", "tues": "Tuesday", "wed": "Wednesday", "thu": "Thursday", "thur": "Thursday",
    "thurs": "Thursday", "fri": "Friday", "sat": "Saturday", "sun": "Sunday",
}  # fmt: skip
_A_SHORT_DAY: Final = re.compile(
    r"\b(Mon|Tues?|Wed|Thu(?:rs?)?|Fri|Sat|Sun)\b\.?(?=,? \d|,? (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
    r"| ?[-\u2013] ?(?:Tue|Wed|Thu|Fri|Sat|Sun)|$)"
)


def with_numbers(text: str, language: str, words: frozenset[str]) -> str:
    """The text with these phrases as numbers: "50 % of", "1.5 hour", "within 1 month", "Monday, 5 Jan".

    ``words``: those of the text, in lower case. Most texts have no such word, and the patterns are slow.
    """
    if language not in ("", "en"):
        return _HALVES.sub("50 %", text)
    if not words.isdisjoint(_OF_AN_AMOUNT):
        text = _AMOUNT.sub(_number, text)
    if not words.isdisjoint(_TIMES):
        text = _SO_OFTEN.sub(lambda found: _TIMES[found[0].lower()], text)
    text = _ONE.sub(_of_one, text)
    if not words.isdisjoint(_SHORT_DAYS):
        text = _A_SHORT_DAY.sub(lambda found: _SHORT_DAYS[found[1].lower()], text)
    return text


def _of_one(found: re.Match[str]) -> str:
    """A length of time after these words alone: "$5 a month" is a period."""
    before = found.string[max(found.start() - 10, 0) : found.start()].lower()
    return f" 1 {found['one']}" if re.split(r"\W", before)[-1] in _BEFORE_ONE else found[0]


def _number(found: re.Match[str]) -> str:
    groups = found.groupdict()
    if groups["count"]:
        return f"{_count(groups['count'])}.5 {groups['of'] or ''}".rstrip()
    if groups["half"]:
        return f"0.5 {groups['half']}"
    return _time_of_day(groups) if groups["clock"] or groups["hour"] else _percent(groups)


def _time_of_day(groups: dict[str, str]) -> str:
    if groups["clock"]:
        return f"{_count(groups['clock'])} {'am' if groups['daytime'].lower() == 'morning' else 'pm'}"
    part = 30 if groups["past"].lower() == "half" else 15
    minutes = 60 * _count(groups["hour"]) + (part if groups["side"].lower() == "past" else -part)
    return f"{minutes // 60}:{minutes % 60:02}"


def _percent(groups: dict[str, str]) -> str:
    parts = _count(groups["parts"]) if groups["parts"] else 1
    of = _PARTS[(groups["part"] or groups["bare"]).lower().removesuffix("s")]
    return f"{round(100 * parts / of)} % "


def _count(word: str) -> int:
    return _COUNTS[word.lower()] if word.lower() in _COUNTS else int(word)
