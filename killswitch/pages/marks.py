"""Marks: the outcomes of deliveries, on their way into the flag store.

The same transaction notes in the incident that its page was taken.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from killswitch.errors import BadDocument
from killswitch.flags import incident as incidents
from killswitch.flags.incident import Paged
from killswitch.pages import outbox_entry
from killswitch.pages.ledger import DeliveryOutcome, Result, marked
from killswitch.pages.outbox_entry import OutboxEntry
from killswitch.pages.page import Page
from killswitch.stores import Compare, Put, Store, keys
from killswitch.stores.limits import PORTION_BYTES, commit_bytes

_log = logging.getLogger(__name__)
# entries with the revision of their last change, by page id
Entries = Mapping[str, tuple[OutboxEntry, int]]


@dataclass(frozen=True, slots=True)
class Mark:
    """An outcome that the store has not taken yet."""

    page_id: str
    receiver: str
    attempt: int
    outcome: DeliveryOutcome


@dataclass(slots=True)
class Draft:
    """A transaction with ``marks`` marks. ``after``: by page id the entry, its old revision, whether it changed."""

    compares: list[Compare] = field(default_factory=list)
    writes: list[Put] = field(default_factory=list)
    after: dict[str, tuple[OutboxEntry, int, bool]] = field(default_factory=dict)
    marks: int = 0
    size: int = 0

    def add(self, compare: Compare, put: Put) -> None:
        self.compares.append(compare)
        self.writes.append(put)


def draft_of(store: Store, marks: Sequence[Mark], known: Entries, owner: str) -> Draft:
    """A transaction with the first of ``owner``'s marks, as many as fit.

    ``known``: entries as last seen; the others are read from the store. Raises what the store raises.
    """
    draft = Draft()
    for mark in marks:
        if mark.page_id in draft.after:
            break  # two marks of one entry need two transactions
        stored = known.get(mark.page_id) or _stored(store, mark.page_id)
        if stored is None:
            draft.marks += 1
            continue
        entry, revision = stored
        after = marked(entry, mark.receiver, mark.attempt, owner, mark.outcome)
        added: list[tuple[Compare, Put]] = []
        if after != entry:
            key = keys.outbox(mark.page_id)
            added.append((Compare(key, revision), Put(key, outbox_entry.to_document(after))))
        incident = _incident_write(store, entry.page, mark)
        if incident is not None:
            added.append(incident)
        size = commit_bytes(put for _, put in added)
        if draft.writes and draft.size + size > PORTION_BYTES:
            break
        if any(put.key == written.key for _, put in added for written in draft.writes):
            break  # two pages of one incident need two transactions
        draft.marks += 1
        draft.after[mark.page_id] = (after, revision, after != entry)
        for compare, put in added:
            draft.add(compare, put)
        draft.size += size
    return draft


def _stored(store: Store, page_id: str) -> tuple[OutboxEntry, int] | None:
    """The entry and its revision in the store; None if there is none to mark."""
    item = store.get(keys.outbox(page_id))
    try:
        return None if item is None else (outbox_entry.from_document(item.value, page=page_id), item.mod_revision)
    except BadDocument as error:
        _log.warning("a delivery cannot be marked: %s", error)
        return None


def _incident_write(store: Store, page: Page, mark: Mark) -> tuple[Compare, Put] | None:
    """The incident with this delivery in its ``pages``; None if the page is of no incident, or is noted already."""
    if mark.outcome.result is not Result.TAKEN or "incident" not in page.payload or not page.rollout:
        return None
    item = store.get(keys.incident(page.rollout, page.generation))
    if item is None:
        return None
    try:
        incident = incidents.from_document(item.value, rollout=page.rollout)
    except BadDocument as error:
        _log.warning("the incident of page %s cannot be read: %s", page.id, error)
        return None
    outcome = mark.outcome
    paged = Paged(mark.receiver, page.kind.value, outcome.at, outcome.reference, outcome.possible_repeat)
    known = {(p.receiver, p.kind, p.reference) for p in incident.pages}
    if (paged.receiver, paged.kind, paged.reference) in known:
        return None
    value = incidents.to_document(incidents.with_page(incident, paged))
    return Compare(item.key, item.mod_revision), Put(item.key, value)
