"""Measures how often the metric store scrapes the services, if the setting does not say it.

Each scrape is counted once for any setting. But the setting decides when data is stale, and how long evidence steps
are. Measuring costs one query at start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError
from killswitch.model import QuantileSignal, QuerySignal, Rollout, Selector, Unreadable
from killswitch.sources import Source
from killswitch.wording import duration_in_words


@runtime_checkable
class ScrapedElsewhere(Protocol):
    """A source whose samples another system scrapes, so that how often it does must be measured."""

    def measure_scrape_interval(self, selector: Selector, tick: float, deadline: Deadline) -> float | Unreadable:
        """The median distance, in seconds, between samples of the selected series shortly before ``tick``."""
        ...


def measured(source: Source, rollouts: Sequence[Rollout], moments: Sequence[float], deadline: Deadline) -> float | None:
    """Seconds between scrapes of the first rule's requests that can be found at one of ``moments`` (Unix seconds).

    None if nothing is found, and for a source that scrapes by itself. Raises Unavailable, AccessDenied.
    """
    if not isinstance(source, ScrapedElsewhere):
        return None
    for selector in dict.fromkeys(each for rollout in rollouts for each in trial_selectors(rollout)):
        for at in moments:
            if deadline.expired:
                return None
            found = source.measure_scrape_interval(selector, at, deadline)
            if not isinstance(found, Unreadable) and found > 0:
                return rounded(found)
    return None


def measured_now(source: Source, rollouts: Sequence[Rollout], deadline: Deadline) -> float | None:
    """The same at this moment; None where the source does not answer."""
    try:
        return measured(source, rollouts, (source.now(deadline),), deadline)
    except KillswitchError:
        return None


def consequence(real: float, configured: float) -> str:
    """The consequence of a ``scrape_interval`` that is not the real one (both in seconds)."""
    if real > configured:
        return f"data counts as stale after {duration_in_words(2 * configured)} without a scrape, so rules go blind"
    return "evidence is gathered less often than it could be, and services that fall silent are noticed late"


def rounded(seconds: float) -> float:
    """Scrapes have jitter, settings do not: 14.998 s means 15 s."""
    whole = round(seconds)
    return float(whole) if whole and abs(seconds - whole) < 0.05 * whole else float(f"{seconds:.2g}")


def trial_selectors(rollout: Rollout) -> Iterator[Selector]:
    """The counters of requests that rules divide by, judged ones first."""
    for rule in rollout.rules:
        for signal in (rule.per_user, rule.signal):
            match signal:
                case None | QuerySignal():
                    continue
                case QuantileSignal(buckets):
                    yield buckets
                case _:
                    yield from signal.trials
