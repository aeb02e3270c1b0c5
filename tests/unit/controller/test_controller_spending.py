"""Caps of rule files in virtual time: they reach the ledgers, and each that is reached is paged once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.errors import AccessDenied
from killswitch.model import SpendSettings
from killswitch.pages.page import PageKind
from killswitch.rules.loading import Rules
from killswitch.spend.books import Book, from_document
from killswitch.spend.caps import Cap, Period
from killswitch.spend.ledger import Ledger
from killswitch.spend.prices import MILLION, Price, PriceList
from killswitch.spend.reservations import Reservation, ScopedLedger, SpendReason
from killswitch.spend_cap import SpendCap
from killswitch.stores import keys
from killswitch.timestamps import HOUR
from tests.doubles.fleet import INTERVAL, Fleet
from tests.doubles.memory_store import Call, MemoryStore
from tests.doubles.scripted_source import rollout
from tests.unit.controller.fleets import GOOD

pytestmark = pytest.mark.simulation

SCOPE = "shadow:copilot"
PRICES = PriceList([Price("m", 0.0, *[MILLION] * 5)])  # a token costs a micro-dollar
HOURLY = SpendCap("shadow", "hour", soft=5_000, hard=10_000)


def capped(*caps: SpendCap, replicas: int = 2) -> Fleet:
    fleet = Fleet(GOOD, rollout(spend=SpendSettings(None, caps)))
    for number in range(replicas):
        fleet.replica(f"r{number}")
    fleet.arm()
    return fleet


def shadow(fleet: Fleet, scope: str = SCOPE) -> tuple[Ledger, ScopedLedger]:
    """A service that counts what it spends and states no cap."""
    ledger = Ledger(
        lambda: MemoryStore(fleet.server, "service"),
        [Cap(scope, Period.MONTH)],
        PRICES,
        wait=0.0,
        wall=fleet.clock.wall,
        monotonic=fleet.clock.monotonic,
        background=False,
    )
    scoped = ledger.for_scopes(scope)
    ledger.step()
    return ledger, scoped


def spend(ledger: Ledger, scoped: ScopedLedger, tokens: int) -> SpendReason | None:
    """Ask for an answer as a caller that waits; why it was refused."""
    reason = None
    for _ in range(4):
        answer = scoped.reserve("m", tokens, 0)
        ledger.step()
        if isinstance(answer, Reservation):
            answer.settle()
            ledger.step()
            return None
        reason = answer.reason
        if reason is SpendReason.CAP:
            break
    return reason


def book(fleet: Fleet, scope: str = SCOPE, period: Period = Period.HOUR) -> Book:
    value = fleet.server.value(keys.account(scope, period))
    assert value is not None
    return from_document(value, scope, period)


def go_on(fleet: Fleet, ledger: Ledger, ticks: int) -> None:
    for _ in range(ticks):
        ledger.step()
        fleet.run(1)


def test_a_soft_cap_is_paged_once_and_a_hard_one_ends_the_shadow() -> None:
    fleet = capped(HOURLY)
    fleet.run(1)
    ledger, scoped = shadow(fleet)
    assert spend(ledger, scoped, 4_000) is None
    go_on(fleet, ledger, 2)
    assert fleet.pages(PageKind.SPEND_SOFT) == []
    assert spend(ledger, scoped, 2_000) is None
    go_on(fleet, ledger, 4)
    (soft,) = fleet.pages(PageKind.SPEND_SOFT)
    assert (soft.rollout, soft.severity) == ("copilot", "warning")
    assert soft.why.startswith("soft cap reached; the period ends Sun 13:00 UTC; when the cap ")
    assert spend(ledger, scoped, 5_000) is SpendReason.CAP
    go_on(fleet, ledger, 4)
    (hard,) = fleet.pages(PageKind.SPEND_HARD)
    assert "shadow requests are off until" in hard.headline
    assert hard.payload["spend"]["hard_micros"] == 10_000
    assert "soft" not in hard.why
    assert len(fleet.pages(PageKind.SPEND_SOFT)) == 1


def test_both_caps_at_once_are_one_page_that_says_both() -> None:
    """A page that says "soft cap reached, nothing is stopped" after the other one would mislead."""
    fleet = capped(HOURLY)
    fleet.run(1)
    ledger, scoped = shadow(fleet)
    assert spend(ledger, scoped, 10_000) is None
    go_on(fleet, ledger, 4)
    (page,) = fleet.pages()
    assert page.kind is PageKind.SPEND_HARD
    assert "its soft cap of $0.005 was passed since the last look" in page.why
    raised = rollout(spend=SpendSettings(None, (replace(HOURLY, hard=20_000),)))
    for replica in fleet.replicas:
        replica.rules = Rules({"copilot": raised}, "digest-2")
    go_on(fleet, ledger, 4)
    assert len(fleet.pages()) == 1, "the soft cap was told"


def test_the_next_period_begins_without_a_page_and_has_pages_of_its_own() -> None:
    fleet = capped(HOURLY)
    fleet.run(1)
    ledger, scoped = shadow(fleet)
    assert spend(ledger, scoped, 10_000) is None
    go_on(fleet, ledger, 2)
    left = book(fleet).end - fleet.clock.wall()
    assert 0 < left < HOUR
    go_on(fleet, ledger, int(left / INTERVAL) + 2)
    assert len(fleet.pages()) == 1, "nothing is said when the period ends"
    assert spend(ledger, scoped, 10_000) is None
    go_on(fleet, ledger, 3)
    assert [page.kind for page in fleet.pages()] == [PageKind.SPEND_HARD] * 2
    assert len({page.id for page in fleet.pages()}) == 2


def test_a_restart_of_every_replica_pages_nothing_again() -> None:
    fleet = capped(HOURLY)
    fleet.run(1)
    ledger, scoped = shadow(fleet)
    spend(ledger, scoped, 10_000)
    go_on(fleet, ledger, 2)
    for replica in list(fleet.replicas):
        fleet.kill(replica)
    fleet.replica("new")
    go_on(fleet, ledger, 3)
    assert len(fleet.pages(PageKind.SPEND_HARD)) == 1


def test_a_cap_that_is_raised_and_reached_again_is_paged_again() -> None:
    fleet = capped(replace(HOURLY, soft=None), replicas=1)
    fleet.run(1)
    ledger, scoped = shadow(fleet)
    spend(ledger, scoped, 10_000)
    go_on(fleet, ledger, 2)
    raised = rollout(spend=SpendSettings(None, (replace(HOURLY, soft=None, hard=12_000),)))
    fleet.replicas[0].rules = Rules({"copilot": raised}, "digest-2")
    go_on(fleet, ledger, 2)
    assert spend(ledger, scoped, 2_000) is None
    go_on(fleet, ledger, 2)
    assert len(fleet.pages(PageKind.SPEND_HARD)) == 2


def test_a_project_is_paged_to_the_file_that_caps_it() -> None:
    fleet = capped(SpendCap("project:eval", "month", None, 3_000))
    fleet.run(1)
    ledger, scoped = shadow(fleet, "project:eval")
    spend(ledger, scoped, 3_000)
    go_on(fleet, ledger, 2)
    (page,) = fleet.pages(PageKind.SPEND_HARD)
    assert page.headline.startswith("project:eval: whatever spends from it is off until")
    assert page.rollout == "copilot"


@pytest.mark.parametrize("caps", [(), (HOURLY,)], ids=["no caps", "caps"])
def test_a_store_that_denies_the_ledger_is_no_outage(
    caps: tuple[SpendCap, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Flags can be changed all the same. Without caps nothing is said, and the ledger is asked once."""
    fleet = capped(*caps, replicas=1)
    asked = []

    def denied(call: Call) -> None:
        if call.subject == keys.LEDGER:
            asked.append(call)
            raise AccessDenied("etcd: permission denied")

    fleet.replicas[0].fail_store(denied)
    fleet.run(20)
    assert fleet.told(PageKind.CANNOT_ACT) == fleet.pages() == []
    assert ("spend caps are not kept" in caplog.text, len(asked) == 1) == (bool(caps), not caps)


def test_a_bug_in_counting_money_costs_no_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cycle goes on: what is paged, and what other replicas see of this one, comes after it."""
    fleet = capped(HOURLY, replicas=1)
    fleet.run(3)

    def bug(*_: object) -> None:
        raise RuntimeError("spend")

    monkeypatch.setattr("killswitch.controller.spending.Spending.look", bug)
    before = fleet.server.value(keys.controller("r0"))
    fleet.run(3)
    assert fleet.server.value(keys.controller("r0")) != before
