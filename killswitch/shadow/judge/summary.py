"""A judge's findings in sentences for a person, and as one JSON document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from killswitch.shadow.judge.calibration import Agreement
from killswitch.shadow.judge.opinions import NO_TEXTS
from killswitch.shadow.judge.verdicts import JudgeFindings
from killswitch.wording import counted, plain

# why sampled pairs have no verdict, by the reason of a run's end
SKIPPED: Mapping[str, str] = {
    "budget": "the spend cap was reached",
    "limit": "`max_pairs_a_day` was reached",
    "failing": "calls failed in a row",
    "refused": "the endpoint refuses the judge",
    "family": "a model of the canary's family answered",
    "stopping": "the judge was stopped",
    NO_TEXTS: "their texts were not kept",
}


def sentences(findings: JudgeFindings) -> Iterator[str]:
    """One line each: verdicts, ties, order, agreement, what is missing, and whether the win rate may decide."""
    counts = findings.counts
    rate = "no verdict yet" if findings.win_rate is None else f"win rate {findings.win_rate:.1%}, a tie counts half"
    yield (
        f"{plain(findings.by.judge, 80)} judged {counted(counts.judged, 'pair')}: canary {counts.wins:,}, "
        f"tie {counts.ties:,}, control {counts.losses:,}; {rate}"
    )
    yield (
        f"of the ties {counts.flipped:,} changed with the order, {counts.identical:,} are identical answers, "
        f"{counts.addressed:,} had an answer that speaks to the judge"
    )
    held = findings.calibration
    yield f"order: the same verdict in both orders for {_part(held.consistent, held.both_orders)}"
    yield f"itself: {_agreement(held.itself, 'asked twice')}"
    yield f"people: {_agreement(held.people, 'labelled')}"
    if counts.invalid or counts.failed or counts.unreadable:
        yield (
            f"no verdict: {counts.invalid:,} unreadable replies, {counts.failed:,} failed calls"
            + (f"; {counted(counts.unreadable, 'line')} of the file cannot be read" if counts.unreadable else "")
        )
    for reason, number in sorted(counts.skipped.items()):
        yield f"not judged: {counted(number, 'sampled pair')}, because {SKIPPED.get(reason, plain(reason, 60))}"
    if findings.stopped:
        yield f"the last run ended early: {plain(findings.stopped, 400)}"
    yield from findings.warnings
    if findings.gates:
        yield "the win rate may decide"
    for problem in findings.why_not:
        yield f"the win rate decides nothing: {problem}"


def _part(some: int, of: int) -> str:
    return f"{some:,} of {counted(of, 'pair')}" + (f" ({some / of:.0%})" if of else "")


def _agreement(rated: Agreement, what: str) -> str:
    if rated.share is None:
        return f"no pairs {what}"
    kappa = "kappa is undefined"
    if rated.kappa is not None:
        kappa = f"kappa {rated.kappa:.2f} ({rated.kappa_low:.2f} to {rated.kappa_high:.2f})"
    share = f"{rated.share:.0%} ({rated.share_low:.0%} to {rated.share_high:.0%})"
    return f"agrees on {share} of {counted(rated.items, 'pair')} {what}, {kappa}"


def document_of(findings: JudgeFindings) -> dict[str, Any]:
    """As JSON. The pairs themselves are left out."""
    return {
        "judge": asdict(findings.by),
        "win_rate": findings.win_rate,
        "counts": asdict(findings.counts),
        "calibration": asdict(findings.calibration),
        "stopped": findings.stopped,
        "warnings": list(findings.warnings),
        "gates": findings.gates,
        "why_not": list(findings.why_not),
    }
