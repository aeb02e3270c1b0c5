"""The flag store does not answer: nothing can be changed, and a person must know.

This page cannot go through the outbox, so every replica sends its own, directly, once an outage: after a
little patience, or at once when a breach is waiting for the store.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from killswitch.flags.flag import Flag
from killswitch.fleet.page_target import Target
from killswitch.model import PageSettings
from killswitch.pages import events
from killswitch.pages.page import Page, PageKind, identified


@dataclass(slots=True)
class _Outage:
    since: float  # monotonic
    began: float  # Unix seconds
    why: str
    writing: bool = False  # a write failed, so only a successful write ends the outage
    paged: bool = False
    paged_breaches: set[str] = field(default_factory=set)  # rollouts
    pages: dict[str, PageSettings] = field(default_factory=dict)  # by page id, whom it went to


class StoreOutage:
    """Thread-safe. ``patience`` in seconds; ``send`` delivers a page without the store."""

    def __init__(
        self,
        *,
        controller_id: str,
        patience: float,
        send: Callable[[Page], None],
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._id = controller_id
        self._patience = patience
        self._send = send
        self._monotonic = monotonic
        self._wall = wall
        self._lock = threading.Lock()
        self._outage: _Outage | None = None
        self._to_send: deque[Page] = deque()
        self._sending = False

    @property
    def under_way(self) -> bool:
        return self._outage is not None

    def is_due(self, *, waiting: Collection[str]) -> bool:
        """Whether `check` has anything to say. ``waiting``: rollouts with a breach that is not acted upon."""
        outage = self._outage
        if outage is None:
            return False
        late = self._monotonic() - outage.since >= self._patience
        return (late and not outage.paged) or not outage.paged_breaches.issuperset(waiting)

    def failed(self, why: str, *, writing: bool = False) -> None:
        """A call to the store failed; ``writing``: one that was to change something."""
        with self._lock:
            if self._outage is None:
                self._outage = _Outage(self._monotonic(), self._wall(), why)
            self._outage.why = why
            self._outage.writing = self._outage.writing or writing

    def answered(self, flags: Sequence[Flag], *, writing: bool = False) -> None:
        """A call to the store succeeded; everyone who was paged about the outage is paged about its end.

        A store out of space answers reads and keep-alives and refuses every write: it cannot act all the same.
        """
        with self._lock:
            outage = self._outage
            if outage is None or (outage.writing and not writing):
                return
            self._outage = None
            at = self._wall()
            self._to_send.extend(
                events.recovered(PageKind.CANNOT_ACT, flags, follows=page, since=outage.began, at=at, settings=settings)
                for page, settings in outage.pages.items()
            )
        self._send_in_order()

    def check(
        self,
        rollouts: Sequence[str],
        waiting: Sequence[str],
        *,
        concerned: Sequence[PageSettings],
        in_danger: Sequence[PageSettings],
    ) -> None:
        """Page if it is time to, each target once.

        ``waiting``: sentences of breaches not acted upon, each beginning with its rollout's name and a colon.

        ``concerned``: whom to page about the outage; ``in_danger``: whom to page about a breach, once the others know.
        """
        breached = {sentence.partition(": ")[0] for sentence in waiting}
        with self._lock:
            outage = self._outage
            if outage is None or not self.is_due(waiting=breached):
                return
            whom = in_danger if outage.paged else [*in_danger, *concerned]
            outage.paged = True
            outage.paged_breaches |= breached
            for settings in {Target.of(one): one for one in reversed(whom)}.values():
                page = events.cannot_act(
                    rollouts,
                    controller=self._id,
                    why=outage.why,
                    since=outage.began,
                    at=self._wall(),
                    settings=settings,
                    breaches=waiting,
                )
                if page.id in outage.pages:
                    page = identified(page, f"{page.id}.{len(outage.pages)}")
                outage.pages[page.id] = settings
                self._to_send.append(page)
        self._send_in_order()

    def _send_in_order(self) -> None:
        """Hand over what waits, oldest first, on one thread at a time.

        The store may answer again, on another thread, while CANNOT_ACT is being sent: RECOVERED goes out after it.
        The lock is not held meanwhile.
        """
        while True:
            with self._lock:
                if self._sending or not self._to_send:
                    return
                self._sending = True
                page = self._to_send.popleft()
            try:
                self._send(page)
            finally:
                with self._lock:
                    self._sending = False
