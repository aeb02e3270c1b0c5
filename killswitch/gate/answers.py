"""What one call to a model came to, and what became of a golden row with both models."""

from __future__ import annotations

from dataclasses import dataclass

from killswitch.gate.call_failures import CallFailure
from killswitch.gate.golden import GoldenRow, Label
from killswitch.roles.absence import Absence
from killswitch.token_usage import Usage


@dataclass(frozen=True, slots=True)
class Answer:
    """One model's answer to one row, retries included; exactly one of ``text`` and ``failure`` is None.

    ``model``: what was asked for; ``answered_by``: what the response says, None where it says nothing. ``seconds``: of
    the attempt that succeeded alone, None for a failed call. ``usage``: None where the response has none. ``cost``:
    micro-dollars of all attempts that may be billed, None where it is not known. ``left_out``: parameters of the role
    that this model refuses and that were not sent. ``absence``: of a failed call, whether the provider says that
    there is no such model (`killswitch.roles.absence.absence_of` of its last response). ``kind``: of a failed call,
    what its last attempt came to; None for an answer. ``guessed``: the part of the cost that no provider has said: the
    most that attempts which brought no answer may have cost.
    """

    model: str
    answered_by: str | None
    text: str | None
    failure: str | None
    seconds: float | None
    usage: Usage | None
    cost: int | None
    attempts: int
    left_out: tuple[str, ...] = ()
    absence: Absence | None = None
    kind: CallFailure | None = None
    guessed: int = 0

    @property
    def likely_cost(self) -> int | None:
        """The most that it has cost in all likelihood, to compare models by; for a cap `cost` is right.

        An attempt that was lost before an answer came costs no more than the one that was answered.
        """
        if self.cost is None or self.text is None:
            return self.cost
        return min(self.cost, (self.cost - self.guessed) * self.attempts)

    @property
    def least_cost(self) -> int | None:
        """What it has cost if nothing was billed but what has said its usage."""
        return None if self.cost is None else self.cost - self.guessed


@dataclass(frozen=True, slots=True)
class ScoredAnswer:
    """An answer held against the role's schema. ``label``: None where there is none; then ``problem`` says why."""

    answer: Answer
    schema_ok: bool
    label: Label | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class RowResult:
    """A row asked of both models, one after the other. ``prod_again``: prod asked a second time, on a part of rows."""

    row: GoldenRow
    prod: ScoredAnswer
    candidate: ScoredAnswer
    prod_again: ScoredAnswer | None

    @property
    def agrees(self) -> bool:
        """Whether the candidate says what prod says; a failed call of either, or a missing label, is a mismatch."""
        return _same(self.prod, self.candidate)

    @property
    def prod_agrees_with_itself(self) -> bool | None:
        """The same of prod's second answer; None where prod was asked once, or one of its calls failed.

        A failed call is no contradiction: counted as one, a storm at prod's provider would raise the floor, and
        excuse a candidate that disagrees.
        """
        again = self.prod_again
        if again is None or self.prod.answer.text is None or again.answer.text is None:
            return None
        return _same(self.prod, again)


def _same(one: ScoredAnswer, other: ScoredAnswer) -> bool:
    return one.label is not None and one.label == other.label
