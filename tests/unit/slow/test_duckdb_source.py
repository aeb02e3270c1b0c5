"""A folder of files as warehouse: what is counted, and every kind of bad row, each with a defined outcome."""

from __future__ import annotations

import math
import shutil
import sqlite3
import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from killswitch.flags.bucketing import bucket
from killswitch.flags.flag import StageEntry
from killswitch.model import Reason, Verdict
from killswitch.slow.days import date_of, number_of
from killswitch.slow.evidence import Difference
from killswitch.slow.findings import SlowFinding
from killswitch.slow.history import EarlierGeneration, history_of
from killswitch.slow.reading import evaluate
from killswitch.slow.user_days import duckdb_module
from tests.doubles.warehouses import (
    MONDAY,
    People,
    Row,
    at,
    settings_of,
    signal_of,
    write_assignments,
    write_parquet,
)

PEOPLE = People(users=1500)


def judged(folder: Path, people: People = PEOPLE, *, now: float | None = None, **changes: Any) -> SlowFinding:
    settings = settings_of(f"duckdb:///{folder}", **changes)
    (found,) = evaluate(settings, people.history, at(people.days, 7) if now is None else now).findings
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("people") / "csat.parquet"
    write_parquet(file, PEOPLE.rows())
    return file


@pytest.fixture
def folder(tmp_path: Path, written: Path) -> Path:
    shutil.copy(written, tmp_path)
    return tmp_path


def with_rows(folder: Path, *more: Row, user: str = "VARCHAR", day: str = "DATE") -> SlowFinding:
    write_parquet(folder / "csat.parquet", [*PEOPLE.rows(), *more], user=user, day=day)
    return judged(folder)


def test_a_canary_like_control_is_healthy(folder: Path) -> None:
    found = judged(folder)
    assert (found.verdict, found.reason) == (Verdict.HEALTHY, None)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0 < found.high


def test_a_known_drop_is_measured_and_proven(tmp_path: Path) -> None:
    people = replace(PEOPLE, drop=12.0)
    write_parquet(tmp_path / "csat.parquet", people.rows())
    found = judged(tmp_path, people)
    assert found.verdict is Verdict.BREACH
    assert found.worse == pytest.approx(12.0, abs=2.5)


def test_a_drop_that_begins_late_is_proven_on_the_newest_weeks(tmp_path: Path) -> None:
    """After four healthy weeks the whole time still looks well; the comparison of the last week does not."""
    people = People(users=1500, drop=8.0, days=36, falls_on=29)
    write_parquet(tmp_path / "csat.parquet", people.rows())
    found = judged(tmp_path, people)
    assert found.verdict is Verdict.BREACH
    assert found.worse is not None
    assert found.worse < 3.0
    assert found.sentence.startswith("csat since 2026-12-02 ")


def test_only_whole_settled_days_after_the_exposure_count(folder: Path) -> None:
    """Exposed on the 2nd at 10:00: with a day to settle the 4th is the first, and the 12th the last on the 14th."""
    found = judged(folder)
    assert (date_of(found.first_day), date_of(found.last_day)) == (date(2026, 11, 4), date(2026, 11, 12))
    assert [date_of(day.day) for day in found.days] == [date(2026, 11, day) for day in range(4, 13)]
    exposed = int((PEOPLE.exposed() < 1000).sum())
    assert found.left_out["the day of a change of cohort"] == pytest.approx(exposed / 2, rel=0.2)


def test_a_user_with_many_rows_counts_once_a_day(folder: Path) -> None:
    plain = judged(folder)
    rows = list(PEOPLE.rows())
    found = with_rows(folder, *rows, *(row for row in rows if row[0].endswith("7")))
    assert (found.canary_users, found.control_users) == (plain.canary_users, plain.control_users)
    assert found.worse == pytest.approx(plain.worse)
    assert found.low == pytest.approx(plain.low)


def test_users_on_many_days_do_not_narrow_the_interval_as_rows_would(tmp_path: Path) -> None:
    """The same score on every day is one observation a user, however many days there are."""
    people = replace(PEOPLE, days=12)
    once = {name: score for name, _, score in people.rows() if score is not None}
    every = [(name, date_of(number_of(MONDAY) + day), score) for name, score in once.items() for day in range(-1, 12)]
    write_parquet(tmp_path / "csat.parquet", every)
    found = judged(tmp_path, people)
    sd = 21.0
    error = sd * (1 / found.canary_users + 1 / found.control_users) ** 0.5
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low > 2 * 2.5 * error


def reference(people: People) -> tuple[float, float]:
    """The difference and its error by hand: stretches of days, users' means, and what each user adds."""
    scores: dict[str, dict[int, float]] = {}
    for name, day, score in people.rows():
        if score is not None:
            scores.setdefault(name, {})[number_of(day) - number_of(MONDAY)] = score
    exposed = dict(zip(people.names(), people.exposed(), strict=True))
    parts = []
    for first, last in ((2, 3), (4, 5), (6, 10)):  # raises on day 0 and 4, each counts from two days later on
        sides: tuple[dict[str, float], dict[str, float]] = ({}, {})
        for name, days in scores.items():
            here = [score for day, score in days.items() if first <= day <= last]
            if here and (exposed[name] > last or exposed[name] + 2 <= first):
                sides[int(exposed[name] <= last)][name] = statistics.fmean(here)
        parts.append(sides)
    total = sum(len(canary) for _, canary in parts)
    worse = missing = 0.0
    added = dict.fromkeys(scores, 0.0)
    for control, canary in parts:
        weight = len(canary) / total
        means = statistics.fmean(control.values()), statistics.fmean(canary.values())
        worse += weight * (means[0] - means[1])
        more = statistics.variance(control.values()) - statistics.variance(canary.values())
        missing += weight**2 * max(more, 0.0) / len(canary)
        for name, mean in control.items():
            added[name] -= weight / len(control) * (mean - means[0])
        for name, mean in canary.items():
            added[name] += weight / len(canary) * (mean - means[1])
    return worse, math.sqrt(sum(one * one for one in added.values()) + missing)


def test_the_difference_and_its_error_are_as_by_hand(tmp_path: Path) -> None:
    """With a raise in the middle, users who come on most days, and scores that are mostly the user's own."""
    people = People(users=800, drop=4.0, active=0.8, percents={0: 20.0, 4: 50.0})
    write_parquet(tmp_path / "csat.parquet", people.rows())
    found = judged(tmp_path, people)
    worse, error = reference(people)
    assert found.worse == pytest.approx(worse)
    low, high = Difference(worse, error, 20.0, 1, 1, 0.0, 0.0).interval(0.01)
    assert found.low == pytest.approx(low, abs=0.1 * error)
    assert found.high == pytest.approx(high, abs=0.1 * error)


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_the_first_exposure_wins_under_another_salt(tmp_path: Path, kind: str) -> None:
    """A user of an earlier generation stays in the canary when others are drawn: counted by the router's own hash."""
    pytest.importorskip("sqlalchemy" if kind == "sqlite" else "duckdb")
    people = People(users=1500, percents={6: 20.0})
    write_parquet(tmp_path / "csat.parquet", people.rows())
    source = f"duckdb:///{tmp_path}"
    if kind == "sqlite":
        with sqlite3.connect(tmp_path / "w.db") as connection:
            connection.execute("CREATE TABLE csat (user_id, day, csat)")
            connection.executemany("INSERT INTO csat VALUES (?, ?, ?)", [(n, str(d), s) for n, d, s in people.rows()])
        source = f"sqlite:///{tmp_path}/w.db"
    history = history_of(people.flag, [EarlierGeneration(1, "first", (StageEntry("custom", 30.0, at(0)),))])
    (found,) = evaluate(settings_of(source), history, at(people.days, 7)).findings
    early = {name for name in people.names() if bucket("first", name) < 30.0}
    late = {name for name in people.names() if bucket("salt", name) < 20.0} - early
    seen = Counter((name, number_of(day)) for name, day, _ in people.rows())
    wanted = [
        (
            day,
            sum(
                name not in early and (name not in late or day < number_of(MONDAY) + 6)
                for name, on in seen
                if on == day
            ),
            sum(name in early or (name in late and day >= number_of(MONDAY) + 8) for name, on in seen if on == day),
        )
        for day in range(found.first_day, found.last_day + 1)
    ]
    assert [(one.day, one.control.users, one.canary.users) for one in found.days] == wanted


def test_yesterdays_load_is_stale(folder: Path) -> None:
    found = judged(folder, now=at(PEOPLE.days + 1, 7))
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, Reason.STALE)


def test_a_missing_user_is_left_out_and_counted(folder: Path) -> None:
    found = with_rows(folder, *[(None, date(2026, 11, 8), 0.0)] * 40, *[("", date(2026, 11, 8), 0.0)] * 10)
    assert found.verdict is Verdict.HEALTHY
    assert found.left_out["no user"] == 50


def test_many_missing_users_are_garbage(folder: Path) -> None:
    assert with_rows(folder, *[(None, date(2026, 11, 8), 0.0)] * 500).reason is Reason.GARBAGE


def test_a_user_id_of_ten_kilobytes_is_a_user(folder: Path) -> None:
    plain = judged(folder)
    found = with_rows(folder, *[("x" * 10_000, date_of(number_of(MONDAY) + day), 50.0) for day in range(12)])
    assert found.verdict is Verdict.HEALTHY
    assert found.canary_users + found.control_users == plain.canary_users + plain.control_users + 1


def test_scores_out_of_range_are_left_out_and_counted(folder: Path) -> None:
    bad = [("user-1", date(2026, 11, 8), score) for score in (-1.0, 100.5, float("inf"))]
    assert with_rows(folder, *bad * 5).left_out["a value out of range"] == 15
    assert with_rows(folder, *bad * 100).reason is Reason.GARBAGE


def test_days_still_to_come_are_left_out_and_counted(folder: Path) -> None:
    """A day in another zone may be tomorrow already; nothing is judged on it, and the load is not newer for it."""
    found = with_rows(folder, *[("user-1", date(2026, 11, 20), 0.0)] * 9)
    assert found.left_out["a day still to come"] == 9
    assert found.newest_day == number_of(date(2026, 11, 13))


@pytest.mark.parametrize("kind", ["TIMESTAMP", "VARCHAR", "TIMESTAMPTZ"])
def test_a_day_may_be_a_date_a_time_or_a_text(folder: Path, kind: str) -> None:
    plain = judged(folder)
    write_parquet(folder / "csat.parquet", PEOPLE.rows(), day=kind)
    assert judged(folder).worse == pytest.approx(plain.worse)


@pytest.mark.parametrize(
    ("kind", "text"), [("TIMESTAMPTZ", "2026-11-07 23:30:00+00"), ("VARCHAR", "2026-11-07T23:30:00Z")]
)
def test_a_time_with_an_offset_is_taken_in_the_rules_zone(folder: Path, kind: str, text: str) -> None:
    """Half past eleven at night in UTC is the next day in Berlin."""
    write_parquet(folder / "csat.parquet", [("user-1", text, 50.0)], day=kind)
    found = judged(folder, time_zone="Europe/Berlin", signals=(signal_of(settle=0.0),))
    assert found.newest_day == number_of(date(2026, 11, 8))
    assert judged(folder).newest_day == number_of(date(2026, 11, 7))


def test_a_text_that_is_no_day_is_left_out(folder: Path) -> None:
    assert with_rows(folder, *[("user-1", "yesterday", 0.0)] * 8, day="VARCHAR").left_out["no day"] == 8


def test_whole_numbers_are_routed_as_their_digits(tmp_path: Path) -> None:
    rows = [(name.removeprefix("user-"), day, score) for name, day, score in PEOPLE.rows()]
    write_parquet(tmp_path / "csat.parquet", rows, user="BIGINT")
    as_numbers = judged(tmp_path)
    write_parquet(tmp_path / "csat.parquet", rows)
    as_texts = judged(tmp_path)
    assert (as_numbers.canary_users, as_numbers.control_users) == (as_texts.canary_users, as_texts.control_users)
    assert as_numbers.worse == pytest.approx(as_texts.worse)  # sums in the order of two threads


def test_a_user_column_that_is_no_key_is_refused(folder: Path) -> None:
    found = judged(folder, users="select random() as user_id, day, csat from csat")
    assert found.reason is Reason.SOURCE_REFUSED
    assert found.sentence.endswith("column 'user_id' is DOUBLE; cast it to a text, a whole number or a UUID")


def test_all_users_in_one_cohort_are_unknown(folder: Path) -> None:
    control = {name for name, day in zip(PEOPLE.names(), PEOPLE.exposed(), strict=True) if day > 500}
    for only in (control, set(PEOPLE.names()) - control):
        write_parquet(folder / "csat.parquet", [row for row in PEOPLE.rows() if row[0] in only])
        assert judged(folder).reason is Reason.TRAFFIC_SPLIT


def test_an_empty_warehouse_has_no_data(tmp_path: Path) -> None:
    write_parquet(tmp_path / "csat.parquet", [])
    assert judged(tmp_path).reason is Reason.NO_DATA


def test_a_day_with_half_its_rows_is_half_an_answer(folder: Path) -> None:
    last = date(2026, 11, 12)
    rows = [row for number, row in enumerate(PEOPLE.rows()) if row[1] != last or number % 3 == 0]
    write_parquet(folder / "csat.parquet", rows)
    assert judged(folder).reason is Reason.PARTIAL_ANSWER


def test_users_who_have_just_changed_cohort_are_no_half_answer(tmp_path: Path) -> None:
    """After a raise most users are in neither cohort for two days; the load is whole all the same."""
    people = People(users=1500, percents={0: 10.0, 10: 80.0})
    write_parquet(tmp_path / "csat.parquet", people.rows())
    assert judged(tmp_path, people).verdict is Verdict.HEALTHY


@pytest.mark.parametrize("day", [-30.0, 0.5, 1.0])
def test_before_a_day_has_settled_nothing_is_judged(folder: Path, day: float) -> None:
    """Also by a clock that is behind the flag's."""
    found = judged(folder, now=at(day, 7))
    assert (found.verdict, found.reason in (Reason.NO_DATA, Reason.SETTLING)) == (Verdict.UNKNOWN, True)


def test_more_raises_than_can_be_told_apart_are_unknown(folder: Path) -> None:
    settings = settings_of(f"duckdb:///{folder}")
    stages = (StageEntry("ramp_1", 1.0, at(0)),)
    earlier = [EarlierGeneration(number, f"salt.g{number}", stages) for number in range(300)]
    (found,) = evaluate(settings, history_of(PEOPLE.flag, earlier), at(PEOPLE.days, 7)).findings
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, Reason.INTERNAL_ERROR)


def test_users_who_do_not_answer_are_judged_as_well(tmp_path: Path) -> None:
    people = People(users=3000, silent=0.2)
    exposed = dict(zip(people.names(), people.exposed() < 1000, strict=True))

    def rows() -> Iterator[Row]:
        for number, (name, day, score) in enumerate(people.rows()):
            yield name, day, None if exposed[name] and number % 3 == 0 else score

    write_parquet(tmp_path / "csat.parquet", rows())
    found = judged(tmp_path, people)
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, Reason.RESPONSE_RATE)


def test_both_ways_to_know_the_cohort_agree(tmp_path: Path) -> None:
    """The hash with the flag's history, and a table of assignments of the same users: the same numbers."""
    people = People(users=1500, drop=5.0, percents={0: 10.0, 4: 40.0})
    write_parquet(tmp_path / "csat.parquet", people.rows())
    write_assignments(tmp_path / "log.parquet", people.assignments())
    computed, assigned = judged(tmp_path, people), judged(tmp_path, people, assignments="log")
    assert assigned.left_out == computed.left_out
    users = [
        [(one.day, one.control.users, one.canary.users) for one in finding.days] for finding in (computed, assigned)
    ]
    assert users[0] == users[1]
    for name in ("canary", "control", "worse", "low", "high", "evidence"):
        assert getattr(assigned, name) == pytest.approx(getattr(computed, name)), name
    assert (assigned.canary_users, assigned.control_users) == (computed.canary_users, computed.control_users)


def test_users_without_an_assignment_are_left_out_and_counted(tmp_path: Path) -> None:
    write_parquet(tmp_path / "csat.parquet", PEOPLE.rows())
    known = [row for number, row in enumerate(PEOPLE.assignments()) if number % 2]
    write_assignments(tmp_path / "log.parquet", known)
    found = judged(tmp_path, assignments="log")
    assert found.left_out["a user without an assignment"] > 1000
    assert found.canary_users + found.control_users < 1000


def test_a_trip_leaves_its_users_in_the_canary(tmp_path: Path) -> None:
    """Intention to treat: after the percent has fallen to 0 their scores still count as the canary's."""
    people = replace(PEOPLE, drop=12.0)
    write_parquet(tmp_path / "csat.parquet", people.rows())
    settings = settings_of(f"duckdb:///{tmp_path}")
    tripped = replace(people.flag, canary_percent=0.0)
    (found,) = evaluate(settings, history_of(tripped), at(people.days, 7)).findings
    assert found.verdict is Verdict.BREACH


def test_no_exposure_means_no_data(folder: Path) -> None:
    found = judged(folder, replace(PEOPLE, percents={0: 0.0}))
    assert found.reason is Reason.NO_DATA


def test_a_statement_reads_no_file_outside_its_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    write_parquet(other / "secret.parquet", PEOPLE.rows())
    found = judged(folder, users=f"select user_id, day, csat from read_parquet('{other}/secret.parquet')")
    assert found.reason is Reason.SOURCE_REFUSED


@pytest.mark.parametrize(
    "statement",
    [
        "select user_id, day from csat",
        "select user_id, day, csat from missing",
        "select user_id, day, csat from csat where",
    ],
)
def test_a_statement_that_cannot_work_is_refused(folder: Path, statement: str) -> None:
    assert judged(folder, users=statement).reason is Reason.SOURCE_REFUSED


def test_a_folder_that_is_not_there_is_down(tmp_path: Path) -> None:
    assert judged(tmp_path / "missing").reason is Reason.SOURCE_DOWN


def test_a_broken_file_is_no_data(folder: Path) -> None:
    (folder / "csat.parquet").write_bytes((folder / "csat.parquet").read_bytes()[:1000])
    assert judged(folder).reason in (Reason.SOURCE_REFUSED, Reason.SOURCE_DOWN)


def test_a_statement_that_never_ends_is_interrupted(folder: Path) -> None:
    endless = (
        "select i::varchar as user_id, current_date as day, 1.0 as csat from range(1000000000000) t(i) where i < 0"
    )
    settings = settings_of(f"duckdb:///{folder}", users=endless)
    (found,) = evaluate(settings, PEOPLE.history, at(PEOPLE.days, 7), timeout=0.3).findings
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, Reason.SOURCE_TIMEOUT)


def test_a_csv_file_and_a_database_are_warehouses_too(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    plain = judged(folder)
    other = tmp_path_factory.mktemp("other")
    connection = duckdb_module().connect(str(other / "w.duckdb"))
    connection.execute(f"CREATE TABLE csat AS FROM '{folder}/csat.parquet'")
    (other / "csv").mkdir()
    connection.execute(f"COPY csat TO '{other}/csv/csat.csv'")
    connection.close()
    assert judged(other / "csv").worse == pytest.approx(plain.worse)
    assert judged(other / "w.duckdb").worse == pytest.approx(plain.worse)


@pytest.mark.parametrize(
    "statement",
    [
        "select user_id, day, cast(said as double) as csat from notes where day >= :since",
        "select user_id, cast(said as date) as day, 1 as csat from notes",
        "select cast(error(said) as varchar) as user_id, day, 1 as csat from notes",
        "select user_id, day, csat from read_csv('notes.csv', columns={user_id: 'TEXT', day: 'DATE', csat: 'INT'})",
    ],
)
def test_what_a_user_wrote_is_in_no_message(tmp_path: Path, statement: str) -> None:
    """It is logged and paged. The first quote ends what is shown, so that no value can end the hiding."""
    lines = [f'user{number},2026-11-08,my \'card\' is ""4111"" ok' for number in range(5)]
    (tmp_path / "notes.csv").write_text("user_id,day,said\n" + "\n".join(f'{a},"{b}"' for a, b in _split(lines)))
    found = judged(tmp_path, users=statement.replace("'notes.csv'", f"'{tmp_path}/notes.csv'"))
    assert found.verdict is Verdict.UNKNOWN
    assert "4111" not in found.sentence
    assert "card" not in found.sentence


def _split(lines: list[str]) -> list[tuple[str, str]]:
    return [(line.rpartition(",")[0], line.rpartition(",")[2]) for line in lines]


@pytest.mark.parametrize(
    ("days", "reason", "says"),
    [(0, Reason.SETTLING, "the first day to count"), (30, Reason.INTERNAL_ERROR, "pin and unpin it again")],
)
def test_an_unpin_in_days_to_come_is_no_settling(folder: Path, days: int, reason: Reason, says: str) -> None:
    """Settling pages no one: with a clock a month ahead, a month would pass without a verdict."""
    now = at(PEOPLE.days, 7)
    history = replace(PEOPLE.history, judged_from=now + days * 86_400.0)
    (found,) = evaluate(settings_of(f"duckdb:///{folder}"), history, now).findings
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, reason)
    assert says in found.sentence
