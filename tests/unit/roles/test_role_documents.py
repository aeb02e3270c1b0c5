"""A role, its history, a gate run and a waiver come back from their documents as they were, or are refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadDocument
from killswitch.roles import document, gate_record, waiver
from killswitch.roles.gate_record import GateApproval, GateNumber, GateRecord, GateVerdict
from killswitch.roles.references import RoleReference, role_reference
from killswitch.roles.role import (
    MAX_MODEL,
    ProdOrigin,
    Role,
    RoleChange,
    RoleHistoryEntry,
    Slot,
    check_model,
    check_role_name,
)
from killswitch.roles.waiver import Waiver

AT = 1_776_608_531.0
ROLE = Role("review_triage", "old-1", "new-1", None, 3, RoleChange.CANDIDATE_SET, AT, "kim")
MODELS = st.none() | st.from_regex(r"[a-z0-9/:._@-]{1,40}", fullmatch=True)
NUMBER = GateNumber("agreement", 0.97, 0.955, 0.98, 0.95, GateVerdict.PASS, 800, None, "97 % of 800 rows agree")
RUN = GateRecord(
    run="20260419T142211Z-ab12",
    role="review_triage",
    prod="old-1",
    candidate="new-1",
    golden="a" * 64,
    golden_rows=1000,
    asked_rows=800,
    setup="b" * 64,
    asking="c" * 64,
    point_estimates=False,
    verdict=GateVerdict.PASS,
    why="all four numbers pass",
    numbers=(NUMBER,),
    started_at=AT,
    ended_at=AT + 90,
    by="kim",
    cost=123_456,
)
WAIVER = Waiver("review_triage", "old-1", "new-1", "lee", "the golden set is being written", "kim", AT, AT + 3600)


@given(prod=MODELS, candidate=MODELS, previous=MODELS, change=st.sampled_from(RoleChange))
def test_a_role_comes_back_as_it_was(
    prod: str | None, candidate: str | None, previous: str | None, change: RoleChange
) -> None:
    role = replace(ROLE, prod=prod, candidate=candidate, previous=previous, change=change)
    assert document.from_document(document.to_document(role), name=role.name) == role


@pytest.mark.parametrize(
    "entry",
    [
        RoleHistoryEntry(ROLE, "it is cheaper"),
        RoleHistoryEntry(ROLE, "", gate_run=RUN.run),
        RoleHistoryEntry(ROLE, "", waiver="no time", incident="x/7"),
    ],
)
def test_a_history_entry_comes_back_as_it_was(entry: RoleHistoryEntry) -> None:
    assert document.history_from_document(document.history_document(entry), name=ROLE.name) == entry


@pytest.mark.parametrize("letter", ["a", "é", "🙂", "\x01", '"', "\ud800"])
def test_the_longest_texts_come_back(letter: str) -> None:
    """Whatever a person types, however it is escaped: what was stored can be read."""
    origin = ProdOrigin(AT, letter * 500, RoleChange.PROMOTED, waiver=letter * 5000)
    role = replace(ROLE, prod="m" * MAX_MODEL, updated_by=letter * 500, origin=origin)
    entry = RoleHistoryEntry(role, letter * 5000, waiver=letter * 5000)
    assert document.history_from_document(document.history_document(entry), name=ROLE.name).role.prod == role.prod
    waived = replace(WAIVER, owner=letter * 500, reason=letter * 5000)
    assert waiver.from_document(waiver.to_document(waived), role=ROLE.name).candidate == WAIVER.candidate


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", 2),
        ("role", "another"),
        ("number", 0),
        ("number", "3"),
        ("slots", None),
        ("slots", {"prod": ""}),
        ("slots", {"prod": "two\nlines"}),
        ("slots", {"prod": 4}),
        ("change", "STOLEN"),
        ("updated_at", "yesterday"),
        ("updated_by", 5),
    ],
)
def test_a_damaged_role_is_refused(field: str, value: object) -> None:
    damaged = {**json.loads(document.to_document(ROLE)), field: value}
    with pytest.raises(BadDocument, match="role review_triage"):
        document.from_document(json.dumps(damaged).encode(), name=ROLE.name)


def test_each_slot_has_its_own_model() -> None:
    role = replace(ROLE, previous="older-1")
    assert [role.model(slot) for slot in Slot] == ["old-1", "new-1", "older-1"]


@pytest.mark.parametrize("approval", [None, GateApproval("lee", AT, "8 % dearer is fine")])
@pytest.mark.parametrize("cost", [None, 0, 5])
def test_a_gate_run_comes_back_as_it_was(approval: GateApproval | None, cost: int | None) -> None:
    run = replace(RUN, approval=approval, cost=cost)
    assert gate_record.from_document(gate_record.to_document(run), role=run.role) == run


@pytest.mark.parametrize(
    ("field", "value"),
    [("format", 9), ("role", "another"), ("verdict", "MAYBE"), ("golden", 3), ("numbers", {}), ("point_estimates", 1)],
)
def test_a_damaged_gate_run_is_refused(field: str, value: object) -> None:
    damaged = {**json.loads(gate_record.to_document(RUN)), field: value}
    with pytest.raises(BadDocument, match="gate run of role review_triage"):
        gate_record.from_document(json.dumps(damaged).encode(), role=RUN.role)


@pytest.mark.parametrize(
    ("verdict", "approved", "allowed"),
    [
        (GateVerdict.PASS, False, True),
        (GateVerdict.NEEDS_APPROVAL, False, False),
        (GateVerdict.NEEDS_APPROVAL, True, True),
        (GateVerdict.FAIL, True, False),
        (GateVerdict.TOO_FEW_ROWS, True, False),
        (GateVerdict.UNKNOWN, True, False),
    ],
)
def test_an_approval_helps_only_what_asks_for_it(verdict: GateVerdict, *, approved: bool, allowed: bool) -> None:
    run = replace(RUN, verdict=verdict, approval=GateApproval("lee", AT, "yes") if approved else None)
    assert run.allows_promotion is allowed


def test_a_waiver_comes_back_as_it_was() -> None:
    assert waiver.from_document(waiver.to_document(WAIVER), role=WAIVER.role) == WAIVER
    with pytest.raises(BadDocument, match="waiver of role other"):
        waiver.from_document(waiver.to_document(WAIVER), role="other")


def test_a_waiver_holds_for_its_models_and_its_time() -> None:
    assert WAIVER.holds_for(prod="old-1", candidate="new-1", now=AT)
    assert not WAIVER.holds_for(prod="old-1", candidate="new-1", now=AT + 3600)
    assert not WAIVER.holds_for(prod="old-1", candidate="new-1", now=AT - 1)
    assert not WAIVER.holds_for(prod="new-1", candidate="new-1", now=AT)
    assert not WAIVER.holds_for(prod="old-1", candidate="new-2", now=AT)


def test_a_reference_names_a_slot_of_a_role() -> None:
    assert role_reference("role:support.prod") == RoleReference("support", Slot.PROD)
    assert str(RoleReference("support", Slot.CANDIDATE)) == "role:support.candidate"
    assert role_reference("model-old") is None


@pytest.mark.parametrize("text", ["role:", "role:support", "role:support.next", "role:.prod", "role:Über.prod"])
def test_half_a_reference_is_refused(text: str) -> None:
    with pytest.raises(BadDocument):
        role_reference(text)


@pytest.mark.parametrize("name", ["", "a b", "-a", "a" * 64, "a.b", "Ünder", "a/b"])
def test_what_is_no_name_of_a_role_is_refused(name: str) -> None:
    with pytest.raises(BadDocument, match="is no name of a role"):
        check_role_name(name)


@pytest.mark.parametrize("model", ["", " a", "a\nb", "a" * (MAX_MODEL + 1), "a\x1b[31m"])
def test_what_is_no_model_is_refused(model: str) -> None:
    with pytest.raises(BadDocument, match="is no model's id"):
        check_model(model)
