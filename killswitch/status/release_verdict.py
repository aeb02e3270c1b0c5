"""What other tools that release software may do about a rollout: go on, wait, or roll back. Pure.

`healthy` is said only on proof: a cycle that is young, of this very arming and step, whose every rule had a verdict.
All else waits. `tripped` is said only of a flag that has been tripped: routers obey that for ever, so it does not age.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from killswitch.flags.flag import AA, SHADOW, Flag, drilled
from killswitch.flags.transitions import STOPPED
from killswitch.model import Finding, Verdict
from killswitch.status.reports import CycleReport
from killswitch.wording import duration_in_words


class Word(StrEnum):
    HEALTHY = "healthy"
    HELD = "held"
    SUSPECT = "suspect"
    BREACH = "breach"
    UNKNOWN = "unknown"
    TRIPPED = "tripped"


@dataclass(frozen=True, slots=True)
class ReleaseVerdict:
    """The word, and the sentence that says why. ``flag``: as it is obeyed now."""

    word: Word
    sentence: str
    flag: Flag | None = None

    @property
    def may_go_on(self) -> bool:
        return self.word is Word.HEALTHY

    @property
    def roll_back(self) -> bool:
        return self.word is Word.TRIPPED

    def document(self, rollout: str) -> dict[str, Any]:
        """As JSON."""
        flag = self.flag
        return {
            "rollout": rollout,
            "verdict": self.word.value,
            "promote": self.may_go_on,
            "rollback": self.roll_back,
            "sentence": self.sentence,
            "generation": None if flag is None else flag.generation,
            "stage": None if flag is None else flag.stage,
            "canary_percent": None if flag is None else flag.canary_percent,
        }


def release_verdict(
    flag: Flag,
    report: CycleReport | None,
    *,
    age: float | None,
    oldest: float,
    stale: bool,
    held: bool | None,
) -> ReleaseVerdict:
    """The verdict on a rollout whose flag is known.

    ``age`` of the report and the ``oldest`` one to rest on in seconds; ``stale``: the flag store could not be read of
    late; ``held``: whether a person or an alert holds the plan, None where that is not known.
    """
    # a live drill's trip is no verdict on the release: it is unknown, as is every flag that is not judged
    if flag.state in STOPPED and flag.trip is not None and not drilled(flag):
        return ReleaseVerdict(Word.TRIPPED, f"{flag.state.value}: {flag.trip.reason}", flag)
    doubt = _of_flag(flag, stale=stale) or _of_report(flag, report, age, oldest)
    if doubt is not None:
        return ReleaseVerdict(Word.UNKNOWN, doubt, flag)
    assert report is not None
    found = _of_findings(report.reports[flag.rollout].findings)
    if found.word is not Word.HEALTHY:
        return ReleaseVerdict(found.word, found.sentence, flag)
    if held is None:
        return ReleaseVerdict(Word.UNKNOWN, "whether its plan is held cannot be read", flag)
    if held:
        return ReleaseVerdict(Word.HELD, f"its plan is held; see `killswitch ready {flag.rollout}`", flag)
    return ReleaseVerdict(Word.HEALTHY, found.sentence, flag)


def _of_flag(flag: Flag, *, stale: bool) -> str | None:
    """Why the flag alone leaves it unknown; None where it does not."""
    if not flag.armed:
        return f"the flag is {flag.state.value}, so nothing is judged"
    if stale:
        return "the flag store cannot be read, or no controller is alive"
    if flag.stage in (AA, SHADOW) or flag.canary_percent == 0.0:
        return f"no user has the canary in stage {flag.stage}"
    return None


def _of_report(flag: Flag, report: CycleReport | None, age: float | None, oldest: float) -> str | None:
    """Why the newest cycle proves nothing about this flag; None where it does."""
    if report is None or age is None:
        return "no cycle has finished yet"
    if age > oldest:
        return f"the newest cycle is {duration_in_words(age)} old"
    problem = report.store_problem or report.source_problem
    return problem if problem is not None else _of_rollout(flag, report)


def _of_rollout(flag: Flag, report: CycleReport) -> str | None:
    one = report.reports.get(flag.rollout)
    if one is None or one.rules is None:
        return "no rule file has this rollout"
    if one.flag != flag:
        return "it has not been judged since its flag changed"
    return None if one.last_good == report.tick else "the newest cycle had no usable verdict"


def _of_findings(findings: Sequence[Finding]) -> ReleaseVerdict:
    worst = (
        (Verdict.BREACH, Word.BREACH),
        (Verdict.SUSPECT, Word.SUSPECT),
        (Verdict.UNKNOWN, Word.UNKNOWN),
    )
    for verdict, word in worst:
        found = [finding for finding in findings if finding.verdict is verdict]
        if found:
            return ReleaseVerdict(word, "; ".join(finding.sentence for finding in found))
    if not findings:
        return ReleaseVerdict(Word.UNKNOWN, "no rule was judged")
    return ReleaseVerdict(Word.HEALTHY, f"{len(findings)} of {len(findings)} rules healthy")
