"""The keys of the section `plan`, and the kinds of value that only a plan holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from killswitch.cron_windows import CronWindows, zone
from killswitch.flags.flag import HOLD_BACK_PERCENT, STAGES
from killswitch.plan import Advance, WorseBy
from killswitch.rules import patterns
from killswitch.rules.strict import Strict
from killswitch.rules.units import Kind, parse_as, parse_quantity, parse_rate, shown
from killswitch.rules.values import Switch, Wrong, duration_between, one_of, text_of, words_schema

DEFAULT_PLAN = "default"
MAX_STAGES = 20
MAX_WINDOWS = 20
MAX_APPROVERS = 20
LONGEST_STAGE = 90 * 86_400
_STAGE = r"[a-z0-9][a-z0-9_-]{0,31}"
_APPROVER = r"@?[A-Za-z0-9][A-Za-z0-9._/-]{0,62}"
_RULE = r"[a-z][a-z0-9_]{0,62}"
_MOST_PERCENT = 100.0 - HOLD_BACK_PERCENT


def plan_by_name(value: object) -> object:
    """`plan: default` is a plan without keys."""
    if isinstance(value, Mapping):
        return value
    if value != DEFAULT_PLAN:
        raise Wrong(f"{shown(value)} is not a plan", f"write `{DEFAULT_PLAN}`, or a mapping with `stages`")
    return {}


def _stage(value: object) -> str:
    name = text_of(value)
    if not re.fullmatch(_STAGE, name, re.ASCII):
        raise Wrong(
            f"{shown(name)} is not the name of a stage", f"use {', '.join(STAGES)}, aa, or 1 to 32 of a-z 0-9 _ -"
        )
    return name


def _percent(value: object) -> float:
    percent = round(parse_as(Kind.PERCENT, value).value * 100.0, 9)
    if not 0.0 < percent <= _MOST_PERCENT:
        raise Wrong(
            f"{shown(value)} is out of range",
            f"use more than 0% and at most {_MOST_PERCENT:g}%, so that control keeps users to compare with",
        )
    return percent


def _regressions(value: object) -> Mapping[str, WorseBy]:
    if not isinstance(value, dict):
        raise Wrong("must be a mapping of rules", "write it like `{error_rate: 2x, refusal_rate: 3pp}`")
    return {str(name): _regression(str(name), size) for name, size in value.items()}


def _regression(rule: str, value: object) -> WorseBy:
    quantity = parse_quantity(value)
    if quantity.kind is Kind.RATIO and 1.0 < quantity.value <= 1000.0:
        return WorseBy("ratio", quantity.value)
    if quantity.kind is Kind.POINTS and 0.0 < quantity.value < 1.0:
        return WorseBy("points", quantity.value)
    raise Wrong(
        f"{rule}: {shown(value)} is not a regression",
        "write how much worse than control, such as 2x (more than 1x) or 3pp (more than 0pp)",
    )


def _approvers(value: object) -> tuple[str, ...]:
    names = [text_of(name) for name in (value if isinstance(value, list) else [value])]
    if not 1 <= len(names) <= MAX_APPROVERS:
        raise Wrong(f"{len(names)} names", f"name 1 to {MAX_APPROVERS}, or remove the key")
    for place, name in enumerate(names):
        if not re.fullmatch(_APPROVER, name, re.ASCII):
            raise Wrong(f"{shown(name)} is not a name", 'write a person or a group in quotes, such as "@llm-leads"')
        if name in names[:place]:
            raise Wrong(f"{name} is there twice", "name each once")
    return tuple(names)


def _windows(value: object) -> tuple[str, ...]:
    texts = [text_of(text) for text in (value if isinstance(value, list) else [value])]
    if len(texts) > MAX_WINDOWS:
        raise Wrong(f"{len(texts)} expressions", f"write at most {MAX_WINDOWS}")
    for text in texts:
        try:
            CronWindows([text])
        except ValueError as error:
            raise Wrong(
                f"{shown(text)}: {error}", 'write the minutes as cron does, such as "* 18-23 * * fri"; a range goes up'
            ) from None
    return tuple(texts)


def _zone(value: object) -> str:
    name = text_of(value)
    try:
        zone(name)
    except ValueError:
        raise Wrong(f"{shown(name)} is not a time zone", "write its IANA name, such as Europe/Berlin or UTC") from None
    return name


def _day(value: object) -> float:
    text = text_of(value)
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise Wrong(f"{shown(text)} is not a day", "write it like 2027-03-31") from None
    return datetime(found.year, found.month, found.day, tzinfo=UTC).timestamp()


Stage = Annotated[str, PlainValidator(_stage), WithJsonSchema({"type": "string", "pattern": f"^{_STAGE}$"})]
StagePercent = Annotated[
    float | None,
    PlainValidator(_percent),
    WithJsonSchema({"type": "string", "pattern": patterns.whole(rf"{patterns.at_most(99)} ?%", zero=False)}),
]
StageSeconds = Annotated[
    float,
    PlainValidator(duration_between(1.0, LONGEST_STAGE)),
    WithJsonSchema(
        {"type": "string", "pattern": patterns.duration(longest=LONGEST_STAGE, zero=False, from_a_second=True)}
    ),
]
Regressions = Annotated[
    Mapping[str, WorseBy],
    PlainValidator(_regressions),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": f"^{_RULE}$"},
            "additionalProperties": {
                "anyOf": [
                    {"type": "number", "exclusiveMinimum": 1, "maximum": 1000},
                    {"type": "string", "pattern": patterns.RATIO},
                    {"type": "string", "pattern": patterns.POINTS},
                ]
            },
        }
    ),
]
_NAME_SCHEMA = {"type": "string", "pattern": f"^{_APPROVER}$"}
Approvers = Annotated[
    tuple[str, ...],
    PlainValidator(_approvers),
    WithJsonSchema(
        {
            "anyOf": [
                _NAME_SCHEMA,
                {"type": "array", "items": _NAME_SCHEMA, "minItems": 1, "maxItems": MAX_APPROVERS, "uniqueItems": True},
            ]
        }
    ),
]
_CRON_SCHEMA = {"type": "string", "pattern": r"^\s*\S+(\s+\S+){4}\s*$"}
Windows = Annotated[
    tuple[str, ...],
    PlainValidator(_windows),
    WithJsonSchema({"anyOf": [_CRON_SCHEMA, {"type": "array", "items": _CRON_SCHEMA, "maxItems": MAX_WINDOWS}]}),
]
TimeZone = Annotated[
    str, PlainValidator(_zone), WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z][A-Za-z0-9_+/-]*$"})
]
RequestRate = Annotated[
    float | None, PlainValidator(parse_rate), WithJsonSchema({"type": "string", "pattern": patterns.RATE})
]
Day = Annotated[
    float | None, PlainValidator(_day), WithJsonSchema({"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"})
]
Advancing = Annotated[Advance, PlainValidator(lambda value: Advance(one_of(*Advance)(value))), words_schema(*Advance)]


class PlanStageSpec(Strict):
    """One stage, left once every check of its gate passes; docs/ramp.md lists the checks."""

    stage: Stage = Field(
        description="shadow, aa, ramp_1, ramp_5, ramp_25, full, or a name of your own", examples=["ramp_5"]
    )
    percent: StagePercent = Field(
        None,
        description="share of users in the canary; required for aa and names of your own, the others have theirs",
        examples=["5%"],
    )
    for_: StageSeconds = Field(
        alias="for", description="how long it must be judged; time without a verdict does not count", examples=["24h"]
    )
    detects: Regressions = Field(
        {},
        description="by rule, the regression that this stage must be able to see: times control's, or points more",
        examples=[{"error_rate": "2x", "refusal_rate": "3pp"}],
    )
    approve: Approvers = Field(
        (), description="who must approve before the rollout leaves this stage", examples=[["@llm-leads"]]
    )


class PlanSpec(Strict):
    """How the rollout goes up, stage by stage, and who takes each step. What a gate checks: docs/ramp.md."""

    advance: Advancing = Field(
        Advance.PROPOSED.value,
        validate_default=True,
        description="who takes the next step: `by_hand`, `proposed` (a page says that it is ready), or `automatic`",
    )
    stages: tuple[PlanStageSpec, ...] | None = Field(
        None,
        description="the stages in order; default: shadow 2d, ramp_1, ramp_5 and ramp_25 24h each, full 7d",
        examples=[[{"stage": "ramp_1", "for": "24h"}, {"stage": "full", "for": "7d"}]],
    )
    weekly: Switch = Field(
        False, description="of the default stages, ramp_1 takes 7d, because traffic differs by the day of the week"
    )
    not_during: Windows = Field(
        (),
        description="cron expressions; no step up begins in a minute that one of them names",
        examples=[["* 18-23 * * fri", "* * * * sat,sun"]],
    )
    time_zone: TimeZone = Field(
        "UTC", description="the time zone of `not_during`, by its IANA name", examples=["Europe/Berlin"]
    )
    rate: RequestRate = Field(
        None,
        description="requests of both cohorts, by which `check` says whether `for` is long enough",
        examples=["50/s"],
    )
    control_capacity: RequestRate = Field(
        None, description="what control's model can take if it gets all traffic at once", examples=["80/s"]
    )
    control_retires: Day = Field(
        None,
        description="the day (UTC) from which control's model is no longer served, in quotes",
        examples=["2027-03-31"],
    )
