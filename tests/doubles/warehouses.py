"""A warehouse that a test fills itself: users, their cohorts by the flag's history, and scores with a known drop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from killswitch.flags.bucketing import bucket
from killswitch.flags.flag import Flag, arm, set_stage
from killswitch.flags.keyed_hash import hash_user
from killswitch.flags.transitions import Actor
from killswitch.slow.days import date_of, number_of
from killswitch.slow.history import ExposureHistory, history_of
from killswitch.slow.user_days import duckdb_module
from killswitch.slow_settings import SlowSettings, SlowSignal

ROLLOUT = "support-copilot"
MONDAY = date(2026, 11, 2)
Row = tuple[Any, Any, Any]
USER_KEY_FILE = Path(__file__).with_name("user-key.txt")
USER_KEY = USER_KEY_FILE.read_bytes().strip()


def at(day: float, hour: float = 10.0) -> float:
    """Unix seconds of an hour (UTC) of a day, counted from the Monday on which rollouts here begin."""
    return datetime(MONDAY.year, MONDAY.month, MONDAY.day, tzinfo=UTC).timestamp() + day * 86_400.0 + hour * 3600.0


def flag_of(percents: Mapping[float, float], *, salt: str = "salt") -> Flag:
    """An armed flag whose percents (by day) were these."""
    flag: Flag | None = None
    for day, percent in percents.items():
        if flag is None:
            flag = arm(
                None, rollout=ROLLOUT, control="model-old", canary="model-new", percent=percent, stage="custom",
                now=at(day), by="test", salt=salt,
            )  # fmt: skip
        else:
            flag = set_stage(
                flag, rollout=ROLLOUT, percent=percent, stage="custom", now=at(day), by="test", actor=Actor.PERSON
            )
    assert flag is not None
    return flag


def signal_of(**changes: Any) -> SlowSignal:
    known: dict[str, Any] = {"name": "csat", "column": "csat", "low": 0.0, "high": 100.0, "max_drop": 3.0}
    return SlowSignal(**known | changes)


def settings_of(source: str, *signals: SlowSignal, **changes: Any) -> SlowSettings:
    known: dict[str, Any] = {
        "source": source,
        "users": "select user_id, day, csat from csat where day >= :since",
        "user": "user_id",
        "day": "day",
        "signals": signals or (signal_of(),),
        "assignments_key": f"file:{USER_KEY_FILE}" if changes.get("assignments") else None,
    }
    return SlowSettings(**known | changes)


@dataclass
class People:
    """``users`` people with scores around 70, ``drop`` lower once they are in the canary by the hash of their id.

    The drop begins on day ``falls_on``; ``silent`` of them do not answer.
    """

    users: int = 4000
    drop: float = 0.0
    active: float = 0.5
    silent: float = 0.0
    percents: Mapping[float, float] = field(default_factory=lambda: {0: 20.0})
    days: int = 12
    seed: int = 7
    falls_on: int = 0

    @property
    def flag(self) -> Flag:
        return flag_of(self.percents)

    @property
    def history(self) -> ExposureHistory:
        return history_of(self.flag)

    def names(self) -> list[str]:
        return [f"user-{number}" for number in range(self.users)]

    def exposed(self) -> np.ndarray[Any, Any]:
        """The day on which each was exposed, a thousand for control."""
        places = np.array([bucket("salt", name) for name in self.names()])
        first = np.full(self.users, 1000.0)
        for day, percent in sorted(self.percents.items(), reverse=True):
            first[places < percent] = day
        return first

    def rows(self) -> Iterator[Row]:
        """User, day and score (None: asked and not answered), from the day before the rollout on."""
        draw = np.random.default_rng(self.seed)
        names, exposed, level = self.names(), self.exposed(), draw.normal(0.0, 15.0, self.users)
        for day in range(-1, self.days):
            there = draw.random(self.users) < self.active
            silent = draw.random(self.users) < self.silent
            lower = self.drop * (exposed <= day) * (day >= self.falls_on)
            score = np.clip(70.0 + level + draw.normal(0.0, 15.0, self.users) - lower, 0.0, 100.0)
            for number in np.flatnonzero(there):
                yield names[number], date_of(number_of(MONDAY) + day), None if silent[number] else float(score[number])

    def assignments(self) -> list[tuple[str, str, int, str, datetime]]:
        """What an exposure log of these people has, if everyone comes every day."""
        found = []
        start = min(self.percents)
        for name, day in zip(self.names(), self.exposed(), strict=True):
            digest = hash_user(USER_KEY, name)
            if day > start:
                found.append((digest, ROLLOUT, 1, "control", datetime.fromtimestamp(at(start) + 60.0, UTC)))
            if day < 1000.0:
                found.append((digest, ROLLOUT, 1, "canary", datetime.fromtimestamp(at(float(day)) + 60.0, UTC)))
        return found


def write_parquet(path: Path, rows: Iterator[Row] | list[Row], *, day: str = "DATE", user: str = "VARCHAR") -> None:
    """The rows as a file of columns ``user_id``, ``day`` and ``csat``."""
    connection = duckdb_module().connect()
    connection.execute(f"CREATE TABLE t (user_id {user}, day {day}, csat DOUBLE)")
    found = list(rows)
    if found:
        connection.execute("BEGIN")
        connection.register(
            "b",
            {
                "u": np.array([one[0] for one in found], dtype=object),
                "d": np.array([None if one[1] is None else str(one[1]) for one in found], dtype=object),
                "c": np.array([np.nan if one[2] is None else one[2] for one in found], dtype=np.float64),
            },
        )
        connection.execute(f"INSERT INTO t SELECT u::{user}, d::{day}, CASE WHEN isnan(c) THEN NULL ELSE c END FROM b")
        connection.execute("COMMIT")
    connection.execute(f"COPY t TO '{path}' (FORMAT parquet)")
    connection.close()


def write_assignments(path: Path, rows: list[tuple[str, str, int, str, datetime]]) -> None:
    connection = duckdb_module().connect()
    connection.execute(
        'CREATE TABLE t ("user" VARCHAR, rollout VARCHAR, generation INTEGER, cohort VARCHAR, "at" TIMESTAMPTZ)'
    )
    if rows:
        columns = [list(column) for column in zip(*rows, strict=True)]
        connection.execute("INSERT INTO t SELECT unnest(?), unnest(?), unnest(?), unnest(?), unnest(?)", columns)
    connection.execute(f"COPY t TO '{path}' (FORMAT parquet)")
    connection.close()
