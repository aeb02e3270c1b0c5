"""Any history of processes that spend, die, sleep and lose answers: never over the cap, and nothing lost for long."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from killswitch.spend.caps import Cap, Period
from killswitch.spend.reservations import Reservation
from killswitch.spend.usage import Usage
from killswitch.timestamps import HOUR
from tests.doubles.memory_store import Call, Fault
from tests.unit.spend.tills import SCOPE, TTL, Till, World

pytestmark = pytest.mark.simulation

HARD = 2_000
FAULTS = st.sampled_from([Fault.FAIL_BEFORE, Fault.LOSE_ANSWER, Fault.APPLY_LATER])


class Histories(RuleBasedStateMachine):
    """``spent``: what was truly spent or promised, by the begin of the hour that it is charged to."""

    tills = Bundle("tills")
    promised = Bundle("promised")

    @initialize()
    def begin(self) -> None:
        self.world = World(Cap(SCOPE, Period.HOUR, hard=HARD), Cap(SCOPE, Period.DAY, hard=50 * HARD))
        self.spent: dict[float, int] = {}

    def _add(self, reservation: Reservation, amount: int) -> None:
        hour = min(reservation._accounts, key=lambda account: account.end).start
        self.spent[hour] = self.spent.get(hour, 0) + amount

    @rule(target=tills)
    def start(self) -> Till:
        return self.world.till()

    @rule(till=consumes(tills))
    def kill(self, till: Till) -> None:
        """What it has promised may be spent; nobody will say so."""

    @rule(till=consumes(tills))
    def close(self, till: Till) -> None:
        till.ledger.close()

    @rule(target=promised, till=tills, tokens=st.integers(0, 300))
    def reserve(self, till: Till, tokens: int) -> Reservation | None:
        answer = till.reserve(tokens)
        if not isinstance(answer, Reservation):
            return None
        self._add(answer, tokens)
        return answer

    @rule(reservation=consumes(promised), share=st.floats(0, 1))
    def settle(self, reservation: Reservation | None, share: float) -> None:
        if reservation is not None:
            cost = reservation.settle(Usage(input=int(reservation.micros * share)))
            self._add(reservation, cost - reservation.micros)

    @rule(till=tills)
    def step(self, till: Till) -> None:
        till.ledger.step()

    @rule(till=tills, fault=FAULTS, calls=st.integers(0, 4))
    def misfortune(self, till: Till, fault: Fault, calls: int) -> None:
        """One of its next calls of the store fails, or its answer is lost."""
        at = len(till.store.calls) + calls

        def once(call: Call) -> Fault | None:
            return fault if call.number == at and (call.name == "commit" or fault is not Fault.APPLY_LATER) else None

        till.store.fault = once

    @rule()
    def late_transactions_arrive(self) -> None:
        self.world.server.apply_late()

    @rule(seconds=st.sampled_from([0.5, TTL / 3, TTL + 1.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    @rule(hours=st.sampled_from([-2, -1, 1]))
    def clock_is_set(self, hours: int) -> None:
        self.world.clock.jump_wall(hours * HOUR)

    @invariant()
    def never_over(self) -> None:
        if not hasattr(self, "spent"):
            return
        assert all(spent <= HARD for spent in self.spent.values()), self.spent
        most = self.world.most_spent_and_leased()
        assert all(amount <= HARD for amount in most.values()), most

    def teardown(self) -> None:
        """A process that begins after all leases have ended gets what no one has spent or may have spent."""
        if not hasattr(self, "spent"):
            return
        self.world.server.apply_late()
        self.world.clock.advance(2 * TTL)
        last = self.world.till()
        last.spend_all(1)
        last.ledger.close()
        hour = self.world.book().current
        day = self.world.book(period=Period.DAY).current
        assert hour.leased == day.leased == 0
        assert hour.spent == HARD or day.spent == 50 * HARD


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=60, stateful_step_count=40)
