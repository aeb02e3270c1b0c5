"""Asks a golden set of prod and candidate, row by row in turn, and stops as soon as the verdict is clear.

Workers ask; this file's own thread counts. A worker takes one row and makes its calls one after the other, so that both
models are asked within the same seconds. Rows are judged in the order drawn, at the looks of the schedule, and only the
rows before which none is missing: a slow row delays a look, and never drops out of it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from killswitch.deadline import Deadline
from killswitch.errors import KillswitchError
from killswitch.gate.answer_cache import AnswerKey, GateAnswers
from killswitch.gate.answers import Answer, RowResult, ScoredAnswer
from killswitch.gate.call_failures import AskingStopped, CallFailure
from killswitch.gate.golden import GoldenRow, Message
from killswitch.gate.judging import GateOutcome, looks, repeats
from killswitch.gate.observations import Observation, observed
from killswitch.gate.outages import Outages
from killswitch.gate.row_order import RowCall, asked_hash, calls_of
from killswitch.gate.run_budget import RunBudget
from killswitch.roles.gate_record import GateVerdict

FINISH: Final = 10.0  # seconds that calls under way have to end once the run is over
FIRST_WAIT: Final = 5.0  # seconds before a row is asked again whose call ended in a rate limit; doubled each time
LONGEST_WAIT: Final = 60.0
_LOOK: Final = 0.2  # seconds between looks whether a person wants to stop


class AsksModel(Protocol):
    """One model of a role, asked with all its retries; `killswitch.gate.role_model.RoleModel` is one."""

    @property
    def model(self) -> str: ...

    def ask(self, messages: Sequence[Message]) -> Answer:
        """Raises a KillswitchError for what no other row would survive: a refused key, an unknown model."""
        ...


class ScoresAnswers(Protocol):
    """`killswitch.gate.scoring.Scorer` is one."""

    def scored(self, answer: Answer) -> ScoredAnswer: ...


class GateProgress(Protocol):
    """Shows how far a run is. All calls come from one thread."""

    def row(self, done: int, spent: int) -> None:
        """``done`` rows are finished; calls have cost ``spent`` micro-dollars."""
        ...

    def look(self, outcome: GateOutcome, rows: int) -> None:
        """The first ``rows`` rows were judged."""
        ...

    def ending(self, why: str) -> None:
        """No further call is made; those under way are waited for."""
        ...


def _as_it_was(answer: Answer) -> Answer:
    return answer


@dataclass(frozen=True, slots=True)
class GateAsk:
    """What a run asks. ``order``: the rows that it may ask, in their order. ``setup``: the hash of how they are asked.

    ``judge``: what the first rows say. ``repriced``: a kept answer at the prices of today. ``patience``: seconds
    without any good answer of a model after which the run gives up. ``sequential``: whether a look may end it
    before all rows are asked.
    """

    order: Sequence[GoldenRow]
    setup: str
    prod: AsksModel
    candidate: AsksModel
    scorer: ScoresAnswers
    judge: Callable[[Sequence[Observation]], GateOutcome]
    concurrency: int = 8
    repriced: Callable[[Answer], Answer] = _as_it_was
    patience: float = 600.0
    sequential: bool = True

    @property
    def models(self) -> Mapping[RowCall, AsksModel]:
        return {RowCall.PROD: self.prod, RowCall.PROD_AGAIN: self.prod, RowCall.CANDIDATE: self.candidate}

    @property
    def looks(self) -> tuple[int, ...]:
        return looks(len(self.order))


@dataclass(frozen=True, slots=True)
class GateRun:
    """How a run ended. ``results``: the finished rows from the first on. ``outcome``: None before the first row.

    ``broken_off``: why it ended without a verdict of its own, None where it has one. ``asked`` calls were made, and
    ``kept`` answers were there from before.
    """

    results: tuple[RowResult, ...]
    outcome: GateOutcome | None
    broken_off: str | None
    asked: int
    kept: int


@dataclass(frozen=True, slots=True)
class _Before:
    """What a call has cost before it was put off: micro-dollars, None if not known, and how many attempts.

    ``guessed``: the part of it that no provider has said.
    """

    cost: int | None
    attempts: int
    guessed: int

    def added_to(self, answer: Answer) -> Answer:
        cost = None if answer.cost is None or self.cost is None else answer.cost + self.cost
        guessed = answer.guessed + self.guessed
        return replace(answer, cost=cost, attempts=answer.attempts + self.attempts, guessed=guessed)


_NOTHING_BEFORE: Final = _Before(0, 0, 0)


@dataclass(slots=True)
class _Counts:
    asked: int = 0
    kept: int = 0


@dataclass(frozen=True, slots=True)
class _Finished:
    index: int
    result: RowResult


@dataclass(slots=True)
class _Prefix:
    """Finished rows, and how many of them are there from the first on."""

    rows: dict[int, RowResult] = field(default_factory=dict)
    length: int = 0

    def add(self, finished: _Finished) -> None:
        self.rows[finished.index] = finished.result
        while self.length in self.rows:
            self.length += 1

    def first(self, count: int) -> tuple[RowResult, ...]:
        return tuple(self.rows[index] for index in range(count))


class GateRunning:
    """One run. ``over``: set once no further call may be made; a pause of a retry waits for it.

    ``stop``: whether a person wants the end. ``pause``: waits that many seconds, and is true if the run is over.
    ``finish``: seconds that calls under way have at the end. Call `run` once.
    """

    def __init__(
        self,
        ask: GateAsk,
        answers: GateAnswers,
        budget: RunBudget,
        *,
        over: threading.Event,
        stop: Callable[[], bool],
        progress: GateProgress,
        monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], bool] | None = None,
        finish: float = FINISH,
    ) -> None:
        self._ask = ask
        self._answers = answers
        self._budget = budget
        self._over = over
        self._stop = stop
        self._progress = progress
        self._outages = Outages((ask.prod.model, ask.candidate.model), ask.patience, monotonic)
        self._pause = over.wait if pause is None else pause
        self._finish = finish
        self._finished: queue.SimpleQueue[_Finished | BaseException] = queue.SimpleQueue()
        self._counts = _Counts()
        self._guard = threading.Condition()
        self._silent = False  # whether an outage has ended the run
        self._next = 0
        self._judged: list[tuple[int, Sequence[Observation]]] = []  # what each look saw of prod's second answers
        self._may_ask = self._ahead_of(ask.looks[0])

    def run(self) -> GateRun:
        """Ask until the verdict is clear, the rows are asked, or something ends it. Raises what is a bug."""
        workers = [
            threading.Thread(target=self._work, name=f"killswitch-gate-{number}", daemon=True)
            for number in range(min(self._ask.concurrency, len(self._ask.order)))
        ]
        for worker in workers:
            worker.start()
        try:
            run = self._collect()
        finally:
            self._end()
            deadline = Deadline(self._finish)
            for worker in workers:
                worker.join(deadline.remaining())
        if self._silent:  # only now does no worker keep another failure of the outage
            for row in self._outages.rows_lost():
                self._answers.forget_row(self._ask.setup, row)
        return run

    # --- the thread that counts

    def _collect(self) -> GateRun:
        prefix, outcome = _Prefix(), None
        for look in self._ask.looks:
            while prefix.length < look:
                why = self._wait_for_a_row(prefix)
                if why is not None:
                    self._progress.ending(why)
                    results = prefix.first(prefix.length)
                    return self._ended(results, self._judge(results) if results else None, why)
            results = prefix.first(look)
            if self._ask.sequential or look == len(self._ask.order):
                outcome = self._judge(results)
                self._progress.look(outcome, look)
            if outcome is not None and outcome.verdict is not GateVerdict.TOO_FEW_ROWS:
                if look < len(self._ask.order):
                    self._progress.ending(outcome.why)
                return self._ended(results, outcome, None)
            with self._guard:
                twice = [observed(one) for one in results if one.prod_again is not None]
                self._judged.append((look, twice))
                self._may_ask = self._ahead_of(self._look_after(look))
                self._guard.notify_all()
        return self._ended(prefix.first(prefix.length), outcome, None)

    def _wait_for_a_row(self, prefix: _Prefix) -> str | None:
        """Take what has come. Why the run must end, None if it goes on."""
        try:
            came = self._finished.get(timeout=_LOOK)
        except queue.Empty:
            came = None
        if isinstance(came, KillswitchError):
            return str(came)
        if isinstance(came, BaseException):
            raise came
        if came is not None:
            prefix.add(came)
            self._progress.row(len(prefix.rows), self._budget.spent)
        if self._stop() or self._over.is_set():
            return "it was stopped"
        if self._budget.refusal is not None:
            return self._budget.refusal
        outage = self._outages.over_patience()
        if outage is not None:
            self._silent = True
        return outage

    def _judge(self, results: Sequence[RowResult]) -> GateOutcome:
        return self._ask.judge([observed(one) for one in results])

    def _ended(self, results: tuple[RowResult, ...], outcome: GateOutcome | None, why: str | None) -> GateRun:
        return GateRun(results, outcome, why, self._counts.asked, self._counts.kept)

    def _end(self) -> None:
        self._over.set()
        with self._guard:
            self._guard.notify_all()

    def _ahead_of(self, look: int) -> int:
        """How many rows may be asked before this look: one a worker more, so that none waits for a slow row."""
        return look + self._ask.concurrency

    def _look_after(self, look: int) -> int:
        return next((one for one in self._ask.looks if one > look), look)

    # --- the workers

    def _work(self) -> None:
        try:
            while (index := self._take()) is not None:
                result = self._row(index)
                if result is None:
                    return
                self._finished.put(_Finished(index, result))
        except BaseException as error:  # noqa: BLE001  the thread that counts raises it
            self._finished.put(error)

    def _take(self) -> int | None:
        """The next row, None if no more are asked."""
        with self._guard:
            while not self._over.is_set():
                if self._next >= len(self._ask.order):
                    return None
                if self._next < self._may_ask:
                    self._next += 1
                    return self._next - 1
                self._guard.wait()
        return None

    def _row(self, index: int) -> RowResult | None:
        """Make the calls of a row that are not kept. None if the run ended before all were made."""
        row = self._ask.order[index]
        found: dict[RowCall, ScoredAnswer] = {}
        for call in calls_of(row, twice=self._is_twice(index)):
            answer = self._answer(row, call)
            if answer is None:
                return None
            found[call] = self._ask.scorer.scored(answer)
        return RowResult(row, found[RowCall.PROD], found[RowCall.CANDIDATE], found.get(RowCall.PROD_AGAIN))

    def _is_twice(self, index: int) -> bool:
        """By what was surely judged before any worker could take this row, however fast the others are.

        So a run that goes on after a break asks the same calls again.
        """
        with self._guard:
            judged = self._judged
            seen = next((seen for look, seen in reversed(judged) if self._ahead_of(look) <= index), ())
        return repeats(index, seen)

    def _answer(self, row: GoldenRow, call: RowCall) -> Answer | None:
        """A kept answer, or one that is on the disk when this returns. None if the run has ended."""
        model = self._ask.models[call]
        key = AnswerKey(self._ask.setup, model.model, asked_hash(row), call)
        kept = self._answers.kept(key)
        if kept is not None:
            with self._guard:
                self._counts.kept += 1
            return self._ask.repriced(kept)
        answer = self._asked(model, row, key)
        if answer is None or (answer.text is None and (self._over.is_set() or self._budget.refusal is not None)):
            return None  # it may have failed because the run ended, or because no money was left
        self._answers.keep(key, answer)
        return answer

    def _asked(self, model: AsksModel, row: GoldenRow, key: AnswerKey) -> Answer | None:
        """The model's answer. A rate limit says nothing about a model: the row waits, and is asked again."""
        before, wait = _NOTHING_BEFORE, FIRST_WAIT
        while not self._over.is_set():
            self._outages.asked(model.model)
            try:
                answer = model.ask(row.messages)
            except AskingStopped:
                return None
            with self._guard:
                self._counts.asked += 1
            self._outages.answered(model.model, key.row, failure=answer.failure)
            answer = before.added_to(answer)
            if answer.kind is not CallFailure.RATE_LIMITED:
                return answer
            before = _Before(answer.cost, answer.attempts, answer.guessed)
            if self._pause(wait):
                return None
            wait = min(2.0 * wait, LONGEST_WAIT)
        return None
