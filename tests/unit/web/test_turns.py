"""Costly pages take turns: few wait, one is made at a time, and together they take a fifth of a processor."""

from __future__ import annotations

import threading

import pytest

from killswitch.web import turns
from killswitch.web.rendered import RENDERING_SHARE
from killswitch.web.turns import Turns


class Work:
    """A clock, and a page that takes ``cost`` seconds of the processor and ``waits`` for a server."""

    def __init__(self) -> None:
        self.now = self.used = 0.0
        self.turns = Turns(3.0, monotonic=lambda: self.now, processor=lambda: self.used, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def make(self, cost: float, waits: float = 0.0) -> None:
        with self.turns.turn() as mine:
            assert mine
            self.used += cost
            self.now += cost + waits


def test_pages_together_take_a_share_of_a_processor() -> None:
    work = Work()
    for _ in range(50):
        work.make(0.1)
    assert work.used / work.now == pytest.approx(RENDERING_SHARE, rel=0.1)


def test_who_comes_alone_does_not_wait() -> None:
    work = Work()
    for _ in range(10):
        began = work.now
        work.make(0.02, waits=1.0)  # for the store: no processor
        assert work.now - began == pytest.approx(1.02)
        work.now += 1.0


def test_after_a_long_page_the_next_waits_no_longer_than_allowed() -> None:
    work = Work()
    work.make(60.0)
    began = work.now
    work.make(0.0)
    assert work.now - began == 3.0


def test_a_crowd_holds_a_few_threads_and_no_more() -> None:
    """Alerts are taken in the same threads, so those that cannot wait are refused at once."""
    one = Turns(60.0)
    waiting = []

    def ask() -> None:
        with one.turn():
            pass

    with one.turn() as mine:
        assert mine
        for _ in range(turns.MOST_WAITING - 1):
            waiting.append(threading.Thread(target=ask))
            waiting[-1].start()
        while one._places._value:
            threading.Event().wait(0.001)
        with one.turn() as late:
            assert not late
    for thread in waiting:
        thread.join(10)
    with one.turn() as mine:
        assert mine


def test_a_page_that_fails_gives_its_turn_back() -> None:
    work = Work()
    with pytest.raises(ZeroDivisionError), work.turns.turn():
        raise ZeroDivisionError
    work.make(0.0)
