from __future__ import annotations

import numpy as np
import pytest

from killswitch.shadow.evidence.columns import DIFFERENCES, UNKNOWN, PairColumns, bits_of
from tests.doubles.shadow_records import pair, side


def test_rows_are_in_order_of_when_control_was_asked() -> None:
    """Records of a clock that was set back are sorted, whatever order they were written in."""
    columns = PairColumns.of([pair(3.0, kind="noise"), pair(1.0), pair(2.0)])
    assert columns.at.tolist() == [1.0, 2.0, 3.0]
    assert columns.noise.tolist() == [False, False, True]


def test_what_is_unknown_is_nan_and_never_zero() -> None:
    nothing = side(cost_micros=None, output_tokens=None, seconds=float("inf"))
    columns = PairColumns.of([pair(other=nothing, similarity=float("nan"), equivalent=None)])
    for values in (columns.similarity, columns.win, columns.other.cost_micros, columns.other.output_tokens):
        assert np.isnan(values).tolist() == [True]
    assert np.isnan(columns.other.seconds).all()
    assert columns.equivalent.tolist() == [UNKNOWN]


def test_an_answer_without_a_finish_reason_is_not_known_to_be_whole() -> None:
    columns = PairColumns.of([pair(other=side(finish_reason=said)) for said in ("length", "stop", "")])
    assert columns.other.cut.tolist() == [1, 0, UNKNOWN]
    assert columns.control.cut.tolist() == [0, 0, 0]


def test_texts_are_codes_of_one_table_for_both_sides() -> None:
    columns = PairColumns.of([pair(other=side(opening="Of course", language="ja")), pair(1.0, prompt_class="billing")])
    assert [columns.openings[code] for code in columns.other.opening] == ["Of course", "Sure, here is"]
    assert [columns.openings[code] for code in columns.control.opening] == ["Sure, here is", "Sure, here is"]
    assert [columns.languages[code] for code in columns.other.language] == ["ja", "en"]
    assert [columns.classes[code] for code in columns.prompt_class] == ["", "billing"]


def test_outcomes_of_a_newer_format_are_no_outcome() -> None:
    columns = PairColumns.of([pair(other=side(outcome="thinking"))])
    assert columns.other.outcome.tolist() == [UNKNOWN]
    assert not columns.other.has_outcome("ok", "error", "timeout").any()


def test_kinds_of_difference_are_bits() -> None:
    columns = PairColumns.of([pair(differences=("number", "money", "number", "mood")), pair(1.0)])
    assert columns.differences.tolist() == [5, 0]
    assert columns.has_difference("money").tolist() == [True, False]
    assert not columns.has_difference("date").any()
    assert bits_of(DIFFERENCES) == 2 ** len(DIFFERENCES) - 1


@pytest.mark.parametrize("rows", [np.array([False, True, True]), np.array([1, 2]), slice(1, 3)])
def test_chosen_rows_are_taken_from_every_column(rows: np.ndarray | slice) -> None:
    records = [pair(at, other=side(seconds=at), prompt_class=f"c{at:g}") for at in (0.0, 1.0, 2.0)]
    chosen = PairColumns.of(records, dropped={"disk": 3}).where(rows)
    assert chosen.size == 2
    assert chosen.at.tolist() == chosen.other.seconds.tolist() == [1.0, 2.0]
    assert [chosen.classes[code] for code in chosen.prompt_class] == ["c1", "c2"]
    assert chosen.dropped == {"disk": 3}


def test_a_judges_view_is_found_by_the_pairs_id() -> None:
    columns = PairColumns.of([pair(0.0), pair(1.0)], wins={"p1": 0.5})
    assert np.isnan(columns.win[0])
    assert columns.win[1] == 0.5


def test_no_records_are_no_rows() -> None:
    columns = PairColumns.of([])
    assert columns.size == 0
    assert not columns.has_difference("number").size
