"""The follower's watch of a real etcd: restarts, compactions and silence, and what the re-read repairs."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from killswitch.router.background import REREAD_EVERY
from killswitch.router.failsafe import RouterState
from killswitch.router.follow import Follower
from killswitch.router.observers import Happening
from killswitch.stores import keys
from killswitch.stores.access import Access
from killswitch.stores.etcd.reader import EtcdReader, EtcdWatch
from killswitch.stores.reader import Connected, Resync, WatchEvent
from killswitch.stores.url import StoreUrl
from tests.doubles.flags import ROLLOUT, armed, tripped
from tests.faults.figures import figure
from tests.integration.router.following import (
    b64,
    compact,
    following,
    reader,
    store,
    until,
    until_counted,
    until_watching,
)
from tests.servers.etcd import EtcdCluster, EtcdMember, wait_until
from tests.servers.tcp_proxy import TcpProxy


def test_a_restart_of_etcd_under_a_watch_loses_no_change(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path) as etcd, following(reader(etcd.url)) as follower:
        member = etcd.members[0]
        store(member, armed())
        until(follower, RouterState.ARMED)
        until_watching(follower)
        member.restart()
        store(member, tripped())
        written = time.monotonic()
        until(follower, RouterState.TRIPPED)
        took = time.monotonic() - written
        figure(f"row 10: after a restart of etcd a change is seen {took:.2f} s after it")


def test_a_compaction_under_a_watch_ends_it_with_the_order_to_read(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path) as etcd:
        member = etcd.members[0]
        revision = store(member, armed())
        for percent in (10.0, 20.0, 30.0):
            last = store(member, armed(percent=percent))
        compact(member, last)
        watch = reader(etcd.url).watch(keys.flag(ROLLOUT), after=revision)
        events = []
        with pytest.raises(Resync, match="compacted"):
            events += list(watch)
        assert all(isinstance(event, Connected) for event in events)
        watch.restart(last)
        latest = store(member, tripped())
        changes = (event for event in watch if not isinstance(event, Connected))
        change = next(changes)
        assert getattr(change, "revision", None) == latest
        watch.close()


@contextlib.contextmanager
def stranded(folder: Path) -> Iterator[tuple[EtcdMember, Follower, TcpProxy]]:
    """A follower of an armed flag, whose watch stands but brings nothing until ``proxy`` cuts it."""
    with EtcdCluster(folder) as etcd, TcpProxy(("127.0.0.1", etcd.members[0].client_port)) as proxy:
        member = etcd.members[0]
        store(member, armed())
        with following(reader(f"etcd://{proxy.endpoint}")) as follower:
            until(follower, RouterState.ARMED)
            until_watching(follower)
            proxy.strand()
            yield member, follower, proxy


def test_a_follower_survives_a_compaction_under_its_watch(tmp_path: Path) -> None:
    with stranded(tmp_path) as (member, follower, proxy):
        for percent in (10.0, 20.0, 30.0):
            last = store(member, armed(percent=percent))
        compact(member, last)
        proxy.cut()
        cut = time.monotonic()
        until(follower, RouterState.ARMED, canary_percent=30.0)
        took = time.monotonic() - cut
        figure(f"row 10: after a compaction the view is right {took:.2f} s after the watch ended")
        store(member, tripped())
        until(follower, RouterState.TRIPPED)


def test_after_a_compaction_the_watch_continues_from_the_read(tmp_path: Path) -> None:
    """The flag is as it was, so what was read contradicts nothing."""
    with stranded(tmp_path) as (member, follower, proxy):
        for number in range(3):
            answer = member.call("/v3/kv/put", {"key": b64("other"), "value": b64(str(number))})
        compact(member, int(answer["header"]["revision"]))
        proxy.cut()
        wait_until(lambda: follower.health().counts[Happening.READ] == 2, "the read that was ordered")
        until_watching(follower)
        store(member, tripped())
        until(follower, RouterState.TRIPPED)
        until_counted(follower, Happening.CHANGE, 1)  # the watch has brought it
        assert follower.health().counts[Happening.READ] == 2


class Restarts(EtcdReader):
    """The reader as it is; it writes down after which revisions its watch was told to begin again."""

    def __init__(self, url: str) -> None:
        super().__init__(StoreUrl.parse(url).endpoints, Access(), use_tls=False, timeout=1.0)
        self.after: list[int] = []

    def watch(self, name: str, *, after: int, prefix: bool = False) -> EtcdWatch:
        watch = super().watch(name, after=after, prefix=prefix)
        restart = watch.restart

        def noted(after: int) -> None:
            self.after.append(after)
            restart(after)

        watch.restart = noted  # type: ignore[method-assign]
        return watch


def test_a_read_that_contradicts_the_watch_restarts_it(tmp_path: Path) -> None:
    """It begins after the read; left alone, a dead watch would be noticed by its own silence much later."""
    with EtcdCluster(tmp_path) as etcd, TcpProxy(("127.0.0.1", etcd.members[0].client_port)) as proxy:
        member = etcd.members[0]
        store(member, armed())
        source = Restarts(f"etcd://{proxy.endpoint}")
        with following(source, reread_every=1.0) as follower:
            until(follower, RouterState.ARMED)
            until_watching(follower)
            assert proxy.strand() >= 1
            revision = store(member, armed(percent=20.0))
            until(follower, RouterState.ARMED, canary_percent=20.0)
            wait_until(lambda: source.after == [revision], "the watch begins after what was read")
            assert follower.health().counts[Happening.WATCH_MISSED] == 1


def test_a_store_that_was_set_back_restarts_the_watch_too(tmp_path: Path) -> None:
    """The flag is as it was; from a revision that is yet to come, a watch would miss every change until then."""
    with EtcdCluster(tmp_path) as etcd:
        member = etcd.members[0]
        written = store(member, armed())
        etcd.back_up(tmp_path / "backup.db")
        source = Restarts(etcd.url)
        with following(source, reread_every=0.5) as follower:
            for number in range(5):
                member.call("/v3/kv/put", {"key": b64("other"), "value": b64(str(number))})
            until(follower, RouterState.ARMED)
            until_watching(follower)
            wait_until(lambda: follower._memory.revision == written + 5, "a read after the other writes")
            etcd.restore(tmp_path / "backup.db")
            wait_until(lambda: source.after != [], "the watch begins again")
            assert source.after == [written]


def test_a_watch_that_finds_the_store_set_back_has_it_read(tmp_path: Path) -> None:
    """No read has failed, and the next one is not due for an hour."""
    with EtcdCluster(tmp_path) as etcd, following(reader(etcd.url)) as follower:
        member = etcd.members[0]
        until(follower, RouterState.NO_FLAG)
        until_watching(follower)
        store(member, armed(percent=20.0))
        until(follower, RouterState.ARMED, canary_percent=20.0)
        etcd.back_up(tmp_path / "backup.db")
        store(member, armed(percent=30.0))
        until(follower, RouterState.ARMED, canary_percent=30.0)
        reads = follower.health().counts[Happening.READ]
        etcd.restore(tmp_path / "backup.db")
        until(follower, RouterState.ARMED, canary_percent=20.0)
        # the watch may bring the flag before the read does
        wait_until(lambda: follower.health().counts[Happening.READ] > reads, "a read")


def test_a_store_that_answers_the_watch_again_is_read_soon(tmp_path: Path) -> None:
    """After a long outage the next attempt to read is far away."""
    with EtcdCluster(tmp_path) as etcd, following(reader(etcd.url)) as follower:
        member = etcd.members[0]
        until(follower, RouterState.NO_FLAG)
        until_watching(follower)
        member.kill()
        follower._retries = 12  # of a half second that doubles: half an hour
        follower._read_soon(0.0)
        wait_until(lambda: follower.health().counts[Happening.READ_FAILED] == 1, "the failed read")
        reads = follower.health().counts[Happening.READ]
        member.start()
        wait_until(lambda: follower.health().counts[Happening.READ] == reads + 1, "the read")


def test_a_re_read_finds_a_silently_dead_watch_and_renews_it(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path) as etcd, TcpProxy(("127.0.0.1", etcd.members[0].client_port)) as proxy:
        member = etcd.members[0]
        store(member, armed())
        with following(reader(f"etcd://{proxy.endpoint}", timeout=1.0), reread_every=1.0) as follower:
            until(follower, RouterState.ARMED)
            until_watching(follower)
            assert proxy.strand() >= 1
            store(member, armed(percent=20.0))
            until(follower, RouterState.ARMED, canary_percent=20.0)
            wait_until(lambda: follower.health().counts[Happening.WATCH_MISSED] >= 1, "the missed change is counted")
            brought = follower.health().counts[Happening.CHANGE]
            until_watching(follower)

            def a_change_is_brought() -> bool:
                store(member, armed(percent=30.0))
                return follower.health().counts[Happening.CHANGE] > brought

            wait_until(a_change_is_brought, "the new watch")


def test_a_watch_without_news_is_set_up_again_and_is_no_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flag that nobody changes made "the watch broke" the log's most frequent line."""
    caplog.set_level(logging.INFO)
    opened: list[int] = []
    one_stream = EtcdWatch._one_stream

    def counted(watch: EtcdWatch, epoch: int) -> Iterator[WatchEvent]:
        opened.append(epoch)
        return one_stream(watch, epoch)

    monkeypatch.setattr(EtcdWatch, "_one_stream", counted)
    with EtcdCluster(tmp_path) as etcd, following(reader(etcd.url, silence=0.2)) as follower:
        until_watching(follower)
        wait_until(lambda: len(opened) > 4, "several silences")
        until_watching(follower)
        assert follower.health().counts[Happening.WATCH_BROKE] == 0
        store(etcd.members[0], armed())
        until(follower, RouterState.ARMED)
    assert "watch broke" not in caplog.text


def test_by_default_the_next_re_read_finds_a_silently_dead_watch(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path) as etcd, TcpProxy(("127.0.0.1", etcd.members[0].client_port)) as proxy:
        member = etcd.members[0]
        store(member, armed())
        with following(reader(f"etcd://{proxy.endpoint}"), reread_every=REREAD_EVERY) as follower:
            until(follower, RouterState.ARMED)
            until_watching(follower)
            assert proxy.strand() >= 1
            store(member, tripped())
            written, reads = time.monotonic(), follower.health().counts[Happening.READ]
            until(follower, RouterState.TRIPPED)
            took = time.monotonic() - written
            figure(f"row 10: a change under a dead watch is seen {took:.1f} s after it")
            assert follower.health().counts[Happening.READ] <= reads + 2  # they are at most 12 s apart
