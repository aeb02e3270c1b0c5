"""The last 25 hours of scraped counters, in one sqlite file, so that a restart loses nothing."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np

from killswitch.errors import BadSettings
from killswitch.private_files import make_private_file
from killswitch.sources.samples import SampleSeries

KEEP: Final = 25 * 3600.0  # seconds: a day of read-back, and an hour before it to warm up
_MOST_IDS: Final = 100_000

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS series (id INTEGER PRIMARY KEY, metric TEXT NOT NULL, labels TEXT NOT NULL,
  UNIQUE (metric, labels));
CREATE TABLE IF NOT EXISTS samples (series INTEGER NOT NULL, stamp INTEGER NOT NULL, value REAL,
  PRIMARY KEY (series, stamp)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS needed (metric TEXT PRIMARY KEY);
"""


class SampleHistory:
    """Samples by series and time (milliseconds). ``path`` None keeps them in memory alone. Thread-safe.

    Its methods raise sqlite3.Error when the disk is full or gone; the constructor raises BadSettings.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.Lock()
        try:
            if path is not None:
                make_private_file(path)
            self._db = sqlite3.connect(path or ":memory:", timeout=5.0, check_same_thread=False)
            if path is not None:
                self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")  # losing power may cost the last scrapes
            self._db.executescript(_SCHEMA)
            self._needed = frozenset(metric for (metric,) in self._db.execute("SELECT metric FROM needed"))
        except sqlite3.Error as error:
            raise BadSettings(
                [f"cannot keep samples in {path}: {error}; name a file in a folder one can write to"]
            ) from error
        self._ids: dict[tuple[str, str], int] = {}

    @property
    def needed(self) -> frozenset[str]:
        """The metrics some rule asks for; empty until one did."""
        return self._needed

    def need(self, metrics: Iterable[str]) -> None:
        """Remembers, over restarts too, that these are asked for."""
        new = frozenset(metrics) - self._needed
        if new:
            with self._lock, self._db:
                self._db.executemany("INSERT OR IGNORE INTO needed VALUES (?)", [(metric,) for metric in sorted(new)])
            self._needed |= new

    def last(self) -> float:
        """The time of the newest sample in seconds, 0 without any."""
        with self._lock:
            (stamp,) = self._db.execute("SELECT max(stamp) FROM samples").fetchone()
        return (stamp or 0) / 1000

    def add(self, stamp: int, samples: Iterable[tuple[str, Mapping[str, str], float]]) -> None:
        """Stores one scrape: metric, labels and value of each series."""
        with self._lock, self._db:
            rows = [(self._id(metric, labels), stamp, value) for metric, labels, value in samples]
            self._db.executemany("INSERT OR IGNORE INTO samples VALUES (?, ?, ?)", rows)

    def _id(self, metric: str, labels: Mapping[str, str]) -> int:
        key = (metric, json.dumps(labels, sort_keys=True))
        number = self._ids.get(key)
        if number is None:
            self._db.execute("INSERT OR IGNORE INTO series (metric, labels) VALUES (?, ?)", key)
            (number,) = self._db.execute("SELECT id FROM series WHERE metric = ? AND labels = ?", key).fetchone()
            assert isinstance(number, int)
            if len(self._ids) >= _MOST_IDS:
                self._ids.clear()
            self._ids[key] = number
        return number

    def load(self, metric: str, start: int, end: int) -> Iterator[SampleSeries]:
        """The metric's series with their samples from ``start`` to ``end``, milliseconds, both included."""
        with self._lock:
            rows = self._db.execute(
                "SELECT series.labels, stamp, value FROM series JOIN samples ON samples.series = series.id "
                "WHERE metric = ? AND stamp BETWEEN ? AND ? ORDER BY series.id, stamp",
                (metric, start, end),
            ).fetchall()
        for labels, members in groupby(rows, key=lambda row: row[0]):
            # sqlite stores NaN as NULL
            pairs = [(stamp, float("nan") if value is None else value) for _, stamp, value in members]
            yield SampleSeries(
                json.loads(labels),
                np.array([stamp for stamp, _ in pairs], dtype=np.int64),
                np.array([value for _, value in pairs], dtype=np.float64),
            )

    def forget_before(self, stamp: int) -> None:
        """Drops older samples, and series that have none left."""
        with self._lock, self._db:
            self._db.execute("DELETE FROM samples WHERE stamp < ?", (stamp,))
            self._db.execute("DELETE FROM series WHERE id NOT IN (SELECT DISTINCT series FROM samples)")
            self._ids.clear()

    def forget_after(self, stamp: int) -> None:
        """Drops samples from a future that a wrong clock has made."""
        with self._lock, self._db:
            self._db.execute("DELETE FROM samples WHERE stamp > ?", (stamp,))

    def close(self) -> None:
        with self._lock:
            self._db.close()
