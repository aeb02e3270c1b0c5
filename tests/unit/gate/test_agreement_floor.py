"""The floor: prod's disagreement with itself, and the candidate that is as near to prod as prod is."""

from __future__ import annotations

from dataclasses import replace

from killswitch.gate.floor import repeats
from killswitch.gate.judging import GateOutcome, judged
from killswitch.gate.observations import Observation
from killswitch.roles.bars import Bars
from killswitch.roles.gate_record import GateVerdict
from tests.unit.gate.gate_rows import gate_rows


def outcome(rows: list[Observation]) -> GateOutcome:
    return judged(rows, Bars(), rows=len(rows))


def agreement(rows: list[Observation]) -> GateVerdict:
    return outcome(rows).numbers[1].verdict


def test_the_first_50_rows_are_repeated_then_every_fifth() -> None:
    steady = gate_rows(50)
    assert all(repeats(at, ()) for at in range(50))
    assert [at for at in range(50, 70) if repeats(at, steady)] == [50, 55, 60, 65]


def test_every_row_is_repeated_while_prod_wavers() -> None:
    assert all(repeats(at, gate_rows(50, own=1)) for at in range(50, 100))
    assert not repeats(51, gate_rows(51, own=1))


def test_a_prod_that_was_asked_once_has_no_floor() -> None:
    found = outcome([replace(one, prod_agrees_with_itself=None) for one in gate_rows(400)])
    assert found.floor.disagreement is None
    assert "floor is not known" in found.floor.sentence
    assert found.verdict is GateVerdict.PASS


def test_the_floor_is_printed_with_its_interval() -> None:
    floor = outcome(gate_rows(1000, mismatches=40, own=30)).floor
    assert (floor.rows, floor.disagreement, floor.more) == (1000, 0.03, 0.01)
    assert floor.low is not None
    assert floor.low < 0.03
    assert "prod disagrees with itself on 30 of 1,000 rows (3.00%" in floor.sentence


def test_a_candidate_at_prods_own_level_passes_below_the_bar() -> None:
    """Both disagree on 7 %, on other rows."""
    found = outcome(gate_rows(4000, mismatches=280, own=280))
    assert found.numbers[1].verdict is GateVerdict.PASS
    assert "as near to prod as prod is to itself" in found.numbers[1].sentence


def test_a_candidate_that_is_further_from_prod_fails() -> None:
    assert agreement(gate_rows(4000, mismatches=460, own=280)) is GateVerdict.FAIL


def test_below_the_bar_but_near_the_floor_fails_nothing() -> None:
    """At 92.5 % the bar alone would fail it; prod's own 94.5 % says that this may be prod's wavering."""
    rows = gate_rows(2000, mismatches=150, own=110)
    assert agreement(rows) is GateVerdict.TOO_FEW_ROWS
    assert agreement([replace(one, prod_agrees_with_itself=True) for one in rows]) is GateVerdict.FAIL


def test_a_prod_that_answers_at_random_compares_with_nothing() -> None:
    found = outcome(gate_rows(400, mismatches=200, own=200))
    assert found.numbers[1].verdict is GateVerdict.UNKNOWN
    assert "so this says nothing" in found.numbers[1].sentence
