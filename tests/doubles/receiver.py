"""A receiver of pages in this process, scripted: what it got, and how each send ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied, OutcomeUnknown, Refused, Unavailable
from killswitch.pages.page import Page
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import Crash


class Way(StrEnum):
    """How one send ends."""

    TAKE = "take"
    UNAVAILABLE = "unavailable"
    LOST_ANSWER = "taken, answer lost"
    SWALLOWED = "not taken, answer lost"
    DENIED = "denied"
    REFUSED = "refused"
    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    BUG = "bug"


@dataclass(frozen=True, slots=True)
class Copy:
    """One page as it arrived."""

    page: Page
    at: float
    possible_repeat: bool


def end_before(way: Way, retry_after: float | None) -> None:
    """Raise what a call ends with before anything is taken; return where it goes on."""
    match way:
        case Way.CRASH_BEFORE:
            raise Crash
        case Way.UNAVAILABLE:
            raise Unavailable("503", retry_after=retry_after)
        case Way.DENIED:
            raise AccessDenied("token revoked")
        case Way.REFUSED:
            raise Refused("channel not found")
        case Way.BUG:
            raise ZeroDivisionError


class Receiver:
    """``way`` decides each send; `script` puts ways before it."""

    def __init__(self, clock: VirtualClock, name: str = "receiver") -> None:
        self.name = name
        self.copies: list[Copy] = []
        self.attempts: list[float] = []
        self.way: Callable[[], Way] = lambda: Way.TAKE
        self.script: deque[Way] = deque()
        self.retry_after: float | None = None
        self._clock = clock

    def copies_of(self, page_id: str) -> int:
        """How many messages a reader of this receiver has seen about the page, digests included."""
        return sum(
            copy.page.id == page_id or any(page["page"] == page_id for page in copy.page.payload.get("pages", ()))
            for copy in self.copies
        )

    def send(self, page: Page, *, possible_repeat: bool, deadline: Deadline) -> str:
        self.attempts.append(self._clock.monotonic())
        way = self.script.popleft() if self.script else self.way()
        copy = Copy(page, self._clock.monotonic(), possible_repeat)
        end_before(way, self.retry_after)
        if way is Way.SWALLOWED:
            raise OutcomeUnknown("no answer")
        self.copies.append(copy)
        if way is Way.CRASH_AFTER:
            raise Crash
        if way is Way.LOST_ANSWER:
            raise OutcomeUnknown("answer lost")
        return f"{self.name}/{len(self.copies)}"


class AskableReceiver(Receiver):
    """One that can be asked whether it answers."""

    def __init__(self, clock: VirtualClock, name: str = "receiver") -> None:
        super().__init__(clock, name)
        self.up = True

    def answers(self, deadline: Deadline) -> None:
        if not self.up:
            raise OutcomeUnknown("no answer")


class AddressedReceiver(Receiver):
    """One with channels, and with threads under earlier pages."""

    def __init__(self, clock: VirtualClock, name: str = "receiver") -> None:
        super().__init__(clock, name)
        self.followed: list[tuple[str, str]] = []

    def address(self, page: Page) -> str | None:
        return page.slack

    def reply(self, page: Page, reference: str, *, possible_repeat: bool, deadline: Deadline) -> str:
        self.followed.append((page.id, reference))
        return self.send(page, possible_repeat=possible_repeat, deadline=deadline)
