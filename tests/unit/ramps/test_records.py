"""Holds, approvals and steps taken, as the store keeps them."""

from __future__ import annotations

import json

import pytest

from killswitch.errors import BadDocument
from killswitch.ramps.gate_inputs import Approval, Hold
from killswitch.ramps.records import (
    MAX_APPROVALS,
    AdvanceRecord,
    approvals_document,
    approvals_from_document,
    hold_document,
    hold_from_document,
)
from tests.unit.ramps.ramped import NOW


def test_a_hold_reads_back_as_it_was() -> None:
    hold = Hold("the database moves", "ann@laptop")
    assert hold_from_document(hold_document(hold, rollout="copilot", at=NOW), rollout="copilot") == hold


def test_approvals_read_back_and_are_bounded() -> None:
    some = tuple(Approval("@a", f"ann{number}", 1, "ramp_25", NOW) for number in range(MAX_APPROVALS + 5))
    assert approvals_from_document(approvals_document(some, rollout="copilot"), rollout="copilot") == some[5:]


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b'{"format": 2, "rollout": "copilot"}', b"\xff", b"{" * 100_000])
def test_what_is_no_record_is_refused(value: bytes) -> None:
    with pytest.raises(BadDocument):
        hold_from_document(value, rollout="copilot")
    with pytest.raises(BadDocument):
        approvals_from_document(value, rollout="copilot")


def test_a_record_of_another_rollout_is_refused() -> None:
    with pytest.raises(BadDocument):
        hold_from_document(hold_document(Hold("r", "b"), rollout="other", at=NOW), rollout="copilot")


def test_a_step_keeps_every_check_with_its_numbers() -> None:
    checks = ({"check": "watched", "outcome": "PASS", "sentence": "judged for 1d of 1d", "wait_seconds": None},)
    record = AdvanceRecord("copilot", 1, 2, "ramp_1", "ramp_5", 5.0, NOW, "controller-a", automatic=True, checks=checks)
    document = json.loads(record.document())
    assert (document["from_stage"], document["to_stage"], document["despite"]) == ("ramp_1", "ramp_5", None)
    assert document["checks"] == list(checks)
