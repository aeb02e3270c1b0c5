"""Label traps: a cohort label that is missing, replaced by the scrape, or on series that count a request twice."""

from __future__ import annotations

import pytest

from killswitch.model import Reason, Rollout, Unreadable
from killswitch.preflight.checks import Check, Status
from killswitch.preflight.label_checks import LabelReader, examine_labels
from killswitch.rules.loading import load_text
from killswitch.sources.recording import SampledHistory
from tests.unit.preflight.first_rules.store_contents import NOW, growing

RULES = """\
rollout: copilot
control: old
canary: new
metrics: {requests: asked_total, errors: failed_total}
cohorts: {control: {cohort: control}, canary: {cohort: canary}}
rules: {error_rate: {max: 2%}}
"""


@pytest.fixture
def rollout() -> Rollout:
    return load_text(RULES.encode()).rollouts[0]


def found(rollout: Rollout, series: dict[str, float] | SampledHistory) -> list[Check]:
    source = series if isinstance(series, SampledHistory) else growing(series)
    return list(examine_labels(LabelReader(source, NOW), rollout))


def pair(asked: str = 'cohort="control",job="a",instance="i"', failed: str | None = None) -> dict[str, float]:
    return {f"asked_total{{{asked}}}": 900.0, f"failed_total{{{asked if failed is None else failed}}}": 9.0}


def test_labels_that_agree_need_nothing(rollout: Rollout) -> None:
    assert found(rollout, pair()) == []


def test_a_denominator_without_the_cohort_label_is_wrong(rollout: Rollout) -> None:
    (check,) = found(rollout, pair('job="a"', 'cohort="control",job="a"'))
    assert (check.about, check.status) == ("copilot error_rate", Status.WRONG)
    assert check.found == "asked_total has no label `cohort`, which tells the cohorts apart"


def test_a_numerator_without_it_is_wrong_too(rollout: Rollout) -> None:
    (check,) = found(rollout, pair('cohort="control"', 'job="a"'))
    assert "failed_total has no label `cohort`" in check.found


def test_a_label_that_the_scrape_replaced_is_named_with_the_fix(rollout: Rollout) -> None:
    checks = found(rollout, pair('exported_cohort="control",job="a"'))
    assert ["took its place" in check.found for check in checks] == [True, True]
    assert all("honor_labels: true" in check.fix for check in checks)


def test_both_spellings_of_a_label_are_doubtful(rollout: Rollout) -> None:
    checks = found(rollout, pair('cohort="control",exported_cohort="canary"'))
    assert {check.status for check in checks} == {Status.WARNING}


def test_requests_without_the_cohort_label_are_counted(rollout: Rollout) -> None:
    (check,) = found(rollout, {**pair(), 'asked_total{job="old-pod"}': 300.0})
    assert check.status is Status.WARNING
    assert check.found.startswith("25% of asked_total in an hour have no `cohort`")


def test_match_asks_for_a_label_that_is_not_there() -> None:
    rollout = load_text((RULES + "match: {service: chat}\n").encode()).rollouts[0]
    checks = found(rollout, pair('cohort="control",service="chat"', 'cohort="control"'))
    assert "failed_total has no label `service`, which the rule asks for" in [check.found for check in checks]


@pytest.mark.parametrize("label", ["prometheus_replica", "replica"])
def test_two_servers_that_scrape_the_same_count_twice(rollout: Rollout, label: str) -> None:
    twice = {f'{name}_total{{cohort="control",{label}="{one}"}}': 900.0 for name in ("asked", "failed") for one in "ab"}
    (check,) = found(rollout, twice)
    assert "is there 2 times" in check.found
    assert check.fix == f"match: {{{label}: a}}, or deduplicate"


def test_two_jobs_that_scrape_one_target_count_twice(rollout: Rollout) -> None:
    twice = {
        f'{name}_total{{cohort="control",job="{job}",instance="i:1"}}': 900.0
        for name in ("asked", "failed")
        for job in ("pods", "static")
    }
    (check,) = found(rollout, twice)
    assert check.found == "i:1 is scraped by the jobs pods and static: each request counts 2 times"


def test_events_of_another_service_are_no_part_of_requests(rollout: Rollout) -> None:
    (check,) = found(rollout, pair('cohort="control",job="a"', 'cohort="control",job="gateway"'))
    assert check.found.endswith("they are of different services")


@pytest.mark.parametrize(("control", "canary", "told"), [
    ("old", "new", []), ("old", "old", []), ("odl", None, ["control is 'old'"]), ("old", "nwe", ["canary is 'new'"]),
    ("a", "b", ["control is 'old'", "canary is 'new'"]), ("", "", []),
])  # fmt: skip
def test_a_model_that_its_cohort_does_not_serve_is_named(
    rollout: Rollout, control: str, canary: str | None, told: list[str]
) -> None:
    """A misspelled model is found where its requests name another one; in stage `aa` both cohorts have control's."""
    series = {f'asked_total{{cohort="control",model="{control}"}}': 900.0, 'failed_total{cohort="control"}': 9.0}
    if canary is not None:
        series |= {f'asked_total{{cohort="canary",model="{canary}"}}': 90.0, 'failed_total{cohort="canary"}': 1.0}
    checks = found(rollout, series)
    assert [check.found.partition(" in its rule file")[0] for check in checks] == told
    for check in checks:
        assert (check.about, check.status) == ("copilot", Status.WARNING)
        assert "in the last hour had that `model`; it was " in check.found
        assert check.fix.startswith(f"correct `{check.found.split()[0]}:` in the rule file")


def test_a_model_label_that_tells_cohorts_apart_is_left_to_others() -> None:
    text = RULES.replace("{cohort: control}", "{model: old}").replace("{cohort: canary}", "{model: new}")
    rollout = load_text(text.replace("control: old", "control: typo", 1).encode()).rollouts[0]
    assert found(rollout, pair('model="old"')) == []


def test_a_metric_that_is_not_there_is_left_to_other_checks(rollout: Rollout) -> None:
    assert found(rollout, {"up": 0.0}) == []


def test_labels_that_could_not_be_read_are_no_verdict(rollout: Rollout) -> None:
    source = growing(pair())
    setattr(source, "label_names", lambda *_: Unreadable(Reason.SOURCE_REFUSED, "403"))  # noqa: B010  a double's
    (check,) = found(rollout, source)
    assert check.status is Status.NOTE
    assert "not all looked at (SOURCE_REFUSED): 403" in check.found
