"""What may stand in a rule file: pydantic models, their error texts, and the JSON Schema for editors.

Every value is read by one function that raises with *what* is wrong and a *fix*; pydantic supplies the
structure (unknown and missing keys, mappings) and the schema. What depends on several keys at once, such
as the unit a limit needs, is checked in ``building``.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError, WithJsonSchema

from killswitch.errors import BadDocument
from killswitch.flag import check_rollout_name
from killswitch.model import Decide, Matcher, Mode
from killswitch.rules.document import Path
from killswitch.rules.presets import DEFAULT_PRESET, PRESETS
from killswitch.rules.selectors import (
    LABEL_PATTERN,
    METRIC_PATTERN,
    SelectorError,
    matchers_from_mapping,
    parse_matchers,
    parse_selector,
)
from killswitch.rules.units import (
    Kind,
    Quantity,
    UnitError,
    format_duration,
    parse_as,
    parse_budget,
    parse_duration,
    parse_quantity,
    shown,
)

# how a rollout is judged when its file does not say
DEFAULT_DECIDE = Decide.THRESHOLD
DEFAULT_RULES: Mapping[str, Mapping[str, str | float]] = {
    "error_rate": {"max": "2%"},
    "latency_p95": {"max_ratio": 1.5},
    "refusal_rate": {"max_increase": "5pp"},
    "thumbs_down_rate": {"max_ratio": 2.0},
}

DAY = 86400.0
NAME_PATTERN = r"[a-z][a-z0-9_]{0,62}"
MAX_RULES = 50
MENTION_PATTERN = r"<(@[^<>|\s]+|!subteam\^[^<>|\s]+(\|[^<>|]+)?|!here|!channel|!everyone)>"


class Wrong(ValueError):  # noqa: N818  # reads as what it says at each raise
    """A value is refused: ``what`` is wrong, and the ``fix``."""

    def __init__(self, what: str, fix: str) -> None:
        self.what = what
        self.fix = fix
        super().__init__(f"{what}; fix: {fix}")


# --- one reader a kind of value -----------------------------------------------------------------


def _name(value: object) -> str:
    text = _text(value)
    try:
        return check_rollout_name(text)
    except BadDocument:
        raise Wrong(
            f"{shown(text)} cannot name a rollout",
            "use 1 to 63 of a-z 0-9 . _ - and begin and end with a letter or digit",
        ) from None


def _text(value: object, longest: int = 200) -> str:
    if not isinstance(value, str):
        said = "a list or mapping" if isinstance(value, list | dict) else shown(json.dumps(value))
        raise Wrong(f"{said} is not a text", "put it in quotes")
    if not value.strip() or not value.isprintable() or len(value) > longest:
        raise Wrong(f"{shown(value)} is refused", f"use 1 to {longest} printable characters on one line")
    return value


def _query(value: object) -> str:
    text = _text(value.strip() if isinstance(value, str) else value, 4000)
    opened = re.sub(r'"(?:[^"\\]|\\.)*"' + r"|'(?:[^'\\]|\\.)*'|`[^`]*`", "", text)
    if any(opened.count(left) != opened.count(right) for left, right in ("()", "[]", "{}")) or set(opened) & set(
        "\"'`#"
    ):
        raise Wrong(f"{shown(text)} is not whole PromQL", "close its brackets and quotes, and leave comments out")
    return text


def _duration(shortest: float, longest: float) -> Callable[[object], float]:
    def read(value: object) -> float:
        seconds = parse_duration(value)
        if not shortest <= seconds <= longest:
            raise Wrong(
                f"{shown(value)} is out of range",
                f"use {format_duration(shortest) if shortest else 'zero'} to {format_duration(longest)}",
            )
        return seconds

    return read


def _integer(least: int, most: int) -> Callable[[object], int]:
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


def _one_of(*words: str) -> Callable[[object], Any]:
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
        return _duration(1.0, DAY)(value["trip_after"])
    raise Wrong("neither hold nor {trip_after: …}", "write `hold`, or `{trip_after: 10m}` to trip when blind so long")


def _quantile(value: object) -> float:
    quantity = parse_quantity(value)
    if quantity.kind not in (Kind.RATIO, Kind.PERCENT) or not 0.0 < quantity.value < 1.0:
        raise Wrong(f"{shown(value)} is not a quantile", "write it as in 0.95, between 0 and 1")
    return quantity.value


def _url(value: object) -> str:
    text = _text(value, 2000)
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc or re.search(r"[\s<>|\"`]", text):
        raise Wrong(f"{shown(text)} is not a link", "write it as in https://wiki.example.org/runbook")
    return text


def _mention(value: object) -> str:
    text = _text(value)
    if not re.fullmatch(rf"{MENTION_PATTERN}(\s+{MENTION_PATTERN})*", text):
        raise Wrong(
            f"{shown(text)} rings nobody's phone",
            "write Slack's own form: '<!here>', '<@U012AB3CD>' (a user) or '<!subteam^S012AB3CD>' (a group)",
        )
    return text


def _channel(value: object) -> str:
    text = _text(value, 100)
    if not re.fullmatch(r"#[^\s#@<>,]{1,80}|[CGD][A-Z0-9]{2,20}", text):
        raise Wrong(f"{shown(text)} is not a Slack channel", 'write "#channel" (in quotes) or its id, as in C012AB3CD')
    return text


PartialSelector = tuple[str | None, tuple[Matcher, ...]]


def _selectors(value: object) -> tuple[PartialSelector, ...]:
    texts = value if isinstance(value, list) else [value]
    if not 1 <= len(texts) <= 20:
        raise Wrong(f"{len(texts)} selectors", "name 1 to 20")
    return tuple(parse_selector(_text(text, 4000)) for text in texts)


def _selector(value: object) -> PartialSelector:
    return parse_selector(_text(value, 4000))


def _matchers(value: object) -> tuple[Matcher, ...]:
    if isinstance(value, dict):
        return matchers_from_mapping(value)
    return parse_matchers(_text(value, 8000))


def _pattern(pattern: str, what: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        text = _text(value)
        if not re.fullmatch(pattern, text, re.ASCII):
            raise Wrong(f"{shown(text)} is not {what}", f"use what matches {pattern}")
        return text

    return read


def _preset_by_name(value: object) -> object:
    return {"preset": value} if isinstance(value, str) else value


# --- the kinds of value, with their JSON Schema -------------------------------------------------

_QUANTITY = r"^[0-9]+(\.[0-9]+)? ?"
_SPANS = rf"{_QUANTITY[:-2]} ?(ms|s|m|h|d)"
DURATION_SCHEMA = {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)? ?(ms|s|m|h|d) ?)+$"}
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
_LIMIT_SCHEMA = {
    "anyOf": [
        {"type": "string", "pattern": _QUANTITY + r"(%|pp|x)?$"},
        DURATION_SCHEMA,
        {"type": "number", "minimum": 0},
    ]
}


def _words_schema(*words: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "enum": list(words)})


Text = Annotated[str, PlainValidator(_text), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 200})]
Limit = Annotated[Quantity | None, PlainValidator(parse_quantity), WithJsonSchema(_LIMIT_SCHEMA)]
Ratio = Annotated[
    Quantity | None,
    PlainValidator(lambda value: parse_as(Kind.RATIO, value)),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "exclusiveMinimum": 1}, {"type": "string", "pattern": _QUANTITY + "x?$"}]}
    ),
]
Switch = Annotated[bool, PlainValidator(_switch), WithJsonSchema({"type": "boolean"})]
Ticks = Annotated[
    int | None, PlainValidator(_integer(1, 100)), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 100})
]
Duration = Annotated[float | None, PlainValidator(_duration(0.0, DAY)), WithJsonSchema(DURATION_SCHEMA)]
Window = Annotated[float, PlainValidator(_duration(1.0, DAY)), WithJsonSchema(DURATION_SCHEMA)]
Selectors = Annotated[tuple[PartialSelector, ...] | None, PlainValidator(_selectors), WithJsonSchema(_SELECTORS_SCHEMA)]
OneSelector = Annotated[PartialSelector | None, PlainValidator(_selector), WithJsonSchema(_SELECTOR_SCHEMA)]
Matchers = Annotated[tuple[Matcher, ...], PlainValidator(_matchers), WithJsonSchema(_MATCHERS_SCHEMA)]
Query = Annotated[str, PlainValidator(_query), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 4000})]
Link = Annotated[str | None, PlainValidator(_url), WithJsonSchema({"type": "string", "pattern": "^https?://"})]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)


class CohortQueries(_Strict):
    """A free PromQL query per cohort, each of which yields one number."""

    control: Query = Field(description="PromQL for control")
    canary: Query = Field(description="PromQL for the canary")


class CohortsSpec(_Strict):
    """What tells the two cohorts' series apart."""

    control: Matchers = Field(description="matchers of control's series", examples=[{"model": "a"}])
    canary: Matchers = Field(description="matchers of the canary's series", examples=[{"model": "b"}])


class RuleSpec(_Strict):
    """A signal and its limit. The canary is over it when it is over every bound stated."""

    max: Limit = Field(
        None,
        description="over this, and worse than control; a percent for rates, a duration for latency",
        examples=["2%", "3s"],
    )
    max_increase: Limit = Field(
        None,
        description="over control's value plus this; percentage points for rates, a duration for latency",
        examples=["5pp", "500ms"],
    )
    max_ratio: Ratio = Field(None, description="over control's value times this; more than 1", examples=[1.5])
    floor: Limit = Field(
        None, description="and above this, beside max_increase or max_ratio; units as for max", examples=["0.5%"]
    )
    even_if_control_is_bad: Switch = Field(
        False, description='drops `max`\'s "and worse than control": trips although switching models may not help'
    )
    for_: Ticks = Field(
        None, alias="for", description="ticks in a row the canary must be over (`decide: threshold` only)", examples=[2]
    )
    delay: Duration = Field(
        None,
        description="how long feedback may trail its request; 5m for thumbs_down_rate, else 0s",
        examples=["5m"],
    )
    absent_is_zero: Switch = Field(
        False, description="an events counter nobody has ever seen means zero, instead of UNKNOWN(NEVER_SEEN)"
    )
    events: Selectors = Field(
        None, description="counters of what is bad, for a signal of your own", examples=['my_errors_total{code=~"5.."}']
    )
    trials: Selectors = Field(
        None, description="counters of all requests; the preset's when left out", examples=["my_requests_total"]
    )
    histogram: OneSelector = Field(
        None, description="a classic histogram, for a quantile of your own", examples=["my_latency_seconds"]
    )
    quantile: Annotated[
        float | None,
        PlainValidator(_quantile),
        WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
    ] = Field(None, description="which quantile of `histogram`", examples=[0.95])
    query: CohortQueries | None = Field(
        None, description="a free PromQL query per cohort; always judged by the bare comparison"
    )
    unit: Annotated[
        Literal["seconds", "milliseconds", "percent", "number"] | None,
        PlainValidator(_one_of("seconds", "milliseconds", "percent", "number")),
        _words_schema("seconds", "milliseconds", "percent", "number"),
    ] = Field(
        None,
        description="of `histogram`: seconds or milliseconds (known from names ending in _seconds or _ms); "
        "of `query`: number (default), percent (the query yields a fraction) or seconds",
    )
    cohorts: CohortsSpec | None = Field(None, description="replaces the rollout's cohorts for this rule")


class MetricsSpec(_Strict):
    """Where the standard signals come from: a preset, metrics of your own, or a preset with changes."""

    preset: Annotated[
        str | None, PlainValidator(_one_of(*PRESETS)), WithJsonSchema({"type": "string", "enum": list(PRESETS)})
    ] = Field(None, description="whose metrics these are; without it, only what is named here exists")
    requests: Selectors = Field(None, description="counters of all requests", examples=["my_requests_total"])
    errors: Selectors = Field(
        None,
        description="counters of failed requests; `{matchers}` alone narrows the counters of requests",
        examples=['{outcome=~"error|timeout"}'],
    )
    refusals: Selectors = Field(None, description="counters of refusals", examples=["llm_refusals_total"])
    thumbs_down: Selectors = Field(None, description="counters of thumbs-down", examples=["llm_thumbs_down_total"])
    latency: OneSelector = Field(None, description="the latency histogram", examples=["my_latency_seconds"])
    latency_unit: Annotated[
        Literal["seconds", "milliseconds"] | None,
        PlainValidator(_one_of("seconds", "milliseconds")),
        _words_schema("seconds", "milliseconds"),
    ] = Field(None, description="unit of `latency`'s buckets; known from names ending in _seconds or _ms")
    metric: Annotated[
        str | None,
        PlainValidator(_pattern(METRIC_PATTERN, "a metric name as Prometheus shows it")),
        WithJsonSchema({"type": "string", "pattern": f"^{METRIC_PATTERN}$"}),
    ] = Field(
        None,
        description="the duration histogram's base name (opentelemetry-genai, envoy-ai-gateway)",
        examples=["gen_ai_client_inference_duration_seconds"],
    )


class PageSpec(_Strict):
    """Who is told, and what the message links to."""

    slack: Annotated[str | None, PlainValidator(_channel), WithJsonSchema({"type": "string"})] = Field(
        None, description="a Slack channel, in quotes (else # begins a comment)", examples=["#llm-oncall"]
    )
    mention: Annotated[str | None, PlainValidator(_mention), WithJsonSchema({"type": "string"})] = Field(
        None,
        description="stands in the message's top-level text, so that a phone rings: a user, a group, or <!here>",
        examples=["<!subteam^S012AB3CD>"],
    )
    severity: Annotated[
        Literal["critical", "error", "warning", "info"],
        PlainValidator(_one_of("critical", "error", "warning", "info")),
        _words_schema("critical", "error", "warning", "info"),
    ] = Field("critical", description="how loud the page is")
    runbook: Link = Field(None, description="what to do", examples=["https://wiki.example.org/canary"])
    dashboard: Link = Field(None, description="where to look", examples=["https://grafana.example.org/d/llm"])


class RuleFile(_Strict):
    """One rollout: its names, its rules, and how they are judged."""

    rollout: Annotated[
        str,
        PlainValidator(_name),
        WithJsonSchema({"type": "string", "pattern": "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"}),
    ] = Field(description="the rollout's name, as in its flag", examples=["support-copilot"])
    control: Text = Field(description="the model that serves today", examples=["model-old"])
    canary: Text = Field(description="the model that is being tried", examples=["model-new"])
    metrics: Annotated[MetricsSpec, BeforeValidator(_preset_by_name)] = Field(
        default_factory=lambda: MetricsSpec(preset=DEFAULT_PRESET),
        description=f"where the signals come from: a preset's name (default {DEFAULT_PRESET}) or a mapping",
        examples=[DEFAULT_PRESET],
    )
    match: Matchers = Field(
        (), description="label matchers added to every query of this rollout", examples=[{"service": "copilot"}]
    )
    cohorts: CohortsSpec | None = Field(
        None, description="what tells the cohorts' series apart; default as the preset says"
    )
    rules: dict[str, RuleSpec] | None = Field(
        None, description="the rules; default: the four of the table below that the metrics can answer"
    )
    window: Window = Field(
        "5m",
        validate_default=True,
        description="what pages and status show, and the window of `decide: threshold`; 1s to 1d",
        examples=["5m"],
    )
    min_requests: Annotated[
        int, PlainValidator(_integer(1, 10**9)), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 10**9})
    ] = Field(100, description="per cohort and window; below it UNKNOWN(TOO_FEW_REQUESTS)", examples=[100])
    decide: Annotated[Decide, PlainValidator(lambda value: Decide(_one_of(*Decide)(value))), _words_schema(*Decide)] = (
        Field(
            DEFAULT_DECIDE.value,
            validate_default=True,
            description="`evidence`: accumulated, with a bound on false trips; `threshold`: the bare comparison",
        )
    )
    for_: Ticks = Field(
        None, alias="for", description="ticks in a row, for every rule (`decide: threshold` only; default 1)"
    )
    false_trips: Annotated[
        float, PlainValidator(_budget), WithJsonSchema({"type": "string", "pattern": _QUANTITY + "% per (day|week)$"})
    ] = Field(
        "1% per day",
        validate_default=True,
        description="the chance of tripping a canary within its limits, all rules together (`decide: evidence`)",
        examples=["1% per day"],
    )
    bursts: Annotated[
        Literal["short", "long"], PlainValidator(_one_of("short", "long")), _words_schema("short", "long")
    ] = Field("short", description="`long` is slower and forgives bursts that last minutes (`decide: evidence`)")
    when_blind: Annotated[
        float | None,
        PlainValidator(_when_blind),
        WithJsonSchema(
            {
                "anyOf": [
                    {"const": "hold"},
                    {
                        "type": "object",
                        "properties": {"trip_after": DURATION_SCHEMA},
                        "required": ["trip_after"],
                        "additionalProperties": False,
                    },
                ]
            }
        ),
    ] = Field(
        "hold",
        validate_default=True,
        description="without usable metrics: `hold` where it is, or `{trip_after: 10m}`",
        examples=["hold", {"trip_after": "10m"}],
    )
    mode: Annotated[Mode, PlainValidator(lambda value: Mode(_one_of(*Mode)(value))), _words_schema(*Mode)] = Field(
        Mode.ENFORCE.value,
        validate_default=True,
        description="`dry_run` judges, records, and says what it would have tripped",
    )
    page: PageSpec = Field(default_factory=PageSpec, description="who is told")


# --- errors in words ----------------------------------------------------------------------------


def problems_of(error: ValidationError) -> Iterator[tuple[Path, str, str]]:
    """Each error of a `RuleFile` as (path, what is wrong, fix)."""
    for detail in error.errors(include_url=False):
        path = tuple(part for part in detail["loc"] if part != "[key]")
        cause = detail.get("ctx", {}).get("error")
        where = in_words(path)
        if isinstance(cause, Wrong | UnitError | SelectorError):
            yield path, f"{where}: {cause.what}", cause.fix
        elif detail["type"] == "missing":
            yield path, f"{where} is missing", f"add `{path[-1]}: …`"
        elif detail["type"] == "extra_forbidden":
            yield path, f"unknown key {where}", did_you_mean(str(path[-1]), keys_at(path[:-1]))
        elif detail["type"] in ("model_type", "model_attributes_type", "dict_type"):
            yield path, f"{where}: must be a mapping", f"write its keys indented under it: {_some(keys_at(path))}"
        else:
            yield path, f"{where}: {detail['msg']}", "see docs/rules.md"


def in_words(path: Path) -> str:
    """``rules.error_rate.max``: where in the file, on one printable line."""
    return ".".join(
        part if str(part).isprintable() and len(str(part)) <= 60 else shown(part) for part in map(str, path)
    )


def keys_at(path: Path) -> tuple[str, ...]:
    """The keys that may stand under a path."""
    if path == ("rules",):
        return tuple(DEFAULT_RULES)
    nested: Mapping[str, type[BaseModel]] = {
        "metrics": MetricsSpec,
        "page": PageSpec,
        "cohorts": CohortsSpec,
        "query": CohortQueries,
    }
    model = RuleFile if not path else RuleSpec if path[0] == "rules" and len(path) == 2 else nested.get(str(path[-1]))
    return tuple(known.alias or name for name, known in model.model_fields.items()) if model is not None else ()


def did_you_mean(word: str, known: tuple[str, ...]) -> str:
    """A fix for a misspelled word."""
    close = difflib.get_close_matches(word.lower().replace("-", "_"), known, 1, 0.6)
    return f"did you mean {close[0]}?" if close else f"remove it; known here: {_some(known)}"


def _some(words: tuple[str, ...]) -> str:
    return ", ".join(words) if words else "nothing"


# --- the JSON Schema ----------------------------------------------------------------------------


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a rule file, for editors."""
    schema = RuleFile.model_json_schema(by_alias=True, mode="validation")
    _tidy(schema)
    properties = schema["properties"]
    metrics = properties["metrics"]
    properties["metrics"] = {
        "anyOf": [{"type": "string", "enum": list(PRESETS)}, {"$ref": "#/$defs/MetricsSpec"}],
        "default": DEFAULT_PRESET,
        **{key: metrics[key] for key in ("description", "examples")},
    }
    properties["rules"] = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": MAX_RULES,
        "properties": {name: {"$ref": "#/$defs/RuleSpec"} for name in DEFAULT_RULES},
        "propertyNames": {"pattern": f"^{NAME_PATTERN}$"},
        "additionalProperties": {"$ref": "#/$defs/RuleSpec"},
        "default": DEFAULT_RULES,
        "description": properties["rules"]["description"],
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Kill switch rule file"}


def json_schema_text() -> str:
    """The schema as it is committed beside the rule files."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _tidy(node: Any) -> None:
    """Drop what pydantic adds and an editor would only show: titles, and defaults that say "nothing"."""
    if isinstance(node, dict):
        if isinstance(node.get("title"), str):
            del node["title"]
        if "default" in node and node["default"] in (None, ()):
            del node["default"]
        for child in node.values():
            _tidy(child)
    elif isinstance(node, list):
        for child in node:
            _tidy(child)
