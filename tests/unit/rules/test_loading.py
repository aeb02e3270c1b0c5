"""What a good rule file means, which doubts it is warned of, and that any bytes are loaded or refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from killswitch.errors import BadRules
from killswitch.model import (
    Cohort,
    Decide,
    Limits,
    Matcher,
    Mode,
    PageSettings,
    QuerySignal,
    ShadowSettings,
    SpendSettings,
    Unit,
)
from killswitch.rules.loading import Loaded, load_folder, load_text
from killswitch.spend_cap import SpendCap

HEAD = "rollout: r\ncontrol: a\ncanary: b\n"
SHIPPED = Path(__file__).parents[3] / "rules"


def loaded(text: str) -> Loaded:
    return load_text(text.encode(), name="f.yaml")


# --- what a good file means ---------------------------------------------------------------------


def test_three_names_are_enough() -> None:
    (rollout,) = loaded(HEAD).rollouts
    assert [rule.name for rule in rollout.rules] == ["error_rate", "latency_p95", "refusal_rate", "thumbs_down_rate"]
    assert [rule.limits for rule in rollout.rules] == [
        Limits(maximum=0.02),
        Limits(max_ratio=1.5),
        Limits(max_increase=0.05),
        Limits(max_ratio=2.0),
    ]
    assert (rollout.window, rollout.min_requests, rollout.mode) == (300.0, 100, Mode.ENFORCE)
    assert (rollout.false_trips_per_day, rollout.bursts, rollout.trip_when_blind_after) == (0.01, "auto", None)
    assert rollout.page == PageSettings()
    assert rollout.file == "f.yaml"


def test_the_shipped_file_says_what_the_defaults_say() -> None:
    """The shipped file has no warning, and says what the defaults say."""
    shipped = load_folder(SHIPPED)
    (rollout,) = shipped.rollouts
    (bare,) = loaded("rollout: support-copilot\ncontrol: model-old\ncanary: model-new\n").rollouts
    assert shipped.warnings == ()
    assert rollout.rules == bare.rules
    assert rollout.cohorts == bare.cohorts
    assert (rollout.window, rollout.min_requests, rollout.decide, rollout.mode) == (300.0, 100, bare.decide, bare.mode)


def test_every_key_arrives_in_the_rollout() -> None:
    (rollout,) = loaded(
        HEAD
        + """\
match: {service: copilot}
cohorts: {control: {arm: c}, canary: 'arm=~"k1|k2"'}
rules:
  error_rate: {max: 2%, even_if_control_is_bad: true, for: 3, absent_is_zero: true}
  latency_p99: {max: 3s, max_increase: 250ms, max_ratio: 1.2, delay: 1m}
window: 10m
min_requests: 50
decide: threshold
for: 2
when_blind: {trip_after: 10m}
mode: dry_run
page: {slack: "#x", pagerduty: search, mention: "<@U1>", severity: warning, runbook: https://a.example, dashboard: "https://b.example/?q=1"}
"""
    ).rollouts
    errors, latency = rollout.rules
    assert rollout.cohorts == {
        Cohort.CONTROL: (Matcher("arm", "=", "c"),),
        Cohort.CANARY: (Matcher("arm", "=~", "k1|k2"),),
    }
    assert errors.limits == Limits(maximum=0.02, even_if_control_is_bad=True)
    assert (errors.for_ticks, errors.absent_is_zero) == (3, True)
    assert latency.limits == Limits(maximum=3.0, max_increase=0.25, max_ratio=1.2)
    assert (latency.for_ticks, latency.delay, latency.unit) == (2, 60.0, Unit.SECONDS)
    assert (rollout.window, rollout.min_requests, rollout.decide) == (600.0, 50, Decide.THRESHOLD)
    assert (rollout.trip_when_blind_after, rollout.mode) == (600.0, Mode.DRY_RUN)
    assert rollout.page == PageSettings(
        "#x", "<@U1>", "warning", "https://a.example", "https://b.example/?q=1", pagerduty="search"
    )


def test_the_shadow_section_arrives_in_the_rollout() -> None:
    (rollout,) = loaded(HEAD).rollouts
    assert rollout.shadow == ShadowSettings()
    text = "shadow: {cohort: {deployment: s}, criteria: {errors: 1pp, win_rate: true}, keep_text: differences}\n"
    (rollout,) = loaded(HEAD + text).rollouts
    assert rollout.shadow == ShadowSettings(
        (Matcher("deployment", "=", "s"),), {"errors": "1pp", "win_rate": True}, "differences", 7 * 86_400.0
    )
    (rollout,) = loaded(HEAD + "shadow: {keep_text: differences, keep_text_for: 30d}\n").rollouts
    assert rollout.shadow.keep_text_for == 30 * 86_400.0


def test_the_spend_section_arrives_in_whole_micro_dollars() -> None:
    (rollout,) = loaded(HEAD).rollouts
    assert rollout.spend == SpendSettings()
    text = (
        "spend:\n  prices: prices.json\n  caps:\n"
        "  - {scope: rollout, per: day, soft: $40, hard: $50.07, on_hard: trip}\n"
        '  - {scope: "project:eval", per: month, hard: $500}\n'
    )
    (rollout,) = loaded(HEAD + text).rollouts
    assert rollout.spend == SpendSettings(
        "prices.json",
        (
            SpendCap("rollout", "day", 40_000_000, 50_070_000, "trip"),
            SpendCap("project:eval", "month", None, 500_000_000),
        ),
    )


def test_a_project_is_capped_for_a_period_in_one_file(tmp_path: Path) -> None:
    """Two rollouts may spend from it, and no one could say which of two caps holds."""
    for name, per in (("a", "month"), ("b", "month"), ("c", "day")):
        cap = f"spend:\n  caps:\n  - {{scope: project:eval, per: {per}, hard: $5}}\n"
        (tmp_path / f"{name}.yaml").write_text(f"rollout: {name}\ncontrol: old-{name}\ncanary: new-{name}\n{cap}")
    with pytest.raises(BadRules) as refused:
        load_folder(tmp_path)
    (problem,) = refused.value.problems
    assert problem.endswith(
        "b.yaml:5: project:eval per month is also capped in " + f"{tmp_path}/a.yaml; fix: keep one of the two"
    )


def test_evidence_takes_its_budget_and_bursts() -> None:
    (rollout,) = loaded(HEAD + "decide: evidence\nfalse_trips: 7% per week\nbursts: long\n").rollouts
    assert (rollout.decide, rollout.false_trips_per_day, rollout.bursts) == (Decide.EVIDENCE, 0.01, "long")


# --- warnings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "",
            (
                "f.yaml:1: the page is critical but mentions no one: no phone may ring; "
                "fix: add `mention: '<!subteam^…>'` (a group), '<@U…>' or '<!here>' under page, or `pagerduty: NAME`, "
                "or `opsgenie: NAME`"
            ),
        ),
        (
            "page: {severity: info}\nwindow: 30s\n",
            "f.yaml:5: window is shorter than a minute; fix: use 5m; a shorter window holds few scrapes",
        ),
        (
            "page: {severity: info}\nshadow: {keep_text_for: 7d}\n",
            "f.yaml:5: keep_text_for has no effect without texts; fix: add `keep_text: differences`",
        ),
        (
            "page: {severity: info}\ncohorts: {control: {m: a}, canary: {m: b}}\nshadow: {keep_text: differences}\n",
            (
                "f.yaml:6: no rule is judged in stage shadow: the file does not say how shadow requests are labelled; "
                "fix: add `cohort: {…}` with a label that only they have, or compare the recorded pairs alone"
            ),
        ),
        (
            "page: {severity: info}\nwhen_blind: {trip_after: 60s}\n",
            (
                "f.yaml:5: trip_after is shorter than three intervals (1m30s by default): two missed scrapes trip a "
                "good canary; fix: use 10m, or `when_blind: hold`"
            ),
        ),
        (
            "page: {severity: info}\nmetrics: litellm\ndecide: threshold\n",
            (
                "f.yaml:5: not watched, because their metrics are missing: refusal_rate, thumbs_down_rate; "
                "fix: name their counters under `metrics:`, or write only error_rate, latency_p95 under `rules:`"
            ),
        ),
        (
            "page: {severity: info}\ndecide: threshold\nbursts: long\n",
            "f.yaml:6: bursts has no effect with `decide: threshold`; fix: remove it, or use `decide: evidence`",
        ),
        (
            (
                "page: {severity: info}\ndecide: evidence\nrules:\n  error_rate: {max: 2%}\n"
                "  x: {events: x_total, max: 2%}\n  y: {events: y_total, max: 2%}\n"
            ),
            (
                "f.yaml:5: plain counters are judged for x, y: one user's retry storm can trip a healthy canary, "
                "whatever false_trips says; "
                "fix: write the llm_judged_… metrics (our router library does), name a label of users as `per`, or use "
                "`bursts: long`"
            ),
        ),
        (
            (
                "page: {severity: info}\ndecide: evidence\nrules:\n"
                "  x: {events: x_total, trials: y_total, per: end_user, max: 0%}\n"
            ),
            "f.yaml:7: rules.x.max: 0% trips on a single event; fix: raise it if single events are normal",
        ),
        (
            "page: {severity: info}\nrules:\n  error_rate: {max: 0%}\n",
            "f.yaml:6: rules.error_rate.max: 0% trips on a single event; fix: raise it if single events are normal",
        ),
        (
            "page: {severity: info}\nmatch: {a: b}\nrules:\n  q: {query: {control: a, canary: b}, max: 3}\n",
            (
                "f.yaml:7: rules.q is a free query: it is judged by the bare comparison, whatever `decide` says, and "
                "min_requests cannot be checked; `match` is not added to it; "
                "fix: give counters (events, trials) or a histogram, if there are any"
            ),
        ),
    ],
)
def test_what_is_doubtful_is_a_warning_with_line_and_fix(text: str, expected: str) -> None:
    assert loaded(HEAD + text).warnings == (expected,)


def test_a_free_query_may_wait_for_ticks_in_evidence_mode() -> None:
    text = HEAD + "decide: evidence\nrules:\n  q: {query: {control: a, canary: b}, max: 3, for: 2}\n"
    (rule,) = loaded(text).rollouts[0].rules
    assert (rule.signal, rule.unit, rule.for_ticks) == (QuerySignal(canary="b", control="a"), Unit.NUMBER, 2)


# --- hostile ------------------------------------------------------------------------------------


WORDS = [
    "rollout",
    "rules",
    "error_rate",
    "max",
    "2%",
    "metrics",
    "litellm",
    "cohorts",
    "match",
    "query",
    "for",
    "~",
    "page",
]
values = st.recursive(
    st.sampled_from(WORDS) | st.integers() | st.floats() | st.booleans() | st.none() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.slow
@given(
    st.dictionaries(
        st.sampled_from([*WORDS, "window", "decide", "when_blind", "control", "canary"]), values, max_size=8
    )
)
@settings(max_examples=400, deadline=None)
@example({"rollout": [], "match": {"\x1f": 0}})  # and so did a label name
@example({"rules": {"rollout": None, "\ud7c7": {}}})  # an unprintable rule name once reached the error text
def test_any_yaml_is_loaded_or_refused_in_printable_lines(value: dict[str, object]) -> None:
    _loads_or_is_refused(yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_are_loaded_or_refused(content: bytes) -> None:
    _loads_or_is_refused(content)


def _loads_or_is_refused(content: bytes) -> None:
    try:
        load_text(content, name="f.yaml")
    except BadRules as error:
        found = error.problems
    else:
        found = ("f.yaml:1: x; fix: y",)
    assert found
    for problem in found:
        assert problem.isprintable()
        assert re.match(r"f\.yaml:[1-9][0-9]*: .+; fix: .+", problem)
