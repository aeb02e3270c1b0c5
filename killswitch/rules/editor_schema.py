"""The JSON Schema of a rule file, by which editors complete and check it as it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from killswitch.rules import patterns
from killswitch.rules.plan_keys import DEFAULT_PLAN
from killswitch.rules.presets import DEFAULT_PRESET, LATENCY_PATTERN, PRESETS, RATES
from killswitch.rules.schema import DEFAULT_RULES, MAX_RULES, NAME_PATTERN, RuleFile

_WAYS = (("events", "trials"), ("histogram", "quantile"), ("query",))


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a rule file, for editors."""
    schema = RuleFile.model_json_schema(by_alias=True, mode="validation")
    tidy(schema)
    properties = schema["properties"]
    metrics = properties["metrics"]
    properties["metrics"] = {
        "anyOf": [{"type": "string", "enum": list(PRESETS)}, {"$ref": "#/$defs/MetricsSpec"}],
        "default": DEFAULT_PRESET,
        **{key: metrics[key] for key in ("description", "examples")},
    }
    plan = properties["plan"]
    properties["plan"] = {
        "anyOf": [{"const": DEFAULT_PLAN}, {"$ref": "#/$defs/PlanSpec"}],
        **{key: plan[key] for key in ("description", "examples")},
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
    """The schema as it is committed next to the rule files."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def tidy(node: Any) -> None:
    """Drop what pydantic adds and an editor would only show: titles, and defaults that say "nothing"."""
    if isinstance(node, dict):
        if isinstance(node.get("title"), str):
            del node["title"]
        if "default" in node and node["default"] in (None, (), {}):
            del node["default"]
        for child in node.values():
            tidy(child)
    elif isinstance(node, list):
        for child in node:
            tidy(child)
