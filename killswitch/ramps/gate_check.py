"""One check of a gate: PASS, FAIL or NOT_YET, with what is missing and how long that takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class CheckOutcome(StrEnum):
    """FAIL: it must not go on. NOT_YET: something is missing, unknown or unreadable. Never a bool."""

    PASS = "PASS"  # noqa: S105  an outcome
    FAIL = "FAIL"
    NOT_YET = "NOT_YET"


@dataclass(frozen=True, slots=True)
class GateCheck:
    """``sentence``: what is so, and what is missing. ``wait``: seconds until it is there at today's traffic.

    ``wait`` None: it passes, or no amount of time helps, or no one can say.
    """

    name: str
    outcome: CheckOutcome
    sentence: str
    wait: float | None = None

    def document(self) -> dict[str, Any]:
        wait = None if self.wait is None else round(self.wait, 1)
        return {"check": self.name, "outcome": self.outcome.value, "sentence": self.sentence, "wait_seconds": wait}


def passed(name: str, sentence: str) -> GateCheck:
    return GateCheck(name, CheckOutcome.PASS, sentence)


def failed(name: str, sentence: str) -> GateCheck:
    return GateCheck(name, CheckOutcome.FAIL, sentence)


def not_yet(name: str, sentence: str, wait: float | None = None) -> GateCheck:
    # infinite where next to nothing has come so far: that is no length of time, in words or in JSON
    known = wait is not None and math.isfinite(wait)
    return GateCheck(name, CheckOutcome.NOT_YET, sentence, wait if known else None)
