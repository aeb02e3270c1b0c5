"""Refusals that no provider's signal shows: the service's own rule, which reads the answers of both models alike.

If control's refusals were counted by such a rule and the canary's were not, a canary that refuses would look better
than control, in the metrics and in the report.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from killswitch.router.phrases import Phrases
from killswitch.router.shadow.raw_pair import RawAnswer

RefusalRule = Callable[[str], bool]
"""Says of an answer's text whether it is a refusal."""

UNKNOWN_RULE = (
    "the service counts an answer of control as a refusal by a rule of its own, which the shadow does not know: "
    "refusals are compared without it, and `refusal_rate` cannot see those of the canary; give the same rule to "
    "`Shadow(…, refused=…)`, or `CohortMetrics(…, phrases=…)` to `Shadow(…, metrics=…)`"
)


def rule_of(own: RefusalRule | None, phrases: Phrases | None) -> RefusalRule | None:
    """Both rules as one: a refusal by either is one."""
    if phrases is None:
        return own
    find = phrases.find
    if own is None:
        return lambda text: find(text) is not None
    return lambda text: own(text) or find(text) is not None


def read_by(rule: RefusalRule | None, answer: RawAnswer) -> RawAnswer:
    """The answer, as a refusal where the rule says so. Raises what the rule raises."""
    if rule is None or answer.refused or answer.outcome != "ok" or not answer.text or not rule(answer.text):
        return answer
    return replace(answer, outcome="refused", refused=True)
