"""Who delivers what: entries held by this process, and what is known of each delivery.

`StoreLedger` keeps the outbox of the flag store: entries are claimed under a lease, so that one replica
delivers each; an attempt is committed before it is made, and marked after. `MemoryLedger` keeps the
pages that tell of the store itself being down. Lanes (`killswitch.pages.lane`) see no difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from killswitch.pages import outbox
from killswitch.pages.outbox import DeliveryState, OutboxEntry

KEEP_SETTLED = 50  # entries; they hold the references that later pages continue, and stop late duplicates
NEWS = 3600.0  # seconds; after them, a page about a generation that has ended is history


class Result(StrEnum):
    """How one send ended."""

    TAKEN = "taken"
    NOT_TAKEN = "not taken"
    ANSWER_LOST = "answer lost"


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """``reference``: the receiver's own, where it took the page. ``at``: Unix seconds. ``error``: why not."""

    result: Result
    at: float
    reference: str = ""
    error: str = ""
    possible_repeat: bool = False


class PageLedger(Protocol):
    """What a lane needs. Methods may be called from any thread and never raise store errors."""

    def held(self) -> Sequence[OutboxEntry]:
        """The entries this process may deliver now."""
        ...

    def ready(self, entry: OutboxEntry, receiver: str) -> bool:
        """No attempt of anybody is under way, as far as is known, and none waits for its mark."""
        ...

    def begin(self, entries: Sequence[OutboxEntry], receiver: str) -> Sequence[OutboxEntry]:
        """Commit one attempt each; those returned, as they now stand, may be sent, once."""
        ...

    def finish(self, entries: Sequence[OutboxEntry], receiver: str, outcome: DeliveryOutcome) -> None:
        """Mark what became of the attempts that `begin` returned."""
        ...

    def give_up(self, entry: OutboxEntry, receiver: str) -> None:
        """No further attempt: the page is too old to be of use."""
        ...

    def is_history(self, entry: OutboxEntry) -> bool:
        """Of a generation that has ended, and older than `NEWS` when this process, with its receivers, first saw it.

        So it is nothing for a receiver that would hear of it now for the first time. What is about the fleet has ended
        for those who were not told then, where anybody was.
        """
        ...

    def reference(self, page_id: str, receiver: str) -> str:
        """What the receiver called an earlier page, or ""."""
        ...

    def entry(self, page_id: str) -> OutboxEntry | None:
        """A page's entry as last seen, settled or not; None where it is not known."""
        ...


def marked(entry: OutboxEntry, receiver: str, attempt: int, owner: str, outcome: DeliveryOutcome) -> OutboxEntry:
    """The entry with the outcome of ``owner``'s ``attempt`` marked.

    Unchanged where somebody has gone on since; but that a page was taken is true whoever learned it.
    """
    delivery = entry.delivery(receiver)
    ours = delivery.state is DeliveryState.SENDING and delivery.attempts == attempt and delivery.by == owner
    match outcome.result:
        case Result.TAKEN if delivery.state is not DeliveryState.DELIVERED:
            return outbox.taken(entry, receiver, reference=outcome.reference, at=outcome.at)
        case Result.NOT_TAKEN if ours:
            return outbox.not_taken(entry, receiver, error=outcome.error, at=outcome.at)
        case Result.ANSWER_LOST if ours:
            return outbox.answer_lost(entry, receiver, error=outcome.error, at=outcome.at)
    return entry


def begun(entry: OutboxEntry, receiver: str, *, by: str, at: float) -> OutboxEntry:
    """The entry with one more attempt; an attempt whose sender is gone is written off first."""
    if entry.delivery(receiver).state is DeliveryState.SENDING:
        entry = outbox.orphaned(entry, receiver, at=at)
    return outbox.begin(entry, receiver, by=by, at=at)
