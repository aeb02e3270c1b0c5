"""Processes with wrong clocks over a real etcd, whose answers say what time it is there.

All of it is on the calendar of `tests.doubles.own_calendar`: none of these tests sees a month end.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest

from killswitch.model import SpendSettings
from killswitch.spend.books import Book, from_document
from killswitch.spend.caps import Cap, Period
from killswitch.spend.ledger import Ledger
from killswitch.spend.live import LiveStep
from killswitch.spend.live_counting import LiveSpend, Uncounted
from killswitch.spend.period_clock import PeriodClock, wrong_clocks
from killswitch.spend.prices import MILLION, Price, PriceList
from killswitch.spend.reservations import NotReserved, SpendReason
from killswitch.spend.ruling import RuledCaps
from killswitch.spend_cap import SpendCap
from killswitch.stores import Store, TellsTime, keys
from killswitch.timestamps import DAY
from tests.doubles.own_calendar import NOON, OwnCalendar, wall
from tests.doubles.scripted_source import rollout
from tests.servers.etcd import EtcdCluster

PRICES = PriceList([Price("m", 0.0, *[MILLION] * 5)])  # a token costs a micro-dollar
A_MONTH_AHEAD = 40 * DAY


@pytest.fixture
def store(etcd: EtcdCluster) -> Iterator[Store]:
    opened = OwnCalendar(etcd.url)
    yield opened
    opened.close()


def times_until_refused(url: str, scope: str, ahead: float) -> int:
    """Tenths of the cap that a process can spend whose clock is ``ahead``."""
    cap = Cap(scope, Period.MONTH, hard=10_000)
    with Ledger(lambda: OwnCalendar(url), [cap], PRICES, wait=10.0, wall=lambda: wall() + ahead) as ledger:
        scoped = ledger.for_scopes(scope)
        for times in itertools.count():
            answer = scoped.reserve("m", 1_000, 0)
            if isinstance(answer, NotReserved):
                assert answer.reason is SpendReason.CAP, answer
                assert (ledger.clock_problem is None) == (ahead == 0.0)
                return times
            answer.settle()
    raise AssertionError


def book(store: Store, scope: str) -> Book:
    item = store.get(keys.account(scope, Period.MONTH))
    assert item is not None
    return from_document(item.value, scope, Period.MONTH)


def test_etcd_tells_its_time(store: Store) -> None:
    store.get("/nothing")
    assert isinstance(store, TellsTime)
    told = store.told_time()
    assert told is not None
    assert abs(told.latest - wall() + time.monotonic() - told.asked_at) < 60.0


@pytest.mark.parametrize("ahead", [A_MONTH_AHEAD, -A_MONTH_AHEAD], ids=["ahead", "set back"])
def test_a_wrong_clock_opens_no_fresh_money_in_etcd(etcd: EtcdCluster, store: Store, ahead: float) -> None:
    scope = f"shadow:{time.time_ns()}"
    assert times_until_refused(etcd.url, scope, 0.0) == 10
    assert times_until_refused(etcd.url, scope, ahead) == 0
    assert book(store, scope).current.start == Period.MONTH.start(NOON)


def test_a_process_that_is_alone_with_a_clock_ahead_begins_the_real_month(etcd: EtcdCluster, store: Store) -> None:
    scope = f"shadow:{time.time_ns()}"
    assert times_until_refused(etcd.url, scope, A_MONTH_AHEAD) == 10
    assert book(store, scope).current.start == Period.MONTH.start(NOON)
    assert times_until_refused(etcd.url, scope, 0.0) == 0


def test_a_process_with_a_wrong_clock_is_named_while_it_lives(etcd: EtcdCluster, store: Store) -> None:
    scope = f"shadow:{time.time_ns()}"
    caps = [Cap(scope, Period.MONTH)]
    with Ledger(lambda: OwnCalendar(etcd.url), caps, PRICES, wait=10.0, wall=lambda: wall() + DAY) as ledger:
        ledger.for_scopes(scope).reserve("m", 1, 0)
        named = wrong_clocks(store.list(keys.LEDGER_OWNERS))
    assert [abs(ahead - DAY) < 60.0 for ahead in named.values()] == [True]
    assert wrong_clocks(store.list(keys.LEDGER_OWNERS)) == {}


def test_a_metric_store_that_is_ahead_opens_no_month_of_live_spend(store: Store) -> None:
    """Its steps are dated in the next month, and charged to this one."""
    name = str(time.time_ns())
    scope, ahead = f"rollout:{name}", wall() + A_MONTH_AHEAD
    clock = PeriodClock(lambda: wall() + A_MONTH_AHEAD, time.monotonic)
    capped = {name: rollout(name, spend=SpendSettings("prices.json", (SpendCap("rollout", "month", None, 10_000),)))}
    books = store.list(keys.LEDGER)
    clock.note(store)
    RuledCaps(store, wall=clock).write(capped, books)
    live = LiveSpend(store, wall=clock)
    for number in range(3):
        live.read()
        step = LiveStep(ahead + 30.0 * number, ahead + 30.0 * (number + 1), "m", {"input": 7.0})
        live.count([Uncounted(scope, [step], PRICES)])
    assert book(store, scope).current.start == Period.MONTH.start(NOON)
    assert (book(store, scope).current.used, book(store, scope).hard) == (21, 10_000)
