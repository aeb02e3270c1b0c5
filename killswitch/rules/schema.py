"""What may stand in a rule file: pydantic models, their error texts, and the JSON Schema for editors.

Every value is read by a reader of ``values``; pydantic supplies the structure (unknown and missing keys,
mappings) and the schema. What depends on several keys at once, such as the unit a limit needs, is checked
in ``building``.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from killswitch.model import Decide, Mode
from killswitch.rules import patterns
from killswitch.rules.document import Path
from killswitch.rules.presets import DEFAULT_PRESET, LATENCY_PATTERN, PRESETS, RATES
from killswitch.rules.selectors import SelectorError
from killswitch.rules.units import UnitError, shown
from killswitch.rules.values import (
    BucketUnit,
    Budget,
    Bursts,
    Channel,
    Deciding,
    Duration,
    KeyName,
    Limit,
    Link,
    Matchers,
    Mention,
    MetricName,
    OneSelector,
    PresetName,
    Quantile,
    Query,
    Ratio,
    Requests,
    RolloutName,
    Running,
    Selectors,
    Severity,
    SignalUnit,
    Switch,
    Text,
    Ticks,
    WhenBlind,
    Window,
    Wrong,
)

# how a rollout is judged when its file does not say
DEFAULT_DECIDE = Decide.EVIDENCE
DEFAULT_RULES: Mapping[str, Mapping[str, str | float]] = {
    "error_rate": {"max": "2%"},
    "latency_p95": {"max_ratio": 1.5},
    "refusal_rate": {"max_increase": "5pp"},
    "thumbs_down_rate": {"max_ratio": 2.0},
}

NAME_PATTERN = r"[a-z][a-z0-9_]{0,62}"
MAX_RULES = 50


def _preset_by_name(value: object) -> object:
    return {"preset": value} if isinstance(value, str) else value


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
        False,
        description="an absent events counter means zero however long it is absent, never UNKNOWN(NEVER_SEEN)",
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
    quantile: Quantile = Field(None, description="which quantile of `histogram`", examples=[0.95])
    query: CohortQueries | None = Field(
        None, description="a free PromQL query per cohort; always judged by the bare comparison"
    )
    unit: SignalUnit = Field(
        None,
        description="of `histogram`: seconds or milliseconds (known from names ending in _seconds or _ms); "
        "of `query`: number (default), percent (the query yields a fraction) or seconds",
    )
    cohorts: CohortsSpec | None = Field(None, description="replaces the rollout's cohorts for this rule")


class MetricsSpec(_Strict):
    """Where the standard signals come from: a preset, metrics of your own, or a preset with changes."""

    preset: PresetName = Field(None, description="whose metrics these are; without it, only what is named here exists")
    requests: Selectors = Field(None, description="counters of all requests", examples=["my_requests_total"])
    errors: Selectors = Field(
        None,
        description="counters of failed requests; `{matchers}` alone narrows the counters of requests",
        examples=['{outcome=~"error|timeout"}'],
    )
    refusals: Selectors = Field(None, description="counters of refusals", examples=["llm_refusals_total"])
    thumbs_down: Selectors = Field(None, description="counters of thumbs-down", examples=["llm_thumbs_down_total"])
    latency: OneSelector = Field(None, description="the latency histogram", examples=["my_latency_seconds"])
    latency_unit: BucketUnit = Field(
        None, description="unit of `latency`'s buckets; known from names ending in _seconds or _ms"
    )
    metric: MetricName = Field(
        None,
        description="the duration histogram's base name (opentelemetry-genai, envoy-ai-gateway)",
        examples=["gen_ai_client_inference_duration_seconds"],
    )


class PageSpec(_Strict):
    """Who is told, and what the message links to."""

    slack: Channel = Field(
        None, description="a Slack channel, in quotes (else # begins a comment)", examples=["#llm-oncall"]
    )
    pagerduty: KeyName = Field(
        None,
        description="the name of a PagerDuty key, as in the file of `pagerduty_team_keys_file`; "
        "without it, the default key of `pagerduty_key_file`",
        examples=["search"],
    )
    mention: Mention = Field(
        None,
        description="stands in the message's top-level text, so that a phone rings: a user, a group, or <!here>",
        examples=["<!subteam^S012AB3CD>"],
    )
    severity: Severity = Field("critical", description="how loud the page is")
    runbook: Link = Field(None, description="what to do", examples=["https://wiki.example.org/canary"])
    dashboard: Link = Field(None, description="where to look", examples=["https://grafana.example.org/d/llm"])


class RuleFile(_Strict):
    """One rollout: its names, its rules, and how they are judged."""

    rollout: RolloutName = Field(description="the rollout's name, as in its flag", examples=["support-copilot"])
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
    min_requests: Requests = Field(
        100, description="per cohort and window; below it UNKNOWN(TOO_FEW_REQUESTS)", examples=[100]
    )
    decide: Deciding = Field(
        DEFAULT_DECIDE.value,
        validate_default=True,
        description="`evidence`: accumulated, with a bound on false trips; `threshold`: the bare comparison",
    )
    for_: Ticks = Field(
        None, alias="for", description="ticks in a row, for every rule (`decide: threshold` only; default 1)"
    )
    false_trips: Budget = Field(
        "1% per day",
        validate_default=True,
        description="the chance of tripping a canary within its limits, all rules together (`decide: evidence`)",
        examples=["1% per day"],
    )
    bursts: Bursts = Field(
        "auto",
        description="`long` is slower and forgives bursts that last minutes, `short` never does, and `auto` is long "
        "where control's past shows such bursts (`decide: evidence`)",
    )
    when_blind: WhenBlind = Field(
        "hold",
        validate_default=True,
        description="without usable metrics: `hold` where it is, or `{trip_after: 10m}`",
        examples=["hold", {"trip_after": "10m"}],
    )
    mode: Running = Field(
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
            fix = (_belongs_under(str(path[0])) if len(path) == 1 else None) or did_you_mean(
                str(path[-1]), keys_at(path[:-1])
            )
            yield path, f"unknown key {where}", fix
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


def _belongs_under(key: str) -> str | None:
    """A fix for a key of a section that stands at the top of the file."""
    sections = {"rules": keys_at(("rules",)), "page": keys_at(("page",)), "metrics": keys_at(("metrics",))}
    found = next((section for section, known in sections.items() if key in known), None)
    return f"indent it under `{found}:`" if found is not None else None


def did_you_mean(word: str, known: tuple[str, ...]) -> str:
    """A fix for a misspelled word."""
    close = difflib.get_close_matches(word[:80].lower().replace("-", "_"), known, 1, 0.6)
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
    schema["$defs"] |= _kinds_of_rules()
    schema["$defs"]["RuleSpec"] |= _what_rules_combine()
    properties["rules"] = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": MAX_RULES,
        "properties": {name: {"$ref": "#/$defs/RateRule"} for name in RATES},
        "patternProperties": {f"^{LATENCY_PATTERN}$": {"$ref": "#/$defs/LatencyRule"}},
        "propertyNames": {"pattern": f"^{NAME_PATTERN}$"},
        "additionalProperties": {"$ref": "#/$defs/OwnRule"},
        "default": DEFAULT_RULES,
        "description": properties["rules"]["description"],
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Kill switch rule file"}


_WAYS = (("events", "trials"), ("histogram", "quantile"), ("query",))


def _limits_in(maximum: str, increase: str, floor: str) -> dict[str, Any]:
    patterns_of = {"max": maximum, "max_increase": increase, "floor": floor}
    return {"properties": {key: {"type": "string", "pattern": pattern} for key, pattern in patterns_of.items()}}


def _kinds_of_rules() -> dict[str, Any]:
    """Which unit a rule's limits have: by where its numbers come from, else by its name."""
    plain: dict[str, Any] = {
        "properties": {
            "max": _number(zero=True),
            "max_increase": _number(zero=False),
            "floor": _number(zero=False),
        }
    }
    fraction = _limits_in(patterns.percent(zero=True), patterns.POINTS, patterns.percent(zero=False))
    seconds = _limits_in(*[patterns.duration(zero=False)] * 3)
    own = {"anyOf": [{"required": [key]} for way in _WAYS for key in way]}

    def when(condition: Mapping[str, Any], then: object, otherwise: object = None) -> dict[str, Any]:
        return {"if": condition, "then": then, **({} if otherwise is None else {"else": otherwise})}

    by_source = [
        when({"anyOf": [{"required": [key]} for key in _WAYS[0]]}, {"$ref": "#/$defs/FractionLimits"}),
        when({"anyOf": [{"required": [key]} for key in _WAYS[1]]}, {"$ref": "#/$defs/SecondsLimits"}),
        when(
            {"required": ["query"]},
            when(
                {"required": ["unit"], "properties": {"unit": {"const": "percent"}}},
                {"$ref": "#/$defs/FractionLimits"},
                when(
                    {"required": ["unit"], "properties": {"unit": {"enum": ["seconds", "milliseconds"]}}},
                    {"$ref": "#/$defs/SecondsLimits"},
                    {"$ref": "#/$defs/NumberLimits"},
                ),
            ),
        ),
    ]
    spec = {"$ref": "#/$defs/RuleSpec"}
    return {
        "FractionLimits": fraction,
        "SecondsLimits": seconds,
        "NumberLimits": plain,
        "OwnRule": {"allOf": [spec, own, *by_source]},
        "RateRule": {"allOf": [spec, when(own, {"allOf": by_source}, {"$ref": "#/$defs/FractionLimits"})]},
        "LatencyRule": {"allOf": [spec, when(own, {"allOf": by_source}, {"$ref": "#/$defs/SecondsLimits"})]},
    }


def _number(*, zero: bool) -> dict[str, Any]:
    least = {"minimum": 0} if zero else {"exclusiveMinimum": 0}
    return {"anyOf": [{"type": "number", **least}, {"type": "string", "pattern": patterns.number(zero=zero)}]}


def _what_rules_combine() -> dict[str, Any]:
    """A rule needs a bound, and some bounds exclude each other."""
    relative = [{"required": ["max_increase"]}, {"required": ["max_ratio"]}]
    return {
        "anyOf": [{"required": ["max"]}, *relative],
        "not": {"required": ["max", "floor"]},
        "if": {"required": ["even_if_control_is_bad"], "properties": {"even_if_control_is_bad": {"const": True}}},
        "then": {"required": ["max"], "not": {"anyOf": relative}},
    }


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
