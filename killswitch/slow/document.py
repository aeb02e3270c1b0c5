"""A finding as a JSON document. Values are in the column's unit, times in Unix seconds, days as dates."""

from __future__ import annotations

from typing import Any

from killswitch.documents import finite
from killswitch.slow.counts import DayCounts, Moments
from killswitch.slow.days import date_of
from killswitch.slow.findings import Judgement, SlowFinding
from killswitch.slow.picture import shown_days
from killswitch.timestamps import to_iso


def to_document(finding: SlowFinding, days: int, statement: str | None = None) -> dict[str, Any]:
    """The finding, with its newest ``days``; ``statement`` only where it is asked for."""
    return {
        "signal": finding.signal,
        "verdict": finding.verdict.value,
        "reason": None if finding.reason is None else finding.reason.value,
        "sentence": finding.sentence,
        "decide": finding.decide,
        "evaluated_at": to_iso(finding.evaluated_at),
        "by_evidence": _judgement(finding.by_evidence),
        "literal_rule": _judgement(finding.literal),
        "answers": None if finding.answers is None else _judgement(finding.answers),
        "limit": finding.limit,
        "worse_is": "lower" if finding.lower_is_worse else "higher",
        "canary": finite(finding.canary),
        "control": finite(finding.control),
        "canary_users": finding.canary_users,
        "control_users": finding.control_users,
        "worse_by": finite(finding.worse),
        "interval": None if finding.low is None else [finite(finding.low), finite(finding.high)],
        "evidence": finite(finding.evidence),
        "needed": finite(finding.needed),
        "drop_to_see": finite(finding.drop_to_see),
        "days_to_see": finding.days_to_see,
        "literal_false_pins_a_week": finite(finding.literal_false_pins),
        "literal_percent_needed": finding.literal_percent,
        "first_day": _day(finding.first_day),
        "last_day": _day(finding.last_day),
        "newest_row": None if finding.newest_day is None else _day(finding.newest_day),
        "split": [
            {"share": one.share, "canary_users": one.canary, "control_users": one.control} for one in finding.split
        ],
        "left_out": dict(finding.left_out),
        "days": [_counts(one) for one in shown_days(finding, days)] if finding.first_day else [],
        **({} if statement is None else {"statement": statement}),
    }


def _judgement(judgement: Judgement) -> dict[str, Any]:
    return {
        "verdict": judgement.verdict.value,
        "reason": None if judgement.reason is None else judgement.reason.value,
        "sentence": judgement.sentence,
    }


def _counts(one: DayCounts) -> dict[str, Any]:
    return {"day": _day(one.day), "control": _moments(one.control), "canary": _moments(one.canary)}


def _moments(moments: Moments) -> dict[str, Any]:
    return {
        "users": moments.users,
        "mean": finite(moments.mean) if moments.users else None,
        "variance": finite(moments.variance) if moments.users > 1 else None,
    }


def _day(day: int) -> str | None:
    return date_of(day).isoformat() if day else None
