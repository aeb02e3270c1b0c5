"""The keys of the section `drill`: when the chain from verdict to routers is rehearsed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from killswitch.drill_settings import DrillSettings
from killswitch.rules import patterns
from killswitch.rules.plan_keys import TimeZone, Windows
from killswitch.rules.slow_values import TimeOfDay
from killswitch.rules.strict import Strict
from killswitch.rules.units import parse_duration, shown
from killswitch.rules.values import Wrong
from killswitch.timestamps import DAY

LONGEST_EVERY = 90  # days; doctor complains about a rollout whose last drill is older


def _whole_days(value: object) -> int:
    seconds = parse_duration(value)
    days = round(seconds / DAY)
    if seconds != days * DAY or not 1 <= days <= LONGEST_EVERY:
        raise Wrong(f"{shown(value)} is not a number of days", f"use whole days from 1d to {LONGEST_EVERY}d")
    return days


Days = Annotated[
    int | None,
    PlainValidator(_whole_days),
    WithJsonSchema({"type": "string", "pattern": patterns.duration(longest=LONGEST_EVERY * 86_400, zero=False)}),
]


class DrillSpec(Strict):
    """Rehearsals of a trip in production. What they prove and what they change: docs/drill.md."""

    every: Days = Field(
        None,
        description="whole days between two drills that the daemon makes by itself; without it only a person drills",
        examples=["7d"],
    )
    at: TimeOfDay = Field(
        "03:00",
        validate_default=True,
        description="the time of day of a scheduled drill, in quotes",
        examples=["03:00"],
    )
    time_zone: TimeZone = Field(
        "UTC", description="the time zone of `at` and `quiet`, by its IANA name", examples=["Europe/Berlin"]
    )
    quiet: Windows = Field(
        (),
        description="cron expressions; `killswitch drill --live` begins only in a minute that one of them names",
        examples=[["* 2-4 * * *"]],
    )

    def settings(self) -> DrillSettings:
        """The same as a plain value."""
        return DrillSettings(every=self.every, at=self.at, time_zone=self.time_zone, quiet=self.quiet)
