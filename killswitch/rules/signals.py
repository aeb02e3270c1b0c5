"""From a rule's name and keys to the signal a source can read: a preset's, or the user's own."""

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
from killswitch.rules.presets import (
    MILLISECONDS,
    PRESETS,
    RATES,
    Measure,
    Metrics,
    Preset,
    measure_of,
    quantile_of,
    standard,
    with_metric,
)
from killswitch.rules.schema import MetricsSpec, RuleSpec, did_you_mean
from killswitch.rules.units import shown
from killswitch.rules.values import PartialSelector

_QUERY_UNITS: Mapping[str, Unit] = {"number": Unit.NUMBER, "percent": Unit.FRACTION, "seconds": Unit.SECONDS}
_STANDARD = (*RATES, "latency_p95", "latency_p50", "latency_p99")


@dataclass(frozen=True, slots=True)
class Complaint:
    """Something wrong (or, as a warning, doubtful) at a path of the file."""

    path: Path
    what: str
    fix: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Available:
    """The metrics a file can be judged by. ``name`` is the preset's, "" for metrics of the user's own;
    ``own``: the measures the file names itself, to which the preset's traps do not apply.
    """

    name: str
    metrics: Metrics
    tells_apart: str | None
    preset: Preset | None = None
    own: frozenset[str] = frozenset()


@dataclass(slots=True)
class ReadSignal:
    """A rule's signal, None when it is refused; ``cohorts`` where they differ from the rollout's."""

    signal: Signal | None = None
    unit: Unit | None = None
    twin: Signal | None = None
    cohorts: CohortMatchers | None = None
    complaints: list[Complaint] = field(default_factory=list)


def available(spec: MetricsSpec) -> tuple[Available, list[Complaint]]:
    """What `metrics:` stands for."""
    complaints: list[Complaint] = []
    preset = PRESETS[spec.preset] if spec.preset is not None else None
    if spec.metric is not None:
        if preset is None or preset.metric is None:
            usable = ", ".join(name for name, known in PRESETS.items() if known.metric is not None)
            complaints.append(Complaint(("metrics", "metric"), f"metrics.metric belongs to {usable} only", "remove it"))
        else:
            preset = with_metric(preset, re.sub(r"_(bucket|count|sum)\Z", "", spec.metric))
    metrics = preset.metrics if preset is not None else Metrics()
    if spec.requests is not None:
        metrics = replace(metrics, requests=_whole(spec.requests, None, ("metrics", "requests"), complaints), twin=None)
    metrics = _with_events(metrics, spec, complaints)
    if spec.latency is not None:
        unit = _bucket_unit(spec.latency, spec.latency_unit, ("metrics", "latency"), "latency_unit", complaints)
        buckets = _buckets(spec.latency, ("metrics", "latency"), complaints)
        twin = replace(metrics.twin, latency=None) if metrics.twin else None
        metrics = replace(metrics, latency=buckets, latency_unit=unit or 1.0, twin=twin)
    elif spec.latency_unit is not None:
        complaints.append(
            Complaint(
                ("metrics", "latency_unit"), "metrics.latency_unit without metrics.latency", "name the histogram, too"
            )
        )
    stated = {name for name in ("errors", "refusals", "thumbs_down", "latency") if getattr(spec, name) is not None}
    name = preset.name if preset is not None else ""
    return Available(name, metrics, preset.tells_apart if preset else None, preset, frozenset(stated)), complaints


def _with_events(metrics: Metrics, spec: MetricsSpec, complaints: list[Complaint]) -> Metrics:
    """The user's own counters in place of the preset's; judged twins remain where they can be narrowed alike."""
    stated: dict[Measure, tuple[PartialSelector, ...] | None] = {
        "errors": spec.errors,
        "refusals": spec.refusals,
        "thumbs_down": spec.thumbs_down,
    }
    events, judged = dict(metrics.events), dict(metrics.twin.events) if metrics.twin else {}
    for measure, partials in stated.items():
        if partials is None:
            continue
        events[measure] = _whole(partials, metrics.requests, ("metrics", measure), complaints) or ()
        narrowed = metrics.twin is not None and all(metric is None for metric, _ in partials)
        judged[measure] = (_whole(partials, metrics.twin.requests, (), []) if metrics.twin and narrowed else None) or ()
    twin = replace(metrics.twin, events=judged) if metrics.twin else None
    return replace(metrics, events=events, twin=twin)


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
        read.complaints.append(
            Complaint(path, f"rules.{name} says {' and '.join(ways)}", "keep one way to get its number")
        )
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
    if read.signal is not None:
        read.signal = _matching(read.signal, match)
        read.twin = _matching(read.twin, match) if read.twin is not None else None
    return read


# the ways to say where a number comes from, and the keys of each
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
        own = "A signal of your own says events and trials, or histogram and quantile, or query"
        read.complaints.append(Complaint(path, f"no signal is called {shown(name)}", f"{fix} {own}"))
        return
    read.unit = Unit.FRACTION if name in RATES else Unit.SECONDS
    if rule.unit is not None:
        read.complaints.append(Complaint((*path, "unit"), f"rules.{name} has its unit already", "remove unit"))
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
    read.twin = found.metrics.twin.signal(name) if found.metrics.twin is not None else None
    preset = found.preset
    if preset is None or measure in found.own or cohorts is None:
        return
    if isinstance(read.signal, QuantileSignal) and preset.latency_label is not None and rule.cohorts is None:
        read.cohorts = _relabelled(cohorts, preset.tells_apart, preset.latency_label)
    if measure == "errors":
        read.complaints.extend(_untruthful(preset, cohorts, match))


def _untruthful(preset: Preset, cohorts: CohortMatchers, match: tuple[Matcher, ...]) -> list[Complaint]:
    """Labels that failed requests do not carry, or carry wrongly: errors would be missed, not counted."""
    telling = {matcher.label for side in cohorts.values() for matcher in side}
    narrowing = {matcher.label for matcher in match}
    wrong = [("cohorts", label) for label in telling if preset.truthful is not None and label not in preset.truthful]
    wrong += [("match", label) for label in narrowing if preset.unsafe and re.fullmatch(preset.unsafe, label)]
    wrong += [("cohorts", label) for label in telling & preset.missing_on_errors]
    wrong += [("match", label) for label in narrowing & preset.missing_on_errors]
    return [
        Complaint(
            (key,),
            f"{key}: failed requests of {preset.name} do not carry {label} truthfully, so their errors would be missed",
            f"use {preset.tells_apart} or labels of the scrape itself (job, instance, …)",
        )
        for key, label in sorted(wrong)
    ]


def _relabelled(cohorts: CohortMatchers, old: str | None, new: str) -> CohortMatchers | None:
    renamed = {
        cohort: tuple(replace(matcher, label=new) if matcher.label == old else matcher for matcher in matchers)
        for cohort, matchers in cohorts.items()
    }
    return renamed if renamed != cohorts else None


def _own_ratio(name: str, rule: RuleSpec, found: Available, read: ReadSignal) -> None:
    path: Path = ("rules", name)
    read.unit = Unit.FRACTION
    if rule.unit is not None:
        read.complaints.append(Complaint((*path, "unit"), f"rules.{name} is a rate: it has no unit", "remove unit"))
    if rule.events is None:
        read.complaints.append(
            Complaint(path, f"rules.{name} says trials and no events", "add events: the counters of what is bad")
        )
        return
    trials = found.metrics.requests
    if rule.trials is not None:
        trials = _whole(rule.trials, None, (*path, "trials"), read.complaints)
    if trials is None:
        if rule.trials is None:
            read.complaints.append(
                Complaint(path, f"rules.{name} says events and no trials", "add trials: the counters of all requests")
            )
        return
    events = _whole(rule.events, trials, (*path, "events"), read.complaints)
    if events is not None:
        read.signal = RatioSignal(events, trials)


def _own_quantile(name: str, rule: RuleSpec, read: ReadSignal) -> None:
    path: Path = ("rules", name)
    read.unit = Unit.SECONDS
    quantile = rule.quantile or quantile_of(name)
    if rule.histogram is None:
        read.complaints.append(
            Complaint(path, f"rules.{name} says quantile and no histogram", "add histogram: its name")
        )
        return
    if quantile is None:
        read.complaints.append(Complaint(path, f"rules.{name} says histogram and no quantile", "add quantile: 0.95"))
    unit = _bucket_unit(rule.histogram, rule.unit, (*path, "histogram"), "unit", read.complaints)
    buckets = _buckets(rule.histogram, (*path, "histogram"), read.complaints)
    if buckets is not None and quantile is not None and unit is not None:
        read.signal = QuantileSignal(buckets, quantile, unit)


def _own_query(name: str, rule: RuleSpec, match: tuple[Matcher, ...], read: ReadSignal) -> None:
    path: Path = ("rules", name)
    assert rule.query is not None
    unit = rule.unit or "number"
    if unit not in _QUERY_UNITS:
        read.complaints.append(
            Complaint(
                (*path, "unit"), f"rules.{name}.unit: a query yields number, percent or seconds", "use one of them"
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


# --- selectors ----------------------------------------------------------------------------------


def _whole(
    partials: tuple[PartialSelector, ...], base: tuple[Selector, ...] | None, path: Path, complaints: list[Complaint]
) -> tuple[Selector, ...] | None:
    """Selectors with metric names: ``{matchers}`` alone narrow each of ``base``."""
    selectors: list[Selector] = []
    for metric, matchers in partials:
        where = ".".join(map(str, path))
        if metric is None and base is None:
            complaints.append(Complaint(path, f"{where} names no metric", "write its name before the braces"))
            return None
        if metric is not None and metric.endswith("_bucket"):
            complaints.append(
                Complaint(
                    path, f"{where}: {shown(metric)} counts each request several times", f"use {metric[:-7]}_count"
                )
            )
            return None
        if metric is None:
            selectors += [Selector(known.metric, (*known.matchers, *matchers)) for known in base or ()]
        else:
            selectors.append(Selector(metric, matchers))
    return tuple(selectors)


def _buckets(partial: PartialSelector, path: Path, complaints: list[Complaint]) -> Selector | None:
    metric, matchers = partial
    if metric is None or metric.endswith(("_count", "_sum", "_total")):
        where = ".".join(map(str, path))
        complaints.append(
            Complaint(path, f"{where}: no histogram is named", "write its name, with or without _bucket at the end")
        )
        return None
    return Selector(metric if metric.endswith("_bucket") else f"{metric}_bucket", matchers)


def _bucket_unit(
    partial: PartialSelector, stated: str | None, path: Path, key: str, complaints: list[Complaint]
) -> float | None:
    base = (partial[0] or "").removesuffix("_bucket")
    if stated is None:
        known = {"_seconds": 1.0, "_ms": MILLISECONDS, "_milliseconds": MILLISECONDS}
        unit = next((unit for suffix, unit in known.items() if base.endswith(suffix)), None)
        if unit is None:
            where = ".".join((*map(str, path[:-1]), key))
            complaints.append(Complaint(path, f"{where} is missing", f"add `{key}: seconds` or `{key}: milliseconds`"))
        return unit
    if stated not in ("seconds", "milliseconds"):
        where = ".".join((*map(str, path[:-1]), key))
        complaints.append(
            Complaint((*path[:-1], key), f"{where}: a histogram is in seconds or milliseconds", "use one of them")
        )
        return None
    return 1.0 if stated == "seconds" else MILLISECONDS


def _matching(signal: Signal, match: tuple[Matcher, ...]) -> Signal:
    def narrowed(selector: Selector) -> Selector:
        return Selector(selector.metric, (*match, *selector.matchers))

    if isinstance(signal, RatioSignal):
        return RatioSignal(tuple(map(narrowed, signal.events)), tuple(map(narrowed, signal.trials)))
    if isinstance(signal, QuantileSignal):
        return replace(signal, buckets=narrowed(signal.buckets))
    return signal


def _preset_key(found: Available) -> str:
    return f"preset: {found.name}, " if found.name else ""
