"""One answer's features."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from killswitch.shadow.features import LONGEST_OPENING, form_of, opening_of, side_of, words_in
from killswitch.shadow.redaction import redact_forms
from killswitch.spend import PriceList
from tests.doubles.two_answers import AT, answer


def test_a_side_has_the_answer_s_features() -> None:
    table, code = "| a | b |\n|---|---|\n| 1 | 2 |", "```py\n# no heading\n```"
    text = f"Certainly! Here it is:\n\n# Steps\n- one\n- two\n\n{table}\n\n{code}\n"
    side = side_of(answer(text, finish_reason="stop", first_token_seconds=0.25), at=AT)
    assert (side.characters, side.words, side.opening, side.language) == (len(text), 26, "certainly!", "en")
    assert (side.headings, side.list_items, side.tables, side.code_blocks) == (1, 2, 1, 1)
    assert (side.json, side.citations, side.tool_calls) == ("none", "none", 0)
    assert (side.seconds, side.first_token_seconds, side.finish_reason) == (1.0, 0.25, "stop")


def test_unknown_tokens_and_prices_are_none_and_never_0(tmp_path: Path) -> None:
    entry = '{"model": "model-new", "valid_from": "2026-01-01", "input": 1, "output": 2}'
    (tmp_path / "prices.json").write_text(f'{{"prices": [{entry}]}}')
    prices = PriceList.from_file(tmp_path / "prices.json")
    usage = {"prompt_tokens": 1000, "completion_tokens": 500, "prompt_tokens_details": {"cached_tokens": 200}}
    known = side_of(answer(usage=usage), at=AT, prices=prices)
    assert (known.input_tokens, known.cached_tokens, known.output_tokens, known.cost_micros) == (1000, 200, 500, 2000)
    for unknown in (
        side_of(answer(), at=AT, prices=prices),
        side_of(answer(usage={"prompt_tokens": -1, "completion_tokens": 5}), at=AT, prices=prices),
    ):
        assert (unknown.input_tokens, unknown.output_tokens, unknown.cost_micros) == (None, None, None)
    assert side_of(answer(usage=usage), at=AT).cost_micros is None
    assert side_of(answer(usage=usage), at=0.0, prices=prices).cost_micros is None, "a price that is valid later"
    assert side_of(answer(usage=usage, model="another"), at=AT, prices=prices).cost_micros is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Great question! Let me see.", "great question!"),
        ("**Certainly!** Here", "certainly!"),
        ("I'm sorry to hear that. We", "i'm sorry to hear that."),
        ("Order 4711 is on its way", "order 0000 is on its way"),
        ("もちろんです。以下の通りです。", "もちろんです。"),
        ("  \n\nSure:\nfirst", "sure:"),
        ("", ""),
        ("\ud800", "?"),
    ],
)
def test_the_opening_is_the_first_sentence_without_marks_and_numbers(text: str, expected: str) -> None:
    assert opening_of(text) == expected


def test_a_long_opening_ends_at_a_word() -> None:
    opening = opening_of("absolutely " * 20)
    assert len(opening) <= LONGEST_OPENING
    assert opening.endswith("absolutely")
    assert len(opening_of("x" * 1000)) == LONGEST_OPENING


def test_the_opening_is_redacted_and_gone_if_that_fails() -> None:
    def broken(text: str) -> str:
        raise RuntimeError(text)

    assert opening_of("Write to ann@example.com today", redact_forms) == "write to [email] today"
    assert opening_of("Write to ann@example.com today", broken) == ""


@pytest.mark.parametrize(
    ("text", "citations"),
    [
        ("It is so [here](https://example.com).", "inline"),
        ("It is so [1].", "inline"),
        ("It is so (Smith, 2020).", "inline"),
        ("It is so.[^1]\n\n[^1]: a book", "footnotes"),
        ("It is so [1].\n\n[1] a book", "footnotes"),
        ("It is so.\n\nSources:\na book", "footnotes"),
        ("It is so (we think).", "none"),
    ],
)
def test_citations_are_inline_or_in_footnotes(text: str, citations: str) -> None:
    assert form_of(text).citations == citations


def test_what_is_in_code_is_no_layout() -> None:
    form = form_of("```\n# comment\n- item\n|---|---|\n~~~\n# still code\n```\n# Heading")
    assert (form.headings, form.list_items, form.tables, form.code_blocks) == (1, 0, 0, 1)


def test_words_of_a_script_without_spaces_are_counted() -> None:
    assert words_in("one two three") == 3
    assert 5 <= words_in("返金は五日以内に行われます。") <= 9


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=300))
@settings(max_examples=80, deadline=None)
def test_any_answer_has_features(text: str) -> None:
    side = side_of(answer(text), at=AT)
    assert side.characters == len(text)
    assert len(side.opening) <= LONGEST_OPENING
    side.opening.encode()


def test_ten_megabytes_have_features() -> None:
    assert side_of(answer("| - " * 2_500_000), at=AT).characters == 10_000_000
