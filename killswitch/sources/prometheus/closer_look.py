"""The closer look at counters that fell or are new, as PromQL; `counter_resets` says what it distinguishes. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from killswitch.sources.counter_resets import FASTER, NEAR_ZERO, SLACK
from killswitch.sources.prometheus import promql


@dataclass(frozen=True, slots=True)
class CloserLook:
    """The parts of a closer look as PromQL. ``by`` groups the answer, ``process`` are the labels of a process.

    ``series``, ``basis``: instant selectors; ``created`` that of the ``_created`` series. ``several``: more than one
    bucket of a request is among the series. ``resolution``: the scrape interval in seconds.
    """

    series: str
    basis: str
    created: str | None
    by: str
    process: tuple[str, ...]
    several: bool
    resolution: float

    def step(self, within: str, before: str, seen: str, offset: str, recent: float) -> str:
        """``within``, ``before``, …: ranges in brackets; ``recent``: seconds since which a counter is newly made."""
        on, group = self.on_process, self.by_process

        def new(series: str) -> str:
            return f"last_over_time({series}{within})"

        def old(series: str) -> str:
            return f"last_over_time({series}{before} offset {offset})"

        def born(series: str) -> str:
            return f"({new(series)} unless last_over_time({series}{seen} offset {offset}))"

        s, b = self.series, self.basis
        now, then = f"sum {group} ({new(b)} + 0 * {old(b)})", f"sum {group} ({old(b)} + 0 * {new(b)})"
        grew = f"increase({b}{seen} offset {offset})"
        restarted = self.restarted(then, now, grew, f"count_over_time({b}{seen} offset {offset})", recent)
        highest = self.extreme("max", s, seen, f" offset {offset}")
        back = f"(({new(s)} >= {highest}) and ({highest} > {old(s)}) unless {on} {self.restarted_in(seen)}) * -Inf"
        grown = f"({new(s)} - {old(s)} >= 0)"
        again = f"(({new(s)} < {old(s)}) and {on} {restarted})"
        may = f"(({now} - {then} >= 0 or ({now} and {on} {restarted})) + {SLACK})"
        allowed = f"({may} unless {on} (sum {group} ({born(b)}) > {on} {may}))"
        if not self.several and s != b:
            allowed = f"({allowed} unless {on} (sum {group} ({born(s)}) > {on} {may}))"
        first = f"({born(s)} and {on} {allowed})"
        made = ""
        if self.created is not None:
            since = f"last_over_time({self.created}{within}) > time() - {promql.number(recent)}"
            made = f" or ({born(s)} and ignoring (le) ({since}))"
        neither = f"({new(s)} - {old(s)}) * Inf"
        within_it = f"((resets({s}{within}) > 0) unless {on} {restarted}) * -Inf"
        return f"sum{self.by} ({within_it} or {back} or {grown} or {again} or {first}{made} or {neither})"

    def restarted(self, then: str, now: str, grew: str, samples: str, recent: float) -> str:
        """Processes that fell near zero, and to no more than they can have counted since.

        ``grew``, ``samples``: of each series in the hour before; ``recent``: the seconds in which it may have been.
        """
        scrapes = promql.number(FASTER * recent / self.resolution)
        may = f"{scrapes} * sum {self.by_process} ({grew}) / max {self.by_process} ({samples}) + {SLACK}"
        return f"(({then} > {NEAR_ZERO} * {now}) and (({now} <= {may}) or ({now} <= {SLACK})))"

    def increase(self, within: str) -> str:
        s = self.series
        fell = f"((resets({s}{within}) > 0) unless {self.on_process} {self.restarted_in(within)})"
        return f"sum{self.by} ((increase({s}{within}) unless {fell}) or {fell} * -Inf)"

    def falls(self, hour: str, young: str) -> str:
        """The most falls of one series within an hour that no restart explains."""

        def unexplained(within: str) -> str:
            return f"((resets({self.series}{within}) > 0) unless {self.on_process} {self.restarted_in(within)})"

        return f"max{self.by} ({unexplained(hour)} or {unexplained(young)})"

    def extreme(self, which: str, series: str, within: str, offset: str = "") -> str:
        """The highest ("max") or the lowest ("min") value of each series within a range."""
        return f"{which}_over_time({series}{within}{offset})"

    def restarted_in(self, within: str) -> str:
        """Processes of which most of what was counted has begun again, near zero."""
        highest, lowest = self.extreme("max", self.basis, within), self.extreme("min", self.basis, within)
        reset = f"sum {self.by_process} ((resets({self.basis}{within}) > bool 0) * {highest})"
        most = f"{reset} * 2 > sum {self.by_process} ({highest})"
        near_zero = f"sum {self.by_process} ({highest}) > {NEAR_ZERO} * sum {self.by_process} ({lowest})"
        return f"(({most}) and {self.on_process} ({near_zero}))"

    @property
    def by_process(self) -> str:
        return f"by ({', '.join(map(promql.label_name, self.process))})"

    @property
    def on_process(self) -> str:
        return f"on ({', '.join(map(promql.label_name, self.process))})"
