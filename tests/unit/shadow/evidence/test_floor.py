from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from killswitch.shadow.evidence.floor import FEWEST_NOISE, matched

KINDS = st.lists(st.sampled_from([True, False, False, False]), min_size=1, max_size=400)


@given(KINDS)
def test_each_pair_is_used_at_most_once_and_in_order(kinds: list[bool]) -> None:
    noise = np.array(kinds)
    matching = matched(noise)
    if matching is None:
        assert noise.sum() < FEWEST_NOISE or noise.all()
        return
    used = matching.candidates.ravel()
    assert (np.diff(used) > 0).all()
    assert (np.diff(matching.noise) > 0).all()
    assert not noise[used].any()
    assert noise[matching.noise].all()


@given(KINDS, KINDS)
def test_groups_never_change_as_pairs_are_added(kinds: list[bool], later: list[bool]) -> None:
    """Evidence is a product over groups: a group that changed its members would be a bet made afterwards."""
    before, after = matched(np.array(kinds)), matched(np.array(kinds + later))
    if before is None:
        return
    assert after is not None
    groups = before.noise.size
    assert after.candidates.shape[1] == before.candidates.shape[1]
    assert np.array_equal(after.candidates[:groups], before.candidates)
    assert np.array_equal(after.noise[:groups], before.noise)


def test_the_ratio_is_that_of_the_first_pairs() -> None:
    noise = np.array(([False] * 9 + [True]) * 30 + [False] * 900)
    matching = matched(noise)
    assert matching is not None
    assert matching.candidates.shape == (30, 9)


def test_a_tenth_of_the_candidates_is_enough_for_each_noise_pair() -> None:
    """More noise than candidates: one candidate a noise pair, and the rest of the noise waits."""
    matching = matched(np.array([True] * 40 + [False] * 15))
    assert matching is not None
    assert matching.candidates.shape == (15, 1)


def test_too_little_noise_is_no_floor() -> None:
    assert matched(np.array([True] * (FEWEST_NOISE - 1) + [False] * 1000)) is None
    assert matched(np.array([True] * 1000)) is None
    assert matched(np.zeros(0, dtype=np.bool_)) is None


def test_the_excess_is_the_candidates_mean_minus_the_floor() -> None:
    noise = np.array([False, False, True] * FEWEST_NOISE)
    matching = matched(noise)
    assert matching is not None
    numbers = np.where(noise, 0.25, np.arange(noise.size) % 3 == 0)
    assert np.allclose(matching.excess(numbers), 0.25)
    assert np.allclose(matching.excess(numbers, of_candidate=-1.0, of_noise=-0.8), -0.3)
