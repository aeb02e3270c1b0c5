"""Outages as one thing however many rollouts they blind, and heartbeats, also from hostile hands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadDocument, OutcomeUnknown
from killswitch.fleet.heartbeat import Heartbeat, alive
from killswitch.fleet.heartbeat import from_document as heartbeat_from
from killswitch.fleet.heartbeat import to_document as heartbeat_to
from killswitch.fleet.outages import Blind, BlindRollout, Outage, OutageChange, next_outages
from killswitch.fleet.page_target import Target
from killswitch.fleet.replica_clocks import ReplicaClocks, fleet_good_at
from killswitch.fleet.stored_outages import OutagesRead, StoredOutages, from_document, to_document
from killswitch.model import PageSettings
from killswitch.page_addresses import PageAddresses
from killswitch.stores import Item, Put, keys
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import Fault, MemoryServer, MemoryStore
from tests.doubles.pages import trip_page

NOW = 1_776_608_520.0
names = st.sampled_from(["a", "b", "c", "d"])
OTHER_TEAM = Target("#other")
NOBODY = Target()
INTERVAL = 30.0
OPEN = Outage("blind.1", NOW - 600, NOW - 540, {"a": BlindRollout(NOW - 600), "b": BlindRollout(NOW - 600)})


def change(
    outages: tuple[Outage, ...] = (),
    blind: str = "",
    good: Mapping[str, float] | None = None,
    watched: str = "abcd",
    *,
    tick: float = NOW,
    target: Target = NOBODY,
    family: str = "",
) -> OutageChange:
    return next_outages(
        outages, blind=dict.fromkeys(blind, Blind(tick - 60, "down", target, family)), good_at=good or {},
        watched=frozenset(watched), tick=tick, interval=INTERVAL,
    )  # fmt: skip


def after_ticks(outages: tuple[Outage, ...], good: str, *, first: float) -> list[OutageChange]:
    """Three names each seen (``.``) or not (``x``), tick after tick; all see the same."""
    found: list[OutageChange] = []
    last = 0.0
    for number, seen in enumerate(good):
        tick = first + number * INTERVAL
        last = tick if seen == "." else last
        blind = "ab" if tick - last >= 60 else ""
        found.append(change(outages, blind, {"a": last, "b": last}, tick=tick))
        outages = found[-1].outages
    return found


def test_the_first_blind_rollouts_open_one_outage() -> None:
    found = change(blind="ab")
    (started,) = found.started
    assert started.id.startswith("blind.2026-04-19T14:22:00Z.")
    assert (started.since, started.opened) == (NOW - 60, NOW)
    assert started.members == {"a": BlindRollout(NOW - 60), "b": BlindRollout(NOW - 60)}
    assert found.open == found.started


@pytest.mark.parametrize(
    ("blind", "watched", "left"),
    [
        ("ab", "abcd", {"a", "b"}),
        ("a", "acd", {"a"}),
        ("", "cd", set()),  # nobody watches them any more
        ("", "abcd", {"a", "b"}),  # neither blind here nor seen: another replica may know
    ],
)
def test_an_open_outage_lasts_as_long_as_somebody_watches(blind: str, watched: str, left: set[str]) -> None:
    found = change((OPEN,), blind, watched=watched)
    assert not found.started
    assert not found.ended
    assert {name for outage in found.open for name in outage.members} == left
    assert found.left == (() if left else (OPEN,))


def test_an_outage_whose_return_was_not_paged_is_left_in_silence() -> None:
    assert change((replace(OPEN, untold_since=NOW - 60),), watched="cd").left == ()


def test_going_blind_in_an_old_outage_starts_a_new_one() -> None:
    """A rollout that goes blind during an old outage starts a new one. All rollouts of that tick share it."""
    found = change((OPEN,), "abcd")
    (started,) = found.started
    assert started.members == {"c": BlindRollout(NOW - 60), "d": BlindRollout(NOW - 60)}


def test_a_late_joiner_shares_the_outage_of_its_team_and_cause() -> None:
    """A rollout that goes blind just after the start joins the outage, if team and cause are the same."""
    young = replace(OPEN, opened=NOW - 90)
    joined = change((young,), "abc")
    assert not joined.started
    assert joined.open[0].members.keys() == {"a", "b", "c"}
    assert joined.open[0].members["c"] == BlindRollout(NOW - 60)  # its own time
    assert len(change((young,), "abc", target=OTHER_TEAM).started) == 1
    assert len(change((young,), "abc", family="no data").started) == 1
    assert len(change((replace(young, opened=NOW - 120),), "abc").started) == 1


def test_each_team_has_an_outage_of_its_own() -> None:
    teams = {"a": Target("#a"), "b": Target("#b"), "c": Target("#b", "<!here>"), "d": Target("#a")}
    found = next_outages(
        (), blind={name: Blind(NOW - 60, "down", whom) for name, whom in teams.items()}, good_at={},
        watched=frozenset("abcd"), tick=NOW, interval=INTERVAL,
    )  # fmt: skip
    assert sorted("".join(sorted(outage.members)) for outage in found.started) == ["ad", "b", "c"]
    assert len({outage.id for outage in found.started}) == 3


def test_an_outage_is_over_after_three_good_ticks_in_a_row() -> None:
    """An outage is over after three good ticks in a row, and not before."""
    changes = after_ticks((OPEN,), "..x...", first=NOW)
    assert [len(one.ended) for one in changes] == [0, 0, 0, 0, 0, 1]
    assert changes[-1].open == ()


def test_a_good_tick_in_an_outage_restarts_its_policy_time() -> None:
    """A good tick during an outage restarts the time that its policy counts."""
    last = after_ticks((OPEN,), "xxx.xxx", first=NOW)[-1]
    assert {one.since for one in last.open[0].members.values()} == {NOW + 3 * INTERVAL}
    assert last.open[0].since == OPEN.since


def test_blind_again_soon_after_is_the_same_outage() -> None:
    """Blind again soon after is the same outage: there is no new page, and it takes longer to be over."""
    changes = after_ticks((OPEN,), "...xx...xx.......", first=NOW)
    assert [index for index, one in enumerate(changes) if one.ended] == [2, 15]
    assert not any(one.started for one in changes)
    assert {outage.id for one in changes for outage in one.outages} == {OPEN.id}
    assert changes[15].ended[0].reopened == 1


def test_a_return_that_lasts_is_paged_after_all() -> None:
    changes = after_ticks((OPEN,), "..." + "x" * 30, first=NOW)
    started = [index for index, one in enumerate(changes) if one.started]
    assert started == [4 + 1]  # the third missed tick: no hiccup any more, and people were told RECOVERED
    assert changes[5].started[0].since == NOW + 2 * INTERVAL
    assert changes[started[0]].started[0].id != OPEN.id


def test_blind_long_after_is_a_new_outage() -> None:
    changes = after_ticks((OPEN,), "." * 25 + "xx", first=NOW)
    assert [index for index, one in enumerate(changes) if one.started] == [26]
    assert OPEN.id not in {outage.id for outage in changes[-1].outages}


def test_a_rollout_seen_for_long_leaves_those_that_stay_blind() -> None:
    outages: tuple[Outage, ...] = (OPEN,)
    for number in range(25):
        tick = NOW + number * INTERVAL
        outages = change(outages, "b", {"a": tick}, tick=tick).outages
    assert outages[0].members.keys() == {"b"}


def test_an_impossible_time_does_not_keep_an_outage_open() -> None:
    """A time that never was does not keep an outage open for ever."""
    spoiled = replace(OPEN, members={"a": BlindRollout(NOW + 1e9, NOW + 1e9)})
    assert any(one.ended for one in after_ticks((spoiled,), "......", first=NOW))


@given(
    st.lists(st.tuples(st.sets(names), st.sets(names), st.sampled_from(["", "x"])), max_size=30),
)
def test_a_blind_rollout_is_in_exactly_one_outage(
    ticks: list[tuple[set[str], set[str], str]],
) -> None:
    """No rollout is ever in two outages, and a blind one is always in one."""
    outages: tuple[Outage, ...] = ()
    good: dict[str, float] = {}
    for number, (blind, watched, family) in enumerate(ticks):
        tick = NOW + number * INTERVAL
        good |= dict.fromkeys(watched - blind, tick)
        found = change(outages, "".join(blind), good, "".join(watched | blind), tick=tick, family=family)
        inside = [name for outage in found.open for name in outage.members]
        assert len(inside) == len(set(inside))
        assert blind <= set(inside)
        assert from_document(to_document(found.outages)) == found.outages
        outages = found.outages


@given(
    st.dictionaries(st.text(max_size=8), st.sampled_from([None, NOW]), max_size=4),
    st.none() | st.text(max_size=4), st.none() | st.just(NOW), st.integers(0, 9),
)  # fmt: skip
def test_outages_come_back_from_their_document(
    rollouts: dict[str, float | None], slack: str | None, ended: float | None, reopened: int
) -> None:
    members = {name: BlindRollout(NOW, seen) for name, seen in rollouts.items()}
    outages = (Outage("blind.x", NOW, NOW, members, Target(slack, "<!here>"), "unread", ended, reopened, ended),)
    assert from_document(to_document(outages)) == outages


@pytest.mark.parametrize(
    "value", [b"", b"[]", b"{}", b'{"outages": [1]}', b"[" * 50_000, b"\xff", b'{"outages": {"a": 1}}']
)
def test_a_spoiled_document_of_outages_counts_as_none(value: bytes) -> None:
    """A spoiled document of outages is refused and counts as none."""
    with pytest.raises(BadDocument):
        from_document(value)
    clock = VirtualClock()
    server = MemoryServer(clock)
    book = StoredOutages(MemoryStore(server), wall=clock.wall)
    server.commit("x", (), (Put(keys.outages("team"), value),))
    read = book.read()
    assert read.outages == ()
    assert book.write(change(blind="a"), read, {})  # and is no obstacle
    assert [one.members.keys() for one in book.read().outages] == [{"a"}]


def test_the_second_writer_of_an_outage_and_its_page_loses() -> None:
    """The page of an outage is written in the outage's transaction, and the second writer loses."""
    clock = VirtualClock()
    server = MemoryServer(clock)
    first, second = (StoredOutages(MemoryStore(server, name), wall=clock.wall) for name in "ab")
    found = change(blind="a")
    page = {found.started[0].id: trip_page()}
    assert first.write(found, OutagesRead(), page)
    assert not second.write(found, OutagesRead(), page)
    assert len([c for c in server.history if c.key.startswith(keys.OUTBOX)]) == 1


def test_an_unknown_outcome_is_no_success() -> None:
    clock = VirtualClock()
    store = MemoryStore(MemoryServer(clock))
    store.fault = lambda call: Fault.LOSE_ANSWER if call.name == "commit" else None
    with pytest.raises(OutcomeUnknown):
        StoredOutages(store, wall=clock.wall).write(change(blind="a"), OutagesRead(), {})


# --- heartbeats ---------------------------------------------------------------------------------


def beat(name: str = "a", **last_good: float) -> Heartbeat:
    return Heartbeat(name, "1", NOW, NOW, "digest", frozenset({"copilot", "other"}), last_good)


def test_a_heartbeat_names_only_what_could_not_be_judged() -> None:
    """A heartbeat can be read back. It names only the rollouts that could not be judged."""
    one = beat(other=NOW - 90)
    assert heartbeat_from(heartbeat_to(one)) == one
    assert json.loads(heartbeat_to(one))["last_good"] == {"other": "2026-04-19T14:20:30Z"}
    assert (one.good_at("copilot"), one.good_at("other"), one.good_at("unwatched")) == (NOW, NOW - 90, 0.0)


def test_the_fleet_sees_what_any_replica_sees() -> None:
    assert fleet_good_at(NOW - 600, [NOW - 300, NOW - 30]) == NOW - 30
    assert fleet_good_at(NOW, [NOW - 300, NOW - 30]) == NOW


@pytest.mark.parametrize("apart", [3600.0, -3600.0])
def test_sight_by_another_clock_is_as_old_as_its_own_ticks_say(apart: float) -> None:
    clocks = ReplicaClocks(interval=30.0)
    for at in (NOW, NOW + 30):
        clocks.note({"k": replace(beat(), tick=at + apart)}, at)
    told = replace(beat(copilot=NOW - 60 + apart), tick=NOW + 30 + apart)
    assert clocks.good_at("k", told, "other", NOW + 30) == NOW + 30
    assert clocks.good_at("k", told, "copilot", NOW + 30) == NOW - 60
    assert clocks.good_at("k", told, "unwatched", NOW + 30) == 0.0
    # it hangs: told no more
    clocks.note({"k": told}, NOW + 300)
    assert clocks.good_at("k", told, "other", NOW + 300) == NOW + 30


def test_a_heartbeat_met_for_the_first_time_may_be_of_long_ago() -> None:
    clocks, old = ReplicaClocks(interval=30.0), replace(beat(), tick=NOW - 900)
    clocks.note({"k": old}, NOW)
    assert clocks.good_at("k", old, "copilot", NOW) == NOW - 900


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b"[" * 50_000, b"\xff", b'{"id": 1}', b"null"])
def test_a_spoiled_heartbeat_is_no_sight(value: bytes) -> None:
    with pytest.raises(BadDocument):
        heartbeat_from(value)
    good = Item(keys.controller("b"), heartbeat_to(beat("b")), 3)
    assert list(alive([Item(keys.controller("a"), value, 2), good])) == [keys.controller("b")]


def test_teams_that_differ_in_any_receiver_share_no_page() -> None:
    """Two teams without a Slack channel would else share a page that only one of them gets."""
    pages = [
        PageSettings(),
        PageSettings(slack="#a"),
        PageSettings(pagerduty="a"),
        PageSettings(addresses=PageAddresses(email=("a@example.org",))),
        PageSettings(addresses=PageAddresses(email=("b@example.org",))),
        PageSettings(addresses=PageAddresses(teams="a")),
        PageSettings(addresses=PageAddresses(receivers=(("info", ()),))),
    ]
    assert len({Target.of(page) for page in pages}) == len({Target.of(page).digest() for page in pages}) == len(pages)
    same = replace(pages[3], runbook="https://runbooks.example.org", severity="warning")
    assert Target.of(same) == Target.of(pages[3])
