"""A page, and the message about an incident, as Slack's blocks.

Nothing in a page can become markup, a mention or a link: texts are escaped and ``verbatim``, tables are literal text.
No limit of Slack is passed, however long the texts are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from killswitch.pages.message_view import MessageView, Told
from killswitch.pages.page import Page, PageKind, RuleRow
from killswitch.pages.receivers.slack_markup import MAX_TEXT, cut, escape, mention_markup, message_text
from killswitch.pages.text import stage_lines, table_lines, when_and_whom
from killswitch.timestamps import to_iso
from killswitch.wording import date_and_time, time_of_day

MAX_HEADER = 150  # characters
MAX_SECTION = 3000  # characters
MAX_BLOCKS = 50
# Slack counts the texts of all blocks together, and does not say how many it takes: 11,341 were refused, of 12,000.
MAX_ALL = 10_000
_SHORT_SECTION = 1200  # characters, where sections of full length would be too many
_MAX_FOOTER = 300
_SIGNS = {
    PageKind.TRIPPED: ":rotating_light:",
    PageKind.CANNOT_ACT: ":rotating_light:",
    PageKind.PINNED: ":pushpin:",
    PageKind.FOLLOWED: ":hourglass_flowing_sand:",  # while routers are missing; otherwise it is good news
}
_INCIDENTS = frozenset({PageKind.TRIPPED, PageKind.PINNED})
_AS_IT_IS = {"parse": "none", "link_names": False}
_NO_PREVIEWS = {"unfurl_links": False, "unfurl_media": False}

Block = dict[str, Any]


def render(page: Page, *, possible_repeat: bool = False) -> dict[str, Any]:
    """``text`` and ``blocks`` of the page. The mention is in ``text``, because only there it rings a phone."""

    def blocks(limit: int) -> Iterator[Block]:
        yield _header(_sign(page), _repeated(page.headline, possible_repeat=possible_repeat))
        yield from _why(page, limit)
        yield from _facts(page, page.rows, limit)
        yield from _steps(page, limit)
        yield _footer(page)

    return {**words(page, possible_repeat=possible_repeat), "blocks": _fitting(blocks)}


def render_view(view: MessageView, buttons: Block | None = None, *, possible_repeat: bool = False) -> dict[str, Any]:
    """The one message about a page: the page, and what followed.

    The message about an incident has the rules that tripped; `render_detail` has all. ``buttons``: an actions block. A
    message that is settled has no mention, no buttons and no next steps: nothing is left to do.
    """
    settled = view.settled_by
    page = view.page if settled is None else replace(view.page, mention=None, next_steps=())

    def blocks(limit: int) -> Iterator[Block]:
        headline = page.headline if settled is None else _settled_headline(page, settled)
        yield _header(_sign_of(view), _repeated(headline, possible_repeat=possible_repeat))
        if settled is not None:
            yield _section(f"*Was:* {escape(page.headline)}", limit)
        yield from _why(page, limit)
        yield from _facts(page, _shown_rows(page), limit)
        if view.told:
            yield _section(_told_lines(view, limit), limit)
        if buttons is not None and settled is None:
            yield buttons
        yield from _steps(page, limit)
        yield _footer(page)

    said = words(page, possible_repeat=possible_repeat)
    if settled is not None:
        said["text"] = cut(f"{escape(_settled_headline(page, settled))}\n{said['text']}", MAX_TEXT)
    return {**said, "blocks": _fitting(blocks)}


def has_detail(page: Page) -> bool:
    """Whether `render_view` leaves out rules of the page."""
    return len(_shown_rows(page)) < len(page.rows)


def render_detail(page: Page) -> dict[str, Any]:
    """Every rule of the page, for the thread."""
    lines = table_lines(page.rows)
    text = escape(f"Every rule of {page.rollout} at that moment")

    def blocks(limit: int) -> Iterator[Block]:
        yield _section(f"*{text}*", limit)
        for chunk in _chunks(lines, MAX_SECTION, MAX_ALL - MAX_SECTION):
            yield _preformatted("\n".join(chunk), MAX_SECTION)

    said = cut("\n".join((text, *map(escape, lines))), MAX_TEXT)
    return {"text": said, **_AS_IT_IS, **_NO_PREVIEWS, "blocks": _fitting(blocks)}


def words(page: Page, *, possible_repeat: bool = False) -> dict[str, Any]:
    """The page without blocks."""
    return {"text": message_text(page, possible_repeat=possible_repeat), **_AS_IT_IS, **_NO_PREVIEWS}


def characters(node: object) -> int:
    """Of every text in a block, as Slack counts them."""
    if isinstance(node, dict):
        own = sum(len(value) for name, value in node.items() if name == "text" and isinstance(value, str))
        return own + sum(map(characters, node.values()))
    return sum(map(characters, node)) if isinstance(node, list) else 0


def _fitting(blocks: Callable[[int], Iterator[Block]]) -> list[Block]:
    """The blocks, their sections shortened if they were too many characters together."""
    whole = list(blocks(MAX_SECTION))
    return (whole if characters(whole) <= MAX_ALL else list(blocks(_SHORT_SECTION)))[:MAX_BLOCKS]


# --- parts --------------------------------------------------------------------------------------


def _repeated(headline: str, *, possible_repeat: bool) -> str:
    return f"(possible repeat) {headline}" if possible_repeat else headline


def _sign(page: Page) -> str:
    if page.good_news:
        return ":arrow_forward:" if page.kind is PageKind.RE_ARMED else ":white_check_mark:"
    return _SIGNS.get(page.kind, ":warning:")


def _sign_of(view: MessageView) -> str:
    if view.settled_by is not None:
        return ":arrow_forward:" if view.settled_by.kind is PageKind.RE_ARMED else ":white_check_mark:"
    if view.pinned:
        return _SIGNS[PageKind.PINNED]
    return ":eyes:" if view.acknowledged else _sign(view.page)


def _settled_headline(page: Page, settled: Told) -> str:
    return f"{page.rollout}: {settled.what}" if page.rollout not in settled.what else settled.what


def _header(sign: str, headline: str) -> Block:
    # Replaced, not escaped: a header is no markup and would show the escapes.
    calm = headline.replace("<", "(").replace(">", ")").replace("&", "+")
    return {"type": "header", "text": {"type": "plain_text", "text": cut(f"{sign} {calm}", MAX_HEADER), "emoji": True}}


def _why(page: Page, limit: int) -> Iterator[Block]:
    mention = f"{mention_markup(page.mention)} " if page.mention else ""
    if page.why or mention:
        yield _section(f"{mention}*Why:* {escape(page.why)}", limit)


def _facts(page: Page, rows: Sequence[RuleRow], limit: int) -> Iterator[Block]:
    yield _section(escape(when_and_whom(page)), limit)
    for lines in (table_lines(rows), stage_lines(page.stages)):
        if lines:
            yield _preformatted("\n".join(lines), limit)


def _shown_rows(page: Page) -> Sequence[RuleRow]:
    """Of an incident: the rules that tripped, each with its second line. Of any other page: all."""
    if page.kind not in _INCIDENTS or not any(row.tripping for row in page.rows):
        return page.rows
    shown: list[RuleRow] = []
    tripping = False
    for row in page.rows:
        tripping = row.tripping or (tripping and not row.rule)
        if tripping:
            shown.append(row)
    return shown


def _told_lines(view: MessageView, limit: int) -> str:
    """What followed, oldest first; if there is no room for all, the newest."""
    kept: list[str] = []
    left = limit - 40
    for one in reversed(view.told):
        line = f"• {_when(one.at, view.page.at)} {escape(one.what)}" + (f": {escape(one.why)}" if one.why else "")
        line = cut(line, min(left, 600))
        if left < 80:
            break
        kept.insert(0, line)
        left -= len(line) + 1
    missing = view.earlier + len(view.told) - len(kept)
    return "\n".join((*((f"… {missing} earlier, in the thread",) if missing else ()), *kept))


def _when(at: float, since: float) -> str:
    """The time; with its day if that is another one than the page's."""
    return f"{time_of_day(at)} UTC" if to_iso(at)[:10] == to_iso(since)[:10] else date_and_time(at)


def _steps(page: Page, limit: int) -> Iterator[Block]:
    if page.next_steps:
        yield _section("\n".join(f"• {_step(step)}" for step in page.next_steps), limit)


def _step(step: str) -> str:
    """A step. An http(s) address after its colon becomes a link, because ``verbatim`` makes no links."""
    name, colon, link = step.partition(": ")
    if colon and re.fullmatch(r"https?://[^\s<>|`]{1,1500}", link):
        return f"{escape(name)}: <{escape(link)}>"
    return escape(step)


def _footer(page: Page) -> Block:
    footer = cut(f"{page.kind.value} · {page.severity} · page {escape(page.id)}", _MAX_FOOTER)
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": footer, "verbatim": True}]}


def _section(text: str, limit: int) -> Block:
    return {"type": "section", "text": {"type": "mrkdwn", "text": cut(text, limit), "verbatim": True}}


def _preformatted(text: str, limit: int) -> Block:
    literal = {"type": "text", "text": cut(text, limit)}
    return {"type": "rich_text", "elements": [{"type": "rich_text_preformatted", "elements": [literal]}]}


def _chunks(lines: Sequence[str], most: int, all_of_them: int) -> Iterator[list[str]]:
    """The lines in portions of at most ``most`` characters, and at most ``all_of_them`` together."""
    chunk: list[str] = []
    size = total = 0
    for line in lines:
        total += len(line) + 1
        if total > all_of_them:
            break
        if chunk and size + len(line) + 1 > most:
            yield chunk
            chunk, size = [], 0
        chunk.append(line)
        size += len(line) + 1
    if chunk:
        yield chunk
