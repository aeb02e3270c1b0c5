"""Which words only one of two answers has."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from killswitch.shadow.report.word_differences import word_differences


def marked(pieces: list[tuple[str, bool]]) -> list[str]:
    return [text for text, differ in pieces if differ]


def test_only_the_words_that_differ_are_marked() -> None:
    control, canary = word_differences("The refund arrives within five days.", "The refund arrives within fifty days.")
    assert marked(control) == ["five"]
    assert marked(canary) == ["fifty"]


def test_a_denial_is_marked() -> None:
    control, canary = word_differences("It was issued.", "It was not issued.")
    assert marked(control) == []
    assert "not" in "".join(marked(canary))


def test_japanese_is_compared_character_by_character() -> None:
    control, canary = word_differences("返金は届きます", "返品は届きます")
    assert (marked(control), marked(canary)) == (["金"], ["品"])


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_text_is_lost(one: str, other: str) -> None:
    control, canary = word_differences(one, other)
    assert "".join(text for text, _ in control) == one
    assert "".join(text for text, _ in canary) == other


def test_a_very_long_answer_is_shown_whole_and_compared_in_part() -> None:
    control, canary = word_differences("same " * 10_000, "same " * 10_000 + "end")
    assert "".join(text for text, _ in canary).endswith("end")
    assert not marked(control)
