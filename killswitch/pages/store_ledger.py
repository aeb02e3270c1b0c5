"""The outbox in the flag store, as one replica sees it.

Entries are claimed under a lease, so that one replica delivers each. An attempt is committed before it is made, and
its outcome is marked after it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from killswitch.errors import BadDocument, IllegalTransition, KillswitchError, OutcomeUnknown, Unavailable
from killswitch.flags.document import from_document as flag_from_document
from killswitch.pages import outbox_entry
from killswitch.pages.ledger import NEWS, DeliveryOutcome, begun
from killswitch.pages.marks import Entries, Mark, draft_of
from killswitch.pages.outbox_entry import DeliveryState, OutboxEntry
from killswitch.pages.page import Page
from killswitch.pages.retention import droppable
from killswitch.roles.document import from_document as role_from_document
from killswitch.roles.references import PREFIX
from killswitch.stores import Committed, Compare, Delete, Item, Lease, Lost, Put, Store, keys
from killswitch.stores.limits import Part, portions

_log = logging.getLogger(__name__)

ORPHAN_GRACE = 2.0  # seconds in which a sender that was cut off from the store may come back and mark its send
_RETRIES = 5
_AT_ONCE = 40  # entries in one transaction, with two comparisons and two writes each at most


@dataclass(frozen=True, slots=True)
class _Held:
    """One claimed entry as last seen, with its revision and its claim's revision."""

    entry: OutboxEntry
    revision: int
    claim_revision: int


class StoreLedger:
    """The outbox in the flag store. ``owner`` must differ for each process and each run.

    ``settled`` says whether nothing is left to do for an entry. ``ttl``: the lease of the claims, in seconds.
    """

    def __init__(
        self,
        store: Store,
        *,
        owner: str,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
        settled: Callable[[OutboxEntry], bool],
        ttl: float,
    ) -> None:
        self._store = store
        self._owner = owner
        self._wall = wall
        self._monotonic = monotonic
        self._is_settled = settled
        self._ttl = ttl
        # Held while the store is written, so that the lanes of this process do not break each other's compares.
        self._lock = threading.RLock()
        self._lease: Lease | None = None
        self._held: dict[str, _Held] = {}
        self._in_flight: set[tuple[str, str]] = set()
        self._marks: list[Mark] = []
        self._sending_since: dict[tuple[str, str, int], float] = {}
        self._seen: Entries = {}
        self._read_as: dict[str, bytes] = {}
        self._met_as_old: dict[str, bool] = {}  # decided once, by the wall clock: it may jump later
        self._readings = 0
        self.unsettled = 0
        self.unreadable = 0

    # --- the regular look at the store ----------------------------------------------------------

    def scan(self) -> None:
        """Read the outbox, claim entries that no process holds, write waiting marks, and drop old entries.

        Raises what the store raises. Entries that were held stay held for as long as the lease lasts.
        """
        items = {item.key: item for item in self._store.list(keys.OUTBOX).items}
        entries = self._read(items.values())
        unsettled = {page_id for page_id, (entry, _) in entries.items() if not self._is_settled(entry)}
        with self._lock:
            self.unsettled = len(unsettled)
            now, met = self._wall(), self._met_as_old
            self._met_as_old = {
                page_id: met[page_id] if page_id in met else _is_old(entry, now)
                for page_id, (entry, _) in entries.items()
            }
            self._write_marks()
            if unsettled or self._held:
                self._keep_lease()
                self._claim(entries, unsettled)
            self._forget_old_sendings()
        old = droppable(entries, unsettled, self._wall())
        self._deleted((keys.outbox(page_id), revision) for page_id, revision in old)

    def _read(self, items: Collection[Item]) -> Entries:
        """Every entry that can be parsed, by page id. Entries unchanged since the last scan are not parsed again."""
        entries: dict[str, tuple[OutboxEntry, int]] = {}
        unreadable = 0
        for item in items:
            page_id = item.key.removeprefix(keys.OUTBOX)
            known = self._seen.get(page_id)
            # compare the value too: a store that was restored from a backup gives out a revision twice
            if known is not None and known[1] == item.mod_revision and self._read_as.get(page_id) == item.value:
                entries[page_id] = known
                continue
            try:
                entries[page_id] = (outbox_entry.from_document(item.value, page=page_id), item.mod_revision)
            except BadDocument as error:
                unreadable += 1
                if unreadable > self.unreadable:
                    _log.warning("a page cannot be delivered: its outbox entry cannot be read: %s", error)
        self.unreadable = unreadable
        self._seen, self._readings = entries, self._readings + 1
        self._read_as = {item.key.removeprefix(keys.OUTBOX): item.value for item in items}
        return entries

    def _keep_lease(self) -> None:
        now = self._monotonic()
        lease = self._lease
        if lease is not None and now < lease.expires_at:
            if lease.expires_at - now > self._ttl * 2 / 3:
                return
            self._lease = self._store.keep_alive(lease)
        else:
            self._lease = None
        if self._lease is None:
            self._held.clear()
            self._lease = self._store.grant(self._ttl)

    def _claim(self, entries: Entries, unsettled: set[str]) -> None:
        lease = self._lease
        assert lease is not None
        prefix = keys.claim("outbox/")
        claims = {item.key.removeprefix(prefix): item for item in self._store.list(prefix).items}
        for page_id in list(self._held):
            claim = claims.get(page_id)
            lost = claim is None or claim.mod_revision != self._held[page_id].claim_revision
            if lost or page_id not in entries:
                del self._held[page_id]
        for page_id, (entry, revision) in entries.items():
            held = self._held.get(page_id)
            if held is not None and revision > held.revision:
                self._held[page_id] = replace(held, entry=entry, revision=revision)
        self._release([page_id for page_id in self._held if page_id not in unsettled])
        mine = self._owner.encode()
        wanted = [
            page_id
            for page_id in sorted(unsettled - self._held.keys(), key=lambda page_id: entries[page_id][0].created_at)
            if page_id not in claims or claims[page_id].value == mine
        ]
        parts = (
            Part(
                page_id,
                (Compare(prefix + page_id, claims[page_id].mod_revision if page_id in claims else 0),),
                (Put(prefix + page_id, mine, lease),),
            )
            for page_id in wanted
        )
        for portion in portions(parts, most=_AT_ONCE):
            outcome = self._committed(portion)
            if isinstance(outcome, Lost):
                return  # another replica is claiming; the next scan sees what is left
            for part in portion:
                entry, revision = entries[part.subject]
                self._held[part.subject] = _Held(entry, revision, outcome.revision)

    def _committed(self, portion: Sequence[Part[str]]) -> Committed | Lost:
        compares = [compare for part in portion for compare in part.compares]
        return self._store.commit(compares, [write for part in portion for write in part.writes])

    def _deleted(self, keys_and_revisions: Iterable[tuple[str, int]]) -> None:
        """Delete the keys that were not changed since; the others stay."""
        parts = (Part(key, (Compare(key, revision),), (Delete(key),)) for key, revision in keys_and_revisions)
        for portion in portions(parts):
            if isinstance(self._committed(portion), Lost):
                for part in portion:
                    self._committed((part,))

    def _release(self, page_ids: Sequence[str]) -> None:
        self._deleted((keys.claim(f"outbox/{page_id}"), self._held[page_id].claim_revision) for page_id in page_ids)
        for page_id in page_ids:
            del self._held[page_id]

    def _forget_old_sendings(self) -> None:
        sending = {
            (page_id, receiver, delivery.attempts)
            for page_id, held in self._held.items()
            for receiver, delivery in held.entry.deliveries.items()
            if delivery.state is DeliveryState.SENDING
        }
        now = self._monotonic()
        self._sending_since = {key: self._sending_since.get(key, now) for key in sending}

    # --- what lanes ask -------------------------------------------------------------------------

    def held(self) -> Sequence[OutboxEntry]:
        with self._lock:
            if not self._lease_lives():
                return ()
            return [held.entry for held in self._held.values() if not self._is_settled(held.entry)]

    def entry(self, page_id: str) -> OutboxEntry | None:
        """The entry as last seen, settled or not."""
        with self._lock:
            held = self._held.get(page_id)
            if held is not None:
                return held.entry
            seen = self._seen.get(page_id)
            return seen[0] if seen is not None else None

    def read_entries(self) -> tuple[int, Entries]:
        """The whole outbox as last read, with the number of that reading."""
        with self._lock:
            return self._readings, self._seen

    def is_history(self, entry: OutboxEntry) -> bool:
        with self._lock:
            # without a lease no page is given up, and a store that hangs must not be asked for page after page
            if not self._met_as_old.get(entry.id, False) or not self._lease_lives():
                return False
        page = entry.page
        if not page.rollout:
            return True
        if page.rollout.startswith(PREFIX):
            return self._is_role_history(page)
        try:
            item = self._store.get(keys.flag(page.rollout))
            flag = None if item is None else flag_from_document(item.value, rollout=page.rollout)
        except KillswitchError:
            return False
        return flag is None or flag.generation != page.generation

    def _is_role_history(self, page: Page) -> bool:
        """Whether the role has been changed since the page."""
        name = page.rollout.removeprefix(PREFIX)
        try:
            item = self._store.get(keys.role(name))
            role = None if item is None else role_from_document(item.value, name=name)
        except KillswitchError:
            return False
        return role is None or role.number != page.generation

    def ready(self, entry: OutboxEntry, receiver: str) -> bool:
        with self._lock:
            if (entry.id, receiver) in self._in_flight:
                return False
            delivery = entry.delivery(receiver)
            if delivery.state is not DeliveryState.SENDING:
                return True
            since = self._sending_since.get((entry.id, receiver, delivery.attempts))
            return since is not None and self._monotonic() - since >= ORPHAN_GRACE

    def begin(self, entries: Sequence[OutboxEntry], receiver: str) -> Sequence[OutboxEntry]:
        with self._lock:
            wanted = [entry.id for entry in entries if entry.id in self._held]
            parts = [part for page_id in wanted if (part := self._attempt(page_id, receiver)) is not None]
        started: list[OutboxEntry] = []
        for portion in portions(parts, most=_AT_ONCE):
            with self._lock:
                started += self._begin([part.subject[0] for part in portion], receiver)
        return started

    def _attempt(self, page_id: str, receiver: str) -> Part[tuple[str, OutboxEntry]] | None:
        """The write of one more attempt, compared with the entry and our claim; None if no attempt may begin."""
        held = self._held[page_id]
        try:
            entry = begun(held.entry, receiver, by=self._owner, at=self._wall())
        except IllegalTransition as error:
            _log.warning("%s", error)
            return None
        key = keys.outbox(page_id)
        compares = (Compare(key, held.revision), Compare(keys.claim(f"outbox/{page_id}"), held.claim_revision))
        return Part((page_id, entry), compares, (Put(key, outbox_entry.to_document(entry)),))

    def _begin(self, page_ids: Sequence[str], receiver: str) -> Sequence[OutboxEntry]:
        before = {page_id: self._held[page_id] for page_id in page_ids if page_id in self._held}
        if not before or not self._lease_lives():
            return ()
        parts = [part for page_id in before if (part := self._attempt(page_id, receiver)) is not None]
        after = {part.subject[0]: part.subject[1] for part in parts}
        compares = [compare for part in parts for compare in part.compares]
        try:
            outcome = self._store.commit(compares, [write for part in parts for write in part.writes])
        except OutcomeUnknown:
            committed = self._reread(after)
        except KillswitchError as error:
            _log.warning("cannot begin to deliver %d pages to %s: %s", len(after), receiver, error)
            return ()
        else:
            if isinstance(outcome, Lost):
                self._reread(after)
                return ()
            committed = dict.fromkeys(after, outcome.revision)
        # The answer may have taken long. If the claim has ended, another process may be sending by now.
        alive = self._lease_lives()
        started = []
        for page_id, revision in committed.items():
            self._held[page_id] = replace(before[page_id], entry=after[page_id], revision=revision)
            if alive:
                self._in_flight.add((page_id, receiver))
                started.append(after[page_id])
        return started

    def _reread(self, expected: dict[str, OutboxEntry]) -> dict[str, int]:
        """The revisions of the entries that are in the store as expected; the others are read again."""
        found: dict[str, int] = {}
        for page_id, entry in expected.items():
            try:
                item = self._store.get(keys.outbox(page_id))
                if item is None:
                    del self._held[page_id]
                    continue
                stored = outbox_entry.from_document(item.value, page=page_id)
            except KillswitchError:
                continue
            if item.value == outbox_entry.to_document(entry):
                found[page_id] = item.mod_revision
            else:
                self._held[page_id] = replace(self._held[page_id], entry=stored, revision=item.mod_revision)
        return found

    def finish(self, entries: Sequence[OutboxEntry], receiver: str, outcome: DeliveryOutcome) -> None:
        with self._lock:
            self._marks += [Mark(entry.id, receiver, entry.delivery(receiver).attempts, outcome) for entry in entries]
            self._write_marks()

    def give_up(self, entry: OutboxEntry, receiver: str) -> None:
        with self._lock:
            held = self._held.get(entry.id)
            if held is None:
                return
            try:
                given_up = outbox_entry.give_up(held.entry, receiver, at=self._wall())
                key = keys.outbox(entry.id)
                compares = (Compare(key, held.revision), Compare(keys.claim(f"outbox/{entry.id}"), held.claim_revision))
                outcome = self._store.commit(compares, (Put(key, outbox_entry.to_document(given_up)),))
            except KillswitchError as error:
                _log.warning("cannot give up page %s: %s", entry.id, error)
                return
            if isinstance(outcome, Committed):
                self._held[entry.id] = replace(held, entry=given_up, revision=outcome.revision)

    def reference(self, page_id: str, receiver: str) -> str:
        entry = self.entry(page_id)
        return outbox_entry.reference_of(entry, receiver) if entry is not None else ""

    def close(self) -> None:
        """Release the claims, so that another replica need not wait for them to end."""
        with self._lock:
            lease, self._lease = self._lease, None
            self._held.clear()
        if lease is not None:
            try:
                self._store.revoke(lease)
            except KillswitchError as error:
                _log.info("the claims could not be released and end with their lease: %s", error)

    def _lease_lives(self) -> bool:
        return self._lease is not None and self._monotonic() < self._lease.expires_at

    # --- marks ----------------------------------------------------------------------------------

    def _write_marks(self) -> None:
        """Commit every waiting mark. One that fails stays for the next scan; its page is not sent again meanwhile."""
        while self._marks:
            chunk = self._marks[:_AT_ONCE]
            try:
                written = self._write_chunk(chunk)
            except (Unavailable, OutcomeUnknown) as error:
                _log.warning("%d deliveries are not marked yet: %s", len(self._marks), error)
                return
            except KillswitchError as error:
                _log.error("%d deliveries cannot be marked: %s", len(self._marks), error)
                return
            for mark in chunk[:written]:
                self._in_flight.discard((mark.page_id, mark.receiver))
            del self._marks[:written]

    def _write_chunk(self, marks: Sequence[Mark]) -> int:
        """Write the first marks in one transaction, as many as fit. Returns how many."""
        for attempt in range(_RETRIES):
            draft = draft_of(self._store, marks, {} if attempt > 0 else self._known(marks), self._owner)
            outcome = self._store.commit(draft.compares, draft.writes) if draft.writes else None
            if isinstance(outcome, Lost):
                continue
            for page_id, (entry, revision, changed) in draft.after.items():
                if page_id in self._held:
                    now = outcome.revision if outcome is not None and changed else revision
                    self._held[page_id] = replace(self._held[page_id], entry=entry, revision=now)
            return draft.marks
        raise Unavailable("another process keeps changing the same outbox entries; trying again shortly")

    def _known(self, marks: Sequence[Mark]) -> Entries:
        held = {mark.page_id: self._held.get(mark.page_id) for mark in marks}
        return {page_id: (one.entry, one.revision) for page_id, one in held.items() if one is not None}


def _is_old(entry: OutboxEntry, now: float) -> bool:
    """Older than `NEWS`. A page about the fleet must also have been taken, because it has no generation that ends."""
    taken = any(delivery.state is DeliveryState.DELIVERED for delivery in entry.deliveries.values())
    return now - entry.created_at > NEWS and (bool(entry.page.rollout) or taken)
