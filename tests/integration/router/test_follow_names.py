"""A follower whose store is named: what a resolver that hangs can delay, and what it cannot."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from killswitch.errors import Unavailable
from killswitch.router.failsafe import RouterState, StalePolicy
from killswitch.stores import keys
from killswitch.stores.etcd.reader import EtcdReader
from killswitch.stores.url import Endpoint
from tests.doubles.flags import ROLLOUT, armed, tripped
from tests.doubles.name_server import NameServer
from tests.integration.router.following import following, store, until
from tests.servers.etcd import EtcdCluster, wait_until

HOST = "flags.example"


def reader(*endpoints: Endpoint, timeout: float = 0.5) -> EtcdReader:
    return EtcdReader(endpoints, timeout=timeout)


def test_a_resolver_that_hangs_does_not_keep_an_armed_flag_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = NameServer(monkeypatch, {HOST: ["127.0.0.1"]})
    policy = StalePolicy(stale_grace=2.0, stale_jitter=0.0, doubt_after=1.0)
    with EtcdCluster(tmp_path) as etcd:
        member = etcd.members[0]
        store(member, armed())
        source = reader(Endpoint(HOST, member.client_port))
        with following(source, policy=policy, reread_every=0.3) as follower:
            until(follower, RouterState.ARMED)
            names.hang()
            member.kill()
            until(follower, RouterState.CUT_OFF, canary_percent=0.0)
            failures = follower.health().counts["read_failed"]
            wait_until(lambda: follower.health().counts["read_failed"] > failures + 1, "two more reads that ended")
            assert "name server" in (follower.health().error or "")
            looking_up = [thread for thread in threading.enumerate() if thread.name == f"look-up-{HOST}"]
            assert len(looking_up) == 1, "the watch and the re-read wait for one answer"
            member.start()
            member.wait_until_healthy()
            names.go_on()
            until(follower, RouterState.ARMED, canary_percent=50.0)
            store(member, tripped())
            until(follower, RouterState.TRIPPED)


def test_a_name_that_hangs_leaves_time_for_the_next_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = NameServer(monkeypatch, {HOST: ["127.0.0.1"]})
    names.hang()
    with EtcdCluster(tmp_path) as etcd:
        revision = store(etcd.members[0], armed())
        source = reader(Endpoint(HOST, 1), Endpoint("127.0.0.1", etcd.members[0].client_port), timeout=2.0)
        for _ in range(2):
            assert source.read([keys.flag(ROLLOUT)]).items[keys.flag(ROLLOUT)].mod_revision == revision
        source.close()
    names.go_on()


@contextlib.contextmanager
def silent_port() -> Iterator[tuple[str, int]]:
    """Where a connection is neither taken nor refused: the queue of those that wait is full."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.2", 0))
        full.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield full.getsockname()


def test_a_silent_address_leaves_time_for_the_names_other_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an IPv6 address that leads nowhere before an IPv4 address that answers."""
    with EtcdCluster(tmp_path) as etcd, silent_port() as silent:
        good = ("127.0.0.1", etcd.members[0].client_port)
        revision = store(etcd.members[0], armed())

        def both(*_: object, **__: object) -> object:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in (silent, good)]

        source = reader(Endpoint(HOST, good[1]), timeout=2.0)
        monkeypatch.setattr("killswitch.stores.etcd.connection.look_up", both)
        assert source.read([keys.flag(ROLLOUT)]).items[keys.flag(ROLLOUT)].mod_revision == revision
        source.close()
        with pytest.raises(Unavailable):
            EtcdReader([Endpoint(HOST, good[1])], timeout=0.0).read([keys.flag(ROLLOUT)])
