"""What `killswitch doctor` asks of a rule's counters: which processes' counters fall, and which are born late. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from killswitch.model import Selector
from killswitch.sources.asks import Ranges, shared_labels
from killswitch.sources.counter_resets import (
    FALLS_WITHIN,
    FEW_FALLS,
    PROCESS_LABELS,
    YOUNG,
    Counter,
    Look,
    unexplained_falls,
)
from killswitch.sources.prometheus import promql

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


def process_in_words(labels: Mapping[str, str]) -> str:
    """``job="llm", instance="10.0.0.7:8000"``; what tells processes apart, as far as it is there."""
    named = [f"{label}={promql.quote(labels[label])}" for label in PROCESS_LABELS if labels.get(label)]
    return ", ".join(named) or "series without labels of a process"


def queries(events: Selector, trials: Selector, ranges: Ranges) -> tuple[str, str, str]:
    """Falls by process; born events; all events."""
    process = tuple(dict.fromkeys((*PROCESS_LABELS, *shared_labels(events, trials))))
    e, t = promql.selector(events), promql.selector(trials)
    by = f" by ({', '.join(map(promql.label_name, process))})"
    look = Look(series=t, basis=t, created=None, by=by, process=process, several=False)
    falls = f"topk({MOST_NAMED}, {look.falls(ranges.half_open(FALLS_WITHIN), ranges.half_open(YOUNG))} > {FEW_FALLS})"
    day = ranges.half_open(BORN_WITHIN)
    on = f"on ({', '.join(map(promql.label_name, process))})"
    later = f"count_over_time({e}{day}) < {on} group_left () max{by} (count_over_time({t}{day}))"
    born = f"sum(min_over_time({e}{day}) and ({later}))"
    return falls, born, f"sum(increase({e}{day}))"


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
