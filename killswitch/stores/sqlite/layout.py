"""What the SQLite file holds, and when a lease in it is alive: shared by the store and the reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

# "kill": tells our file from another program's database
APPLICATION_ID: Final = 0x6B696C6C
FORMAT: Final = 1
SCHEMA: Final = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS store (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL);
INSERT OR IGNORE INTO store VALUES (1, 1);
CREATE TABLE IF NOT EXISTS leases (
    id INTEGER PRIMARY KEY, ttl REAL NOT NULL, boot TEXT NOT NULL, expires REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS items (
    key TEXT PRIMARY KEY, value BLOB NOT NULL, mod_revision INTEGER NOT NULL, lease INTEGER
) WITHOUT ROWID;
PRAGMA application_id = 0x6B696C6C;
PRAGMA user_version = 1;
COMMIT;
"""
# Where the boot has no name: how far two processes' readings of one clock may differ.
_SLACK: Final = 60.0  # seconds


class LeaseClock:
    """The machine's monotonic clock, by which leases end. ``boot`` names its current run, empty if unknown."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.boot = _boot()

    def alive(self, boot: str, ttl: float, expires: float) -> bool:
        now = self.now()
        if boot != self.boot or expires <= now:
            return False
        # after a restart of the clock, an old lease ends further ahead than any lease can
        return bool(boot) or expires <= now + ttl + _SLACK


def _boot() -> str:
    """What names this run of the machine's clock; empty where the system does not say (see `LeaseClock.alive`)."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
