"""The clock by which periods begin: never later than the store's, whatever ours says."""

from __future__ import annotations

import pytest

from killswitch.spend.caps import Cap, Period
from killswitch.spend.ledger import Ledger
from killswitch.spend.period_clock import PeriodClock, clocks_in_words, wrong_clocks
from killswitch.spend.reservations import Reservation
from killswitch.stores import ToldTime, keys
from killswitch.timestamps import DAY, HOUR
from tests.doubles.clock import VirtualClock
from tests.doubles.memory_store import MemoryServer, MemoryStore
from tests.unit.spend.tills import PRICES, SCOPE

NOON = 1_780_488_000.0  # 2026-06-03 12:00 UTC


class FarStore(MemoryStore):
    """On another machine, with a clock of its own: ``off`` seconds from the test's."""

    off = 0.0

    def told_time(self) -> ToldTime:
        clock = self._server.clock
        return ToldTime(clock.wall() + self.off + 1.0, clock.monotonic())


class Place:
    def __init__(self) -> None:
        self.clock = VirtualClock(wall=NOON + 600.0)
        self.server = MemoryServer(self.clock)
        self.ledgers: list[Ledger] = []

    def ledger(self, ahead: float = 0.0, store_off: float = 0.0) -> Ledger:
        def opened() -> FarStore:
            store = FarStore(self.server)
            store.off = store_off
            return store

        ledger = Ledger(
            opened,
            [Cap(SCOPE, Period.HOUR, hard=10_000)],
            PRICES,
            wait=0.0,
            wall=lambda: self.clock.wall() + ahead,
            monotonic=self.clock.monotonic,
            background=False,
        )
        self.ledgers.append(ledger)
        return ledger

    def spent(self, ledger: Ledger) -> int:
        """How many thousandths of a cent can be had, one after the other."""
        scoped, had = ledger.for_scopes(SCOPE), 0
        for _ in range(60):
            ledger.step()
            answer = scoped.reserve("m", 1_000, 0)
            if isinstance(answer, Reservation):
                answer.settle()
                had += 1
            self.clock.advance(1.0)
        return had


@pytest.mark.parametrize("ahead", [HOUR, 2 * HOUR, 40 * DAY, -HOUR, -2 * DAY], ids=str)
def test_a_wrong_clock_opens_no_fresh_money(ahead: float) -> None:
    place = Place()
    assert place.spent(place.ledger()) == 10
    wrong = place.ledger(ahead)
    assert place.spent(wrong) == 0
    assert wrong.clock_problem is not None
    assert ("ahead of" if ahead > 0 else "behind") in wrong.clock_problem
    told = wrong_clocks(place.server.list(keys.LEDGER_OWNERS))
    assert [round(one, -1) for one in told.values()] == [ahead]


def test_a_process_with_a_clock_ahead_spends_in_the_stores_hour() -> None:
    place = Place()
    assert place.spent(place.ledger(HOUR)) == 10
    place.clock.advance(HOUR)
    assert place.spent(place.ledger(HOUR)) == 10, "the next hour has begun for the store, too"


def test_a_clock_that_jumps_ahead_opens_nothing_between_two_answers() -> None:
    """The monotonic clock goes on from the store's newest answer."""
    clock = VirtualClock(wall=NOON)
    period = PeriodClock(clock.wall, clock.monotonic)
    period.note(FarStore(MemoryServer(clock)))
    clock.jump_wall(5 * HOUR)
    clock.advance(10.0)
    assert NOON + 10.0 <= period() <= NOON + 11.0
    assert period.ahead == pytest.approx(5 * HOUR, abs=1.0)


@pytest.mark.parametrize("off", [HOUR, -HOUR], ids=["store ahead", "store behind"])
def test_a_store_with_a_wrong_clock_opens_no_fresh_money(off: float) -> None:
    place = Place()
    assert place.spent(place.ledger()) == 10
    assert place.spent(place.ledger(store_off=off)) == 0


def test_a_clock_that_is_a_little_off_is_not_spoken_of() -> None:
    place = Place()
    for ahead in (-50.0, 50.0):
        ledger = place.ledger(ahead)
        place.spent(ledger)
        assert ledger.clock_problem is None
    assert wrong_clocks(place.server.list(keys.LEDGER_OWNERS)) == {}


def test_a_clock_that_is_set_right_is_no_longer_named() -> None:
    place = Place()
    off = [HOUR]
    ledger = Ledger(
        lambda: FarStore(place.server),
        [Cap(SCOPE, Period.HOUR, hard=10_000)],
        PRICES,
        wall=lambda: place.clock.wall() + off[0],
        monotonic=place.clock.monotonic,
        background=False,
    )
    ledger.step()
    assert len(wrong_clocks(place.server.list(keys.LEDGER_OWNERS))) == 1
    off[0] = 0.0
    ledger.step()
    assert (ledger.clock_problem, wrong_clocks(place.server.list(keys.LEDGER_OWNERS))) == (None, {})


def test_the_sentence_names_the_difference_and_the_fix() -> None:
    assert clocks_in_words(-5400.0) == (
        "this process's clock is 1h30m behind the flag store's: spend periods begin when both clocks say so; "
        "synchronise both machines' clocks (NTP)"
    )
