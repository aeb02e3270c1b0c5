"""The baseline: control's values on its last day, for judging a canary that has no control cohort.

At 100 % there is no control cohort. A stored baseline replaces it: every limit becomes a plain number (control's
stored value, scaled or raised as the rule says), and every message says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from killswitch.documents import Fields, parse_object
from killswitch.errors import BadDocument
from killswitch.model import (
    Buckets,
    Counts,
    Limits,
    Measurement,
    QuerySignal,
    Reading,
    Reason,
    Rollout,
    Rule,
    Scalar,
    Unreadable,
)
from killswitch.timestamps import to_iso

FORMAT = 1
MAX_DOCUMENT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Baseline:
    """Control's value of every rule over ``seconds`` up to ``until`` (Unix seconds), in the rule's own unit."""

    rollout: str
    generation: int
    until: float
    seconds: float
    values: Mapping[str, float]

    @property
    def words(self) -> str:
        """The clause that names the baseline in a sentence."""
        return f"control is the baseline stored at {to_iso(self.until)}, because at 100% there is no control cohort"


def against(rollout: Rollout, baseline: Baseline) -> Rollout:
    """The rollout with every rule's bounds as one number, from the baseline's value of that rule.

    A value over every bound of a rule is over the largest of them. A rule without a value in the baseline (added or
    renamed since) is not changed: `with_stored_control` and `without_control` say that it cannot be judged.
    """
    from killswitch.verdicts.sentences import limit_in_words  # noqa: PLC0415  a person's trip reads no baseline and judges nothing

    rules = tuple(
        rule
        if (value := _stored(rule, baseline)) is None
        else replace(rule, limits=Limits(maximum=limit_in_words(rule, value)[0], even_if_control_is_bad=True))
        for rule in rollout.rules
    )
    return replace(rollout, rules=rules)


def with_stored_control(rule: Rule, reading: Reading, baseline: Baseline) -> Reading:
    """A window's reading with the baseline's value in place of control's."""
    value = _stored(rule, baseline)
    return replace(reading, control=_NOT_STORED if value is None else Scalar(value))


def without_control(rule: Rule, reading: Reading, baseline: Baseline) -> Reading:
    """A step's reading with an empty control: the bounds of `against` need no control."""
    return replace(reading, control=_NOT_STORED if _stored(rule, baseline) is None else _empty(reading.canary))


def _stored(rule: Rule, baseline: Baseline) -> float | None:
    """The baseline's value of this rule, if it has one from 0 to 1e9; for a free query, any number. Otherwise None."""
    value = baseline.values.get(rule.name)
    possible = value is not None and (isinstance(rule.signal, QuerySignal) or 0.0 <= value <= _LARGEST)
    return value if possible else None


_LARGEST = 1e9
_NOT_STORED = Unreadable(
    Reason.NO_DATA,
    "the stored baseline has no value of this rule; go back to a stage with a control cohort, then store another with "
    "`killswitch baseline`",
)


def _empty(like: Measurement) -> Measurement:
    match like:
        case Counts():
            return Counts(0.0, 0.0)
        case Buckets(bounds, counts):
            return Buckets(bounds, tuple(0.0 for _ in counts))
        case _:
            return like


def to_document(baseline: Baseline) -> bytes:
    return json.dumps(
        {
            "format": FORMAT,
            "rollout": baseline.rollout,
            "generation": baseline.generation,
            "until": to_iso(baseline.until),
            "seconds": baseline.seconds,
            "values": dict(baseline.values),
        }
    ).encode()


def from_document(value: bytes, *, rollout: str) -> Baseline:
    """Raises BadDocument."""
    fields = parse_object(value, f"baseline of {rollout}", max_bytes=MAX_DOCUMENT_BYTES)
    if fields.integer("format") != FORMAT or fields.text("rollout") != rollout:
        raise BadDocument(f"{fields.where}: of another format or rollout")
    values = Fields(fields.raw.get("values"), f"{fields.where}, values")
    return Baseline(
        rollout=rollout,
        generation=fields.integer("generation"),
        until=fields.time("until"),
        seconds=fields.number("seconds"),
        values={name: values.number(name) for name in values.raw},
    )
