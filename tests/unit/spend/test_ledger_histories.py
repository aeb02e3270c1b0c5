"""Any history of processes that spend, die, sleep and lose answers: never over the cap, and nothing lost for long."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from killswitch.spend.caps import Cap, Period
from killswitch.spend.reservations import Reservation
from killswitch.timestamps import HOUR
from killswitch.token_usage import Usage
from tests.doubles.memory_store import Call, Fault
from tests.unit.spend.tills import SCOPE, TTL, Till, World

pytestmark = pytest.mark.simulation

HARD = 1_000
DAYS_HARD = 3 * HARD
STEPS = 120
HISTORIES = 90


class History:
    """``spent``: what was truly spent or promised, by the begin of the hour that it is charged to."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.world = World(Cap(SCOPE, Period.HOUR, hard=HARD), Cap(SCOPE, Period.DAY, hard=DAYS_HARD))
        self.tills: list[Till] = [self.world.till()]
        self.promised: list[Reservation] = []
        self.spent: Counter[float] = Counter()
        self.happened: list[str] = []

    def run(self) -> None:
        actions = {
            self.reserve: 40, self.settle: 12, self.step: 10, self.misfortune: 8, self.start: 4, self.late: 4,
            self.time_passes: 10, self.leases_end: 2, self.kill: 3, self.close: 1, self.clock_is_set: 1,
        }  # fmt: skip
        for action in self.random.choices(list(actions), list(actions.values()), k=STEPS):
            self.happened.append(action.__name__)
            action()
            self.check()
        self.afterwards()

    def _any(self) -> Till:
        return self.random.choice(self.tills)

    def _charge(self, reservation: Reservation, amount: int) -> None:
        hour = min(reservation._accounts, key=lambda account: account.end).start
        self.spent[hour] += amount

    def start(self) -> None:
        if len(self.tills) < 4:
            self.tills.append(self.world.till())

    def kill(self) -> None:
        """What it has promised may be spent; nobody will say so."""
        self.tills.remove(self._any())
        self.start()

    def close(self) -> None:
        till = self._any()
        self.tills.remove(till)
        till.ledger.close()
        self.start()

    def reserve(self) -> None:
        tokens = self.random.choice([1, 5, 20, 60, 150])
        till = self._any()
        answer = till.reserve(tokens) if self.random.random() < 0.7 else till.try_once(tokens)
        if isinstance(answer, Reservation):
            self._charge(answer, tokens)
            self.promised.append(answer)

    def settle(self) -> None:
        if self.promised:
            reservation = self.promised.pop(self.random.randrange(len(self.promised)))
            cost = reservation.settle(Usage(input=self.random.choice([0, reservation.micros // 3, reservation.micros])))
            self._charge(reservation, cost - reservation.micros)

    def step(self) -> None:
        self._any().ledger.step()

    def misfortune(self) -> None:
        """One of its next calls of the store fails, or its answer is lost, or it is carried out later."""
        till = self._any()
        at = len(till.store.calls) + self.random.randrange(4)
        fault = self.random.choice([Fault.FAIL_BEFORE, Fault.LOSE_ANSWER, Fault.APPLY_LATER])

        def once(call: Call) -> Fault | None:
            return fault if call.number == at and (call.name == "commit" or fault is not Fault.APPLY_LATER) else None

        till.store.fault = once

    def late(self) -> None:
        self.world.server.apply_late()

    def time_passes(self) -> None:
        self.world.clock.advance(self.random.choice([0.5, TTL / 3]))

    def leases_end(self) -> None:
        """Of whoever does not renew: those who go on later were asleep."""
        survivors = self.random.sample(self.tills, self.random.randrange(len(self.tills) + 1))
        self.world.pass_time(TTL + 1.0, *survivors)

    def clock_is_set(self) -> None:
        self.world.clock.jump_wall(self.random.choice([-2, -1, 1]) * HOUR)

    def check(self) -> None:
        assert all(spent <= HARD for spent in self.spent.values()), (self.spent, self.happened)
        for period, hard in ((Period.HOUR, HARD), (Period.DAY, DAYS_HARD)):
            most = self.world.most_spent_and_leased(period=period)
            assert all(amount <= hard for amount in most.values()), (most, self.happened)

    def afterwards(self) -> None:
        """A process that begins after all leases have ended gets what no one has spent or may have spent."""
        self.world.server.apply_late()
        self.world.clock.advance(2 * TTL)
        last = self.world.till()
        last.spend_all(1)
        last.ledger.close()
        hour, day = self.world.book().current, self.world.book(period=Period.DAY).current
        assert hour.leased == day.leased == 0, self.happened
        assert hour.spent == HARD or day.spent == DAYS_HARD, self.happened
        assert hour.spent + hour.beyond >= self.spent[hour.start], self.happened


@pytest.mark.parametrize("first", range(0, HISTORIES, 30))
def test_no_history_spends_more_than_the_cap(first: int) -> None:
    for seed in range(first, first + 30):
        History(seed).run()
