"""How a server reads PromQL is learned by two questions, and what was learned holds until both are answered again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from killswitch.deadline import Deadline
from killswitch.sources.prometheus import quiet
from killswitch.sources.prometheus.client import PrometheusClient
from killswitch.sources.prometheus.dialect import Dialect
from tests.unit.sources.in_process import TICK, InProcessSession, envelope


class Server:
    """Answers how it reads ranges (``points``) and pairs; None for no answer, a status for a refusal."""

    def __init__(self, points: int | None = 1, pairs: int | None = 2) -> None:
        self.points, self.pairs = points, pairs
        self.asked: list[str] = []

    def __call__(self, query: str) -> tuple[int, bytes]:
        self.asked.append(query)
        answer = self.pairs if query == quiet.PROBE else self.points
        if answer is None:
            return 503, b"busy"
        if answer >= 400:
            return answer, b'{"status":"error","errorType":"bad_data"}'
        return 200, envelope([{"metric": {}, "value": [TICK, str(answer)]}])


class Learning:
    def __init__(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = server
        self.clock = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.clock)
        self.client = PrometheusClient("http://in-process:9090", InProcessSession(server))
        self.dialect = Dialect(self.client, 15.0)

    def learned(self, seconds_later: float = 0.0) -> tuple[bool, bool]:
        """Whether ranges are left open, and pairs taken; asked ``seconds_later``."""
        self.clock += seconds_later
        self.server.asked.clear()
        self.dialect.learn(TICK, Deadline(10.0, lambda: self.clock))
        return self.dialect.ranges.left_open, self.dialect.takes_pairs


@pytest.fixture
def learning(monkeypatch: pytest.MonkeyPatch) -> Iterator[Learning]:
    found = Learning(Server(), monkeypatch)
    yield found
    found.client.close()


def test_both_are_asked_again_after_ten_minutes(learning: Learning) -> None:
    assert learning.learned() == (True, True)
    assert learning.learned(599.0) == (True, True)
    assert not learning.server.asked
    learning.server.points, learning.server.pairs = 2, 1
    assert learning.learned(1.0) == (False, False)
    assert len(learning.server.asked) == 2


def test_a_probe_without_an_answer_is_sent_again_at_once(learning: Learning) -> None:
    """What was learned before holds until then: a busy server is no server that cannot take pairs."""
    assert learning.learned() == (True, True)
    learning.server.pairs = None
    assert learning.learned(600.0) == (True, True)
    assert learning.learned(30.0) == (True, True)
    assert len(learning.server.asked) == 2
    learning.server.pairs = 1
    assert learning.learned(30.0) == (True, False)


def test_a_range_without_an_answer_is_asked_again_at_once(learning: Learning) -> None:
    assert learning.learned() == (True, True)
    learning.server.points, learning.server.pairs = None, 1
    assert learning.learned(600.0) == (True, True)
    learning.server.points = 2
    assert learning.learned(30.0) == (False, False)


def test_a_server_that_refuses_the_probe_takes_no_pairs(learning: Learning) -> None:
    """It has answered: it is asked again in ten minutes, not at each tick."""
    learning.server.pairs = 422
    assert learning.learned() == (True, False)
    assert learning.learned(30.0) == (True, False)
    assert not learning.server.asked
