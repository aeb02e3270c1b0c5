"""Words that are one step of a scale, with the word that they are about: "all seats", "you must sign", "next year".

Of the same seats, "some" is another fact than "all". Without the word next to it, both are in most answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

_QUANTIFIERS: Final = {
    "all every each": "all any",
    "both": "all any both",
    "any": "all any",
    "either": "any either",
    "most meisten plupart mayoría": "most many",
    "many viele beaucoup muchos muchas": "many most",
    "some several certain einige manche mehrere certains certaines quelques plusieurs algunos algunas varios": "some",
    "few wenige peu pocos pocas": "few",
    "alle jede jeder jedes jeden sämtliche tous toutes chaque todos todas": "all any",
}
_MODALS: Final = {
    "must": "must",
    "can could may might": "may",
    "need needs have has required": "must",  # before "to" alone
    "allowed able free": "may",  # before "to" alone
}
_BEFORE_TO: Final = frozenset({"need", "needs", "have", "has", "required", "allowed", "able", "free"})
_ORDINALS: Final = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
_TIMES: Final = {"last previous past": "last", "this current": "this", "next coming following": "next"}
_PARTS_OF_TIME: Final = (
    "day week weekend month quarter year morning evening night spring summer autumn winter monday tuesday wednesday "
    "thursday friday saturday sunday january february march april may june july august september october november "
    "december"
)
_OF_TIME: Final = frozenset(_PARTS_OF_TIME.split())
_DAYS: Final = {
    "today heute hoy": "today",
    "tomorrow demain": "tomorrow",
    "yesterday gestern hier ayer": "yesterday",
}
# what may stand between a word of a scale and what it is about
_BETWEEN: Final = (
    "of the two three a an these those this your our my their his her its other you we they i also only always still "
    "then first please to be der die das den dem des unserer ihrer von de la le les los las nos vos"
)
_FILLERS: Final = frozenset(_BETWEEN.split())
_AFTER_AN_AMOUNT: Final = frozenset({"a", "one", "per", "each", "every", "few", "half", "any"})  # "a second": a time
_REACH: Final = 5  # words
_STEM: Final = 5  # letters


def _steps() -> dict[str, tuple[str, frozenset[str]]]:
    """A word, its scale, and the steps that it may mean."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    tables = (("quantifier", _QUANTIFIERS), ("modal", _MODALS), ("time", _TIMES), ("day", _DAYS))
    for scale, rows in tables:
        for words, steps in rows.items():
            found |= {word: (scale, frozenset(steps.split())) for word in words.split()}
    return found | {word: ("ordinal", frozenset({word})) for word in _ORDINALS.split()}


_STEPS: Final = _steps()
KINDS: Final = {"quantifier": "number", "ordinal": "number", "modal": "negation", "time": "date", "day": "date"}
"""The kind of difference that each scale is of."""

Scales: TypeAlias = Mapping[tuple[str, str], frozenset[str]]


def scales_of(words: Sequence[str]) -> Scales:
    """The steps that are said, by scale and by the stem of what they are about. ``words``: in order, in lower case."""
    found: dict[tuple[str, str], frozenset[str]] = {}
    for place, word in enumerate(words):
        if word not in _STEPS:
            continue
        scale, steps = _STEPS[word]
        about = "" if scale == "day" else _about(words, place, scale)
        if about is not None:
            found[scale, about] = found.get((scale, about), frozenset()) | steps
    return found


def kinds_that_differ(one: Scales, other: Scales) -> set[str]:
    """The kinds of difference: of one thing, the texts say no step in common."""
    return {KINDS[key[0]] for key in one.keys() & other.keys() if one[key].isdisjoint(other[key])}


def _about(words: Sequence[str], place: int, scale: str) -> str | None:
    """The stem of the word that the one at ``place`` is about; None where it is of no scale there."""
    word, ahead = words[place], words[place + 1 : place + 1 + _REACH]
    before = words[place - 1] if place else ""
    if word in _BEFORE_TO and (not ahead or ahead[0] != "to"):
        return None
    if (word == "few" and before == "a") or (word == "second" and (before in _AFTER_AN_AMOUNT or before.isdigit())):
        return None
    for next_word in ahead:
        if next_word == "not" or (next_word in _STEPS and scale != "time"):
            return None
        if scale == "time":
            return next_word[:_STEM] if next_word in _OF_TIME else None
        if next_word not in _FILLERS:
            return next_word[:_STEM]
    return None
