"""Outages of a whole fleet: who is told, when a policy trips, and what a metric store that comes and goes costs."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from killswitch.model import Mode, PageSettings, Reason, Unreadable, Want
from killswitch.pages.page import Page, PageKind
from killswitch.rules.loading import Rules
from killswitch.stores import keys
from tests.doubles.fleet import INTERVAL, START, Fleet, no_fault
from tests.doubles.memory_store import Call, Crash, Fault
from tests.doubles.scripted_source import ERRORS, Traffic, rollout

pytestmark = pytest.mark.simulation

GOOD = Traffic(since=START)


def fleet_of(settings: Mapping[str, PageSettings], *, trip_after: float | None = None) -> Fleet:
    """One rollout for each; the last of them has the policy."""
    last = list(settings)[-1]
    fleet = Fleet(
        GOOD,
        *(
            rollout(name, rules=(ERRORS,), page=page, trip_when_blind_after=trip_after if name == last else None)
            for name, page in settings.items()
        ),
    )
    for name in "ab":
        fleet.replica(name)
    for name in settings:
        fleet.arm(name)
    fleet.run(3)
    return fleet


def blind(fleet: Fleet, *names: str, reason: Reason = Reason.NO_DATA) -> None:
    def gone(want: Want, _tick: float) -> Unreadable | None:
        return Unreadable(reason, "gone") if want.rollout in names else None

    for one in fleet.replicas:
        one.source.spoil = gone


def told(pages: list[Page]) -> list[tuple[str, str | None, list[str]]]:
    return [(page.kind.value, page.slack, page.payload["rollouts"]) for page in pages]


def test_the_policy_counts_from_the_rollouts_own_blindness() -> None:
    """The policy of a rollout counts from its own blindness, and not from an older outage's."""
    fleet = fleet_of({"alpha": PageSettings(), "beta": PageSettings()}, trip_after=600.0)
    blind(fleet, "alpha")
    fleet.run(60)
    blind(fleet, "alpha", "beta")
    assert fleet.run(40, until=lambda: fleet.tripped("beta")) >= 600 / INTERVAL
    assert fleet.tripped("beta")
    trip = fleet.flips("beta")[0].trip
    assert trip is not None
    assert trip.reason.startswith("blind for 10m")


def test_a_dry_run_is_not_tripped_for_blindness_either() -> None:
    """The policy flipped the flag whatever the mode was."""
    fleet = Fleet(GOOD, rollout("alpha", rules=(ERRORS,), mode=Mode.DRY_RUN, trip_when_blind_after=300.0))
    for name in "ab":
        fleet.replica(name)
    fleet.arm("alpha")
    fleet.run(3)
    blind(fleet, "alpha")
    assert fleet.run(30, until=lambda: fleet.tripped("alpha")) == 30
    (page,) = fleet.pages(PageKind.WOULD_TRIP)
    assert "blind for" in page.why
    (before,) = fleet.pages(PageKind.BLIND)
    assert "No automatic action. Traffic stays as it is" in before.next_steps


@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
def test_another_clock_of_a_replica_does_not_change_blindness(ahead: float) -> None:
    """Ahead, its last sight hid an outage of all for an hour; behind, it counted for none: one blind alone tripped."""
    fleet = Fleet(Traffic(since=START - 9000), rollout("alpha", rules=(ERRORS,), trip_when_blind_after=600.0))
    fleet.replica("a")
    fleet.replica("b").source.offset += ahead
    fleet.arm("alpha")
    fleet.run(5)
    fleet.replicas[0].source.down = True
    fleet.run(30)
    assert fleet.pages() == []  # b sees
    fleet.replicas[1].source.down = True
    assert fleet.run(40, until=lambda: fleet.tripped("alpha")) < 25
    assert fleet.pages(PageKind.BLIND)


@pytest.mark.parametrize(("stage", "percent"), [("aa", 5.0), ("shadow", 0.0)])
def test_a_stage_without_a_canary_is_not_tripped_for_blindness(stage: str, percent: float) -> None:
    """No user has the canary there, so that a flip changes nothing but ends the measurement."""
    fleet = Fleet(GOOD, rollout("alpha", rules=(ERRORS,), trip_when_blind_after=300.0))
    fleet.replica("a")
    fleet.arm("alpha", percent, stage=stage)
    fleet.run(3)
    blind(fleet, "alpha", reason=Reason.SOURCE_DOWN)
    assert fleet.run(30, until=lambda: fleet.tripped("alpha")) == 30


def test_a_page_of_blindness_names_those_that_will_be_tripped() -> None:
    """It said so of all that shared the page."""
    fleet = fleet_of({"alpha": PageSettings(), "beta": PageSettings()}, trip_after=600.0)
    blind(fleet, "alpha", "beta")
    fleet.run(5)
    (page,) = fleet.pages(PageKind.BLIND)
    (step,) = (step for step in page.next_steps if "when_blind" in step)
    assert step.startswith("`when_blind` trips beta at ")
    assert step.endswith("the others keep their traffic")


def test_an_outage_that_nobody_watches_now_is_closed_on_its_page() -> None:
    """An alert stayed open for ever: blind, then tripped, ended or without a rule file."""

    def keep(*names: str) -> None:
        for one in fleet.replicas:
            one.rules = Rules({name: fleet.rollouts[name] for name in names}, "-".join(names))

    fleet = fleet_of({"alpha": PageSettings(slack="#a"), "beta": PageSettings(slack="#a")})
    blind(fleet, "alpha", "beta")
    fleet.run(5)
    (page,) = fleet.pages(PageKind.BLIND)
    keep("beta")
    fleet.run(3)
    assert not fleet.pages(PageKind.RECOVERED)
    keep()
    fleet.run(3)
    (closed,) = fleet.pages(PageKind.RECOVERED)
    assert (closed.follows, closed.slack, closed.payload["rollouts"]) == (page.id, "#a", ["beta"])
    assert "no longer monitored" in closed.headline
    fleet.run(30)
    assert len(fleet.pages(PageKind.RECOVERED)) == 1


def test_blindness_during_anothers_outage_is_paged_once() -> None:
    """A rollout that goes blind during another's outage is paged once."""
    fleet = fleet_of({"alpha": PageSettings(), "beta": PageSettings(), "gamma": PageSettings()})
    blind(fleet, "alpha")
    fleet.run(20)
    blind(fleet, "alpha", "beta", "gamma")
    fleet.run(60)
    assert told(fleet.pages()) == [("BLIND", None, ["alpha"]), ("BLIND", None, ["beta", "gamma"])]
    blind(fleet)
    fleet.run(4)
    assert len(fleet.pages(PageKind.RECOVERED)) == 2


def test_every_team_is_paged_for_its_outage_and_its_end() -> None:
    """Every team is paged for an outage that blinds its rollouts, and for its end."""
    fleet = fleet_of({"alpha": PageSettings(slack="#a"), "beta": PageSettings(slack="#b"), "gamma": PageSettings("#a")})
    blind(fleet, "alpha", "beta", "gamma")
    fleet.run(10)
    assert sorted(told(fleet.pages())) == [("BLIND", "#a", ["alpha", "gamma"]), ("BLIND", "#b", ["beta"])]
    blind(fleet)
    fleet.run(5)
    ends = fleet.pages(PageKind.RECOVERED)
    assert sorted(told(ends)) == [("RECOVERED", "#a", ["alpha", "gamma"]), ("RECOVERED", "#b", ["beta"])]
    assert {page.follows for page in ends} == {page.id for page in fleet.pages(PageKind.BLIND)}


def test_the_stragglers_of_one_outage_are_not_paged_again() -> None:
    fleet = fleet_of({"alpha": PageSettings(), "beta": PageSettings()})
    blind(fleet, "alpha")
    fleet.run(1)
    blind(fleet, "alpha", "beta")
    fleet.run(20)
    assert told(fleet.pages()) == [("BLIND", None, ["alpha"])]


@pytest.mark.parametrize(("dark", "light"), [(2, 1), (2, 2), (2, 3), (3, 4)])
def test_a_source_that_comes_and_goes_is_paged_as_one_outage(dark: int, light: int) -> None:
    """Half an hour of it: no pair of pages each time."""
    fleet = fleet_of({"alpha": PageSettings()})
    for _ in range(60 // (dark + light)):
        blind(fleet, "alpha", reason=Reason.SOURCE_TIMEOUT)
        fleet.run(dark)
        blind(fleet)
        fleet.run(light)
    assert len(fleet.pages(PageKind.BLIND)) <= 3
    assert len(fleet.pages(PageKind.RECOVERED)) <= 2
    fleet.run(20)
    kinds = [page.kind for page in fleet.pages()]
    assert kinds[-1] is PageKind.RECOVERED


def test_the_end_of_an_outage_that_came_back_says_so() -> None:
    fleet = fleet_of({"alpha": PageSettings()})
    for good in (4, 12):
        blind(fleet, "alpha")
        fleet.run(2)
        blind(fleet)
        fleet.run(good)
    kinds = [page.kind.value for page in fleet.pages()]
    assert kinds == ["BLIND", "RECOVERED", "RECOVERED"]
    assert "came back once after a RECOVERED, unpaged" in fleet.pages()[-1].why
    assert len({page.id for page in fleet.pages()}) == 3


def test_while_a_source_hangs_another_replicas_report_still_counts() -> None:
    """At the start of the cycle it was not there: the other one is late, on a busy machine."""
    fleet = fleet_of({"alpha": PageSettings()})
    lonely, other = fleet.replicas
    other.asleep = True

    def hang(_want: Want, _tick: float) -> Unreadable:
        other.asleep = False
        other.cycle()
        other.asleep = True
        return Unreadable(Reason.SOURCE_TIMEOUT, "no answer")

    lonely.source.spoil = hang
    fleet.run(10)
    assert fleet.pages() == []


def test_a_report_between_the_look_and_the_page_stops_the_page() -> None:
    """A report of sight between the look and the page keeps the page back."""
    fleet = fleet_of({"alpha": PageSettings()})
    lonely, late = fleet.replicas
    overtaken = 0

    def meanwhile(call: Call) -> None:
        nonlocal overtaken
        if call.name == "commit" and any(write.key.startswith(keys.OUTAGES) for write in call.subject):  # type: ignore[attr-defined]  # writes
            overtaken += 1
            late.cycle()

    lonely.source.spoil = lambda *_: Unreadable(Reason.SOURCE_TIMEOUT, "no answer")
    lonely.fail_store(meanwhile)
    for _ in range(60):
        fleet.clock.advance(INTERVAL / 6)
        late.pulse()  # its process lives, its cycles are late
        lonely.pulse()
        lonely.cycle()
    assert overtaken > 0
    assert fleet.pages() == []


def test_every_team_is_paged_when_its_flags_cannot_be_changed() -> None:
    """Every team is paged when its flags cannot be changed, and when they can be changed again."""
    fleet = fleet_of({"alpha": PageSettings(slack="#a"), "beta": PageSettings(slack="#b"), "gamma": PageSettings("#a")})
    a, b = fleet.replicas
    fleet.kill(b)
    a.fail_store(lambda _: Fault.FAIL_BEFORE)
    fleet.run(6)
    assert sorted((page.kind.value, page.slack) for page in a.told) == [("CANNOT_ACT", "#a"), ("CANNOT_ACT", "#b")]
    assert len({page.id for page in a.told}) == 2
    a.fail_store(no_fault)
    fleet.run(2)
    ends = [page for page in a.told if page.kind is PageKind.RECOVERED]
    assert sorted(page.slack or "" for page in ends) == ["#a", "#b"]
    assert {page.follows for page in ends} == {page.id for page in a.told} - {page.id for page in ends}


def test_a_trip_for_blindness_asks_the_other_replicas_once_more() -> None:
    """One of them reports sight after the policy's time was up, and before the flip: it is not made."""
    fleet = fleet_of({"alpha": PageSettings()}, trip_after=300.0)
    first, other = fleet.replicas
    first.source.down = other.source.down = True
    overtaken = 0

    def meanwhile(call: Call) -> None:
        nonlocal overtaken
        if call.name == "commit" and any(write.key == keys.flag("alpha") for write in call.subject):  # type: ignore[attr-defined]  # writes
            overtaken += 1
            other.source.down = False
            other.cycle()

    first.fail_store(meanwhile)
    fleet.run(20, until=lambda: overtaken > 0)
    assert overtaken > 0
    assert not fleet.tripped("alpha")


@pytest.mark.parametrize("dies_after", [1, 2, 3])
def test_a_death_between_portions_pages_each_team_once(dies_after: int) -> None:
    """A replica that dies between two portions leaves no team unpaged, and none is paged twice."""
    teams = {f"r{number:03d}": PageSettings(slack=f"#team-{number}") for number in range(150)}
    fleet = fleet_of(teams)
    first, second = fleet.replicas
    second.asleep = True
    written = 0

    def dies(call: Call) -> Fault | None:
        nonlocal written
        pages = call.name == "commit" and any(write.key.startswith(keys.OUTBOX) for write in call.subject)  # type: ignore[attr-defined]  # writes
        written += pages
        return Fault.CRASH_AFTER if pages and written == dies_after else None

    for one in fleet.replicas:
        one.source.down = True
    first.fail_store(dies)
    with pytest.raises(Crash):
        fleet.run(6)
    fleet.kill(first)
    assert 0 < len(fleet.pages(PageKind.BLIND)) <= len(teams)
    second.asleep = False
    fleet.run(8)
    assert sorted(page.slack or "" for page in fleet.pages(PageKind.BLIND)) == sorted(
        one.slack or "" for one in teams.values()
    )
    second.source.down = False
    fleet.run(6)
    assert len(fleet.pages(PageKind.RECOVERED)) == len(teams)
    assert fleet.told(PageKind.CANNOT_ACT) == []
