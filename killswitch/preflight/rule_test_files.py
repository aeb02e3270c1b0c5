"""Files of rule tests: series in promtool's notation, and what is expected at which time.

A file is read whole or refused with every problem in it, each as ``file:line: what is wrong; fix: …``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from killswitch.errors import BadRules, Refused, UnknownRollout
from killswitch.model import Reason, Rollout, Verdict
from killswitch.preflight.rule_tests import NONE, Expectation, RuleTest
from killswitch.rules.document import Document, read_document
from killswitch.rules.loading import load_folder
from killswitch.rules.selectors import SelectorError, parse_selector
from killswitch.rules.units import Kind, UnitError, parse_as, parse_duration, shown
from killswitch.sources.samples import SampleSeries

_Value = TypeVar("_Value")
_MOST_SAMPLES: Final = 100_000  # of one series
_MOST_TICKS: Final = 10_000
_MOST_BYTES: Final = 256 * 1024
_NUMBER: Final = r"-?(?:[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?|NaN|[-+]?Inf)"
_TOKEN: Final = re.compile(
    rf"(?P<blank>_|stale)(?:x(?P<blanks>[0-9]+))?|(?P<first>{_NUMBER})(?:(?P<step>[-+][0-9.e]+))?(?:x(?P<times>[0-9]+))?",
    re.ASCII,
)


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


def _verdict(text: Any) -> Verdict:
    try:
        return Verdict(text)
    except ValueError:
        raise UnitError(f"{shown(text)} is not a verdict", f"write one of {', '.join(Verdict)}") from None


@dataclass(slots=True)
class _Reader:
    """Reads the tests out of a document and notes every problem with its line."""

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
            self._bad((*at, "expect"), "an expectation is too far ahead", f"expect within {_MOST_TICKS} ticks")
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
        for key, more in (("rule", []), ("trip", [NONE])):
            if key in values and rules and values[key] not in [*rules, *more]:
                self._bad(
                    (*at, key),
                    f"{shown(values[key])} is not a rule of this rollout",
                    f"name one of {', '.join([*rules, *more])}",
                )
        if ("trip" in values) == ("rule" in values):
            self._bad(at, "it must expect either a verdict or a trip", "write `rule` with `verdict`, or write `trip`")
        elif "rule" in values and not {"verdict", "reason", "says"} & values.keys():
            self._bad(at, "nothing is said about the rule", "add `verdict: HEALTHY`, `SUSPECT`, `BREACH` or `UNKNOWN`")
        return Expectation(
            at=self._value(values, at, "at", parse_duration, 0.0),
            line=self.document.line_of(at),
            rule=values.get("rule"),
            verdict=self._value(values, at, "verdict", _verdict, None),
            reason=self._value(values, at, "reason", _reason, None),
            trip=values.get("trip"),
            after=self._value(values, at, "after", parse_duration, None),
            says=self._value(values, at, "says", _text, None),
        )

    # --- values ---

    def _mapping(self, value: object, at: tuple[str | int, ...], known: set[str]) -> Mapping[str, Any] | None:
        if not isinstance(value, dict):
            self._bad(at, f"{shown(value)} is not a mapping", f"write the keys {', '.join(sorted(known))}")
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
    ``stale`` is also a missed scrape, because ranges do not see the marker.
    """
    found: list[tuple[int, float]] = []
    slot = 0
    for token in str(text).split():
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise ValueError(f"{shown(token)} is not a value; write numbers, 0+5x10, 7x3, _, _x3 or stale")
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
        raise ValueError("there are no samples")
    return found


def _series_name(text: object) -> tuple[str, dict[str, str]]:
    inside = str(text)
    le = re.search(r"""[,{]\s*le\s*=\s*(?:"([^"\\]*)"|'([^'\\]*)')\s*,?""", inside)
    if le is not None:  # a rule's selector may not match `le`, but a series has it
        inside = inside[: le.start()] + ("{" if le.group().startswith("{") else ",") + inside[le.end() :]
        inside = re.sub(r",\s*\}", "}", inside)
    metric, matchers = parse_selector(inside)
    if metric is None or any(matcher.operator != "=" for matcher in matchers):
        raise SelectorError(f"{shown(text)} is not a series", 'write name and labels: requests_total{cohort="canary"}')
    labels = {matcher.label: matcher.value for matcher in matchers}
    if le is not None:
        labels["le"] = le[1] if le[1] is not None else le[2]
    return metric, labels


def _reason(text: object) -> Reason | str:
    if text == NONE:
        return NONE
    try:
        return Reason(str(text))
    except ValueError:
        raise ValueError(f"{shown(text)} is not a reason; known: none, {', '.join(Reason)}") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not a text; put it in quotes")  # noqa: TRY004  a problem of the file
    return value
