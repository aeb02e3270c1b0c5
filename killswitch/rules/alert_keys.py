"""The keys of the section `alerts`: which alerts of an Alertmanager act on the rollout, and how."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from killswitch.alert_settings import LABEL, AlertAction, AlertSettings
from killswitch.rules.selectors import LABEL_PATTERN
from killswitch.rules.strict import Strict
from killswitch.rules.units import shown
from killswitch.rules.values import DURATION_SCHEMA, Wrong, duration_between, one_of, text_of, words_schema
from killswitch.timestamps import DAY

MAX_LABELS = 20
MAX_VALUES = 50
LabelValues = Mapping[str, tuple[str, ...]]


def alerts_by_action(value: object) -> object:
    """`alerts: trip` is a mapping with that action alone."""
    return {"action": value} if isinstance(value, str) else value


def _labels(value: object) -> LabelValues:
    if not isinstance(value, dict) or not value:
        raise Wrong("not a mapping of labels", f"write labels with their values, for example `{LABEL}: copilot`")
    if len(value) > MAX_LABELS:
        raise Wrong(f"{len(value)} labels", f"name at most {MAX_LABELS}")
    return {_label(name): _values(name, given) for name, given in value.items()}


def _label(name: object) -> str:
    text = text_of(name, 100)
    if not re.fullmatch(LABEL_PATTERN, text, re.ASCII):
        raise Wrong(f"{shown(text)} is not a label name", "use letters, digits and _, beginning with a letter or _")
    return text


def _values(name: object, given: object) -> tuple[str, ...]:
    texts = given if isinstance(given, list) else [given]
    if not 1 <= len(texts) <= MAX_VALUES:
        raise Wrong(f"label {name}: {len(texts)} values", f"name 1 to {MAX_VALUES}")
    for text in texts:
        if text_of(text, 500).startswith(("=~", "!~", "!=")):
            raise Wrong(f"label {name}: {shown(str(text))} would be taken literally", "list the values one by one")
    return tuple(texts)


_VALUE_SCHEMA = {"type": "string", "pattern": r"\S", "maxLength": 500}
_LABELS_SCHEMA = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": MAX_LABELS,
    "propertyNames": {"pattern": f"^{LABEL_PATTERN}$"},
    "additionalProperties": {
        "anyOf": [_VALUE_SCHEMA, {"type": "array", "items": _VALUE_SCHEMA, "minItems": 1, "maxItems": MAX_VALUES}]
    },
}
Doing = Annotated[
    AlertAction, PlainValidator(lambda value: AlertAction(one_of(*AlertAction)(value))), words_schema(*AlertAction)
]
Labels = Annotated[LabelValues | None, PlainValidator(_labels), WithJsonSchema(_LABELS_SCHEMA)]
LooksBack = Annotated[float, PlainValidator(duration_between(0.0, DAY)), WithJsonSchema(DURATION_SCHEMA)]


class AlertsSpec(Strict):
    """Alerts of an Alertmanager that act on the rollout while it is armed. Without this section none does."""

    action: Doing = Field(
        AlertAction.HOLD.value,
        validate_default=True,
        description="`hold`: no step up until a person resumes it; `trip`: all traffic to control, and a page",
    )
    match: Labels = Field(
        None,
        description="labels that an alert about this rollout has, each with its value or a list of values; "
        f"default: `{LABEL}` with the rollout's name",
        examples=[{"service": "copilot", "severity": "critical"}],
    )
    looks_back: LooksBack = Field(
        "0s",
        validate_default=True,
        description="how far back the alerts' expressions look; an alert that begins sooner than this after the "
        "arming may be about requests before it, so it holds and does not trip",
        examples=["5m"],
    )


def read_alerts(spec: AlertsSpec | None, rollout: str) -> AlertSettings | None:
    """The section as a value; None where the file has none."""
    if spec is None:
        return None
    return AlertSettings(spec.action, {LABEL: (rollout,)} if spec.match is None else spec.match, spec.looks_back)
