"""What the shadow counts: the cohort schema with ``cohort="shadow"``, and its own pairs and drops.

The daemon's rules judge shadow against control by the usual names. A call that was refused for money or quota is no
request to the model, nor is an answer that was used again. A latency that is not comparable with control's is not
observed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from killswitch.router.counting import CohortMetrics
from killswitch.router.judged import RecentlySeen, period_of
from killswitch.router.outcomes import Outcome
from killswitch.router.refusals import completion_tokens
from killswitch.router.shadow.call import Counted
from killswitch.router.shadow.drops import Drop

if TYPE_CHECKING:  # prometheus_client is loaded only where metrics are made
    from killswitch.router.instruments import PairCounter


class ShadowMetrics:
    """Satisfies `killswitch.router.shadow.dispatcher.Counting`. ``metrics``: None counts nothing.
    ``shares_key``: whether calls are made with an API key of production's, as far as the service's clients say.
    ``capped``: whether a spend ledger holds the price of each call.

    A user's first shadowed request in each five minutes counts as judged, as with served requests. Called from one
    thread.
    """

    def __init__(
        self,
        metrics: CohortMetrics | None,
        rollout: str,
        *,
        complain: Callable[[str], None],
        shares_key: Callable[[], bool] = lambda: False,
        capped: bool = True,
        calendar: Callable[[], float] = time.time,
    ) -> None:
        self._metrics = metrics
        self._complain = complain
        self._shares_key = shares_key
        self._capped = capped
        self._calendar = calendar
        self._first = RecentlySeen()
        self._pairs: PairCounter | None = None
        if metrics is not None:
            self._pairs = metrics.shadow_pairs(rollout)

    def declare(self, model: str) -> None:
        """Make the canary's series exist at 0, before its first shadowed request."""
        if self._metrics is not None and model:
            self._metrics.declare_shadow(model)

    def dropped(self, reason: Drop, number: int) -> None:
        self._guard(lambda pairs: pairs.dropped(reason.value, number))

    def recorded(self, counted: Counted) -> None:
        if self._metrics is None:
            return
        self._guard(lambda pairs: pairs.pair(counted.kind, counted.outcome))
        if self._shares_key() and not counted.reused:
            self._guard(lambda pairs: pairs.shared_key())
        if not self._capped and not counted.reused:
            self._guard(lambda pairs: pairs.uncapped())
        if counted.kind == "candidate" and counted.outcome != "budget" and not counted.reused:
            self._metrics.count_shadow(
                counted.model,
                Outcome(counted.outcome),
                counted.seconds,
                judged=self._is_judged(counted.user),
                refused=counted.refused,
                tokens=completion_tokens({"usage": counted.usage}) or 0,
                usage=counted.usage,
            )

    def _is_judged(self, user: str | None) -> bool:
        if user is None:
            return True
        return self._first.first((user, period_of(user, self._calendar())))

    def _guard(self, count: Callable[[PairCounter], None]) -> None:
        try:
            if self._pairs is not None:
                count(self._pairs)
        except Exception:  # noqa: BLE001  # logged by `complain`
            self._complain("a pair could not be counted")
