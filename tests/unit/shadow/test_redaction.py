"""What is taken out of a text before it is kept."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from killswitch.errors import BadSettings
from killswitch.shadow.redaction import hook, redact_forms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to ann.b+c@example.co.uk.", "Write to [email]."),
        ("card 4111 1111 1111 1111 please", "card [card] please"),
        ("card 4111-1111-1111-1111", "card [card]"),
        ("IBAN DE89 3704 0044 0532 0130 00 it is", "IBAN [iban] it is"),
        ("call +49 30 1234567", "call [phone]"),
        ("call (415) 555-0100 now", "call [phone] now"),
        ("call 030/12345678", "call [phone]"),
    ],
)
def test_what_has_a_form_is_found(text: str, expected: str) -> None:
    assert redact_forms(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "order 123456789 of 2026-05-03 costs $1,000,000.00",
        "card 4111 1111 1111 1112",
        "version 1.2.3 at 14:30",
        "10000000 rows in 0.25 s",
        "",
    ],
)
def test_what_has_no_such_form_stays(text: str) -> None:
    assert redact_forms(text) == text


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_text_can_be_redacted(text: str) -> None:
    assert "@example.com" not in redact_forms(f"{text} ann@example.com")


@pytest.mark.parametrize("part", ["1", "1 ", "a@", "DE11", "+1", "(", "- "])
def test_a_long_text_without_an_end_is_read_once(part: str) -> None:
    redact_forms(part * (300_000 // len(part)))


def test_a_hook_is_named_by_its_place() -> None:
    assert hook("textwrap:dedent")("  a") == "a"


@pytest.mark.parametrize("place", ["textwrap", "textwrap:", "no_such_module:f", "textwrap:no_such", "os:sep"])
def test_a_hook_that_is_none_is_refused(place: str) -> None:
    with pytest.raises(BadSettings, match="--redact"):
        hook(place)


def test_a_hook_that_returns_no_text_fails() -> None:
    with pytest.raises(TypeError):
        hook("builtins:len")("abc")
