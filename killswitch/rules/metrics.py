"""What `metrics:` stands for: a preset, metrics of the user's own, or a preset with changes."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from killswitch.model import Selector
from killswitch.rules.document import Path
from killswitch.rules.presets import MILLISECONDS, PRESETS, Measure, Metrics, Preset, with_metric
from killswitch.rules.schema import MetricsSpec
from killswitch.rules.units import shown
from killswitch.rules.values import PartialSelector


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
        metrics = replace(metrics, requests=whole(spec.requests, None, ("metrics", "requests"), complaints), twin=None)
    metrics = _with_events(metrics, spec, complaints)
    if spec.latency is not None:
        unit = bucket_unit(spec.latency, spec.latency_unit, ("metrics", "latency"), "latency_unit", complaints)
        buckets = buckets_of(spec.latency, ("metrics", "latency"), complaints)
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
        events[measure] = whole(partials, metrics.requests, ("metrics", measure), complaints) or ()
        narrowed = metrics.twin is not None and all(metric is None for metric, _ in partials)
        judged[measure] = (whole(partials, metrics.twin.requests, (), []) if metrics.twin and narrowed else None) or ()
    twin = replace(metrics.twin, events=judged) if metrics.twin else None
    return replace(metrics, events=events, twin=twin)


# --- selectors ----------------------------------------------------------------------------------


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
        if metric is None:
            selectors += [Selector(known.metric, (*known.matchers, *matchers)) for known in base or ()]
        else:
            selectors.append(Selector(metric, matchers))
    return tuple(selectors)


def buckets_of(partial: PartialSelector, path: Path, complaints: list[Complaint]) -> Selector | None:
    metric, matchers = partial
    if metric is None or metric.endswith(("_count", "_sum", "_total")):
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
            Complaint((*path[:-1], key), f"{where}: a histogram is in seconds or milliseconds", "use one of them")
        )
        return None
    return 1.0 if stated == "seconds" else MILLISECONDS
