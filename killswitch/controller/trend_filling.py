"""Fills gaps of the trends that someone looks at from the metric store: after a restart, nothing is remembered.

It is done on demand, one rollout and span at a time and in the background, so that a page never waits for the metric
store, and a thousand rollouts do not cost it a thousand queries at a start.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from killswitch.controller.past_windows import read_past
from killswitch.deadline import Deadline
from killswitch.model import Rollout
from killswitch.sources import Source
from killswitch.trends.memory import TrendMemory
from killswitch.trends.trend import Span

log = logging.getLogger(__name__)
AGAIN_AFTER: Final = 300.0  # seconds in which one span of one rollout is read once
MOST_WAITING: Final = 50
MOST_REMEMBERED: Final = 4_000
WITHIN: Final = 10.0  # seconds for one span


class TrendFilling:
    """Thread-safe. ``rollouts`` gives the rule files in force; ``monotonic`` seconds."""

    def __init__(
        self,
        memory: TrendMemory,
        source: Source,
        *,
        rollouts: Callable[[], Mapping[str, Rollout]],
        monotonic: Callable[[], float],
    ) -> None:
        self._memory = memory
        self._source = source
        self._rollouts = rollouts
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._waiting: OrderedDict[tuple[str, Span], float] = OrderedDict()
        self._asked: OrderedDict[tuple[str, Span], float] = OrderedDict()

    def want(self, rollout: str, span: Span, until: float) -> bool:
        """Someone looks at this trend, up to ``until``: whether gaps of it are being filled now."""
        if rollout not in self._rollouts() or not self._memory.gaps(rollout, span, until):
            return False
        key = (rollout, span)
        with self._lock:
            if key in self._waiting:
                return True
            asked = self._asked.get(key)
            if (asked is not None and self._monotonic() - asked < AGAIN_AFTER) or len(self._waiting) >= MOST_WAITING:
                return False
            self._waiting[key] = until
            self._asked[key] = self._monotonic()
            self._asked.move_to_end(key)
            while len(self._asked) > MOST_REMEMBERED:
                self._asked.popitem(last=False)
        return True

    def look(self) -> None:
        """Fill what is wanted first; to be called every second or so."""
        with self._lock:
            first = next(iter(self._waiting.items()), None)
        if first is None:
            return
        (rollout, span), until = first
        try:
            self._fill(rollout, span, until)
        finally:
            with self._lock:
                self._waiting.pop((rollout, span), None)

    def _fill(self, rollout: str, span: Span, until: float) -> None:
        rules = self._rollouts().get(rollout)
        gaps = self._memory.gaps(rollout, span, until)
        if rules is None or not gaps:
            return
        count = round((gaps[-1] - gaps[0]) / span.step)
        ticks = [gaps[0] + span.step * number for number in range(count + 1)]
        past = read_past(self._source, rules, ticks, Deadline(WITHIN, self._monotonic))
        if past is None:
            log.info("%s: the metric store did not give what the charts of %s lack; asked again later", rollout, span)
            return
        self._memory.fill(rollout, span, ticks, past, lambda: {rule.name: rule.unit for rule in rules.rules})
