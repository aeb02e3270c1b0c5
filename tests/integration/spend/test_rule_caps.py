"""Caps of rule files and live spend over real stores: what every client of the store sees."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from killswitch.model import SpendSettings
from killswitch.spend.books import from_document
from killswitch.spend.caps import Cap, Period
from killswitch.spend.ledger import Ledger
from killswitch.spend.live import LiveStep
from killswitch.spend.live_counting import LiveSpend, Uncounted
from killswitch.spend.prices import MILLION, Price, PriceList
from killswitch.spend.reservations import NotReserved, Reservation, SpendReason
from killswitch.spend.ruling import RuledCaps
from killswitch.spend_cap import SpendCap
from killswitch.stores import keys
from killswitch.stores.opening import open_store
from tests.doubles.own_calendar import OwnCalendar, wall
from tests.doubles.scripted_source import rollout

PRICES = PriceList([Price("m", 0.0, *[MILLION] * 5)])  # a token costs a micro-dollar


def test_a_service_obeys_the_cap_that_a_daemon_has_written(url: str) -> None:
    """It states only what it spends from."""
    name = f"support-{time.time_ns()}"
    daemon = open_store(url)
    capped = {name: replace(rollout(name), spend=SpendSettings(None, (SpendCap("shadow", "month", None, 1_000),)))}
    caps = RuledCaps(daemon, wall=wall)
    caps.write(capped, daemon.list(keys.LEDGER))
    stated = [Cap(f"shadow:{name}", Period.DAY)]
    with Ledger(lambda: OwnCalendar(url), stated, PRICES, wait=10.0, wall=wall) as ledger:
        scoped = ledger.for_scopes(f"shadow:{name}")
        got = [scoped.reserve("m", 100, 0) for _ in range(12)]
        assert [isinstance(one, Reservation) for one in got] == [True] * 10 + [False] * 2
        assert isinstance(got[-1], NotReserved)
        assert got[-1].reason is SpendReason.CAP
    daemon.close()


def test_a_step_is_counted_once_by_four_replicas_at_once(url: str) -> None:
    """Each replica is a client of its own, and reads the same steps; the account is what the store kept of them."""
    scope, now = f"rollout:{time.time_ns()}", 1_780_488_000.0
    steps = [LiveStep(now + 30.0 * at, now + 30.0 * (at + 1), "m", {"input": 7.0}) for at in range(20)]

    def replica(_number: int) -> None:
        store = open_store(url)
        live = LiveSpend(store, wall=lambda: now + 3_600.0)
        for last in range(1, len(steps) + 1):
            live.read()
            live.count([Uncounted(scope, steps[:last], PRICES)])
        store.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(replica, range(4)))
    store = open_store(url)
    item = store.get(keys.account(scope, Period.DAY))
    store.close()
    assert item is not None
    assert from_document(item.value, scope, Period.DAY).current.used == 20 * 7
