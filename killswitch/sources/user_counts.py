"""How many users a step's counters show, where a label of theirs names the user: `per` in a rule file.

- A user was active in a step if a counter of trials or of events with that user's name grew in it.
- A user who met an event is left out until the five minutes of the clock (`SLOT`) end, as active and as failing. So a
  storm of one user's retries counts once in each five minutes, and a canary that fails everyone still counts again in
  each. Who is left out follows from earlier steps alone, so each user counted is a fair trial.
- A counter that is new counts if its process was scraped before: a user's first request makes a counter at 1. Counters
  of a process that comes back, or is renamed, may hold days of requests, so they do not count in their first step.
  Where more users would be lost by this than are counted, there is no answer: UNKNOWN(GAP).
- A counter that fell (a restart) does not count in that step.
- Beyond `MOST_SERIES` counters of a cohort the answer is -Inf, which becomes UNKNOWN: see `too_many`.

Everything here is written twice: on arrays, for the sources that have samples, and as PromQL in
`killswitch.sources.prometheus.user_queries`. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from killswitch.model import Reason, Unreadable
from killswitch.sources.asks import Ask, Users
from killswitch.sources.columns import Column
from killswitch.sources.counter_resets import PROCESS_LABELS, Counter, Milliseconds, Present, Values

SLOT: Final = 300.0
"""Seconds of the clock in which a user's events count once. Longer steps count each user once a step."""

MOST_SERIES: Final = 20_000
"""Counters of one cohort, of trials or of events, that a metric store may be asked to look at in every step."""


def too_many(column: Column) -> Column:
    """The column of a `Users` ask, with a reason where there are more counters than may be read."""
    if isinstance(column, Unreadable):
        return column
    return [_TOO_MANY if isinstance(point, float) and point == -math.inf else point for point in column]


_TOO_MANY: Final = Unreadable(
    Reason.SOURCE_REFUSED,
    f"`per` would read more than {MOST_SERIES:,} counters of one cohort in every step; use a label with fewer values "
    "(a team or a key), or remove `per`",
)
_ASKED_AGAIN: Final = 600.0  # seconds


class Crowded:
    """Asks with too many counters: they are asked again after ten minutes only, to spare the metric store."""

    def __init__(self) -> None:
        self._since: dict[Ask, float] = {}

    def at(self, tick: float) -> dict[Ask, Column]:
        self._since = {ask: since for ask, since in self._since.items() if 0 <= tick - since < _ASKED_AGAIN}
        return {ask: [_TOO_MANY] for ask in self._since}

    def keep(self, columns: Mapping[Ask, Column], tick: float) -> None:
        for ask, column in columns.items():
            if not isinstance(column, Unreadable) and column and column[0] is _TOO_MANY:
                self._since[ask] = tick


def labels_of_users(ask: Users) -> dict[str, str]:
    """By label, the values that all selectors of an ask require: they tell rollouts and cohorts apart."""
    each = [
        {one.label: one.value for one in selector.matchers if one.operator == "=" and one.label != ask.per}
        for selector in ask.selectors
    ]
    return {label: value for label, value in each[0].items() if all(other.get(label) == value for other in each)}


def user_counts(
    ask: Users, trials: Sequence[Counter], events: Sequence[Counter], ticks: Milliseconds, before: float
) -> tuple[Values, Present]:
    """What an ask is answered with at each tick; ``before``: seconds before a step that are looked at."""
    step, reach, slot = (round(seconds * 1000) for seconds in (ask.seconds, before, SLOT))
    began = ticks - step
    of_counters = [(each, each.last(ticks, step), each.last(began, reach)) for each in (*trials, *events)]
    went_on: dict[tuple[str, ...], Present] = {}
    for counter, (_, now), (_, then) in of_counters[: len(trials)]:
        process = counter.process(PROCESS_LABELS)
        went_on[process] = went_on.get(process, np.zeros(len(ticks), np.bool_)) | (now & then)
    never = np.zeros(len(ticks), np.bool_)
    active: dict[str, Present] = {}
    failing: dict[str, Present] = {}
    lost: dict[str, Present] = {}
    left_out: dict[str, Present] = {}
    for at, (counter, (new, now), (old, then)) in enumerate(of_counters):
        user = counter.labels.get(ask.per, "")
        grown = now & (new > 0) & ~(then & (old >= new))
        alive = went_on.get(counter.process(PROCESS_LABELS), never)
        _add(active, user, grown & alive)
        if at < len(trials):
            _add(lost, user, grown & ~alive)
            continue
        _add(failing, user, grown & alive)
        first, known = counter.last(began // slot * slot, reach)
        if step < slot:
            _add(left_out, user, then & (old > 0) & ~(known & (first >= old)))
    counted = failing if ask.of_events else active
    total = _number((there & ~left_out.get(user, never) for user, there in counted.items()), len(ticks))
    own = of_counters[len(trials) :] if ask.of_events else of_counters[: len(trials)]
    series = _number((now for _, (_, now), _ in own), len(ticks))
    present = series > 0
    if not ask.of_events:
        present &= _number(lost.values(), len(ticks)) <= _number(active.values(), len(ticks))
    return np.where(series > MOST_SERIES, -np.inf, total), present


def _add(users: dict[str, Present], user: str, there: Present) -> None:
    users[user] = users[user] | there if user in users else there


def _number(parts: Iterable[Present], length: int) -> Values:
    found = np.zeros(length)
    for part in parts:
        found += part
    return found
