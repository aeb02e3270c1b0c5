"""Users and days in an embedded DuckDB: what a warehouse gave, counted by cohort. It spills to a private folder.

A row is a user's id (64 bits of a hash), the wave that the user is in, a day and a value. Users' own keys are not kept.
"""

from __future__ import annotations

import importlib
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from killswitch.errors import BadSettings
from killswitch.slow.counts import DayCounts, Moments, RecentCounts, SlowCounts, StretchCounts, UserSpread
from killswitch.slow.days import first_counted, local_day
from killswitch.slow.evidence import recent_starts, weights
from killswitch.slow.history import ExposureHistory, Stretch, stretches_of
from killswitch.slow.judging import BAD
from killswitch.slow.window import Window

MEMORY = "280MB"
THREADS = 2
MOST_WAVES = 200
NO_WAVE = 255  # the wave of a control user
NEVER = 2**30  # the day on which a control user is exposed
NOTICED_WITHIN = 300.0  # seconds from a raise until every router has seen it
SQL_OF_MEMBER = (
    f"CASE WHEN m.canary_at IS NULL THEN {NEVER} WHEN w.raised_at <= m.canary_at"
    f" AND (m.control_at IS NULL OR m.control_at < w.raised_at + {NOTICED_WITHIN}) THEN w.{{name}} ELSE m.{{name}} END"
)
"""A day of a user in the log of exposures: that of the raise, if it explains the change, or that of the change."""
_LEFT_OUT = ("", *BAD, "a day still to come", "a day before the first")
OK, NO_USER, NO_DAY, OUT_OF_RANGE, TO_COME, BEFORE = range(len(_LEFT_OUT))
"""What is wrong with a staged row."""


def duckdb_module() -> Any:
    """The library. Raises BadSettings that names the extra if it is not installed."""
    try:
        return importlib.import_module("duckdb")
    except ImportError as error:
        raise BadSettings(["slow signals are counted with DuckDB: pip install '.[daemon,warehouse]'"]) from error


@dataclass(slots=True)
class UserDays:
    """The tables of one signal. ``connection`` is DuckDB's.

    ``user_key``: the key of the log of exposures, whose cohorts count; None where they are computed.
    """

    connection: Any
    history: ExposureHistory
    window: Window
    user_key: bytes | None = None

    @property
    def assigned(self) -> bool:
        """Whether the warehouse has the cohorts."""
        return self.user_key is not None

    @property
    def wave_days(self) -> list[tuple[int, int]]:
        """Of each wave the day of its exposure, and the first day on which it counts."""
        zone, settle = self.window.zone, self.window.settle
        return [(local_day(wave.at, zone), first_counted(wave.at, settle, zone)) for wave in self.history.waves]

    def begin(self) -> None:
        """Empty tables, for the next signal."""
        execute = self.connection.execute
        execute(
            "CREATE OR REPLACE TABLE kept.staged (id UBIGINT, wave UTINYINT, day INTEGER, value DOUBLE, wrong UTINYINT)"
        )
        execute(
            "CREATE OR REPLACE TABLE kept.waves (wave UTINYINT, raised_at DOUBLE, exposed INTEGER, counted INTEGER)"
        )
        raised = [wave.at for wave in self.history.waves]
        rows = [(number, at, *days) for number, (at, days) in enumerate(zip(raised, self.wave_days, strict=True))]
        rows.append((NO_WAVE, math.inf, NEVER, NEVER))
        self.insert("waves", rows)

    def add(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """A batch of rows: ``id``, ``wave``, ``day``, ``value`` (NaN: not answered) and ``wrong``."""
        self.connection.register("batch", dict(columns))
        try:
            self.connection.execute(
                "INSERT INTO kept.staged SELECT id, wave, day, CASE WHEN isnan(value) THEN NULL ELSE value END, wrong"
                " FROM batch"
            )
        finally:
            self.connection.unregister("batch")

    def count(self) -> SlowCounts:
        """What the staged rows say."""
        rows = dict(self.connection.execute("SELECT wrong, count(*) FROM kept.staged GROUP BY wrong").fetchall())
        left_out = {_LEFT_OUT[wrong]: number for wrong, number in sorted(rows.items()) if wrong != OK}
        ((newest,),) = self.connection.execute("SELECT max(day) FROM kept.staged WHERE wrong = 0").fetchall()
        stretches = stretches_of(self.history, self.wave_days, self.window.last)
        began = min((counted for _, counted in self.wave_days), default=self.window.last + 1)
        first = max(began, self.window.since)
        self._make_user_days()
        left_out |= self._neither()
        days = self._days(first)
        seen = dict(self.connection.execute("SELECT day, count(*) FROM kept.user_days GROUP BY day").fetchall())
        recent = [self._recent(start, stretches) for start in recent_starts(began, self.window.last)]
        self._make_user_stretches(stretches)
        counted = self._stretches(stretches)
        return SlowCounts(
            first=first, last=self.window.last, newest=newest, days=days, stretches=counted,
            values=self._spread(counted, answers=False), answers=self._spread(counted, answers=True),
            recent=tuple(recent), seen=seen, rows=sum(rows.values()),
            bad=sum(rows.get(wrong, 0) for wrong in (NO_USER, NO_DAY, OUT_OF_RANGE)), left_out=left_out,
        )  # fmt: skip

    # --- tables -----------------------------------------------------------------------------------

    def _make_user_days(self) -> None:
        """One row a user and day, with the days on which the user was exposed and counts as canary."""
        exposed, counted, members = "w.exposed", "w.counted", ""
        if self.assigned:
            members = "JOIN kept.members AS m USING (id)"
            exposed, counted = (SQL_OF_MEMBER.format(name=name) for name in ("exposed", "counted"))
        self.connection.execute(
            f"CREATE OR REPLACE TABLE kept.user_days AS SELECT id, any_value({exposed}) AS exposed,"
            f" any_value({counted}) AS counted, day, avg(value) AS value,"
            " CAST(count(value) > 0 AS INTEGER) AS answered"
            f" FROM kept.staged JOIN kept.waves AS w USING (wave) {members} WHERE wrong = 0 GROUP BY id, day"
        )

    def _neither(self) -> dict[str, int]:
        """User-days that count in neither cohort, by reason."""
        found = dict(
            self.connection.execute(
                "SELECT CASE WHEN day > $last THEN 'a day that has not settled' WHEN day = exposed"
                " THEN 'the day of a change of cohort' WHEN day > exposed AND day < counted"
                " THEN 'a day soon after a change of cohort' ELSE '' END AS reason, count(*) FROM kept.user_days"
                " GROUP BY reason ORDER BY reason",
                {"last": self.window.last},
            ).fetchall()
        )
        if self.assigned:
            ((unknown,),) = self.connection.execute(
                "SELECT count(*) FROM kept.staged ANTI JOIN kept.members USING (id) WHERE wrong = 0"
            ).fetchall()
            found["a user without an assignment"] = unknown
        return {reason: number for reason, number in found.items() if reason and number}

    def _make_user_stretches(self, stretches: Sequence[Stretch]) -> None:
        days = [
            (day, number)
            for number, one in enumerate(stretches)
            for day in range(max(one.first, self.window.since), one.last + 1)
        ]
        self.connection.execute("CREATE OR REPLACE TABLE kept.stretch_of (day INTEGER, stretch USMALLINT)")
        self.insert("stretch_of", days)
        self.connection.execute(
            "CREATE OR REPLACE TABLE kept.user_stretches AS SELECT id, stretch, day >= counted AS canary,"
            " avg(value) AS value, avg(answered) AS answered FROM kept.user_days JOIN kept.stretch_of USING (day)"
            " WHERE day < exposed OR day >= counted GROUP BY id, stretch, day >= counted"
        )

    def _recent(self, start: int, stretches: Sequence[Stretch]) -> RecentCounts:
        """The comparison of the days from ``start`` on alone."""
        later = [replace(one, first=max(one.first, start)) for one in stretches if one.last >= start]
        self._make_user_stretches(later)
        counted = self._stretches(later)
        return RecentCounts(start, counted, self._spread(counted, answers=False))

    def insert(self, table: str, rows: Sequence[tuple[object, ...]]) -> None:
        """All in one statement: `executemany` runs one for each row."""
        columns = [list(column) for column in zip(*rows, strict=True)]
        if columns:
            places = ", ".join("unnest(?)" for _ in columns)
            self.connection.execute(f"INSERT INTO kept.{table} SELECT {places}", columns)

    # --- numbers ----------------------------------------------------------------------------------

    def _days(self, first: int) -> tuple[DayCounts, ...]:
        rows = self.connection.execute(
            "SELECT day, day >= counted AS canary, count(value), avg(value), var_samp(value) FROM kept.user_days"
            " WHERE (day < exposed OR day >= counted) AND day BETWEEN $first AND $last GROUP BY ALL ORDER BY day",
            {"first": first, "last": self.window.last},
        ).fetchall()
        found: dict[int, dict[bool, Moments]] = {}
        for day, canary, *numbers in rows:
            found.setdefault(day, {})[canary] = _moments(*numbers)
        return tuple(
            DayCounts(day, sides.get(False, Moments()), sides.get(True, Moments())) for day, sides in found.items()
        )

    def _stretches(self, stretches: Sequence[Stretch]) -> tuple[StretchCounts, ...]:
        rows = self.connection.execute(
            "SELECT stretch, canary, count(value), avg(value), var_samp(value), count(*), avg(answered),"
            " var_samp(answered) FROM kept.user_stretches GROUP BY ALL"
        ).fetchall()
        known = {(stretch, canary): numbers for stretch, canary, *numbers in rows}
        nothing = (0, None, None, 0, None, None)
        return tuple(
            StretchCounts(
                one.share,
                _moments(*known.get((number, False), nothing)[:3]),
                _moments(*known.get((number, True), nothing)[:3]),
                _moments(*known.get((number, False), nothing)[3:]),
                _moments(*known.get((number, True), nothing)[3:]),
            )
            for number, one in enumerate(stretches)
        )

    def _spread(self, stretches: Sequence[StretchCounts], *, answers: bool) -> UserSpread:
        """What each user adds to the difference of all stretches, squared and summed."""
        rows = []
        for number, (weight, one) in enumerate(zip(weights(stretches, answers=answers), stretches, strict=True)):
            control, canary = (one.control_answers, one.canary_answers) if answers else (one.control, one.canary)
            rows.append((number, False, -weight / control.users if control.users else 0.0, control.mean))
            rows.append((number, True, weight / canary.users if canary.users else 0.0, canary.mean))
        if not rows:
            return UserSpread()
        self.connection.execute(
            "CREATE OR REPLACE TABLE kept.parts (stretch USMALLINT, canary BOOLEAN, part DOUBLE, mean DOUBLE)"
        )
        self.insert("parts", rows)
        column = "answered" if answers else "value"
        ((squared, control_users, canary_users),) = self.connection.execute(
            "SELECT coalesce(sum(added * added), 0), count(*) FILTER (in_control), count(*) FILTER (in_canary) FROM"
            f" (SELECT id, sum(part * ({column} - mean)) AS added, bool_or(canary) AS in_canary,"
            f" bool_or(NOT canary) AS in_control FROM kept.user_stretches JOIN kept.parts USING (stretch, canary)"
            f" WHERE {column} IS NOT NULL GROUP BY id)"
        ).fetchall()
        return UserSpread(float(squared), int(control_users), int(canary_users))


@contextmanager
def open_user_days(*, memory: str = MEMORY) -> Iterator[tuple[Any, Path]]:
    """A DuckDB whose database `kept` is a file of a private folder, which is removed at the end."""
    duckdb = duckdb_module()
    with tempfile.TemporaryDirectory(prefix="killswitch-slow-") as folder:  # mode 0700
        connection = duckdb.connect(
            config={
                "memory_limit": memory, "threads": THREADS, "temp_directory": folder,
                "autoinstall_known_extensions": False, "autoload_known_extensions": False,
            }
        )  # fmt: skip
        try:
            connection.execute("SET preserve_insertion_order = false")
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"ATTACH '{folder}/kept.duckdb' AS kept")
            yield connection, Path(folder)
        finally:
            connection.close()


def _moments(users: int, mean: float | None, variance: float | None) -> Moments:
    return Moments(int(users), float(mean or 0.0), float(variance or 0.0))
