"""The ledger: which pages this process may deliver, and what is known about each delivery.

There are two. `StoreLedger` has the outbox in the flag store. `MemoryLedger` has the pages that report that the flag
store is down. Lanes (`killswitch.pages.lane`) use both in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from killswitch.pages import outbox_entry
from killswitch.pages.outbox_entry import DeliveryState, OutboxEntry

KEEP_SETTLED = 50  # entries; later pages reply to them, and they stop late duplicates
NEWS = 3600.0  # seconds; an older page about a generation that has ended is history


class Result(StrEnum):
    """How one send ended."""

    TAKEN = "taken"
    NOT_TAKEN = "not taken"
    ANSWER_LOST = "answer lost"


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """``reference``: what the receiver that took the page calls it. ``at``: Unix seconds. ``error``: why not taken."""

    result: Result
    at: float
    reference: str = ""
    error: str = ""
    possible_repeat: bool = False


class PageLedger(Protocol):
    """What a lane needs. The methods may be called from any thread, and never raise store errors."""

    def held(self) -> Sequence[OutboxEntry]:
        """The entries this process may deliver now."""
        ...

    def ready(self, entry: OutboxEntry, receiver: str) -> bool:
        """As far as is known, no process has an attempt under way, and no attempt waits for its mark."""
        ...

    def begin(self, entries: Sequence[OutboxEntry], receiver: str) -> Sequence[OutboxEntry]:
        """Commit one attempt for each entry. The entries returned, as they are now, may be sent once."""
        ...

    def finish(self, entries: Sequence[OutboxEntry], receiver: str, outcome: DeliveryOutcome) -> None:
        """Mark the outcome of the attempts that `begin` returned."""
        ...

    def give_up(self, entry: OutboxEntry, receiver: str) -> None:
        """Make no further attempt: the page is too old to be of use."""
        ...

    def is_history(self, entry: OutboxEntry) -> bool:
        """Of a generation that has ended, and older than `NEWS` when this process first saw it.

        A receiver that has not had such a page does not get it any more. A page about the fleet has no generation: it
        is history once any receiver has taken it.
        """
        ...

    def reference(self, page_id: str, receiver: str) -> str:
        """What the receiver calls an earlier page, or ""."""
        ...

    def entry(self, page_id: str) -> OutboxEntry | None:
        """The page's entry as last seen, settled or not; None if the page is not known."""
        ...


def marked(entry: OutboxEntry, receiver: str, attempt: int, owner: str, outcome: DeliveryOutcome) -> OutboxEntry:
    """The entry with the outcome of ``owner``'s ``attempt`` marked.

    Unchanged if another process has begun a later attempt. But a page that was taken is marked in any case.
    """
    delivery = entry.delivery(receiver)
    ours = delivery.state is DeliveryState.SENDING and delivery.attempts == attempt and delivery.by == owner
    match outcome.result:
        case Result.TAKEN if delivery.state is not DeliveryState.DELIVERED:
            return outbox_entry.taken(entry, receiver, reference=outcome.reference, at=outcome.at)
        case Result.NOT_TAKEN if ours:
            return outbox_entry.not_taken(entry, receiver, error=outcome.error, at=outcome.at)
        case Result.ANSWER_LOST if ours:
            return outbox_entry.answer_lost(entry, receiver, error=outcome.error, at=outcome.at)
    return entry


def begun(entry: OutboxEntry, receiver: str, *, by: str, at: float) -> OutboxEntry:
    """The entry with one more attempt. An attempt whose process is gone is marked as orphaned first."""
    if entry.delivery(receiver).state is DeliveryState.SENDING:
        entry = outbox_entry.orphaned(entry, receiver, at=at)
    return outbox_entry.begin(entry, receiver, by=by, at=at)
