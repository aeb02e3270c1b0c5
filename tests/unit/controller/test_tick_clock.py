"""The grid of ticks, under a metric store whose clock steps, lies once, or is two clocks."""

from __future__ import annotations

import itertools
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.controller.tick_clock import BELIEVED_AFTER, JITTER_SLOTS, TickClock
from killswitch.deadline import Deadline
from killswitch.errors import Unavailable
from tests.doubles.clock import VirtualClock
from tests.doubles.scripted_source import ScriptedSource, Traffic

INTERVAL, LAG = 30.0, 5.0


class Watched:
    """A clock and the source it reads, a reading an interval."""

    def __init__(self) -> None:
        self.time = VirtualClock(wall=1_776_600_006.0)
        self.source = ScriptedSource(self.time, Traffic())
        self.right = self.source.offset
        self.clock = TickClock(interval=INTERVAL, lag=LAG, monotonic=self.time.monotonic, wall=self.time.wall)

    def read(self, ahead: float = 0.0) -> str | None:
        self.time.advance(INTERVAL)
        self.source.offset = self.right + ahead
        return self.clock.read(self.source, Deadline(10.0, self.time.monotonic))

    @property
    def error(self) -> float:
        """How far the time it gives is from the right one, seconds."""
        return self.clock.now() - self.time.wall()


@pytest.mark.parametrize("step", [-86_400.0, -31.0, 31.0, 600.0, 30 * 86_400.0])
def test_a_clock_step_is_believed_after_three_answers_in_a_row(step: float, caplog: pytest.LogCaptureFixture) -> None:
    """A step of the clock is believed when three answers in a row have said it."""
    watched = Watched()
    watched.read()
    for _ in range(BELIEVED_AFTER - 1):
        assert watched.read(step) is None  # it did answer
        assert watched.error == pytest.approx(0.0)
        assert watched.clock.problem is not None
        assert "three times" not in watched.clock.problem
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * (BELIEVED_AFTER - 1)
    watched.read(step)
    assert watched.error == pytest.approx(step)
    assert watched.clock.problem is None


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.floats(31.0, 1e7), st.booleans())
def test_only_three_equal_doubts_in_a_row_ever_move_the_clock(wrong: list[bool], apart: float, behind: bool) -> None:
    watched = Watched()
    watched.read()
    step = -apart if behind else apart
    for number, lies in enumerate(wrong):
        if lies and all(wrong[max(0, number - BELIEVED_AFTER + 1) : number + 1]) and number + 1 >= BELIEVED_AFTER:
            return  # from here on it is believed
        watched.read(step if lies else 0.0)
        assert abs(watched.error) < 1e-3
        assert (watched.clock.problem is not None) is lies


def test_three_different_lies_are_not_believed() -> None:
    watched = Watched()
    watched.read()
    for ahead in (600.0, 3600.0, -600.0, 600.0, 3600.0):
        watched.read(ahead)
        assert watched.error == pytest.approx(0.0)


def test_a_clock_that_drifts_is_followed_at_once() -> None:
    watched = Watched()
    for ahead in itertools.accumulate([20.0] * 10):
        watched.read(ahead)
        assert watched.error == pytest.approx(ahead)
        assert watched.clock.problem is None


def test_the_first_answer_replaces_the_wall_clock_at_once() -> None:
    """The first answer of the source replaces the guess by the wall clock at once."""
    watched = Watched()
    watched.source.down = True
    assert watched.read() == str(Unavailable("the metric store does not answer"))
    watched.source.down = False
    watched.read(3600.0)
    assert watched.error == pytest.approx(3600.0)


@pytest.mark.parametrize("ahead", [-3600.0, -40.0, 40.0, 3600.0])
def test_of_two_clocks_the_one_that_agrees_with_ours_is_followed(ahead: float) -> None:
    """If two clocks answer in turn, the one that agrees with our own is followed."""
    watched = Watched()
    watched.read(ahead)  # the wrong one answers first
    for wrong in [0.0, ahead] * 10:
        watched.read(wrong)
        assert watched.error == pytest.approx(0.0)
        assert (watched.clock.problem is not None) is bool(wrong)


@pytest.mark.parametrize("behind", [3600.0, 30.0 * 86_400])
def test_a_wall_clock_that_is_wrong_by_itself_moves_nothing(behind: float) -> None:
    watched = Watched()
    watched.read()
    watched.time.jump_wall(-behind)
    for _ in range(5):
        watched.read()
        assert watched.error == pytest.approx(behind)


@pytest.mark.parametrize("ahead", [600.0, 40.0])
def test_evidence_is_at_least_as_old_as_a_doubted_reading_says(ahead: float) -> None:
    """A machine that was suspended: its monotonic clock stood still, and the metric store is right."""
    watched = Watched()
    watched.read()
    watched.read(ahead)
    age = watched.time.monotonic() - watched.clock.monotonic_at(watched.time.wall())
    assert age == pytest.approx(ahead)
    watched.read(-ahead)
    assert watched.time.monotonic() - watched.clock.monotonic_at(watched.time.wall()) == pytest.approx(0.0)


def test_ticks_go_back_only_for_a_step_beyond_jitter() -> None:
    watched = Watched()
    watched.read()
    newest = watched.clock.advance()
    assert newest is not None
    for _ in range(BELIEVED_AFTER):
        watched.read(-JITTER_SLOTS * INTERVAL - (BELIEVED_AFTER + 1) * INTERVAL)
    assert watched.clock.advance() == newest - (JITTER_SLOTS + 1) * INTERVAL
    assert watched.clock.advance() is None
