"""What a drill has shown, in words: for its page, the command line and the log."""

from __future__ import annotations

from collections.abc import Iterator

from killswitch.drill.live import Restored
from killswitch.drill.record import (
    ACKNOWLEDGED,
    COMMIT,
    DETECTION,
    FAULTS,
    FIRST_ROUTER,
    GOAL,
    PAGE,
    REARM,
    ROLLBACK,
    ROUTERS,
    DrillOutcome,
    DrillRecord,
)
from killswitch.flags.flag import Flag
from killswitch.model import PageSettings
from killswitch.pages import drill_events
from killswitch.pages.page import Page
from killswitch.wording import duration_in_words

_LEGS = {
    DETECTION: "tick to decision",
    COMMIT: "commit",
    FIRST_ROUTER: "first router",
    ROUTERS: "99% of routers",
    REARM: "armed again",
    ACKNOWLEDGED: "acknowledged",
    ROLLBACK: "rollback",
}

_ENDED = {DrillOutcome.PASSED: "passed", DrillOutcome.CUT_SHORT: "was cut short", DrillOutcome.SLOW: "was too slow"}


def leg_in_words(name: str) -> str:
    """``page:slack`` -> ``page taken by slack``."""
    return f"page taken by {name.removeprefix(PAGE)}" if name.startswith(PAGE) else _LEGS.get(name, name)


def legs_in_order(record: DrillRecord) -> Iterator[tuple[str, float]]:
    """Each leg that was timed, by name, in the order in which a rollback goes; the sum is last."""
    order = [DETECTION, COMMIT, FIRST_ROUTER, ROUTERS, REARM]
    pages = sorted(name for name in record.legs if name.startswith(PAGE))
    for name in [*order, *pages, ACKNOWLEDGED, ROLLBACK]:
        if name in record.legs:
            yield name, record.legs[name]


def result_in_words(record: DrillRecord) -> str:
    """``a rollback takes 6.20 s here (goal: 30 s)``, or what did not work."""
    rollback = record.rollback
    if record.outcome in (DrillOutcome.PASSED, DrillOutcome.SLOW) and rollback is not None:
        return f"a rollback takes {duration_in_words(rollback)} here (goal: {duration_in_words(GOAL)})"
    if record.outcome is DrillOutcome.UNDER_WAY:
        return "under way"
    return "; ".join(record.problems) or record.outcome.value


def legs_in_words(record: DrillRecord) -> str:
    return ", ".join(f"{leg_in_words(name)} {duration_in_words(seconds)}" for name, seconds in legs_in_order(record))


def left_in_words(record: DrillRecord, found: Restored | None = None) -> str:
    """What a drill leaves: the flag as it was, unless a live drill could not re-arm it."""
    if not record.live:
        return "The flag is as it was, and no user was rerouted"
    if found is Restored.TOO_LATE:
        return (
            f"everyone still gets control: re-arm by hand with `killswitch rearm {record.rollout} --stage "
            f'{record.stage} --percent {record.percent:g} --reason "live drill"`'
        )
    if REARM in record.legs or found is Restored.REARMED:
        return f"The canary has its {record.percent:g}% of users again"
    return f"See what the flag is now: `killswitch status {record.rollout}`"


def pages_of_result(record: DrillRecord, flag: Flag | None, settings: PageSettings) -> tuple[Page, ...]:
    """The pages that end a drill: one in its thread, and an alert of its own where it failed or was slow."""
    at = record.finished_at or record.began_at
    pages: list[Page] = []
    if flag is not None and record.revision:
        pages.append(
            drill_events.drill_over(
                flag, record.incident,
                ended=_ENDED.get(record.outcome, "failed"), result=result_in_words(record), why=legs_in_words(record),
                at=at, settings=settings,
            )
        )  # fmt: skip
    if record.outcome in FAULTS:
        slow = record.outcome is DrillOutcome.SLOW
        why = f"{result_in_words(record)}: {legs_in_words(record)}" if slow else result_in_words(record)
        pages.append(
            drill_events.drill_failed(
                flag, record.rollout, record.incident,
                why=why, slow=slow, left=left_in_words(record), at=at, settings=settings,
            )
        )  # fmt: skip
    return tuple(pages)
