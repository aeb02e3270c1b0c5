"""Runs unit tests of rules: each test's series, judged tick by tick on the daemon's own path.

Time begins at 0, so the times of day in sentences are times since the test's start. A trip ends nothing
here: later verdicts can still be asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from killswitch.deadline import Deadline
from killswitch.flags import flag as flags
from killswitch.model import Finding, Reason, Rollout, Verdict
from killswitch.rules.units import format_duration, shown
from killswitch.sources.recording import SampledHistory
from killswitch.sources.samples import SampleSeries
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.catch_up import catch_up
from killswitch.verdicts.decide import Decision, DecisionKind, decide
from killswitch.verdicts.evaluator import Evaluator

_FOR_EVER: Final = 3600.0
_ACTS: Final = frozenset({DecisionKind.TRIP, DecisionKind.WOULD_TRIP})
_Judged = Mapping[float, tuple[tuple[Finding, ...], Decision]]
NONE: Final = "none"
"""In a test file: no reason, or no trip."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is expected at ``at`` seconds: ``rule`` with ``verdict`` or ``reason``, or ``trip``. See docs/backtest.md.

    ``trip`` is a rule's name (tripped by ``at``, and not before ``after``) or "none" (not by then).
    """

    at: float
    line: int
    rule: str | None = None
    verdict: Verdict | None = None
    reason: Reason | str | None = None
    trip: str | None = None
    after: float | None = None
    says: str | None = None


@dataclass(frozen=True, slots=True)
class RuleTest:
    """One test. ``interval`` between samples and ``every`` between ticks, in seconds; ``armed_at`` from the start."""

    name: str
    line: int
    rollout: Rollout
    interval: float
    every: float
    percent: float
    armed_at: float
    series: Mapping[str, Sequence[SampleSeries]]
    expectations: tuple[Expectation, ...]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """An expectation that was not met: ``file:line``, and both sides in words."""

    test: str
    line: int
    what: str
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class RuleTestResult:
    name: str
    mismatches: tuple[Mismatch, ...]
    checked: int

    @property
    def passed(self) -> bool:
        return not self.mismatches


def run_test(test: RuleTest) -> RuleTestResult:
    """Judge every tick up to the last expectation, and compare."""
    judged = dict(_judged(test))
    trips = [(tick, decision) for tick, (_, decision) in judged.items() if decision.action in _ACTS]
    mismatches = [found for each in test.expectations if (found := _checked(test, each, judged, trips)) is not None]
    return RuleTestResult(test.name, tuple(mismatches), len(test.expectations))


def _judged(test: RuleTest) -> Iterator[tuple[float, tuple[tuple[Finding, ...], Decision]]]:
    step = test.interval * math.ceil(test.every / test.interval - 1e-9)
    source = SampledHistory(test.series, scrape_interval=test.interval)
    evaluator = Evaluator(interval=test.every, step=step)
    flag = flags.arm(
        None,
        rollout=test.rollout.name,
        control=test.rollout.control,
        canary=test.rollout.canary,
        percent=test.percent,
        stage=flags.resolve_stage(None, test.percent)[0],
        now=test.armed_at,
        by="test",
    )
    armed = ArmedRollout(test.rollout, flag, test.armed_at)
    last = max(each.at for each in test.expectations)
    for number in range(math.ceil(test.armed_at / test.every - 1e-9), math.floor(last / test.every + 1e-9) + 1):
        tick = number * test.every
        catch_up(source, evaluator.accumulator, [armed], tick, Deadline(_FOR_EVER))
        wants = evaluator.wants([armed], tick)
        readings = source.read(wants, tick, Deadline(_FOR_EVER)) if wants else {}
        findings = evaluator.judge([armed], tick, readings)[test.rollout.name]
        yield tick, (findings, decide(findings, flag, test.rollout))


def _checked(
    test: RuleTest, expected: Expectation, judged: _Judged, trips: Sequence[tuple[float, Decision]]
) -> Mismatch | None:
    if expected.trip is not None:
        return _checked_trip(test, expected, trips)
    tick = math.floor(expected.at / test.every + 1e-9) * test.every
    findings = judged[tick][0] if tick in judged else ()
    finding = next((each for each in findings if each.rule == expected.rule), None)
    got = "not armed yet" if finding is None else _finding_words(finding)
    met = (
        finding is not None
        and (expected.verdict is None or finding.verdict is expected.verdict)
        and (expected.reason is None or (finding.reason or NONE) == expected.reason)
        and (expected.says is None or expected.says in finding.sentence)
    )
    if met:
        return None
    return Mismatch(
        test.name, expected.line, f"{expected.rule} at {format_duration(expected.at)}", _words(expected), got
    )


def _checked_trip(test: RuleTest, expected: Expectation, trips: Sequence[tuple[float, Decision]]) -> Mismatch | None:
    first = next(((tick, decision) for tick, decision in trips if tick <= expected.at), None)
    got = "no trip"
    if first is not None:
        rules = ", ".join(finding.rule for finding in first[1].tripping)
        got = f"trip by {rules} at {format_duration(first[0])}: {first[1].sentence}"
    if expected.trip == NONE:
        met = first is None
    else:
        met = (
            first is not None
            and expected.trip in {finding.rule for finding in first[1].tripping}
            and (expected.after is None or first[0] >= expected.after)
            and (expected.says is None or expected.says in first[1].sentence)
        )
    if met:
        return None
    return Mismatch(test.name, expected.line, f"trip by {format_duration(expected.at)}", _words(expected), got)


def _finding_words(finding: Finding) -> str:
    return f"{finding.verdict}{f' ({finding.reason})' if finding.reason else ''}: {finding.sentence}"


def _words(expected: Expectation) -> str:
    if expected.trip is not None:
        words = "no trip" if expected.trip == NONE else f"trip by {expected.trip}"
        words += f", not before {format_duration(expected.after)}" if expected.after is not None else ""
    else:
        words = expected.verdict.value if expected.verdict is not None else "any verdict"
        words += f" ({expected.reason})" if expected.reason is not None else ""
    return words + (f", saying {shown(expected.says)}" if expected.says is not None else "")
