"""How long delivered pages stay in the outbox: later pages reply to them, and their messages are kept up to date."""

from __future__ import annotations

from collections.abc import Collection

from killswitch.pages.ledger import KEEP_SETTLED
from killswitch.pages.marks import Entries
from killswitch.pages.message_view import SETTLING
from killswitch.pages.page import PageKind

KEEP_SETTLED_AT_LEAST = 120.0  # seconds
KEEP_SETTLED_AT_MOST = 7 * 86400.0  # seconds
# An incident that no one has settled is kept for longer, where a message about it is kept up to date.
KEEP_OPEN = 100  # incidents
KEEP_OPEN_AT_MOST = 60 * 86400.0  # seconds
_INCIDENTS = frozenset({PageKind.TRIPPED, PageKind.PINNED})


def droppable(entries: Entries, unsettled: Collection[str], now: float) -> list[tuple[str, int]]:
    """The ids and revisions of delivered pages that are no longer needed. ``now`` is Unix seconds.

    A page goes before those that follow it, never after: a message must not forget what it has shown.
    """
    done = sorted(
        ((entry.created_at, page_id) for page_id, (entry, _) in entries.items() if page_id not in unsettled),
        reverse=True,
    )
    open_incidents = _open_incidents(entries, now)
    old: list[str] = []
    for position, (created_at, page_id) in enumerate(done):
        age = now - created_at
        surplus = position >= KEEP_SETTLED and age > KEEP_SETTLED_AT_LEAST
        if page_id not in open_incidents and (surplus or age > KEEP_SETTLED_AT_MOST):
            old.append(page_id)
    stays = entries.keys() - set(old)
    follows = {page_id: entries[page_id][0].page.follows for page_id in old}
    dropped = sorted((page_id for page_id in old if follows[page_id] not in stays), key=lambda one: bool(follows[one]))
    return [(page_id, entries[page_id][1]) for page_id in dropped]


def _open_incidents(entries: Entries, now: float) -> set[str]:
    """The newest pages of incidents that no page has settled yet."""
    settled = {entry.page.follows for entry, _ in entries.values() if entry.page.kind in SETTLING}
    newest = sorted(
        (
            (entry.created_at, page_id)
            for page_id, (entry, _) in entries.items()
            if entry.page.kind in _INCIDENTS
            and entry.page.follows is None
            and any(delivery.upkeep is not None for delivery in entry.deliveries.values())
            and page_id not in settled
            and now - entry.created_at <= KEEP_OPEN_AT_MOST
        ),
        reverse=True,
    )
    return {page_id for _, page_id in newest[:KEEP_OPEN]}
