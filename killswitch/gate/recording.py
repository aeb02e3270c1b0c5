"""Makes the record of a run: one verdict, from which the exit code, the report and the evidence all follow."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from killswitch.gate.answers import Answer, RowResult
from killswitch.gate.golden import GoldenSet
from killswitch.gate.judging import GateOutcome
from killswitch.gate.provider_failures import Judge, failed_calls, is_silent, is_storm
from killswitch.gate.running import GateRun
from killswitch.registry.gate_runs import run_id
from killswitch.roles.config import RoleConfig
from killswitch.roles.gate_record import GateRecord, GateVerdict
from killswitch.router.pinned.answered import matches
from killswitch.wording import counted, plain


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run with its verdict. ``outcome``: None before the first row. ``storm``: prod's own calls failed so often, or
    all of the candidate's, that the answers are no evidence. ``complete``: whether it has judged all that it wanted;
    else it can go on later.
    """

    record: GateRecord
    outcome: GateOutcome | None
    results: tuple[RowResult, ...]
    storm: bool
    complete: bool


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a record holds besides the verdict. Times are Unix seconds; ``cost`` in micro-dollars, None if not known."""

    config: RoleConfig
    golden: GoldenSet
    prod: str
    candidate: str
    point_estimates: bool
    started_at: float
    ended_at: float
    by: str
    cost: int | None


def ended_run(run: GateRun, facts: RunFacts, judge: Judge) -> EndedRun:
    """The record of a run, with the verdict that it may have after all."""
    outcome, storm = run.outcome, False
    if outcome is not None:
        storm = is_silent(run.results) or is_storm(run.results, outcome, judge)
        outcome = _after_all(run, outcome, facts.config, storm=storm)
    verdict, why = GateVerdict.UNKNOWN, run.broken_off or "no row was asked"
    if outcome is not None:
        verdict, why = outcome.verdict, outcome.why
    record = GateRecord(
        run=run_id(facts.started_at, secrets.token_hex(3)),
        role=facts.config.name,
        prod=facts.prod,
        candidate=facts.candidate,
        golden=facts.golden.version,
        golden_rows=len(facts.golden.rows),
        asked_rows=len(run.results),
        setup=facts.config.setup(facts.prod, facts.candidate),
        asking=facts.config.asking(facts.prod, facts.candidate),
        point_estimates=facts.point_estimates,
        verdict=verdict,
        why=why,
        numbers=() if outcome is None else outcome.numbers,
        started_at=facts.started_at,
        ended_at=facts.ended_at,
        by=facts.by,
        cost=facts.cost,
    )
    return EndedRun(record, outcome, run.results, storm, complete=run.broken_off is None)


def other_names(results: Sequence[RowResult], allowed: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], int]:
    """How many answers name a model that is neither the one that was asked nor one that the role allows for it."""
    return dict(
        Counter(
            (answer.model, answer.answered_by)
            for answer in _answers(results)
            if answer.answered_by is not None
            and not matches(answer.model, answer.answered_by)
            and answer.answered_by not in allowed.get(answer.model, ())
        )
    )


def _after_all(run: GateRun, outcome: GateOutcome, config: RoleConfig, *, storm: bool) -> GateOutcome:
    """The outcome, UNKNOWN where the rows cannot bear what it says."""
    if run.broken_off is not None:
        return replace(outcome, verdict=GateVerdict.UNKNOWN, why=f"not finished: {run.broken_off}; {outcome.why}")
    if storm:
        return replace(outcome, verdict=GateVerdict.UNKNOWN, why=_storm_in_words(run.results))
    others = other_names(run.results, config.answers_as)
    if others and outcome.verdict in {GateVerdict.PASS, GateVerdict.NEEDS_APPROVAL}:
        return replace(outcome, verdict=GateVerdict.UNKNOWN, why=_others_in_words(others, outcome.verdict))
    return outcome


def _storm_in_words(results: Sequence[RowResult]) -> str:
    failed = failed_calls(results)
    if is_silent(results):
        why = plain(results[0].candidate.answer.failure or "", 200)
        return (
            f"no call of the candidate has ended well ({counted(failed.candidate, 'call')}; the first: {why}), so "
            "it is not known what it says; look at its url and id in the role file, then run it again"
        )
    return (
        f"{failed.prod_failed} of {counted(failed.prod, 'call')} of prod failed, too, so the "
        f"{counted(failed.candidate_failed, 'failed call')} of the candidate may be the provider's; run it again when "
        "the provider is well"
    )


def _others_in_words(others: Mapping[tuple[str, str], int], verdict: GateVerdict) -> str:
    (pinned, answered), count = max(others.items(), key=lambda one: one[1])
    more = "" if len(others) == 1 else f", and {len(others) - 1} more names"
    return (
        f"the numbers say {verdict}, but another model answered: {counted(count, 'answer')} of {plain(pinned, 100)} "
        f"came from {plain(answered, 100)}{more}; pin the id that answers, or allow it with `answers_as` in the role "
        "file"
    )


def _answers(results: Sequence[RowResult]) -> Iterator[Answer]:
    for one in results:
        for scored in (one.prod, one.candidate, one.prod_again):
            if scored is not None:
                yield scored.answer
