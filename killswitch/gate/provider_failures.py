"""When failed calls are the provider's weather and not the candidate's fault.

A failed call is a mismatch. But where prod's own calls fail too, some of the candidate's failures are of the same
storm. A run may then not say FAIL because of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from killswitch.gate.answers import RowResult
from killswitch.gate.judging import GateOutcome
from killswitch.gate.observations import Observation, observed
from killswitch.roles.gate_record import GateVerdict

Judge = Callable[[Sequence[Observation]], GateOutcome]


@dataclass(frozen=True, slots=True)
class FailedCalls:
    """Calls that were made and calls that failed, of each model; prod's second calls are among prod's."""

    prod: int
    prod_failed: int
    candidate: int
    candidate_failed: int

    @property
    def excused(self) -> int:
        """How many of the candidate's failed calls the storm that prod saw may explain; 0 where prod saw none.

        As many as prod's rate gives, and two standard deviations of the difference of two such counts (Poisson).
        """
        expected = self.prod_failed / self.prod * self.candidate if self.prod else 0.0
        return math.ceil(expected + 2.0 * math.sqrt(2.0 * expected))


def failed_calls(results: Sequence[RowResult]) -> FailedCalls:
    prod = [answer for one in results for answer in (one.prod, one.prod_again) if answer is not None]
    return FailedCalls(
        prod=len(prod),
        prod_failed=sum(one.answer.text is None for one in prod),
        candidate=len(results),
        candidate_failed=sum(one.candidate.answer.text is None for one in results),
    )


def is_silent(results: Sequence[RowResult]) -> bool:
    """Whether no call of the candidate has ended well: then it is not known what it says, and no row is a mismatch."""
    failed = failed_calls(results)
    return 0 < failed.candidate == failed.candidate_failed


def is_storm(results: Sequence[RowResult], outcome: GateOutcome, judge: Judge) -> bool:
    """Whether a FAIL rests on failures that prod's provider may explain.

    It does if the rows would not fail, were prod's failed rows matches, and as many of the candidate's failed calls
    good answers as the storm excuses.
    """
    failed = failed_calls(results)
    if outcome.verdict is not GateVerdict.FAIL or failed.excused == 0:
        return False
    return judge(_at_best(results, failed.excused)).verdict is not GateVerdict.FAIL


def _at_best(results: Sequence[RowResult], excused: int) -> list[Observation]:
    found = []
    for result in results:
        one = observed(result)
        if result.candidate.answer.text is None and excused > 0:
            excused -= 1
            one = replace(one, schema_ok=True, agrees=True)
        if result.prod.answer.text is None:
            one = replace(one, agrees=True)
        found.append(one)
    return found
