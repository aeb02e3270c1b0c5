"""Cohorts from the log that the real SDK writes, and cohorts computed from the flag's history: the same numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from killswitch.flags.document import to_document
from killswitch.flags.flag import Flag
from killswitch.model import Verdict
from killswitch.router.exposures import ExposureLog, Write
from killswitch.router.failsafe import LinearizableRead, Memory, StalePolicy, after_read
from killswitch.router.router import Router
from killswitch.router.snapshot import ObeyedFlag, build
from killswitch.slow.days import date_of, number_of
from killswitch.slow.findings import SlowFinding
from killswitch.slow.reading import evaluate
from killswitch.stores import Item
from tests.doubles.clock import VirtualClock
from tests.doubles.held_split import HeldSplit
from tests.doubles.warehouses import MONDAY, ROLLOUT, USER_KEY_FILE, People, Row, at, settings_of, write_parquet
from tests.servers.postgresql import PostgresqlServer, programs

PEOPLE = People(users=1500, drop=12.0, percents={0: 10.0, 4: 40.0}, active=0.4)
NUMBERS = ("canary", "control", "worse", "low", "high", "evidence")


def obeyed(flag: Flag, revision: int) -> ObeyedFlag:
    """What a router obeys that has read this flag."""
    item = Item(f"killswitch/flags/{flag.rollout}", to_document(flag), revision)
    read = LinearizableRead(0.0, 0, item, revision, 1)
    return build(after_read(Memory(flag.rollout, "model-old"), read), StalePolicy(), 0.0)


@dataclass
class Pods:
    """Processes of one service, each with a router and a log of its own, that write to one folder."""

    to: Path | Write
    clock: VirtualClock
    number: int = 2

    def __post_init__(self) -> None:
        self.helds = [HeldSplit() for _ in range(self.number)]
        self.logs = [self._log() for _ in range(self.number)]
        self.routers = [
            Router(ROLLOUT, following=held, exposures=log, registry=None)
            for held, log in zip(self.helds, self.logs, strict=True)
        ]

    def _log(self) -> ExposureLog:
        place: dict[str, Any] = {"folder": self.to} if isinstance(self.to, Path) else {"write": self.to}
        return ExposureLog(
            key_file=USER_KEY_FILE, registry=None, calendar=self.clock.wall, every=3600.0, most_users=400, **place
        )

    def obey(self, flag: Flag, revision: int) -> None:
        for held in self.helds:
            held.current = obeyed(flag, revision)  # type: ignore[assignment]  # the real one in place of the double's

    def serve(self, rows: list[Row], people: People, pins: dict[str, str]) -> None:
        """Each row's user comes once on the row's day, at noon, to one of the pods."""
        raises = dict(sorted(people.percents.items()))
        for revision, (day, _) in enumerate(raises.items(), start=1):
            later = [one for one in raises if one > day]
            known = replace(people, percents={one: raises[one] for one in raises if one <= day}).flag
            self.obey(known, revision)
            for place, (name, on, _) in enumerate(rows):
                since = number_of(on) - number_of(MONDAY)
                if since >= day and (not later or since < later[0]):
                    self.clock.jump_wall(at(since, 12.0) - self.clock.wall())
                    self.routers[place % self.number].route(name, pins.get(name))
        for log in self.logs:
            assert log.flush(30.0)
            log.close()


def judged(folder: Path, people: People, **changes: Any) -> SlowFinding:
    settings = settings_of(f"duckdb:///{folder}", **changes)
    (found,) = evaluate(settings, people.history, at(people.days, 7)).findings
    return found


def users_by_day(found: SlowFinding) -> list[tuple[int, int, int]]:
    return [(one.day, one.control.users, one.canary.users) for one in found.days]


def served(folder: Path, people: People, pins: dict[str, str] | None = None) -> list[Row]:
    """A warehouse of the rows and of the log; the rows of days on which someone was served."""
    rows = [row for row in people.rows() if row[1] >= MONDAY]
    rows.sort(key=lambda row: row[1])
    write_parquet(folder / "csat.parquet", rows)
    Pods(folder / "exposures", VirtualClock()).serve(rows, people, pins or {})
    return rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    served(tmp_path, PEOPLE)
    return tmp_path


def test_the_sdks_log_and_the_hash_agree(folder: Path) -> None:
    """Also for users whose first request after the raise was days later, and who came to both pods."""
    computed, logged = judged(folder, PEOPLE), judged(folder, PEOPLE, assignments="exposures")
    assert computed.verdict is Verdict.BREACH
    assert (logged.verdict, logged.left_out) == (computed.verdict, computed.left_out)
    assert users_by_day(logged) == users_by_day(computed)
    for name in NUMBERS:
        assert getattr(logged, name) == pytest.approx(getattr(computed, name)), name


def test_a_table_that_the_service_fills_agrees_too(tmp_path: Path) -> None:
    """The log's rows are inserted by a callable of the service, and read from PostgreSQL."""
    pytest.importorskip("psycopg", reason="the driver of PostgreSQL is not installed")
    if programs() is None:
        pytest.skip("PostgreSQL is not installed: make servers")
    people = replace(PEOPLE, users=600)
    rows = [row for row in people.rows() if row[1] >= MONDAY]
    with PostgresqlServer() as server:
        server.execute(
            "CREATE TABLE support.csat (user_id text, day date, csat double precision)",
            'CREATE TABLE support.log ("user" text, rollout text, generation int, cohort text, at double precision)',
        )
        server.copy("support.csat", rows)
        Pods(partial(server.copy, "support.log"), VirtualClock()).serve(rows, people, {})
        found: list[SlowFinding] = []
        for assignments in (None, "support.log"):
            settings = settings_of(
                server.url_of("reader"), users="select user_id, day, csat from support.csat where day >= :since",
                password=f"file:{server.password_file}", assignments=assignments,
            )  # fmt: skip
            found.extend(evaluate(settings, people.history, at(people.days, 7)).findings)
    computed, logged = found
    assert (logged.verdict, logged.left_out) == (computed.verdict, computed.left_out)
    assert users_by_day(logged) == users_by_day(computed)
    for name in NUMBERS:
        assert getattr(logged, name) == pytest.approx(getattr(computed, name)), name


def test_a_user_who_is_pinned_counts_where_the_log_says(tmp_path: Path) -> None:
    """Who the hash puts into the canary and a cookie into control is control, and the other way round."""
    people = replace(PEOPLE, percents={0: 40.0})
    exposed = dict(zip(people.names(), people.exposed() < 1000.0, strict=True))
    pins = {name: "control" if exposed[name] else "canary" for name in people.names()[::10]}
    served(tmp_path, people, pins)
    found = judged(tmp_path, people, assignments="exposures")
    wanted = {name: (pins[name] == "canary" if name in pins else bool(exposed[name])) for name in people.names()}
    there = {day: 0 for day, _, _ in users_by_day(found)}
    for name, day, _ in people.rows():
        if number_of(day) in there and wanted[name]:
            there[number_of(day)] += 1
    assert {day: canary for day, _, canary in users_by_day(found)} == there


def test_a_pin_in_the_middle_counts_from_the_day_after(tmp_path: Path) -> None:
    """No raise explains it: until then control, neither on the day of the change, then the canary."""
    people = replace(PEOPLE, percents={0: 20.0}, active=1.0)
    write_parquet(tmp_path / "csat.parquet", [row for row in people.rows() if row[1] >= MONDAY])
    pods = Pods(tmp_path / "exposures", VirtualClock(), number=1)
    pods.obey(people.flag, 1)
    control = [name for name, day in zip(people.names(), people.exposed(), strict=True) if day == 1000.0]
    pinned = set(control[:60])
    for day in range(people.days):
        pods.clock.jump_wall(at(day, 12.0) - pods.clock.wall())
        for name in people.names():
            pods.routers[0].route(name, "canary" if day >= 6 and name in pinned else None)
        assert pods.logs[0].flush(30.0)
    pods.logs[0].close()
    found = judged(tmp_path, people, assignments="exposures")
    by_day = {date_of(day) - MONDAY: canary for day, _, canary in users_by_day(found)}
    before, after = by_day[timedelta(days=5)], by_day[timedelta(days=8)]
    assert (after - before, by_day[timedelta(days=6)]) == (60, before)
