"""The flag store does not answer: nothing can be changed, and a person must know.

This page cannot stand in the outbox, so every replica tells its own, directly, once per outage: after a
little patience, or at once when a breach is waiting for the store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from killswitch import message
from killswitch.flag import Flag
from killswitch.message import Page, PageKind
from killswitch.model import PageSettings


@dataclass(slots=True)
class _Outage:
    since: float  # monotonic
    began: float  # Unix seconds
    why: str
    writing: bool = False  # a write failed: only a write ends it
    told: bool = False
    told_of_breach: bool = False
    page: str = ""


class StoreOutage:
    """Thread-safe. ``patience`` in seconds; ``tell`` delivers a page without the store."""

    def __init__(
        self,
        *,
        controller_id: str,
        patience: float,
        tell: Callable[[Page], None],
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._id = controller_id
        self._patience = patience
        self._tell = tell
        self._monotonic = monotonic
        self._wall = wall
        self._lock = threading.Lock()
        self._outage: _Outage | None = None

    @property
    def under_way(self) -> bool:
        return self._outage is not None

    def failed(self, why: str, *, writing: bool = False) -> None:
        """A call to the store failed; ``writing``: one that was to change something."""
        with self._lock:
            if self._outage is None:
                self._outage = _Outage(self._monotonic(), self._wall(), why)
            self._outage.why = why
            self._outage.writing = self._outage.writing or writing

    def answered(self, flags: Sequence[Flag], settings: PageSettings, *, writing: bool = False) -> None:
        """A call to the store succeeded; whoever was told of an outage is told of its end.

        A store out of space answers reads and keep-alives and refuses every write: it cannot act all the same.
        """
        with self._lock:
            outage = self._outage
            if outage is None or (outage.writing and not writing):
                return
            self._outage = None
        if outage.told:
            page = message.recovered(
                PageKind.CANNOT_ACT, flags, follows=outage.page, since=outage.began, at=self._wall(), settings=settings
            )
            self._tell(page)

    def check(self, rollouts: Sequence[str], waiting: Sequence[str], settings: PageSettings) -> None:
        """Tell if it is time to. ``waiting``: the sentences of breaches that cannot be acted upon."""
        with self._lock:
            outage = self._outage
            if outage is None:
                return
            late = self._monotonic() - outage.since >= self._patience
            if not ((late and not outage.told) or (waiting and not outage.told_of_breach)):
                return
            outage.told = True
            outage.told_of_breach = outage.told_of_breach or bool(waiting)
        page = message.cannot_act(
            rollouts,
            controller=self._id,
            why=outage.why,
            since=outage.began,
            at=self._wall(),
            settings=settings,
            breaches=waiting,
        )
        outage.page = page.id
        self._tell(page)
