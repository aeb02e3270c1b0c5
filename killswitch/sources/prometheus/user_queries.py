"""How many users a step's counters show, as PromQL; `user_counts` says who counts. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from killswitch.model import Selector
from killswitch.sources.asks import Shape, Users
from killswitch.sources.counter_resets import PROCESS_LABELS
from killswitch.sources.prometheus import promql
from killswitch.sources.user_counts import MOST_SERIES, SLOT, labels_of_users

_MOST_CELLS: Final = 2_000  # rollouts and cohorts in one query


class Reaches(Protocol):
    """How this server is asked for ranges: see `queries.Ranges`."""

    @property
    def before(self) -> float: ...

    def half_open(self, seconds: float) -> str: ...


@dataclass(frozen=True, slots=True)
class UserQuery:
    """One query for many asks that differ in the values of ``labels`` alone; ``cells`` maps those to the ask."""

    labels: tuple[str, ...]
    trials: tuple[Selector, ...]
    events: tuple[Selector, ...]
    seconds: float
    per: str
    of_events: bool
    cells: Mapping[tuple[str, ...], Users]
    by_le: bool = False
    shape: Shape = Shape.STEP

    def text(self, ranges: Reaches) -> str:
        trials, events = (self._series(some) for some in (self.trials, self.events))
        step, reach = ranges.half_open(self.seconds), ranges.half_open(ranges.before)
        offset, slot = promql.duration(self.seconds), promql.duration(SLOT)
        by = f" by ({', '.join(map(promql.label_name, self.labels))})" if self.labels else ""
        user = f"group by ({', '.join(map(promql.label_name, (*self.labels, self.per)))})"
        process = f"on ({', '.join(PROCESS_LABELS)})"

        def new(series: str) -> str:
            return f"last_over_time({series}{step})"

        def old(series: str) -> str:
            return f"last_over_time({series}{reach} offset {offset})"

        def grown(series: str) -> str:
            return f"({new(series)} > 0 unless {old(series)} >= {new(series)})"

        def earlier(series: str) -> str:
            # the subquery has one point: where the five minutes of the clock began in which the step begins
            first = f"last_over_time(last_over_time({series}{reach})[{slot}:{slot}] offset {offset})"
            return f"({old(series)} > 0 unless {first} >= {old(series)})"

        def users(parts: Iterable[str]) -> str:
            return f"{user} ({' or '.join(parts)})"

        went_on = " or ".join(f"({new(each)} and {old(each)})" for each in trials)
        of_trials, of_events = (
            users(f"({grown(each)} and {process} ({went_on}))" for each in some) for some in (trials, events)
        )
        active = of_events if self.of_events else f"({of_trials} or {of_events})"
        left_out = f" unless {users(map(earlier, events))}" if self.seconds < SLOT else ""
        own = events if self.of_events else trials
        series = f"count{by} ({' or '.join(map(new, own))})"
        text = f"(count{by} ({active}{left_out}) or 0 * {series}) + ln({series} <= bool {MOST_SERIES})"
        if self.of_events:
            return text
        lost = users(f"({grown(each)} unless {process} ({went_on}))" for each in trials)
        return f"({text}) unless count{by} ({lost}) > (count{by} ({active}) or 0 * {series})"

    def _series(self, selectors: Iterable[Selector]) -> tuple[str, ...]:
        varied = [promql.one_of(name, {values[at] for values in self.cells}) for at, name in enumerate(self.labels)]
        return tuple(
            promql.series(each.metric, sorted([*map(promql.matcher, each.matchers), *varied])) for each in selectors
        )


def plan_users(asks: Iterable[Users]) -> Iterator[UserQuery]:
    """As few queries as answer every ask."""
    groups: dict[_Group, dict[tuple[str, ...], Users]] = defaultdict(dict)
    for ask in dict.fromkeys(asks):
        varied = labels_of_users(ask)
        group = _Group(
            tuple(sorted(varied)),
            tuple(_without(each, varied) for each in ask.trials),
            tuple(_without(each, varied) for each in ask.events),
            ask.seconds,
            ask.per,
            ask.of_events,
        )
        groups[group][tuple(varied[label] for label in group.labels)] = ask
    for group, members in groups.items():
        rows = sorted(members.items(), key=lambda row: row[0])
        for at in range(0, len(rows), _MOST_CELLS):
            cells = dict(rows[at : at + _MOST_CELLS])
            yield UserQuery(group.labels, group.trials, group.events, group.seconds, group.per, group.of_events, cells)


@dataclass(frozen=True, slots=True)
class _Group:
    """What asks must have in common to share a query."""

    labels: tuple[str, ...]
    trials: tuple[Selector, ...]
    events: tuple[Selector, ...]
    seconds: float
    per: str
    of_events: bool


def _without(selector: Selector, varied: Mapping[str, str]) -> Selector:
    kept = (one for one in selector.matchers if one.operator != "=" or one.label not in varied)
    return Selector(selector.metric, tuple(kept))
