"""The way back: whether control answers, by the requests that it serves now."""

from __future__ import annotations

from dataclasses import dataclass

from killswitch.plan import Plan
from killswitch.ramps.gate_inputs import Missing, WayBack
from killswitch.wording import count_in_words, span_in_words

# A model that is gone answers every request with an error. Half is far from that, and from any ordinary day.
MOST_ERRORS = 0.5
ERRORS = "error_rate"


@dataclass(frozen=True, slots=True)
class ServedNow:
    """All requests of both cohorts in the newest window of ``seconds``, and control's share of errors, None if unknown.

    Not users' first requests alone, which rules judge: control must be able to take every one.
    """

    canary: float
    control: float
    control_errors: float | None
    seconds: float


def way_back(plan: Plan, served: ServedNow | Missing) -> WayBack | Missing:
    """What the requests of the newest window say, and what the plan states."""
    if isinstance(served, Missing):
        return served
    said = f"control served {count_in_words(served.control)} requests in {span_in_words(served.seconds)}"
    answers: bool | None = None if served.control <= 0 else True
    if answers and served.control_errors is not None:
        said += f", {served.control_errors:.1%} of them with errors"
        answers = served.control_errors < MOST_ERRORS
    rate = (served.canary + served.control) / served.seconds if served.seconds > 0 else None
    return WayBack(answers, said, plan.control_capacity, rate, plan.control_retires)
