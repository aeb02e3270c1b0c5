"""The windows that people see are sums of steps: of which steps, and what gaps and other bucket layouts do."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.model import Buckets, Counts, Measurement, Reading, Reason, Unreadable
from killswitch.verdicts.shown_windows import Windows

STEP, START = 30.0, 1_776_600_000.0
KEY = ("copilot", "error_rate", "step")
GAP = Unreadable(Reason.GAP, "nothing was scraped")
CONTROL = Counts(5.0, 500.0)


def of(*canary: Measurement, seconds: float = 300.0, block: int = 1) -> Windows:
    """Steps from `START` on, taken in ``block`` at a time."""
    windows = Windows(STEP, seconds)
    steps = {START + STEP * (at + 1): {KEY: Reading(side, CONTROL, STEP, ("query",))} for at, side in enumerate(canary)}
    for first in range(0, len(steps), block):
        windows.take([KEY], list(steps)[first : first + block], steps)
    return windows


def test_a_window_is_the_sum_of_its_last_steps() -> None:
    windows = of(*(Counts(float(at), 100.0) for at in range(12)))
    assert windows.sum(KEY, START, 300.0) == Reading(Counts(65.0, 1000.0), Counts(50.0, 5000.0), 300.0, ("query",))
    assert windows.sum(KEY, START, 60.0) == Reading(Counts(21.0, 200.0), Counts(10.0, 1000.0), 60.0, ("query",))


def test_no_step_that_began_before_the_arming_is_in_it() -> None:
    windows = of(*[Counts(1.0, 100.0)] * 12)
    found = windows.sum(KEY, START + 9.5 * STEP, 300.0)
    assert found is not None
    assert (found.canary, found.seconds) == (Counts(2.0, 200.0), 60.0)
    assert windows.sum(KEY, START + 11.5 * STEP, 300.0) is None


def test_a_window_shorter_than_a_step_is_the_last_step() -> None:
    found = of(Counts(1.0, 100.0), Counts(2.0, 100.0), seconds=10.0).sum(KEY, START, 10.0)
    assert found is not None
    assert (found.canary, found.seconds) == (Counts(2.0, 100.0), STEP)


def test_gaps_are_skipped_but_a_last_step_problem_is_the_windows() -> None:
    before = of(Counts(1.0, 100.0), GAP, Counts(2.0, 50.0)).sum(KEY, START, 300.0)
    now = of(Counts(1.0, 100.0), Counts(2.0, 50.0), GAP).sum(KEY, START, 300.0)
    assert before is not None
    assert now is not None
    assert before.canary == Counts(3.0, 150.0)
    assert now.canary is GAP
    assert now.control == Counts(15.0, 1500.0)


def test_steps_that_do_not_follow_the_last_ones_begin_again() -> None:
    windows = of(*[Counts(1.0, 100.0)] * 5)
    later = START + 9 * STEP
    windows.take([KEY], [later], {later: {KEY: Reading(Counts(3.0, 10.0), CONTROL, STEP)}})
    found = windows.sum(KEY, START, 300.0)
    assert found is not None
    assert (found.canary, found.seconds) == (Counts(3.0, 10.0), STEP)


def test_nothing_is_known_of_what_was_never_read() -> None:
    assert Windows(STEP, 300.0).sum(KEY, START, 300.0) is None
    assert of(Counts(1.0, 1.0)).sum(("copilot", "latency", "step"), START, 300.0) is None


EDGES = (0.1, 1.0, math.inf)


def test_histograms_are_added_bucket_by_bucket() -> None:
    found = of(GAP, Buckets(EDGES, (1.0, 2.0, 3.0)), Buckets(EDGES, (1.0, 5.0, 9.0))).sum(KEY, START, 300.0)
    assert found is not None
    assert found.canary == Buckets(EDGES, (2.0, 7.0, 12.0))


def test_after_a_bucket_change_only_edges_of_all_steps_count() -> None:
    finer = (0.1, 0.5, 1.0, math.inf)
    old, new = Buckets(EDGES, (1.0, 2.0, 3.0)), Buckets(finer, (1.0, 1.0, 2.0, 3.0))
    mixed = of(old, new, seconds=60.0).sum(KEY, START, 60.0)
    passed = of(old, new, new, seconds=60.0).sum(KEY, START, 60.0)
    back = of(new, old, old, old, seconds=60.0).sum(KEY, START, 60.0)
    assert mixed is not None
    assert passed is not None
    assert back is not None
    assert mixed.canary == Buckets(EDGES, (2.0, 4.0, 6.0))
    assert passed.canary == Buckets(finer, (2.0, 2.0, 4.0, 6.0))
    assert back.canary == Buckets(EDGES, (2.0, 4.0, 6.0))


def test_buckets_with_no_edge_in_common_are_not_added() -> None:
    found = of(Buckets((1.0, math.inf), (1.0, 2.0)), Buckets((2.0, math.inf), (1.0, 2.0))).sum(KEY, START, 300.0)
    assert found is not None
    assert isinstance(found.canary, Unreadable)
    assert found.canary.reason is Reason.GARBAGE


step = st.one_of(st.just(GAP), st.builds(Counts, st.integers(0, 50).map(float), st.integers(0, 500).map(float)))


@given(st.lists(step, min_size=1, max_size=40), st.integers(1, 12), st.integers(1, 40))
def test_it_is_the_same_whether_taken_in_one_by_one_or_in_blocks(
    canary: list[Measurement], most: int, block: int
) -> None:
    seconds = most * STEP
    one, blocks = of(*canary, seconds=seconds), of(*canary, seconds=seconds, block=block)
    assert one.sum(KEY, START, seconds) == blocks.sum(KEY, START, seconds)
    last = [side for side in canary[-most:] if isinstance(side, Counts)]
    found = one.sum(KEY, START, seconds)
    assert found is not None
    if isinstance(canary[-1], Counts):
        assert found.canary == Counts(sum(side.events for side in last), sum(side.trials for side in last))


@pytest.mark.parametrize("block", [1, 7])
def test_no_more_is_kept_than_the_window_needs(block: int) -> None:
    windows = of(*[Counts(1.0, 100.0)] * 200, seconds=300.0, block=block)
    found = windows.sum(KEY, START, 6000.0)
    assert found is not None
    assert found.canary == Counts(10.0, 1000.0)
