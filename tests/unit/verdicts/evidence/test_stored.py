"""Stored evidence: what null stands for, and what is refused instead of being read as something else."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from killswitch.errors import BadDocument
from killswitch.verdicts.evidence import DetectorSpec, Evidence, TickCounts, advance, from_document, start, to_document
from killswitch.verdicts.evidence.detector import ALTERNATIVES
from killswitch.verdicts.evidence.tested_limits import WORSE_THAN_CONTROL, Bound

SPECS = [DetectorSpec(("r", number), (Bound("worse_than_control", WORSE_THAN_CONTROL),), 0.01) for number in (1, 2)]


def seen() -> Evidence:
    """Both rules have a past, and only the first has evidence."""
    events, trials = np.array([[9.0, 0.0]]), np.array([[75.0, 0.0]])
    counts = TickCounts(events, trials, np.array([[14.0, 14.0]]), np.array([[1425.0, 1425.0]]))
    return advance(start(SPECS), counts, np.array([30.0]), step=30.0)[0]


def stored(evidence: Evidence) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(to_document(evidence), allow_nan=False))
    return document


def test_a_document_says_what_it_is_of() -> None:
    document = stored(seen())
    assert document["format"] == 1
    assert document["alternatives"] == list(ALTERNATIVES)
    assert document["rules"] == ["('r', 1)", "('r', 2)"]
    assert sorted(document["past"]) == ["canary", "control", "split"]
    assert document["past"]["control"]["events"] == [14.0, 14.0]
    assert document["past"]["canary"]["trials"] == [75.0, 0.0]


def test_no_evidence_is_stored_as_null() -> None:
    document = stored(seen())
    assert None not in document["log_sums"][0]
    assert document["log_sums"][1] == document["since"][1] == [None] * len(ALTERNATIVES)
    again = from_document(document, SPECS)
    assert again.log_sums[1].tolist() == [-math.inf] * len(ALTERNATIVES)
    assert np.isnan(again.since[1]).all()
    for name in ("value", "excursions", "since"):
        np.testing.assert_array_equal(getattr(again, name), getattr(seen(), name))
    assert (again.excursions[0] > 0).all()


def test_null_in_an_excursion_or_a_history_is_zero() -> None:
    document = stored(seen())
    document["excursions"][0][0] = document["past"]["control"]["events"][0] = None
    again = from_document(document, SPECS)
    assert again.excursions[0, 0] == again.past.control.events[0] == 0.0
    assert again.past.control.events[1] == 14.0


@pytest.mark.parametrize("name", ["format", "alternatives", "rules", "past", "log_sums", "excursions", "since"])
def test_a_document_with_a_part_missing_is_refused(name: str) -> None:
    document = stored(seen())
    del document[name]
    with pytest.raises(BadDocument, match=r"^stored evidence: .*; replay instead$"):
        from_document(document, SPECS)


@pytest.mark.parametrize("side", ["control", "canary", "split"])
@pytest.mark.parametrize("field", ["events", "late_expected"])
def test_a_history_with_a_part_missing_is_refused(side: str, field: str) -> None:
    document = stored(seen())
    del document["past"][side][field]
    with pytest.raises(BadDocument, match=f"^stored evidence: {field} cannot be read .*; replay instead$"):
        from_document(document, SPECS)


@pytest.mark.parametrize("side", ["control", "canary", "split"])
@pytest.mark.parametrize("value", [None, [], "text"])
def test_a_history_that_is_none_is_refused(side: str, value: object) -> None:
    document = stored(seen())
    document["past"][side] = value
    with pytest.raises(BadDocument, match=r"^stored evidence: a history is missing; replay instead$"):
        from_document(document, SPECS)


@pytest.mark.parametrize("past", [None, [], "text"])
def test_a_past_that_is_no_object_is_refused(past: object) -> None:
    with pytest.raises(BadDocument, match=r"^stored evidence: a history is missing; replay instead$"):
        from_document(stored(seen()) | {"past": past}, SPECS)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 2}, "format is 2, need 1"),
        ({"format": "x" * 100}, f"format is '{'x' * 79}, need 1"),
        ({"rules": ["a"]}, "rules is ['a'], need [\"('r', 1)\", \"('r', 2)\"]"),
        ({"since": [[1.0, 2.0]]}, "since has shape (1, 2), need (2, 6)"),
        ({"alternatives": None}, "alternatives is None, need [1.2, 1.5, 2.0, 3.0, 5.0, 10.0]"),
    ],
)
def test_a_refusal_says_what_was_found_and_what_is_needed(change: dict[str, object], says: str) -> None:
    with pytest.raises(BadDocument) as refused:
        from_document(stored(seen()) | change, SPECS)
    assert str(refused.value) == f"stored evidence: {says}; replay instead"
