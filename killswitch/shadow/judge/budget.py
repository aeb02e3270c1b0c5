"""What a judge may spend: one question within the spend ledger, with retries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError
from killswitch.router.shadow.ledger import SpendLedger, SpendReservation
from killswitch.shadow.judge.endpoint import AskFailed, Reply
from killswitch.shadow.judge.prompt import Question


class AsksOnce(Protocol):
    """A judge's model; `killswitch.shadow.judge.endpoint.JudgeEndpoint` is one."""

    model: str
    max_output_tokens: int

    def ask(self, asked: Question, deadline: Deadline) -> Reply | AskFailed: ...


@runtime_checkable
class _Settles(SpendReservation, Protocol):
    """What tells a reservation from a refusal when the program runs."""


@dataclass(frozen=True, slots=True)
class NoBudget:
    """The ledger refused. ``why`` is its reason."""

    why: str


FIRST_PAUSE = 1.0  # seconds; doubled with each retry
LONGEST_PAUSE = 30.0


class BudgetedCalls:
    """Asks within the ledger, and again after 429 and 5xx while time and attempts are left.

    ``input_tokens_at_most`` holds for every question. ``call_seconds``: all attempts at one question together.
    ``pause`` waits that many seconds (an Event's wait, so that a stop ends it); true if the judge is to stop.
    """

    def __init__(
        self,
        endpoint: AsksOnce,
        *,
        ledger: SpendLedger | None,
        input_tokens_at_most: int,
        pause: Callable[[float], bool],
        deadline: Callable[[float], Deadline] = Deadline,
        call_seconds: float = 120.0,
        attempts: int = 4,
    ) -> None:
        self._endpoint = endpoint
        self._ledger = ledger
        self._input_tokens = input_tokens_at_most
        self._pause = pause
        self._deadline = deadline
        self._call_seconds = call_seconds
        self._attempts = attempts

    def ask(self, asked: Question) -> Reply | AskFailed | NoBudget:
        """Raises what stops the judge, as `JudgeEndpoint.ask`. Each attempt has its own reservation."""
        deadline = self._deadline(self._call_seconds)
        wait = FIRST_PAUSE
        for attempt in range(1, self._attempts + 1):
            answer = self._attempt(asked, deadline)
            if not isinstance(answer, AskFailed) or not answer.again or attempt == self._attempts:
                return answer
            wanted = min(max(wait, answer.retry_after or 0.0), max(LONGEST_PAUSE, answer.retry_after or 0.0))
            if wanted >= deadline.remaining() or self._pause(wanted):
                return answer
            wait = min(2.0 * wait, LONGEST_PAUSE)
        raise AssertionError("the last attempt returns")

    def _attempt(self, asked: Question, deadline: Deadline) -> Reply | AskFailed | NoBudget:
        if self._ledger is None:
            return self._endpoint.ask(asked, deadline)
        held = self._ledger.reserve(self._endpoint.model, self._input_tokens, self._endpoint.max_output_tokens)
        if not isinstance(held, _Settles):
            return NoBudget(str(getattr(held, "sentence", held.reason)))
        try:
            answer = self._endpoint.ask(asked, deadline)
        except KillswitchError:
            held.release()  # what stops the judge was refused before any work
            raise
        except BaseException:
            held.settle(None)
            raise
        if isinstance(answer, Reply):
            held.settle(answer.usage)
        elif answer.billed:
            held.settle(None)
        else:
            held.release()
        return answer
