"""Models that say what a test says, and count how often each row was asked; and what a gate run needs around them."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from killswitch.gate.answers import Answer, ScoredAnswer
from killswitch.gate.golden import GoldenRow, GoldenSet, Message, version_of
from killswitch.gate.judging import GateOutcome
from killswitch.token_usage import Usage

LABELS = ("bug", "praise", "question", "spam")


def golden_rows(count: int) -> GoldenSet:
    """``count`` rows; the input of row 7 is the text ``7``, and its label is one of LABELS."""
    rows = tuple(
        GoldenRow(f"r{number}", ({"role": "user", "content": str(number)},), json.dumps(label_of(number)), number + 1)
        for number in range(count)
    )
    return GoldenSet(rows, version_of(rows))


def label_of(number: int) -> str:
    return LABELS[number % len(LABELS)]


def said(
    model: str, label: str | None, *, seconds: float = 0.2, cost: int | None = 10, by: str | None = None
) -> Answer:
    """An answer with this label; None is a failed call."""
    if label is None:
        return Answer(model, None, None, "500: broken", None, None, cost, 4)
    return Answer(model, by or model, label, None, seconds, Usage(input=10, output=1), cost, 1)


class SaidModel:
    """``answers``: what the model says to the row of this number, at its n-th call for that row (from 0)."""

    def __init__(self, model: str, answers: Callable[[int, int], Answer] | None = None) -> None:
        self.model = model
        self.asked: Counter[int] = Counter()
        self.order: list[int] = []
        self._answers = answers or (lambda number, _: said(model, label_of(number), seconds=0.2 + number % 7 / 100))
        self._guard = threading.Lock()

    def ask(self, messages: Sequence[Message]) -> Answer:
        number = int(messages[0]["content"])
        with self._guard:
            times = self.asked[number]
            self.asked[number] += 1
            self.order.append(number)
        return self._answers(number, times)


class WordScorer:
    """The whole answer is the label; the text ``bad`` breaks the schema."""

    def scored(self, answer: Answer) -> ScoredAnswer:
        if answer.text is None:
            return ScoredAnswer(answer, schema_ok=False, label=None, problem=answer.failure)
        if answer.text == "bad":
            return ScoredAnswer(answer, schema_ok=False, label=None, problem="no JSON")
        return ScoredAnswer(answer, schema_ok=True, label=json.dumps(answer.text), problem=None)


class ListedProgress:
    """What was told of the run."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.looks: list[tuple[int, str]] = []
        self.endings: list[str] = []

    def row(self, done: int, spent: int) -> None:
        self.rows.append(done)

    def look(self, outcome: GateOutcome, rows: int) -> None:
        self.looks.append((rows, outcome.verdict.value))

    def ending(self, why: str) -> None:
        self.endings.append(why)


def write_golden(path: Path, golden: GoldenSet) -> Path:
    """The set as a file of JSON lines."""
    lines = [
        json.dumps({"id": row.id, "input": row.messages[0]["content"], "expect_label": json.loads(row.expect_label)})
        for row in golden.rows
    ]
    path.write_text("\n".join(lines) + "\n")
    return path
