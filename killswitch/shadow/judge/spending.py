"""The spend ledger of a judge: its own cap a day and those of the rule file, for all judges of a rollout."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from killswitch.errors import BadSettings, KillswitchError
from killswitch.router.shadow.ledger import SpendLedger
from killswitch.shadow.judge.settings import JudgeSettings
from killswitch.spend import Cap, Ledger, Period, PriceList
from killswitch.spend.prices import MILLION
from killswitch.spend.ruling import is_ruled
from killswitch.stores import Store
from killswitch.stores.opening import open_store

_log = logging.getLogger(__name__)
WAIT = 10.0  # seconds that a reservation waits for its block: a judge has time


@contextmanager
def judge_ledger(
    settings: JudgeSettings, store: str | Callable[[], Store], rollout: str
) -> Iterator[SpendLedger | None]:
    """The ledger in the scope ``judge:<rollout>``; None where neither the settings nor the rule file cap it.

    A rollout that has spent its period's part is judged again in the next. Raises BadSettings, also where the rule file
    caps the judge and `prices_file` is missing.
    """
    scope, dollars = f"judge:{rollout}", settings.max_dollars_a_day
    if dollars is None and not _ruled(store, scope):
        yield None
        return
    if settings.prices_file is None:
        problem = (
            f"judge, prices_file: it is missing, and the rule file of {rollout} caps what the judge spends; write "
            "`prices_file:` in the judge's settings, with the file that has the price of the judge's model"
        )
        raise BadSettings([problem])
    cap = Cap(scope, Period.DAY, hard=None if dollars is None else int(dollars * MILLION))
    with Ledger(store, [cap], PriceList.from_file(settings.prices_file)) as ledger:
        yield ledger.for_scopes(scope, wait=WAIT)


def _ruled(store: str | Callable[[], Store], scope: str) -> bool:
    """Whether a rule file caps the judge. A judge needs no store otherwise: where none answers, that is only logged."""
    try:
        with closing(open_store(store) if isinstance(store, str) else store()) as opened:
            return is_ruled(opened, scope)
    except KillswitchError as error:
        _log.warning("whether a rule file caps the judge is not known, and it judges without such a cap: %s", error)
        return False
