"""What live traffic costs, in virtual time: counted once over restarts and replicas, capped for the canary alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.errors import AccessDenied
from killswitch.model import Cohort, Counts, Measurement, Mode, Reason, SpendSettings, Unreadable, Want
from killswitch.pages.page import PageKind
from killswitch.spend import books
from killswitch.spend.caps import Period
from killswitch.spend.live import CountedUpTo, from_document
from killswitch.spend.prices import MILLION, Price, PriceList
from killswitch.spend_cap import SpendCap
from killswitch.status.document import status_document
from killswitch.stores import keys
from killswitch.timestamps import DAY
from killswitch.wording import date_and_time
from tests.doubles.fleet import INTERVAL, START, Fleet
from tests.doubles.memory_store import Call
from tests.doubles.scripted_source import Script, rollout
from tests.unit.controller.fleets import GOOD, assert_one_trip

pytestmark = pytest.mark.simulation

# a token costs a micro-dollar, and one that is written four
PRICES = PriceList(
    [Price(model, 0.0, MILLION, MILLION, MILLION, 4 * MILLION, 4 * MILLION) for model in ("model-old", "model-new")]
)
TOKENS = {Cohort.CANARY: {"input": 100.0, "output": 25.0}, Cohort.CONTROL: {"input": 1_000.0, "cached_input": 500.0}}
A_STEP = {Cohort.CANARY: 200, Cohort.CONTROL: 1_500}
SCOPES = {Cohort.CANARY: "rollout:copilot", Cohort.CONTROL: "control:copilot"}
NOT_THERE = Unreadable(Reason.NEVER_SEEN, "no series")


def billing(unmetered: float = 0.0, *, unreadable: bool = False) -> Script:
    """Ten requests a step, of which ``unmetered`` did not say what they used."""

    def script(want: Want, cohort: Cohort, tick: float) -> Measurement:
        if want.rule != "spend":
            return GOOD(want, cohort, tick)
        if unreadable:
            return NOT_THERE
        if want.part == "unmetered":
            return Counts(unmetered, 10.0)
        return Counts(TOKENS[cohort].get(want.part, 0.0), sum(TOKENS[cohort].values()))

    return script


def priced(*caps: SpendCap, script: Script | None = None, replicas: int = 1, mode: Mode = Mode.ENFORCE) -> Fleet:
    fleet = Fleet(script or billing(), rollout(spend=SpendSettings("prices.json", caps), mode=mode))
    fleet.prices = {"copilot": PRICES}
    for number in range(replicas):
        fleet.replica(f"r{number}")
    fleet.arm()
    return fleet


def spent(fleet: Fleet, cohort: Cohort = Cohort.CANARY, period: Period = Period.DAY) -> int:
    value = fleet.server.value(keys.account(SCOPES[cohort], period))
    return 0 if value is None else books.from_document(value, SCOPES[cohort], period).current.used


def counted(fleet: Fleet, cohort: Cohort = Cohort.CANARY) -> CountedUpTo:
    value = fleet.server.value(keys.live_spend(SCOPES[cohort]))
    assert value is not None
    return from_document(value)


def steps(fleet: Fleet, cohort: Cohort = Cohort.CANARY) -> float:
    return spent(fleet, cohort) / A_STEP[cohort]


def elapsed(fleet: Fleet) -> float:
    """The steps that are counted or known to be unknown; the first one ends at the fleet's first tick."""
    return (counted(fleet).tick - START) / INTERVAL + 1


@pytest.mark.parametrize("replicas", [1, 3])
def test_each_step_is_counted_once_for_both_cohorts(replicas: int) -> None:
    fleet = priced(replicas=replicas)
    fleet.run(8)
    assert elapsed(fleet) == 9.0
    assert (steps(fleet), steps(fleet, Cohort.CONTROL)) == (9.0, 9.0)
    assert spent(fleet, period=Period.MONTH) == spent(fleet)


def test_counting_goes_on_after_a_restart_and_an_outage_of_the_source() -> None:
    fleet = priced()
    fleet.run(4)
    fleet.kill(fleet.replicas[0])
    fleet.clock.advance(5 * INTERVAL)
    fleet.replica("new")
    fleet.run(2)
    fleet.replicas[0].source.down = True
    fleet.run(3)
    fleet.replicas[0].source.down = False
    fleet.run(2)
    assert elapsed(fleet) > 14
    assert (steps(fleet), counted(fleet).missing) == (elapsed(fleet), 0.0)


def test_a_gap_that_is_too_old_to_read_is_unknown_time() -> None:
    fleet = priced()
    fleet.run(4)
    fleet.kill(fleet.replicas[0])
    fleet.clock.advance(100 * INTERVAL)
    fleet.replica("new")
    fleet.run(1)
    assert counted(fleet).missing == (elapsed(fleet) - steps(fleet)) * INTERVAL > 50 * INTERVAL


def test_who_does_not_say_what_he_used_costs_as_much_as_the_others() -> None:
    fleet = priced(script=billing(unmetered=5.0))
    fleet.run(4)
    assert steps(fleet) == 2 * elapsed(fleet)


@pytest.mark.parametrize("script", [billing(unmetered=10.0), billing(unreadable=True)], ids=["unmetered", "no series"])
def test_tokens_that_cannot_be_read_are_never_0_and_are_paged(script: Script) -> None:
    fleet = priced(SpendCap("rollout", "day", None, 500, "trip"), script=script, replicas=2)
    fleet.run(20)
    assert fleet.pages(PageKind.SPEND_UNKNOWN) == []
    fleet.run(20)
    (page,) = fleet.pages(PageKind.SPEND_UNKNOWN)
    assert "could not be read" in page.why
    assert (spent(fleet), fleet.tripped()) == (0, False)


def test_a_missing_price_is_paged_at_once_and_counted_when_it_is_there() -> None:
    fleet = priced(replicas=2)
    fleet.prices = {"copilot": PriceList([Price("model-old", 0.0, *[MILLION] * 5)])}
    fleet.run(10)
    (page,) = fleet.pages(PageKind.SPEND_UNKNOWN)
    assert "no price of 'model-new' is known" in page.why
    assert (spent(fleet), steps(fleet, Cohort.CONTROL)) == (0, 11.0)
    fleet.prices = {"copilot": PRICES}
    fleet.run(2)
    assert steps(fleet) == elapsed(fleet) == 13.0


def test_a_canary_over_its_hard_cap_is_held_with_a_page() -> None:
    fleet = priced(SpendCap("rollout", "day", 500, 1_000), replicas=2)
    fleet.run(12)
    assert not fleet.tripped()
    assert [page.kind for page in fleet.pages()] == [PageKind.SPEND_SOFT, PageKind.SPEND_HARD]
    assert "it keeps the traffic that it has" in fleet.pages(PageKind.SPEND_HARD)[0].headline
    assert spent(fleet) > 1_000, "users are served, and what they cost is counted"


def test_a_canary_over_its_hard_cap_is_tripped_once() -> None:
    fleet = priced(SpendCap("rollout", "day", None, 1_000, "trip"), replicas=3)
    fleet.run(3)
    assert not fleet.tripped()
    fleet.run(4)
    assert fleet.tripped()
    assert_one_trip(fleet)
    (incident,) = fleet.incidents()
    reason, _, advice = incident["reason"].partition("; ")
    assert reason == "SPEND_CAP: the canary has used $0.001 of its hard cap of $0.001 per day"
    ends = START // DAY * DAY + DAY
    assert advice == f"until {date_and_time(ends)} a re-arm is tripped again, unless the cap is raised"
    assert fleet.pages(PageKind.SPEND_HARD) == [], "the trip has a page"


@pytest.mark.parametrize(("steps_of_the_cap", "overrun"), [(41, 0), (42, 0), (5, 4)])
def test_a_cap_is_seen_at_the_canarys_turn(
    monkeypatch: pytest.MonkeyPatch, steps_of_the_cap: int, overrun: int
) -> None:
    """Of eight rollouts two are counted at a time, so a turn is four ticks; near its cap one is counted at each."""
    monkeypatch.setattr("killswitch.controller.live_spend.MOST_ROLLOUTS", 2)
    hard = steps_of_the_cap * A_STEP[Cohort.CANARY]
    capped = rollout(spend=SpendSettings("prices.json", (SpendCap("rollout", "day", None, hard, "trip"),)))
    others = [rollout(f"r{number}", spend=SpendSettings("prices.json")) for number in range(7)]
    fleet = Fleet(billing(), capped, *others)
    fleet.prices = {one.name: PRICES for one in (capped, *others)}
    fleet.replica("r")
    for one in (capped, *others):
        fleet.arm(one.name)
    fleet.run(steps_of_the_cap + 8, until=fleet.tripped)
    assert fleet.tripped()
    assert 0 <= spent(fleet) - hard <= overrun * A_STEP[Cohort.CANARY]


def test_a_dry_run_says_what_it_would_have_tripped() -> None:
    fleet = priced(SpendCap("rollout", "day", None, 1_000, "trip"), mode=Mode.DRY_RUN)
    fleet.run(10)
    assert not fleet.tripped()
    assert len(fleet.pages(PageKind.WOULD_TRIP)) == 1


def cap_line(fleet: Fleet) -> str:
    report = fleet.replicas[0].controller.latest
    assert report is not None
    ((cap,), document) = (report.reports["copilot"].caps, status_document("r0", report, 1.0))
    assert cap.line == document["rollouts"][0]["spend"][0]["line"]
    return cap.line


def test_status_shows_live_spend_against_its_caps() -> None:
    fleet = priced(SpendCap("rollout", "day", 600_000_000, 1_000_000_000))
    fleet.run(4)
    said = cap_line(fleet)
    assert said.startswith("rollout:copilot per day: $0.001 used, soft $600.00, hard $1,000.00; when the soft cap "), (
        said
    )
    assert said.endswith("is not known yet: under 5 minutes of use"), said
    fleet.run(12)
    assert "; soft cap " in cap_line(fleet)
    assert cap_line(fleet).endswith(" at this rate")


@pytest.mark.parametrize(
    ("script", "prices", "why"),
    [
        (billing(), PriceList([Price("model-old", 0.0, *[MILLION] * 5)]), "no price of 'model-new' is known"),
        (billing(unreadable=True), PRICES, "the tokens of model-new up to "),
    ],
    ids=["no price", "no tokens"],
)
def test_status_says_unknown_and_why(script: Script, prices: PriceList, why: str) -> None:
    fleet = priced(SpendCap("rollout", "day", None, 1_000_000_000), script=script)
    fleet.prices = {"copilot": prices}
    fleet.run(35)
    assert cap_line(fleet).startswith("rollout:copilot per day: UNKNOWN, at least $0.00 used, hard $1,000.00: " + why)


def test_status_says_unknown_while_the_metric_store_is_away() -> None:
    fleet = priced(SpendCap("rollout", "day", None, 1_000_000_000))
    fleet.run(4)
    fleet.replicas[0].source.down = True
    fleet.run(35)
    assert "UNKNOWN, at least $0.001 used, hard $1,000.00: live traffic is counted up to " in cap_line(fleet)


def test_status_says_unknown_where_the_ledger_cannot_be_read() -> None:
    fleet = priced(SpendCap("rollout", "day", None, 1_000_000_000))
    fleet.run(4)

    def denied(call: Call) -> None:
        if call.subject == keys.LEDGER:
            raise AccessDenied("etcd: permission denied")

    fleet.replicas[0].fail_store(denied)
    fleet.run(1)
    assert cap_line(fleet).startswith("rollout:copilot per day: UNKNOWN: this controller has not read the account")


def test_control_is_counted_and_never_capped() -> None:
    fleet = priced(SpendCap("rollout", "day", None, 10**9, "trip"))
    fleet.run(10)
    value = fleet.server.value(keys.account("control:copilot", "day"))
    assert value is not None
    book = books.from_document(value, "control:copilot", Period.DAY)
    assert (book.soft, book.hard, fleet.pages()) == (None, None, [])


def test_without_prices_nothing_is_asked_or_counted() -> None:
    fleet = priced()
    fleet.prices = {}
    fleet.run(3)
    assert fleet.server.value(keys.live_spend("rollout:copilot")) is None
    assert replace(fleet.rollouts["copilot"]).spend.prices == "prices.json"
