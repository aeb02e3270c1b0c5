"""Reads what live traffic is billed for: the tokens of both cohorts, step by step, from the counters of the preset."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from killswitch.deadline import Deadline
from killswitch.model import (
    Cohort,
    Counts,
    Matcher,
    Measurement,
    Range,
    RatioSignal,
    Readings,
    Rollout,
    Selector,
    Want,
)
from killswitch.rules.presets import SDK_TOKENS
from killswitch.sources import Source
from killswitch.spend.live import LiveStep, TokenKind

log = logging.getLogger(__name__)

_RULE: Final = "spend"  # what these wants are called; no reading of them is judged
_UNMETERED: Final = "unmetered"
_METERED: Final = "metered"
_KINDS: Final[tuple[TokenKind, ...]] = get_args(TokenKind)
_KIND: Final[Mapping[str, TokenKind]] = {kind: kind for kind in _KINDS}
_COHORTS: Final = {cohort: (Matcher("cohort", "=", cohort.value),) for cohort in Cohort}


@dataclass(frozen=True, slots=True)
class Billed:
    """A rollout whose tokens are read, and the model that serves each cohort."""

    rollout: Rollout
    models: Mapping[Cohort, str]


def wants_of(rollout: Rollout, step: float) -> tuple[Want, ...]:
    """What is asked for one step of ``step`` seconds: tokens by kind, and whether every request's are counted."""
    spend = rollout.spend
    counters, cohorts = (SDK_TOKENS, _COHORTS) if spend.tokens is None else (spend.tokens, rollout.cohorts)

    def narrowed(selectors: Sequence[Selector]) -> tuple[Selector, ...]:
        return tuple(Selector(one.metric, (*spend.match, *one.matchers)) for one in selectors)

    all_tokens, requests = narrowed(counters.all_tokens), narrowed(counters.requests)
    by_kind = {kind: narrowed(own) for kind, own in counters.by_kind.items()}
    signals = {kind: RatioSignal(own, own if kind in counters.always else all_tokens) for kind, own in by_kind.items()}
    if counters.unmetered:
        signals[_UNMETERED] = RatioSignal(narrowed(counters.unmetered), requests)
    if counters.metered:
        signals[_METERED] = RatioSignal(narrowed(counters.metered), requests)
    return tuple(
        Want(rollout.name, _RULE, part, signal, cohorts, step, Range.STEP, absent_is_zero=part in counters.within)
        for part, signal in signals.items()
    )


def read_steps(
    source: Source, all_asked: Sequence[Billed], ticks: Sequence[float], step: float, deadline: Deadline
) -> Mapping[str, Mapping[Cohort, tuple[LiveStep, ...]]]:
    """The steps of ``step`` seconds that end at ``ticks`` (Unix seconds, ascending, evenly spaced).

    By rollout and cohort. All rollouts are read together, so that the source groups what it asks.
    """
    wants = {one.rollout.name: wants_of(one.rollout, step) for one in all_asked}
    together = [want for each in wants.values() for want in each]
    try:
        if len(ticks) == 1:
            by_tick: Mapping[float, Readings] = {ticks[0]: source.read(together, ticks[0], deadline)}
        else:
            by_tick = source.read_back(together, ticks, deadline)
    except Exception:
        log.exception("reading billed tokens: unexpected error")
        by_tick = {}
    return {
        one.rollout.name: {
            cohort: tuple(
                LiveStep(
                    tick - step,
                    tick,
                    model,
                    _tokens(
                        dict(_measured(wants[one.rollout.name], by_tick.get(tick, {}), cohort)),
                        {} if one.rollout.spend.tokens is None else one.rollout.spend.tokens.within,
                    ),
                )
                for tick in ticks
            )
            for cohort, model in one.models.items()
        }
        for one in all_asked
    }


def _measured(wants: Sequence[Want], readings: Readings, cohort: Cohort) -> Iterator[tuple[str, Measurement | None]]:
    for want in wants:
        reading = readings.get(want.key)
        found = None if reading is None else reading.canary if cohort is Cohort.CANARY else reading.control
        yield want.part, found


def _tokens(measured: Mapping[str, Measurement | None], within: Mapping[str, str]) -> Mapping[TokenKind, float] | None:
    """Tokens by kind; None where any of them is not known.

    A request that did not say what it used is taken to have used as much as the others of its step. ``within``: the
    kinds that are counted in another one as well.
    """
    share = _share(measured)
    if share is None:
        return None
    found: dict[TokenKind, float] = {}
    for kind in _KINDS:
        if kind not in measured:
            continue
        counted = measured[kind]
        if not isinstance(counted, Counts):
            return None
        found[kind] = counted.events * share
    for kind, whole in ((kind, within[kind]) for kind in _KINDS if kind in within):
        # counters are scraped together, so this is below 0 by rounding alone
        found[_KIND[whole]] = max(0.0, found[_KIND[whole]] - found[kind])
    return found


def _share(measured: Mapping[str, Measurement | None]) -> float | None:
    """Requests for each one whose tokens are counted; None where that is not known."""
    part = next((one for one in (_UNMETERED, _METERED) if one in measured), None)
    if part is None:
        return 1.0
    counted = measured[part]
    if not isinstance(counted, Counts):
        return None
    metered = counted.events if part == _METERED else counted.trials - counted.events
    if counted.trials <= metered:
        return 1.0
    return counted.trials / metered if metered > 0.0 else None
