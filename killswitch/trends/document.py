"""A trend as stored next to its incident: small JSON that outlives the replica which saw the trip."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Final

from killswitch.documents import Fields, parse_object
from killswitch.errors import BadDocument
from killswitch.model import Unit
from killswitch.timestamps import DAY
from killswitch.trends.trend import Moment, RuleTrend, Trend
from killswitch.wording import plain

FORMAT: Final = 1
MAX_DOCUMENT_BYTES: Final = 64 * 1024
_MAX_POINTS: Final = 200
_SERIES: Final = ("canary", "control", "limit", "evidence", "samples_canary", "samples_control")
_OVER: Final = "over"  # JSON has no infinity: a value above a histogram's last bucket


def to_document(trend: Trend, first: Sequence[str] = ()) -> bytes:
    """The trend as JSON of at most `MAX_DOCUMENT_BYTES`. Rules named in ``first`` come first; the last are left out."""
    rules = [one for one in trend.rules if one.rule in first] + [one for one in trend.rules if one.rule not in first]
    times = trend.times[-_MAX_POINTS:]
    head: dict[str, Any] = {
        "format": FORMAT,
        "rollout": trend.rollout,
        "since": round(trend.since, 3),
        "until": round(trend.until, 3),
        "step": trend.step,
        "note": trend.note[:1000],
        "times": [round(at - trend.since, 1) for at in times],
        "rules": [],
    }
    size = len(_json(head))
    for rule in rules:
        document = _rule_to_json(rule, len(times))
        size += len(_json(document)) + 1
        if size > MAX_DOCUMENT_BYTES:
            break
        head["rules"].append(document)
    return _json(head)


def from_document(value: bytes, *, rollout: str) -> Trend:
    """The inverse of `to_document`. Raises BadDocument, naming the field."""
    fields = parse_object(value, f"trend of {rollout}", max_bytes=MAX_DOCUMENT_BYTES)
    if fields.integer("format") != FORMAT:
        raise BadDocument(f"{fields.where}: format {fields.raw['format']}; this version reads {FORMAT}")
    if fields.text("rollout") != rollout:
        raise BadDocument(f"{fields.where}: the document is of {fields.raw['rollout']!r:.80}")
    since, until = fields.number("since"), fields.number("until")
    if not 0.0 <= since < until <= since + 30 * DAY or until > 250_000_000_000:
        raise BadDocument(f"{fields.where}: from {since} to {until} is no time of a trend")
    times = tuple(since + number for number in _numbers(fields, "times") if number is not None)
    if len(times) > _MAX_POINTS or list(times) != sorted(times):
        raise BadDocument(f"{fields.where}: times must be ascending, at most {_MAX_POINTS}")
    rules = tuple(_rule(one, len(times)) for one in fields.objects("rules"))
    note = plain(fields.text("note", empty=True))
    return Trend(rollout, since, until, fields.number("step"), times, rules, note)


def _json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(errors="replace")


def _rule_to_json(rule: RuleTrend, points: int) -> dict[str, Any]:
    moments = rule.moments[len(rule.moments) - points :]
    return {
        "rule": rule.rule,
        "unit": rule.unit.value,
        "needed": _short(rule.needed),
        **{name: [_short(getattr(moment, name)) for moment in moments] for name in _SERIES},
    }


def _short(value: float | None) -> float | str | None:
    """The number with four digits: a picture shows no more."""
    if value is None or math.isnan(value):
        return None
    if math.isinf(value):
        return _OVER
    return float(f"{value:.4g}")


def _rule(fields: Fields, points: int) -> RuleTrend:
    series = [_numbers(fields, name) for name in _SERIES]
    if any(len(one) != points for one in series):
        raise BadDocument(f"{fields.where}: each series needs {points} values")
    try:
        unit = Unit(fields.text("unit"))
    except ValueError as error:
        raise BadDocument(f"{fields.where}: {error}") from error
    moments = tuple(Moment(*values) for values in zip(*series, strict=True))
    return RuleTrend(plain(fields.text("rule")), unit, moments, fields.optional_number("needed"))


def _numbers(fields: Fields, name: str) -> list[float | None]:
    found = fields.raw.get(name)
    if not isinstance(found, list):
        raise BadDocument(f"{fields.where}: {name} must be a list of numbers")
    return [_number(fields, name, value) for value in found]


def _number(fields: Fields, name: str, value: object) -> float | None:
    if value is None:
        return None
    if value == _OVER:
        return math.inf
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e308:
        raise BadDocument(f"{fields.where}: {name} must be a list of numbers, got {value!r:.40}")
    return float(value)
