"""Several flips in one transaction, and what happens to those that cannot go with the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from killswitch.errors import KillswitchError, Unavailable
from killswitch.flags.transitions import State
from killswitch.stores import Compare, Delete, Put, keys
from killswitch.trips.request import Alone, TripOutcome, TripRequest, TripResult
from killswitch.trips.stored_flags import StoredFlag
from tests.doubles.memory_store import Call, Fault
from tests.unit.trips.switches import World, automatic, once


class Many(World):
    """Rollouts that have been armed and read; their verdicts, with guards that hold."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names
        for name in names:
            self.person.arm(name, control="old", canary="new", percent=5.0, stage="ramp_5", salt="")
        self.server.commit("x", (), (Put("/session", b""),))
        self.guard = Compare("/session", self.server.revision)
        self.commits: list[tuple[Sequence[Compare], int]] = []

    def requests(self) -> list[TripRequest]:
        stored = self.person.everything()[0]
        return [self.request(name, stored[name]) for name in self.names]

    def request(self, name: str, stored: StoredFlag | None) -> TripRequest:
        return replace(automatic(rollout=name), stored=stored, guards=lambda: (self.guard,))

    def together(
        self, requests: Sequence[TripRequest], fault: Callable[[Call], Fault | None] = lambda _: None
    ) -> list[TripResult | KillswitchError | Alone]:
        switch = self.switch("a", fault)
        commit = switch._store.commit

        def counted(compares: Sequence[Compare], writes: Sequence[Put | Delete]) -> object:
            self.commits.append((compares, len(writes)))
            return commit(compares, writes)

        switch._store.commit = counted  # type: ignore[method-assign,assignment]  # it counts and goes on
        return switch.trip_together(requests)

    def tripped(self) -> list[str]:
        stored = self.person.everything()[0]
        return [name for name in self.names if (flag := stored[name].flag) and flag.state is State.TRIPPED]


def test_several_flips_are_one_transaction() -> None:
    """Several flips are one transaction, which has each comparison once."""
    many = Many("a", "b", "c")
    results = many.together(many.requests())
    revision = many.server.revision
    assert results == [TripResult(TripOutcome.TRIPPED, f"{name}.1", revision) for name in many.names]
    assert many.tripped() == ["a", "b", "c"]
    [(compares, writes)] = many.commits
    assert writes == 12  # flag, incident, page and line of history of each
    assert sorted(compare.key for compare in compares) == sorted(
        ["/session", *(keys.flag(name) for name in many.names), *(keys.incident(name, 1) for name in many.names)]
    )
    assert {compare.mod_revision for compare in compares if compare.key == keys.incident("b", 1)} == {0}


def test_a_guard_of_one_counts_for_all_of_its_transaction() -> None:
    many = Many("a", "b")
    first, second = many.requests()
    other = Compare("/other", 99)
    assert many.together([replace(first, guards=lambda: (many.guard, other)), second]) == [Alone(), Alone()]
    assert many.tripped() == []


def test_what_cannot_go_with_the_others_is_left_out_and_they_go() -> None:
    """One was not read, one is of another arming, one is too old, one names no flag at all."""
    many = Many("a", "b", "c", "d", "e")
    a, b, c, d, e = many.requests()
    person = replace(e, generation=None, stored=StoredFlag(None, 0))
    unread = replace(a, stored=None)

    def unreadable() -> None:
        raise Unavailable("the session could not be opened")

    failing = replace(d, guards=unreadable)
    results = many.together(
        [failing, person, unread, replace(b, generation=2), replace(c, still_valid=lambda: False), e]
    )
    assert str(results[0]) == "the session could not be opened"
    assert results[1:5] == [Alone(), Alone(), TripResult(TripOutcome.SUPERSEDED), TripResult(TripOutcome.EXPIRED)]
    assert results[5] == TripResult(TripOutcome.TRIPPED, "e.1", many.server.revision)
    assert many.tripped() == ["e"]


@pytest.mark.parametrize(
    ("fault", "became"),
    [(Fault.LOSE_ANSWER, Alone(sent=True)), (Fault.APPLY_LATER, Alone(sent=True))],
)
def test_after_a_lost_answer_each_is_tried_alone_as_sent(fault: Fault, became: Alone) -> None:
    many = Many("a", "b")
    assert many.together(many.requests(), once("commit", fault)) == [became, became]


def test_a_store_that_does_not_answer_says_so_of_each() -> None:
    many = Many("a", "b")
    results = many.together(many.requests(), once("commit", Fault.FAIL_BEFORE))
    assert [type(result) for result in results] == [Unavailable, Unavailable]
    assert many.tripped() == []


def test_a_refused_transaction_is_tried_one_by_one() -> None:
    """A transaction that no store would take is tried one flip at a time."""
    many = Many("a")
    again = many.requests() * 2  # the same key twice
    assert many.together(again) == [Alone(), Alone()]


def test_more_than_a_transaction_holds_go_in_several() -> None:
    many = Many(*(f"r{number:03}" for number in range(100)))
    results = many.together(many.requests())
    assert len(many.tripped()) == 100
    assert len(many.commits) > 1
    assert all(isinstance(result, TripResult) and result.outcome is TripOutcome.TRIPPED for result in results)
    assert len({result.revision for result in results if isinstance(result, TripResult)}) == len(many.commits)
    assert all(many.guard in compares for compares, _ in many.commits)


def test_a_flip_already_made_is_not_claimed_again_together() -> None:
    many = Many("a", "b")
    first = many.requests()
    many.together(first[:1])
    assert many.together([replace(first[0], stored=many.person.stored("a")), first[1]]) == [
        TripResult(TripOutcome.ALREADY_TRIPPED, "a.1"),
        TripResult(TripOutcome.TRIPPED, "b.1", many.server.revision),
    ]


def test_guards_count_among_what_a_transaction_holds() -> None:
    """Each with two of its own: fifty have more comparisons than writes."""
    many = Many(*(f"r{number:02}" for number in range(50)))
    many.server.commit("x", (), [Put(f"/{kind}/{name}", b"") for name in many.names for kind in ("guards", "more")])
    revision = many.server.revision

    def guarded(request: TripRequest) -> TripRequest:
        names = (f"/guards/{request.rollout}", f"/more/{request.rollout}")
        return replace(request, guards=lambda: [Compare(name, revision) for name in names])

    many.together([guarded(request) for request in many.requests()])
    assert len(many.tripped()) == 50
