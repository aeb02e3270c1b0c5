"""Processes that are forked while their parent follows a real etcd."""

from __future__ import annotations

import json
import os
import select
from pathlib import Path

from killswitch.router.failsafe import RouterState
from killswitch.stores import keys
from tests.doubles.flags import ROLLOUT, armed, tripped
from tests.integration.router.following import following, reader, store, under, until, until_watching
from tests.servers.etcd import EtcdCluster, wait_until


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
