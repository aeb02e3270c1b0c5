"""One model of a role, asked as its role file says: attempts, waits, refused parameters, cost and the spend ledger."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

from killswitch.errors import BadSettings
from killswitch.gate.answers import Answer
from killswitch.gate.call_failures import (
    ASKED_AGAIN,
    STOPS_A_RUN,
    AskingRefused,
    AskingStopped,
    CallFailure,
    FailedCall,
)
from killswitch.gate.clients import ModelClient, ModelReply, ModelRequest
from killswitch.gate.clients.opening import opened_client
from killswitch.gate.golden import Message
from killswitch.roles.config import RoleConfig
from killswitch.router.shadow.ledger import SpendLedger, SpendReservation, input_tokens_at_most
from killswitch.spend.prices import PriceList
from killswitch.token_usage import Usage
from killswitch.wording import counted, duration_in_words, plain

ATTEMPTS: Final = 6  # at one question; those that only leave out a refused parameter are not counted
FIRST_PAUSE: Final = 1.0  # seconds; doubled with each attempt
LONGEST_PAUSE: Final = 30.0  # seconds that we choose to wait by ourselves
LONGEST_ASKED: Final = 300.0  # seconds; a provider that asks to wait longer is not asked again
_PROBE: Final = "Hi"


@runtime_checkable
class _HeldForACall(SpendReservation, Protocol):
    """What tells a reservation from a refusal when the program runs."""


def check_prices(
    config: RoleConfig, models: Iterable[str], prices: PriceList | None, *, at: float | None = None
) -> None:
    """Raises BadSettings for every model without a price at ``at`` (Unix seconds; now): unknown is not free."""
    where = "the file of prices" if config.prices is None else str(config.prices)
    if prices is None:
        raise BadSettings([f"role {config.name} names no file of prices; add `prices: prices.json` to {config.file}"])
    now = time.time() if at is None else at
    missing = [model for model in dict.fromkeys(models) if prices.price(model, now) is None]
    if missing:
        fix = "add an entry for it, valid from a day that has begun"
        raise BadSettings(
            [f"{where} has no price of {plain(model, 80)} that is valid today; {fix}" for model in missing]
        )


class SharedWait:
    """Until when one model's calls wait: a rate limit of one call holds for all threads. ``clock``: seconds."""

    def __init__(self, pause: Callable[[float], bool], clock: Callable[[], float]) -> None:
        self._pause = pause
        self._clock = clock
        self._lock = threading.Lock()
        self._until = 0.0

    def hold(self, seconds: float) -> None:
        with self._lock:
            self._until = max(self._until, self._clock() + seconds)

    def keep(self) -> None:
        """Wait as long as it holds. Raises AskingStopped where the wait is ended from outside."""
        while True:
            with self._lock:
                left = self._until - self._clock()
            if left <= 0.0:
                return
            self.sleep(left)

    def sleep(self, seconds: float) -> None:
        if self._pause(seconds):
            raise AskingStopped("the run was stopped; run it again to go on")


@dataclass(slots=True)
class _Spent:
    """What the attempts at one question came to. ``cost``: micro-dollars, None once it is not known.

    ``guessed``: the part of it that no provider has said. ``seconds``: of the newest attempt, from before the request
    to the whole answer; waiting for money is no part of it.
    """

    cost: int | None = 0
    attempts: int = 0
    seconds: float = 0.0
    guessed: int = 0

    def add(self, micros: int | None) -> None:
        self.cost = None if self.cost is None or micros is None else self.cost + micros

    def guess(self, micros: int | None) -> None:
        self.add(micros)
        self.guessed += micros or 0


class RoleModel:
    """Asks ``model`` as ``config`` says. Safe from several threads, which share waits and what the model refuses.

    ``prices`` None: no answer has a cost. ``ledger`` None: nothing is reserved. ``pause`` waits that many seconds (an
    Event's wait, so that a stop ends it) and is true if the run is to stop. Raises BadSettings: no SDK, no key.
    """

    def __init__(
        self,
        model: str,
        config: RoleConfig,
        *,
        prices: PriceList | None,
        ledger: SpendLedger | None,
        pause: Callable[[float], bool],
        client: ModelClient | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        attempts: int = ATTEMPTS,
    ) -> None:
        self.model = model
        self._config = config
        self._prices = prices
        self._ledger = ledger
        self._parameters: Mapping[str, Any] = config.endpoint_of(model).parameters
        self._client = client or opened_client(config.endpoint_of(model), timeout=config.timeout)
        self._wait = SharedWait(pause, clock)
        self._clock = clock
        self._wall = wall
        self._jitter = jitter
        self._attempts = attempts
        self._refused: tuple[str, ...] = ()  # parameters, in the order in which the model has refused them
        self._lock = threading.Lock()

    def ask(self, messages: Sequence[Message]) -> Answer:
        """The model's answer, or how it failed after all attempts.

        Raises AskingRefused where no other row would be answered either, and AskingStopped.
        """
        failed = self._asked(self._request(messages))
        if isinstance(failed, Answer):
            return failed
        raise AskingRefused(failed)

    def probe(self) -> Answer:
        """Asks for one token, once, and never raises AskingRefused: ``kind`` and ``absence`` say what is wrong.

        An answer that was cut short before its first word is an answer: the model is there.
        """
        request = ModelRequest(self.model, None, ({"role": "user", "content": _PROBE},), {}, 1)
        spent = _Spent()
        outcome = self._attempt(request, spent)
        if isinstance(outcome, FailedCall) and outcome.cut_short:
            return self._answer(ModelReply("", None, None), spent)
        return self._failure(outcome, spent) if isinstance(outcome, FailedCall) else self._answer(outcome, spent)

    def most(self, messages: Sequence[Message]) -> tuple[int, int] | None:
        """The most input and output tokens of one attempt at these messages; None where nothing bounds them."""
        bound = _input_bound(self._request(messages))
        return None if bound is None else (bound, self._config.max_output_tokens)

    def close(self) -> None:
        self._client.close()

    # --- attempts -------------------------------------------------------------------------------

    def _asked(self, request: ModelRequest) -> Answer | FailedCall:
        """The answer, a failed call among them; or what stops the run."""
        spent = _Spent()
        pause = FIRST_PAUSE
        while True:
            self._wait.keep()
            request = self._request(request.messages)
            outcome = self._attempt(request, spent)
            if isinstance(outcome, ModelReply):
                return self._answer(outcome, spent)
            # only what this attempt has sent: a provider that refuses for ever must not be asked for ever
            if outcome.refused is not None and outcome.refused in request.parameters:
                self._leave_out(outcome.refused)
                spent.attempts -= 1
                continue
            if outcome.kind in STOPS_A_RUN:
                return outcome
            wanted = max(outcome.retry_after or 0.0, pause * (0.5 + 0.5 * self._jitter()))
            if outcome.kind not in ASKED_AGAIN or spent.attempts >= self._attempts or wanted > LONGEST_ASKED:
                return self._failure(_after(outcome, spent.attempts, wanted), spent)
            if outcome.kind is CallFailure.RATE_LIMITED:
                self._wait.hold(wanted)
            else:
                self._wait.sleep(wanted)
            pause = min(2.0 * pause, LONGEST_PAUSE)

    def _attempt(self, request: ModelRequest, spent: _Spent) -> ModelReply | FailedCall:
        """One attempt within the ledger; what it may have cost is added to ``spent``."""
        bound = _input_bound(request)
        if self._ledger is None:
            outcome = self._timed(request, spent)
        elif bound is None:
            said = "the row has parts whose tokens nothing bounds (a file, a sound, a tool of the provider)"
            return FailedCall(CallFailure.BAD_REQUEST, f"{said}, so no money can be reserved for it", billed=False)
        else:
            held = self._ledger.reserve(self.model, bound, request.max_output_tokens)
            if not isinstance(held, _HeldForACall):
                said = str(getattr(held, "sentence", held.reason))
                return FailedCall(CallFailure.NO_BUDGET, f"the spend ledger refuses: {said}", billed=False)
            outcome = self._within(held, request, spent)
        spent.attempts += 1
        if isinstance(outcome, ModelReply):
            spent.add(self._cost(outcome.usage))
        elif outcome.billed:
            spent.guess(self._most(bound, request.max_output_tokens))
        return outcome

    def _timed(self, request: ModelRequest, spent: _Spent) -> ModelReply | FailedCall:
        started = self._clock()
        outcome = self._client.ask(request)
        spent.seconds = self._clock() - started
        return outcome

    def _within(self, held: SpendReservation, request: ModelRequest, spent: _Spent) -> ModelReply | FailedCall:
        try:
            outcome = self._timed(request, spent)
        except BadSettings:
            held.release()  # refused before anything was sent
            raise
        except BaseException:
            held.settle(None)
            raise
        if isinstance(outcome, ModelReply):
            held.settle(outcome.usage)  # type: ignore[arg-type]  # the ledger takes a Usage as well as a mapping
        elif outcome.billed:
            held.settle(None)
        else:
            held.release()
        return outcome

    def _leave_out(self, parameter: str) -> None:
        with self._lock:
            if parameter not in self._refused:
                self._refused += (parameter,)

    def _request(self, messages: Sequence[Message]) -> ModelRequest:
        parameters = {name: value for name, value in self._parameters.items() if name not in self._refused}
        return ModelRequest(self.model, self._config.system, messages, parameters, self._config.max_output_tokens)

    # --- what comes out -------------------------------------------------------------------------

    def _answer(self, reply: ModelReply, spent: _Spent) -> Answer:
        return Answer(
            model=self.model,
            answered_by=reply.answered_by,
            text=reply.text,
            failure=None,
            seconds=spent.seconds,
            usage=reply.usage,
            cost=spent.cost,
            attempts=spent.attempts,
            left_out=self._refused,
            guessed=spent.guessed,
        )

    def _failure(self, failed: FailedCall, spent: _Spent) -> Answer:
        return Answer(
            model=self.model,
            answered_by=None,
            text=None,
            failure=failed.sentence,
            seconds=None,
            usage=None,
            cost=spent.cost,
            attempts=spent.attempts,
            left_out=self._refused,
            absence=failed.absence,
            kind=failed.kind,
            guessed=spent.guessed,
        )

    def _cost(self, usage: Usage | None) -> int | None:
        price = None if self._prices is None else self._prices.price(self.model, self._wall())
        return None if price is None or usage is None else price.cost(usage)

    def _most(self, input_tokens: int | None, output_tokens: int) -> int | None:
        """What a call without an answer may have cost at most."""
        price = None if self._prices is None else self._prices.price(self.model, self._wall())
        return None if price is None or input_tokens is None else price.at_most(input_tokens, output_tokens)


def _after(failed: FailedCall, attempts: int, wanted: float) -> FailedCall:
    """The failure with how often it was tried."""
    said = failed.sentence
    if wanted > LONGEST_ASKED and failed.kind in ASKED_AGAIN:
        said += f"; it asks to wait {duration_in_words(wanted)}, which is too long for a run: run it again later"
    elif attempts > 1:
        said += f" (after {counted(attempts, 'attempt')})"
    return FailedCall(failed.kind, said, failed.billed, failed.retry_after, failed.absence)


def _input_bound(request: ModelRequest) -> int | None:
    system = {} if request.system is None else {"system": request.system}
    return input_tokens_at_most({**request.parameters, **system, "messages": [dict(one) for one in request.messages]})
