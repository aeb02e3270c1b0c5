"""Counters of the user's own that have two arms: a label whose values look like control and canary. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from killswitch.model import Selector
from killswitch.preflight.first_rules.families import OF_PRESETS, Apart, Family
from killswitch.rules.selectors import METRIC_PATTERN

ARM_LABELS = (
    *("cohort", "variant", "arm", "track", "lane", "experiment_group", "treatment", "bucket", "group"),
    *("deployment", "release", "version", "color", "slot", "role", "stage", "env"),
)
"""Labels that may say which arm of an experiment a series is of."""
ERROR_LABELS = ("status", "status_code", "code", "outcome", "result", "error_type", "error")
"""Labels that may say how a request ended."""

# control's word and the canary's, both in lower case
_PAIRS = (
    *(("control", "canary"), ("control", "treatment"), ("control", "experiment"), ("control", "candidate")),
    *(("stable", "canary"), ("baseline", "canary"), ("baseline", "candidate"), ("primary", "canary")),
    *(
        ("production", "canary"),
        ("prod", "canary"),
        ("prod", "candidate"),
        ("main", "canary"),
        ("champion", "challenger"),
    ),
    *(("current", "next"), ("old", "new"), ("blue", "green"), ("a", "b"), ("v1", "v2")),
)
_COUNTER = re.compile(rf"{METRIC_PATTERN}(?:_total|_count)", re.ASCII)
_BUCKETS = re.compile(rf"{METRIC_PATTERN}_bucket", re.ASCII)
_DURATION = re.compile(r"duration|latency|time|seconds|_ms\b")
_FAILED = re.compile(r"error|fail|exception")
_ANSWERED_WELL = re.compile(r"(?i)(?:ok|success|succeeded|completed|stop|none|true|[123]\d\d|[123]xx)?")
_MOST_ENDS = 20


def two_arms(values: Iterable[str]) -> tuple[str, str] | None:
    """The values that look like control's and the canary's, in this order."""
    lower = {value.lower(): value for value in sorted(values)}
    return next(((lower[one], lower[other]) for one, other in _PAIRS if one in lower and other in lower), None)


def requests_among(names: AbstractSet[str]) -> list[str]:
    """Counters of requests among the metrics that both arms have, the likeliest first.

    A histogram's own count is looked at only where no counter says that it counts requests.
    """
    found = [
        name
        for name in names
        if _COUNTER.fullmatch(name) and not OF_PRESETS.match(name) and not _FAILED.search(name) and _likely(name) < 2
    ]
    best = min(map(_likely, found), default=0)
    return sorted((name for name in found if _likely(name) == best), key=lambda name: (len(name), name))


def _likely(name: str) -> int:
    if name.endswith("_total"):
        return 0 if re.search(r"request|call|quer|completion|chat|inference|prediction", name) else 2
    return 1 if _DURATION.search(name) else 2


def family_of(requests: str, names: AbstractSet[str], label: str, arms: tuple[str, str] | None) -> Family:
    """The metrics around a counter of requests: failures and latency whose names begin alike, if there are any."""
    metrics = {"requests": requests}
    stem = re.sub(r"(?:_?requests?|_?calls?)?(?:_(?:duration|latency)\w*)?_(?:total|count)\Z", "", requests)
    failures = sorted(
        (name for name in names if _COUNTER.fullmatch(name) and name.endswith("_total") and _FAILED.search(name)),
        key=len,
    )
    if found := next((name for name in failures if name.startswith(stem)), None):
        metrics["errors"] = found
    histograms = sorted((name for name in names if _BUCKETS.fullmatch(name) and _DURATION.search(name)), key=len)
    if found := next((name for name in histograms if name.startswith(stem)), None):
        base = found.removesuffix("_bucket")
        metrics["latency"] = base
        if not base.endswith(("_seconds", "_ms", "_milliseconds")):
            metrics["latency_unit"] = "seconds"
    said = "two arms" if arms is not None else "models"
    return Family(
        f"Your own counter {requests}, with {said} by `{label}`.",
        metrics,
        Selector(requests),
        Apart.STATED,
        (label,),
        arms=arms,
    )


def errors_by_label(growth: Mapping[str, Sequence[str]]) -> str | None:
    """Matchers of failed requests, ``{status=~"5.."}``, by the values of the counter's own labels; None if none shows.

    ``growth``: by label of `ERROR_LABELS`, its values. Of HTTP's statuses only ``5xx`` is a failure of ours.
    """
    for label in ERROR_LABELS:
        values = growth.get(label, ())
        if not values or len(values) > _MOST_ENDS:
            continue
        if any(re.fullmatch(r"[1-5](?:\d\d|xx)", value) for value in values):
            return f'{{{label}=~"5.."}}'
        if label.startswith("error"):
            return f'{{{label}!=""}}'
        good = sorted(value for value in values if value and _ANSWERED_WELL.fullmatch(value))
        if good and all(re.fullmatch(r"\w+", value, re.ASCII) for value in good):
            return f'{{{label}!~"{"|".join(good)}"}}'
    return None
