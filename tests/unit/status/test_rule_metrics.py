"""What a dashboard can ask: each rule's values, limit, samples, evidence and verdict, bounded and without surprises."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from killswitch.model import Finding, Unit, Verdict
from killswitch.status.rule_metrics import MAX_RULES, MOST, RuleMetrics
from killswitch.status.self_metrics import SelfMetrics
from tests.servers.image import REPOSITORY

pytestmark = pytest.mark.simulation

SUSPECT = Finding(
    "p95", Verdict.SUSPECT, None, "over", Unit.SECONDS, canary=4.36, control=2.1, limit=3.4,
    samples_canary=180.0, samples_control=3500.0, evidence=30.0, needed=400.0,
)  # fmt: skip
UNKNOWN = Finding("errors", Verdict.UNKNOWN, None, "no data", Unit.FRACTION)


def samples(*named: tuple[str, tuple[Finding, ...]], max_rules: int = MAX_RULES) -> dict[tuple[str, ...], float]:
    """What is exposed, as a scraper reads it: name and label values -> value."""
    registry, metrics = CollectorRegistry(), RuleMetrics(max_rules)
    registry.register(metrics)
    for rollout, findings in named:
        metrics.set(rollout, findings)
    return {
        (sample.name.removeprefix("killswitch_"), *_in_order(sample.labels)): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def _in_order(labels: dict[str, str]) -> list[str]:
    return [labels[name] for name in ("rollout", "rule", "cohort", "verdict", "unit") if name in labels]


def test_a_rule_has_all_that_its_row_on_the_page_has() -> None:
    assert samples(("copilot", (SUSPECT,))) == {
        ("rule_verdict", "copilot", "p95", "HEALTHY"): 0.0,
        ("rule_verdict", "copilot", "p95", "SUSPECT"): 1.0,
        ("rule_verdict", "copilot", "p95", "BREACH"): 0.0,
        ("rule_verdict", "copilot", "p95", "UNKNOWN"): 0.0,
        ("rule_value", "copilot", "p95", "canary", "seconds"): 4.36,
        ("rule_value", "copilot", "p95", "control", "seconds"): 2.1,
        ("rule_samples", "copilot", "p95", "canary"): 180.0,
        ("rule_samples", "copilot", "p95", "control"): 3500.0,
        ("rule_limit", "copilot", "p95", "seconds"): 3.4,
        ("rule_evidence", "copilot", "p95"): 30.0,
        ("rule_evidence_needed", "copilot", "p95"): 400.0,
        ("rules_not_exported",): 0.0,
    }


def test_what_is_unknown_has_no_series() -> None:
    """A zero would be drawn as a value, and NaN as whatever the dashboard thinks fit."""
    assert {name for name, *_ in samples(("copilot", (UNKNOWN,)))} == {"rule_verdict", "rules_not_exported"}


@given(st.floats(), st.floats())
def test_no_sample_is_nan_or_infinite(value: float, evidence: float) -> None:
    finding = Finding("a", Verdict.HEALTHY, None, "", Unit.NUMBER, canary=value, limit=value, evidence=evidence)
    for number in samples(("a", (finding,))).values():
        assert math.isfinite(number)
        assert abs(number) <= MOST


def test_rules_beyond_the_bound_are_left_out_by_name_and_counted() -> None:
    found = samples(*((f"r{number}", (SUSPECT, UNKNOWN)) for number in (3, 1, 2)), max_rules=3)
    shown = {(rollout, rule) for name, rollout, rule, *_ in (key for key in found if len(key) > 2)}
    assert shown == {("r1", "p95"), ("r1", "errors"), ("r2", "p95")}
    assert found["rules_not_exported",] == 3.0


def test_a_thousand_rollouts_of_four_rules_fit() -> None:
    rules = tuple(
        Finding(f"rule{n}", Verdict.HEALTHY, None, "", Unit.NUMBER, 1.0, 1.0, 1.0, 9.0, 9.0) for n in range(4)
    )
    found = samples(*((f"rollout-{number}", rules) for number in range(1000)))
    assert found["rules_not_exported",] == 0.0
    assert len(found) < 50_000


def test_what_is_gone_has_no_series() -> None:
    """A rule that is judged no more and a rollout that is gone have no series."""
    metrics = SelfMetrics("1")
    metrics.findings("a", (SUSPECT, UNKNOWN))
    metrics.findings("a", (UNKNOWN,))
    text = generate_latest(metrics.registry).decode()
    assert 'rule="p95"' not in text
    assert 'rule="errors"' in text
    metrics.forget("a")
    assert 'rollout="a"' not in generate_latest(metrics.registry).decode()


@pytest.mark.parametrize("family", [one.name for one in SelfMetrics("1").registry.collect()])
def test_every_metric_is_on_the_page_of_metrics(family: str) -> None:
    assert f"| `{family}" in (REPOSITORY / "docs" / "metrics.md").read_text()


def test_the_page_of_metrics_names_no_other() -> None:
    known = {one.name for one in SelfMetrics("1").registry.collect()}
    named = re.findall(r"^\| `(killswitch_\w+)", (REPOSITORY / "docs" / "metrics.md").read_text(), re.MULTILINE)
    assert {name.removesuffix("_total") for name in named} == known
    assert not [one for one, other in pairwise(sorted(named)) if one == other]
