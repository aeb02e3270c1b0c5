"""The editor's schema refuses what `check` refuses, as far as units, forms and ranges go, and nothing else."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from killswitch.errors import BadRules
from killswitch.rules.document import read_document
from killswitch.rules.editor_schema import json_schema
from killswitch.rules.loading import load_text
from killswitch.rules.patterns import at_most

VALIDATOR = jsonschema.Draft202012Validator(json_schema())
BASE = {"rollout": "copilot", "control": "a", "canary": "b", "metrics": "cohort-labels"}
OWN = {"events": "bad_total", "trials": "all_total"}
HISTOGRAM = {"histogram": "my_latency_seconds", "quantile": 0.95}
QUERY = {"query": {"control": "a", "canary": "b"}}


def verdicts(**changes: Any) -> tuple[bool, bool]:
    """Whether `check` accepts the file, and whether the schema does."""
    text = yaml.safe_dump({**BASE, **changes}, allow_unicode=True).encode()
    try:
        load_text(text)
        accepted = True
    except BadRules:
        accepted = False
    return accepted, VALIDATOR.is_valid(read_document(text).value)


def rule(name: str, **limits: Any) -> dict[str, Any]:
    return {"rules": {name: limits}}


WRONG_STAGES: list[dict[str, Any]] = [
    {"percent": "100%"}, {"percent": "0%"}, {"percent": 5}, {"percent": "99.5%"}, {"for": "91d"}, {"for": 24},
    {"for": "500ms"}, {"stage": "Mine"}, {"stage": ""}, {"approve": []}, {"approve": ["a b"]},
    {"detects": {"error_rate": "3%"}}, {"detects": {"error_rate": "1x"}}, {"detects": {"error_rate": "0pp"}},
    {"detects": "error_rate"}, {"detects": {"error_rate": 0.5}}, {"until": "1d"}, {"approve": ["@a", "@a"]},
]  # fmt: skip
REFUSED: list[dict[str, Any]] = [
    rule("error_rate", max="2s"), rule("error_rate", max="2pp"), rule("error_rate", max="0.02"),
    rule("error_rate", max=0.02), rule("error_rate", max=2), rule("error_rate", max="2x"),
    rule("error_rate", max="100%"), rule("error_rate", max="-2%"), rule("error_rate", max="2,5%"),
    rule("error_rate", max_increase="5%"), rule("error_rate", max_increase="0pp"), rule("error_rate", max_increase=5),
    rule("error_rate", max_ratio=1.5, floor="5pp"), rule("error_rate", max_ratio=1.5, floor="0%"),
    rule("error_rate", max_ratio=1), rule("error_rate", max_ratio=0.5), rule("error_rate", max_ratio="150%"),
    rule("error_rate", max_ratio="1.0"), rule("error_rate", max_ratio=1001), rule("error_rate", max_ratio="1000.1x"),
    rule("error_rate"), rule("error_rate", floor="1%"), rule("error_rate", max="2%", floor="1%"),
    rule("error_rate", max_ratio=2, even_if_control_is_bad=True),
    rule("latency_p95", max="3%"), rule("latency_p95", max=3), rule("latency_p95", max="3"),
    rule("latency_p95", max="3 sec"), rule("latency_p95", max="0s"), rule("latency_p95", max="2d"),
    rule("latency_p99", max_increase="5pp"), rule("latency_p50", max="3000"), rule("latency_p95", max="25h"),
    rule("mine", max="2s", **OWN), rule("mine", max="2%", **HISTOGRAM), rule("mine", max="2%", **QUERY),
    rule("mine", max="2", unit="percent", **QUERY), rule("mine", max="2%", unit="seconds", **QUERY),
    rule("mine", max="2%"), rule("mine", max="1s", histogram="my_latency_seconds", quantile=1.5),
    rule("mine", max="1s", histogram="my_latency_seconds", quantile="100%"), rule("mine", max_increase=0, **QUERY),
    {"window": 5}, {"window": "5"}, {"window": "5%"}, {"window": "500ms"}, {"window": "2d"}, {"window": "0s"},
    {"window": "1441m"}, {"false_trips": "1%"}, {"false_trips": "51% per day"}, {"false_trips": "0% per day"},
    {"false_trips": "1% per hour"}, {"false_trips": 0.01}, {"when_blind": {"trip_after": 600}},
    {"when_blind": {"trip_after": "10"}}, {"when_blind": {"trip_after": "0s"}}, {"min_requests": "100"},
    {"page": {"slack": "llm-oncall"}}, {"page": {"mention": "@here"}}, {"page": {"runbook": "wiki"}},
    {"page": {"pagerduty": "a" * 32}}, {"control": "  "}, {"page": {"runbook": "ftp://x/y"}},
    {"shadow": {"keep_text": "always"}}, {"shadow": {"keep_text_for": "367d"}}, {"shadow": {"keep_text_for": 7}},
    {"shadow": {"criteria": {"Errors": "1pp"}}},
    {"shadow": {"criteria": {"errors": []}}}, {"shadow": {"criteria": "errors"}}, {"shadow": {"percent": 5}},
    *({"spend": {"caps": [{"scope": "shadow", "per": "day", "hard": money}]}} for money in (
        "40", 40, "-$40", "$0", "$0.009", "$10000000.01", "$10000001", "$1,000", "$0.0000001", "$", "40 USD", "€40"
    )),
    *({"spend": {"caps": [{"scope": scope, "per": "day", "hard": "$5"}]}} for scope in (
        "control", "Shadow", "project:", "project:a/b", "shadow:copilot", ""
    )),
    {"spend": {"caps": [{"scope": "shadow", "per": "week", "hard": "$5"}]}}, {"spend": {"caps": [{"hard": "$5"}]}},
    {"spend": {"caps": [{"scope": "rollout", "per": "day", "hard": "$5", "on_hard": "end"}], "prices": "p.json"}},
    {"spend": {"caps": {"scope": "shadow", "per": "day", "hard": "$5"}}}, {"spend": {"prices": ""}},
    {"spend": {"cap": []}},
    {"plan": "defualt"}, {"plan": 5}, {"plan": []}, {"plan": {"advance": "auto"}}, {"plan": {"stage": []}},
    {"plan": {"stages": {}}}, {"plan": {"stages": [{"stage": "ramp_1"}]}}, {"plan": {"stages": [{"for": "1d"}]}},
    *({"plan": {"stages": [{"stage": "mine", "percent": "3%", "for": "1d", **wrong}]}} for wrong in WRONG_STAGES),
    {"plan": {"not_during": ["* * * *"]}}, {"plan": {"not_during": 5}}, {"plan": {"time_zone": ""}},
    *({"plan": {"rate": rate}} for rate in ("50", 50, "50/d", "-1/s", "0/s", "50/ms")),
    {"plan": {"control_capacity": 9}}, {"plan": {"control_retires": "soon"}}, {"plan": {"weekly": "yes"}},
]  # fmt: skip


@pytest.mark.parametrize("changes", REFUSED, ids=str)
def test_what_check_refuses_the_editor_marks(changes: dict[str, Any]) -> None:
    assert verdicts(**changes) == (False, False)


ACCEPTED: list[dict[str, Any]] = [
    rule("error_rate", max="2%"), rule("error_rate", max=" 2.5 % "), rule("error_rate", max="0%"),
    rule("error_rate", max="099.9%"), rule("error_rate", max_increase="0.5pp", max_ratio="1.5x"),
    rule("error_rate", max_ratio=1000, floor="0.1%"), rule("error_rate", max="2%", even_if_control_is_bad=True),
    rule("latency_p999", max="1h30m"), rule("latency_p95", max="86400s"), rule("latency_p95", max_increase="500 ms"),
    rule("mine", max="2%", **OWN), rule("mine", max="3s", **HISTOGRAM), rule("mine", max=2, **QUERY),
    rule("mine", max="2%", unit="percent", **QUERY), rule("mine", max="2s", unit="seconds", **QUERY),
    rule("mine", max="2s", histogram="my_latency_seconds", quantile="95%"),
    rule("mine", max="0", **QUERY), {"window": "1d"}, {"window": "1s"}, {"window": "1500ms"},
    {"false_trips": "350% per week"}, {"false_trips": "0.5 % per day"}, {"when_blind": {"trip_after": "10m"}},
    {"page": {"slack": "#llm-oncall", "mention": "<!here> <@U1>", "runbook": "https://a/b?c=d", "pagerduty": "search"}},
    {"page": {"slack": "C012AB3CD"}},
    {"shadow": {"cohort": {"deployment": "s"}, "keep_text": "differences", "keep_text_for": "366d"}},
    {"shadow": {"criteria": {"errors": "1pp", "win_rate": True, "pairs": 500, "latency_p95": 1.2}}},
    *({"spend": {"caps": [{"scope": "project:eval", "per": "month", "soft": money}]}} for money in (
        "$40", " $0.01 ", "$0.5", "$00012.345678", "$10000000", "$9999999.999999", "$10000000.00"
    )),
    {"spend": {"prices": "p.json", "caps": [
        {"scope": "rollout", "per": "hour", "soft": "$4", "hard": "$5", "on_hard": "trip"},
        {"scope": "judge", "per": "day", "hard": "$5"},
    ]}}, {"spend": {}},
    {"plan": "default"}, {"plan": {}}, {"plan": {"weekly": True, "advance": "automatic"}},
    {"plan": {"stages": [
        {"stage": "shadow", "for": "2d"}, {"stage": "aa", "percent": "5%", "for": "6h"},
        {"stage": "ramp_5", "for": "90d", "detects": {"error_rate": "2x", "refusal_rate": "3pp", "latency_p95": 1.5}},
        {"stage": "mine", "percent": "5.5 %", "for": "1s", "approve": ["@llm-leads", "anna"]},
        {"stage": "full", "for": "7d", "approve": "@llm-leads"},
    ], "not_during": ["* 18-23 * * fri", "*/5 * L * 5#3"], "time_zone": "Europe/Berlin", "rate": "50/s",
    "control_capacity": "1.5 / m", "control_retires": "2027-03-31"}},
    {"plan": {"not_during": "* * * * sat", "rate": "1/h"}},
]  # fmt: skip


@pytest.mark.parametrize("changes", ACCEPTED, ids=str)
def test_what_check_accepts_the_editor_does_not_mark(changes: dict[str, Any]) -> None:
    assert verdicts(**changes) == (True, True)


NUMBERS = st.one_of(
    st.integers(0, 2000).map(str),
    st.decimals(0, 2000, places=3, allow_nan=False, allow_infinity=False).map(str),
    st.sampled_from(["0", "00", "007", "0.0", "1.0", "1000", "99.999", "100", "1e3", "-1", "1,5", ".5", "5.", ""]),
)
SUFFIXES = st.sampled_from(
    ["%", " %", "pp", "x", "", "s", "ms", "m", "h", "d", " s", "sec", "% per day", "% per week", "%%", "m30s"]
)
VALUES = st.one_of(
    st.builds(lambda number, suffix: number + suffix, NUMBERS, SUFFIXES),
    st.integers(-2, 2000),
    st.integers(0, 2_000_000).map(lambda thousandths: thousandths / 1000),
    st.booleans(),
    st.none(),
)
BOUNDS = ("max", "max_increase", "max_ratio")
PLACES = st.sampled_from(
    [
        *(("rule", name, {}, key) for name in ("error_rate", "latency_p95") for key in BOUNDS),
        *(("rule", "mine", own, key) for own in (OWN, HISTOGRAM, QUERY) for key in BOUNDS),
        *(("rule", "mine", {**QUERY, "unit": unit}, "max") for unit in ("percent", "seconds", "number")),
        ("rule", "error_rate", {"max_ratio": 2}, "floor"), ("rule", "latency_p95", {"max_ratio": 2}, "floor"),
        ("rule", "mine", {"histogram": "my_latency_seconds", "max": "1s"}, "quantile"),
        ("file", "false_trips"), ("file", "min_requests"), ("blind",),
    ]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(PLACES, VALUES)
def test_check_and_the_editor_agree_on_every_value(place: tuple[Any, ...], value: Any) -> None:
    match place:
        case ("rule", name, more, key):
            changes = rule(name, **more, **{key: value})
        case ("file", key):
            changes = {key: value}
        case _:
            changes = {"when_blind": {"trip_after": value}}
    checked, edited = verdicts(**changes)
    # what no schema can say: a duration under a second in a larger unit, a sum over a day, and 125.0, its integer
    beyond = (isinstance(value, str) and value[-1:] in "smhd") or (isinstance(value, float) and value.is_integer())
    if not (edited and not checked and beyond):
        assert checked == edited, changes


@given(st.integers(0, 400_000_000), st.integers(0, 400_000_000))
def test_a_number_is_at_most_another(number: int, most: int) -> None:
    assert (re.fullmatch(at_most(most), str(number)) is not None) == (number <= most)
    assert (re.fullmatch(at_most(most), f"00{number}.5") is not None) == (number < most)
