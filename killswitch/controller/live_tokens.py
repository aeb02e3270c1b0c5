"""Reads what live traffic is billed for: the tokens of both cohorts, step by step, from our SDK's counters."""

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
from killswitch.sources import Source
from killswitch.spend.live import LiveStep, TokenKind

log = logging.getLogger(__name__)

TOKENS: Final = "llm_tokens_total"
_RULE: Final = "spend"  # what these wants are called; no reading of them is judged
_UNMETERED: Final = "unmetered"
_KINDS: Final[tuple[TokenKind, ...]] = get_args(TokenKind)
_COHORTS: Final = {cohort: (Matcher("cohort", "=", cohort.value),) for cohort in Cohort}


@dataclass(frozen=True, slots=True)
class Billed:
    """A rollout whose tokens are read, and the model that serves each cohort."""

    rollout: Rollout
    models: Mapping[Cohort, str]


def wants_of(rollout: Rollout, step: float) -> tuple[Want, ...]:
    """What is asked for one step of ``step`` seconds: tokens by kind, and requests that did not say what they used."""
    match = rollout.spend.match
    tokens = Selector(TOKENS, match)
    requests = Selector("llm_requests_total", (*match, Matcher("outcome", "!=", "error")))
    signals: dict[str, RatioSignal] = {
        kind: RatioSignal((Selector(TOKENS, (*match, Matcher("kind", "=", kind))),), (tokens,)) for kind in _KINDS
    }
    signals[_UNMETERED] = RatioSignal((Selector("llm_unmetered_requests_total", match),), (requests,))
    return tuple(
        Want(rollout.name, _RULE, part, signal, _COHORTS, step, Range.STEP) for part, signal in signals.items()
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
                    _tokens(dict(_measured(wants[one.rollout.name], by_tick.get(tick, {}), cohort))),
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


def _tokens(measured: Mapping[str, Measurement | None]) -> Mapping[TokenKind, float] | None:
    """Tokens by kind; None where any of them is not known.

    A request that did not say what it used is taken to have used as much as the others of its step.
    """
    unmetered = measured[_UNMETERED]
    if not isinstance(unmetered, Counts):
        return None
    metered = unmetered.trials - unmetered.events
    if unmetered.events > 0.0 and metered <= 0.0:
        return None
    share = unmetered.trials / metered if unmetered.events > 0.0 else 1.0
    found: dict[TokenKind, float] = {}
    for kind in _KINDS:
        counted = measured[kind]
        if not isinstance(counted, Counts):
            return None
        found[kind] = counted.events * share
    return found
