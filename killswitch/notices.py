"""Pages that are sent once a generation, whichever replica comes first: a trip that would be, a wrong split."""

from __future__ import annotations

from collections.abc import Callable

from killswitch.errors import OutcomeUnknown
from killswitch.flag import Flag
from killswitch.incident import Incident, to_document
from killswitch.message import Page
from killswitch.outbox import new_entry
from killswitch.outbox import to_document as outbox_document
from killswitch.stores import Compare, Put, Store, keys


class Notices:
    """Remembers what it has told; what another replica told stands in the store."""

    def __init__(self, store: Store, *, wall: Callable[[], float]) -> None:
        self._store = store
        self._wall = wall
        self._told: set[str] = set()

    def has_told(self, flag: Flag, kind: str) -> bool:
        """Whether there is nothing left to do, so that the page need not even be written."""
        return keys.notice(flag.rollout, flag.generation, kind) in self._told

    def tell(self, flag: Flag, kind: str, page: Page, record: Incident | None = None) -> None:
        """Put the page into the outbox, with ``record`` beside it, unless that has been done. Raises Unavailable."""
        notice = keys.notice(flag.rollout, flag.generation, kind)
        if notice in self._told:
            return
        if self._store.get(notice) is None:
            body = to_document(record) if record is not None else b"{}"
            entry = outbox_document(new_entry(page, at=self._wall()))
            try:
                self._store.commit((Compare(notice, 0),), (Put(notice, body), Put(keys.outbox(page.id), entry)))
            except OutcomeUnknown:
                return  # looked up again at the next tick
        self._told.add(notice)

    def forget(self, rollouts: set[str]) -> None:
        """Drop what concerns rollouts that are not watched any more."""
        kept = {notice for notice in self._told if notice.removeprefix(keys.NOTICES).partition("/")[0] in rollouts}
        self._told = kept
