from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from killswitch.errors import BadRules
from killswitch.shadow.criteria import (
    BY_CLASS,
    DEFAULTS,
    FIRST_CLASSES,
    KIND_OF_LIMIT,
    OF_THE_MISSION,
    OPTIONAL,
    TITLES,
    Criteria,
    Measure,
    criteria_from,
)


def test_nothing_written_is_the_missions_table_with_margins() -> None:
    criteria = criteria_from({})
    assert criteria == Criteria()
    written = {one.measure.value: one.written for one in criteria.each}
    assert written["latency_p95"] == "1.2"
    assert written["similarity"] == "0.95"
    assert written["equivalent"] == "70%"
    assert written["errors"] == written["refusals"] == "0.5pp"
    assert criteria.get(Measure.WIN_RATE) is None


def test_limits_are_written_with_their_units() -> None:
    criteria = criteria_from({"errors": "1pp", "win_rate": True, "openings": False, "cost": 1.5, "equivalent": "80%"})
    limits = {one.measure: one.limit for one in criteria.each}
    assert limits[Measure.ERRORS] == 0.01
    assert limits[Measure.WIN_RATE] == 0.05
    assert limits[Measure.COST] == 1.5
    assert limits[Measure.EQUIVALENT] == 0.8
    assert Measure.OPENINGS not in limits


def test_one_users_part_is_half_unless_it_is_written() -> None:
    written: list[dict[str, object]] = [{}, {"one_user": True}, {"one_user": "40%"}, {"one_user": False}]
    assert [criteria_from(document).one_user for document in written] == [0.5, 0.5, 0.4, None]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"refusal": "1pp"}, "'refusal' is not a criterion; fix: write refusals"),
        ({"mood": "1pp"}, "'mood' is not a criterion; fix: choose from latency_p95"),
        ({"errors": 0.5}, "errors: '0.5' has no unit; a number of percentage points must be written with one"),
        ({"errors": "0.5%"}, "errors: '0.5%' is a percent"),
        ({"errors": "0pp"}, "errors: '0pp' leaves nothing to compare; fix: write it like 0.5pp"),
        ({"equivalent": "100%"}, "leaves nothing to compare; fix: write it like 70%"),
        ({"win_rate": "50pp"}, "leaves nothing to compare; fix: write it like 5pp"),
        ({"latency_p95": "120%"}, "latency_p95: '120%' is a percent, but a plain number belongs here; fix: write 1.2"),
        ({"latency_p95": -1}, "a plain number cannot be negative"),
        ({"errors": None}, "errors: nothing is not"),
        (
            {"one_user": "100%"},
            "one_user: '100%' is no part of the pairs; fix: write it like 50%, or false for no limit",
        ),
        ({"one_user": 0.5}, "one_user: '0.5' has no unit"),
        ({"one_users": "40%"}, "'one_users' is not a criterion; fix: write one_user"),
        ({"as_points": "yes"}, "as_points: 'yes' is neither true nor false"),
        ({one.measure.value: False for one in DEFAULTS}, "every criterion is off"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_fix(document: dict[str, object], problem: str) -> None:
    with pytest.raises(BadRules) as refused:
        criteria_from(document)
    assert problem in str(refused.value)


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(BadRules) as refused:
        criteria_from({"errors": 3, "mood": 1, "as_points": 1})
    assert len(refused.value.problems) == 3


def test_pairs_alone_compare_nothing_but_as_points() -> None:
    off = {one.measure.value: False for one in DEFAULTS if one.measure is not Measure.PAIRS}
    with pytest.raises(BadRules):
        criteria_from(off)
    assert [one.measure for one in criteria_from(off | {"as_points": True}).judged] == [Measure.PAIRS]


def test_points_are_the_missions_criteria_and_no_other() -> None:
    criteria = criteria_from({"as_points": True, "win_rate": True})
    assert {one.measure for one in criteria.judged} == set(OF_THE_MISSION)
    assert Measure.PAIRS not in {one.measure for one in Criteria().judged}


def test_every_measure_has_a_title_a_kind_and_a_default() -> None:
    assert set(TITLES) == set(KIND_OF_LIMIT) == {one.measure for one in (*DEFAULTS, *OPTIONAL)} == set(Measure)


@settings(max_examples=25)
@given(st.sets(st.sampled_from([one.measure for one in DEFAULTS if one.measure is not Measure.PAIRS]), min_size=1))
def test_all_chances_of_a_wrong_no_go_add_up_to_the_budget(on: set[Measure]) -> None:
    """Over all criteria and 60 classes, whichever criteria are on."""
    criteria = Criteria(tuple(one for one in DEFAULTS if one.measure in on))
    spent = sum(criteria.no_go_alpha(one) for one in criteria.judged)
    by_class = [one for one in criteria.judged if one.measure in BY_CLASS]
    spent += sum(criteria.no_go_alpha_in_class(one, place) for one in by_class for place in range(60))
    assert spent <= 0.01 + 1e-12
    assert spent >= 0.0059  # and little of it is left unused


def test_a_later_class_has_less_of_the_budget() -> None:
    criteria, errors = Criteria(), DEFAULTS[1]
    chances = [criteria.no_go_alpha_in_class(errors, place) for place in range(FIRST_CLASSES + 20)]
    assert len(set(chances[:FIRST_CLASSES])) == 1
    assert all(chance > 0 for chance in chances)
    assert chances[FIRST_CLASSES + 5] > chances[FIRST_CLASSES + 6]
