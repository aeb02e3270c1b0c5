"""A follower against a real etcd: what the watch brings, what the re-read repairs, and what is never obeyed."""

from __future__ import annotations

import base64
import json
import logging
import os
import select
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from killswitch.router import presence
from killswitch.router.failsafe import RouterState, StalePolicy
from killswitch.router.follow import REREAD_EVERY, follow
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
    delete,
    following,
    reader,
    store,
    under,
    until,
    until_counted,
    until_watching,
)
from tests.servers.etcd import EtcdCluster, wait_until
from tests.servers.tcp_proxy import TcpProxy


def test_a_change_is_brought_by_the_watch_alone(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path) as etcd, following(reader(etcd.url)) as follower:
        member = etcd.members[0]
        until(follower, RouterState.NO_FLAG)
        until_watching(follower)
        first = store(member, armed())
        until(follower, RouterState.ARMED, canary_percent=50.0, revision=first)
        second = store(member, tripped())
        until(follower, RouterState.TRIPPED, canary_percent=0.0, revision=second)
        delete(member)
        until(follower, RouterState.NO_FLAG, generation=1)
        until_counted(follower, Happening.CHANGE, 3)
        assert follower.health().counts[Happening.WATCH_MISSED] == 0


def test_the_watch_brings_nothing_that_was_read_already(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path) as etcd:
        member = etcd.members[0]
        store(member, armed(percent=10.0))
        store(member, armed(percent=20.0))
        with following(reader(etcd.url)) as follower:
            until(follower, RouterState.ARMED, canary_percent=20.0)
            until_watching(follower)
            store(member, tripped())
            until(follower, RouterState.TRIPPED)
            until_counted(follower, Happening.CHANGE, 1)


def test_the_factory_follows_what_the_url_names(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path) as etcd:
        store(etcd.members[0], armed())
        follower = follow(ROLLOUT, etcd.url, control="model-old")
        try:
            until(follower, RouterState.ARMED)
            assert follower.health().ok
        finally:
            follower.close()
        assert follower.current.standing is RouterState.CLOSED
        assert follower.current.canary_percent == 0.0


@pytest.mark.parametrize(
    ("impatience", "at_most"),
    [
        ({}, 10.0),
        ({"stale_grace": 3.0}, 1.0),
        ({"when_unwatched": {"control_after": "6s"}}, 2.0),
        ({"stale_grace": 3600.0, "when_unwatched": "hold"}, 10.0),
    ],
)
def test_an_impatient_router_reads_three_times_within_its_patience(impatience: dict[str, Any], at_most: float) -> None:
    """With a grace of 3 s and a read every 10, an armed flag was obeyed for 3 of every 10 seconds."""
    follower = follow(ROLLOUT, "file:///nonexistent.json", **impatience)
    follower.close()
    assert follower._reread_every == pytest.approx(at_most)


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


def test_a_follower_survives_a_compaction_under_its_watch(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path) as etcd, TcpProxy(("127.0.0.1", etcd.members[0].client_port)) as proxy:
        member = etcd.members[0]
        store(member, armed())
        with following(reader(f"etcd://{proxy.endpoint}")) as follower:
            until(follower, RouterState.ARMED)
            until_watching(follower)
            proxy.strand()
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
    with EtcdCluster(tmp_path) as etcd, TcpProxy(("127.0.0.1", etcd.members[0].client_port)) as proxy:
        member = etcd.members[0]
        store(member, armed())
        with following(reader(f"etcd://{proxy.endpoint}")) as follower:
            until(follower, RouterState.ARMED)
            until_watching(follower)
            proxy.strand()
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

    def watch(self, name: str, *, after: int) -> EtcdWatch:
        watch = super().watch(name, after=after)
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
    """A re-read finds a watch that died silently and starts it again."""
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
    """With the default settings, the next re-read finds a watch that died silently."""
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


def test_a_stopped_etcd_is_obeyed_for_the_grace_and_on_resume(tmp_path: Path) -> None:
    """The flag of a stopped etcd is obeyed for the grace, and again when etcd continues."""
    policy = StalePolicy(stale_grace=3.0, stale_jitter=0.0, doubt_after=1.5)
    with (
        EtcdCluster(tmp_path) as etcd,
        following(reader(etcd.url, timeout=0.5), policy=policy, reread_every=0.5) as follower,
    ):
        member = etcd.members[0]
        store(member, armed())
        until(follower, RouterState.ARMED)
        member.pause()
        until(follower, RouterState.HELD, canary_percent=50.0)
        until(follower, RouterState.CUT_OFF, canary_percent=0.0)
        assert follower.health().error is not None
        member.resume()
        until(follower, RouterState.ARMED, canary_percent=50.0)
        store(member, tripped())
        until(follower, RouterState.TRIPPED)
        member.pause()
        wait_until(lambda: (follower.health().read_age or 0.0) > 5.0, "being cut off for longer than the grace")
        assert follower.current.standing is RouterState.TRIPPED


def test_one_stopped_member_of_three_is_left_by_reads_and_watches(tmp_path: Path) -> None:
    with (
        EtcdCluster(tmp_path, size=3) as etcd,
        following(reader(etcd.url, timeout=3.0), reread_every=1.0) as follower,
    ):
        store(etcd.members[0], armed())
        until(follower, RouterState.ARMED)
        until_watching(follower)
        for member in etcd.members:
            other = next(m for m in etcd.members if m is not member)
            member.pause()
            percent = 10.0 + etcd.members.index(member)

            def written(other: object = other, percent: float = percent) -> bool:
                try:
                    store(other, armed(percent=percent))  # type: ignore[arg-type]
                except OSError:
                    return False
                return True

            wait_until(written, "a quorum without the stopped member")
            until(follower, RouterState.ARMED, canary_percent=percent)
            member.resume()
            member.wait_until_healthy()
            wait_until(lambda: follower.health().error is None, "reads")


def test_a_member_cut_off_from_its_cluster_is_not_believed(tmp_path: Path) -> None:
    """It still remembers "armed", and a serializable read of it would say so for ever."""
    policy = StalePolicy(stale_grace=4.0, stale_jitter=0.0)
    with EtcdCluster(tmp_path, size=3) as etcd:
        store(etcd.members[0], armed())
        isolated = etcd.members[2]
        with following(reader(f"etcd://{isolated.endpoint}", timeout=1.0), policy=policy, reread_every=0.5) as follower:
            until(follower, RouterState.ARMED)
            for member in etcd.members[:2]:
                member.kill()
            until(follower, RouterState.CUT_OFF, canary_percent=0.0)


def test_a_backup_from_before_a_trip_is_not_obeyed(tmp_path: Path) -> None:
    """After a trip, a restored backup is not obeyed. A later generation is."""
    with EtcdCluster(tmp_path) as etcd, following(reader(etcd.url), reread_every=0.5) as follower:
        member = etcd.members[0]
        store(member, armed())
        until(follower, RouterState.ARMED)
        etcd.back_up(tmp_path / "backup.db")
        for percent in (10.0, 20.0, 30.0):
            store(member, armed(percent=percent))
        trip_revision = store(member, tripped())
        until(follower, RouterState.TRIPPED)

        etcd.restore(tmp_path / "backup.db")
        until(follower, RouterState.OUTDATED, canary_percent=0.0)
        assert follower.current.revision < trip_revision
        assert follower.current.canary_route is follower.current.control_route

        store(member, armed(generation=2))
        until(follower, RouterState.ARMED, generation=2)


def test_a_corrupt_document_means_control_until_it_is_fixed(tmp_path: Path) -> None:
    """A document that is corrupt in the store means control until it is fixed."""
    with EtcdCluster(tmp_path) as etcd, following(reader(etcd.url)) as follower:
        member = etcd.members[0]
        store(member, armed())
        until(follower, RouterState.ARMED)
        until_watching(follower)
        store(member, b'{"format": 1, "rollout": "suppo')
        until(follower, RouterState.CORRUPT, canary_percent=0.0)
        until_counted(follower, Happening.BAD_DOCUMENT, 1)
        store(member, armed(percent=7.0))
        until(follower, RouterState.ARMED, canary_percent=7.0)


def test_an_armed_flag_is_obeyed_only_while_heartbeats_come(tmp_path: Path) -> None:
    """Without heartbeats an armed flag is dropped. With a heartbeat it is obeyed again."""
    policy = StalePolicy(control_after=2.0, stale_jitter=0.0)
    with (
        EtcdCluster(tmp_path) as etcd,
        following(reader(etcd.url), policy=policy, reread_every=0.3) as follower,
    ):
        member = etcd.members[0]
        store(member, armed())
        until(follower, RouterState.UNWATCHED, canary_percent=0.0)
        member.call("/v3/kv/put", {"key": b64(keys.controller("c1")), "value": b64("{}")})
        until(follower, RouterState.ARMED)
        assert follower.health().controllers == 1


def test_a_router_reports_what_it_obeys_and_removes_its_report(tmp_path: Path) -> None:
    """A router reports what it has acted on, and removes its report when it stops."""
    with EtcdCluster(tmp_path) as etcd:
        member = etcd.members[0]
        store(member, armed())

        def reports() -> list[presence.Report]:
            return [presence.from_document(_value(found)) for found in under(member, keys.routers(ROLLOUT))]

        with following(reader(etcd.url), reports=True) as follower:
            wait_until(lambda: [report.standing for report in reports()] == ["armed"], "the first report")
            until_watching(follower)
            revision = store(member, tripped())
            wait_until(lambda: [report.revision for report in reports()] == [revision], "the report of the trip")
            (report,) = reports()
            assert (report.id, report.standing, report.on_control) == (follower.router_id, "tripped", True)
            assert all(found["lease"] != "0" for found in under(member, keys.routers(ROLLOUT)))
        assert reports() == []


def test_a_report_whose_lease_ended_is_written_anew(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path) as etcd, following(reader(etcd.url), reports=True, reread_every=0.5) as follower:
        member = etcd.members[0]
        store(member, armed())
        until(follower, RouterState.ARMED)
        wait_until(lambda: under(member, keys.routers(ROLLOUT)), "the first report")
        lease = under(member, keys.routers(ROLLOUT))[0]["lease"]
        member.call("/v3/lease/revoke", {"ID": lease})
        assert under(member, keys.routers(ROLLOUT)) == []
        store(member, tripped())
        wait_until(lambda: under(member, keys.routers(ROLLOUT)), "a new report")


def _value(found: dict[str, str]) -> bytes:
    return base64.b64decode(found["value"])


def test_a_forked_child_follows_by_itself_and_the_parent_goes_on(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path) as etcd, following(reader(etcd.url), reports=True, reread_every=1.0) as follower:
        member = etcd.members[0]
        store(member, armed())
        until(follower, RouterState.ARMED)
        until_watching(follower)
        from_child, to_parent = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                until(follower, RouterState.TRIPPED)
                health = follower.health()
                os.write(to_parent, json.dumps([health.router_id, health.following, health.watching]).encode())
            finally:
                os._exit(0)
        try:
            wait_until(lambda: len(under(member, keys.routers(ROLLOUT))) == 2, "a report of each process")
            store(member, tripped())
            until(follower, RouterState.TRIPPED)
            assert select.select([from_child], [], [], 60.0)[0], "the child never saw the trip"
            router_id, alive, watching = json.loads(os.read(from_child, 1000))
            assert (alive, watching) == (True, True)
            assert router_id != follower.router_id
        finally:
            os.waitpid(child, 0)
            os.close(from_child)
            os.close(to_parent)
        store(member, armed(generation=2))
        until(follower, RouterState.ARMED, generation=2)


def test_a_child_forked_before_the_first_read_follows_later(tmp_path: Path) -> None:
    """A child that was forked before the store could be read follows the flag as soon as it can be."""
    with EtcdCluster(tmp_path) as etcd:
        member = etcd.members[0]
        store(member, tripped())
        member.kill()
        with following(reader(etcd.url, timeout=1.0), reread_every=1.0) as follower:
            assert follower.current.standing is RouterState.UNREAD
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    until(follower, RouterState.TRIPPED)
                    status = 0
                finally:
                    os._exit(status)
            member.start()
            until(follower, RouterState.TRIPPED)
            assert os.waitpid(child, 0)[1] == 0
