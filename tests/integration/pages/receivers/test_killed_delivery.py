"""``kill -9`` of the delivering process, with a real store and a real HTTP receiver."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from killswitch.deadline import Deadline
from killswitch.pages import outbox_entry
from killswitch.pages.outbox_entry import DeliveryState
from killswitch.stores import Item, Put, keys
from killswitch.stores.opening import open_store
from tests.doubles.pages import trip_page
from tests.doubles.slack import TOKEN, SlackDouble
from tests.servers import page_delivery
from tests.servers.etcd import EtcdCluster

CLAIM_TTL = 2.0


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture(params=["etcd", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/flags.db"
    address: str = request.getfixturevalue("etcd").url
    return address


@pytest.mark.parametrize("moment", ["in mid send", "early", "later"])
def test_the_page_of_a_killed_process_is_delivered_by_another(url: str, moment: str, tmp_path: Path) -> None:
    """The page of a killed process is delivered by another, and a second copy says that it may be a repeat."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    store = open_store(url)
    page = trip_page(f"rollout-{moment.replace(' ', '-')}")
    key = keys.outbox(page.id)
    with SlackDouble() as slack:
        if moment == "in mid send":
            slack.hang()
        child = page_delivery.start(url, slack.base_url, token, CLAIM_TTL)
        try:
            store.commit((), [Put(key, outbox_entry.to_document(outbox_entry.new_entry(page, at=time.time())))])
            if moment == "in mid send":
                _until(lambda: bool(slack.calls("chat.postMessage")))
            else:
                _until(lambda: bool(store.list(keys.claim("outbox/")).items) or bool(slack.messages))
                time.sleep(random.Random(moment).uniform(0, 0.05))
        finally:
            child.kill()
            child.wait(10)
        slack.release()
        heir = page_delivery.start(url, slack.base_url, token, CLAIM_TTL)
        try:
            _until(lambda: _standing(store.get(key), page.id) is DeliveryState.DELIVERED)
        finally:
            heir.kill()
            heir.wait(10)
        store.close()
        assert 1 <= len(slack.in_channel) <= 2
        assert all("(possible repeat)" in message.text for message in slack.in_channel[1:])


def _standing(item: Item | None, page_id: str) -> DeliveryState | None:
    return None if item is None else outbox_entry.from_document(item.value, page=page_id).delivery("slack").state


def _until(what: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = Deadline(seconds)
    while not what():
        assert not deadline.expired, "it did not come about in time"
        time.sleep(0.01)
