"""What one replica remembers of every rollout's rules, filled by each cycle. Any thread may read it.

A replica that starts knows nothing of before; `Trend.note` says since when it has watched. What a metric store still
has of the time before can be filled in (`TrendMemory.fill`).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from killswitch.model import Finding, Unit
from killswitch.trends.rings import Rings
from killswitch.trends.trend import Moment, RuleTrend, Span, Trend
from killswitch.wording import date_and_time


@dataclass(slots=True)
class _Known:
    """One rollout; ``units`` and ``needed`` in the order of the rings' rules. ``began``: the first tick watched."""

    rings: Rings
    units: tuple[Unit, ...]
    needed: tuple[float | None, ...]
    began: float
    filled: frozenset[Span] = frozenset()  # of these, what was before is the metric store's


class TrendMemory:
    """Rollouts by name; at most ``most_rules`` rules of all rollouts together, the others are not remembered.

    1,000 rollouts of 4 rules take 19 MB when they have been watched for a week (measured), and a third after an hour.
    """

    def __init__(self, *, most_rules: int = 5_000) -> None:
        self._most_rules = most_rules
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}

    def take(self, tick: float, findings: Mapping[str, Sequence[Finding]]) -> None:
        """The findings of one cycle, by rollout. Rollouts that are not judged now keep what is known of them."""
        with self._lock:
            room = self._most_rules - sum(len(one.units) for one in self._known.values())
            for rollout, found in findings.items():
                known = self._known.get(rollout)
                if known is None and 0 < len(found) <= room:
                    room -= len(found)
                    known = self._known[rollout] = _Known(Rings([one.rule for one in found]), (), (), tick)
                if known is not None and found:
                    _take(known, tick, found)

    def forget(self, kept: Iterable[str]) -> None:
        """Drop every rollout but these."""
        names = frozenset(kept)
        with self._lock:
            for gone in self._known.keys() - names:
                del self._known[gone]

    def fill(
        self,
        rollout: str,
        span: Span,
        times: Sequence[float],
        moments: Sequence[Mapping[str, Moment]],
        units: Callable[[], Mapping[str, Unit]] = dict,
    ) -> None:
        """Past moments from elsewhere, where nothing is known. ``units``: of the rules, for a rollout not yet here."""
        if not times:
            return
        with self._lock:
            known = self._known.get(rollout)
            if known is None:
                of = units()
                room = self._most_rules - sum(len(one.units) for one in self._known.values())
                if not 0 < len(of) <= room:
                    return
                known = _Known(Rings(list(of)), tuple(of.values()), (None,) * len(of), times[-1])
                self._known[rollout] = known
            known.rings.fill(span, times, moments)
            known.filled |= {span}

    def gaps(self, rollout: str, span: Span, until: float) -> list[float]:
        """The ends of the steps that are over by ``until``, and of which no rule knows either cohort."""
        trend = self.trend(rollout, span, until)
        first = math.floor((until - span.seconds) / span.step + 1e-9) + 1
        times = trend.times or [span.step * number for number in range(first, math.floor(until / span.step) + 1)]
        known = [
            any(rule.moments[at].canary is not None or rule.moments[at].control is not None for rule in trend.rules)
            for at in range(len(trend.times))
        ] or [False] * len(times)
        return [at for at, there in zip(times, known, strict=True) if not there and at % span.step == 0]

    def trend(self, rollout: str, span: Span, until: float, *, since: float | None = None) -> Trend:
        """The rollout's rules up to ``until``, by default over the whole span. Empty if nothing is known."""
        begin = until - span.seconds if since is None else since
        with self._lock:
            known = self._known.get(rollout)
            if known is None:
                return Trend(rollout, begin, until, span.step, (), (), "nothing is remembered of this rollout yet")
            times, columns = known.rings.read(span, begin, until)
            rules = tuple(
                RuleTrend(rule, unit, tuple(column), needed)
                for rule, unit, column, needed in zip(
                    known.rings.rules, known.units, columns, known.needed, strict=True
                )
            )
            note = _since_when(known, span) if known.began > begin else ""
        return Trend(rollout, begin, until, span.step, tuple(times), rules, note)

    @property
    def bytes(self) -> int:
        """The memory of all points."""
        with self._lock:
            return sum(one.rings.bytes for one in self._known.values())


def _since_when(known: _Known, span: Span) -> str:
    since = date_and_time(known.began)
    if span not in known.filled:
        return f"this controller has watched it since {since}"
    return f"this controller began to watch it at {since}; earlier values are the metric store's, without evidence"


def _take(known: _Known, tick: float, found: Sequence[Finding]) -> None:
    names = tuple(one.rule for one in found)
    if names != known.rings.rules:
        known.rings.rename(names)
    known.units = tuple(one.unit for one in found)
    known.needed = tuple(one.needed for one in found)
    known.rings.add(tick, {one.rule: Moment.of(one) for one in found})
    known.began = min(known.began, tick)
