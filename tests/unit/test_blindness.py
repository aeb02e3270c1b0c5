"""Outages as one thing however many rollouts they blind, and heartbeats, also from hostile hands."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.blindness import Change, Outage, OutageBook, fleet_good_at, from_document, next_outages, to_document
from killswitch.errors import BadDocument
from killswitch.heartbeat import Heartbeat, alive
from killswitch.heartbeat import from_document as heartbeat_from
from killswitch.heartbeat import to_document as heartbeat_to
from killswitch.stores import Item, Put, keys
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import Fault, MemoryServer, MemoryStore
from tests.doubles.pages import trip_page

NOW = 1_776_608_520.0
names = st.sampled_from(["a", "b", "c", "d"])
OPEN = Outage("blind.1", NOW - 600, {"a": "down", "b": "down"})


def change(outages: tuple[Outage, ...] = (), blind: str = "", seen: str = "", watched: str = "abcd") -> Change:
    return next_outages(
        outages, blind=dict.fromkeys(blind, "down"), seen=frozenset(seen), watched=frozenset(watched),
        since=NOW - 60, tick=NOW,
    )  # fmt: skip


def test_the_first_blind_rollouts_open_one_outage() -> None:
    found = change(blind="ab")
    assert found.started == Outage("blind.2026-04-19T14:22:00Z", NOW - 60, {"a": "down", "b": "down"})
    assert found.open == (found.started,)


@pytest.mark.parametrize(
    ("blind", "seen", "watched", "left", "ended"),
    [
        ("ab", "", "abcd", {"a", "b"}, False),
        ("abc", "", "abcd", {"a", "b", "c"}, False),  # it grows: no second page
        ("a", "b", "abcd", {"a"}, False),
        ("", "ab", "abcd", set(), True),
        ("", "", "cd", set(), True),  # nobody watches them any more
        ("", "", "abcd", {"a", "b"}, False),  # neither blind here nor seen: another replica may know
    ],
)
def test_an_open_outage_grows_shrinks_and_ends(
    blind: str, seen: str, watched: str, left: set[str], ended: bool
) -> None:
    found = change((OPEN,), blind, seen, watched)
    assert found.started is None
    assert {n for outage in found.open for n in outage.rollouts} == left
    assert bool(found.ended) is ended


@given(st.sets(names), st.sets(names), st.sets(names))
def test_no_rollout_is_ever_in_two_outages_and_a_seen_one_in_none(
    blind: set[str], seen: set[str], watched: set[str]
) -> None:
    found = next_outages(
        (OPEN,), blind=dict.fromkeys(blind - seen, "x"), seen=frozenset(seen), watched=frozenset(watched | blind),
        since=0.0, tick=NOW,
    )  # fmt: skip
    inside = [name for outage in found.open for name in outage.rollouts]
    assert len(inside) == len(set(inside))
    assert not seen & set(inside)
    assert blind - seen <= set(inside)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4))
def test_outages_come_back_from_their_document(rollouts: dict[str, str]) -> None:
    outages = (Outage("blind.x", NOW, rollouts),)
    assert from_document(to_document(outages)) == outages


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b'{"open": [1]}', b"[" * 50_000, b"\xff", b'{"open": {"a": 1}}'])
def test_a_spoiled_document_of_outages_is_refused_and_counts_as_none(value: bytes) -> None:
    with pytest.raises(BadDocument):
        from_document(value)
    clock = VirtualClock()
    server = MemoryServer(clock)
    book = OutageBook(MemoryStore(server), wall=clock.wall)
    server.commit("x", (), (Put(keys.OUTAGES, value),))
    assert book.read() == ((), 2)


def test_the_page_of_an_outage_stands_in_its_transaction_and_the_second_writer_loses() -> None:
    clock = VirtualClock()
    server = MemoryServer(clock)
    first, second = (OutageBook(MemoryStore(server, name), wall=clock.wall) for name in "ab")
    found = change(blind="a")
    assert first.write(found, 0, [trip_page()])
    assert not second.write(found, 0, [trip_page()])
    assert len([c for c in server.history if c.key.startswith(keys.OUTBOX)]) == 1


def test_an_unknown_outcome_is_no_success() -> None:
    clock = VirtualClock()
    store = MemoryStore(MemoryServer(clock))
    store.fault = lambda call: Fault.LOSE_ANSWER if call.name == "commit" else None
    assert not OutageBook(store, wall=clock.wall).write(change(blind="a"), 0, [])


# --- heartbeats ---------------------------------------------------------------------------------


def beat(name: str = "a", **last_good: float) -> Heartbeat:
    return Heartbeat(name, "1", NOW, NOW, "digest", frozenset({"copilot", "other"}), last_good)


def test_a_heartbeat_comes_back_and_names_only_what_could_not_be_judged() -> None:
    one = beat(other=NOW - 90)
    assert heartbeat_from(heartbeat_to(one)) == one
    assert json.loads(heartbeat_to(one))["last_good"] == {"other": "2026-04-19T14:20:30Z"}
    assert (one.good_at("copilot"), one.good_at("other"), one.good_at("unwatched")) == (NOW, NOW - 90, 0.0)


def test_the_fleet_sees_what_any_replica_sees() -> None:
    others = [beat("a", copilot=NOW - 300), beat("b", copilot=NOW - 30)]
    assert fleet_good_at("copilot", NOW - 600, others) == NOW - 30
    assert fleet_good_at("copilot", NOW, others) == NOW
    assert fleet_good_at("unwatched", 0.0, others) == 0.0


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b"[" * 50_000, b"\xff", b'{"id": 1}', b"null"])
def test_a_spoiled_heartbeat_is_no_sight(value: bytes) -> None:
    with pytest.raises(BadDocument):
        heartbeat_from(value)
    good = Item(keys.controller("b"), heartbeat_to(beat("b")), 3)
    assert list(alive([Item(keys.controller("a"), value, 2), good])) == [keys.controller("b")]
