"""Many pages as one message, and a page as the fallback receiver gets it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from killswitch.pages.page import SEVERITIES, Page, PageKind, about
from killswitch.wording import plain

MAX_MENTION = 300  # characters; of a message
_MAX_DIGEST_LINES = 25
_MAX_DIGEST_PAYLOADS = 100


def digest_of(pages: Sequence[Page]) -> Page:
    """Many pages in one message, for a receiver that would get more messages than people can read.

    The severity is that of the gravest page. It mentions everyone whom one of the pages mentions, because teams may
    share a channel. ``pages`` in the payload has the payloads of up to 100 pages.
    """
    ordered = sorted(pages, key=lambda page: (SEVERITIES.index(page.severity), page.at))
    first = ordered[0]
    kinds = {kind: sum(page.kind is kind for page in pages) for kind in PageKind}
    by_kind = ", ".join(f"{count} {kind.value}" for kind, count in kinds.items() if count)
    lines = [plain(page.headline, 300) for page in ordered[:_MAX_DIGEST_LINES]]
    if len(ordered) > len(lines):
        lines.append(f"and {len(ordered) - len(lines)} more: `killswitch status`")
    payload = {
        **first.payload,
        "alert": f"canary kill-switch: {len(pages)} pages",
        "kind": PageKind.DIGEST.value,
        "good_news": all(page.good_news for page in pages),
        "count": len(pages),
        "pages": [page.payload for page in ordered[:_MAX_DIGEST_PAYLOADS]],
    }
    return replace(
        first,
        id=f"{first.id}.digest-of-{len(pages)}",
        kind=PageKind.DIGEST,
        headline=f"{len(pages)} pages at once: {by_kind}",
        why=first.headline,
        rows=(),
        next_steps=(*lines, about(PageKind.DIGEST)),
        payload=payload,
        mention=_mentions(ordered),
        follows=None,
        exposed="",
        stages=(),
    )


def _mentions(pages: Sequence[Page]) -> str | None:
    """Everyone whom the pages mention, each once, as many as fit into a message."""
    return mentions_that_fit(dict.fromkeys(word for page in pages for word in (page.mention or "").split())) or None


def mentions_that_fit(mentions: Iterable[str]) -> str:
    """As many mentions as fit into a message, none cut: half a mention would swallow the text after it."""
    kept = ""
    for mention in mentions:
        longer = f"{kept} {mention}".strip()
        if len(longer) > MAX_MENTION:
            break
        kept = longer
    return kept


def for_fallback(page: Page, missed: str, error: str) -> Page:
    """The page as the fallback receiver gets it: it says which receiver could not be reached, and why."""
    note = f"{missed} could not be reached: {plain(error, 200)}" if error else f"{missed} could not be reached"
    return replace(page, next_steps=(*page.next_steps, note))
