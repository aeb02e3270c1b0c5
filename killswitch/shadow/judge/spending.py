"""The spend ledger of a judge: one hard cap a day for all processes that judge a rollout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from killswitch.router.shadow.ledger import SpendLedger
from killswitch.shadow.judge.settings import JudgeSettings
from killswitch.spend import Cap, Ledger, Period, PriceList
from killswitch.spend.prices import MILLION
from killswitch.stores import Store

WAIT = 10.0  # seconds that a reservation waits for its block: a judge has time


@contextmanager
def judge_ledger(
    settings: JudgeSettings, store: str | Callable[[], Store], rollout: str
) -> Iterator[SpendLedger | None]:
    """The ledger with the cap ``judge:<rollout>`` per day (UTC); None where no cap is set.

    A rollout that has spent its day's part is judged again the next day. Raises BadSettings.
    """
    if settings.max_dollars_a_day is None or settings.prices_file is None:
        yield None
        return
    scope = f"judge:{rollout}"
    cap = Cap(scope, Period.DAY, hard=int(settings.max_dollars_a_day * MILLION))
    with Ledger(store, [cap], PriceList.from_file(settings.prices_file)) as ledger:
        yield ledger.for_scopes(scope, wait=WAIT)
