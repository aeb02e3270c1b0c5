"""Checks of what a rule reads: are both cohorts there, are scrapes complete, was an event ever counted?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from killswitch.flags.flag import SHADOW, Flag
from killswitch.flags.shadow_share import ShadowShare
from killswitch.model import SHADOW_COHORT, Cohort, Counts, Reading, Reason, Rule, Unreadable
from killswitch.preflight.checks import Check, Status
from killswitch.verdicts.missing_events import never_counted

_MISSED = 0.05
_NO_SHADOW = (
    "let a service shadow requests (`Shadow(router, …)`) and scrape it; if it does, say in the rule file how they are "
    "labelled (`shadow: {cohort: {…}}`)"
)


@dataclass(frozen=True, slots=True)
class Served:
    """Whether users get the canary: ``percent`` of them, None if not armed. ``known``: whether flags were read.

    ``shadow``: what is shadowed if it is armed in stage ``shadow``, else None.
    """

    known: bool
    percent: float | None
    shadow: ShadowShare | None = None

    @property
    def canary_may_be_absent(self) -> str:
        """Why it is no error if the canary has no series; "" if it must have some."""
        if not self.known:
            return "whether it is armed is UNKNOWN, because no flag store was read"
        if self.percent is None:
            return "expected: it is not armed"
        if self.shadow is not None:
            return "expected: nothing is shadowed" if self.shadow.nothing else ""
        return "" if self.percent else "expected: its percent is 0"


def served_by(flags: dict[str, Flag] | None, rollout: str) -> Served:
    flag = flags.get(rollout) if flags is not None else None
    if flag is None or not flag.armed:
        return Served(flags is not None, None)
    return Served(known=True, percent=flag.canary_percent, shadow=flag.shadow_share if flag.stage == SHADOW else None)


def examine_cohorts(about: str, rule: Rule, readings: Sequence[Reading], served: Served) -> Iterator[Check]:
    """Are both cohorts there, and are scrapes complete?"""
    recent = readings[-20:]
    for cohort in (Cohort.CONTROL, Cohort.CANARY):
        sides = [getattr(reading, cohort.value) for reading in recent]
        problems = Counter(side.reason for side in sides if isinstance(side, Unreadable))
        if sum(problems.values()) < len(sides):
            continue
        reason = problems.most_common(1)[0][0] if problems else Reason.NO_DATA
        detail = next((side.detail for side in sides if isinstance(side, Unreadable)), "nothing was read")
        absent = served.canary_may_be_absent if cohort is Cohort.CANARY and reason is Reason.NO_DATA else ""
        status = Status.NOTE if absent else Status.WRONG
        fix = "" if absent else _fix_of(reason, rule)
        name, why = cohort.value, absent
        if served.shadow is not None and cohort is Cohort.CANARY:
            name = SHADOW_COHORT
            if fix and reason is Reason.NO_DATA:
                fix, why = _NO_SHADOW, "no service shadows"
        why = f" ({why})" if why else ""
        yield Check(about, status, f"{name}: {reason}: {detail}{why}", fix)
        return
    gaps = sum(
        any(isinstance(s, Unreadable) and s.reason is Reason.GAP for s in (r.canary, r.control)) for r in readings
    )
    if readings and gaps > _MISSED * len(readings):
        yield Check(
            about,
            Status.WARNING,
            f"{gaps / len(readings):.0%} of steps had no scrape: their events are counted late, by the next scrape",
            "look at scrape_duration_seconds and at timeouts of the targets",
        )
    else:
        yield Check(about, Status.OK, "both cohorts are seen")


def examine_events(about: str, rule: Rule, readings: Sequence[Reading]) -> Iterator[Check]:
    """Whether the events of a rule were ever counted at all."""
    sides = [side for each in readings for side in (each.canary, each.control) if isinstance(side, Counts)]
    doubt = never_counted(rule, sum(side.events for side in sides), sum(side.trials for side in sides))
    if doubt is not None:
        fix = "cause one such event and find it on the service's metrics page; until then, do not rely on this rule"
        yield Check(about, Status.WARNING, doubt, fix)


def _fix_of(reason: Reason, rule: Rule) -> str:
    match reason:
        case Reason.NEVER_SEEN:
            return f"correct the event metric of {rule.name}, or say absent_is_zero: true"
        case Reason.GAP:
            return "check that the services are scraped: look at scrape_duration_seconds and at timeouts of the targets"
        case Reason.STALE:
            return "check that the services are up and scraped, and that scrape_interval is the metric store's"
        case _:
            return (
                "correct the metric, `match` or `cohorts` in the rule file; if the service was scraped only once or "
                "twice so far, run the doctor again in a minute"
            )
