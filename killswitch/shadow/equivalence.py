"""Whether two answers to one request say the same: alike by a stated measure, and no difference in facts.

The bare answer for one pair. What a share of equivalent pairs is worth is decided later against the noise floor, the
pairs in which the same model answered twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from killswitch.router.shadow.raw_pair import RawAnswer, ToolCall
from killswitch.shadow.answer_json import NOT_JSON, canonical, leaves, parsed
from killswitch.shadow.facts import MOST_CHARACTERS, differences, facts_of
from killswitch.shadow.features import form_of
from killswitch.shadow.finish_reasons import is_cut
from killswitch.shadow.json_schema import equal

LAYOUT: Final = frozenset({"format"})
"""Kinds of difference that are counted, and alone do not make two answers different in what they say."""

_SHORT: Final = 80  # characters: of shorter answers the lengths say nothing
_LONGEST_NAME: Final = 64  # characters of a JSON text that is a name or a choice, not a sentence


@dataclass(frozen=True, slots=True)
class Texts:
    """Two texts to be measured by a `Similarity`, and what is known about them without it.

    ``unread``: a text is longer than what is read, so finding no difference proves nothing.
    """

    control: str
    other: str
    differences: tuple[str, ...]
    same: bool
    unread: bool

    @property
    def material(self) -> bool:
        """There is a difference in what the answers say."""
        return not LAYOUT.issuperset(self.differences)


def identical(control: RawAnswer, other: RawAnswer) -> bool:
    """The same text to the byte, the same tool calls, and both a refusal or neither."""
    return control.text == other.text and calls_of(control) == calls_of(other) and control.refused == other.refused


def texts_of(control: RawAnswer, other: RawAnswer) -> Texts:
    """The two texts with all differences that need no measure."""
    found: set[str] = set()
    if control.refused != other.refused:
        found.add("refusal")
    if calls_of(control) != calls_of(other):
        found.add("tool_call")
    one, two = parsed(control.text), parsed(other.text)
    structured = isinstance(one, dict | list) and isinstance(two, dict | list)
    if structured and equal(one, two):
        return Texts(control.text, other.text, tuple(sorted(found)), same=not found, unread=False)
    if structured:
        texts, kinds = _json_texts(one, two)
        found |= kinds
    else:
        texts = (control.text, other.text)
        if (one is NOT_JSON) != (two is NOT_JSON) and (isinstance(one, dict | list) or isinstance(two, dict | list)):
            found |= {"format", "identifier"}  # a program that reads one cannot read the other
        if form_of(texts[0]) != form_of(texts[1]):
            found.add("format")
    if _length_differs(control, other, texts):
        found.add("length")
    if texts[0] != texts[1]:
        found |= set(differences(facts_of(texts[0]), facts_of(texts[1])))
    unread = max(map(len, texts)) > MOST_CHARACTERS and texts[0] != texts[1]
    return Texts(*texts, tuple(sorted(found)), same=texts[0] == texts[1] and not found, unread=unread)


def equivalent(texts: Texts, similarity: float, threshold: float) -> bool | None:
    """Whether they say the same; None where an unread end may hold a difference."""
    if texts.same:
        return True
    if texts.material or similarity < threshold:
        return False
    return None if texts.unread else True


def calls_of(answer: RawAnswer) -> tuple[tuple[str, str], ...]:
    """The tools asked for, as (name, canonical arguments), sorted: models ask for several at once in any order."""
    return tuple(sorted((call.name, _arguments(call)) for call in answer.tool_calls))


def _arguments(call: ToolCall) -> str:
    if not call.arguments.strip():
        return "{}"
    value = parsed(call.arguments)
    return call.arguments if value is NOT_JSON else canonical(value) or call.arguments


def _json_texts(one: Any, other: Any) -> tuple[tuple[str, str], set[str]]:
    """The sentences of two JSON values, and how the rest of them differs: paths, numbers, choices."""
    mine, theirs = dict(leaves(one)), dict(leaves(other))
    kinds: set[str] = set()
    if mine.keys() != theirs.keys():
        kinds |= {"format", "identifier"}
    for path in mine.keys() & theirs.keys():
        left, right = mine[path], theirs[path]
        if equal(left, right) or (_is_sentence(left) and _is_sentence(right)):
            continue
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (left, right))
        kinds.add("number" if numbers else "identifier")
    sentences = ["\n".join(value for value in found.values() if _is_sentence(value)) for found in (mine, theirs)]
    return (sentences[0], sentences[1]), kinds


def _is_sentence(value: object) -> bool:
    return isinstance(value, str) and (" " in value.strip() or len(value) > _LONGEST_NAME or not value.isascii())


def _length_differs(control: RawAnswer, other: RawAnswer, texts: tuple[str, str]) -> bool:
    """One is cut off, or less than half as long."""
    shorter, longer = sorted(map(len, texts))
    one_is_cut = bool(is_cut(control.finish_reason)) != bool(is_cut(other.finish_reason))
    return one_is_cut or (longer >= _SHORT and 2 * shorter < longer)
