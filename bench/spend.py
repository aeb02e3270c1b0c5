"""What a reservation costs while the block has room, and a settlement; and how long a cap of many processes takes.

Times are medians and 99th percentiles over rounds of the mean of one call, in microseconds of this machine.

    python -m bench.spend
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable

from killswitch.spend.caps import Cap, Period
from killswitch.spend.ledger import Ledger
from killswitch.spend.prices import MILLION, Price, PriceList
from killswitch.spend.reservations import Reservation, ScopedLedger
from killswitch.token_usage import Usage

CALLS = 500
ROUNDS = 200
PRICES = PriceList([Price(f"model-{number}", 0.0, *[MILLION] * 5) for number in range(50)])
USAGE = Usage(input=900, output=300)
REPORTED = {"prompt_tokens": 900, "completion_tokens": 300, "prompt_tokens_details": {"cached_tokens": 100}}


def measure(scoped: ScopedLedger, end: Callable[[Reservation], object]) -> tuple[list[float], list[float]]:
    """Microseconds of one `reserve`, and of what ends it, of each round."""
    reserving, ending = [], []
    for _ in range(ROUNDS):
        began = time.thread_time()
        answers = [scoped.reserve("model-7", 1_000, 1_000) for _ in range(CALLS)]
        reserving.append((time.thread_time() - began) / CALLS * 1e6)
        reserved = [answer for answer in answers if isinstance(answer, Reservation)]
        if len(reserved) < CALLS:
            raise SystemExit(f"the block had no room: {next(one for one in answers if one not in reserved)}")
        began = time.thread_time()
        for one in reserved:
            end(one)
        ending.append((time.thread_time() - began) / CALLS * 1e6)
    return reserving, ending


def row(name: str, rounds: list[float]) -> None:
    rounds.sort()
    print(f"{name:52}{statistics.median(rounds):10.2f}{rounds[int(0.99 * len(rounds))]:9.2f}")


def main() -> None:
    print(f"{'one call, microseconds':52}{'median':>10}{'p99':>9}")
    cases = {
        "one scope, a day": [("shadow:x", Period.DAY)],
        "one scope, hour, day and month": [("shadow:x", period) for period in Period],
        "two scopes, hour, day and month each": [
            (scope, period) for scope in ("shadow:x", "eval") for period in Period
        ],
    }
    for name, wanted in cases.items():
        caps = [Cap(scope, period, hard=10**12) for scope, period in wanted]
        with (
            tempfile.TemporaryDirectory() as folder,
            Ledger(f"sqlite://{folder}/ledger.db", caps, PRICES) as ledger,
        ):
            scoped = ledger.for_scopes(*{scope for scope, _ in wanted}, wait=10.0)
            first = scoped.reserve("model-7", 10**9, 0)  # a block that the rest fits in
            if not isinstance(first, Reservation):
                raise SystemExit(str(first))
            first.release()
            reserving, ending = measure(scoped, lambda one: one.settle(USAGE))
            row(f"reserve: {name}", reserving)
            row(f"settle:  {name}", ending)
            row("settle with the provider's own usage object", measure(scoped, lambda one: one.settle(REPORTED))[1])


if __name__ == "__main__":
    main()
