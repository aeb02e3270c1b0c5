"""Today's traffic of a rollout, read from the metric store before anything is armed: requests, and control's rates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from killswitch.model import Buckets, Counts, Decide, Measurement, RatioSignal, Readings, Rollout
from killswitch.preflight.assumptions import measured
from killswitch.preflight.backtest.reading import read_steps
from killswitch.preflight.backtest.replay import armed_rollout
from killswitch.preflight.backtest.results import Terms
from killswitch.ramps.forecast import ExpectedTraffic
from killswitch.sources import Source
from killswitch.verdicts.accumulator import EvidenceAccumulator
from killswitch.verdicts.evidence_entry import PAST, STEP, STEP_PER_USER

_ONLY_PLAIN = (STEP, PAST)


def todays_traffic(source: Source, rollout: Rollout, terms: Terms) -> ExpectedTraffic | None:
    """The mean since the first request in the span, both cohorts together; None if there was no request.

    Control is also read by its model, since cohort labels often come with the canary. Raises Unavailable or
    AccessDenied if the store gives no answer.
    """
    steps = _steps(source, rollout, terms)
    values, _ = measured(rollout, steps, (STEP_PER_USER, STEP, PAST))
    plain, count = _requests(rollout, steps, _ONLY_PLAIN)
    rate = plain / terms.step
    judged = _requests(rollout, steps, (STEP_PER_USER,))[0] / terms.step
    if rate <= 0:
        return None
    rates = {rule.name for rule in rollout.rules if isinstance(rule.signal, RatioSignal)}
    shares = {name: value.share for name, value in values.items() if name in rates and value.share > 0}
    return ExpectedTraffic(rate, judged or rate, shares, count * terms.step)


def _steps(source: Source, rollout: Rollout, terms: Terms) -> list[Readings]:
    judged_by_evidence = armed_rollout(_by_evidence(rollout), terms.since, 1.0)
    wants = EvidenceAccumulator(step=terms.step).past_wants(judged_by_evidence)
    return read_steps(source, wants, terms)


def _by_evidence(rollout: Rollout) -> Rollout:
    """The same rollout judged by evidence, whose steps are asked for."""
    return rollout if rollout.decide is Decide.EVIDENCE else replace(rollout, decide=Decide.EVIDENCE)


def _requests(rollout: Rollout, steps: Sequence[Readings], parts: Sequence[str]) -> tuple[float, int]:
    """Mean requests a step of both cohorts, of the rule that counts most, and of how many steps that is the mean.

    Steps before the first request are left out: a service that was first scraped an hour ago has an hour's traffic. A
    later step without data has none.
    """
    most = (0.0, 0)
    for rule in rollout.rules:
        for part in parts:
            found = [sum(_trials_of(readings, (rollout.name, rule.name, part))) for readings in steps]
            known = found[next((place for place, trials in enumerate(found) if trials > 0), len(found)) :]
            if known:
                most = max(most, (sum(known) / len(known), len(known)))
                break
    return most


def _trials_of(readings: Readings, key: tuple[str, str, str]) -> Iterator[float]:
    reading = readings.get(key)
    if reading is not None:
        yield from (_trials(side) for side in (reading.canary, reading.control))


def _trials(side: Measurement) -> float:
    match side:
        case Counts(_, trials):
            return trials
        case Buckets(_, counts):
            return counts[-1] if counts else 0.0
        case _:
            return 0.0
