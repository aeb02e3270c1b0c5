"""What an armed generation of a role's two slots rests on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.errors import BadDocument
from killswitch.roles.armed_pair import ArmedPair, from_document, gives_more, to_document
from killswitch.roles.pairs import PairKind

PAIR = ArmedPair("up", 3, "support", PairKind.UPGRADE, "model-old", "model-new", 2, 1000.0, "ann")
WAIVED = replace(PAIR, waiver="ann: demo", waiver_ends=2000.0)


@pytest.mark.parametrize("pair", [PAIR, WAIVED, replace(PAIR, gate_run="20261130T171429Z-3f9c2a")])
def test_a_pair_comes_back_from_its_document(pair: ArmedPair) -> None:
    assert from_document(to_document(pair), rollout="up", generation=3) == pair


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        to_document(PAIR).replace(b"UPGRADE", b"OTHER"),
        to_document(PAIR)[:-20],
        b"x" * 20_000,
    ],
)
def test_a_damaged_document_says_what_to_do(value: bytes) -> None:
    with pytest.raises(BadDocument, match="end the rollout and arm it again"):
        from_document(value, rollout="up", generation=3)


@pytest.mark.parametrize(("rollout", "generation"), [("other", 3), ("up", 4)])
def test_the_evidence_of_another_generation_is_none(rollout: str, generation: int) -> None:
    with pytest.raises(BadDocument):
        from_document(to_document(PAIR), rollout=rollout, generation=generation)


def test_a_candidate_needs_a_run_or_a_waiver_that_lasts() -> None:
    assert "has not passed the gate" in str(PAIR.without_evidence(0.0))
    assert replace(PAIR, gate_run="r").without_evidence(1e12) is None
    assert WAIVED.without_evidence(1999.0) is None
    assert "ended" in str(WAIVED.without_evidence(2000.0))


@pytest.mark.parametrize("kind", [PairKind.WATCH, PairKind.SHADOW_WATCH])
def test_models_that_have_served_users_need_no_gate(kind: PairKind) -> None:
    assert replace(PAIR, kind=kind).without_evidence(0.0) is None


@pytest.mark.parametrize(
    ("before", "after", "more"),
    [
        (None, ("shadow", 0.0), False),
        (None, ("aa", 5.0), False),
        (None, ("ramp_1", 1.0), True),
        (("aa", 5.0), ("ramp_1", 1.0), True),
        (("shadow", 0.0), ("aa", 5.0), False),
        (("ramp_25", 25.0), ("ramp_5", 5.0), False),
        (("ramp_5", 5.0), ("custom", 5.0), False),
        (("ramp_5", 0.0), ("ramp_5", 5.0), True),
        (("ramp_5", 5.0), ("aa", 50.0), False),
    ],
)
def test_only_users_who_see_its_answers_count(
    before: tuple[str, float] | None, after: tuple[str, float], *, more: bool
) -> None:
    assert gives_more(before, after) is more
