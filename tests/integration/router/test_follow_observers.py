"""Observers of a follower that hang or hold locks: what they can delay, and what they cannot."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from killswitch.errors import Unavailable
from killswitch.router import forks
from killswitch.router.background import elapsed
from killswitch.router.failsafe import RouterState, StalePolicy
from killswitch.router.follow import Follower
from killswitch.router.observers import Happening, Observer
from killswitch.router.snapshot import ObeyedFlag
from killswitch.stores import Lease
from killswitch.stores.access import Access
from killswitch.stores.etcd.reader import EtcdReader
from killswitch.stores.reader import ReadView
from killswitch.stores.url import StoreUrl
from tests.doubles.flags import ROLLOUT, armed, tripped
from tests.integration.router.following import NEVER, reader, store, until
from tests.servers.etcd import EtcdCluster, wait_until


@contextmanager
def observed(
    etcd: EtcdCluster, *observers: Observer, policy: StalePolicy | None = None, reread_every: float = 0.3
) -> Iterator[Follower]:
    source = reader(etcd.url, timeout=0.5)
    follower = Follower(ROLLOUT, source, policy=policy, reread_every=reread_every, observers=observers)
    follower.start()
    try:
        yield follower
    finally:
        follower.close()


class Hanging:
    """Does not come back once the router stands so."""

    def __init__(self, standing: RouterState) -> None:
        self._standing = standing
        self.hangs = threading.Event()
        self.go_on = threading.Event()

    def settled(self, snapshot: ObeyedFlag) -> None:
        if snapshot.standing is self._standing:
            self.hangs.set()
            self.go_on.wait(120)

    def happened(self, what: Happening) -> None:
        """Nothing to do."""


def test_a_hung_observer_or_log_does_not_keep_an_armed_flag(tmp_path: Path) -> None:
    """The clock itself told observers once: when the first of two changes hung, the second never came."""
    observer = Hanging(RouterState.HELD)
    policy = StalePolicy(stale_grace=3.0, stale_jitter=0.0, doubt_after=1.5)
    with EtcdCluster(tmp_path) as etcd:
        store(etcd.members[0], armed())
        with observed(etcd, observer, policy=policy) as follower:
            until(follower, RouterState.ARMED)
            etcd.members[0].kill()
            wait_until(observer.hangs.is_set, "the observer hangs")
            until(follower, RouterState.CUT_OFF, canary_percent=0.0)
            observer.go_on.set()


class HangingLog(logging.Handler):
    """A handler that waits for a full pipe, once the router says it is armed."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = threading.Event()
        self.go_on = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "armed, generation" in record.getMessage():
            self.hangs.set()
            self.go_on.wait(120)


class Remembering:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.settled_as: list[RouterState] = []
        self.counts: Counter[Happening] = Counter()

    def settled(self, snapshot: ObeyedFlag) -> None:
        self.settled_as.append(snapshot.standing)

    def happened(self, what: Happening) -> None:
        self.counts[what] += 1


@pytest.fixture
def hanging_log() -> Iterator[HangingLog]:
    handler, log = HangingLog(), logging.getLogger("killswitch.router")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield handler
    handler.go_on.set()
    log.setLevel(level)
    log.removeHandler(handler)


@pytest.mark.parametrize("what", ["observer", "log"])
def test_the_watch_brings_a_trip_while_an_observer_or_log_hangs(
    tmp_path: Path, hanging_log: HangingLog, what: str
) -> None:
    """No re-read comes to help: a re-read every 0.3 s hid for long that the watch hung and a trip took up to 10 s."""
    observer, other = Hanging(RouterState.ARMED), Remembering()
    hanging = hanging_log if what == "log" else observer
    (hanging_log if what == "observer" else observer).go_on.set()
    with EtcdCluster(tmp_path) as etcd, observed(etcd, observer, other, reread_every=NEVER) as follower:
        until(follower, RouterState.NO_FLAG)
        wait_until(lambda: follower.health().watching, "the watch")
        store(etcd.members[0], armed())
        wait_until(hanging.hangs.is_set, f"the {what} hangs")
        store(etcd.members[0], tripped())
        until(follower, RouterState.TRIPPED)
        assert follower.health().counts[Happening.READ] == 1
        wait_until(lambda: other.settled_as[-1] is RouterState.TRIPPED, "the other observer is told")
        assert not hanging.go_on.is_set()
        hanging.go_on.set()


def test_a_recovered_observer_gets_the_newest_and_every_count(tmp_path: Path) -> None:
    """What waits for it is bounded: one snapshot, and a number for each happening."""
    hanging, slow = Hanging(RouterState.ARMED), Remembering()

    class Both:
        def settled(self, snapshot: ObeyedFlag) -> None:
            slow.settled(snapshot)
            hanging.settled(snapshot)

        def happened(self, what: Happening) -> None:
            slow.happened(what)

    with EtcdCluster(tmp_path) as etcd, observed(etcd, Both(), reread_every=NEVER) as follower:
        until(follower, RouterState.NO_FLAG)
        wait_until(lambda: follower.health().watching, "the watch")
        store(etcd.members[0], armed(percent=1.0))
        wait_until(hanging.hangs.is_set, "the observer hangs")
        for percent in range(2, 42):
            store(etcd.members[0], armed(percent=float(percent)))
        store(etcd.members[0], tripped())
        until(follower, RouterState.TRIPPED)
        hanging.go_on.set()
        wait_until(lambda: slow.settled_as[-1] is RouterState.TRIPPED, "the observer is told")
        assert slow.settled_as == [RouterState.NO_FLAG, RouterState.ARMED, RouterState.TRIPPED]
        wait_until(lambda: slow.counts[Happening.CHANGE] == 42, "it counts every change")


def test_closing_does_not_wait_long_for_an_observer_that_hangs(tmp_path: Path) -> None:
    """Nor does a listener that closes the router itself wait for itself."""
    with EtcdCluster(tmp_path) as etcd:
        closed = threading.Event()
        follower: Follower

        class Closing(Remembering):
            def settled(self, snapshot: ObeyedFlag) -> None:
                if snapshot.standing is RouterState.NO_FLAG:
                    follower.close()
                    closed.set()

        follower = Follower(ROLLOUT, reader(etcd.url), observers=(Closing(), Hanging(RouterState.NO_FLAG)))
        follower.start()
        assert closed.wait(60)
        assert follower.current.standing is RouterState.CLOSED


class Locking:
    """Takes a lock and its time, as prometheus_client does on a busy machine."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = threading.Event()
        self.count = 0

    def settled(self, snapshot: ObeyedFlag) -> None:
        """Nothing to do."""

    def happened(self, what: Happening) -> None:
        with self.lock:
            self.inside.set()
            time.sleep(0.2)
            self.inside.clear()
            self.count += 1


def test_a_child_forked_while_an_observer_locks_finds_it_free(tmp_path: Path) -> None:
    """Forked workers were deaf once: prometheus_client's lock was taken, for ever, by a thread of the parent."""
    observer = Locking()
    with EtcdCluster(tmp_path) as etcd, observed(etcd, observer) as follower:
        store(etcd.members[0], armed())
        until(follower, RouterState.ARMED)
        assert observer.inside.wait(60)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                told = observer.count
                store(etcd.members[0], tripped())
                until(follower, RouterState.TRIPPED)
                wait_until(lambda: observer.count > told, "the child's observer")
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        until(follower, RouterState.TRIPPED)


def test_after_an_internal_error_in_a_read_there_is_another_read(tmp_path: Path) -> None:
    """It was the last one: a worker forked while its parent imported a codec failed once, and was deaf for ever."""
    with EtcdCluster(tmp_path) as etcd:
        store(etcd.members[0], armed())
        source = reader(etcd.url)
        read, errors = source.read, [LookupError("unknown encoding: idna")]

        def failing_once(*names: Any, **options: Any) -> Any:
            if errors:
                raise errors.pop()
            return read(*names, **options)

        source.read = failing_once  # type: ignore[method-assign]
        follower = Follower(ROLLOUT, source, reread_every=0.3)
        follower.start()
        until(follower, RouterState.ARMED)
        assert follower.health().counts[Happening.INTERNAL_ERROR] == 1
        follower.close()


class FailingAtFirst(EtcdReader):
    """Its first reads fail, as over a network that is just coming up."""

    failures = 3

    def read(self, names: Sequence[str], **asked: Any) -> ReadView:
        if self.failures:
            self.failures -= 1
            raise Unavailable("no route to host")
        return super().read(names, **asked)


def test_a_failed_read_is_tried_again_long_before_the_next_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A read that failed is tried again long before the next read is due."""
    with EtcdCluster(tmp_path) as etcd:
        store(etcd.members[0], armed())
        where = StoreUrl.parse(etcd.url)
        source = FailingAtFirst(where.endpoints, Access(), use_tls=where.tls, timeout=2.0)
        follower = Follower(ROLLOUT, source, reread_every=NEVER, reports=source)
        follower.start()
        try:
            until(follower, RouterState.ARMED)
            wait_until(lambda: follower.health().error is None, "what went wrong is over")
            wait_until(lambda: follower.health().reporting, "a report, to a store that answers again")
            assert sum("trying again" in message for message in caplog.messages) == 1  # of three failures
        finally:
            follower.close()


class AskedMeanwhile(EtcdReader):
    """During its first read somebody asks for another one."""

    follower: Follower | None = None

    def read(self, names: Sequence[str], **asked: Any) -> ReadView:
        if self.follower is not None:
            self.follower._read_soon(0.0)
            self.follower = None
        return super().read(names, **asked)


def test_a_read_that_is_asked_for_during_another_is_made(tmp_path: Path) -> None:
    """The watch was answered meanwhile: the read under way may be older than what it has seen."""
    with EtcdCluster(tmp_path) as etcd:
        where = StoreUrl.parse(etcd.url)
        source = AskedMeanwhile(where.endpoints, Access(), use_tls=where.tls, timeout=2.0)
        follower = source.follower = Follower(ROLLOUT, source, reread_every=NEVER)
        follower.start()
        try:
            wait_until(lambda: follower.health().counts[Happening.READ] == 2, "the second read")
        finally:
            follower.close()


class Unwritable(EtcdReader):
    """Whoever may read and not write."""

    def grant(self, ttl: float) -> Lease:
        raise Unavailable("read only")


def test_a_report_waits_for_a_readable_store_and_after_a_failure(tmp_path: Path) -> None:
    """A report that is due is sent again and again: what puts it off keeps a thousand routers from a busy store."""
    with EtcdCluster(tmp_path) as etcd:
        where = StoreUrl.parse(etcd.url)
        source = Unwritable(where.endpoints, Access(), use_tls=where.tls, timeout=2.0)
        follower = Follower(ROLLOUT, source, reread_every=NEVER, reports=source)
        assert follower._report_due_at() == math.inf  # not read yet
        follower.start()
        try:
            wait_until(lambda: follower.health().counts[Happening.REPORT_FAILED] == 1, "the failed report")
            wait_until(lambda: elapsed() + 1.0 < follower._report_due_at() < math.inf, "the next one is put off")
            follower._retries = 1
            assert follower._report_due_at() == math.inf  # its last read failed
        finally:
            follower.close()


def test_a_forked_child_lets_go_of_its_parents_connections(tmp_path: Path) -> None:
    """On one connection, each would read answers to the other's questions."""
    readable, written = os.pipe()
    os.set_blocking(readable, False)

    class Forgetting(EtcdReader):
        def forget(self) -> None:
            os.write(written, b"f")
            super().forget()

    with EtcdCluster(tmp_path) as etcd:
        where = StoreUrl.parse(etcd.url)
        follower = Follower(ROLLOUT, Forgetting(where.endpoints, Access(), use_tls=where.tls), reread_every=NEVER)
        follower.start()
        until(follower, RouterState.NO_FLAG)
        child = os.fork()
        if child == 0:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert os.read(readable, 9) == b"f"
        follower.close()


def test_where_no_thread_can_be_started_everyone_goes_to_control(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No trip would be seen. Also where an armed flag had been read before, as in the child of a fork."""
    with EtcdCluster(tmp_path) as etcd:
        store(etcd.members[0], armed())
        follower = Follower(ROLLOUT, reader(etcd.url), reread_every=NEVER)
        follower.start()
        until(follower, RouterState.ARMED)

        def refused(_thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as no_threads:
            no_threads.setattr(threading.Thread, "start", refused)
            follower._start_threads()
        assert follower.current.standing is RouterState.CLOSED
        assert "not followed: can't start new thread" in follower.current.sentence
        assert not follower.health().ok
        follower.close()


def test_the_clock_looks_again_within_ten_seconds_in_any_case(tmp_path: Path) -> None:
    """The machine may have slept: what it waits for may be over."""
    patient = StalePolicy(stale_grace=3600.0, doubt_after=3600.0, control_after=None)
    with EtcdCluster(tmp_path) as etcd, observed(etcd, policy=patient, reread_every=NEVER) as follower:
        until(follower, RouterState.NO_FLAG)
        wait_until(lambda: 0.0 < follower._tick_at <= elapsed() + 10.0, "the clock's next look")


def test_before_the_first_read_attempts_are_at_most_5_s_apart() -> None:
    """There is no watch yet that would find out that the store answers."""
    where = StoreUrl.parse("etcd://127.0.0.1:1")
    follower = Follower(ROLLOUT, EtcdReader(where.endpoints, Access(), use_tls=where.tls), reread_every=NEVER)
    follower._retries = 12
    assert 2.5 <= follower._next_read_in(succeeded=False) <= 5.0
    follower.close()


def test_closing_ends_the_wait_for_a_first_read() -> None:
    where = StoreUrl.parse("etcd://127.0.0.1:1")  # nobody is there
    follower = Follower(ROLLOUT, EtcdReader(where.endpoints, Access(), use_tls=where.tls))
    follower.start()
    waiting = threading.Thread(target=follower.wait_until_read, args=(3600.0,), daemon=True)
    waiting.start()
    follower.close()
    waiting.join(60)
    assert not waiting.is_alive()


def test_a_follower_that_is_started_twice_runs_once() -> None:
    where = StoreUrl.parse("etcd://127.0.0.1:1")
    follower = Follower(ROLLOUT, EtcdReader(where.endpoints, Access(), use_tls=where.tls))
    follower.start()
    threads = follower._threads
    follower.start()
    assert follower._threads is threads
    follower.close()


def unstarted(**more: Any) -> Follower:
    """A follower of a store that nobody asks."""
    where = StoreUrl.parse("etcd://127.0.0.1:1")
    return Follower(ROLLOUT, EtcdReader(where.endpoints, Access(), use_tls=where.tls), reread_every=NEVER, **more)


def test_attempts_begin_half_a_second_apart() -> None:
    assert 0.25 <= unstarted()._next_read_in(succeeded=False) <= 0.5


def test_each_router_has_a_place_of_its_own_in_the_jitter() -> None:
    assert len({unstarted()._policy.spread for _ in range(5)}) == 5


def test_a_report_waits_its_lot_after_a_change() -> None:
    follower = unstarted(clock=lambda: 100.0)
    follower._distrust("no store")
    assert 100.5 <= follower._report_at <= 102.5


def test_a_follower_of_which_a_thread_has_died_is_not_well(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path) as etcd, observed(etcd, reread_every=NEVER) as follower:
        store(etcd.members[0], armed())
        until(follower, RouterState.ARMED)
        assert follower.health().ok
        follower._threads = (*follower._threads, threading.Thread())
        assert not follower.health().following
        assert not follower.health().ok


def test_a_closed_follower_is_none_that_a_fork_would_start_again() -> None:
    follower = unstarted()
    follower.start()
    assert follower in forks.started
    follower.close()
    assert follower not in forks.started
