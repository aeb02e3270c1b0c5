"""The doctor says of each rule what it sees within ten minutes and an hour, at today's traffic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from killswitch.model import Counts, Decide, Reading, Readings, Reason, Rollout, Unreadable
from killswitch.preflight.checks import Status
from killswitch.preflight.sensitivity_checks import examine_sensitivity
from killswitch.rules.loading import load_text
from killswitch.verdicts.evidence_entry import STEP


@pytest.fixture
def rollout() -> Rollout:
    text = b"rollout: copilot\ncontrol: old\ncanary: new\nrules: {error_rate: {max: 2%}}\n"
    return load_text(text).rollouts[0]


def steps(rollout: Rollout, requests: float) -> Sequence[Readings]:
    absent = Unreadable(Reason.NO_DATA, "not armed")
    control = Counts(requests * 0.004, requests) if requests else absent
    return [{(rollout.name, "error_rate", STEP): Reading(absent, control, 30.0)}] * 120


def test_what_is_seen_is_said_with_todays_traffic(rollout: Rollout) -> None:
    (check,) = examine_sensitivity(rollout, steps(rollout, 570.0), 5.0, 30.0)
    assert check.status is Status.OK
    assert check.found.startswith("with 5% of 20 requests a second, a canary at ")
    assert "seen within 10m" in check.found
    assert "within 1h" in check.found


def test_a_rule_that_sees_nothing_in_an_hour_is_a_warning(rollout: Rollout) -> None:
    (check,) = examine_sensitivity(rollout, steps(rollout, 0.3), 5.0, 30.0)
    assert check.status is Status.WARNING
    assert "no regression is seen within 1h" in check.found
    assert "larger share" in check.fix


def test_without_requests_or_evidence_nothing_is_said(rollout: Rollout) -> None:
    assert not list(examine_sensitivity(rollout, steps(rollout, 0.0), 5.0, 30.0))
    bare = replace(rollout, decide=Decide.THRESHOLD)
    assert not list(examine_sensitivity(bare, steps(rollout, 570.0), 5.0, 30.0))
