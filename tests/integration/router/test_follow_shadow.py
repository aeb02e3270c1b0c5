"""A router over a real etcd in stage shadow: it learns what to shadow by the watch, and a trip ends it at once."""

from __future__ import annotations

import time
from pathlib import Path

from killswitch.cli.trip import request_by_hand
from killswitch.flags.flag import SHADOW
from killswitch.flags.shadow_share import ShadowShare
from killswitch.model import PageSettings
from killswitch.router.failsafe import RouterState
from killswitch.router.observers import Happening
from killswitch.router.route_types import NOTHING_SHADOWED, ShadowSplit
from killswitch.router.router import Router
from killswitch.stores.opening import open_store
from killswitch.trips.switch import Switch
from tests.doubles.flags import ROLLOUT
from tests.integration.router.following import following, reader, until, until_counted, until_watching
from tests.servers.etcd import EtcdCluster


def test_a_shadow_begins_is_turned_and_ends_by_the_watch(tmp_path: Path) -> None:
    """The follower here reads once an hour, so only the watch can have brought each change."""
    with EtcdCluster(tmp_path) as etcd, following(reader(etcd.url)) as follower:
        router = Router(ROLLOUT, following=follower)
        person = Switch(open_store(etcd.url), wall=time.time, by="ann", origin="test")
        until(follower, RouterState.NO_FLAG)
        until_watching(follower)
        assert router.shadow_split() is NOTHING_SHADOWED
        person.arm(
            ROLLOUT, control="model-old", canary="model-new", percent=0.0, stage=SHADOW, salt="s",
            shadow=ShadowShare(20.0, {"billing": 100.0}),
        )  # fmt: skip
        armed = ShadowSplit(20.0, {"billing": 100.0}, "shadow/s", "model-old", "model-new", 1)
        until(follower, RouterState.ARMED, shadow=armed)
        assert router.route("user", "canary").model == "model-old"
        person.set_stage(ROLLOUT, percent=0.0, stage=SHADOW, shadow=ShadowShare(25.0))
        until(follower, RouterState.ARMED, shadow=armed._replace(percent=25.0, classes={}))
        person.trip(request_by_hand(ROLLOUT, "odd answers", PageSettings()))
        until(follower, RouterState.TRIPPED, shadow=NOTHING_SHADOWED)
        until_counted(follower, Happening.CHANGE, 3)
