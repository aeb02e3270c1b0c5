"""The keys of the section `slow` of a rule file, whose descriptions are also the documentation."""

from __future__ import annotations

from pydantic import Field

from killswitch.rules.slow_values import (
    ColumnName,
    PasswordPlace,
    ResponsePoints,
    Settle,
    SlowDeciding,
    SlowLimit,
    Statement,
    Sustained,
    TableName,
    TimeOfDay,
    ValueRange,
    WarehouseUrl,
    ZoneName,
)
from killswitch.rules.strict import Strict

MAX_SIGNALS = 20


class SlowUsersSpec(Strict):
    """The statement that gives one row a user and day, or several. `:since` is the first day that is needed."""

    query: Statement = Field(
        description="one `select` with the parameter `:since` alone",
        examples=["select user_id, day, csat from support.csat where day >= :since"],
    )
    user: ColumnName = Field(description="the column of the user, as the service gives it to the router")
    day: ColumnName = Field(description="the column of the day; a time with an offset is taken in `time_zone`")


class SlowSignalSpec(Strict):
    """A column, and how much worse it may be in the canary. State `max_drop` or `max_increase`."""

    column: ColumnName = Field(description="its column; empty (NULL) means asked and not answered")
    query: Statement | None = Field(
        None, description="a statement of its own, with the same columns of user and day; default: `users.query`"
    )
    range: ValueRange = Field(
        (0.0, 1.0),
        description="lowest and highest value, default [0, 1]; a value outside is left out and counted",
        examples=[[0, 100]],
    )
    max_drop: SlowLimit = Field(
        None, description="how far the canary's mean may be under control's, in the column's unit", examples=[3]
    )
    max_increase: SlowLimit = Field(
        None, description="how far it may be above control's; `1pp` where the range is [0, 1]", examples=["1pp"]
    )
    sustained: Sustained = Field(
        "48h",
        validate_default=True,
        description="the literal rule: over the limit on every day for this long. With 50 answers a day it pins a "
        "healthy canary within a week in 28 to 57 % of runs; `killswitch slow` says how often at your traffic",
    )
    settle: Settle = Field(
        "1d",
        validate_default=True,
        description="a day counts once it ended this long ago, and began this long after a user's first exposure",
    )
    decide: SlowDeciding = Field(
        "evidence",
        validate_default=True,
        description="`evidence`: pins a canary within its limit in at most 1 % of 30 days; `threshold`: the literal "
        "rule. Both are shown",
    )
    max_response_drop: ResponsePoints = Field(
        "5pp",
        validate_default=True,
        description="how far the share of answered among asked may be under control's; judged as well",
    )


class SlowScheduleSpec(Strict):
    """When a day is judged."""

    at: TimeOfDay = Field("06:00", validate_default=True, description="the time of day, in quotes", examples=["06:00"])
    time_zone: ZoneName = Field(
        "UTC", validate_default=True, description="whose days the warehouse has", examples=["Europe/Berlin"]
    )


class SlowSpec(Strict):
    """Signals that arrive days later, from a warehouse. How they are judged: docs/slow.md."""

    source: WarehouseUrl = Field(
        description="`duckdb:///` and a folder of Parquet and CSV files or a database file, or a SQLAlchemy URL "
        "without a password",
        examples=["postgresql://reader@warehouse/analytics"],
    )
    password: PasswordPlace = Field(
        None, description="where the password is: `file:/path` or `env:NAME`", examples=["file:/run/secrets/warehouse"]
    )
    users: SlowUsersSpec = Field(description="who was asked what on which day")
    signals: dict[str, SlowSignalSpec] = Field(description="the signals by name")
    every: SlowScheduleSpec = Field(default_factory=SlowScheduleSpec, description="when a day is judged")
    assignments: TableName = Field(
        None,
        description="the table that the router's log of exposures fills (user, rollout, generation, cohort, at); "
        "default: cohorts are computed from the user and the flag's history",
        examples=["support.assignments"],
    )
    assignments_key: PasswordPlace = Field(
        None,
        description="where the key is with which that log hashes users: `file:/path` or `env:NAME`",
        examples=["file:/run/secrets/user-key"],
    )
