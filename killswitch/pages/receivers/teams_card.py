"""The Adaptive Card of a page for Microsoft Teams, never larger than Teams takes. Pure.

All texts are `TextRun`, which knows no markup: no text of a page can become a link, a mention or a heading.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from killswitch.pages.page import Page
from killswitch.pages.receivers.alert_life import web_links
from killswitch.pages.text import stage_lines, table_lines, when_and_whom

# Microsoft documents about 28 kB for a message. Senders have seen refusals from 21 kB on, so we stay below that.
MAX_MESSAGE_BYTES = 20_000
_CARD = "application/vnd.microsoft.card.adaptive"
_SCHEMA = "http://adaptivecards.io/schemas/adaptive-card.json"
_LONGEST_LINE = 200  # characters of a table's line
_COLOURS = {"critical": "attention", "error": "attention", "warning": "warning", "info": "accent"}


def message(page: Page, *, possible_repeat: bool, short: bool = False) -> dict[str, Any]:
    """The body of the request. What does not fit is left out, tables first; ``short``: only headline, reason, links."""
    tables = [*table_lines(page.rows), *stage_lines(page.stages)]
    forms = [([], [])] if short else [(tables, page.next_steps), ([], page.next_steps), ([], [])]
    for lines, steps in forms:
        document = _message(page, lines, steps, possible_repeat=possible_repeat)
        if len(json.dumps(document, ensure_ascii=False).encode()) <= MAX_MESSAGE_BYTES:
            break
    return document


def _message(page: Page, table: Sequence[str], steps: Sequence[str], *, possible_repeat: bool) -> dict[str, Any]:
    repeat = "(possible repeat) " if possible_repeat else ""
    colour = "good" if page.good_news else _COLOURS[page.severity]
    body = [
        _text(repeat + page.headline, size="large", weight="bolder", color=colour),
        *([_text(page.why)] if page.why else []),
        _text(when_and_whom(page), isSubtle=True),
        *(_text(line[:_LONGEST_LINE], fontType="monospace", size="small") for line in table),
        *(_text(f"• {step}") for step in steps),
        _text(f"{page.kind.value} · {page.severity} · page {page.id}", isSubtle=True, size="small"),
    ]
    card: dict[str, Any] = {
        "$schema": _SCHEMA,
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": body,
    }
    links = [{"type": "Action.OpenUrl", "title": name, "url": link} for name, link in web_links(page)]
    if links:
        card["actions"] = links
    return {
        "type": "message",
        "summary": _inert(repeat + page.headline)[:400],
        "attachments": [{"contentType": _CARD, "contentUrl": None, "content": card}],
    }


def _text(text: str, **run: object) -> dict[str, Any]:
    return {
        "type": "RichTextBlock",
        "spacing": "small",
        "inlines": [{"type": "TextRun", "text": _inert(text), **run}],
    }


def _inert(text: str) -> str:
    """Without the braces by which cards and Workflows put in dates and variables."""
    return re.sub(r"(?<=[{$@])\{", " {", text)
