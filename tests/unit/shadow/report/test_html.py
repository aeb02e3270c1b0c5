"""The page: no text of a model, a user or a name can bring markup, a script, or anything from outside into it."""

from __future__ import annotations

import re

from hypothesis import example, given, settings

from killswitch.shadow.report.html import page
from tests.doubles.html_reader import HOSTILE, hostile_texts, is_harmless, read
from tests.doubles.shadow_reports import report_with


@settings(deadline=None, max_examples=60)
@given(hostile_texts())
@example("".join(HOSTILE))
def test_any_text_gives_a_page_without_markup_of_its_own(text: str) -> None:
    """Whatever a model, a user or a name says, the page is well formed and has no script, handler or address."""
    shown = page(report_with(text))
    shown.encode("utf-8")
    assert is_harmless(read(shown))


def test_the_page_forbids_scripts_and_everything_from_outside() -> None:
    shown = page(report_with("text"))
    policies = [value for name, value in read(shown).attributes if name == "content" and "default-src" in value]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"]
    assert "url(" not in shown
    assert "@import" not in shown


def test_markup_in_an_answer_is_shown_as_text() -> None:
    texts = "".join(read(page(report_with("<b>bold</b>"))).texts)
    assert "<b>bold</b>" in texts


def test_a_text_that_would_run_backwards_is_shown_by_its_number() -> None:
    shown = page(report_with("pay\u202e5 euros"))
    assert "\u202e" not in shown
    assert '<span class="odd">U+202E</span>' in shown


def test_the_tone_of_84_against_11_percent_is_in_the_page() -> None:
    texts = read(page(report_with("i'd be happy"))).texts
    assert texts.count("84.0%") >= 2
    assert texts.count("11.0%") >= 2
    assert "NO GO" in texts


def test_each_histogram_has_a_bar_of_each_side_in_each_bin() -> None:
    shown = page(report_with("tokens"))
    svg = shown[shown.index("<svg") : shown.index("</svg>")]
    assert svg.count('class="control"') == 2
    assert svg.count('class="canary"') == 2


def test_words_that_only_one_answer_has_are_marked() -> None:
    assert "<ins> more</ins>" in page(report_with("five days"))


def test_no_table_of_many_columns_is_cut_on_a_narrow_screen() -> None:
    """From six columns on, each row is a card on a phone: 390 px have room for four numbers."""
    shown = page(report_with("orders"))
    tables = re.findall(r'<table class="(\w+)"><tr>(.*?)</tr>', shown)
    assert len(tables) > 5
    assert all(kind == "cards" for kind, head in tables if head.count("<th") >= 6)
