"""Whether control drowns after a trip that gave it much more traffic: its errors and latency against its own before.

A trip at 25 % or more sends control many requests at once. If it cannot take them, its users suffer, and nothing else
says so: with the canary gone there is nothing to compare. So control is held against what it was before the trip. The
null is that it is at most `RATIO` times as bad. The same evidence decides as for rules: bursts are known,
and one bad step is never enough. A control that stays within the null is reported with probability at most `BUDGET` per
trip, however often one looks. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from killswitch.flags.flag import AA, SHADOW, Flag
from killswitch.model import Buckets, Counts, Measurement, QuantileSignal, RatioSignal, Rule
from killswitch.verdicts import evidence as ev
from killswitch.verdicts.evidence.evariables import TickCounts
from killswitch.verdicts.histogram import count_above, is_saturated, merge, quantile
from killswitch.wording import count_in_words, span_in_words, value_in_words

LEAST_PERCENT: Final = 25.0
WATCHED_FOR: Final = 1800.0  # seconds after the trip, and before it
BUDGET: Final = 0.01  # false reports per trip, all rules together
RATIO: Final = 2.0
LEAST_POINTS: Final = 0.01  # a rate that rises by less than this is no drowning, whatever the ratio
_FEWEST_BAD: Final = 2  # steps after the trip
_FEWEST_STEPS: Final = 10  # of control before the trip
_Z: Final = 2.6  # the upper end of control's rate before, about 1 in 200


@dataclass(frozen=True, slots=True)
class Drowning:
    """What is proven about one rule. ``sentence``: both values, and the chance of it by luck."""

    rule: str
    sentence: str


def is_watched(flag: Flag, now: float) -> bool:
    """Whether control is watched: a trip took at least `LEAST_PERCENT` of users from the canary, not long ago."""
    trip = flag.trip
    if flag.armed or trip is None or trip.stage_before in (SHADOW, AA) or trip.percent_before < LEAST_PERCENT:
        return False
    return 0.0 <= now - trip.at <= WATCHED_FOR


def watched_rules(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules whose signals say that a model is overloaded: errors, and latency."""
    return tuple(
        rule
        for rule in rules
        if isinstance(rule.signal, QuantileSignal)
        or (rule.name == "error_rate" and isinstance(rule.signal, RatioSignal))
    )


def drowning(
    rules: Sequence[Rule], steps: Mapping[float, Mapping[str, Measurement]], *, tripped_at: float, step: float
) -> tuple[Drowning, ...]:
    """What is proven of the rules. ``steps``: by tick, control's numbers of the ``step`` seconds before it.

    The step in which the trip happened counts on neither side. Without enough of control's past nothing is said.
    """
    before = [tick for tick in sorted(steps) if tick <= tripped_at]
    after = [tick for tick in sorted(steps) if tick - step >= tripped_at]
    found = (_judged(rule, len(rules), steps, before, after, step) for rule in rules)
    return tuple(one for one in found if one is not None)


def _judged(
    rule: Rule,
    rules: int,
    steps: Mapping[float, Mapping[str, Measurement]],
    before: Sequence[float],
    after: Sequence[float],
    step: float,
) -> Drowning | None:
    past = _known(rule, steps, before)
    since = _known(rule, steps, after)
    if len(past) < _FEWEST_STEPS or not since:
        return None
    edge = _edge(rule, past.values())
    if edge is not None and not math.isfinite(edge):
        return None
    past_counts = [_counts(one, edge) for one in past.values()]
    share = _null(rule, past_counts)
    needed = rules / BUDGET
    bound = ev.Bound("before", ev.HalfPlane(0.0, min(max(share, 1e-6), 1.0)))
    evidence = ev.start([ev.DetectorSpec(rule.name, (bound,), 1.0 / needed)])
    past_events, past_trials = (np.array(column)[:, None] for column in zip(*past_counts, strict=True))
    evidence = ev.warm_up(evidence, past_events, past_trials)
    counts = [_counts(one, edge) for one in since.values()]
    events, trials = (np.array(column)[:, None] for column in zip(*counts, strict=True))
    # overload is there from the trip on: the one start that is paid is paid then
    head_starts = np.zeros((len(counts), 1))
    head_starts[0] = 0.5  # less than one, so that one step alone, which may be worth all that is needed, is not enough
    nothing = np.full(events.shape, np.nan)
    ticks = np.array([*since])
    _, trace = ev.advance(
        evidence, TickCounts(events, trials, nothing, nothing), ticks, step=step, head_starts=head_starts
    )  # fmt: skip
    over = np.flatnonzero(trace.breach[:, 0])
    bad = sum(events_of > share * trials_of for events_of, trials_of in counts)
    if not over.size or bad < _FEWEST_BAD:
        return None
    return Drowning(rule.name, _sentence(rule, past, since, len(past) * step, float(trace.evidence[over[0], 0])))


def _known(
    rule: Rule, steps: Mapping[float, Mapping[str, Measurement]], ticks: Sequence[float]
) -> dict[float, Counts | Buckets]:
    """Control's numbers at these ticks; a tick that could not be read, or had no request, is left out."""
    found: dict[float, Counts | Buckets] = {}
    for tick in ticks:
        one = steps[tick].get(rule.name)
        if (isinstance(one, Counts) and one.trials > 0) or (isinstance(one, Buckets) and one.counts[-1] > 0):
            found[tick] = one
    return found


def _edge(rule: Rule, past: Iterable[Counts | Buckets]) -> float | None:
    """For latency: the seconds above which a request is slow; NaN where the histogram cannot tell."""
    if not isinstance(rule.signal, QuantileSignal):
        return None
    whole = _whole(past)
    if whole is None or is_saturated(whole, rule.signal.quantile):
        return math.nan
    edge = RATIO * quantile(whole, rule.signal.quantile)
    return edge if edge < whole.bounds[-2] else math.nan


def _null(rule: Rule, past: Sequence[tuple[float, float]]) -> float:
    """The share of bad requests up to which control counts as not drowning."""
    if isinstance(rule.signal, QuantileSignal):
        return 1.0 - rule.signal.quantile
    events, trials = sum(one[0] for one in past), sum(one[1] for one in past)
    upper = (events + _Z * math.sqrt(events + 1.0) + 1.0) / trials
    return max(RATIO * upper, upper + LEAST_POINTS)


def _counts(one: Counts | Buckets, edge: float | None) -> tuple[float, float]:
    if isinstance(one, Counts):
        return one.events, one.trials
    return count_above(one, math.inf if edge is None else edge), one.counts[-1]


def _whole(parts: Iterable[Counts | Buckets]) -> Buckets | None:
    buckets = [one for one in parts if isinstance(one, Buckets)]
    return merge(*buckets) if buckets else None


def _sentence(
    rule: Rule,
    past: Mapping[float, Counts | Buckets],
    since: Mapping[float, Counts | Buckets],
    seconds: float,
    evidence: float,
) -> str:
    now, was = (_value(rule, parts.values()) for parts in (since, past))
    requests = count_in_words(sum(_counts(one, None)[1] for one in since.values()))
    return (
        f"{rule.name} of control {value_in_words(now, rule.unit)} since the trip ({requests} requests), and "
        f"{value_in_words(was, rule.unit)} in the {span_in_words(seconds)} before it; chance of this by luck if "
        f"it is at most {RATIO:g} times as bad: under 1 in {count_in_words(math.floor(min(evidence, 1e9)))}"
    )


def _value(rule: Rule, parts: Iterable[Counts | Buckets]) -> float | None:
    if isinstance(rule.signal, QuantileSignal):
        whole = _whole(parts)
        return None if whole is None else quantile(whole, rule.signal.quantile)
    events, trials = (sum(column) for column in zip(*(_counts(one, None) for one in parts), strict=True))
    return events / trials if trials else None
