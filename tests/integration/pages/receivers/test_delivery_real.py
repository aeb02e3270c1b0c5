"""Delivery with real threads, real stores, and receivers over real HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from killswitch.deadline import Deadline
from killswitch.flags import incident as incidents
from killswitch.net.credentials import Secret
from killswitch.pages import outbox_entry
from killswitch.pages.delivery import DeliveryPolicy, PageDelivery
from killswitch.pages.outbox_entry import DeliveryState
from killswitch.pages.page import Page
from killswitch.pages.receivers import Pager
from killswitch.pages.receivers.slack import SlackPager
from killswitch.pages.receivers.webhook import WebhookPager
from killswitch.stores import Delete, Put, Store, keys
from killswitch.stores.opening import open_store
from tests.doubles.pages import incident, trip_page
from tests.doubles.slack import TOKEN, SlackDouble, bad_gateway
from tests.doubles.webhook import WebhookDouble
from tests.servers.etcd import EtcdCluster

QUICK = DeliveryPolicy(claim_ttl=2.0, send_timeout=1.0, first_pause=0.1, longest_pause=0.5)


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture(params=["etcd", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite://{tmp_path}/flags.db" if request.param == "sqlite" else request.getfixturevalue("etcd").url
    opened = open_store(url)
    for prefix in (keys.OUTBOX, keys.INCIDENTS, keys.CLAIMS):  # tests of one module share the etcd
        for item in opened.list(prefix).items:
            opened.commit((), [Delete(item.key)])
    yield opened
    opened.close()


@pytest.fixture
def slack() -> Iterator[SlackDouble]:
    with SlackDouble() as double:
        yield double


@pytest.fixture
def hook() -> Iterator[WebhookDouble]:
    with WebhookDouble() as double:
        yield double


Deliver = Callable[[str], PageDelivery]


@pytest.fixture
def process(store: Store, slack: SlackDouble, hook: WebhookDouble, tmp_path: Path) -> Iterator[Deliver]:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "url").write_text(hook.url)
    running: list[PageDelivery] = []

    def start(name: str) -> PageDelivery:
        pagers: list[Pager] = [
            SlackPager(Secret.from_file(tmp_path / "token"), base_url=slack.base_url),
            WebhookPager(Secret.from_file(tmp_path / "url")),
        ]
        running.append(PageDelivery(store, pagers, owner=name, policy=QUICK))
        return running[-1]

    yield start
    slack.release()
    for delivery in running:
        delivery.close()


def write(store: Store, *pages: Page) -> None:
    for page in pages:
        record = incidents.to_document(incident(page.rollout, page.generation))
        entry = outbox_entry.to_document(outbox_entry.new_entry(page, at=time.time()))
        store.commit((), [Put(keys.incident(page.rollout, page.generation), record), Put(keys.outbox(page.id), entry)])


def entry(store: Store, page: Page) -> outbox_entry.OutboxEntry:
    item = store.get(keys.outbox(page.id))
    assert item is not None
    return outbox_entry.from_document(item.value, page=page.id)


def until(what: Callable[[], bool], *running: PageDelivery, seconds: float = 30.0) -> None:
    deadline = Deadline(seconds)
    while not what():
        assert not deadline.expired, "it did not come about in time"
        for delivery in running:
            delivery.run_once()
        time.sleep(0.02)


def delivered(store: Store, page: Page) -> bool:
    deliveries = entry(store, page).deliveries
    return len(deliveries) == 2 and all(d.state is DeliveryState.DELIVERED for d in deliveries.values())


def test_a_page_reaches_slack_and_the_webhook(
    store: Store, slack: SlackDouble, hook: WebhookDouble, process: Deliver
) -> None:
    """A page reaches Slack and the webhook, and its incident keeps the references."""
    page = trip_page()
    delivery = process("a")
    write(store, page)
    delivery.wake()
    until(lambda: delivered(store, page), delivery)
    (message,) = slack.in_channel
    assert entry(store, page).delivery("slack").reference == f"{message.channel}/{message.ts}"
    assert [sent["page"] for sent in hook.pages] == [page.id]
    item = store.get(keys.incident(page.rollout, page.generation))
    assert item is not None
    paged = incidents.from_document(item.value, rollout=page.rollout).pages
    assert {p.receiver for p in paged} == {"slack", "webhook"}


def test_three_replicas_send_one_copy_of_each_page(
    store: Store, slack: SlackDouble, hook: WebhookDouble, process: Deliver
) -> None:
    """Three replicas that look at the same time send one copy of each page."""
    pages = [trip_page(f"rollout-{number}") for number in range(4)]
    replicas = [process(name) for name in "abc"]
    write(store, *pages)
    for replica in replicas:
        replica.wake()
    until(lambda: all(delivered(store, page) for page in pages), *replicas)
    assert sorted(hook.keys) == sorted(page.id for page in pages)
    assert len(slack.in_channel) == 4


def test_a_slack_that_hangs_holds_up_nothing_else(
    store: Store, slack: SlackDouble, hook: WebhookDouble, process: Deliver
) -> None:
    """A Slack that hangs holds up neither the webhook nor the caller, and gets its page when it answers again."""
    page = trip_page()
    delivery = process("a")
    slack.hang()
    write(store, page)
    delivery.wake()
    until(lambda: hook.keys == [page.id], delivery)
    until(lambda: entry(store, page).delivery("slack").state is DeliveryState.UNKNOWN, delivery)
    slack.release()
    until(lambda: delivered(store, page), delivery)
    # what was read while it hung is posted as well, and the repeat says so
    assert 1 <= len(slack.in_channel) <= 2
    assert "(possible repeat)" in slack.in_channel[-1].text
    assert hook.keys == [page.id]


def test_many_pages_at_once_arrive_as_few_messages(
    store: Store, slack: SlackDouble, hook: WebhookDouble, process: Deliver
) -> None:
    pages = [trip_page(f"rollout-{number}") for number in range(150)]
    delivery = process("a")
    write(store, *pages)
    until(lambda: delivery.status().unsettled == 0 and delivered(store, pages[-1]), delivery, seconds=60)
    assert all(delivered(store, page) for page in pages)
    assert 6 <= len(slack.in_channel) <= 8
    assert "pages at once" in slack.in_channel[5].text


def test_closing_hands_the_claims_over_at_once(store: Store, slack: SlackDouble, process: Deliver) -> None:
    page = trip_page()
    slack.fail_always(bad_gateway())
    first, second = process("first"), process("second")
    write(store, page)
    until(lambda: len(slack.calls("chat.postMessage")) >= 1, first)
    first.close()
    assert store.list(keys.claim("outbox/")).items == ()
    slack.fail_always(None)
    until(lambda: delivered(store, page), second)
    assert len(slack.in_channel) == 1
