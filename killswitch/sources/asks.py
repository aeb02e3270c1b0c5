"""What a want needs to be asked, in no source's language.

Every number that a want needs is an `Ask`: one cohort's counters of one selector, summed. A source answers asks in its
own language (`prometheus/queries.py` in PromQL, `samples.py` on arrays), and says how a person would type one
(`QueryLanguage`). Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, Protocol, TypeVar, cast

from killswitch.model import Cohort, Matcher, QuantileSignal, QuerySignal, Range, RatioSignal, Selector, Want
from killswitch.sources import counter_resets

_Part = TypeVar("_Part")

LOOKBACK: Final = 300.0  # seconds of the past in which a stale cohort still counts as existing (as in Prometheus)
SEEN_WITHIN: Final = 86_400.0  # seconds: how long ago a known counter may have been seen

NO_USER: Final = "|None"
"""A regular expression of label values that name no user; Python's clients write an absent one as ``None``."""

_RESTART: Final = 4  # scrapes that a service or a Prometheus may miss during a restart


class Shape(StrEnum):
    """What is asked about the counters of a selector."""

    INCREASE = "increase"  # increase(x[seconds]), extrapolated as a dashboard shows it
    STEP = "step"  # what was counted between the last samples of disjoint steps of `seconds`
    GROWN = "grown"  # the same of counters that were quiet a step ago: see `prometheus.quiet`
    CLOSE_INCREASE = "close increase"  # the two where a counter fell or is new: see `counter_resets`
    CLOSE_STEP = "close step"
    FALLS = "falls"  # the most falls of one series within an hour
    CLOSE_FALLS = "close falls"  # those that no restart explains
    LAYOUT = "layout"  # the upper edges that some of the histograms lacked for some of the scrapes within `seconds`
    LIVE = "live"  # how many of the histograms had a sample within `seconds`
    RECENT = "recent"  # samples within `seconds`; 0 where only older ones are to be found
    SEEN = "seen"  # samples within `seconds`


@dataclass(frozen=True, slots=True)
class Sum:
    """The counters of one cohort and selector (cohort matchers included), summed; for each ``le`` if ``by_le``.

    ``native``: the series are native histograms; a step or an increase of them is `Buckets`.

    ``basis``: the counters by which a closer look tells processes apart.
    """

    shape: Shape
    selector: Selector
    seconds: float
    by_le: bool = False
    basis: Selector | None = None
    native: bool = False
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = (self.shape, self.selector, self.seconds, self.by_le, self.basis, self.native)
        object.__setattr__(self, "_hash", hash(parts))

    def __hash__(self) -> int:
        return self._hash  # asks are dictionary keys, thousands of times a cycle


@dataclass(frozen=True, slots=True)
class Free:
    """A free query; it must give one series."""

    query: str


@dataclass(frozen=True, slots=True)
class Users:
    """How many users of one cohort were active within ``seconds``; or, if ``of_events``, how many met an event.

    Selectors include the cohort's matchers; ``per`` is the label that names the user. `user_counts` says who counts.
    """

    of_events: bool
    trials: tuple[Selector, ...]
    events: tuple[Selector, ...]
    seconds: float
    per: str

    @property
    def selectors(self) -> tuple[Selector, ...]:
        return (*self.trials, *self.events)


Ask = Sum | Free | Users


class QueryLanguage(Protocol):
    """The language in which one source is asked, as far as readings must know it.

    Immutable, and compared: equal ones give equal texts. A new source brings one of its own.
    """

    @property
    def interval(self) -> float:
        """The scrape interval in seconds, or how often the store gets a sample otherwise."""
        ...

    def typed(self, ask: Ask) -> str:
        """The query that a person would type to see the number of ``ask`` alone; pages and `explain` show it."""
        ...


def is_native(buckets: Selector) -> bool:
    """Whether these are native histograms: their series have the histogram's own name, classic ones add ``_bucket``."""
    return not buckets.metric.endswith("_bucket")


def before_step(interval: float) -> float:
    """How long before a step its counters' last sample may lie: at least four scrapes. All in seconds."""
    return max(LOOKBACK, _RESTART * interval)


def evidence_step(scrape_interval: float) -> float:
    """The evidence step in seconds: the smallest multiple of the scrape interval that is at least 30 s."""
    return scrape_interval * math.ceil(30.0 / scrape_interval - 1e-9)


# --- what a want needs --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Needs:
    """The asks of one cohort of a want. ``seen`` is asked only where events are absent, ``falls`` every few minutes.

    ``layout`` of a step may be left out while the histograms and their edges stay the same; ``live`` shows whether
    they do. ``trials_are_recent``: a number of trials proves a sample that ``recent`` would count, so ``recent``
    is asked only without trials. ``basis``: the counters by which a closer look tells processes apart.
    """

    trials: tuple[Ask, ...]
    events: tuple[Ask, ...] = ()
    recent: tuple[Ask, ...] = ()
    layout: tuple[Sum, ...] = ()
    live: tuple[Sum, ...] = ()
    seen: tuple[Ask, ...] = ()
    falls: tuple[Sum, ...] = ()
    trials_are_recent: bool = False
    basis: Selector | None = None

    @property
    def at_once(self) -> tuple[Ask, ...]:
        return (*self.trials, *self.events, *(() if self.trials_are_recent else self.recent))


class Same:
    """Returns one object for all equal ones."""

    def __init__(self) -> None:
        self._known: dict[object, object] = {}

    def __call__(self, each: _Part) -> _Part:
        return cast("_Part", self._known.setdefault(each, each))


def needs(want: Want, cohort: Cohort, interval: float, same: Same) -> Needs:
    """What must be asked for one cohort of ``want``; ``interval`` is the scrape interval in seconds."""
    of_step = want.range is Range.STEP
    shape = Shape.STEP if of_step else Shape.INCREASE
    matchers = want.cohorts.get(cohort, ())
    # a step is never read again later, so a sample within it is always recent
    fresh = max(2 * interval, want.seconds) if of_step else 2 * interval
    # a step counts from a sample before it, so edges that only one of the two has are not comparable
    alike = want.seconds + (_RESTART * interval if of_step else 0.0)

    def whole(selector: Selector) -> Selector:
        return same(Selector(selector.metric, same(tuple(sorted({*selector.matchers, *matchers})))))

    def sums(of: Shape, selectors: Iterable[Selector], seconds: float, *, by_le: bool = False) -> tuple[Sum, ...]:
        return same(tuple(same(Sum(of, whole(each), seconds, by_le)) for each in selectors))

    def falls(selectors: Sequence[Selector], basis: Selector) -> tuple[Sum, ...]:
        asks = sums(Shape.FALLS, _not_within_others(selectors), counter_resets.FALLS_WITHIN)
        return same(tuple(dict.fromkeys(same(replace(ask, basis=whole(basis))) for ask in asks)))

    match want.signal:
        case RatioSignal(events, trials, per):
            users = _users([list(map(whole, some)) for some in (trials, events)], want.seconds, per, same)
            without_name = (Matcher(per, "=~", NO_USER),) if per else ()
            alone = [[_also(each, *without_name) for each in some] for some in (trials, events)]
            return Needs(
                trials=same((*users[0], *sums(shape, alone[0], want.seconds))),
                events=same((*users[1], *sums(shape, alone[1], want.seconds))),
                recent=sums(Shape.RECENT, trials, fresh),
                seen=sums(Shape.SEEN, events, SEEN_WITHIN),
                falls=falls((*trials, *events), trials[0]),
                trials_are_recent=of_step,
                basis=whole(trials[0]),
            )
        case QuantileSignal(buckets):
            classic = not is_native(buckets)
            total = Selector(buckets.metric, (*buckets.matchers, *((Matcher("le", "=", "+Inf"),) if classic else ())))
            found = Needs(
                trials=sums(shape, (buckets,), want.seconds, by_le=classic),
                recent=sums(Shape.RECENT, (total,), fresh),
                layout=sums(Shape.LAYOUT, (buckets,), alike, by_le=True) if classic else (),
                live=sums(Shape.LIVE, (total,), alike) if of_step and classic else (),
                falls=falls((total,), total),
                trials_are_recent=of_step,
                basis=whole(total),
            )
            return found if classic else _natively(found, same)
        case QuerySignal(canary, control):
            return Needs(trials=(Free(canary if cohort is Cohort.CANARY else control),))


def _natively(need: Needs, same: Same) -> Needs:
    trials = (same(replace(ask, native=True)) for ask in need.trials if isinstance(ask, Sum))
    return replace(need, trials=tuple(trials), falls=tuple(same(replace(ask, native=True)) for ask in need.falls))


def _also(selector: Selector, *matchers: Matcher) -> Selector:
    return Selector(selector.metric, (*selector.matchers, *matchers)) if matchers else selector


def _users(
    both: Sequence[Sequence[Selector]], seconds: float, per: str, same: Same
) -> tuple[tuple[Users, ...], tuple[Users, ...]]:
    """The asks for users who were active, and for those who met an event; none without a label ``per``."""
    if not per:
        return (), ()
    trials, events = (same(tuple(_also(each, Matcher(per, "!~", NO_USER)) for each in some)) for some in both)
    active, failing = (same(Users(of_events, trials, events, seconds, per)) for of_events in (False, True))
    return (active,), (failing,)


def _not_within_others(selectors: Sequence[Selector]) -> list[Selector]:
    """The selectors without those whose series all are an earlier one's, too, such as the failed of all requests.

    A fall of one of their series is a fall of the earlier one's.
    """
    kept: list[Selector] = []
    for each in selectors:
        if not any(one.metric == each.metric and set(one.matchers) <= set(each.matchers) for one in kept):
            kept.append(each)
    return kept


# --- what distinguishes asks -----------------------------------------------------------------------


def shared_labels(selector: Selector, basis: Selector) -> tuple[str, ...]:
    """Labels for which both require one value: they distinguish rollouts and cohorts, and so their processes."""
    return labels_of_both(tuple(split_matchers(selector)[1]), tuple(split_matchers(basis)[1]))


def labels_of_both(labels: Sequence[str], of_basis: Sequence[str]) -> tuple[str, ...]:
    return tuple(label for label in labels if label in of_basis and label != "le")


def split_matchers(selector: Selector, *, by_le: bool = False) -> tuple[tuple[Matcher, ...], dict[str, str]]:
    """Matchers that stay as they are, and by label the value that distinguishes this ask from others."""
    fixed: list[Matcher] = []
    equal: dict[str, str] = {}
    for each in sorted(selector.matchers):
        # a second equality on a label contradicts the first; both must be kept
        if each.operator != "=" or each.label in equal or (by_le and each.label == "le"):
            fixed.append(each)
        else:
            equal[each.label] = each.value
    return tuple(fixed), equal
