"""After a trip in a real etcd, with real SDK routers: the incident and the page's thread say how many have followed."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from killswitch.flags import incident as incidents
from killswitch.flags.incident import RoutersFollowed
from killswitch.flags.transitions import Actor
from killswitch.pages import outbox_entry
from killswitch.pages.page import Page, PageKind
from killswitch.router import Router
from killswitch.stores import Store, keys
from killswitch.stores.opening import open_store
from killswitch.trips.propagation import Propagation
from killswitch.trips.request import TripRequest
from killswitch.trips.router_progress import routers_followed
from killswitch.trips.switch import Switch
from tests.doubles import pages
from tests.servers.etcd import EtcdCluster, EtcdMember, wait_until
from tests.servers.tcp_proxy import TcpProxy

NAME = "support-copilot"
PATIENCE = 15.0


def trip(switch: Switch) -> int:
    draft = pages.incident_draft(NAME, by="a", reason="refusals")
    request = TripRequest(draft, generation=None, actor=Actor.CONTROLLER, at=time.time(), page=pages.SETTINGS)
    return switch.trip(request).revision


def told(store: Store) -> RoutersFollowed | None:
    item = store.get(keys.incident(NAME, 1))
    assert item is not None
    return incidents.from_document(item.value, rollout=NAME).routers


def progress_pages(store: Store) -> list[Page]:
    entries = [
        outbox_entry.from_document(item.value, page=item.key.removeprefix(keys.OUTBOX))
        for item in store.list(keys.OUTBOX).items
    ]
    return [entry.page for entry in entries if entry.page.kind is PageKind.FOLLOWED]


def test_a_trip_counts_three_routers_and_one_that_is_cut_off(tmp_path: Path) -> None:
    """Three routers follow a trip. A fourth that is cut off is waited for and counted."""
    with contextlib.ExitStack() as stack:
        etcd = stack.enter_context(EtcdCluster(tmp_path))
        member: EtcdMember = etcd.members[0]
        proxy = stack.enter_context(TcpProxy(("127.0.0.1", member.client_port)))
        store = open_store(etcd.url)
        stack.callback(store.close)
        switch = Switch(store, wall=time.time, by="a", origin="test")
        armed = switch.arm(NAME, control="model-old", canary="model-new", percent=5.0, stage="ramp_5", salt="")
        assert armed.generation == 1
        for url in (*[etcd.url] * 3, f"etcd://{proxy.endpoint}"):
            stack.enter_context(Router(NAME, url, registry=None))
        revision = switch.stored(NAME).revision
        wait_until(lambda: routers_followed(store, NAME, revision) == {"followed": 4, "known": 4}, "four reports")

        proxy.black_hole()
        propagation = Propagation(
            store,
            switch,
            settings=lambda _: pages.SETTINGS,
            monotonic=time.monotonic,
            wall=time.time,
            patience=PATIENCE,
        )
        revision = trip(switch)
        propagation.tripped(NAME, 1, revision)
        wait_until(
            lambda: routers_followed(store, NAME, revision, tripped=True) == {"followed": 3, "known": 4}, "three"
        )

        def is_told() -> bool:
            propagation.look()
            return told(store) is not None

        wait_until(is_told, "the end of patience")
        noted = told(store)
        assert noted is not None
        assert (noted.followed, noted.known) == (3, 4)
        (page,) = progress_pages(store)
        assert "3 of 4 routers send all users to model-old" in page.headline

        proxy.heal()
        wait_until(lambda: routers_followed(store, NAME, revision, tripped=True) == {"followed": 4, "known": 4}, "all")
        propagation.look()
        assert len(progress_pages(store)) == 1
