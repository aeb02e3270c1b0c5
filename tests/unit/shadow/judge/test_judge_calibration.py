"""Agreement with itself and with people, by numbers worked out by hand, and the bar before a judge gates."""

from __future__ import annotations

import math
from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.shadow.judge.calibration import Agreement, Bar, Calibration, agreement, calibration, wilson
from killswitch.shadow.judge.opinions import Preferred

WORDS: tuple[Preferred, ...] = ("control", "candidate", "tie")
RATED = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(WORDS)), max_size=60)


def table(**cells: int) -> Iterable[tuple[Preferred, Preferred]]:
    """``candidate_control=5``: five items, the first rater says candidate, the second control."""
    for cell, count in cells.items():
        first, second = cell.split("_")
        yield from [(first, second)] * count  # type: ignore[misc]


def test_kappa_and_its_interval_are_those_worked_out_by_hand() -> None:
    """20 and 15 of 50 agree: share 0.7, by chance 0.5. Variance (0.02743 + 0.02547 - 0.0025) / 0.5^4 / 50."""
    found = agreement(table(candidate_candidate=20, candidate_control=5, control_candidate=10, control_control=15))
    assert found.items == 50
    assert found.share == pytest.approx(0.7)
    assert found.kappa == pytest.approx(0.4)
    half = 1.959964 * math.sqrt(0.0504 / 0.0625 / 50)
    assert [found.kappa_low, found.kappa_high] == pytest.approx([0.4 - half, 0.4 + half])


def test_three_words_worked_out_by_hand() -> None:
    """Of 10: 3 + 2 + 2 agree. First rater 4, 3, 3; second 4, 3, 3: by chance (16 + 9 + 9) / 100."""
    found = agreement(
        table(candidate_candidate=3, candidate_control=1, control_control=2, control_tie=1, tie_tie=2, tie_candidate=1)
    )
    assert found.share == pytest.approx(0.7)
    assert found.kappa == pytest.approx((0.7 - 0.34) / (1 - 0.34))


def test_the_interval_of_a_share_is_wilsons() -> None:
    """35 of 50: (0.7 + 0.0384) / 1.0768 plus and minus 0.1232, worked out by hand."""
    assert list(wilson(35, 50)) == pytest.approx([0.5625, 0.8090], abs=5e-4)


def test_the_interval_of_kappa_holds_what_it_says() -> None:
    """Of 400 drawn samples of 80 items, about 95 % hold the true kappa of 0.4."""
    draw = Random(5)
    cells = [("candidate", "candidate")] * 4 + [("candidate", "control")] * 1 + [("control", "candidate")] * 2
    cells += [("control", "control")] * 3
    held = 0
    for _ in range(400):
        found = agreement(draw.choices(cells, k=80))  # type: ignore[arg-type]
        held += found.kappa is not None and found.kappa_low <= 0.4 <= found.kappa_high  # type: ignore[operator]
    assert 0.91 <= held / 400 <= 0.985


@given(RATED)
def test_numbers_are_in_range_and_none_is_made_up(rated: list[tuple[Preferred, Preferred]]) -> None:
    found = agreement(rated)
    if not rated:
        assert found == Agreement(0, None, None, None, None, None, None)
        return
    assert found.share is not None
    assert found.share_low is not None
    assert found.share_high is not None
    assert 0.0 <= found.share_low <= found.share <= found.share_high <= 1.0
    if found.kappa is not None:
        assert found.kappa_low is not None
        assert found.kappa_high is not None
        assert -1.0 <= found.kappa_low <= found.kappa <= found.kappa_high <= 1.0
        assert agreement([(second, first) for first, second in rated]).kappa == pytest.approx(found.kappa)


def test_full_agreement_of_few_items_is_not_certain() -> None:
    found = agreement(table(candidate_candidate=3, control_control=3))
    assert found.kappa == 1.0
    assert found.kappa_low is not None
    assert found.kappa_low < 0.4


def held(
    people: Iterable[tuple[Preferred, Preferred]] = tuple(table(candidate_candidate=45, control_control=45)),
    itself: Iterable[tuple[Preferred, Preferred]] = tuple(table(candidate_candidate=40, tie_control=2)),
    *,
    consistent: int = 90,
    both: int = 100,
    lost: int = 0,
) -> Calibration:
    return calibration(
        agreement(people),
        agreement(itself),
        consistent=consistent,
        both_orders=both,
        lost=lost,
        finished=both + lost,
        bar=Bar(),
    )


def test_a_judge_that_agrees_may_gate() -> None:
    assert held().gates


@pytest.mark.parametrize(
    ("calibrated", "why"),
    [
        (held(table(candidate_candidate=20, control_control=20)), "40 pairs with people's labels, 50 are needed"),
        (held(table(tie_tie=60)), "all the same word"),
        (held(table(tie_candidate=40, tie_control=40)), "kappa with people's labels is 0.00"),
        (held(table(candidate_candidate=20, candidate_control=20, control_control=20)), "is needed"),
        (held(itself=table(tie_tie=10)), "10 pairs were asked twice"),
        (held(itself=table(tie_tie=25, tie_control=15)), "it agrees with itself on 62%"),
        (held(consistent=50), "it judges the place, not the answer"),
        (held(lost=6), "6 of 106 pairs have no verdict"),
    ],
)
def test_a_judge_below_the_bar_does_not_gate(calibrated: Calibration, why: str) -> None:
    assert not calibrated.gates
    assert any(why in problem for problem in calibrated.problems)
