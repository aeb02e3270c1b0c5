"""``killswitch slow`` before a user is exposed: at which percent the signals, and the literal rule, could work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from killswitch.cli.invocation import say
from killswitch.slow.findings import SlowFinding, amount, points
from killswitch.slow.outlook import AtPercent, SlowOutlook, outlook_of, without_exposures
from killswitch.slow.reading import evaluate
from killswitch.slow_settings import SlowSettings
from killswitch.wording import counted

Found = Sequence[tuple[SlowFinding, SlowOutlook | None]]


def outlooks(rollout: str, settings: SlowSettings, now: float) -> Found:
    """Of each signal what the warehouse's newest days say."""
    plain = replace(settings, assignments=None, assignments_key=None)  # no one has been assigned
    findings = evaluate(plain, without_exposures(rollout, now), now).findings
    signals = len(settings.signals)
    return [
        (finding, outlook_of(signal, finding.days, signals))
        for signal, finding in zip(settings.signals, findings, strict=True)
    ]


def as_document(found: Found) -> list[dict[str, Any]]:
    return [
        {"signal": finding.signal, "problem": finding.sentence}
        if outlook is None
        else {
            "signal": finding.signal,
            "users_a_day": outlook.users,
            "deviation": outlook.deviation,
            "drop_to_see": outlook.drop,
            "literal_percent_needed": outlook.works_from,
            "at": [
                {"percent": row.percent, "literal_false_pins_a_week": row.false_pins, "days_to_see": row.days_to_see}
                for row in outlook.rows
            ],
        }
        for finding, outlook in found
    ]


def print_outlooks(found: Found) -> None:
    say("No user has been exposed to the canary yet. This is what could be seen with the users of the newest days.")
    for finding, outlook in found:
        say("")
        if outlook is None:
            say(finding.sentence)
            continue
        spread = amount(outlook.deviation, as_share=finding.as_share)
        say(f"{finding.signal}: {counted(outlook.users, 'user')} a day with a value, standard deviation {spread}")
        word = "lower" if finding.lower_is_worse else "higher"
        drop = f"{points(outlook.drop, as_share=finding.as_share)} {word} is proven after"
        say(f"canary  {drop:>28}  literal rule pins a healthy canary within a week")
        for row in outlook.rows:
            say(f"{row.percent:>4g} %  {_after(row):>28}  {row.false_pins:.1%} of runs")
        works = (
            "no percent makes the literal rule work"
            if outlook.works_from is None
            else f"the literal rule works from {outlook.works_from:g} % of users on"
        )
        say(works)


def _after(row: AtPercent) -> str:
    return "over ten years" if row.days_to_see is None else counted(row.days_to_see, "day")
