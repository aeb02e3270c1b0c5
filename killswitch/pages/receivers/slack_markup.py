"""Slack's text markup: texts are escaped, mentions stay mentions, and no escape or link is cut in two."""

from __future__ import annotations

import re

from killswitch.pages.digest import mentions_that_fit
from killswitch.pages.page import Page
from killswitch.pages.text import plain_text

MAX_TEXT = 4000  # characters; Slack cuts far later, people stop reading earlier
# A user, a user group, or everyone in the channel; anything else is text.
_MENTION = re.compile(
    r"<(?:@[UW][A-Z0-9]{2,20}|!subteam\^S[A-Z0-9]{2,20}(?:\|[^<>|&]{0,80})?|!(?:here|channel|everyone))>"
)


def escape(text: str) -> str:
    """The text with the three characters escaped that begin mentions, links and entities."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def mention_markup(mention: str) -> str:
    """Each word of ``mention`` as Slack's markup if it is a mention, else as plain text."""
    words = mention.split()
    return mentions_that_fit(word if _MENTION.fullmatch(word) else escape(word) for word in words)


def message_text(page: Page, *, possible_repeat: bool) -> str:
    """The whole page as a message's ``text``. The mention comes first, so that it is never cut."""
    return cut(_mention(page) + escape(plain_text(page, possible_repeat=possible_repeat)), MAX_TEXT)


def shortest_text(page: Page, *, possible_repeat: bool) -> str:
    """The mention and the headline only: what must arrive even if nothing else does."""
    repeat = "(possible repeat) " if possible_repeat else ""
    return cut(_mention(page) + escape(repeat + page.headline), MAX_TEXT)


def cut(text: str, limit: int) -> str:
    """At most ``limit`` characters, never through the middle of an escape or a link."""
    if len(text) <= limit:
        return text
    kept = text[: limit - 1]
    for opening, closing in (("&", ";"), ("<", ">")):
        start = kept.rfind(opening)
        if start > kept.rfind(closing):
            kept = kept[:start]
    return kept + "…"


def _mention(page: Page) -> str:
    return f"{mention_markup(page.mention)} " if page.mention else ""
