"""Unit tests of rules: series in promtool's notation, and what is expected at which time.

A test file names rules, series and expectations; each test is judged tick by tick on the daemon's own
path (`catch_up`, the evaluator, `decide`). Time begins at 0, so the times of day in sentences
are times since the test's start. A trip ends nothing here: later verdicts can still be asked for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from killswitch.deadline import Deadline
from killswitch.errors import BadRules, Refused, UnknownRollout
from killswitch.flags import flag as flags
from killswitch.model import Finding, Reason, Rollout, Verdict
from killswitch.rules.document import Document, read_document
from killswitch.rules.loading import load_folder
from killswitch.rules.selectors import SelectorError, parse_selector
from killswitch.rules.units import Kind, UnitError, format_duration, parse_as, parse_duration, shown
from killswitch.sources.recording import SampledHistory
from killswitch.sources.samples import SampleSeries
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.catch_up import catch_up
from killswitch.verdicts.decide import Decision, DecisionKind, decide
from killswitch.verdicts.evaluator import Evaluator

_Value = TypeVar("_Value")
_MOST_SAMPLES: Final = 100_000  # of one series
_MOST_TICKS: Final = 10_000
_MOST_BYTES: Final = 256 * 1024
_FOR_EVER: Final = 3600.0
_NONE: Final = "none"
_NUMBER: Final = r"-?(?:[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?|NaN|[-+]?Inf)"
_TOKEN: Final = re.compile(
    rf"(?P<blank>_|stale)(?:x(?P<blanks>[0-9]+))?|(?P<first>{_NUMBER})(?:(?P<step>[-+][0-9.e]+))?(?:x(?P<times>[0-9]+))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What should hold at ``at`` seconds. ``rule`` with ``verdict`` or ``reason``, or ``trip``: see `docs/backtest.md`.

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


# --- running ------------------------------------------------------------------------------------


def run_test(test: RuleTest) -> RuleTestResult:
    """Judges every tick up to the last expectation."""
    judged = dict(_judged(test))
    trips = [(tick, decision) for tick, (_, decision) in judged.items() if decision.action in _ACTS]
    mismatches = [found for each in test.expectations if (found := _checked(test, each, judged, trips)) is not None]
    return RuleTestResult(test.name, tuple(mismatches), len(test.expectations))


_ACTS: Final = frozenset({DecisionKind.TRIP, DecisionKind.WOULD_TRIP})
_Judged = Mapping[float, tuple[tuple[Finding, ...], Decision]]


def _judged(test: RuleTest) -> Iterator[tuple[float, tuple[tuple[Finding, ...], Decision]]]:
    step = test.interval * math.ceil(test.every / test.interval - 1e-9)
    source = SampledHistory(test.series, scrape_interval=test.interval)
    jury = Evaluator(interval=test.every, step=step)
    armed = flags.arm(
        None,
        rollout=test.rollout.name,
        control=test.rollout.control,
        canary=test.rollout.canary,
        percent=test.percent,
        stage=flags.resolve_stage(None, test.percent)[0],
        now=test.armed_at,
        by="test",
    )
    case = ArmedRollout(test.rollout, armed, test.armed_at)
    last = max(each.at for each in test.expectations)
    for number in range(math.ceil(test.armed_at / test.every - 1e-9), math.floor(last / test.every + 1e-9) + 1):
        tick = number * test.every
        catch_up(source, jury.dossier, [case], tick, Deadline(_FOR_EVER))
        wants = jury.wants([case], tick)
        readings = source.read(wants, tick, Deadline(_FOR_EVER)) if wants else {}
        findings = jury.judge([case], tick, readings)[test.rollout.name]
        yield tick, (findings, decide(findings, armed, test.rollout))


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
        and (expected.reason is None or (finding.reason or _NONE) == expected.reason)
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
    if expected.trip == _NONE:
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
        words = "no trip" if expected.trip == _NONE else f"trip by {expected.trip}"
        words += f", not before {format_duration(expected.after)}" if expected.after is not None else ""
    else:
        words = expected.verdict.value if expected.verdict is not None else "any verdict"
        words += f" ({expected.reason})" if expected.reason is not None else ""
    return words + (f", saying {shown(expected.says)}" if expected.says is not None else "")


# --- reading the file ---------------------------------------------------------------------------


def load_tests(path: Path) -> tuple[RuleTest, ...]:
    """The tests of a file. Raises BadRules with every problem of it, each as ``file:line: what; fix: …``."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise BadRules([f"{path}: cannot be read ({error.strerror}); fix: name a file of rule tests"]) from error
    reader = _Reader(path, read_document(content))
    tests = reader.tests()
    problems = [
        f"{path}:{each.line}: {each.what}; fix: {each.fix}" for each in sorted(reader.document.problems)
    ] + reader.problems
    if problems:
        raise BadRules(problems)
    return tests


@dataclass(slots=True)
class _Reader:
    """Walks the document, and notes every problem with its line."""

    path: Path
    document: Document
    problems: list[str] = field(default_factory=list)

    def tests(self) -> tuple[RuleTest, ...]:
        if self.document.problems:
            return ()
        whole = self._mapping(self.document.value, (), {"rules", "evaluation_interval", "tests"})
        if whole is None:
            return ()
        rollouts = self._rollouts(whole)
        every = self._value(whole, (), "evaluation_interval", parse_duration, 30.0)
        entries = whole.get("tests")
        if not isinstance(entries, list) or not entries:
            self._bad(("tests",), "there are no tests", "add `tests:` with a list of them")
            return ()
        found = [self._test(entry, ("tests", number), rollouts, every) for number, entry in enumerate(entries)]
        return tuple(test for test in found if test is not None)

    def _rollouts(self, whole: Mapping[str, Any]) -> Mapping[str, Rollout]:
        name = whole.get("rules")
        if not isinstance(name, str):
            self._bad(("rules",), "no rules are named", "write `rules:` with a folder or file, relative to this file")
            return {}
        try:
            return {rollout.name: rollout for rollout in load_folder(self.path.parent / name).rollouts}
        except BadRules as error:
            self.problems += error.problems
            return {}

    def _test(
        self, entry: object, at: tuple[str | int, ...], rollouts: Mapping[str, Rollout], every: float
    ) -> RuleTest | None:
        keys = {"name", "rollout", "interval", "percent", "armed_at", "input_series", "expect"}
        values = self._mapping(entry, at, keys)
        if values is None:
            return None
        interval = self._value(values, at, "interval", parse_duration, 15.0)
        percent = self._value(values, at, "percent", lambda text: 100 * parse_as(Kind.PERCENT, text).value, 5.0)
        rollout = self._rollout(values, at, rollouts)
        series = self._all_series(values.get("input_series"), (*at, "input_series"), interval)
        expectations = self._expectations(values.get("expect"), (*at, "expect"), rollout)
        if not 0 < percent < 100:
            self._bad((*at, "percent"), f"{percent:g}% leaves one cohort empty", "write a percent between 0 and 100")
        if expectations and max(each.at for each in expectations) > _MOST_TICKS * every:
            self._bad((*at, "expect"), "an expectation lies too far ahead", f"expect within {_MOST_TICKS} ticks")
        if rollout is None or self.problems:
            return None
        line = self.document.line_of(at)
        name = str(values.get("name", f"test in line {line}"))
        armed_at = self._value(values, at, "armed_at", parse_duration, 0.0)
        return RuleTest(name, line, rollout, interval, every, percent, armed_at, series, tuple(expectations))

    def _rollout(
        self, values: Mapping[str, Any], at: tuple[str | int, ...], rollouts: Mapping[str, Rollout]
    ) -> Rollout | None:
        name = values.get("rollout")
        if name is None and len(rollouts) == 1:
            return next(iter(rollouts.values()))
        if isinstance(name, str) and name in rollouts:
            return rollouts[name]
        if rollouts:
            what = "no rollout is named" if name is None else str(UnknownRollout(str(name), rollouts))
            self._bad((*at, "rollout"), what, f"write `rollout:` with one of {', '.join(sorted(rollouts))}")
        return None

    # --- series ---

    def _all_series(
        self, entries: object, at: tuple[str | int, ...], interval: float
    ) -> Mapping[str, Sequence[SampleSeries]]:
        found: dict[str, list[SampleSeries]] = {}
        if not isinstance(entries, list) or not entries:
            self._bad(at, "there are no series", "add `input_series:` with `series` and `values`, as promtool has them")
            return found
        for number, entry in enumerate(entries):
            values = self._mapping(entry, (*at, number), {"series", "values"})
            if values is None:
                continue
            name = self._value(values, (*at, number), "series", _series_name, None)
            samples = self._value(values, (*at, number), "values", expanded, None)
            if name is not None and samples is not None:
                metric, labels = name
                stamps = np.array([round(1000 * interval * slot) for slot, _ in samples], dtype=np.int64)
                numbers = np.array([value for _, value in samples], dtype=np.float64)
                found.setdefault(metric, []).append(SampleSeries(labels, stamps, numbers))
        return found

    # --- expectations ---

    def _expectations(self, entries: object, at: tuple[str | int, ...], rollout: Rollout | None) -> list[Expectation]:
        if not isinstance(entries, list) or not entries:
            self._bad(at, "nothing is expected", "add `expect:` with a list of `at` and `verdict` or `trip`")
            return []
        found = [self._expectation(entry, (*at, number), rollout) for number, entry in enumerate(entries)]
        return [each for each in found if each is not None]

    def _expectation(self, entry: object, at: tuple[str | int, ...], rollout: Rollout | None) -> Expectation | None:
        values = self._mapping(entry, at, {"at", "rule", "verdict", "reason", "trip", "after", "says"})
        if values is None:
            return None
        if "at" not in values:
            self._bad(at, "no time is given", "write `at: 10m`, the time since the test's start")
        rules = [rule.name for rule in rollout.rules] if rollout is not None else []
        for key, more in (("rule", []), ("trip", [_NONE])):
            if key in values and rules and values[key] not in [*rules, *more]:
                self._bad(
                    (*at, key),
                    f"{shown(values[key])} is no rule of this rollout",
                    f"name one of {', '.join([*rules, *more])}",
                )
        if ("trip" in values) == ("rule" in values):
            self._bad(at, "it expects neither a verdict nor a trip, or both", "write `rule` with `verdict`, or `trip`")
        elif "rule" in values and not {"verdict", "reason", "says"} & values.keys():
            self._bad(at, "nothing is said about the rule", "add `verdict: HEALTHY`, `SUSPECT`, `BREACH` or `UNKNOWN`")
        return Expectation(
            at=self._value(values, at, "at", parse_duration, 0.0),
            line=self.document.line_of(at),
            rule=values.get("rule"),
            verdict=self._value(values, at, "verdict", Verdict, None),
            reason=self._value(values, at, "reason", _reason, None),
            trip=values.get("trip"),
            after=self._value(values, at, "after", parse_duration, None),
            says=self._value(values, at, "says", _text, None),
        )

    # --- values ---

    def _mapping(self, value: object, at: tuple[str | int, ...], known: set[str]) -> Mapping[str, Any] | None:
        if not isinstance(value, dict):
            self._bad(at, f"{shown(value)} is no mapping", f"write the keys {', '.join(sorted(known))}")
            return None
        for key in value:
            if key not in known:
                self._bad((*at, key), f"{shown(key)} is unknown here", f"use {', '.join(sorted(known))}")
        return value

    def _value(
        self,
        values: Mapping[str, Any],
        at: tuple[str | int, ...],
        key: str,
        read: Callable[[Any], _Value],
        default: Any,
    ) -> Any:
        if key not in values:
            return default
        try:
            return read(values[key])
        except (UnitError, SelectorError) as error:
            self._bad((*at, key), f"{key}: {error.what}", error.fix)
        except (ValueError, Refused) as error:
            self._bad((*at, key), f"{key}: {error}", "see docs/backtest.md")
        return default

    def _bad(self, at: tuple[str | int, ...], what: str, fix: str) -> None:
        self.problems.append(f"{self.path}:{self.document.line_of(at)}: {what}; fix: {fix}")


def expanded(text: object) -> list[tuple[int, float]]:
    """The notation of promtool as (slot, value): ``0+5x10 _ 7 stale``. Raises ValueError.

    ``a+bxn`` is a, a+b, … a+b·n; ``axn`` is a, n+1 times; ``_`` is a missed scrape, ``_xn`` n of them.
    ``stale`` is a missed scrape, too: ranges do not see the marker.
    """
    found: list[tuple[int, float]] = []
    slot = 0
    for token in str(text).split():
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise ValueError(f"{shown(token)} is no value; write numbers, 0+5x10, 7x3, _, _x3 or stale")
        count = int(match["blanks"] or match["times"] or 0)
        if slot + count > _MOST_SAMPLES:
            raise ValueError(f"over {_MOST_SAMPLES:,} samples in one series")
        if match["blank"]:
            slot += max(count, 1)
            continue
        first, rise = float(match["first"]), float(match["step"] or 0)
        found += [(slot + number, first + rise * number) for number in range(count + 1)]
        slot += count + 1
    if not found:
        raise ValueError("there is no sample")
    return found


def _series_name(text: object) -> tuple[str, dict[str, str]]:
    inside = str(text)
    le = re.search(r"""[,{]\s*le\s*=\s*(?:"([^"\\]*)"|'([^'\\]*)')\s*,?""", inside)
    if le is not None:  # selectors of rules may not match it, series have it
        inside = inside[: le.start()] + ("{" if le.group().startswith("{") else ",") + inside[le.end() :]
        inside = re.sub(r",\s*\}", "}", inside)
    metric, matchers = parse_selector(inside)
    if metric is None or any(matcher.operator != "=" for matcher in matchers):
        raise SelectorError(f"{shown(text)} is no series", 'write a name and labels: requests_total{cohort="canary"}')
    labels = {matcher.label: matcher.value for matcher in matchers}
    if le is not None:
        labels["le"] = le[1] if le[1] is not None else le[2]
    return metric, labels


def _reason(text: object) -> Reason | str:
    if text == _NONE:
        return _NONE
    try:
        return Reason(str(text))
    except ValueError:
        raise ValueError(f"{shown(text)} is no reason; known: none, {', '.join(Reason)}") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is no text; put it in quotes")  # noqa: TRY004  a problem of the file
    return value
