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
    """Many pages in one message, for a receiver that had more than it should have to read.

    Severity is that of the gravest; everybody is mentioned whom one of them mentions, for teams may share a channel;
    every page's payload stands under ``pages``, up to 100.
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
    )


def _mentions(pages: Sequence[Page]) -> str | None:
    """Whom the pages mention, each once, as many as a message takes."""
    return mentions_that_fit(dict.fromkeys(word for page in pages for word in (page.mention or "").split())) or None


def mentions_that_fit(mentions: Iterable[str]) -> str:
    """As many as a message takes, none cut: half of one is text that swallows what follows."""
    kept = ""
    for mention in mentions:
        longer = f"{kept} {mention}".strip()
        if len(longer) > MAX_MENTION:
            break
        kept = longer
    return kept


def for_fallback(page: Page, missed: str, error: str) -> Page:
    """The page as the fallback receiver gets it: it says whom it could not reach, and why."""
    note = f"{missed} could not be reached: {plain(error, 200)}" if error else f"{missed} could not be reached"
    return replace(page, next_steps=(*page.next_steps, note))
