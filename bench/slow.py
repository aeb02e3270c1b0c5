"""How long ten million user-days take, and how much memory: ``python -m bench.slow [--users 1000000] [--days 10]``.

Parquet files of a user each day, read and judged as `killswitch slow` does it, in a process of its own.
``--sql`` reads them from SQLite through SQLAlchemy, where users are hashed in Python. ``--log`` takes the cohorts from
a log of exposures.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime
from pathlib import Path

from killswitch.flags.flag import arm
from killswitch.slow.history import history_of
from killswitch.slow.reading import evaluate
from killswitch.slow.user_days import duckdb_module
from killswitch.slow.user_keys import SQL_HMAC, hmac_pads
from killswitch.slow_settings import SlowSettings, SlowSignal

FIRST = date(2026, 11, 2)
KEY = b"0123456789abcdef0123456789abcdef"
QUERY = "select user_id, day, csat from csat where day >= :since"


def fill(folder: Path, users: int, days: int) -> None:
    """A file for each day: every user with a score of mean 70 and deviation about 29."""
    connection = duckdb_module().connect(config={"memory_limit": "2GB"})
    (folder / "csat").mkdir()
    for day in range(days):
        connection.execute(
            f"COPY (SELECT 'user-' || i AS user_id, DATE '{FIRST}' + {day} AS day,"
            f" round(100 * sqrt(random())) AS csat FROM range({users}) AS t(i)) TO '{folder}/csat/{day}.parquet'"
        )
    connection.close()


def fill_sqlite(folder: Path) -> None:
    import sqlite3  # noqa: PLC0415  # the other way needs none

    rows = duckdb_module().connect().execute(f"SELECT user_id, day::VARCHAR, csat FROM '{folder}/csat/*.parquet'")
    with sqlite3.connect(folder / "w.db") as connection:
        connection.execute("CREATE TABLE csat (user_id TEXT, day TEXT, csat REAL)")
        while batch := rows.fetchmany(100_000):
            connection.executemany("INSERT INTO csat VALUES (?, ?, ?)", batch)
    connection.close()


def fill_log(folder: Path, users: int) -> None:
    """A log of exposures: every user once, one in twenty in the canary; and its key."""
    (folder / "key").write_bytes(KEY)
    inner, outer = hmac_pads(KEY)
    hashed = SQL_HMAC.format(key="encode('user-' || i)")
    duckdb_module().connect().execute(
        f"COPY (SELECT substr({hashed}, 1, 32) AS user, 'r' AS rollout, 1 AS generation,"
        f" CASE WHEN i % 20 = 0 THEN 'canary' ELSE 'control' END AS cohort, TIMESTAMPTZ '{FIRST} 00:00:00+00' AS at"
        f" FROM range({users}) AS t(i)) TO '{folder}/log.parquet'",
        {"inner": inner, "outer": outer},
    )


def read(source: str, days: int, key: str | None) -> None:
    """One evaluation; prints its sentence, the seconds, those of processors, and the most memory of this process."""
    start = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC).timestamp()
    flag = arm(
        None, rollout="r", control="a", canary="b", percent=5.0, stage="ramp_5", now=start - 3 * 86_400.0, by="b"
    )
    signal = SlowSignal("csat", "csat", low=0.0, high=100.0, max_drop=3.0, settle=0.0)
    assignments = None if key is None else "log"
    settings = SlowSettings(
        source, QUERY, "user_id", "day", (signal,), assignments=assignments, assignments_key=key and f"file:{key}"
    )
    began = time.perf_counter()
    (found,) = evaluate(settings, history_of(flag), start + days * 86_400.0 + 7 * 3600.0).findings
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    processor, megabytes = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
    print(found.sentence)
    print(f"{seconds:.1f} s ({processor:.1f} s of processors, with imports), {megabytes:.0f} MB at most")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--sql", action="store_true")
    parser.add_argument("--log", action="store_true", help="cohorts from a log of exposures")
    parser.add_argument("--read", help=argparse.SUPPRESS)
    parser.add_argument("--key", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.read:
        read(chosen.read, chosen.days, chosen.key)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder, chosen.users, chosen.days)
        source = f"duckdb:///{folder}"
        if chosen.sql:
            fill_sqlite(folder)
            source = f"sqlite:///{folder}/w.db"
        if chosen.log:
            fill_log(folder, chosen.users)
        print(f"{chosen.users * chosen.days:,} user-days of {chosen.users:,} users", flush=True)
        command = [sys.executable, "-m", "bench.slow", "--days", str(chosen.days), "--read", source]
        command += ["--key", f"{folder}/key"] if chosen.log else []
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
