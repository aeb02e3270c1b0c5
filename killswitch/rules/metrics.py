"""The metrics that `metrics:` names: a preset, the user's own, or a preset with changes."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from killswitch.model import Selector
from killswitch.rules.document import Path
from killswitch.rules.presets import MILLISECONDS, PRESETS, Measure, Metrics, Preset, with_metric
from killswitch.rules.schema import MetricsSpec
from killswitch.rules.units import shown
from killswitch.rules.values import PartialSelector


@dataclass(frozen=True, slots=True)
class Complaint:
    """A problem (or a warning) at a path of the file."""

    path: Path
    what: str
    fix: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Available:
    """The metrics that a file's rules can use. ``name``: the preset's, "" for the user's own metrics.

    ``own``: the measures that the file names itself, so the preset's traps do not apply to them.
    """

    name: str
    metrics: Metrics
    tells_apart: str | None
    preset: Preset | None = None
    own: frozenset[str] = frozenset()


def available(spec: MetricsSpec) -> tuple[Available, list[Complaint]]:
    """The metrics that `metrics:` names, and what is wrong with it."""
    complaints: list[Complaint] = []
    preset = PRESETS[spec.preset] if spec.preset is not None else None
    if spec.metric is not None:
        if preset is None or preset.metric is None:
            usable = ", ".join(name for name, known in PRESETS.items() if known.metric is not None)
            complaints.append(
                Complaint(("metrics", "metric"), f"metrics.metric can only be used with {usable}", "remove it")
            )
        else:
            preset = with_metric(preset, re.sub(r"_(bucket|count|sum)\Z", "", spec.metric))
    metrics = preset.metrics if preset is not None else Metrics()
    if spec.requests is not None:
        metrics = replace(
            metrics, requests=whole(spec.requests, None, ("metrics", "requests"), complaints), per_user=None
        )
    metrics = _with_events(metrics, spec, complaints)
    if spec.latency is not None:
        unit = bucket_unit(spec.latency, spec.latency_unit, ("metrics", "latency"), "latency_unit", complaints)
        buckets = buckets_of(spec.latency, ("metrics", "latency"), complaints)
        per_user = replace(metrics.per_user, latency=None) if metrics.per_user else None
        metrics = replace(metrics, latency=buckets, latency_unit=unit or 1.0, per_user=per_user)
    elif spec.latency_unit is not None:
        complaints.append(
            Complaint(
                ("metrics", "latency_unit"), "metrics.latency_unit without metrics.latency", "also name the histogram"
            )
        )
    stated = {name for name in ("errors", "refusals", "thumbs_down", "latency") if getattr(spec, name) is not None}
    name = preset.name if preset is not None else ""
    return Available(name, metrics, preset.tells_apart if preset else None, preset, frozenset(stated)), complaints


def _with_events(metrics: Metrics, spec: MetricsSpec, complaints: list[Complaint]) -> Metrics:
    """The preset's counters replaced by the user's own. Per-user counters stay if they can be narrowed alike."""
    stated: dict[Measure, tuple[PartialSelector, ...] | None] = {
        "errors": spec.errors,
        "refusals": spec.refusals,
        "thumbs_down": spec.thumbs_down,
    }
    events, judged = dict(metrics.events), dict(metrics.per_user.events) if metrics.per_user else {}
    for measure, partials in stated.items():
        if partials is None:
            continue
        events[measure] = whole(partials, metrics.requests, ("metrics", measure), complaints) or ()
        narrowed = metrics.per_user is not None and all(metric is None for metric, _ in partials)
        judged[measure] = (
            whole(partials, metrics.per_user.requests, (), []) if metrics.per_user and narrowed else None
        ) or ()
    per_user = replace(metrics.per_user, events=judged) if metrics.per_user else None
    return replace(metrics, events=events, per_user=per_user)


# --- selectors ----------------------------------------------------------------------------------


NO_COUNTERS: Final = ("_gcount", "_gsum")
"""Ends of names, in OpenMetrics, of what a histogram of gauge type holds now."""


def whole(
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
        if metric is not None and metric.endswith(NO_COUNTERS):
            text = f"{where}: {shown(metric)} is a gauge of OpenMetrics, and counts nothing"
            complaints.append(Complaint(path, text, "name a counter, such as its …_total or …_count"))
            return None
        if metric is None:
            selectors += [Selector(known.metric, (*known.matchers, *matchers)) for known in base or ()]
        else:
            selectors.append(Selector(metric, matchers))
    return tuple(selectors)


def buckets_of(partial: PartialSelector, path: Path, complaints: list[Complaint]) -> Selector | None:
    metric, matchers = partial
    if metric is None or metric.endswith(("_count", "_sum", "_total", *NO_COUNTERS)):
        where = ".".join(map(str, path))
        complaints.append(
            Complaint(path, f"{where}: no histogram is named", "write its name, with or without _bucket at the end")
        )
        return None
    return Selector(metric if metric.endswith("_bucket") else f"{metric}_bucket", matchers)


def bucket_unit(
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
            Complaint((*path[:-1], key), f"{where}: a histogram is in seconds or milliseconds", "use one of these")
        )
        return None
    return 1.0 if stated == "seconds" else MILLISECONDS
