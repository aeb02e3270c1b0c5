"""Builds a rule's signal from its name and keys: a preset's signal, or the user's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from killswitch.model import (
    CohortMatchers,
    Matcher,
    QuantileSignal,
    QuerySignal,
    RatioSignal,
    Selector,
    Signal,
    Unit,
)
from killswitch.rules.document import Path
from killswitch.rules.metrics import Available, Complaint, bucket_unit, buckets_of, whole
from killswitch.rules.presets import RATES, Preset, measure_of, quantile_of, standard
from killswitch.rules.schema import RuleSpec
from killswitch.rules.schema_errors import did_you_mean
from killswitch.rules.units import shown

_QUERY_UNITS: Mapping[str, Unit] = {"number": Unit.NUMBER, "percent": Unit.FRACTION, "seconds": Unit.SECONDS}
_STANDARD = (*RATES, "latency_p95", "latency_p50", "latency_p99")


@dataclass(slots=True)
class ReadSignal:
    """A rule's signal, None when it is refused."""

    signal: Signal | None = None
    unit: Unit | None = None
    per_user: Signal | None = None
    complaints: list[Complaint] = field(default_factory=list)


def read_signal(
    name: str,
    rule: RuleSpec,
    found: Available,
    *,
    match: tuple[Matcher, ...],
    cohorts: CohortMatchers | None,
    metrics_known: bool,
) -> ReadSignal:
    """The rule's signal with ``match`` in every selector."""
    read = ReadSignal()
    path: Path = ("rules", name)
    ways = [way for way, keys in _WAYS.items() if any(getattr(rule, key) is not None for key in keys)]
    if len(ways) > 1:
        read.complaints.append(Complaint(path, f"rules.{name} has {' and '.join(ways)}", "keep one of them"))
    elif not ways:
        _standard_signal(name, rule, found, read, cohorts=cohorts, match=match, known=metrics_known)
    elif ways == ["events"]:
        _own_ratio(name, rule, found, read)
    elif ways == ["histogram"]:
        _own_quantile(name, rule, read)
    else:
        _own_query(name, rule, match, read)
    if rule.absent_is_zero and read.signal is not None and not isinstance(read.signal, RatioSignal):
        read.complaints.append(
            Complaint(
                (*path, "absent_is_zero"), f"rules.{name} has no events counter that could be absent", "remove it"
            )
        )
    if rule.per is not None:
        _count_users(name, rule.per, read)
    if read.signal is not None:
        read.signal = _matching(read.signal, match)
        read.per_user = _matching(read.per_user, match) if read.per_user is not None else None
    return read


# the ways to name where a number comes from, and the keys of each
_WAYS: Mapping[str, tuple[str, ...]] = {
    "events": ("events", "trials"),
    "histogram": ("histogram", "quantile"),
    "query": ("query",),
}


def _standard_signal(
    name: str,
    rule: RuleSpec,
    found: Available,
    read: ReadSignal,
    *,
    cohorts: CohortMatchers | None,
    match: tuple[Matcher, ...],
    known: bool,
) -> None:
    path: Path = ("rules", name)
    if not standard(name):
        hint = did_you_mean(name, _STANDARD)
        fix = hint if hint.startswith("did") else f"known are {', '.join(_STANDARD)}."
        own = "A signal of your own needs events and trials, or histogram and quantile, or query"
        read.complaints.append(Complaint(path, f"no signal is called {shown(name)}", f"{fix} {own}"))
        return
    read.unit = Unit.FRACTION if name in RATES else Unit.SECONDS
    if rule.unit is not None:
        read.complaints.append(Complaint((*path, "unit"), f"rules.{name} already has its unit", "remove unit"))
    if not known:
        return
    read.signal = found.metrics.signal(name)
    measure = measure_of(name)
    if read.signal is None:
        lacking = measure if found.metrics.requests or measure == "latency" else "requests"
        who = f"metrics: {found.name}" if found.name else "`metrics`"
        read.complaints.append(
            Complaint(
                path,
                f"{who} has no metric for {lacking}, which {name} needs",
                f"name it (`metrics: {{{_preset_key(found)}{lacking}: my_metric}}`), or remove the rule",
            )
        )
        return
    read.per_user = found.metrics.per_user.signal(name) if found.metrics.per_user is not None else None
    preset = found.preset
    if preset is None or measure in found.own or cohorts is None:
        return
    if measure == "errors":
        read.complaints.extend(_untruthful(preset, cohorts, match))


def _untruthful(preset: Preset, cohorts: CohortMatchers, match: tuple[Matcher, ...]) -> list[Complaint]:
    """Complaints about labels that are missing or wrong on failed requests, so that errors would be missed."""
    telling = {matcher.label for side in cohorts.values() for matcher in side}
    narrowing = {matcher.label for matcher in match}
    wrong = [("cohorts", label) for label in telling if preset.truthful is not None and label not in preset.truthful]
    wrong += [("match", label) for label in narrowing if preset.unsafe and re.fullmatch(preset.unsafe, label)]
    wrong += [("cohorts", label) for label in telling & preset.missing_on_errors]
    wrong += [("match", label) for label in narrowing & preset.missing_on_errors]
    return [
        Complaint(
            (key,),
            f"{key}: on failed requests of {preset.name}, {label} is missing or wrong, so errors would be missed",
            f"use {preset.tells_apart} or labels of the scrape itself (job, instance, …)",
        )
        for key, label in sorted(wrong)
    ]


def _own_ratio(name: str, rule: RuleSpec, found: Available, read: ReadSignal) -> None:
    path: Path = ("rules", name)
    read.unit = Unit.FRACTION
    if rule.unit is not None:
        read.complaints.append(Complaint((*path, "unit"), f"rules.{name} is a rate: it has no unit", "remove unit"))
    if rule.events is None:
        read.complaints.append(
            Complaint(path, f"rules.{name} has trials but no events", "add events: the counters of what is bad")
        )
        return
    trials = found.metrics.requests
    if rule.trials is not None:
        trials = whole(rule.trials, None, (*path, "trials"), read.complaints)
    if trials is None:
        if rule.trials is None:
            read.complaints.append(
                Complaint(path, f"rules.{name} has events but no trials", "add trials: the counters of all requests")
            )
        return
    events = whole(rule.events, trials, (*path, "events"), read.complaints)
    if events is not None:
        read.signal = RatioSignal(events, trials)


def _own_quantile(name: str, rule: RuleSpec, read: ReadSignal) -> None:
    path: Path = ("rules", name)
    read.unit = Unit.SECONDS
    quantile = rule.quantile or quantile_of(name)
    if rule.histogram is None:
        read.complaints.append(
            Complaint(path, f"rules.{name} has quantile but no histogram", "add histogram: its name")
        )
        return
    if quantile is None:
        read.complaints.append(Complaint(path, f"rules.{name} has histogram but no quantile", "add quantile: 0.95"))
    unit = bucket_unit(rule.histogram, rule.unit, (*path, "histogram"), "unit", read.complaints)
    buckets = buckets_of(rule.histogram, (*path, "histogram"), read.complaints)
    if buckets is not None and quantile is not None and unit is not None:
        read.signal = QuantileSignal(buckets, quantile, unit)


def _own_query(name: str, rule: RuleSpec, match: tuple[Matcher, ...], read: ReadSignal) -> None:
    path: Path = ("rules", name)
    assert rule.query is not None
    unit = rule.unit or "number"
    if unit not in _QUERY_UNITS:
        read.complaints.append(
            Complaint(
                (*path, "unit"), f"rules.{name}.unit: a query yields number, percent or seconds", "use one of these"
            )
        )
        return
    read.unit = _QUERY_UNITS[unit]
    if rule.query.control == rule.query.canary:
        read.complaints.append(
            Complaint(
                (*path, "query"), f"rules.{name}: both cohorts have the same query", "select each cohort's series"
            )
        )
        return
    if rule.cohorts is not None:
        read.complaints.append(
            Complaint((*path, "cohorts"), f"rules.{name}: a query names its cohorts itself", "remove cohorts here")
        )
    unmatched = "; `match` is not added to it" if match else ""
    read.complaints.append(
        Complaint(
            (*path, "query"),
            f"rules.{name} is a free query: it is judged by the bare comparison, whatever `decide` says, and "
            f"min_requests cannot be checked{unmatched}",
            "give counters (events, trials) or a histogram, if there are any",
            warning=True,
        )
    )
    read.signal = QuerySignal(canary=rule.query.canary, control=rule.query.control)


def _count_users(name: str, label: str, read: ReadSignal) -> None:
    """Count users by ``label``; then a user's first requests alone are not counted besides."""
    if read.signal is None:
        return
    if not isinstance(read.signal, RatioSignal):
        what = f"rules.{name} is no rate: users who met an event cannot be counted"
        read.complaints.append(Complaint(("rules", name, "per"), what, "remove per"))
        return
    read.signal, read.per_user = replace(read.signal, per=label), None


def _matching(signal: Signal, match: tuple[Matcher, ...]) -> Signal:
    def narrowed(selector: Selector) -> Selector:
        return Selector(selector.metric, (*match, *selector.matchers))

    if isinstance(signal, RatioSignal):
        return RatioSignal(tuple(map(narrowed, signal.events)), tuple(map(narrowed, signal.trials)), signal.per)
    if isinstance(signal, QuantileSignal):
        return replace(signal, buckets=narrowed(signal.buckets))
    return signal


def _preset_key(found: Available) -> str:
    return f"preset: {found.name}, " if found.name else ""
