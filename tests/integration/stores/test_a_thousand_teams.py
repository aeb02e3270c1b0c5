"""Every transaction that grows with the fleet, for 1,000 rollouts of 1,000 teams, in every store, within its limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from killswitch.errors import BadTransaction
from killswitch.flags.document import to_document as flag_document
from killswitch.flags.incident import to_document as incident_document
from killswitch.flags.transitions import Actor
from killswitch.fleet.heartbeat import Heartbeat
from killswitch.fleet.heartbeat import to_document as heartbeat_document
from killswitch.fleet.outages import Blind, next_outages
from killswitch.fleet.page_target import Target
from killswitch.fleet.stored_outages import MAX_PAGES_AT_ONCE, OutagesRead, StoredOutages
from killswitch.model import PageSettings
from killswitch.pages import events, outbox_entry
from killswitch.pages.ledger import DeliveryOutcome, Result
from killswitch.pages.notices import Notice, Notices
from killswitch.pages.page import Page, identified
from killswitch.pages.store_ledger import StoreLedger
from killswitch.stores import Committed, Compare, Delete, Lost, Put, Store, keys
from killswitch.stores.limits import MAX_COMMIT_BYTES, MAX_OPERATIONS, Part, check_commit, portions
from killswitch.stores.opening import open_store
from killswitch.trips.request import TripOutcome, TripRequest, TripResult
from killswitch.trips.stored_flags import StoredFlag
from killswitch.trips.switch import Switch
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import MemoryServer, MemoryStore
from tests.doubles.pages import AT, armed, incident, incident_draft
from tests.servers.etcd import EtcdCluster

MANY = 1000
NAMES = [f"{'r' * 40}-{number:04d}" for number in range(MANY)]
TEAMS = [PageSettings(slack=f"#team-{number:04d}", mention=f"<!subteam^S{number:06d}>") for number in range(MANY)]


class Metered:
    """A store that keeps what was committed, to be asked for its size."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.commits: list[tuple[Sequence[Compare], Sequence[Put | Delete]]] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def commit(self, compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> Committed | Lost:
        check_commit(compares, writes)
        self.commits.append((compares, writes))
        return self._store.commit(compares, writes)


@pytest.fixture(params=["etcd", "sqlite", "memory"])
def fleet_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Metered]:
    """A store of its own, for what stands under the real keys."""
    if request.param == "memory":
        yield Metered(MemoryStore(MemoryServer(VirtualClock())))
        return
    folder = tmp_path_factory.mktemp("store")
    if request.param == "sqlite":
        store = open_store(f"sqlite://{folder}/flags.db")
        yield Metered(store)
        store.close()
        return
    with EtcdCluster(folder) as cluster:
        store = open_store(cluster.url)
        yield Metered(store)
        store.close()


def pages_in(store: Store) -> list[Page]:
    items = store.list(keys.OUTBOX).items
    return [outbox_entry.from_document(item.value, page=item.key.removeprefix(keys.OUTBOX)).page for item in items]


def blind_all(tick: float) -> dict[str, Blind]:
    return {
        name: Blind(tick - 60, "the metric store does not answer", Target(team.slack, team.mention), "unread")
        for name, team in zip(NAMES, TEAMS, strict=True)
    }


def test_each_team_is_paged_once_for_an_outage_and_for_its_end(fleet_store: Metered) -> None:
    """Two replicas look by turns, and lose comparisons to each other."""
    books = [StoredOutages(fleet_store, wall=lambda: AT) for _ in range(2)]  # type: ignore[arg-type]
    everybody = frozenset(NAMES)

    def look(book: StoredOutages, tick: float, blind: dict[str, Blind], good: dict[str, float]) -> bool:
        before = book.read()
        change = next_outages(before.outages, blind=blind, good_at=good, watched=everybody, tick=tick, interval=30.0)
        pages = {
            one.id: identified(
                events.blind([armed(next(iter(one.members)))], why="down", since=one.since, at=tick,
                              settings=PageSettings(one.target.slack)), f"{one.id}{suffix}")
            for some, suffix in ((change.started, ""), (change.ended, ".over")) for one in some
        }  # fmt: skip
        return book.write(change, before, pages)

    stale = books[1].read()
    assert look(books[0], AT, blind_all(AT), {})
    change = next_outages((), blind=blind_all(AT), good_at={}, watched=everybody, tick=AT, interval=30.0)
    assert not books[1].write(change, stale, {})
    assert look(books[1], AT, blind_all(AT), {})
    assert sorted(page.slack or "" for page in pages_in(fleet_store)) == [team.slack for team in TEAMS]  # type: ignore[arg-type]
    for number in range(1, 5):
        tick = AT + 30.0 * number
        for book in books:
            assert look(book, tick, {}, dict.fromkeys(NAMES, tick))
    ends = [page for page in pages_in(fleet_store) if page.id.endswith(".over")]  # type: ignore[arg-type]
    assert len(ends) == len({page.slack for page in ends}) == MANY


def test_a_thousand_notices_are_told_once_each(fleet_store: Metered) -> None:
    notices = [
        Notice(
            keys.notice(name, 1, "control_too"),
            events.control_too(armed(name), incident().findings, at=AT, settings=team),
            incident(name, 1),
        )
        for name, team in zip(NAMES, TEAMS, strict=True)
    ]
    Notices(fleet_store, wall=lambda: AT).tell(notices[:500])  # type: ignore[arg-type]
    late = Notices(fleet_store, wall=lambda: AT)  # type: ignore[arg-type]
    late.tell(notices)
    late.tell(notices)
    assert len(pages_in(fleet_store)) == MANY  # type: ignore[arg-type]
    assert all(late.has_told(notice.key) for notice in notices)


def test_a_thousand_flips_stand_with_their_incidents_and_pages(fleet_store: Metered) -> None:
    stored: dict[str, StoredFlag] = {}
    for portion in portions(Part(n, writes=(Put(keys.flag(n), flag_document(armed(n))),)) for n in NAMES):
        committed = fleet_store.commit([], [write for part in portion for write in part.writes])
        assert isinstance(committed, Committed)
        stored |= {part.subject: StoredFlag(armed(part.subject), committed.revision) for part in portion}
    fleet_store.commits.clear()
    stale = NAMES[7]
    fleet_store.commit([], [Put(keys.flag(stale), flag_document(replace(armed(stale), canary_percent=1.0)))])
    requests = [
        TripRequest(
            incident_draft(name, by="a", reason="errors"), generation=1, actor=Actor.CONTROLLER, at=AT, page=team,
            stored=stored[name],
        )
        for name, team in zip(NAMES, TEAMS, strict=True)
    ]  # fmt: skip
    switch = Switch(fleet_store, wall=lambda: AT, by="a", origin="test")  # type: ignore[arg-type]
    results = dict(zip(NAMES, switch.trip_together(requests), strict=True))
    alone = [name for name, result in results.items() if not isinstance(result, TripResult)]
    assert stale in alone
    assert len(alone) <= MAX_OPERATIONS // 3  # only those of its own transaction
    for request in requests:
        if request.rollout in alone:
            results[request.rollout] = switch.trip(request)
    assert {r.outcome for r in results.values() if isinstance(r, TripResult)} == {TripOutcome.TRIPPED}
    assert len(pages_in(fleet_store)) == len(fleet_store.list(keys.INCIDENTS).items) == MANY  # type: ignore[arg-type, operator]
    for _, writes in fleet_store.commits:
        written = {write.key for write in writes}
        for name in {key.removeprefix(keys.FLAGS) for key in written if key.startswith(keys.FLAGS)} - {stale}:
            assert {keys.incident(name, 1), keys.outbox(f"{name}.1")} <= written


def test_hundreds_of_pages_are_claimed_sent_and_marked(fleet_store: Metered) -> None:
    """In digests, as to one address; each mark notes it in the page's incident as well, which is read for it."""
    records = [incident(name, 1) for name in NAMES[:300]]
    pages = [events.tripped(record, team) for record, team in zip(records, TEAMS[:300], strict=True)]
    parts = (
        Part(page.id, writes=(Put(keys.outbox(page.id), outbox_entry.to_document(outbox_entry.new_entry(page, at=AT))),
                              Put(keys.incident(page.rollout, 1), incident_document(incident(page.rollout, 1)))))
        for page in pages
    )  # fmt: skip
    for portion in portions(parts):
        fleet_store.commit([], [write for part in portion for write in part.writes])
    ledger = StoreLedger(
        fleet_store,  # type: ignore[arg-type]
        owner="a",
        wall=lambda: AT,
        monotonic=lambda: 0.0,
        settled=lambda entry: entry.settled(["slack"]),
        ttl=60.0,
    )
    ledger.scan()
    started = ledger.begin(ledger.held(), "slack")
    assert len(started) == 300
    ledger.finish(started, "slack", DeliveryOutcome(Result.TAKEN, AT, reference="#c/1"))
    ledger.scan()
    assert (ledger.unsettled, ledger.held()) == (0, [])
    noted = [item.value for item in fleet_store.list(keys.INCIDENTS).items]  # type: ignore[operator]
    assert len(noted) == sum(b'"reference": "#c/1"' in value for value in noted) == 300
    assert fleet_store.list(keys.claim("outbox/")).items == ()  # type: ignore[operator]


def test_a_flags_end_takes_all_its_life_left(fleet_store: Metered) -> None:
    for portion in portions(Part(n, writes=(Put(keys.notice("old", n, "kind"), b"{}"),)) for n in range(300)):
        fleet_store.commit([], [write for part in portion for write in part.writes])
    fleet_store.commit([], [Put(keys.flag("old"), flag_document(armed("old")))])
    Switch(fleet_store, wall=lambda: AT, by="ann", origin="test").end("old")  # type: ignore[arg-type]
    assert fleet_store.list(keys.notices("old")).items == ()  # type: ignore[operator]


def test_no_document_of_one_key_outgrows_a_transaction() -> None:
    """A heartbeat that sees nothing of 5,000 rollouts with the longest names; a page for 1,000 receivers."""
    names = [f"{number:04d}{'n' * 59}" for number in range(5000)]
    beat = Heartbeat("a", "1", AT, AT, "d", frozenset(names), dict.fromkeys(names, AT - 60))
    assert len(heartbeat_document(beat)) <= MAX_COMMIT_BYTES
    entry = outbox_entry.new_entry(
        events.cannot_act(names, controller="a", why="w", since=AT, at=AT, settings=TEAMS[0]), at=AT
    )
    for number in range(1000):
        entry = outbox_entry.begin(entry, f"receiver-{number:04d}", by="controller-a#0123456789ab", at=AT)
        entry = outbox_entry.not_taken(entry, f"receiver-{number:04d}", error="x" * 300, at=AT)
    value = outbox_entry.to_document(entry)
    assert outbox_entry.from_document(value, page=entry.id).page == entry.page
    assert entry.page.payload["rollouts_count"] == 5000


def test_outages_that_all_end_at_once_need_several_transactions() -> None:
    """If all outages of a team end at once, the team is told of each, in several transactions."""
    server = MemoryServer(VirtualClock())
    book = StoredOutages(MemoryStore(server), wall=lambda: AT)
    blind = {f"r{number}": Blind(AT - 60, "down", Target("#one"), f"way {number}") for number in range(200)}
    for _ in range(10):
        before = book.read()
        change = next_outages(before.outages, blind=blind, good_at={}, watched=frozenset(blind), tick=AT, interval=30.0)
        pages = {one.id: identified(events.blind([], why="w", since=AT, at=AT, settings=TEAMS[0]), one.id)
                 for one in change.started}  # fmt: skip
        if book.write(change, before, pages):
            break
    assert len(book.read().outages) == 200
    written = [change for change in server.history if change.key.startswith(keys.OUTBOX)]
    assert len(written) == len({change.key for change in written}) == 200
    assert MAX_PAGES_AT_ONCE < 200


def test_a_part_too_large_for_any_store_is_refused_alone() -> None:
    server = MemoryServer(VirtualClock())
    store = MemoryStore(server)
    huge = events.control_too(armed("huge"), incident().findings, at=AT, settings=TEAMS[0])
    huge = replace(huge, payload={"text": "x" * (MAX_COMMIT_BYTES + 1)})
    notices = [Notice(keys.notice(name, 1, "k"), replace(huge, id=name, payload={}), None) for name in NAMES[:50]]
    notices.insert(10, Notice(keys.notice("huge", 1, "k"), huge, None))
    with pytest.raises(BadTransaction):
        Notices(store, wall=lambda: AT).tell(notices)
    assert len(server.list(keys.OUTBOX).items) == 50


def test_an_outage_book_read_before_anything_is_empty() -> None:
    assert StoredOutages(MemoryStore(MemoryServer(VirtualClock())), wall=lambda: AT).read() == OutagesRead()
