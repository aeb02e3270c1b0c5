"""One question within the ledger: what is settled, what is given back, and when it is asked again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

import pytest

from killswitch.deadline import Deadline
from killswitch.errors import AccessDenied
from killswitch.shadow.judge.budget import BudgetedCalls, NoBudget
from killswitch.shadow.judge.endpoint import AskFailed, Reply
from killswitch.shadow.judge.prompt import Question, question
from tests.doubles.clock import VirtualClock

ASKED = question("q", ("a", "b"), rubric="x", draw=Random(1))
USAGE = {"prompt_tokens": 900, "completion_tokens": 40}
BUSY = AskFailed("429", again=True, billed=False)
BROKEN = AskFailed("500", again=True, billed=True)
CUT = AskFailed("cut", again=False, billed=True)


class Refused:
    reason = "CAP"
    sentence = "the cap of judge per day has no room"


class ListedLedger:
    """Writes down what became of each reservation; refuses after ``room`` of them."""

    def __init__(self, room: int = 100) -> None:
        self.room = room
        self.asked: list[tuple[str, int, int]] = []
        self.ends: list[object] = []

    def reserve(self, model: str, input_tokens_at_most: int, output_tokens_at_most: int) -> Any:
        self.asked.append((model, input_tokens_at_most, output_tokens_at_most))
        return Held(self.ends) if len(self.asked) <= self.room else Refused()


class Held:
    def __init__(self, ends: list[object]) -> None:
        self._ends = ends

    def settle(self, usage: Mapping[str, Any] | None) -> None:
        self._ends.append(usage)

    def release(self) -> None:
        self._ends.append("released")


class Endpoint:
    model = "claude-judge"
    max_output_tokens = 400

    def __init__(self, *answers: Reply | AskFailed | Exception) -> None:
        self.answers = list(answers)

    def ask(self, asked: Question, deadline: Deadline) -> Reply | AskFailed:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Calls:
    """Budgeted calls on a virtual clock. ``pauses``: how long it waited before each attempt."""

    def __init__(
        self, *answers: Reply | AskFailed | Exception, ledger: ListedLedger | None = None, stop: int = 99
    ) -> None:
        self.clock = VirtualClock()
        self.pauses: list[float] = []
        self.endpoint = Endpoint(*answers)
        self.ledger = ledger or ListedLedger()
        self._stop = stop
        self.calls = BudgetedCalls(
            self.endpoint,
            ledger=self.ledger,
            input_tokens_at_most=50_000,
            pause=self._pause,
            deadline=lambda seconds: Deadline(seconds, self.clock.monotonic),
            call_seconds=120.0,
        )

    def _pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.clock.advance(seconds)
        return len(self.pauses) >= self._stop

    def ask(self) -> Reply | AskFailed | NoBudget:
        return self.calls.ask(ASKED)


REPLY = Reply("text", "claude-judge", USAGE)


def test_a_reply_is_settled_on_its_usage() -> None:
    calls = Calls(REPLY)
    assert calls.ask() == REPLY
    assert calls.ledger.ends == [USAGE]
    assert calls.ledger.asked == [("claude-judge", 50_000, 400)]


def test_a_reply_without_usage_costs_its_reservation() -> None:
    calls = Calls(Reply("text", "m", None))
    calls.ask()
    assert calls.ledger.ends == [None]


@pytest.mark.parametrize(
    ("answers", "ends", "pauses"),
    [
        ((BUSY, REPLY), ["released", USAGE], [1.0]),
        ((BROKEN, BUSY, REPLY), [None, "released", USAGE], [1.0, 2.0]),
        ((BUSY, BUSY, BUSY, BUSY, REPLY), ["released"] * 4, [1.0, 2.0, 4.0]),
        ((CUT, REPLY), [None], []),
        ((AskFailed("busy", again=True, billed=False, retry_after=20.0), REPLY), ["released", USAGE], [20.0]),
        ((AskFailed("busy", again=True, billed=False, retry_after=500.0), REPLY), ["released"], []),
    ],
)
def test_it_is_asked_again_only_where_that_may_help(
    answers: Iterable[Reply | AskFailed], ends: list[object], pauses: list[float]
) -> None:
    """After 429 and 5xx, with doubled pauses, four times at most; never past the deadline of all attempts."""
    calls = Calls(*answers)
    calls.ask()
    assert (calls.ledger.ends, calls.pauses) == (ends, pauses)


def test_a_stop_during_a_pause_asks_no_more() -> None:
    calls = Calls(BUSY, REPLY, stop=1)
    assert calls.ask() == BUSY
    assert calls.endpoint.answers == [REPLY]


def test_a_cap_asks_nobody_and_says_why() -> None:
    calls = Calls(REPLY, ledger=ListedLedger(room=0))
    assert calls.ask() == NoBudget("the cap of judge per day has no room")
    assert calls.endpoint.answers == [REPLY]


@pytest.mark.parametrize(("error", "end"), [(AccessDenied("no"), "released"), (ZeroDivisionError(), None)])
def test_an_exception_leaves_no_reservation_open(error: Exception, end: object) -> None:
    calls = Calls(error)
    with pytest.raises(type(error)):
        calls.ask()
    assert calls.ledger.ends == [end]
