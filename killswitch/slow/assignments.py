"""Cohorts from a table of assignments, where users are pinned by something else than their id.

One row a user and change: ``user`` (hexadecimal SHA-256 of the key that the service gives to the router), ``rollout``,
``generation``, ``cohort`` (``control`` or ``canary``) and ``at`` (a time with an offset, or Unix seconds). The first
exposure to the canary counts. A user who was never in control is exposed as the newest raise before says; one who came
from control is exposed at the time in the table.
"""

from __future__ import annotations

from killswitch.slow.days import first_counted, local_day
from killswitch.slow.user_days import NEVER, UserDays

COLUMNS = ("user", "rollout", "generation", "cohort", "at")
HEXADECIMAL = 64


def make_members(into: UserDays) -> None:
    """The table ``members`` (id, exposed, counted) from ``assigned`` (id, canary, seen_at in Unix seconds)."""
    zone, settle = into.window.zone, into.window.settle
    waves = into.history.waves
    execute = into.connection.execute
    execute("CREATE OR REPLACE TABLE kept.raises (raised_at DOUBLE, exposed INTEGER, counted INTEGER)")
    rows = [(wave.at, *days) for wave, days in zip(waves, into.wave_days, strict=True)]
    if rows:
        into.connection.executemany("INSERT INTO kept.raises VALUES (?, ?, ?)", rows)
    execute(
        "CREATE OR REPLACE TABLE kept.first_seen AS SELECT id, min(seen_at) AS seen_at,"
        " min(seen_at) FILTER (canary) AS canary_at FROM kept.assigned GROUP BY id"
    )
    # quarters of an hour: no zone's midnight is between two of them, and they are few
    execute("CREATE OR REPLACE TABLE kept.switch_days (quarter BIGINT, exposed INTEGER, counted INTEGER)")
    quarters = execute(
        "SELECT DISTINCT CAST(floor(canary_at / 900) AS BIGINT) FROM kept.first_seen WHERE canary_at > seen_at"
    ).fetchall()
    days = [
        (quarter, local_day(quarter * 900.0, zone), first_counted(quarter * 900.0, settle, zone))
        for (quarter,) in quarters
    ]
    if days:
        into.connection.executemany("INSERT INTO kept.switch_days VALUES (?, ?, ?)", days)
    execute(
        "CREATE OR REPLACE TABLE kept.members AS"
        f" SELECT id, CAST({NEVER} AS INTEGER) AS exposed, CAST({NEVER} AS INTEGER) AS counted FROM kept.first_seen"
        " WHERE canary_at IS NULL"
        " UNION ALL SELECT id, coalesce(r.exposed, first_raise.exposed), coalesce(r.counted, first_raise.counted)"
        " FROM (SELECT id, canary_at FROM kept.first_seen WHERE canary_at <= seen_at) AS s"
        " ASOF LEFT JOIN kept.raises AS r ON s.canary_at >= r.raised_at"
        " CROSS JOIN (SELECT exposed, counted FROM kept.raises ORDER BY raised_at LIMIT 1) AS first_raise"
        " UNION ALL SELECT id, d.exposed, d.counted FROM kept.first_seen AS s JOIN kept.switch_days AS d"
        " ON d.quarter = CAST(floor(s.canary_at / 900) AS BIGINT) WHERE s.canary_at > s.seen_at"
    )
