"""Whether two answers say the same: alike, and no difference in facts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.router.shadow.raw_pair import RawAnswer, ToolCall
from killswitch.shadow.equivalence import equivalent, identical, texts_of
from killswitch.shadow.facts import MOST_CHARACTERS
from killswitch.shadow.similarity import CharacterGrams
from tests.doubles.two_answers import DENIED, REFUND, answer


def judged(control: RawAnswer, other: RawAnswer) -> tuple[bool | None, tuple[str, ...]]:
    measure = CharacterGrams()
    texts = texts_of(control, other)
    (likeness,) = measure.between([(texts.control, texts.other)])
    return equivalent(texts, likeness, measure.threshold), texts.differences


def test_a_paraphrase_is_equivalent_and_a_lie_is_not() -> None:
    paraphrase = "We issued your refund of $25 on May 3, 2026; expect it on your account within 5 business days."
    assert judged(answer(), answer(paraphrase)) == (True, ())
    assert judged(answer(), answer(DENIED)) == (False, ("negation",))


def test_a_refusal_differs_from_an_answer_whatever_it_says() -> None:
    assert judged(answer(), answer(refused=True)) == (False, ("refusal",))
    assert not identical(answer(), answer(refused=True))


def test_unlike_texts_without_facts_are_not_equivalent() -> None:
    assert judged(answer("We like it."), answer("Bananas grow here."))[0] is False


def test_layout_is_a_difference_and_says_the_same() -> None:
    prose = "To pair the headset, hold the button, then choose it in the settings."
    listed = "To pair the headset:\n- hold the button\n- then choose it in the settings."
    assert judged(answer(prose), answer(listed)) == (True, ("format",))


def test_a_text_that_was_cut_off_is_not_equivalent() -> None:
    """By its length, or because the provider says so."""
    long = (
        "We sent the parcel to the address that you gave us, and the carrier will bring it to your door in the evening."
    )
    assert judged(answer(long), answer(long[:50])) == (False, ("length",))
    cut = replace(answer(long[:90]), finish_reason="length")
    assert judged(answer(long), cut) == (False, ("length",))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"city": "Bern", "days": 5}', '{"days": 5.0, "city": "Bern"}', True),
        ('{"city": "Bern"}', '{"city":"Bern"}', True),
        ("{}", '{"unit": "c"}', False),
        ('{"unit": "c"}', '{"unit": "f"}', False),
        ("not json", "not json", True),
        ("", "{}", True),
    ],
)
def test_tool_calls_are_compared_by_name_and_canonical_arguments(one: str, other: str, same: bool) -> None:
    pair = [answer("", tool_calls=(ToolCall("weather", arguments),)) for arguments in (one, other)]
    assert identical(*pair) is same
    assert judged(*pair) == ((True, ()) if same else (False, ("tool_call",)))


def test_tools_in_another_order_are_the_same_tools() -> None:
    calls = (ToolCall("a", "{}"), ToolCall("b", "{}"))
    assert judged(answer("", tool_calls=calls), answer("", tool_calls=calls[::-1])) == (True, ())
    assert judged(answer("", tool_calls=calls), answer("", tool_calls=calls[:1]))[0] is False


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ('{"a": 1, "b": "x"}', '{"b":"x","a":1.0}', (True, ())),
        ('{"ok": true}', '{"ok": false}', (False, ("identifier",))),
        ('{"ok": true}', '{"ok": 1}', (False, ("identifier",))),
        ('{"score": 0.8}', '{"score": 0.9}', (False, ("number",))),
        ('{"a": 1}', '{"b": 1}', (False, ("format", "identifier"))),
        ('{"say": "We will send it today."}', '{"say": "We will send it  today."}', (True, ())),
        ('{"say": "We will send it."}', '{"say": "We will not send it."}', (False, ("negation",))),
    ],
)
def test_json_is_compared_as_values(one: str, other: str, expected: tuple[bool, tuple[str, ...]]) -> None:
    assert judged(answer(one), answer(other)) == expected


def test_prose_in_the_place_of_json_is_another_answer() -> None:
    same, kinds = judged(answer('{"status": "approved", "more": "no"}'), answer("The status is approved, more is no."))
    assert same is False
    assert "format" in kinds


def test_two_texts_too_long_to_read_are_unknown_unless_a_difference_is_read() -> None:
    """The end that is not read may say anything."""
    long = "We will send it. " * (MOST_CHARACTERS // 10)
    assert judged(answer(long), answer(long))[0] is True
    assert judged(answer(long), answer(f"{long}Not."))[0] is None
    assert judged(answer(long), answer(f"In 5 days. {long}"))[0] is False


@pytest.mark.parametrize("text", ["", "\ud800", "\x00", "x" * 10_000_000])
def test_a_strange_answer_is_compared_like_any_other(text: str) -> None:
    assert judged(answer(text), answer(text)) == (True, ())
    assert judged(answer(), answer(text))[0] is False
    assert text == "" or text != REFUND
