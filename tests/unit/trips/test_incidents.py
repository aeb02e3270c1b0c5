"""Reading incidents back: newest first, one by its id, and for the status page without ever holding it up."""

from __future__ import annotations

from pathlib import Path

import pytest

from killswitch.errors import Unavailable
from killswitch.flags.flag import Flag, trip
from killswitch.flags.incident import to_document
from killswitch.flags.transitions import Actor
from killswitch.stores import Put, Snapshot, Store, keys
from killswitch.stores.opening import open_store
from killswitch.trips.incidents import StoredIncidents, incident_called, incident_of_trip, incidents_of, split_id
from tests.doubles.pages import AT, armed, incident


def tripped(rollout: str) -> Flag:
    return trip(
        armed(rollout), rollout=rollout, reason="r", rules=(), incident=f"{rollout}.1", now=AT, by="a",
        actor=Actor.CONTROLLER,
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"sqlite://{tmp_path}/flags.db")


def keep(store: Store, rollout: str, generation: int, again: str = "", **changes: object) -> None:
    record = to_document(incident(rollout, generation, **changes))
    store.commit((), (Put(keys.incident(rollout, generation) + again, record),))


def test_incidents_come_newest_first_for_one_name_only(store: Store) -> None:
    """Incidents come newest first, whatever their number. Those of other names are left out."""
    for generation in (2, 10, 1):
        keep(store, "copilot", generation)
    keep(store, "copilot.10", 3)
    keep(store, "copilot", 10, ".4711", reason="again")
    records = incidents_of(store, "copilot")
    assert [record.id for record in records] == ["copilot.10.4711", "copilot.10", "copilot.2", "copilot.1"]
    for name in ("copilot.2", "2", "#2"):
        found = incident_called(records, "copilot", name)
        assert found is not None
        assert found.id == "copilot.2"
    assert incident_called(records, "copilot", "3") is None


def test_the_incident_of_a_trip_is_its_generations_newest(store: Store) -> None:
    """The incident of a trip is the newest record of its generation."""
    keep(store, "copilot", 1)
    keep(store, "copilot", 1, ".99", reason="again")
    found = incident_of_trip(incidents_of(store, "copilot"), tripped("copilot"))
    assert found is not None
    assert found.reason == "again"
    assert incident_of_trip(incidents_of(store, "copilot"), armed("copilot")) is None


def test_an_id_is_split_where_its_number_begins() -> None:
    assert split_id("copilot.7") == ("copilot", "7")
    assert split_id("copilot.v2.7.4711") == ("copilot.v2", "7.4711")
    assert split_id("copilot") is None


class Counting:
    """A store that counts its reads, and may be down."""

    def __init__(self, real: Store) -> None:
        self.real, self.reads, self.down = real, 0, False

    def list(self, prefix: str) -> Snapshot:
        self.reads += 1
        if self.down:
            raise Unavailable("down")
        return self.real.list(prefix)


def test_each_trip_is_read_once_and_again_if_the_store_is_down(store: Store) -> None:
    """Each trip is read once. A store that is down is asked again after a pause."""
    counting, now = Counting(store), [0.0]
    kept = StoredIncidents(counting, monotonic=lambda: now[0])  # type: ignore[arg-type]  # it only lists
    for name in ("a1", "b2"):
        keep(store, name, 1)
    counting.down = True
    flags = [tripped("a1"), tripped("b2"), armed("c3")]
    assert kept.of(flags) == {}
    counting.down = False
    assert (kept.of(flags), counting.reads) == ({}, 1)  # it has a rest
    now[0] = 11.0
    assert set(kept.of(flags)) == {"a1", "b2"}
    assert set(kept.of(flags)) == {"a1", "b2"}
    assert counting.reads == 3
    assert set(kept.of(flags[:1])) == {"a1"}


def test_a_fleet_that_was_tripped_at_once_is_read_bit_by_bit(store: Store) -> None:
    names = [f"r{number}" for number in range(45)]
    for name in names:
        keep(store, name, 1)
    kept = StoredIncidents(store, monotonic=lambda: 0.0)
    assert [len(kept.of([tripped(name) for name in names])) for _ in range(3)] == [20, 40, 45]


def test_a_slow_store_delays_a_page_for_a_moment_only(store: Store) -> None:
    """A slow store delays a page for a moment. Then it is not asked for a while."""
    names, now = [f"r{number}" for number in range(20)], [0.0]

    class Slow(Counting):
        def list(self, prefix: str) -> Snapshot:
            now[0] += 1.9  # just within the patience of a read
            return super().list(prefix)

    for name in names:
        keep(store, name, 1)
    kept = StoredIncidents(Slow(store), monotonic=lambda: now[0])  # type: ignore[arg-type]  # it only lists
    flags = [tripped(name) for name in names]
    assert [len(kept.of(flags)) for _ in range(3)] == [1, 1, 1]
    assert now[0] < 3.0
    now[0] += 10.0
    assert len(kept.of(flags)) == 2
