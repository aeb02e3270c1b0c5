"""The flag's document: written and read again as it was, and refused by name where it is hostile."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadDocument
from killswitch.flags.document import MAX_DOCUMENT_BYTES, from_document, to_document
from killswitch.flags.flag import MAX_GENERATION, Flag, StageEntry, Trip, set_stage, trip
from killswitch.flags.transitions import Actor, State
from tests.unit.flags.changed_flags import NOW, armed, tripped

times = st.integers(min_value=0, max_value=4_000_000_000_000).map(lambda milliseconds: milliseconds / 1000)
percents = st.floats(min_value=0.0, max_value=100.0)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
entries = st.builds(StageEntry, stage=texts, percent=percents, at=times)
trips = st.builds(
    Trip, at=times, by=texts, reason=texts, incident=texts, rules=st.lists(texts, max_size=4).map(tuple),
    percent_before=percents, stage_before=texts,
)  # fmt: skip
flags = st.builds(
    Flag, rollout=st.just("copilot"), generation=st.integers(1, 10**9), state=st.just(State.ARMED), stage=texts,
    canary_percent=percents, control=texts, canary=texts, salt=texts, armed_at=times,
    stages=st.lists(entries, min_size=1, max_size=5).map(tuple), updated_at=times, updated_by=texts,
    canary_after_aa=st.none() | texts,
)  # fmt: skip


@given(flags, st.none() | trips)
def test_a_flag_comes_back_from_its_document_as_it_was(flag: Flag, happened: Trip | None) -> None:
    if happened is not None:
        flag = replace(flag, state=State.TRIPPED, canary_percent=0.0, trip=happened)
    assert from_document(to_document(flag), rollout="copilot") == flag


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_a_spoiled_document_is_a_flag_or_a_bad_document(
    data: st.DataObject,
) -> None:
    """A document with any field spoiled is a flag or a bad document, and never another error."""
    document = json.loads(to_document(tripped()))
    where = data.draw(st.sampled_from([document, document["trip"], document["stages"][0]]))
    where[data.draw(st.sampled_from(sorted(where)))] = data.draw(json_values)
    value = json.dumps(document).encode()
    try:
        flag = from_document(value, rollout="copilot")
    except BadDocument:
        return
    assert 0.0 <= flag.canary_percent <= 100.0
    assert from_document(to_document(flag), rollout="copilot") == flag


@given(st.binary(max_size=200))
def test_any_bytes_are_a_bad_document(value: bytes) -> None:
    with pytest.raises(BadDocument):
        from_document(value, rollout="copilot")


@given(st.integers(min_value=0, max_value=2000))
def test_a_truncated_document_is_a_bad_document(length: int) -> None:
    value = to_document(tripped())
    with pytest.raises(BadDocument):
        from_document(value[: min(length, len(value) - 1)], rollout="copilot")


@pytest.mark.parametrize(
    "value",
    [
        b"[" * 100_000,
        b'{"format": 1}' + b" " * MAX_DOCUMENT_BYTES,
        b'{"format": ' + b"9" * 10_000 + b"}",
        b"\xff\xfe",
        b"null",
        b"NaN",
    ],
    ids=["nested", "large", "long number", "no text", "null", "NaN"],
)
def test_hostile_documents_are_refused_by_name(value: bytes) -> None:
    with pytest.raises(BadDocument, match="flag of copilot"):
        from_document(value, rollout="copilot")


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("rollout", "other", "of 'other'"),
        ("format", 2, "format 2"),
        ("generation", 0, "generation"),
        ("generation", True, "generation"),
        ("state", "absent", "state"),
        ("canary_percent", float("nan"), "canary_percent"),
        ("canary_percent", 5.0, "tripped, but canary_percent"),
        ("canary_percent", -1, "canary_percent"),
        ("stages", [], "stages"),
        ("trip", None, "trip"),
        ("armed_at", "2026-01-01T00:00:00", "offset"),
    ],
)
def test_a_senseless_field_is_named(field: str, value: object, word: str) -> None:
    document = {**json.loads(to_document(tripped())), field: value}
    with pytest.raises(BadDocument, match=word):
        from_document(json.dumps(document).encode(), rollout="copilot")


def test_a_newer_writers_fields_are_ignored() -> None:
    document = {**json.loads(to_document(armed())), "colour": "blue"}
    assert from_document(json.dumps(document).encode(), rollout="copilot") == armed()


def test_however_long_the_reason_a_tripped_flag_can_be_read_again() -> None:
    """Readers take 64 KB: a longer document would be a flag that no controller and no re-arm could understand."""
    long = trip(
        armed(), rollout="copilot", reason="x" * 200_000, rules=tuple(f"rule_{n}" * 10 for n in range(3000)),
        incident="copilot.1", now=NOW, by="b" * 50_000, actor=Actor.PERSON,
    )  # fmt: skip
    value = to_document(long)
    assert len(value) <= MAX_DOCUMENT_BYTES
    again = from_document(value, rollout="copilot")
    assert again.state is State.TRIPPED
    assert again.trip is not None
    assert again.trip.reason.startswith("xxx")


def test_a_ramp_of_a_thousand_steps_can_be_read_again() -> None:
    flag = armed()
    for step in range(1500):
        flag = set_stage(
            flag, rollout="copilot", percent=float(step % 90), stage="a-stage-with-a-long-name",
            now=NOW + step, by="a", actor=Actor.PERSON,
        )  # fmt: skip
    value = to_document(flag)
    assert len(value) <= MAX_DOCUMENT_BYTES
    again = from_document(value, rollout="copilot")
    assert again.canary_percent == flag.canary_percent
    assert again.stages[0] == flag.stages[0]  # where the generation began
    assert again.stages[-1] == flag.stages[-1]


def test_a_lone_surrogate_does_not_stop_a_trip() -> None:
    """What a shell hands over as an argument may be no text at all."""
    flag = trip(
        armed(),
        rollout="copilot",
        reason="bad \udcff byte",
        rules=(),
        incident="i",
        now=NOW,
        by="x",
        actor=Actor.PERSON,
    )
    again = from_document(to_document(flag), rollout="copilot")
    assert again.trip is not None
    assert again.trip.reason == "bad ? byte"


@pytest.mark.parametrize("field", ["stage", "canary", "salt", "updated_by"])
def test_half_a_character_in_a_document_is_refused(field: str) -> None:
    """The stage is part of keys of the store: one such flag ended each cycle, with the pages of all rollouts."""
    with pytest.raises(BadDocument, match="surrogates not allowed"):
        from_document(document(None, **{field: "\ud800"}), rollout="copilot")


def test_a_flag_whose_texts_are_empty_comes_back_as_it_was() -> None:
    flag = tripped(replace(armed(), salt=""))
    assert flag.trip is not None
    flag = replace(flag, updated_by="", trip=replace(flag.trip, by="", reason="", incident=""))
    assert from_document(to_document(flag), rollout="copilot") == flag


def test_an_armed_flags_document_holds_no_trip() -> None:
    assert json.loads(to_document(armed()))["trip"] is None


def document(flag: Flag | None = None, **changes: object) -> bytes:
    return json.dumps({**json.loads(to_document(flag or armed())), **changes}).encode()


def test_the_largest_values_that_are_allowed_are_read() -> None:
    whole = to_document(replace(armed(), generation=MAX_GENERATION, canary_percent=100.0))
    flag = from_document(whole.ljust(MAX_DOCUMENT_BYTES), rollout="copilot")
    assert (flag.generation, flag.canary_percent) == (MAX_GENERATION, 100.0)
    with pytest.raises(BadDocument, match="over 65536"):
        from_document(whole.ljust(MAX_DOCUMENT_BYTES + 1), rollout="copilot")


def test_a_canary_after_aa_that_is_no_name_is_none() -> None:
    assert from_document(document(canary_after_aa=5), rollout="copilot").canary_after_aa is None


TRIP = json.loads(to_document(tripped()))["trip"]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (document(stage=5), "flag of copilot: stage "),
        (document(canary_percent="5"), "flag of copilot: canary_percent must be a number, got '5'"),
        (document(canary_percent=100.5), "flag of copilot: canary_percent must be from 0 to 100, got 100.5"),
        (document(stages=[{"stage": 5}]), "flag of copilot, stages: stage "),
        (document(tripped(), trip={**TRIP, "by": 5}), "flag of copilot, trip: by "),
        (document(tripped(), trip={**TRIP, "rules": "abc"}), "flag of copilot, trip: rules must be a list of names"),
        (document(tripped(), trip={**TRIP, "rules": ["a", 5]}), "flag of copilot, trip: rules must be a list of names"),
    ],
)
def test_a_bad_field_is_named_with_where_it_stands(value: bytes, says: str) -> None:
    with pytest.raises(BadDocument) as refused:
        from_document(value, rollout="copilot")
    assert str(refused.value).startswith(says)
