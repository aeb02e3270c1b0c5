"""The money of a run: never over its limit, and a call waits for others before it is refused."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest

from killswitch.gate.run_budget import HeldMoney, RunBudget
from killswitch.spend.prices import Price, PriceList
from killswitch.spend.reservations import NotReserved, SpendReason
from killswitch.token_usage import Usage

PRICES = PriceList([Price("m", 0.0, 1_000_000, 1_000_000, 1_000_000, 10_000_000, 10_000_000)])  # 1 and 10 a token


class ListedLedger:
    """Gives ``room`` reservations at once, and writes down what became of each."""

    def __init__(self, room: int = 100, reason: SpendReason = SpendReason.CAP) -> None:
        self.room = room
        self.reason = reason
        self.ends: list[object] = []

    def reserve(self, model: str, input_tokens_at_most: int, output_tokens_at_most: int) -> Any:
        if self.room == 0:
            return NotReserved(self.reason, "the cap of gate:triage per day has no room")
        self.room -= 1
        return _Held(self)


class _Held:
    def __init__(self, ledger: ListedLedger) -> None:
        self._ledger = ledger

    def settle(self, usage: object) -> None:
        self._ledger.ends.append(usage)
        self._ledger.room += 1

    def release(self) -> None:
        self._ledger.ends.append("released")
        self._ledger.room += 1


def budget(most: int | None = None, ledger: ListedLedger | None = None, stopped: bool = False) -> RunBudget:
    return RunBudget(PRICES, most=most, ledger=ledger, wall=lambda: 10.0, stopped=lambda: stopped)


def held(of: RunBudget, inputs: int = 10, outputs: int = 1) -> HeldMoney:
    found = of.reserve("m", inputs, outputs)
    assert isinstance(found, HeldMoney)
    return found


def test_what_calls_have_cost_is_counted() -> None:
    ledger = ListedLedger()
    mine = budget(ledger=ledger)
    assert held(mine).settle(Usage(input=3, output=1)) == 13
    assert held(mine).settle(None) == 20
    assert held(mine).release() == 0
    assert mine.spent == 33
    assert ledger.ends == [Usage(input=3, output=1), None, "released"]


def test_an_unknown_price_is_refused() -> None:
    mine = budget()
    refused = mine.reserve("other", 1, 1)
    assert isinstance(refused, NotReserved)
    assert refused.reason is SpendReason.UNKNOWN_PRICE
    assert mine.refusal is not None
    assert "'other'" in mine.refusal


def test_the_limit_of_a_run_is_not_passed() -> None:
    mine = budget(most=50)
    held(mine).settle(None)
    held(mine).settle(None)
    refused = mine.reserve("m", 10, 1)
    assert isinstance(refused, NotReserved)
    assert mine.refusal == refused.sentence
    assert "--max-dollars $0.00005 has no room" in refused.sentence


def test_a_refusal_of_the_cap_a_day_is_told() -> None:
    mine = budget(ledger=ListedLedger(room=0))
    assert isinstance(mine.reserve("m", 10, 1), NotReserved)
    assert mine.refusal == "the cap of gate:triage per day has no room"
    assert mine.spent == 0


@pytest.mark.parametrize("ledger", [None, ListedLedger(room=1)])
def test_a_call_waits_for_what_others_hold(ledger: ListedLedger | None) -> None:
    """Each call holds 20 of 25; used one after the other, five calls that cost 1 each have room."""
    mine = budget(most=25 if ledger is None else None, ledger=ledger)
    first = held(mine)
    got: list[object] = []
    threads = [threading.Thread(target=lambda: got.append(held(mine).settle(Usage(input=1)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    first.settle(Usage(input=1))
    for thread in threads:
        thread.join()
    assert got == [1, 1, 1, 1]
    assert mine.refusal is None
    assert mine.spent == 5


def test_a_stopped_run_waits_for_no_money() -> None:
    mine = RunBudget(PRICES, most=25, ledger=None, wall=lambda: 10.0, stopped=lambda: True)
    held(mine)
    assert isinstance(mine.reserve("m", 10, 1), NotReserved)
    assert mine.refusal is None


def test_eight_workers_never_pass_the_limit() -> None:
    mine = budget(most=1000)
    over: list[int] = []

    def work(seed: int) -> None:
        draw = random.Random(seed)
        while isinstance(got := mine.reserve("m", draw.randint(1, 40), 2), HeldMoney):
            if mine.spent > 1000:
                over.append(mine.spent)
            got.settle(draw.choice([None, Usage(input=1, output=1)]))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not over
    assert 900 < mine.spent <= 1000
