"""Cohorts from the log of exposures, where users are pinned by something else than their id.

`killswitch.router.exposures` writes it: one row a user and change, with ``user`` (32 hexadecimal digits of HMAC-SHA256
of the key that the router gets), ``rollout``, ``generation``, ``cohort`` (``control`` or ``canary``) and ``at`` (a time
with an offset, or Unix seconds). The first exposure to the canary counts.

A log has a user's first request after a raise of the percent, which may be days later. So where the hash of the user
says that the raise brought the user to the canary, the user is exposed as of the raise, as without a log. Any other
user is pinned: exposed at the time in the log, or as of the newest raise before, if never seen in control.
"""

from __future__ import annotations

from killswitch.flags.keyed_hash import HASH_DIGITS
from killswitch.slow.days import first_counted, local_day
from killswitch.slow.user_days import NEVER, UserDays

LATEST = 4_102_444_800  # the year 2100 in Unix seconds: one that is given in milliseconds is no time
COLUMNS = ("user", "rollout", "generation", "cohort", "at")
HEXADECIMAL = HASH_DIGITS


def make_members(into: UserDays) -> None:
    """The table ``members`` (id, control_at, canary_at, exposed, counted) from ``assigned`` (id, canary, seen_at)."""
    zone, settle = into.window.zone, into.window.settle
    execute = into.connection.execute
    execute(
        "CREATE OR REPLACE TABLE kept.first_seen AS SELECT id, min(seen_at) FILTER (NOT canary) AS control_at,"
        " min(seen_at) FILTER (canary) AS canary_at FROM kept.assigned"
        f" WHERE seen_at BETWEEN 0 AND {LATEST} GROUP BY id"
    )
    # quarters of an hour: no zone's midnight is between two of them, and they are few
    execute("CREATE OR REPLACE TABLE kept.switch_days (quarter BIGINT, exposed INTEGER, counted INTEGER)")
    quarters = execute(
        "SELECT DISTINCT CAST(floor(canary_at / 900) AS BIGINT) FROM kept.first_seen WHERE canary_at > control_at"
    ).fetchall()
    days = [
        (quarter, local_day(quarter * 900.0, zone), first_counted(quarter * 900.0, settle, zone))
        for (quarter,) in quarters
    ]
    into.insert("switch_days", days)
    execute(
        "CREATE OR REPLACE TABLE kept.members AS"
        f" SELECT id, control_at, canary_at, CAST({NEVER} AS INTEGER) AS exposed, CAST({NEVER} AS INTEGER) AS counted"
        " FROM kept.first_seen WHERE canary_at IS NULL"
        " UNION ALL SELECT id, control_at, canary_at, coalesce(r.exposed, first_raise.exposed),"
        " coalesce(r.counted, first_raise.counted)"
        " FROM (FROM kept.first_seen WHERE canary_at <= coalesce(control_at, canary_at)) AS s"
        " ASOF LEFT JOIN kept.waves AS r ON s.canary_at >= r.raised_at"
        " CROSS JOIN (SELECT exposed, counted FROM kept.waves ORDER BY raised_at LIMIT 1) AS first_raise"
        " UNION ALL SELECT id, control_at, canary_at, d.exposed, d.counted"
        " FROM kept.first_seen AS s JOIN kept.switch_days AS d"
        " ON d.quarter = CAST(floor(s.canary_at / 900) AS BIGINT) WHERE s.canary_at > s.control_at"
    )
