"""A follower against a real etcd: what it obeys, for how long, what it reports, and what is never obeyed."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from killswitch.router import presence
from killswitch.router.failsafe import RouterState, StalePolicy
from killswitch.router.follow import follow
from killswitch.router.observers import Happening
from killswitch.stores import keys
from tests.doubles.flags import ROLLOUT, armed, tripped
from tests.integration.router.following import (
    b64,
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


def test_a_report_whose_lease_ended_is_written_again(tmp_path: Path) -> None:
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
