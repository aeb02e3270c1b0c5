from __future__ import annotations

import math

import numpy as np
import pytest

from killswitch.shadow.evidence.betting import Excess
from killswitch.shadow.evidence.openings import LEARNING, differing, stem

TABLE = ("I'd be happy to help", "Sure, here is", "Let me check", "Your order is", "Thanks for your message")
CONTROL = (0.11, 0.35, 0.24, 0.20, 0.10)
CANDIDATE = (0.84, 0.06, 0.04, 0.04, 0.02)


def pairs(shares: tuple[float, ...], size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (
        rng.choice(len(TABLE), size, p=shares).astype(np.int32),
        rng.choice(len(TABLE), size, p=CONTROL).astype(np.int32),
    )


@pytest.mark.parametrize(
    ("opening", "grouped"),
    [
        ("I'd be happy to help!", "i'd be happy"),
        ("I\N{RIGHT SINGLE QUOTATION MARK}d be HAPPY to", "i'd be happy"),
        ("**Sure**, here", "sure here"),
        ("", ""),
        ("```json", "json"),
        ("喜んでお手伝いいたします", "喜んでお手伝"),
    ],
)
def test_openings_are_grouped_by_their_first_words(opening: str, grouped: str) -> None:
    assert stem(opening) == grouped


def test_84_percent_against_11_is_found_in_150_pairs() -> None:
    """The mission's case of tone, in 40 draws: 82 pairs in the median, 130 at most of 60. An hour has 36,000."""
    for seed in range(40):
        sample, common = differing(*pairs(CANDIDATE, 150, seed), TABLE)
        assert Excess(sample).log_worse(0.20) >= math.log(3500)
        assert common is not None
        assert common.words == "i'd be happy"
        assert common.candidate - common.control > 0.5


def test_an_equal_candidate_is_within_the_margin() -> None:
    sample, common = differing(*pairs(CONTROL, 3000, 1), TABLE)
    assert Excess(sample).log_within(0.20) >= math.log(100)
    assert Excess(sample).log_worse(0.0) < math.log(100)
    assert common is not None
    assert abs(common.candidate - common.control) < 0.05


def test_an_opening_that_vanished_counts_like_one_that_came() -> None:
    """The canary never says what control says in 35 % of its answers."""
    sample, common = differing(*pairs((0.46, 0.0, 0.24, 0.20, 0.10), 1000, 2), TABLE)
    assert Excess(sample).log_worse(0.20) >= math.log(3500)
    assert common is not None


def test_what_stands_out_is_learned_before_it_is_bet_on() -> None:
    """Thirty pairs in which another opening stands out add thirty bets that see nothing in it, and change none."""
    candidate, control = pairs(CANDIDATE, 1000, 3)
    thanks, sure = np.full(30, 4, dtype=np.int32), np.full(30, 1, dtype=np.int32)
    for size in (LEARNING + 1, 69, 110, 640):
        before, _ = differing(candidate[:size], control[:size], TABLE)
        after, _ = differing(np.append(candidate[:size], thanks), np.append(control[:size], sure), TABLE)
        assert (after.counts - before.counts).tolist() == [0.0, 30.0, 0.0]


def test_openings_outside_the_table_are_one_group() -> None:
    candidate = np.full(400, -1, dtype=np.int32)
    control = np.zeros(400, dtype=np.int32)
    sample, common = differing(candidate, control, ("Hello there",))
    assert Excess(sample).log_worse(0.20) >= math.log(3500)
    assert common is not None
    assert (common.words, common.candidate, common.control) == ("hello there", 0.0, 1.0)


def test_openings_that_are_new_each_time_stand_out() -> None:
    """A canary that never begins twice alike is in no set of known openings, and is not like control for that."""
    size = 2000
    table = (*TABLE, *(f"topic{number} and so on" for number in range(size)))
    _, control = pairs(CONTROL, size, 4)
    new = np.arange(len(TABLE), len(TABLE) + size, dtype=np.int32)
    sample, _ = differing(new, control, table)
    assert Excess(sample).log_worse(0.20) >= math.log(3500)
    alike, _ = differing(new[: size // 2], new[size // 2 :], table)
    assert Excess(alike).log_within(0.20) >= math.log(100)


def test_no_pairs_have_no_common_opening() -> None:
    nothing = np.zeros(0, dtype=np.int32)
    sample, common = differing(nothing, nothing, ())
    assert sample.size == 0
    assert common is None


@pytest.mark.simulation
def test_equal_openings_are_found_different_within_the_budget() -> None:
    """In 200 runs with a look at every tenth pair, no margin: at most 1 % plus three standard deviations."""
    looks = range(LEARNING + 1, 400, 10)
    wrong = 0
    for seed in range(200):
        candidate, control = pairs(CONTROL, 400, 100 + seed)
        wrong += any(
            Excess(differing(candidate[:size], control[:size], TABLE)[0]).log_worse(0.0) >= math.log(100)
            for size in looks
        )
    assert wrong / 200 <= 0.01 + 3.0 * math.sqrt(0.0099 / 200)
