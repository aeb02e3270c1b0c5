"""The kinds of value a rule file holds: one reader each, with the JSON Schema an editor checks it by.

A reader takes a value of the YAML document and returns it parsed, or raises with *what* is wrong and a *fix*.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import PlainValidator, WithJsonSchema

from killswitch.errors import BadDocument
from killswitch.flags.flag import check_rollout_name
from killswitch.model import Decide, Matcher, Mode
from killswitch.rules import patterns
from killswitch.rules.presets import PRESETS
from killswitch.rules.selectors import (
    LABEL_PATTERN,
    METRIC_PATTERN,
    matchers_from_mapping,
    parse_matchers,
    parse_selector,
)
from killswitch.rules.units import (
    Kind,
    Quantity,
    format_duration,
    parse_as,
    parse_budget,
    parse_duration,
    parse_money,
    parse_quantity,
    shown,
)
from killswitch.timestamps import DAY

CriterionValue = bool | int | float | str
MAX_CRITERIA = 30
_CRITERION = r"[a-z][a-z0-9_]{0,39}"
_LONGEST_LIMIT = 40  # characters
LONGEST_KEPT = 366 * 86_400  # seconds that texts of shadowed requests may be kept
CHANNEL_PATTERN = r"#[^\s#@<>,]{1,80}|[CGD][A-Z0-9]{2,20}"
KEY_NAME_PATTERN = r"^(?![A-Za-z0-9]{32}$)[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
PROJECT_PATTERN = r"project:[A-Za-z0-9][A-Za-z0-9._@-]{0,62}"
MENTION_PATTERN = r"<(@[^<>|\s]+|!subteam\^[^<>|\s]+(\|[^<>|]+)?|!here|!channel|!everyone)>"


class Wrong(ValueError):
    """A value is refused. ``what`` is wrong, ``fix`` says what to write."""

    def __init__(self, what: str, fix: str) -> None:
        self.what = what
        self.fix = fix
        super().__init__(f"{what}; fix: {fix}")


# --- one reader a kind of value -----------------------------------------------------------------


def _name(value: object) -> str:
    text = text_of(value)
    try:
        return check_rollout_name(text)
    except BadDocument:
        raise Wrong(
            f"{shown(text)} is not a valid rollout name",
            "use 1 to 63 of a-z 0-9 . _ - and begin and end with a letter or digit",
        ) from None


def text_of(value: object, longest: int = 200) -> str:
    if not isinstance(value, str):
        said = "a list or mapping" if isinstance(value, list | dict) else json.dumps(value)
        raise Wrong(f"{said} is not a text", "put it in quotes")
    if not value.strip() or not value.isprintable() or len(value) > longest:
        raise Wrong(f"{shown(value)} is not allowed", f"use 1 to {longest} printable characters on one line")
    return value


def _query(value: object) -> str:
    text = text_of(value.strip() if isinstance(value, str) else value, 4000)
    opened = re.sub(r'"(?:[^"\\]|\\.)*"' + r"|'(?:[^'\\]|\\.)*'|`[^`]*`", "", text)
    if any(opened.count(left) != opened.count(right) for left, right in ("()", "[]", "{}")) or set(opened) & set(
        "\"'`#"
    ):
        raise Wrong(f"{shown(text)} is not complete PromQL", "close its brackets and quotes, and leave comments out")
    return text


def duration_between(shortest: float, longest: float) -> Callable[[object], float]:
    def read(value: object) -> float:
        seconds = parse_duration(value)
        if not shortest <= seconds <= longest:
            raise Wrong(
                f"{shown(value)} is out of range",
                f"use {format_duration(shortest) if shortest else 'zero'} to {format_duration(longest)}",
            )
        return seconds

    return read


def integer_between(least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Wrong(f"{shown(value)} is not a whole number", f"write a number from {least} to {most:,}")
        if not least <= value <= most:
            raise Wrong(f"{value} is out of range", f"write a number from {least} to {most:,}")
        return value

    return read


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise Wrong(f"{shown(value)} is neither true nor false", "write true or false")
    return value


def one_of(*words: str) -> Callable[[object], Any]:
    def read(value: object) -> Any:
        if value not in words or not isinstance(value, str):
            close = difflib.get_close_matches(str(value).lower(), words, 1, 0.5)
            fix = f"did you mean {close[0]}? It is one of {', '.join(words)}" if close else f"use {' or '.join(words)}"
            raise Wrong(f"{shown(value)} is not known", fix)
        return value

    return read


def _budget(value: object) -> float:
    share = parse_budget(value)
    if not 0.0 < share <= 0.5:
        raise Wrong(f"{shown(value)} is out of range", "use more than 0% and at most 50% per day")
    return share


def _when_blind(value: object) -> float | None:
    if value == "hold":
        return None
    if isinstance(value, dict) and list(value) == ["trip_after"]:
        return duration_between(1.0, DAY)(value["trip_after"])
    raise Wrong(
        "neither hold nor {trip_after: …}",
        "write `hold`, or `{trip_after: 10m}` to trip after 10 minutes without usable metrics",
    )


def _quantile(value: object) -> float:
    quantity = parse_quantity(value)
    if quantity.kind not in (Kind.RATIO, Kind.PERCENT) or not 0.0 < quantity.value < 1.0:
        raise Wrong(f"{shown(value)} is not a quantile", "write a number between 0 and 1, such as 0.95")
    return quantity.value


def _url(value: object) -> str:
    text = text_of(value, 2000)
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc or re.search(r"[\s<>|\"`]", text):
        raise Wrong(f"{shown(text)} is not a link", "write a link such as https://wiki.example.org/runbook")
    return text


def _mention(value: object) -> str:
    text = text_of(value)
    if not re.fullmatch(rf"{MENTION_PATTERN}(\s+{MENTION_PATTERN})*", text):
        raise Wrong(
            f"{shown(text)} mentions no one",
            "write Slack's own form: '<!here>', '<@U012AB3CD>' (a user) or '<!subteam^S012AB3CD>' (a group)",
        )
    return text


def _channel(value: object) -> str:
    text = text_of(value, 100)
    if not re.fullmatch(CHANNEL_PATTERN, text):
        raise Wrong(f"{shown(text)} is not a Slack channel", 'write "#channel" (in quotes) or its id, as in C012AB3CD')
    return text


def _key_name(value: object) -> str:
    text = text_of(value, 100)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", text) or re.fullmatch(r"[A-Za-z0-9]{32}", text):
        raise Wrong(
            "not the name of a PagerDuty key",
            "write a name such as `search`; the key itself belongs in the file of KILLSWITCH_PAGERDUTY_TEAM_KEYS_FILE",
        )
    return text


PartialSelector = tuple[str | None, tuple[Matcher, ...]]


def _selectors(value: object) -> tuple[PartialSelector, ...]:
    texts = value if isinstance(value, list) else [value]
    if not 1 <= len(texts) <= 20:
        raise Wrong(f"{len(texts)} selectors", "name 1 to 20")
    return tuple(parse_selector(text_of(text, 4000)) for text in texts)


def _selector(value: object) -> PartialSelector:
    return parse_selector(text_of(value, 4000))


def _matchers(value: object) -> tuple[Matcher, ...]:
    if isinstance(value, dict):
        return matchers_from_mapping(value)
    return parse_matchers(text_of(value, 8000))


def _criteria(value: object) -> Mapping[str, CriterionValue]:
    """The form alone: `killswitch check` knows the criteria and their units."""
    if not isinstance(value, dict):
        raise Wrong("must be a mapping of criteria", "write its keys indented under it, for example `errors: 1pp`")
    if len(value) > MAX_CRITERIA:
        raise Wrong(f"{len(value)} criteria", f"name at most {MAX_CRITERIA}")
    for name, limit in value.items():
        if not re.fullmatch(_CRITERION, str(name), re.ASCII):
            raise Wrong(f"{shown(name)} is not the name of a criterion", "use a-z, digits and _")
        if not isinstance(limit, bool | int | float | str) or len(str(limit)) > _LONGEST_LIMIT:
            raise Wrong(f"{shown(str(name))} has no limit", "write a limit with its unit, or true or false")
    return value


def _cap_scope(value: object) -> str:
    text = text_of(value)
    if text in ("rollout", "shadow", "judge") or re.fullmatch(PROJECT_PATTERN, text, re.ASCII):
        return text
    if text.lower() == "control":
        raise Wrong("control can never be capped", "remove this cap; a cap of `rollout` is the canary's")
    close = difflib.get_close_matches(text.lower(), ("rollout", "shadow", "judge"), 1, 0.6)
    known = "rollout (the canary), shadow, judge, or project:NAME"
    raise Wrong(f"{shown(text)} is not a scope", f"did you mean {close[0]}? It is {known}" if close else f"use {known}")


def _pattern(pattern: str, what: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        text = text_of(value)
        if not re.fullmatch(pattern, text, re.ASCII):
            raise Wrong(f"{shown(text)} is not {what}", f"write a text that matches {pattern}")
        return text

    return read


# --- the kinds of value, with their JSON Schema -------------------------------------------------

DURATION_SCHEMA = {"type": "string", "pattern": patterns.duration()}
_FROM_A_SECOND = {"type": "string", "pattern": patterns.duration(zero=False, from_a_second=True)}
_MATCHERS_SCHEMA = {
    "anyOf": [
        {
            "type": "object",
            "propertyNames": {"pattern": f"^{LABEL_PATTERN}$"},
            "additionalProperties": {
                "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]
            },
        },
        {"type": "string", "description": 'matchers as in PromQL: service=~"a|b", env!="dev"'},
    ]
}
_SELECTOR_SCHEMA = {"type": "string", "minLength": 1, "maxLength": 4000}
_SELECTORS_SCHEMA = {
    "anyOf": [_SELECTOR_SCHEMA, {"type": "array", "items": _SELECTOR_SCHEMA, "minItems": 1, "maxItems": 20}]
}
# the form alone: `editor_schema` says which unit belongs to which rule
_LIMIT_SCHEMA = {"type": ["string", "number"], "minimum": 0}


_LINK = r"^[hH][tT][tT][pP][sS]?://[^\s<>|\"`/?#][^\s<>|\"`]*$"


def words_schema(*words: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "enum": list(words)})


Text = Annotated[str, PlainValidator(text_of), WithJsonSchema({"type": "string", "pattern": r"\S", "maxLength": 200})]
Limit = Annotated[Quantity | None, PlainValidator(parse_quantity), WithJsonSchema(_LIMIT_SCHEMA)]
Ratio = Annotated[
    Quantity | None,
    PlainValidator(lambda value: parse_as(Kind.RATIO, value)),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 1, "maximum": 1000},
                {"type": "string", "pattern": patterns.RATIO},
            ]
        }
    ),
]
Switch = Annotated[bool, PlainValidator(_switch), WithJsonSchema({"type": "boolean"})]
Ticks = Annotated[
    int | None,
    PlainValidator(integer_between(1, 100)),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 100}),
]
Duration = Annotated[float | None, PlainValidator(duration_between(0.0, DAY)), WithJsonSchema(DURATION_SCHEMA)]
Window = Annotated[float, PlainValidator(duration_between(1.0, DAY)), WithJsonSchema(_FROM_A_SECOND)]
KeepFor = Annotated[
    float,
    PlainValidator(duration_between(1.0, LONGEST_KEPT)),
    WithJsonSchema(
        {"type": "string", "pattern": patterns.duration(longest=LONGEST_KEPT, zero=False, from_a_second=True)}
    ),
]
Selectors = Annotated[tuple[PartialSelector, ...] | None, PlainValidator(_selectors), WithJsonSchema(_SELECTORS_SCHEMA)]
OneSelector = Annotated[PartialSelector | None, PlainValidator(_selector), WithJsonSchema(_SELECTOR_SCHEMA)]
Matchers = Annotated[tuple[Matcher, ...], PlainValidator(_matchers), WithJsonSchema(_MATCHERS_SCHEMA)]
Query = Annotated[str, PlainValidator(_query), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 4000})]
Link = Annotated[
    str | None,
    PlainValidator(_url),
    WithJsonSchema(
        {"type": "string", "pattern": r"^[hH][tT][tT][pP][sS]?://[^\s<>|\"`/?#][^\s<>|\"`]*$", "maxLength": 2000}
    ),
]


SignalUnit = Annotated[
    Literal["seconds", "milliseconds", "percent", "number"] | None,
    PlainValidator(one_of("seconds", "milliseconds", "percent", "number")),
    words_schema("seconds", "milliseconds", "percent", "number"),
]
BucketUnit = Annotated[
    Literal["seconds", "milliseconds"] | None,
    PlainValidator(one_of("seconds", "milliseconds")),
    words_schema("seconds", "milliseconds"),
]
Severity = Annotated[
    Literal["critical", "error", "warning", "info"],
    PlainValidator(one_of("critical", "error", "warning", "info")),
    words_schema("critical", "error", "warning", "info"),
]
CriteriaLimits = Annotated[
    Mapping[str, CriterionValue],
    PlainValidator(_criteria),
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": MAX_CRITERIA,
            "propertyNames": {"pattern": f"^{_CRITERION}$"},
            "additionalProperties": {"type": ["boolean", "number", "string"], "maxLength": _LONGEST_LIMIT},
        }
    ),
]
KeptText = Annotated[
    Literal["never", "differences"],
    PlainValidator(one_of("never", "differences")),
    words_schema("never", "differences"),
]
Bursts = Annotated[
    Literal["auto", "short", "long"],
    PlainValidator(one_of("auto", "short", "long")),
    words_schema("auto", "short", "long"),
]
Deciding = Annotated[Decide, PlainValidator(lambda value: Decide(one_of(*Decide)(value))), words_schema(*Decide)]
Running = Annotated[Mode, PlainValidator(lambda value: Mode(one_of(*Mode)(value))), words_schema(*Mode)]
PresetName = Annotated[str | None, PlainValidator(one_of(*PRESETS)), words_schema(*PRESETS)]
RolloutName = Annotated[
    str,
    PlainValidator(_name),
    WithJsonSchema({"type": "string", "pattern": "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"}),
]
MetricName = Annotated[
    str | None,
    PlainValidator(_pattern(METRIC_PATTERN, "a metric name as Prometheus shows it")),
    WithJsonSchema({"type": "string", "pattern": f"^{METRIC_PATTERN}$"}),
]
LABEL_PATTERN = "[a-zA-Z_][a-zA-Z0-9_]*"
LabelName = Annotated[
    str | None,
    PlainValidator(_pattern(LABEL_PATTERN, "a label's name as Prometheus shows it")),
    WithJsonSchema({"type": "string", "pattern": f"^{LABEL_PATTERN}$"}),
]
Quantile = Annotated[
    float | None,
    PlainValidator(_quantile),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                {"type": "string", "pattern": patterns.QUANTILE},
            ]
        }
    ),
]
Requests = Annotated[
    int, PlainValidator(integer_between(1, 10**9)), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 10**9})
]
Budget = Annotated[float, PlainValidator(_budget), WithJsonSchema({"type": "string", "pattern": patterns.BUDGET})]
WhenBlind = Annotated[
    float | None,
    PlainValidator(_when_blind),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": "hold"},
                {
                    "type": "object",
                    "properties": {"trip_after": _FROM_A_SECOND},
                    "required": ["trip_after"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
Channel = Annotated[
    str | None, PlainValidator(_channel), WithJsonSchema({"type": "string", "pattern": f"^(?:{CHANNEL_PATTERN})$"})
]
KeyName = Annotated[
    str | None, PlainValidator(_key_name), WithJsonSchema({"type": "string", "pattern": KEY_NAME_PATTERN})
]
Mention = Annotated[
    str | None,
    PlainValidator(_mention),
    WithJsonSchema({"type": "string", "pattern": rf"^{MENTION_PATTERN}(\s+{MENTION_PATTERN})*$"}),
]
Money = Annotated[
    int | None, PlainValidator(parse_money), WithJsonSchema({"type": "string", "pattern": patterns.MONEY})
]
CapScope = Annotated[
    str,
    PlainValidator(_cap_scope),
    WithJsonSchema({"type": "string", "pattern": f"^(?:rollout|shadow|judge|{PROJECT_PATTERN})$"}),
]
CapPeriod = Annotated[
    Literal["hour", "day", "month"],
    PlainValidator(one_of("hour", "day", "month")),
    words_schema("hour", "day", "month"),
]
OnHard = Annotated[Literal["hold", "trip"], PlainValidator(one_of("hold", "trip")), words_schema("hold", "trip")]
PricesFile = Annotated[
    str | None,
    PlainValidator(lambda value: text_of(value, 500)),
    WithJsonSchema({"type": "string", "pattern": r"\S", "maxLength": 500}),
]
