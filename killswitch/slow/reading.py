"""One evaluation of all slow signals of a rollout: read, count, judge. What the daily job and the command call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from killswitch.errors import AccessDenied
from killswitch.model import Reason, Unreadable
from killswitch.net.credentials import Secret
from killswitch.slow.counts import SlowCounts
from killswitch.slow.days import date_of
from killswitch.slow.duckdb_source import DuckdbWarehouse
from killswitch.slow.findings import SlowFinding
from killswitch.slow.history import ExposureHistory
from killswitch.slow.judging import judge_slow
from killswitch.slow.sql_source import SqlWarehouse
from killswitch.slow.user_days import MEMORY, MOST_WAVES, UserDays, duckdb_module, open_user_days
from killswitch.slow.warehouse import TIMEOUT, SlowStatement, Warehouse
from killswitch.slow.window import Window, window_of
from killswitch.slow_settings import SlowSettings, SlowSignal

_DAYS_AHEAD = 2  # of the first day after an unpin just now, by a clock that is a little ahead at midnight


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The findings of one evaluation, and for each signal the statement that was sent."""

    findings: tuple[SlowFinding, ...]
    statements: tuple[str, ...]


def evaluate(
    settings: SlowSettings, history: ExposureHistory, now: float, *, timeout: float = TIMEOUT, memory: str = MEMORY
) -> Evaluation:
    """All signals at the newest evaluation that is not after ``now``. A failed read is UNKNOWN, never raised.

    Raises BadSettings if a package is missing.
    """
    with open_user_days(memory=memory) as (connection, private):
        warehouse = open_warehouse(settings, connection, private, timeout=timeout)
        findings = [_evaluated(settings, signal, history, now, warehouse, connection) for signal in settings.signals]
    return Evaluation(tuple(findings), tuple(signal.query or settings.users for signal in settings.signals))


def open_warehouse(settings: SlowSettings, connection: Any, private: Path, *, timeout: float = TIMEOUT) -> Warehouse:
    """The warehouse of a rule file; nothing is connected yet."""
    if urlsplit(settings.source).scheme == "duckdb":
        return DuckdbWarehouse(connection, Path(settings.source.removeprefix("duckdb:///")), private, timeout=timeout)
    password = None if settings.password is None else Secret.parse(settings.password)
    return SqlWarehouse(settings.source, password, timeout=timeout)


def _evaluated(
    settings: SlowSettings, signal: SlowSignal, history: ExposureHistory, now: float, warehouse: Warehouse,
    connection: Any,
) -> SlowFinding:  # fmt: skip
    window = window_of(settings, signal, history, now)
    counts = _counted(settings, signal, history, window, warehouse, connection)
    return judge_slow(
        signal, counts, signals=len(settings.signals), evaluated_at=window.evaluated_at, expected_day=window.expected
    )


def _counted(
    settings: SlowSettings, signal: SlowSignal, history: ExposureHistory, window: Window, warehouse: Warehouse,
    connection: Any,
) -> SlowCounts | Unreadable:  # fmt: skip
    not_asked = _not_asked(history, window)
    if not_asked is not None:
        return not_asked
    try:
        key = None if settings.assignments_key is None else Secret.parse(settings.assignments_key).reveal().encode()
    except AccessDenied as error:
        return Unreadable(Reason.SOURCE_REFUSED, str(error))
    users = UserDays(connection, history, window, user_key=key)
    question = SlowStatement(
        signal.query or settings.users, settings.user, settings.day, signal.column, signal.low, signal.high
    )
    duckdb = duckdb_module()
    try:
        users.begin()
        problem = warehouse.read(question, users)
        if problem is None and settings.assignments is not None:
            problem = warehouse.read_assignments(settings.assignments, users)
        return problem or users.count()
    except duckdb.OutOfMemoryException:
        return Unreadable(Reason.SOURCE_REFUSED, "so many users do not fit; ask for one row a user and day")
    except duckdb.IOException as error:  # a full disk
        return Unreadable(Reason.INTERNAL_ERROR, f"cannot keep what was read: {' '.join(str(error).split())[:200]}")


def _not_asked(history: ExposureHistory, window: Window) -> Unreadable | None:
    """Why the warehouse is not even asked."""
    if not history.waves:
        return Unreadable(Reason.NO_DATA, "no user has been exposed to the canary yet")
    if len(history.waves) > MOST_WAVES:
        return Unreadable(
            Reason.INTERNAL_ERROR,
            f"{len(history.waves)} raises of the percent are too many; end the rollout and arm it",
        )
    if window.since > window.today + _DAYS_AHEAD:
        return Unreadable(
            Reason.INTERNAL_ERROR,
            f"a pin was lifted on {date_of(window.since - 1)}, a day still to come, by a clock that was ahead, and "
            "only later days are judged; pin and unpin it again, with the right time",
        )
    if window.since > window.today:
        return Unreadable(
            Reason.SETTLING,
            "what happened before the pin was lifted is not judged again; "
            f"{date_of(window.since)} will be the first day to count",
        )
    return None
