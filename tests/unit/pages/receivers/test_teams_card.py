from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from killswitch.pages.page import RuleRow
from killswitch.pages.receivers.teams_card import MAX_MESSAGE_BYTES, message
from tests.doubles.pages import trip_page

HOSTILE = st.text(max_size=1000) | st.sampled_from(
    ["{{{DATE(2026-01-01,SHORT)}}", "${x}", "@{triggerBody()}", "[x](https://eve.example.org)", "<at>all</at>"]
)


def elements(document: Any) -> list[dict[str, Any]]:
    """Every object in the document."""
    if isinstance(document, list):
        return [found for one in document for found in elements(one)]
    if not isinstance(document, dict):
        return []
    return [document, *(found for one in document.values() for found in elements(one))]


@given(HOSTILE, HOSTILE, st.lists(HOSTILE, max_size=12), st.integers(0, 40))
def test_no_text_makes_a_card_too_large_or_adds_an_element(
    headline: str, why: str, steps: list[str], rows: int
) -> None:
    row = RuleRow(
        rule=why[:60], verdict="BREACH", canary="", control="", limit="", samples="", counted="", tripping=True
    )
    page = replace(trip_page(), headline=headline or "h", why=why, next_steps=tuple(steps), rows=(row,) * rows)
    document = message(page, possible_repeat=True)
    assert len(json.dumps(document, ensure_ascii=False).encode()) <= MAX_MESSAGE_BYTES
    kinds = {one["type"] for one in elements(document) if "type" in one}
    assert kinds <= {"message", "AdaptiveCard", "RichTextBlock", "TextRun", "Action.OpenUrl"}
    assert {one["url"] for one in elements(document) if "url" in one} == {page.runbook, page.dashboard}
    texts = [one["text"] for one in elements(document) if "text" in one]
    assert not any(opening in text for text in texts for opening in ("{{", "${", "@{"))


def test_what_does_not_fit_goes_tables_first() -> None:
    row = RuleRow("r" * 60, "BREACH", "1%", "1%", "1%", "1", "5m", tripping=True)
    page = replace(trip_page(), rows=(row,) * 40, next_steps=("s" * 900,) * 10)
    texts = [one["text"] for one in elements(message(page, possible_repeat=False)) if "text" in one]
    assert any(text.startswith("• sss") for text in texts)
    assert not any("r" * 60 in text for text in texts)
    assert page.headline in texts


def test_a_short_card_has_headline_reason_and_links() -> None:
    short = message(trip_page(), possible_repeat=False, short=True)
    assert not any(one.get("fontType") == "monospace" for one in elements(short))
    assert len(json.dumps(short)) < 3000
