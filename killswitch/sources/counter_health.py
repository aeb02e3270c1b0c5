"""What `killswitch doctor` asks of a rule's counters: which processes' counters fall, and which are born late. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import numpy as np

from killswitch.deadline import Deadline
from killswitch.model import Selector, Unreadable
from killswitch.sources.counter_resets import (
    FEW_FALLS,
    PROCESS_LABELS,
    Counter,
    unexplained_falls,
)
from killswitch.sources.labels import quote

BORN_WITHIN: Final = 6 * 3600.0  # seconds
MOST_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class CounterHealth:
    """``falls``: the processes whose counters fell most without a restart within an hour, and how often.

    ``born``: events in the first samples of series that began after their process's others, of ``events`` in all,
    both within `BORN_WITHIN`.
    """

    falls: tuple[tuple[str, int], ...] = ()
    born: float = 0.0
    events: float = 0.0


@runtime_checkable
class ExaminesCounters(Protocol):
    """A source that can say whether counters are counters."""

    def counter_health(
        self, events: Selector, trials: Selector, tick: float, deadline: Deadline
    ) -> CounterHealth | Unreadable:
        """Which counters fall without a restart, and how much is in series that are born late."""
        ...


def process_in_words(labels: Mapping[str, str]) -> str:
    """``job="llm", instance="10.0.0.7:8000"``; the labels that distinguish processes, as far as present."""
    named = [f"{label}={quote(labels[label])}" for label in PROCESS_LABELS if labels.get(label)]
    return ", ".join(named) or "series without labels of a process"


def of_samples(events: Sequence[Counter], trials: Sequence[Counter], tick: float) -> CounterHealth:
    """The same of series."""
    ticks = np.array([round(tick * 1000)], dtype=np.int64)
    found: dict[str, int] = {}
    for counter, (fell, there) in zip(trials, unexplained_falls(trials, trials, PROCESS_LABELS, ticks), strict=True):
        if there[0] and fell[0] > FEW_FALLS:
            words = process_in_words(counter.labels)
            found[words] = max(found.get(words, 0), int(fell[0]))
    reach = round(BORN_WITHIN * 1000)
    samples: dict[tuple[str, ...], int] = {}
    for each in trials:
        process = each.process(PROCESS_LABELS)
        samples[process] = max(samples.get(process, 0), len(_within(each, ticks, reach)))
    born = total = 0.0
    for each in events:
        values = _within(each, ticks, reach)
        if len(values):
            total += float(np.maximum(np.diff(values), 0.0).sum())
            born += float(values[0]) if len(values) < samples.get(each.process(PROCESS_LABELS), 0) else 0.0
    worst = sorted(found.items(), key=lambda pair: -pair[1])[:MOST_NAMED]
    return CounterHealth(tuple(worst), born, total)


def _within(counter: Counter, ticks: np.ndarray, reach: int) -> np.ndarray:
    values: np.ndarray = counter.values[(counter.stamps > ticks[0] - reach) & (counter.stamps <= ticks[0])]
    return values
