"""The flag store does not answer: nothing can be changed, and a person must know.

This page cannot stand in the outbox, so every replica tells its own, directly, once per outage: after a
little patience, or at once when a breach is waiting for the store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

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
    pages: dict[str, PageSettings] = field(default_factory=dict)  # whom each page went to, by its id


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

    def is_to_be_told(self, *, waiting: bool) -> bool:
        """Whether `check` has anything to say; ``waiting``: a breach is not acted upon."""
        outage = self._outage
        if outage is None:
            return False
        late = self._monotonic() - outage.since >= self._patience
        return (late and not outage.told) or (waiting and not outage.told_of_breach)

    def failed(self, why: str, *, writing: bool = False) -> None:
        """A call to the store failed; ``writing``: one that was to change something."""
        with self._lock:
            if self._outage is None:
                self._outage = _Outage(self._monotonic(), self._wall(), why)
            self._outage.why = why
            self._outage.writing = self._outage.writing or writing

    def answered(self, flags: Sequence[Flag], *, writing: bool = False) -> None:
        """A call to the store succeeded; whoever was told of an outage is told of its end.

        A store out of space answers reads and keep-alives and refuses every write: it cannot act all the same.
        """
        with self._lock:
            outage = self._outage
            if outage is None or (outage.writing and not writing):
                return
            self._outage = None
        at = self._wall()
        for page, settings in outage.pages.items():
            self._tell(
                message.recovered(
                    PageKind.CANNOT_ACT, flags, follows=page, since=outage.began, at=at, settings=settings
                )
            )

    def check(
        self,
        rollouts: Sequence[str],
        waiting: Sequence[str],
        *,
        concerned: Sequence[PageSettings],
        in_danger: Sequence[PageSettings],
    ) -> None:
        """Tell if it is time to, each channel and mention once. ``waiting``: sentences of breaches not acted upon.

        ``concerned``: whom to tell of the outage; ``in_danger``: whom to tell of a breach, once the others know.
        """
        with self._lock:
            outage = self._outage
            if outage is None or not self.is_to_be_told(waiting=bool(waiting)):
                return
            whom = in_danger if outage.told else [*in_danger, *concerned]
            outage.told = True
            outage.told_of_breach = outage.told_of_breach or bool(waiting)
        for settings in {(one.slack, one.mention): one for one in reversed(whom)}.values():
            page = message.cannot_act(
                rollouts,
                controller=self._id,
                why=outage.why,
                since=outage.began,
                at=self._wall(),
                settings=settings,
                breaches=waiting,
            )
            if page.id in outage.pages:
                page = message.identified(page, f"{page.id}.{len(outage.pages)}")
            outage.pages[page.id] = settings
            self._tell(page)
