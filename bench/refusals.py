"""Precision and recall of refusal detection on the labelled set made for it (tests/vectors/refusals.jsonl).

Run ``python bench/refusals.py``. Small and written by hand: it shows what the phrases can and cannot do, not how they
do on your traffic. Provider signals should be perfect; phrases are a guess.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from killswitch.router.phrases import Phrases
from killswitch.router.refusals import refused

SET = Path(__file__).parent.parent / "tests" / "vectors" / "refusals.jsonl"


class Score(NamedTuple):
    """How often detection said refusal, was right, and should have."""

    said: int
    right: int
    should: int

    @property
    def precision(self) -> float:
        return self.right / self.said if self.said else 1.0

    @property
    def recall(self) -> float:
        return self.right / self.should if self.should else 1.0


def examples() -> list[dict[str, Any]]:
    return [json.loads(line) for line in SET.read_text().splitlines()]


def detected(example: dict[str, Any], phrases: Phrases) -> bool:
    return refused(example["payload"], phrases if isinstance(example["payload"], str) else None) is not None


def score(some: Iterable[dict[str, Any]], phrases: Phrases) -> Score:
    answers = [(detected(example, phrases), example["refusal"]) for example in some]
    return Score(
        sum(said for said, _ in answers), sum(said and true for said, true in answers), sum(true for _, true in answers)
    )


def main() -> None:
    every, phrases = examples(), Phrases()
    kinds = sorted({example["kind"] for example in every})
    groups = [(kind, [example for example in every if example["kind"] == kind]) for kind in kinds]
    groups += [
        ("all provider signals", [example for example in every if not example["kind"].startswith("text")]),
        ("all phrases", [example for example in every if example["kind"].startswith("text")]),
    ]
    print(f"{'':22}{'examples':>9}{'refusals':>9}{'precision':>10}{'recall':>8}")
    for name, some in groups:
        result = score(some, phrases)
        print(f"{name:22}{len(some):9}{result.should:9}{result.precision:10.3f}{result.recall:8.3f}")
    for example in every:
        if detected(example, phrases) != example["refusal"]:
            print("missed: " if example["refusal"] else "wrongly found: ", json.dumps(example["payload"])[:110], sep="")


if __name__ == "__main__":
    main()
