from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.errors import BadDocument
from killswitch.flags.incident import MAX_DOCUMENT_BYTES, Paged, RoutersFollowed, from_document, to_document, with_page
from killswitch.model import Excursion, Finding, Reason, Unit, Verdict
from tests.doubles.pages import AT, BREACH, armed, incident, incident_draft

pytestmark = pytest.mark.simulation

whole = st.integers(min_value=0, max_value=2_000_000_000).map(float)
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32).map(float)
counts = st.floats(min_value=0, allow_nan=False, allow_infinity=False, width=32).map(float)
findings = st.builds(
    Finding,
    rule=st.text(min_size=1, max_size=20).filter(lambda t: t.isprintable()),
    verdict=st.sampled_from(Verdict),
    reason=st.none() | st.sampled_from(Reason),
    sentence=st.text(max_size=80).filter(lambda t: t.isprintable()),
    unit=st.sampled_from(Unit),
    canary=numbers,
    control=numbers,
    limit=numbers,
    samples_canary=numbers,
    samples_control=numbers,
    over=st.booleans(),
    since=st.none() | whole,
    evidence=numbers,
    needed=numbers,
    excursion=st.none() | st.builds(Excursion, whole, counts, counts, counts, counts, numbers),
    proven_in=numbers,
    raw_canary=numbers,
    raw_control=numbers,
    raw_samples_canary=numbers,
    raw_samples_control=numbers,
    queries=st.lists(st.text(max_size=30).filter(lambda t: t.isprintable()), max_size=3).map(tuple),
)


def test_an_incident_comes_back_from_its_document_as_it_was() -> None:
    full = replace(
        incident(),
        pages=(Paged("slack", "TRIPPED", AT + 1, "C1/1.2", possible_repeat=True),),
        routers=RoutersFollowed(58, 60, AT + 2),
    )
    assert from_document(to_document(full), rollout="support-copilot") == full


@given(st.lists(findings, max_size=3).map(tuple))
def test_every_finding_comes_back_as_it_was(some: tuple[Finding, ...]) -> None:
    written = incident(findings=some)
    assert from_document(to_document(written), rollout="support-copilot") == written


def test_times_are_iso_8601_and_the_id_has_the_generation() -> None:
    """Times are ISO 8601 in the document. The id names the rollout and the generation."""
    document = json.loads(to_document(incident()))
    assert document["id"] == "support-copilot.7"
    assert document["decided_at"] == "2026-04-19T14:22:11Z"
    assert document["tick"] == "2026-04-19T14:22:06Z"


def test_what_is_not_finite_is_null_since_json_has_no_word_for_it() -> None:
    odd = replace(BREACH, canary=math.inf, control=math.nan, evidence=math.inf)
    document = json.loads(to_document(incident(findings=(odd,), latency=math.nan)), parse_constant=pytest.fail)
    assert document["findings"][0]["canary"] is None
    assert document["latency_seconds"] is None


def test_a_lone_surrogate_in_a_sentence_does_not_stop_the_record() -> None:
    written = to_document(incident(reason="broken \ud800 text"))
    assert from_document(written, rollout="support-copilot").reason == "broken ? text"


@pytest.mark.parametrize("length", [1000, 30_000, 200_000])
def test_a_record_of_any_length_fits_and_keeps_its_tripping_rule(length: int) -> None:
    """A record of any length fits into the store and keeps the rule that tripped."""
    long = replace(BREACH, queries=("q" * length,) * 4, sentence="s" * length)
    many = tuple(replace(long, rule=f"rule_{number}") for number in range(40))
    written = to_document(incident(findings=(long, *many), reason="r" * length))
    assert len(written) <= MAX_DOCUMENT_BYTES
    assert "refusal_rate" in {f.rule for f in from_document(written, rollout="support-copilot").findings}


def test_only_the_newest_pages_are_kept() -> None:
    record = incident()
    for number in range(300):
        record = with_page(record, Paged("slack", "TRIPPED", AT, str(number)))
    assert len(record.pages) == 200
    assert record.pages[-1].reference == "299"


@given(st.binary(max_size=200) | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(
    lambda document: json.dumps(document).encode()
))  # fmt: skip
def test_garbage_is_refused_and_nothing_else_is_raised(value: bytes) -> None:
    with pytest.raises(BadDocument):
        from_document(value, rollout="support-copilot")


@given(st.data())
def test_a_document_with_a_spoiled_field_is_refused_or_read(data: st.DataObject) -> None:
    """A document with any one field spoiled is refused or read as a whole."""
    document = json.loads(to_document(incident()))
    name = data.draw(st.sampled_from(sorted(document)))
    document[name] = data.draw(st.sampled_from([None, 3, -1.5, "x", [], [1], {}, True, 1e400]))
    with suppress(BadDocument):  # any other exception fails the test
        read = from_document(json.dumps(document).encode(), rollout="support-copilot")
        assert from_document(to_document(read), rollout="support-copilot") == read


def test_a_document_of_another_rollout_is_refused() -> None:
    with pytest.raises(BadDocument, match="is of 'support-copilot'"):
        from_document(to_document(incident()), rollout="other")


def test_a_draft_becomes_the_incident_of_the_flag_that_is_tripped() -> None:
    """What the flag knows comes from the flag as it is at the flip; all else is the verdict's."""
    flag = replace(armed("copilot"), generation=3, canary_percent=25.0, stage="ramp_25")
    record = incident_draft("copilot", reason="refusals").on(flag)
    assert record == incident(
        "copilot",
        3,
        reason="refusals",
        control=flag.control,
        canary=flag.canary,
        percent_before=25.0,
        stage_before="ramp_25",
        salt=flag.salt,
        stages=flag.stages,
    )


def test_a_later_flip_moves_the_time_and_the_latency() -> None:
    draft = incident_draft(decided_at=100.0, latency=5.0)
    assert (draft.after(40.0).decided_at, draft.after(40.0).latency) == (140.0, 45.0)
    by_hand = incident_draft(decided_at=100.0, latency=None)
    assert (by_hand.after(40.0).decided_at, by_hand.after(40.0).latency) == (140.0, None)
