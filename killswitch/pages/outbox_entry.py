"""The outbox entry: one page, and how far each receiver has got with it.

An entry is written in the same transaction as the flip that it reports, and any live replica delivers it. This file
says which states a delivery may go through (`TRANSITIONS`), not when or by whom: no I/O, no clock. Each function
returns a new entry, or raises IllegalTransition and changes nothing.

Copies: the number of an attempt is committed before the attempt is made, so a send that was never marked is known to be
possible. Where a receiver's answer was lost (`UNKNOWN`), the page is sent once more, marked as a possible repeat. So a
receiver gets at most two copies, plus one for each process that died between the send and the mark (`orphaned`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from killswitch.documents import Fields, parse_object
from killswitch.errors import BadDocument, IllegalTransition
from killswitch.pages import message_upkeep
from killswitch.pages.message_upkeep import Upkeep
from killswitch.pages.page import Page, page_from_json, page_to_json
from killswitch.stores import Put, keys
from killswitch.timestamps import to_iso

FORMAT = 1
# An entry of this size and an incident fit into one transaction (see `stores.limits`). A thousand receivers fit in.
MAX_DOCUMENT_BYTES = 384 * 1024
MAX_UNKNOWN_OUTCOMES = 2
_MAX_ERROR = 300


class DeliveryState(StrEnum):
    """How far the delivery of one page to one receiver has come."""

    PENDING = "pending"  # nothing was sent, or certainly nothing arrived
    SENDING = "sending"  # an attempt is committed; it may or may not have been sent yet
    UNKNOWN = "unknown"  # sent, and the answer was lost; it is sent once more
    DELIVERED = "delivered"
    UNCERTAIN = "uncertain"  # sent twice, both answers lost; no third copy
    EXPIRED = "expired"  # given up: the page is older than its useful life


class Event(StrEnum):
    BEGIN = "begin"
    TAKEN = "taken"
    NOT_TAKEN = "not taken"
    ANSWER_LOST = "answer lost"
    ORPHANED = "orphaned"
    GIVE_UP = "give up"


# Anything not listed is illegal. TAKEN is always legal: a page that was taken was taken, whenever that is learned.
TRANSITIONS: Mapping[tuple[DeliveryState, Event], DeliveryState] = {
    (DeliveryState.PENDING, Event.BEGIN): DeliveryState.SENDING,
    (DeliveryState.UNKNOWN, Event.BEGIN): DeliveryState.SENDING,
    (DeliveryState.SENDING, Event.TAKEN): DeliveryState.DELIVERED,
    (DeliveryState.SENDING, Event.NOT_TAKEN): DeliveryState.PENDING,
    (DeliveryState.SENDING, Event.ANSWER_LOST): DeliveryState.UNKNOWN,
    (DeliveryState.SENDING, Event.ORPHANED): DeliveryState.PENDING,
    (DeliveryState.PENDING, Event.TAKEN): DeliveryState.DELIVERED,
    (DeliveryState.UNKNOWN, Event.TAKEN): DeliveryState.DELIVERED,
    (DeliveryState.UNCERTAIN, Event.TAKEN): DeliveryState.DELIVERED,
    (DeliveryState.EXPIRED, Event.TAKEN): DeliveryState.DELIVERED,
    (DeliveryState.DELIVERED, Event.TAKEN): DeliveryState.DELIVERED,
    (DeliveryState.PENDING, Event.GIVE_UP): DeliveryState.EXPIRED,
    (DeliveryState.UNKNOWN, Event.GIVE_UP): DeliveryState.EXPIRED,
}
FINAL = frozenset({DeliveryState.DELIVERED, DeliveryState.UNCERTAIN, DeliveryState.EXPIRED})


@dataclass(frozen=True, slots=True)
class Delivery:
    """One receiver's part of an entry.

    ``attempts`` counts committed attempts, ``unknown`` those whose answer was lost, ``orphaned`` those whose process
    ended before it marked the outcome. ``by``: the process of the last attempt. ``at``: the last change, in Unix
    seconds. ``reference``: what the receiver calls the page. ``error``: the last one. ``upkeep``: what was done to the
    message since it was delivered, None for nothing.
    """

    state: DeliveryState = DeliveryState.PENDING
    attempts: int = 0
    unknown: int = 0
    orphaned: int = 0
    by: str = ""
    at: float = 0.0
    reference: str = ""
    error: str = ""
    upkeep: Upkeep | None = None

    @property
    def final(self) -> bool:
        return self.state in FINAL

    @property
    def may_have_arrived(self) -> bool:
        """The receiver may have a copy already, so the next copy says that it may be a repeat."""
        return self.unknown + self.orphaned > 0


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """One page and its deliveries by receiver name. ``created_at`` is Unix seconds."""

    page: Page
    created_at: float
    deliveries: Mapping[str, Delivery] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.page.id

    def delivery(self, receiver: str) -> Delivery:
        return self.deliveries.get(receiver, Delivery())

    def settled(self, receivers: Collection[str], fallback: str | None = None) -> bool:
        """Nothing is left to do: every receiver is in a final state, and so is the fallback if it is needed."""
        if not all(self.delivery(receiver).final for receiver in receivers):
            return False
        if fallback is None:
            return True
        begun = fallback in self.deliveries
        missed = not receivers or any(self.delivery(name).state is not DeliveryState.DELIVERED for name in receivers)
        return self.delivery(fallback).final if begun or missed else True


def new_entry(page: Page, *, at: float) -> OutboxEntry:
    return OutboxEntry(page, at)


def into_outbox(page: Page, *, at: float) -> Put:
    """The write that puts a new page into the outbox: a part of the transaction that makes the page true.

    Every writer of the outbox calls this. ``at`` is Unix seconds.
    """
    return Put(keys.outbox(page.id), to_document(new_entry(page, at=at)))


def begin(entry: OutboxEntry, receiver: str, *, by: str, at: float) -> OutboxEntry:
    """The entry with one more attempt. Commit it before anything is sent."""
    before = entry.delivery(receiver)
    state = _next(before, Event.BEGIN, entry, receiver)
    return _with(entry, receiver, replace(before, state=state, attempts=before.attempts + 1, by=by, at=at))


def taken(entry: OutboxEntry, receiver: str, *, reference: str, at: float) -> OutboxEntry:
    before = entry.delivery(receiver)
    state = _next(before, Event.TAKEN, entry, receiver)
    return _with(
        entry,
        receiver,
        replace(before, state=state, at=at, reference=reference or before.reference, error=""),
    )


def not_taken(entry: OutboxEntry, receiver: str, *, error: str, at: float) -> OutboxEntry:
    """The receiver certainly did not take this attempt. It may have taken an earlier one."""
    before = entry.delivery(receiver)
    state = _next(before, Event.NOT_TAKEN, entry, receiver)
    if before.unknown:
        state = DeliveryState.UNKNOWN
    return _with(entry, receiver, replace(before, state=state, at=at, error=error[:_MAX_ERROR]))


def answer_lost(entry: OutboxEntry, receiver: str, *, error: str, at: float) -> OutboxEntry:
    """A copy may have arrived. After the second such outcome there is no further attempt."""
    before = entry.delivery(receiver)
    state = _next(before, Event.ANSWER_LOST, entry, receiver)
    lost = before.unknown + 1
    if lost >= MAX_UNKNOWN_OUTCOMES:
        state = DeliveryState.UNCERTAIN
    return _with(entry, receiver, replace(before, state=state, unknown=lost, at=at, error=error[:_MAX_ERROR]))


def orphaned(entry: OutboxEntry, receiver: str, *, at: float) -> OutboxEntry:
    """The process that began this attempt is gone, and it is not known whether it sent the page."""
    before = entry.delivery(receiver)
    state = _next(before, Event.ORPHANED, entry, receiver)
    if before.unknown:
        state = DeliveryState.UNKNOWN
    return _with(entry, receiver, replace(before, state=state, orphaned=before.orphaned + 1, at=at))


def give_up(entry: OutboxEntry, receiver: str, *, at: float) -> OutboxEntry:
    before = entry.delivery(receiver)
    return _with(entry, receiver, replace(before, state=_next(before, Event.GIVE_UP, entry, receiver), at=at))


def reference_of(entry: OutboxEntry, receiver: str) -> str:
    """What the receiver calls the page; "" if it does not have it, or if its message was deleted there."""
    delivery = entry.delivery(receiver)
    return "" if delivery.upkeep is not None and delivery.upkeep.gone else delivery.reference


def kept_up(entry: OutboxEntry, receiver: str, upkeep: Upkeep, *, reference: str = "") -> OutboxEntry:
    """The entry whose delivered message has this upkeep. ``reference``: of the message that has replaced it."""
    before = entry.delivery(receiver)
    return _with(entry, receiver, replace(before, upkeep=upkeep, reference=reference or before.reference))


def _next(before: Delivery, event: Event, entry: OutboxEntry, receiver: str) -> DeliveryState:
    after = TRANSITIONS.get((before.state, event))
    if after is None:
        raise IllegalTransition(f"page {entry.id} to {receiver}: {event} while {before.state} is not in the table")
    return after


def _with(entry: OutboxEntry, receiver: str, delivery: Delivery) -> OutboxEntry:
    return replace(entry, deliveries={**entry.deliveries, receiver: delivery})


# --- the document -------------------------------------------------------------------------------


def to_document(entry: OutboxEntry) -> bytes:
    """The entry as stored: JSON, UTF-8. With very many receivers their error texts are left out."""
    for most in (_MAX_ERROR, 0):
        value = json.dumps(_to_json(entry, most), ensure_ascii=False).encode(errors="replace")
        if len(value) <= MAX_DOCUMENT_BYTES:
            break
    return value


def _to_json(entry: OutboxEntry, longest_error: int) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "created_at": to_iso(entry.created_at),
        "page": page_to_json(entry.page),
        "deliveries": {
            receiver: _delivery_to_json(delivery, longest_error)
            for receiver, delivery in sorted(entry.deliveries.items())
        },
    }


def _delivery_to_json(delivery: Delivery, longest_error: int) -> dict[str, Any]:
    document: dict[str, Any] = {
        "standing": delivery.state.value,
        "attempts": delivery.attempts,
        "unknown": delivery.unknown,
        "orphaned": delivery.orphaned,
        "by": delivery.by,
        "at": to_iso(delivery.at),
        "reference": delivery.reference,
        "error": delivery.error[:longest_error],
    }
    if delivery.upkeep is not None:
        document["upkeep"] = message_upkeep.to_json(delivery.upkeep)
    return document


def from_document(value: bytes, *, page: str) -> OutboxEntry:
    """The inverse of `to_document`, for a document that claims to hold ``page``. Raises BadDocument."""
    fields = parse_object(value, f"outbox entry {page}", max_bytes=MAX_DOCUMENT_BYTES)
    if fields.integer("format") != FORMAT:
        raise BadDocument(f"{fields.where}: format {fields.raw['format']}; this version reads {FORMAT}")
    content = page_from_json(fields.raw.get("page"))
    if content.id != page:
        raise BadDocument(f"{fields.where}: the document holds page {content.id!r:.80}")
    deliveries = Fields(fields.raw.get("deliveries"), f"{fields.where}, deliveries")
    return OutboxEntry(
        page=content,
        created_at=fields.time("created_at"),
        deliveries={
            receiver: _delivery(Fields(entry, f"{deliveries.where}, {receiver}"))
            for receiver, entry in deliveries.raw.items()
        },
    )


def _delivery(fields: Fields) -> Delivery:
    text = fields.text("standing")
    try:
        state = DeliveryState(text)
    except ValueError as error:
        raise BadDocument(f"{fields.where}: standing {text!r:.80} is unknown") from error
    return Delivery(
        state=state,
        attempts=fields.integer("attempts"),
        unknown=fields.integer("unknown"),
        orphaned=fields.integer("orphaned"),
        by=fields.text("by", empty=True),
        at=fields.time("at"),
        reference=fields.text("reference", empty=True),
        error=fields.text("error", empty=True),
        upkeep=message_upkeep.from_json(Fields(fields.raw["upkeep"], f"{fields.where}, upkeep"))
        if "upkeep" in fields.raw
        else None,
    )
