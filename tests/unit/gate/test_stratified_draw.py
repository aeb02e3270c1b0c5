"""A draw in strata: each input once, the same for one seed, every stratum present, and memory that does not grow."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.gate.stratified_draw import MOST_ROWS, MOST_STRATA, REST, StratifiedDraw, shares


def drawn(inputs: list[tuple[str, str]], rows: int, *, seed: int = 1) -> list[tuple[str, str]]:
    """Of inputs with their strata, those that are drawn."""
    draw = StratifiedDraw(rows, seed=seed)
    for number, (text, stratum) in enumerate(inputs):
        draw.offer(text.encode(), stratum, number)
    return [(inputs[int(one.where)][0], one.stratum) for one in draw.drawn()]


TRAFFIC = [(f"question {number}", "rare" if number % 100 == 0 else "usual") for number in range(2000)]


def test_one_seed_draws_the_same_rows_in_any_order_of_the_log() -> None:
    shuffled = random.Random(5).sample(TRAFFIC, len(TRAFFIC))
    assert drawn(TRAFFIC, 50) == drawn(shuffled, 50)
    assert set(drawn(TRAFFIC, 50)) != set(drawn(TRAFFIC, 50, seed=2))


def test_equal_inputs_are_drawn_once_however_often_they_came() -> None:
    found = drawn([("hello", "a"), *TRAFFIC] * 3 + [("hello", "a")] * 5000, 200)
    assert len(found) == len(set(found)) == 200


def test_an_input_of_two_strata_is_drawn_once() -> None:
    found = drawn([(f"q{number}", stratum) for number in range(30) for stratum in ("a", "b")], 30)
    assert len({text for text, _ in found}) == len(found) == 30


def test_a_rare_stratum_has_five_rows_the_rest_is_like_traffic() -> None:
    assert Counter(stratum for _, stratum in drawn(TRAFFIC, 100)) == {"rare": 5, "usual": 95}


@given(
    st.dictionaries(st.text(max_size=3), st.tuples(st.integers(1, 10_000), st.integers(1, 300)), max_size=8),
    st.integers(1, 300),
)
def test_shares_add_up_and_no_stratum_gives_what_it_lacks(strata: dict[str, tuple[int, int]], rows: int) -> None:
    strata = {name: (offered, min(offered, different)) for name, (offered, different) in strata.items()}
    given_rows = shares(strata, rows)
    assert sum(given_rows.values()) == min(rows, sum(different for _, different in strata.values()))
    assert all(given_rows[name] <= different for name, (_, different) in strata.items())


def test_every_input_is_as_likely_to_be_drawn() -> None:
    """Over 400 seeds each of 20 inputs is drawn 5 times in 20, 100 times: six standard deviations are 52."""
    counts = Counter(text for seed in range(400) for text, _ in drawn([(f"q{i}", "") for i in range(20)], 5, seed=seed))
    assert len(counts) == 20
    assert all(48 <= count <= 152 for count in counts.values())


def test_memory_is_bounded_by_rows_and_strata_not_by_the_log() -> None:
    draw = StratifiedDraw(10, seed=1)
    for number in range(20_000):
        draw.offer(str(number).encode(), f"stratum {number % 500}", number)
    kept = sum(len(one.heap) + len(one.kept) for one in draw._strata.values())
    assert kept <= 2 * 10 * (MOST_STRATA + 1)
    assert len(draw.offered) == MOST_STRATA + 1
    assert draw.offered[REST] == 20_000 * (500 - MOST_STRATA) // 500


@pytest.mark.parametrize("rows", [0, -1, MOST_ROWS + 1])
def test_a_number_of_rows_out_of_range_is_refused(rows: int) -> None:
    with pytest.raises(ValueError, match="draw 1 to 5,000 rows"):
        StratifiedDraw(rows, seed=1)


def test_nothing_is_drawn_of_nothing() -> None:
    assert drawn([], 10) == []
