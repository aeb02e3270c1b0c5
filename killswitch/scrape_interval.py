"""How often the metric store really scrapes the services, measured where nobody has said.

Evidence counts every scrape once, so a wrong interval would leave it with nothing but gaps: loud (BLIND),
but blind. Measuring costs one query at start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError
from killswitch.model import QuantileSignal, QuerySignal, Rollout, Selector, Unreadable
from killswitch.sources import Source
from killswitch.sources.prometheus import Prometheus


def measured_now(source: Source, rollouts: Sequence[Rollout], deadline: Deadline) -> float | None:
    """Seconds, from the newest samples of the first rule's requests that can be found; None where nothing is."""
    if not isinstance(source, Prometheus):
        return None  # whoever scrapes itself, as configured, knows
    try:
        now = source.now(deadline)
    except KillswitchError:
        return None
    for selector in dict.fromkeys(each for rollout in rollouts for each in trial_selectors(rollout)):
        if deadline.expired:
            return None
        found = source.measure_scrape_interval(selector, now, deadline)
        if not isinstance(found, Unreadable) and found > 0:
            return rounded(found)
    return None


def rounded(seconds: float) -> float:
    """Scrapes jitter, configurations do not: 14.998 s is 15 s."""
    whole = round(seconds)
    return float(whole) if whole and abs(seconds - whole) < 0.05 * whole else float(f"{seconds:.2g}")


def trial_selectors(rollout: Rollout) -> Iterator[Selector]:
    """The counters of requests that rules divide by, those that are judged first."""
    for rule in rollout.rules:
        for signal in (rule.twin, rule.signal):
            match signal:
                case None | QuerySignal():
                    continue
                case QuantileSignal(buckets):
                    yield buckets
                case _:
                    yield from signal.trials
