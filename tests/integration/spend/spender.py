"""A process that spends from the ledger with many threads, and writes each reservation down before it is spent.

::

    python -m tests.integration.spend.spender STORE-URL FILE THREADS TIMES
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from killswitch.spend.caps import Cap, Period
from killswitch.spend.ledger import Ledger
from killswitch.spend.prices import MILLION, Price, PriceList
from killswitch.spend.reservations import NotReserved, SpendReason
from tests.doubles.own_calendar import OwnCalendar, wall

SCOPE = "shadow:support"
CAP = 5 * MILLION
AMOUNT = MILLION // 10
TTL = 2.0
PRICES = PriceList([Price("m", 0.0, *[MILLION] * 5)])


def ledger(url: str) -> Ledger:
    caps = [Cap(SCOPE, Period.MONTH, hard=CAP)]
    return Ledger(lambda: OwnCalendar(url), caps, PRICES, ttl=TTL, wait=5.0, wall=wall)


def spend(url: str, file: Path, threads: int, times: int) -> None:
    line = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with ledger(url) as opened:
        scoped = opened.for_scopes(SCOPE)

        def run() -> None:
            for _ in range(times):
                answer = scoped.reserve("m", AMOUNT, 0)
                if isinstance(answer, NotReserved):
                    if answer.reason is SpendReason.CAP:
                        return
                    continue
                os.write(line, b"x\n")
                answer.settle()

        running = [threading.Thread(target=run) for _ in range(threads)]
        for one in running:
            one.start()
        for one in running:
            one.join()


if __name__ == "__main__":
    spend(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
