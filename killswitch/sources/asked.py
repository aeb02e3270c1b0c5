"""One want as it is asked: what it needs of each cohort, and the queries that a person is shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from killswitch.model import Cohort, QuerySignal, RatioSignal, Reason, Unreadable, Want
from killswitch.sources.asks import Ask, Needs, QueryLanguage, Same, Shape, Sum, needs


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
    def of(cls, want: Want, language: QueryLanguage, same: Same) -> Asked:
        problem = _problem(want)
        if problem is not None:
            return cls(want, {}, refused=problem)
        both = {cohort: needs(want, cohort, language.interval, same) for cohort in Cohort}
        asks = dict.fromkeys(ask for need in both.values() for ask in (*need.events, *need.trials))
        shown = (_shown(ask, want) for ask in asks)
        return cls(want, both, _is_known(want), tuple(dict.fromkeys(language.typed(ask) for ask in shown)))


def _shown(ask: Ask, want: Want) -> Ask:
    """The ask whose query shows a person the number of a want."""
    if want.shown is None or not isinstance(ask, Sum):
        return ask
    return replace(ask, shape=Shape.INCREASE, seconds=want.shown)


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
    """Whether the event counter needs no look-up: its trials have its name, or the rule takes absence for zero."""
    signal = want.signal
    if want.absent_is_zero or not isinstance(signal, RatioSignal):
        return True
    return not {each.metric for each in signal.events}.isdisjoint(each.metric for each in signal.trials)
