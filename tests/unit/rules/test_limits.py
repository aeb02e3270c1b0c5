"""Limits in words, and in the unit of each signal."""

from __future__ import annotations

import pytest

from killswitch.errors import BadRules
from killswitch.model import Limits
from killswitch.rules.limits import limits_in_words, rollout_in_words
from killswitch.rules.loading import load_text

HEAD = "rollout: r\ncontrol: old\ncanary: new\nrules:\n"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("error_rate: {max: 2%}", "over 2% and worse than control"),
        ("error_rate: {max: 2%, even_if_control_is_bad: true}", "over 2%"),
        ("refusal_rate: {max_increase: 5pp, floor: 0.5%}", "over control + 5pp and above 0.5%"),
        ("latency_p95: {max_ratio: 1.5, max_increase: 250ms}", "over control + 250ms and over 1.5 x control"),
        ("latency_p95: {max: 3s, max_ratio: 1.5}", "over 3s and over 1.5 x control"),
        ("q: {query: {control: a, canary: b}, max_increase: 3, floor: 1}", "over control + 3 and above 1"),
        ("q: {query: {control: a, canary: b}, unit: percent, max: 3%}", "over 3% and worse than control"),
        ("q: {query: {control: a, canary: b}, unit: seconds, max: 3s}", "over 3s and worse than control"),
    ],
)
def test_limits_read_as_their_file_states_them(rule: str, words: str) -> None:
    (rollout,) = load_text(f"{HEAD}  {rule}\n".encode()).rollouts
    assert limits_in_words(rollout.rules[0]) == words


def test_a_rollout_in_words_has_a_line_a_rule() -> None:
    rules = "  error_rate: {max: 2%, for: 3}\n  latency_p99: {max_ratio: 2}\n"
    text = f"{HEAD}{rules}window: 10m\nmode: dry_run\ndecide: threshold\n"
    (rollout,) = load_text(text.encode()).rollouts
    assert rollout_in_words(rollout) == (
        "r: new against old, window 10m, decide: threshold, mode: dry_run",
        "error_rate: trips when over 2% and worse than control, 3 ticks in a row",
        "latency_p99: trips when over 2 x control",
    )


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("error_rate: {max: 100%}", "rules.error_rate.max: 100% can never be exceeded; fix: use less than 100"),
        (
            "refusal_rate: {max_increase: 0pp}",
            "rules.refusal_rate.max_increase: 0pp leaves no room for noise; fix: use more than zero, or remove it",
        ),
        (
            "latency_p95: {max: 0s}",
            "rules.latency_p95.max: 0s leaves no room for noise; fix: use more than zero, or remove it",
        ),
        (
            "latency_p95: {max: 2d}",
            "rules.latency_p95.max: 2d is longer than a day; fix: use the duration of one request",
        ),
        (
            "error_rate: {max_ratio: 1}",
            (
                "rules.error_rate.max_ratio: 1 would trip a canary that is exactly as good as control; "
                "fix: use more than 1: max_ratio: 1.5 trips a canary over 1.5 times control's value"
            ),
        ),
        (
            "error_rate: {max_ratio: 5000}",
            "rules.error_rate.max_ratio: 5000 is never reached; fix: use at most 1000",
        ),
        (
            "error_rate: {max_ratio: 150%}",
            "rules.error_rate.max_ratio: '150%' is a percent, but a plain number belongs here; fix: write 1.5",
        ),
        (
            "latency_p95: {max_increase: 2}",
            (
                "rules.latency_p95.max_increase: '2' has no unit; a duration must be written with one; "
                "fix: write 2s if that is meant"
            ),
        ),
        (
            "error_rate: {delay: 1m}",
            "rules.error_rate has no bound; fix: add max: 2%, max_increase: 5pp or max_ratio: 2",
        ),
    ],
)
def test_a_bound_that_cannot_be_meant_is_refused(rule: str, problem: str) -> None:
    with pytest.raises(BadRules) as refused:
        load_text(f"{HEAD}  {rule}\n".encode(), name="f.yaml")
    assert refused.value.problems == (f"f.yaml:5: {problem}",)


def test_a_free_query_is_limited_in_its_own_unit() -> None:
    (rollout,) = load_text(
        f"{HEAD}  q: {{query: {{control: a, canary: b}}, max: 3, max_ratio: 1.5x}}\n".encode()
    ).rollouts
    assert rollout.rules[0].limits == Limits(maximum=3.0, max_ratio=1.5)
