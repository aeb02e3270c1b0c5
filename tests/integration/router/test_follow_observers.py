"""Observers of a follower that hang or hold locks: what they can delay, and what they cannot."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from killswitch.router.failsafe import Policy, Standing
from killswitch.router.follow import Follower, Happening, Observer
from killswitch.router.snapshot import Snapshot
from tests.integration.router.following import ROLLOUT, armed, reader, store, tripped, until
from tests.servers.etcd import EtcdCluster, wait_until


@contextmanager
def observed(etcd: EtcdCluster, observer: Observer, policy: Policy | None = None) -> Iterator[Follower]:
    source = reader(etcd.url, timeout=0.5)
    follower = Follower(ROLLOUT, source, policy=policy, reread_every=0.3, observers=(observer,))
    follower.start()
    try:
        yield follower
    finally:
        follower.close()


class Hanging:
    """Does not come back once the router stands so."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing
        self.hangs = threading.Event()
        self.release = threading.Event()

    def settled(self, snapshot: Snapshot) -> None:
        if snapshot.standing is self._standing:
            self.hangs.set()
            self.release.wait(120)

    def happened(self, what: Happening) -> None:
        """Nothing to do."""


def test_an_observer_or_a_log_that_hangs_does_not_keep_an_armed_flag_alive(tmp_path: Path) -> None:
    """The clock itself told observers once: when the first of two changes hung, the second never came."""
    observer = Hanging(Standing.HELD)
    policy = Policy(stale_grace=3.0, stale_jitter=0.0, doubt_after=1.5)
    with EtcdCluster(tmp_path) as etcd:
        store(etcd.members[0], armed())
        with observed(etcd, observer, policy) as follower:
            until(follower, Standing.ARMED)
            etcd.members[0].kill()
            wait_until(observer.hangs.is_set, "the observer hangs")
            until(follower, Standing.CUT_OFF, canary_percent=0.0)
            observer.release.set()


def test_a_trip_is_obeyed_while_an_observer_hangs(tmp_path: Path) -> None:
    observer = Hanging(Standing.ARMED)
    with EtcdCluster(tmp_path) as etcd, observed(etcd, observer) as follower:
        until(follower, Standing.NO_FLAG)
        wait_until(lambda: follower.health().watching, "the watch")
        store(etcd.members[0], armed())
        wait_until(observer.hangs.is_set, "the observer hangs")
        store(etcd.members[0], tripped())
        until(follower, Standing.TRIPPED)
        observer.release.set()


class Locking:
    """Takes a lock and its time, as prometheus_client does on a busy machine."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = threading.Event()
        self.count = 0

    def settled(self, snapshot: Snapshot) -> None:
        """Nothing to do."""

    def happened(self, what: Happening) -> None:
        with self.lock:
            self.inside.set()
            time.sleep(0.2)
            self.inside.clear()
            self.count += 1


def test_a_child_forked_while_its_parents_observer_held_a_lock_finds_the_lock_free(tmp_path: Path) -> None:
    """Forked workers were deaf once: prometheus_client's lock was taken, for ever, by a thread of the parent."""
    observer = Locking()
    with EtcdCluster(tmp_path) as etcd, observed(etcd, observer) as follower:
        store(etcd.members[0], armed())
        until(follower, Standing.ARMED)
        assert observer.inside.wait(60)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                told = observer.count
                store(etcd.members[0], tripped())
                until(follower, Standing.TRIPPED)
                wait_until(lambda: observer.count > told, "the child's observer")
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        until(follower, Standing.TRIPPED)


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
        until(follower, Standing.ARMED)
        assert follower.health().counts[Happening.INTERNAL_ERROR] == 1
        follower.close()
