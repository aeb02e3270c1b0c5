"""Native histograms in PromQL: what they counted in a step or a window, summed by the server. Pure.

The server sums them bucket by bucket, so an answer is one histogram for each group. A number cannot be -Inf in it, as
`PromQuery` says that a counter fell or is new. So a row of its own, labelled ``le="odd"``, asks for a closer look.
"""

from __future__ import annotations

from killswitch.sources.counter_resets import SLACK
from killswitch.sources.prometheus import promql
from killswitch.sources.prometheus.closer_look import CloserLook


def increase(by: str, within: str) -> str:
    """``by``: the clause that groups; ``within``: the series over the window."""
    return f"sum{by} (increase({within})) or {_odd(by, f'resets({within}) > 0')}"


def step(by: str, within: str, old: str, reach: str) -> str:
    """``within``: the series over the step; ``old``: the last sample before it; ``reach``: the series over both."""
    new = f"last_over_time({within})"
    # the increase is not used, but only with it the server warns of a histogram of gauge type
    steady = f"((resets({reach}) == 0) and {old} and increase({reach}))"
    return f"sum{by} (({new} - {old}) and {steady}) or {_odd(by, f'{new} unless {steady}')}"


def _odd(by: str, series: str) -> str:
    return f'label_replace(count{by} ({series}), "le", "odd", "", "")'


class NativeLook(CloserLook):
    """The closer look at native histograms: their numbers of observations are the counters that may fall."""

    def step(self, within: str, before: str, seen: str, offset: str, recent: float) -> str:
        """As `CloserLook.step`; these series have no ``_created`` ones."""
        on, group = self.on_process, self.by_process

        def new(series: str) -> str:
            return f"last_over_time({series}{within})"

        def old(series: str) -> str:
            return f"last_over_time({series}{before} offset {offset})"

        s, b = self.series, self.basis
        counted, before_it = f"histogram_count({new(s)})", f"histogram_count({old(s)})"
        now = f"sum {group} (histogram_count({new(b)}) + 0 * histogram_count({old(b)}))"
        then = f"sum {group} (histogram_count({old(b)}) + 0 * histogram_count({new(b)}))"
        grew = f"histogram_count(increase({b}{seen} offset {offset}))"
        restarted = self.restarted(then, now, grew, f"count_over_time({b}{seen} offset {offset})", recent)
        highest = self.extreme("max", s, seen, f" offset {offset}")
        back = f"(({counted} >= {highest}) and ({highest} > {before_it}) unless {on} {self.restarted_in(seen)})"
        grown = f"(({new(s)} - {old(s)}) and ({counted} >= {before_it}))"
        lower = f"({counted} < {before_it})"
        # a difference, because sums of histograms and of differences are not sums that the server warns of
        again = f"(({new(s)} - 0 * {new(s)}) and ({lower} and {on} {restarted}))"
        born = f"({new(b)} unless last_over_time({b}{seen} offset {offset}))"
        may = f"(({now} - {then} >= 0 or ({now} and {on} {restarted})) + {SLACK})"
        allowed = f"({may} unless {on} (sum {group} (histogram_count({born})) > {on} {may}))"
        first = f"(({new(s)} - 0 * {new(s)}) unless last_over_time({s}{seen} offset {offset}) and {on} {allowed})"
        fell = f"((resets({s}{within}) > 0 or {lower}) unless {on} {restarted})"
        return f"sum{self.by} ({grown} or {again} or {first}) or {_odd(self.by, f'{fell} or {back}')}"

    def increase(self, within: str) -> str:
        s = self.series
        fell = f"((resets({s}{within}) > 0) unless {self.on_process} {self.restarted_in(within)})"
        return f"sum{self.by} (increase({s}{within}) unless {fell}) or {_odd(self.by, fell)}"

    def extreme(self, which: str, series: str, within: str, offset: str = "") -> str:
        """The most or least observations: a subquery looks at them, because no function over time does."""
        return f"{which}_over_time(histogram_count({series}){within[:-1]}:{promql.duration(self.resolution)}]{offset})"
