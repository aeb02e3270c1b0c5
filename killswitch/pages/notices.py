"""Pages that are sent once a generation, whichever replica is first: a dry run's trip, a rule that is blind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from killswitch.errors import BadTransaction, OutcomeUnknown
from killswitch.flags.incident import Incident, to_document
from killswitch.pages.outbox_entry import into_outbox
from killswitch.pages.page import Page
from killswitch.stores import Committed, Compare, Lost, Put, Store, keys
from killswitch.stores.limits import Part, portions


@dataclass(frozen=True, slots=True)
class Notice:
    """``key``: one of `keys.notice`. If the store has this key, the page has been sent."""

    key: str
    page: Page
    record: Incident | None = None


class Notices:
    """Remembers which notices this replica has sent. The store knows what other replicas have sent."""

    def __init__(self, store: Store, *, wall: Callable[[], float]) -> None:
        self._store = store
        self._wall = wall
        self._told: set[str] = set()

    def has_told(self, notice: str) -> bool:
        """Whether the notice has been sent, so that its page need not even be built."""
        return notice in self._told

    def tell(self, notices: Iterable[Notice]) -> None:
        """Put the pages into the outbox, each with its record, unless that has been done. Raises what the store raises.

        One transaction takes as many as fit: a thousand rollouts may all have a notice at one tick.
        """
        fresh = {notice.key: notice for notice in notices if notice.key not in self._told}
        refused: BadTransaction | None = None
        for portion in portions(self._part(notice) for notice in fresh.values()):
            try:
                self._tell_portion(portion)
            except BadTransaction as error:
                refused = error
        if refused is not None:
            raise refused

    def _part(self, notice: Notice) -> Part[Notice]:
        body = to_document(notice.record) if notice.record is not None else b"{}"
        puts = (Put(notice.key, body), into_outbox(notice.page, at=self._wall()))
        return Part(notice, (Compare(notice.key, 0),), puts)

    def _tell_portion(self, portion: Sequence[Part[Notice]]) -> None:
        try:
            outcome = self._store.commit(
                [compare for part in portion for compare in part.compares],
                [write for part in portion for write in part.writes],
            )
        except OutcomeUnknown:
            return  # the next tick looks again
        except BadTransaction:
            if len(portion) == 1:
                raise
            outcome = Lost()
        if isinstance(outcome, Committed) or len(portion) == 1:
            self._told.update(
                part.subject.key for part in portion
            )  # if the commit was lost, another replica has sent it
            return
        for part in portion:  # some were sent already, perhaps before this process started
            if self._store.get(part.subject.key) is None:
                self._tell_portion((part,))
            else:
                self._told.add(part.subject.key)

    def forget(self, rollouts: set[str]) -> None:
        """Keep only what is about these rollouts: the ones with rules or a flag."""
        kept = {notice for notice in self._told if notice.removeprefix(keys.NOTICES).partition("/")[0] in rollouts}
        self._told = kept
