"""The log of exposures: one row a user and change, in bounded memory, and no request waits for it or fails."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from killswitch.errors import BadSettings
from killswitch.flags.flag import arm
from killswitch.flags.keyed_hash import hash_user
from killswitch.model import Cohort
from killswitch.router import exposures
from killswitch.router.exposures import MOST_CHANGES, Exposure, ExposureLog
from killswitch.router.failsafe import RouterState
from killswitch.router.route_types import Route, RouteReason
from killswitch.router.router import Router
from killswitch.router.snapshot import ObeyedFlag
from tests.doubles.clock import VirtualClock
from tests.doubles.held_split import FixedSplit, HeldSplit, armed, tripped
from tests.doubles.warehouses import USER_KEY, USER_KEY_FILE
from tests.servers.etcd import wait_until

ROLLOUT = "support-copilot"


class Service:
    """A router over a held split, with a log whose rows are kept here."""

    def __init__(self, split: FixedSplit | None = None, **settings: Any) -> None:
        self.rows: list[Exposure] = []
        self.registry = CollectorRegistry()
        self.clock = VirtualClock()
        self.held = HeldSplit(split or armed(50.0))
        given: dict[str, Any] = {"every": 3600.0, "write": self.take, "registry": self.registry} | settings
        given.setdefault("key_file", USER_KEY_FILE)
        self.log = ExposureLog(calendar=self.clock.wall, clock=self.clock.monotonic, **given)
        self.router = Router(ROLLOUT, following=self.held, exposures=self.log)

    def take(self, rows: Sequence[Exposure]) -> None:
        self.rows.extend(rows)

    def written(self) -> list[Exposure]:
        """All rows so far."""
        assert self.log.flush()
        return self.rows

    def counted(self, outcome: str) -> float | None:
        labels = {"rollout": ROLLOUT, "outcome": outcome}
        return self.registry.get_sample_value("killswitch_router_exposures_total", labels)


def test_a_user_has_one_row_however_many_requests() -> None:
    service = Service(armed(0.0))
    for _ in range(3):
        service.router.route("ann")
    (row,) = service.written()
    assert row == Exposure(hash_user(USER_KEY, "ann"), ROLLOUT, 1, "control", service.clock.wall())
    assert (service.counted("written"), service.counted("dropped")) == (1.0, 0.0)


def test_a_change_of_cohort_has_a_row() -> None:
    """By a raise of the percent, and by the pin of a cookie."""
    service = Service(armed(0.0))
    service.router.route("ann")
    service.held.current = armed(100.0)
    service.router.route("ann")
    service.router.route("ann", "control")
    service.router.route("ann", "control")
    assert [row.cohort for row in service.written()] == ["control", "canary", "control"]


def test_a_generation_begins_with_new_rows() -> None:
    service = Service()
    service.router.route("ann")
    service.held.current = armed(50.0, generation=2)
    service.router.route("ann")
    assert [row.generation for row in service.written()] == [1, 2]


def test_nothing_is_written_while_everyone_has_control() -> None:
    """After a trip users keep the cohort of their first exposure, and a trip makes no storm of rows."""
    service = Service(armed(100.0))
    service.router.route("ann")
    service.held.current = tripped()
    service.router.route("ann")
    service.router.route("new")
    assert [row.cohort for row in service.written()] == ["canary"]


@pytest.mark.parametrize(("stage", "exposes"), [("aa", False), ("ramp_1", True), ("custom", True)])
def test_stage_aa_exposes_no_one(stage: str, exposes: bool) -> None:
    flag = arm(None, rollout=ROLLOUT, control="a", canary="b", percent=5.0, stage=stage, now=1.0, by="test")
    split = armed()
    found = ObeyedFlag(
        5.0, "", split.control_route, split.canary_route, RouterState.ARMED, "", flag, 1, 1
    ).exposes  # fmt: skip
    assert found is exposes


@pytest.mark.parametrize("no_user", [None, "", b"", True, 1.5, [], object(), 10**5000], ids=type)
def test_what_is_no_user_has_no_row(no_user: object) -> None:
    service = Service()
    service.router.route(no_user)
    assert service.written() == []


def test_keys_of_every_kind_are_hashed_as_they_are_routed() -> None:
    service = Service()
    key = uuid.UUID(int=7)
    for one in ("x" * 10_000, b"raw", bytearray(b"array"), 42, key):
        service.router.route(one)
    texts = ["x" * 10_000, "raw", "array", "42", str(key)]
    assert [row.user for row in service.written()] == [hash_user(USER_KEY, text) for text in texts]


def test_a_key_that_raises_costs_no_request() -> None:
    class Hostile(str):
        __slots__ = ()

        def __hash__(self) -> int:
            raise ValueError

    service = Service()
    assert isinstance(service.router.route(Hostile("x")), Route)
    assert len(service.written()) == 1


def test_the_memory_of_users_is_bounded() -> None:
    """Who came longest ago is forgotten and gets another row; who comes again and again has one."""
    service = Service(armed(0.0), most_users=100)
    for number in range(1000):
        service.router.route(f"user-{number}")
        service.router.route("regular")
    notes = service.log.notes_of(ROLLOUT)
    assert len(notes) <= 100
    service.router.route("user-0")
    users = [row.user for row in service.written()]
    assert users.count(hash_user(USER_KEY, "regular")) == 1
    assert users.count(hash_user(USER_KEY, "user-0")) == 2


def test_a_cookie_that_flips_has_a_bounded_number_of_rows() -> None:
    service = Service()
    for number in range(1000):
        service.router.route("ann", ("control", "canary")[number % 2])
    assert len(service.written()) == MOST_CHANGES + 1


def test_a_full_queue_drops_and_the_next_request_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposures, "MOST_WAITING", 3)
    service = Service(armed(0.0))
    for number in range(5):
        service.router.route(f"user-{number}")
    assert len(service.written()) == 3
    assert service.counted("dropped") == 2.0
    for number in range(5):
        service.router.route(f"user-{number}")
    assert len({row.user for row in service.written()}) == len(service.rows) == 5


def test_a_callable_that_fails_gets_its_rows_again(caplog: pytest.LogCaptureFixture) -> None:
    working = threading.Event()
    rows: list[Exposure] = []

    def insert(batch: Sequence[Exposure]) -> None:
        if not working.is_set():
            raise ConnectionError("warehouse away")
        rows.extend(batch)

    service = Service(write=insert)
    service.router.route("ann")
    assert not service.log.flush()
    assert not service.log.flush()
    assert caplog.text.count("rows cannot be written (ConnectionError: warehouse away)") == 1
    working.set()
    assert service.log.flush()
    assert [row.user for row in rows] == [hash_user(USER_KEY, "ann")]


def test_a_callable_that_hangs_holds_no_request() -> None:
    hanging, release = threading.Event(), threading.Event()

    def insert(batch: Sequence[Exposure]) -> None:
        hanging.set()
        release.wait(60.0)

    service = Service(write=insert)
    service.router.route("ann")
    assert not service.log.flush(0.05)
    assert hanging.wait(10.0)
    for number in range(100):
        assert service.router.route(f"user-{number}").cohort in (Cohort.CONTROL, Cohort.CANARY)
    release.set()


@pytest.mark.parametrize("threads", [True, False], ids=["more threads", "none"])
def test_flushing_what_hangs_ends_and_leaves_no_thread(threads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of a process of Python 3.12 no thread can be started; the process must end all the same."""
    hanging, release = threading.Event(), threading.Event()

    def insert(batch: Sequence[Exposure]) -> None:
        hanging.set()
        release.wait(30.0)

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    service = Service(write=insert)
    service.router.route("ann")
    service.log.flush(0.01)
    assert hanging.wait(10.0)
    before = threading.active_count()
    if not threads:
        monkeypatch.setattr(threading.Thread, "start", refused)
    assert not any(service.log.flush(0.01) for _ in range(5))
    assert not release.is_set()
    assert threading.active_count() == before
    release.set()


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_callable_that_would_end_its_thread_gets_its_rows_again(raised: type[BaseException]) -> None:
    """Such as a driver's own timeout, which is no Exception in gevent."""
    rows: list[Exposure] = []
    failing = [True]

    def insert(batch: Sequence[Exposure]) -> None:
        if failing:
            failing.clear()
            raise raised
        rows.extend(batch)

    service = Service(write=insert)
    service.router.route("ann")
    assert not service.log.flush()
    assert service.log.flush()
    assert len(rows) == 1


def test_no_text_of_a_foreign_exception_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Refused(Exception):
        pass

    def insert(batch: Sequence[Exposure]) -> None:
        raise Refused(f"POST https://warehouse/?token=hunter2 {batch}")

    service = Service(write=insert)
    service.router.route("ann")
    assert not service.log.flush()
    assert "rows cannot be written (Refused at " in caplog.text
    assert "hunter2" not in caplog.text
    assert hash_user(USER_KEY, "ann") not in caplog.text


def test_two_splits_at_once_leave_no_generation_without_rows() -> None:
    """A thread that still has the split from before the arming begins it while another begins the new one."""
    service = Service(tripped())
    notes = service.log.notes_of(ROLLOUT)
    new = armed(100.0, generation=2)

    class Slow(FixedSplit):
        @property
        def exposes(self) -> bool:
            notes.note(new, new.canary_route, "ann")  # as the other thread does now
            return False

    old = tripped()
    notes.note(Slow(0.0, "", old.control_route, old.canary_route), old.control_route, "bob")
    service.held.current = new
    service.router.route("cyd")
    assert {row.user for row in service.written()} >= {hash_user(USER_KEY, "cyd")}


def test_rows_left_at_the_end_are_counted() -> None:
    def insert(batch: Sequence[Exposure]) -> None:
        raise ConnectionError

    service = Service(write=insert)
    service.router.route("ann")
    service.log.close()
    assert service.counted("dropped") == 1.0
    service.router.route("bob")  # after the end nothing waits any more
    service.log.flush()
    assert service.counted("dropped") == 2.0


def test_closing_the_router_writes_what_waits(tmp_path: Path) -> None:
    service = Service(write=None, folder=tmp_path)
    service.router.route("ann")
    service.router.close()
    assert len(list(tmp_path.glob("*.jsonl"))) == 1


@pytest.mark.parametrize("settings", [{}, {"folder": "x", "write": print}])
def test_a_log_writes_to_one_place(settings: dict[str, Any]) -> None:
    with pytest.raises(BadSettings, match="either a folder, or `write`"):
        ExposureLog(key_file=USER_KEY_FILE, **settings)


def test_a_log_without_a_key_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KILLSWITCH_SHADOW_KEY_FILE", raising=False)
    with pytest.raises(BadSettings, match="give `key_file`"):
        ExposureLog(tmp_path)
    with pytest.raises(BadSettings, match="user key file"):
        ExposureLog(tmp_path, key_file=tmp_path / "missing")


def test_a_new_key_gives_every_user_a_row_again(tmp_path: Path) -> None:
    """Else the reader, who has the new key, would find no user who was seen before."""
    path = tmp_path / "key"
    path.write_bytes(USER_KEY)
    service = Service(armed(0.0), key_file=path, every=0.001)
    service.router.route("ann")
    path.write_bytes(USER_KEY * 2)
    service.clock.advance(11.0)
    wait_until(lambda: service.log.key_file.key == USER_KEY * 2 and not len(service.log.notes_of(ROLLOUT)), "the key")
    service.router.route("ann")
    assert [row.user for row in service.written()] == [hash_user(key, "ann") for key in (USER_KEY, USER_KEY * 2)]


def test_an_unroutable_user_pinned_to_the_canary_has_no_row() -> None:
    service = Service()
    route = service.router.route(None, "canary")
    assert route.reason == RouteReason.TARGETING_MATCH
    assert service.written() == []
