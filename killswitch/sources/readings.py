"""From answers to readings: what a number, an absence or a failure means for a want.

Shared by every source, so that the same series give the same reading wherever they come from. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, chain
from typing import Final

from killswitch.model import (
    Buckets,
    Cohort,
    Counts,
    Measurement,
    QuantileSignal,
    QuerySignal,
    Range,
    RatioSignal,
    Reading,
    Reason,
    Scalar,
    Unreadable,
    Want,
)
from killswitch.sources.asks import Ask, Needs, Ranges, Same, Shape, Sum, as_text, needs
from killswitch.sources.counter_resets import FEW_FALLS

Point = float | Buckets | Unreadable | None
"""What an ask gave at one tick: a sum, bucket counts (in the histogram's own unit), a failure, or nothing."""

Column = Sequence[Point] | Unreadable
"""An ask's points, one a tick; or why it could not be asked at all."""

Answers = Mapping[Ask, Column]

WHOLE: Final = 1 - 1e-9
"""A share from here on is all: that of an edge in two spellings ("1" and "1.0") is a sum of two."""


_CLOSER: Final[Mapping[Shape, Shape]] = {Shape.STEP: Shape.CLOSE_STEP, Shape.INCREASE: Shape.CLOSE_INCREASE}


@dataclass(frozen=True, slots=True)
class Asked:
    """One want, and what it needs of each cohort; or why it cannot be asked at all.

    ``known``: its event counter needs no look-up. ``texts`` are its queries.
    """

    want: Want
    needs: Mapping[Cohort, Needs]
    known: bool = True
    texts: tuple[str, ...] = ()
    refused: Unreadable | None = None

    @classmethod
    def of(cls, want: Want, ranges: Ranges, same: Same) -> Asked:
        problem = _problem(want)
        if problem is not None:
            return cls(want, {}, refused=problem)
        both = {cohort: needs(want, cohort, ranges.interval, same) for cohort in Cohort}
        asks = dict.fromkeys(ask for need in both.values() for ask in (*need.events, *need.trials))
        shown = (_shown(ask, want) for ask in asks)
        return cls(want, both, _is_known(want), tuple(dict.fromkeys(as_text(ask, ranges) for ask in shown)))


def _shown(ask: Ask, want: Want) -> Ask:
    """The query that a person would ask for what is shown of a want."""
    if want.shown is None or not isinstance(ask, Sum):
        return ask
    return replace(ask, shape=Shape.INCREASE, seconds=want.shown)


class Assembly:
    """What the wants of a call need asked, at first and, once that is known, secondly; and their readings.

    Depends on the wants alone, so that it serves from cycle to cycle; ``before`` is one that may have had some of
    them already.
    """

    def __init__(self, wants: Sequence[Want], ranges: Ranges, before: Assembly | None = None) -> None:
        self.wants = tuple(wants)
        self.ranges = ranges
        known = before.asked if before is not None and before.ranges == ranges else {}
        self.asked: dict[tuple[str, str, str], Asked] = {}
        # rules of a rollout ask much the same: equal asks are one object, or those of thousands of rules take 30 MB
        same = Same()
        for want in wants:
            asked = known.get(want.key)
            as_before = asked is not None and (asked.want is want or asked.want == want)
            self.asked[want.key] = asked if asked is not None and as_before else Asked.of(want, ranges, same)
        self.asks: tuple[Ask, ...] = tuple(
            dict.fromkeys(ask for asked in self.asked.values() for need in asked.needs.values() for ask in need.at_once)
        )
        every = [need for asked in self.asked.values() for need in asked.needs.values()]
        self._falls: tuple[Sum, ...] = tuple(dict.fromkeys(ask for need in every for ask in need.falls))
        self.histograms = tuple(need for need in every if need.layout)
        self.layouts: tuple[Sum, ...] = tuple(dict.fromkeys(ask for need in self.histograms for ask in need.layout))
        self._ratios: dict[tuple[tuple[Ask, ...], ...], dict[Ask, None]] = {}
        for asked in self.asked.values():
            both = tuple(need.trials for need in asked.needs.values())
            self._ratios.setdefault(both, {}).update(
                (ask, None) for need in asked.needs.values() for ask in need.events
            )
        trials = {ask for need in every for ask in need.trials}
        self.events: frozenset[Ask] = frozenset(ask for need in every for ask in need.events if ask not in trials)
        # rules share their trials: what is looked at in each tick is worked out once
        self._unknown = tuple(asked for asked in self.asked.values() if not asked.known)
        self._steps: dict[tuple[tuple[Ask, ...], tuple[Ask, ...]], float] = {
            (need.trials, need.recent): asked.want.seconds
            for asked in self.asked.values()
            for need in asked.needs.values()
            if need.trials_are_recent
        }

    def idle(self, answers: Answers) -> frozenset[Ask]:
        """The events that say nothing at one tick, since neither cohort has trials to count them by.

        Of a service without judged counters those of all twins.
        """
        found: set[Ask] = set()
        needed: set[Ask] = set()
        for trials, events in self._ratios.items():
            there = any(None not in _summed(each, answers, 1) for each in trials)
            (needed if there else found).update(events)
        return frozenset(found - needed)

    def lives(self, answers: Answers) -> list[Ask]:
        """How many histograms there are, of one tick, where there are any."""
        there = (need for need in self.histograms if isinstance(_points(answers[need.trials[0]], 1)[0], Buckets))
        return list(dict.fromkeys(ask for need in there for ask in need.live))

    def absent(self, answers: Answers, ticks: int) -> dict[Ask, float]:
        """What tells a cohort that is stale from one that is not there, where it has no trials.

        By ask the seconds of the step without a number: in them there was no sample.
        """
        found: dict[Ask, float] = {}
        for (trials, recent), seconds in self._steps.items():
            if None in _summed(trials, answers, ticks):
                found.update(dict.fromkeys(recent, seconds))
        return found

    def doubts(self, answers: Answers, ticks: int) -> list[Ask]:
        """Which counters' existence must be looked up: absent where there are trials, and never seen before."""
        doubtful: dict[Ask, None] = {}
        for asked in self._unknown:
            if _is_doubtful(asked, answers, ticks):
                doubtful.update(dict.fromkeys(_seen_asks(asked)))
        return list(doubtful)

    def closer(self, answers: Answers, falls: Answers, ticks: int) -> dict[Ask, Closer]:
        """The closer looks that are needed, by the ask whose answer they replace.

        Where a counter fell or is new the answer itself says so; for an hour after a fall that was no restart, the
        counter may come back.
        """
        found: dict[Ask, Closer] = {}
        odd = {
            ask for ask, column in answers.items() if not isinstance(column, Unreadable) and any(map(_is_odd, column))
        }
        if not odd and not falls:
            return found
        for asked in self.asked.values():
            for need in asked.needs.values():
                lately = _fell_lately(need, falls, ticks)
                for ask in (*need.trials, *need.events):
                    if ask in found or not isinstance(ask, Sum) or need.basis is None:
                        continue
                    if not lately and ask not in odd:
                        continue
                    where = [_is_odd(point) for point in _points(answers[ask], ticks)]
                    where = [one or other for one, other in zip(where, lately, strict=True)] if lately else where
                    if any(where):
                        found[ask] = Closer(replace(ask, shape=_CLOSER[ask.shape], basis=need.basis), where)
        return found

    @property
    def falls(self) -> Sequence[Sum]:
        """What is asked every few minutes alone: how often counters fell within an hour."""
        return self._falls

    def readings(
        self, answers: Answers, seen: Answers, falls: Answers, ticks: int
    ) -> Iterator[dict[tuple[str, str, str], Reading]]:
        """One mapping a tick. ``seen`` answers `doubts`, at the first tick."""
        columns = [_readings(asked, answers, seen, falls, ticks) for asked in self.asked.values()]
        for row in zip(*columns, strict=True) if columns else ((),) * ticks:
            yield dict(zip(self.asked, row, strict=True))


class Assemblies:
    """Those of the last few calls: each cycle asks for steps, then for windows, nearly always as the one before did."""

    _REMEMBERED: Final = 3  # calls; for a thousand rollouts each takes tens of megabytes

    def __init__(self) -> None:
        self._kept: list[tuple[int, Assembly]] = []  # with the call that used it last, the newest first
        self._calls = 0

    def of(self, wants: Sequence[Want], ranges: Ranges) -> Assembly:
        wants = tuple(wants)
        same = (one for _, one in self._kept if one.ranges == ranges and one.wants == wants)
        found = next(same, None) or Assembly(wants, ranges, before=self._nearest(wants))
        self._calls += 1
        others = [kept for kept in self._kept if kept[1] is not found and self._calls - kept[0] < self._REMEMBERED]
        self._kept = [(self._calls, found), *others]
        return found

    def _nearest(self, wants: Sequence[Want]) -> Assembly | None:
        """The newest one for the same kind of question: windows that grow, a rollout that came or went."""
        parts = {want.part for want in wants}
        return next((one for _, one in self._kept if parts == {want.part for want in one.wants}), None)


@dataclass(frozen=True, slots=True)
class Closer:
    """A closer look, and at which ticks it says what the first one does not."""

    ask: Sum
    where: Sequence[bool]


def with_closer(answers: Answers, closer: Mapping[Ask, Closer], looks: Answers, ticks: int) -> Answers:
    """The answers with those of the closer looks where one was needed; a fall that was no restart is a gap."""
    if not closer:
        return answers
    found = dict(answers)
    for ask, look in closer.items():
        columns = _points(answers[ask], ticks), _points(looks[look.ask], ticks), look.where
        found[ask] = [_looked_at(second) if odd else first for first, second, odd in zip(*columns, strict=True)]
    return found


def _looked_at(point: Point) -> Point:
    counts = point.counts if isinstance(point, Buckets) else (point,)
    return FELL if -math.inf in counts else point


def _is_odd(point: Point) -> bool:
    if isinstance(point, float):
        return not math.isfinite(point)
    return isinstance(point, Buckets) and not math.isfinite(sum(point.counts))


def _fell_lately(need: Needs, falls: Answers, ticks: int) -> list[bool]:
    """At which ticks a counter fell within the hour without a restart; empty for never."""
    columns = [_points(falls[ask], ticks) for ask in need.falls if ask in falls] if falls else []
    found = [any(isinstance(point, float) for point in points) for points in zip(*columns, strict=True)]
    return found if any(found) else []


def _readings(asked: Asked, answers: Answers, seen: Answers, falls: Answers, ticks: int) -> Iterable[Reading]:
    want = asked.want
    if asked.refused is not None:
        return [Reading(asked.refused, asked.refused, want.seconds)] * ticks
    known = _known_from(asked, answers, seen, ticks)
    canary, control = (
        _unless_falling(
            _measurements(want, asked.needs[cohort], answers, known, ticks), asked.needs[cohort], falls, ticks
        )
        for cohort in (Cohort.CANARY, Cohort.CONTROL)
    )
    seconds, texts = want.seconds, asked.texts
    return [Reading(one, other, seconds, texts) for one, other in zip(canary, control, strict=True)]


# --- absent counters ----------------------------------------------------------------------------


def _is_doubtful(asked: Asked, answers: Answers, ticks: int) -> bool:
    first = _first_seen(asked, answers, ticks)
    if first == 0:
        return False
    return any(
        isinstance(point, float)
        for need in asked.needs.values()
        for ask in need.trials
        for point in _points(answers[ask], ticks)[:first]
    )


def _first_seen(asked: Asked, answers: Answers, ticks: int) -> int:
    """The first tick at which some cohort has events."""
    columns = [_points(answers[ask], ticks) for need in asked.needs.values() for ask in need.events]
    if any(column[0] is not None for column in columns):
        return 0
    return min(next((at for at, point in enumerate(column) if point is not None), ticks) for column in columns)


def _known_from(asked: Asked, answers: Answers, seen: Answers, ticks: int) -> int | Unreadable:
    """From which tick on an absent event counter means zero."""
    if asked.known:
        return 0
    points = [_points(seen[ask], 1)[0] for ask in _seen_asks(asked) if ask in seen]
    if any(isinstance(point, float) and point > 0 for point in points):
        return 0
    failed = next((point for point in points if isinstance(point, Unreadable)), None)
    return failed if failed is not None else _first_seen(asked, answers, ticks)


def _seen_asks(asked: Asked) -> list[Ask]:
    return [ask for need in asked.needs.values() for ask in need.seen]


def _measurements(
    want: Want, need: Needs, answers: Answers, known_from: int | Unreadable, ticks: int
) -> Sequence[Measurement]:
    """One cohort's side of a want, a point a tick."""
    trials = _summed(need.trials, answers, ticks)
    if isinstance(want.signal, QuerySignal):
        return [_scalar(point) for point in trials]
    # not asked where every tick has trials: they prove a sample
    asked = all(ask in answers for ask in need.recent)
    recent = _summed(need.recent, answers, ticks) if asked else [1.0] * ticks
    if trials[0] is None and all(point is None for point in chain(trials, recent)):
        return [_NO_DATA] * ticks  # a twin that is not there, all history long
    present = [_present(*pair, want.range) for pair in zip(trials, recent, strict=True)]
    if isinstance(want.signal, QuantileSignal):
        unit = want.signal.unit_seconds
        layouts = _points(answers[need.layout[0]], ticks)
        return [_histogram(_comparable(*pair), unit) for pair in zip(present, layouts, strict=True)]
    events = _summed(need.events, answers, ticks)
    return [
        _counts(event, trial, at, known_from) for at, (event, trial) in enumerate(zip(events, present, strict=True))
    ]


def _unless_falling(
    measurements: Sequence[Measurement], need: Needs, falls: Answers, ticks: int
) -> Sequence[Measurement]:
    """Nothing is made of counters that fell again and again within the hour: they are none."""
    columns = [_points(falls[ask], ticks) for ask in need.falls if ask in falls] if falls else []
    if not columns:
        return measurements
    found = list(measurements)
    for column in columns:
        for at, point in enumerate(column):
            if isinstance(point, Unreadable):
                found[at] = point
            elif (
                isinstance(point, float)
                and point > FEW_FALLS
                and (found[at] is FELL or isinstance(found[at], Counts | Buckets))
            ):
                found[at] = falling(point)
    return found


def _problem(want: Want) -> Unreadable | None:
    """Why a want cannot be asked at all, or None."""
    if isinstance(want.signal, QuerySignal):
        return None
    if not (math.isfinite(want.seconds) and want.seconds >= 0.001):
        return Unreadable(Reason.NO_DATA, "the window has no length yet; wait for the next tick after arming")
    if isinstance(want.signal, RatioSignal) and not (want.signal.events and want.signal.trials):
        return Unreadable(Reason.NO_DATA, "the rule names no counters for its events or its trials")
    return None


def _is_known(want: Want) -> bool:
    """Whether the event counter needs no look-up: its name is told by its trials, or its absence is said to be zero."""
    signal = want.signal
    if want.absent_is_zero or not isinstance(signal, RatioSignal):
        return True
    return not {each.metric for each in signal.events}.isdisjoint(each.metric for each in signal.trials)


def _points(column: Column, length: int) -> Sequence[Point]:
    return [column] * length if isinstance(column, Unreadable) else column


def _summed(asks: Sequence[Ask], answers: Answers, ticks: int) -> Sequence[Point]:
    """Several selectors of one signal, added up; a failure of one is a failure of the sum."""
    if len(asks) == 1:
        return _points(answers[asks[0]], ticks)
    return [_added(points) for points in zip(*(_points(answers[ask], ticks) for ask in asks), strict=True)]


def _added(points: Sequence[Point]) -> Point:
    failed = next((point for point in points if isinstance(point, Unreadable)), None)
    if failed is not None:
        return failed
    numbers = [point for point in points if isinstance(point, float)]
    return sum(numbers) if numbers else None


# --- one cohort at one tick ---------------------------------------------------------------------

_NO_DATA = Unreadable(
    Reason.NO_DATA, "no series match; check the metric's name and labels, and that the cohort is served"
)
_STALE = Unreadable(Reason.STALE, "no sample within the last two scrapes; is the service up, and is it scraped?")
_GAP = Unreadable(
    Reason.GAP,
    "no series has a sample in this step and one before it: nothing was scraped, or the cohort has just appeared; "
    "the next scrape counts what was missed",
)
FELL = Unreadable(
    Reason.GAP,
    "a counter fell while its process went on, so this step counts nothing. A recording rule's sum falls when a pod "
    "goes (take rates first, then sums), and a pushed or duplicated counter when an older value comes late",
)


def is_falling(measurement: Measurement) -> bool:
    """Whether the samples are no counter's: asking again would change nothing."""
    return isinstance(measurement, Unreadable) and measurement.detail.startswith(NOT_A_COUNTER)


def falling(times: float) -> Unreadable:
    """Why a counter that fell this often within an hour is none."""
    return Unreadable(
        Reason.GARBAGE,
        f"{NOT_A_COUNTER}: a series fell {times:.0f} times within an hour, and not to zero. Usual causes: several "
        "worker processes answer /metrics by turns (use multiprocess mode), or two servers send the same series",
    )


NOT_A_COUNTER: Final = "not a counter"


_ONE_SAMPLE = Unreadable(Reason.NO_DATA, "only one sample in the window so far; an increase needs two")
_NO_COMMON_EDGES = Unreadable(
    Reason.GARBAGE,
    "the instances' histograms have different buckets, with no upper edge in common; give all the same buckets. "
    'Where they have just changed (Prometheus 3 keeps le="1" as "1.0"), this passes by itself',
)
_NEVER_SEEN = Unreadable(
    Reason.NEVER_SEEN,
    "no events, and the counter was not seen in any cohort for 24 h: check its name, or say absent_is_zero: true",
)


def _present(point: Point, recent: Point, kind: Range) -> float | Buckets | Unreadable:
    """A sum that may be used: it is there, and it is fresh."""
    for each in (point, recent):
        if isinstance(each, Unreadable):
            return each
    if not isinstance(recent, float) or not recent > 0:
        return _NO_DATA if recent is None and point is None else _STALE
    if point is None:
        return _GAP if kind is Range.STEP else _ONE_SAMPLE
    assert not isinstance(point, Unreadable)
    return point


def _counts(event: Point, trial: float | Buckets | Unreadable, at: int, known_from: int | Unreadable) -> Measurement:
    absent = event is None
    if event is None and not isinstance(trial, Unreadable):
        event = _absent(at, known_from)
    for each in (trial, event):
        if isinstance(each, Unreadable):
            return each
    if not isinstance(event, float) or not isinstance(trial, float):
        return Unreadable(Reason.GARBAGE, "a histogram came where a counter was asked for")
    if not (0 <= event < math.inf and 0 <= trial < math.inf):
        return Unreadable(
            Reason.NUMERIC, f"{event!r} events of {trial!r} trials: increases are finite and not negative"
        )
    return Counts(event, trial, absent)


def _absent(at: int, known_from: int | Unreadable) -> float | Unreadable:
    if isinstance(known_from, Unreadable):
        return known_from
    return 0.0 if at >= known_from else _NEVER_SEEN


def _comparable(point: float | Buckets | Unreadable, layout: Point) -> float | Buckets | Unreadable:
    """Of a sum of histograms, the edges every one of them has: below any other only some of the requests count.

    ``layout`` names the edges that some lack.
    """
    if isinstance(layout, Unreadable) and not isinstance(point, Unreadable):
        return layout
    if not (isinstance(point, Buckets) and isinstance(layout, Buckets)):
        return point
    lacking = set(layout.bounds)
    shared = [pair for pair in zip(point.bounds, point.counts, strict=True) if pair[0] not in lacking]
    if len(shared) < 2:
        return _NO_COMMON_EDGES
    return Buckets(tuple(edge for edge, _ in shared), tuple(count for _, count in shared))


def _histogram(point: float | Buckets | Unreadable, unit_seconds: float) -> Measurement:
    if isinstance(point, Unreadable):
        return point
    if not isinstance(point, Buckets):
        return Unreadable(Reason.GARBAGE, "a single number came where buckets were asked for")
    for count in point.counts:
        if not 0 <= count < math.inf:
            return Unreadable(
                Reason.NUMERIC, f"a bucket's increase is {count!r}; increases are finite and not negative"
            )
    # cumulative by definition; sums of floats, or instances with different buckets, may dip
    return Buckets(_in_seconds(point.bounds, unit_seconds), tuple(accumulate(point.counts, max)))


@lru_cache(maxsize=4096)
def _in_seconds(bounds: tuple[float, ...], unit_seconds: float) -> tuple[float, ...]:
    return tuple(bound * unit_seconds for bound in bounds)


def _scalar(point: Point) -> Measurement:
    match point:
        case Unreadable():
            return point
        case None:
            return Unreadable(Reason.NO_DATA, "the query gives no series; ask it yourself, and see what it matches")
        case Buckets():
            return Unreadable(Reason.GARBAGE, "buckets came where one number was asked for")
        case _ if not math.isfinite(point):
            return Unreadable(Reason.NUMERIC, f"the query gives {point!r}")
        case _:
            return Scalar(point)


def buckets_of(counts: Mapping[float, float]) -> Buckets | Unreadable:
    """Cumulative counts by upper edge, in order; the histogram must have its ``+Inf`` bucket."""
    if math.inf not in counts:
        return Unreadable(Reason.GARBAGE, 'the histogram has no le="+Inf" bucket; is it a classic histogram?')
    bounds = tuple(sorted(counts))
    return Buckets(bounds, tuple(counts[bound] for bound in bounds))
