"""Hidden characters of hostile texts are made visible, and no other text is changed."""

from __future__ import annotations

import unicodedata
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.shadow.report.hostile_text import in_html, in_terminal


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"])))
def test_a_text_without_hidden_characters_is_only_escaped(text: str) -> None:
    assert unescape(in_html(text)) == text


@pytest.mark.parametrize("character", ["\u202e", "\u2066", "\u200b", "\ufeff", "\x1b", "\x00", "\ud800", "\u2028"])
def test_a_hidden_character_is_shown_by_its_number(character: str) -> None:
    number = f"U+{ord(character):04X}"
    assert in_html(f"a{character}b") == f'a<span class="odd">{number}</span>b'
    assert in_terminal(f"a{character}b") == f"a<{number}>b"


@pytest.mark.parametrize("text", ["👩\u200d🚀", "\u0645\u06cc\u200c\u062e\u0648", "नमस्ते", "日本語"])
def test_joiners_that_are_spelling_stay(text: str) -> None:
    assert in_html(text) == text


def test_a_joiner_between_latin_letters_is_shown() -> None:
    assert in_html("pay\u200dpal") == 'pay<span class="odd">U+200D</span>pal'


def test_a_pile_of_marks_does_not_paint_over_other_lines() -> None:
    shown = in_html("a" + "\u0301" * 50)
    assert sum(unicodedata.category(character) == "Mn" for character in shown) == 4


@given(st.text())
def test_a_line_of_a_terminal_is_one_printable_line(text: str) -> None:
    assert all(c.isprintable() or c in "\u200c\u200d" for c in in_terminal(text))
