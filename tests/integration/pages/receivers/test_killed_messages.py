"""``kill -9`` of processes that keep a message up to date, with a real etcd and a Slack over real HTTP."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from killswitch.pages import events, outbox_entry
from killswitch.pages.page import Page
from killswitch.stores import Put, Store, keys
from killswitch.stores.opening import open_store
from tests.doubles.pages import SETTINGS, armed, incident
from tests.doubles.slack import TOKEN, Message, SlackDouble
from tests.servers import page_delivery
from tests.servers.etcd import EtcdCluster, wait_until

CLAIM_TTL = 2.0


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@contextmanager
def replicas(url: str, slack: SlackDouble, token: Path, number: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    running = [page_delivery.start(url, slack.base_url, token, CLAIM_TTL) for _ in range(number)]
    try:
        yield running
    finally:
        for child in running:
            child.kill()
            child.wait(10)


def write(store: Store, page: Page) -> None:
    entry = outbox_entry.new_entry(page, at=time.time())
    store.commit((), [Put(keys.outbox(page.id), outbox_entry.to_document(entry))])


def until(what: Callable[[], bool]) -> None:
    wait_until(what, "what the test waits for", 60.0)


def pages_of(rollout: str) -> tuple[Page, Page, Page]:
    """A trip, the routers that followed, and the re-arm."""
    now = time.time()
    flag = replace(armed(rollout), generation=7)
    rearmed = replace(flag, generation=8, armed_at=now + 600)
    return (
        events.tripped(incident(rollout, decided_at=now), SETTINGS),
        events.followed(flag, routers=3, known=3, at=now + 2, settings=SETTINGS),
        events.re_armed(rearmed, reason="prompt fixed", by="ann", settings=SETTINGS),
    )


@pytest.mark.parametrize("moment", ["before the change", "in the change", "after the change"])
def test_the_message_of_killed_replicas_ends_right(etcd: EtcdCluster, tmp_path: Path, moment: str) -> None:
    """Both replicas are killed around a change of the message; the one that starts after them brings it up to date."""
    (tmp_path / "token").write_text(TOKEN)
    store = open_store(etcd.url)
    rollout = f"killed-{moment.replace(' ', '-')}"
    trip, followed, rearmed = pages_of(rollout)
    with SlackDouble() as slack:

        def message() -> Message:
            return next(one for one in slack.in_channel if trip.id in str(one.blocks) and not one.broadcast)

        with replicas(etcd.url, slack, tmp_path / "token", 2) as running:
            write(store, trip)
            until(lambda: any(one.thread_ts for one in slack.messages))  # its detail
            write(store, followed)
            if moment == "in the change":
                until(lambda: len(slack.thread(message().ts)) == 2 or bool(slack.calls("chat.update")))
                slack.hang()
                write(store, rearmed)
                before = len(slack.calls("chat.update"))
                until(lambda: len(slack.calls("chat.update")) > before)
            elif moment == "after the change":
                until(lambda: bool(slack.updates))
                write(store, rearmed)
            else:
                write(store, rearmed)
            for child in running:
                child.kill()
                child.wait(10)
        slack.release()
        with replicas(etcd.url, slack, tmp_path / "token", 1):
            until(lambda: message().blocks[0]["text"]["text"].startswith(":arrow_forward:"))
            until(lambda: all(any(page.headline in one.text for one in slack.pages) for page in (followed, rearmed)))
        assert len([one for one in slack.messages if one.text.startswith("Every rule of ")]) == 1
        assert len([one for one in slack.in_channel if f"{rollout}: canary" in one.text]) == 1
    store.close()
